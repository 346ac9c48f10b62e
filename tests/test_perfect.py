"""The grammar of perfect sessions and the rules agree: what the one makes, the others accept."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from smtplog import read
from smtplog.findings import Finding, chosen
from smtplog.judging import check
from tests.perfect import Session, many, sessions

#: Rules about what was said and when; DEL tells outcomes, SEC weighs what was legal.
FAMILIES = ("SEQ", "SYN", "REP", "EXT", "DAT", "DSN", "TEL", "TIM")
RULES = chosen()
PER_RUN = 2_000
VERBS = "EHLO HELO LHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP VRFY HELP EXPN ETRN QUIT . PLAIN LOGIN *"
CODES = "220 221 235 250 252 334 354 450 451 452 454 501 502 535 550 554"


def judged(made: list[Session], folder: Path) -> list[list[Finding]]:
    """The findings of the families above, session by session; all of them are read as one log."""
    path = folder / "perfect.dialog"
    path.write_text("".join(each.text() for each in made), encoding="utf-8")
    dialogs = sorted(
        read(path, input_format="cs-dialog", block_size=1 << 20, show_secrets=True), key=lambda dialog: dialog.line
    )
    assert len(dialogs) == len(made), "a session is not read as one dialog"
    return [[each for each in check(dialog, RULES) if each.code[:3] in FAMILIES] for dialog in dialogs]


def objections(made: list[Session], folder: Path) -> list[tuple[Session, list[Finding]]]:
    """The sessions that a rule objects to, shortest first: refused ones may have hints, accepted ones nothing at all."""
    found = []
    for each, findings in zip(made, judged(made, folder), strict=True):
        wrong = [one for one in findings if one.severity != "info" or each.accepted]
        if wrong:
            found.append((each, wrong))
    return sorted(found, key=lambda pair: len(pair[0].text()))


def shown(found: list[tuple[Session, list[Finding]]]) -> str:
    if not found:
        return ""
    session, findings = found[0]
    told = "\n".join(f"{each.code} line {each.line}: {each.message}" for each in findings)
    counts = Counter(each.code for _, group in found for each in group)
    return f"{len(found)} sessions, {dict(counts)}; the shortest:\n{session.text()}\n{told}"


@settings(max_examples=4, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32))
def test_no_rule_objects_to_perfect_sessions(seed: int, tmp_path: Path) -> None:
    found = objections(list(many(seed, PER_RUN // 4)), tmp_path)
    assert not found, shown(found)


@settings(max_examples=25)
@given(made=st.lists(sessions, min_size=1, max_size=4))
def test_no_rule_objects_to_a_perfect_session(made: list[Session], tmp_path: Path) -> None:
    found = objections(made, tmp_path)
    assert not found, shown(found)


def test_the_grammar_says_everything() -> None:
    """A grammar that never says a thing agrees with any rule about it."""
    made = list(many(1, 600))
    words = Counter(
        word.upper() for each in made for step in each.steps for line in step.said for word in line.split()[:2]
    )
    for word in VERBS.split():
        assert words[word], word
    codes = Counter(line[:3] for each in made for step in each.steps for line in step.reply)
    for code in CODES.split():
        assert codes[code], code
    assert sum(each.accepted for each in made) > 200
    assert any(not step.waits for each in made for step in each.steps)
