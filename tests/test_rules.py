"""A rule's docstring is its manual and its test: the flagged dialog gives the code, the fine one does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtplog import read
from smtplog.findings import BOOK, Finding, Rule, book, chosen
from smtplog.manual import Manual

ISSUE = (
    *(f"SEQ{n:03}" for n in range(1, 27)),
    *(f"SYN{n:03}" for n in range(1, 9)),
    *(f"TEL{n:03}" for n in range(1, 10)),
    *(f"REP{n:03}" for n in (1, 2, 3, 4, 5, 7)),
)
RULES = list(book().values())


def findings(text: str, folder: Path) -> list[Finding]:
    path = folder / "example.dialog"
    path.write_text(text, encoding="utf-8")
    return list(read(path, input_format="cs-dialog").check(BOOK.values()))


@pytest.mark.parametrize("code", ISSUE)
def test_the_rule_is_in_the_book(code: str) -> None:
    assert code in book()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_flagged_and_fine(rule: Rule, tmp_path: Path) -> None:
    manual = Manual.of(rule)
    assert manual.flagged and manual.fine and manual.why
    for dialog in manual.flagged:
        found = [finding for finding in findings(dialog, tmp_path) if finding.code == rule.code]
        assert found, f"{rule.code} does not see its own example"
        assert all(1 <= finding.line <= finding.end_line <= len(dialog.splitlines()) + 1 for finding in found)
        assert all(finding.message and finding.advice and finding.excerpt for finding in found)
    for dialog in manual.fine:
        assert rule.code not in {finding.code for finding in findings(dialog, tmp_path)}


def test_names_and_codes_are_unique() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_extra_rules_are_off() -> None:
    assert not any(rule.extra for rule in chosen())
    assert len(chosen(extra=True)) == len(RULES)


OPEN = "S: 220 mx.example.net ESMTP ready\nC: EHLO client.example.org\nS: 250 mx.example.net\n"


@pytest.mark.parametrize(
    ("rest", "codes"),
    [
        ("C: MAIL FROM:a@example.org\nS: 250 Ok\n", {"SYN001": "warning"}),
        ("C: MAIL FROM:a@example.org\nS: 501 no\n", {"SYN001": "error"}),
        ("C: QUIT now\nS: 221 Bye\n", {"SYN007": "warning"}),
        ("C: RCPT TO:<b@example.net>\nS: 503 no\nC: DATA\nS: 503 no\n", {"SEQ002": "error"}),
        ("C: MAIL FROM <a@example.org>\nS: 501 no\nC: RCPT TO:<b@example.net>\nS: 503 no\n", {"SYN003": "error"}),
    ],
)
def test_common_pass(rest: str, codes: dict[str, str], tmp_path: Path) -> None:
    """Acceptance downgrade, precedence, cascade suppression."""
    found = {finding.code: finding.severity for finding in findings(OPEN + rest, tmp_path)}
    assert found == codes


def test_reply_shift_guard(tmp_path: Path) -> None:
    found = findings(OPEN + "S: 250 Ok\nC: RCPT TO:<b@example.net>\nS: 503 no\n", tmp_path)
    assert [(finding.code, finding.confidence) for finding in found] == [("SEQ010", "high"), ("SEQ002", "low")]
