"""Answers to AUTH LOGIN typed in clear: what a log masks or encodes accuses nobody, and nothing typed is told again."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtplog import events
from smtplog.findings import Finding
from smtplog.rules.typing_slips import _PRINTABLE
from tests.test_rules import findings

ASKED = """S: 220 mx.example.net ESMTP ready
C: EHLO client.example.org
S: 250-mx.example.net
S: 250 AUTH LOGIN
C: AUTH LOGIN
S: 334 VXNlcm5hbWU6
"""


def told(answer: str, folder: Path, reply: str = "535 5.7.8 no") -> list[Finding]:
    return [each for each in findings(f"{ASKED}C: {answer}\nS: {reply}\n", folder) if each.code == "TEL011"]


@given(st.binary(min_size=1, max_size=12))
def test_the_mark_passes_over_printable_answers_and_no_others(octets: bytes) -> None:
    column = events.from_list([base64.b64encode(octets).decode()])
    assert events.found(column, _PRINTABLE)[0] == all(32 <= octet < 128 for octet in octets)


@pytest.mark.parametrize(
    "answer", ["alice", "alice@example.org", "alicebob", "EXAMPLE\\alice", "Passwort1", "YWxpY2U", "YWxp Y2U="]
)
def test_typed_in_clear(answer: str, tmp_path: Path) -> None:
    (finding,) = told(answer, tmp_path)
    assert (finding.severity, finding.column) == ("error", 1)
    assert answer not in finding.excerpt + finding.message + str(finding.corrected)
    assert finding.message.startswith(f"The user name was sent {'with' if answer[0] == 'Y' else 'in clear'}")


@pytest.mark.parametrize(
    "answer", ["YWxpY2U=", "*", "=", "********", "<hidden>", "[credentials hidden]", "cGFzc3f2", "QUIT", "XXXXXXXX"]
)
def test_not_typed_in_clear(answer: str, tmp_path: Path) -> None:
    assert told(answer, tmp_path) == []


def test_a_server_that_takes_it(tmp_path: Path) -> None:
    assert [each.severity for each in told("alice", tmp_path, "235 2.7.0 Ok")] == ["warning"]


def test_a_terminal_that_echoes_twice(tmp_path: Path) -> None:
    twice = "S: 220 mx.example.net ESMTP\nC: EHLO a.example.org\nC: EHLO a.example.org\nS: 250 mx\nC: QUIT\nC: QUIT\nS: 221 Bye\n"
    assert "TEL010" in {each.code for each in findings(twice, tmp_path)}
    assert "TEL010" not in {each.code for each in findings(twice.replace("C: QUIT\nC: QUIT\n", "C: QUIT\n"), tmp_path)}
