"""The four parameters of RFC 3461: a mended line has no fault, and what the marks leave out no rule would have seen."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtplog import events
from smtplog.findings import BOOK, Finding, book
from smtplog.rules.dsn import _SUSPECT
from smtplog.rules.dsn_values import COMMAND, corrected, decoded, encoded, fault, parameters
from smtplog.syntax import strict
from tests.test_rules import findings

OPEN = "S: 220 mx.example.net ESMTP ready\nC: EHLO client.example.org\nS: 250-mx.example.net\nS: 250-SIZE\nS: 250 DSN\n"
MAIL, RCPT = "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>"

values = st.one_of(
    st.sampled_from(
        ["", "NEVER", "success,Delay", "FAILURE", "FULL", "hdrs", "QQ314159", "rfc822;b@example.net", "<a@b>"]
    ),
    st.lists(st.sampled_from(["NEVER", "SUCCESS", "failure", "fail", "", ",", ";", "x"]), max_size=4).map(",".join),
    st.text("ab+=;,<>@2bB3dD é", max_size=12),
    st.text("x", min_size=95, max_size=105),
    st.integers(480, 510).map(lambda n: "rfc822;" + "y" * n),
)
words = st.builds(
    "{}{}{}".format,
    st.sampled_from([*COMMAND, "ret", "Notify", "SIZE", "X-Y"]),
    st.sampled_from(["=", "=", " =", "= ", ""]),
    values,
)
lines = st.builds(
    lambda path, rest: " ".join([path, *rest]), st.sampled_from([MAIL, RCPT]), st.lists(words, max_size=3)
)


def is_faultless(line: str) -> bool:
    return all(fault(each) is None and COMMAND[each.name] == line[:4] for each in parameters(line))


@given(lines)
@example(f"{RCPT} NOTIFY=NEVER RET=2 ,")  # what RET leaves behind when it goes
def test_a_mended_line_has_no_fault(line: str) -> None:
    mended = corrected(line)
    assert is_faultless(mended), (line, mended)
    assert corrected(mended) == mended
    assert is_faultless(line) <= (mended == line)


@given(lines)
def test_the_marks_pass_over_what_has_no_fault_only(line: str) -> None:
    column = events.from_list([line])
    if len(line) <= 500 and strict(column)[0] and not events.found(column, _SUSPECT)[0]:
        assert is_faultless(line)


@given(lines)
def test_a_fault_has_its_column(line: str) -> None:
    for each in parameters(line):
        found = fault(each)
        assert line[each.column - 1 :].upper().startswith(each.name)
        if found:
            assert each.column < found[0] <= each.end + 1


@pytest.mark.parametrize("word", ["RET=x ", "ENVID=+ ", "NOTIFY= ", "=", "RET", "ENVID=" + "x" * 99 + " ", ", "])
def test_a_long_line_is_no_long_work(word: str) -> None:
    begun = time.perf_counter()
    for path in (MAIL, RCPT, "MAIL FROM:<", 'MAIL FROM:<"'):
        assert corrected(f"{path} {word * (65536 // len(word))}").startswith(path[:9])
    assert time.perf_counter() - begun < 5


@given(st.text(max_size=30))
def test_xtext_says_what_was_encoded(text: str) -> None:
    octets = encoded(text.replace("+", "p"))
    assert octets.isascii() and "=" not in octets and " " not in octets
    assert decoded(octets).encode("latin-1") == text.replace("+", "p").encode("utf-8", "replace")


def told(text: str, folder: Path) -> list[Finding]:
    book()
    return findings(OPEN + text, folder)


@pytest.mark.parametrize(
    ("line", "code", "column", "mended"),
    [
        (f"{RCPT} NOTIFY=", "DSN001", 32, RCPT),
        (f"{RCPT} NOTIFY=SUCCESS, FAILURE", "DSN001", 40, f"{RCPT} NOTIFY=SUCCESS,FAILURE"),
        (f"{RCPT} NOTIFY=SUCCESS FAILURE", "DSN001", 39, f"{RCPT} NOTIFY=SUCCESS,FAILURE"),
        (f"{RCPT} NOTIFY=DELAY,FAIL", "DSN001", 38, f"{RCPT} NOTIFY=DELAY,FAILURE"),
        (f"{RCPT} NOTIFY=DELAY,NEVER", "DSN001", 38, f"{RCPT} NOTIFY=DELAY"),
        (f"{MAIL} RET", "DSN002", 30, f"{MAIL} RET=FULL"),
        (f"{MAIL} SIZE=9 RET=HEADERS", "DSN002", 38, f"{MAIL} SIZE=9 RET=HDRS"),
        (f"{MAIL} ENVID=<a+2b@b> RET=FULL", "DSN002", 35, f"{MAIL} ENVID=<a+2B@b> RET=FULL"),
        (f"{RCPT} ORCPT=b@example.net", "DSN003", 32, f"{RCPT} ORCPT=rfc822;b@example.net"),
        (f"{RCPT} ORCPT=rfc822;a+b@example.net", "DSN003", 39, f"{RCPT} ORCPT=rfc822;a+2Bb@example.net"),
        (f"{MAIL} NOTIFY=SUCCESS RET=HDRS", "DSN004", 27, f"{MAIL} RET=HDRS"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("reply", ["501 5.5.4 no", "250 Ok"])
def test_column_and_mended_line(line: str, code: str, column: int, mended: str, reply: str, tmp_path: Path) -> None:
    before = f"C: {MAIL}\nS: 250 Ok\n" if line.startswith("RCPT") else ""
    (finding,) = [each for each in told(f"{before}C: {line}\nS: {reply}\n", tmp_path) if each.code != "EXT001"]
    assert (finding.code, finding.column, finding.corrected) == (code, column, mended)
    steps = ("error", "warning", "info")
    taken = steps[steps.index(BOOK[code].severity) + 1]
    assert finding.severity == ("error" if reply.startswith("501") else taken)


@pytest.mark.parametrize(
    ("line", "reply", "codes"),
    [
        (f"{MAIL} RET=HDRS ENVID=<x@y>", "501 5.5.4 Invalid arguments", ["DSN005"]),
        (f"{MAIL} SIZE=9 RET=HDRS", "501 5.5.4 Bad SIZE parameter", []),
        (f"{MAIL} RET=HDRS", "452 4.3.1 Insufficient system storage", []),
        (f"{MAIL} RET=HDRS", "550 5.7.1 DSN is not allowed for you", ["DSN005"]),
        (f"{MAIL} RET=HDRS RET=FULL", "501 5.5.4 Invalid arguments", []),
    ],
)
def test_whose_fault_a_refusal_is(line: str, reply: str, codes: list[str], tmp_path: Path) -> None:
    assert [each.code for each in told(f"C: {line}\nS: {reply}\n", tmp_path) if each.code[:3] == "DSN"] == codes


@pytest.mark.parametrize(
    ("between", "codes"),
    [
        ("", ["DSN005"]),
        ("C: RCPT TO:<c@example.net>\nS: 250 Ok\n", ["DSN005"]),
        (f"C: RSET\nS: 250 Ok\nC: {MAIL}\nS: 250 Ok\n", []),
        (f"C: RCPT TO:<c@example.net>\nS: 250 Ok\nC: DATA\nS: 354 Go\nC: .\nS: 250 Ok\nC: {MAIL}\nS: 250 Ok\n", []),
    ],
)
def test_what_another_transaction_takes_proves_nothing(between: str, codes: list[str], tmp_path: Path) -> None:
    refused, accepted = f"C: {RCPT} NOTIFY=NEVER\nS: 550 No\n", f"C: {RCPT}\nS: 250 Ok\n"
    for one, other in ((refused, accepted), (accepted, refused)):
        text = f"C: {MAIL}\nS: 250 Ok\n{one}{between}{other}"
        assert [each.code for each in told(text, tmp_path) if each.code[:3] == "DSN"] == codes


def test_on_submission_both_addresses_are_one(tmp_path: Path) -> None:
    text = f"C: {MAIL}\nS: 250 Ok\nC: {RCPT} ORCPT=rfc822;c@example.net\nS: 250 Ok\n"
    assert told(text, tmp_path) == []
    (finding,) = told(f"*: tls ok\nC: AUTH PLAIN AHVzZXIAc2VjcmV0\nS: 235 Ok\n{text}", tmp_path)[-1:]
    assert (finding.code, finding.severity) == ("DSN003", "info")
