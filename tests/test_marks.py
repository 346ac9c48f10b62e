"""A mark is necessary: whatever stands in a log, the rules say of the sessions that the marks leave over what they say of
all of them, one by one."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from smtplog import judging, read
from smtplog.findings import chosen
from smtplog.judging import check
from tests.mutants import DAMAGES, mutate
from tests.perfect import many
from tests.test_laws import broken

RULES = chosen(extra=True)
FOLDER = tempfile.TemporaryDirectory()


def is_necessary(data: bytes, slug: str) -> None:
    path = Path(FOLDER.name) / "log"
    path.write_bytes(data)
    by_one = [each for dialog in read(path, input_format=slug, show_secrets=True) for each in check(dialog, RULES)]
    assert list(read(path, input_format=slug).check(RULES)) == by_one


@given(sample=broken())
def test_the_marks_pass_over_no_finding_in_a_broken_log(sample: tuple[str, bytes]) -> None:
    slug, data = sample
    is_necessary(data, slug)


@given(seed=st.integers(0, 2**32), kind=st.sampled_from(sorted(DAMAGES)))
def test_the_marks_pass_over_no_finding_in_a_damaged_session(seed: int, kind: str) -> None:
    for session in many(seed, 3):
        mutant = mutate(Random(seed), session, kind)
        if mutant is not None:
            is_necessary(mutant.text().encode(), "cs-dialog")


def test_a_reply_on_one_line_of_the_log_is_another_one(tmp_path: Path) -> None:
    """What was found in a reply is remembered for equal ones: not the place of its lines, where these differ."""
    path = tmp_path / "log"
    lines = [
        "S: 220 mx ESMTP",
        "C: EHLO ws.example.org",
        "S: 250-mx",
        "S: 250-AUTH LOGIN",
        "S: 250 HELP",
        "C: QUIT",
        "S: 221 Bye",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (spread,) = read(path)
    hello = spread.exchanges[0]
    assert hello.reply is not None
    reply = replace(hello.reply, end_line=hello.reply.line)
    joined = replace(spread, exchanges=(replace(hello, reply=reply), *spread.exchanges[1:]))
    for order in ((spread, joined), (joined, spread)):
        judging._memo.clear()
        for each in order:
            told = [finding.line for finding in check(each, RULES) if finding.code == "SEC003"]
            assert told == [4 if each is spread else 3]
