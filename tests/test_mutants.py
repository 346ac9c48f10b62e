"""No miss: a session damaged in a known way is flagged where the damage is, and one fault is told once.

How findings are counted stands in :mod:`tests.mutants`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from smtplog import read
from smtplog.findings import chosen
from tests.damages import DAMAGES
from tests.mutants import Count, Mutant, bases, counted, healthy, made, mutate, news, table, total, verdict
from tests.perfect import many

#: At least so many of the damages are flagged at the right place, and so many are told exactly once.
FLAGGED, ONCE = 0.98, 0.95
#: For no kind of damage fewer.
OF_A_KIND = 0.85


@pytest.fixture(scope="module")
def counts() -> dict[str, Count]:
    return counted(made(seed=2026, each=20))


def test_damages_are_flagged_and_told_once(counts: dict[str, Count]) -> None:
    every = total(counts)
    assert every.flagged / every.tried >= FLAGGED, table(counts)
    assert every.once / every.tried >= ONCE, table(counts)


@pytest.mark.parametrize("kind", DAMAGES)
def test_every_kind_is_tried_and_flagged(kind: str, counts: dict[str, Count]) -> None:
    count = counts[kind]
    assert count.tried >= 10
    assert count.flagged / count.tried >= OF_A_KIND and count.once / count.tried >= OF_A_KIND, count


@settings(max_examples=3, phases=[Phase.generate])
@given(seed=st.integers(1, 2**32))
def test_any_seed(seed: int) -> None:
    every = total(counts := counted(made(seed, each=4)))
    assert every.flagged / every.tried >= FLAGGED, table(counts)
    assert every.once / every.tried >= ONCE, table(counts)


def test_a_batch_counts_what_its_dialogs_are_told(tmp_path: Path) -> None:
    """The summary judges most sessions without ever making a view of them; damaged ones give it every chance to differ."""
    path = tmp_path / "mutants.dialog"
    path.write_text("".join(each.text() for each in made(seed=3, each=12)), encoding="utf-8")
    log, rules = read(path, input_format="cs-dialog", block_size=1 << 16), chosen()
    told = Counter((each.code, each.severity) for each in log.check(rules))
    summed: Counter[tuple[str, str]] = Counter()
    for row in log.summary(rules).to_json()["findings"]:
        summed[row["code"], row["severity"]] += row["count"]
    assert summed == told


def test_a_damage_is_a_difference() -> None:
    """No damage leaves a session as it was, and each names lines that are there."""
    choose = Random(7)
    for session in bases(7, 100):
        for kind in DAMAGES:
            mutant = mutate(choose, session, kind)
            if mutant is not None:
                assert mutant.text() != mutant.healthy.text(), kind
                assert mutant.place() <= set(range(1, mutant.text().count("\n") + 1)), kind
                assert mutant.place(), kind


def test_transcripts_are_bases() -> None:
    """Real dialogs are broken too, those of many programs."""
    assert len(healthy()) >= 20


def test_a_miss_is_a_miss() -> None:
    """The counting can fail: a session that is not damaged at all is no success, nor is a finding elsewhere."""
    session = next(each for each in many(3, 10) if len(each.steps) > 6)
    unbroken = Mutant("nothing", session, session.steps, frozenset({2}))
    assert verdict(unbroken, news([unbroken])[0]) == (False, False)
    mutant = next(
        each for choose in [Random(1)] for each in (mutate(choose, session, "cursor key in a command"),) if each
    )
    elsewhere = Mutant(mutant.kind, session, mutant.steps, frozenset({0}) - mutant.places)
    assert verdict(mutant, news([mutant])[0])[0]
    assert not verdict(elsewhere, news([elsewhere])[0])[0]
