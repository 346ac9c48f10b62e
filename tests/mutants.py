"""Damaged sessions: each healthy one broken in one known way, so that what must be found is known.

``python -m tests.mutants`` prints, kind by kind, how many were tried, flagged, and flagged exactly once. Healthy sessions
are those of :mod:`tests.perfect` and the dialogs of ``transcripts/`` in which nothing above info is found; the damages are
in :mod:`tests.damages` and :mod:`tests.line_damages`.

How findings are counted: those of the default rules that the healthy session does not have, told apart by code and by the
line they stand on. A finding is in the right place if it touches a line of the damaged command, or of the first command at
which the damage can be seen. Rows of DEL state an outcome (rules.md: "DEL - Delivery outcome", "outcome explanations"): one
beside another finding is its consequence and not counted; alone it is counted. SEC002 tells of the log as a file that holds
a secret, as that of any log-in does, and is not counted either.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random

from smtplog import read
from smtplog.findings import Finding, chosen
from smtplog.judging import check
from tests import line_damages  # noqa: F401 - registers its damages
from tests.damages import DAMAGES, Hand, Impossible
from tests.perfect import Session, Step, lines, many
from tests.transcribed import sessions


@dataclass(frozen=True, slots=True)
class Mutant:
    """A healthy session and what was made of it."""

    kind: str
    healthy: Session
    steps: tuple[Step, ...]
    places: frozenset[int]

    def text(self) -> str:
        return "".join(f"{line}\n" for line in lines(self.steps)[0])

    def place(self) -> set[int]:
        """The lines on which the fault stands, from 1."""
        found = lines(self.steps)[1]
        return {line for i in self.places if i < len(found) for line in found[i]}


def mutate(choose: Random, session: Session, kind: str) -> Mutant | None:
    """A session damaged in one way, or None where it has nothing to damage."""
    hand = Hand(choose)
    steps = list(session.steps)
    if choose.random() < 0.5:  # one command at a time
        session = replace(session, steps=tuple(replace(step, waits=True) for step in steps))
        steps = list(session.steps)
    try:
        broken = DAMAGES[kind](hand, steps)
    except Impossible:
        return None
    if hand.healthy is not None:
        session = replace(session, steps=tuple(hand.healthy))
    return Mutant(kind, session, tuple(broken[0]), frozenset(broken[1]))


@dataclass(slots=True)
class Count:
    """What became of the mutants of one kind."""

    tried: int = 0
    flagged: int = 0
    once: int = 0
    strictly_once: int = 0


def judged(texts: list[str]) -> list[list[tuple[Finding, int, int, str]]]:
    """For each dialog its findings, each with its lines counted from the start of the dialog, and the line itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutants.dialog"
        path.write_text("".join(texts), encoding="utf-8")
        dialogs = list(read(path, input_format="cs-dialog", block_size=1 << 20, show_secrets=True))
    starts, at = [], 1
    for text in texts:
        starts.append(at)
        at += text.count("\n")
    every = "".join(texts).split("\n")
    found: list[list[tuple[Finding, int, int, str]]] = [[] for _ in texts]
    for dialog in dialogs:
        owner = max(i for i, start in enumerate(starts) if start <= dialog.line) if dialog.line > 1 else 0
        for each in check(dialog, RULES):
            line, end = each.line - starts[owner] + 1, each.end_line - starts[owner] + 1
            found[owner].append((each, line, end, every[each.line - 1] if each.line <= len(every) else ""))
    return found


RULES = chosen()


def news(mutants: list[Mutant]) -> list[list[tuple[Finding, int, int]]]:
    """For each mutant the findings that its healthy session does not have."""
    healthy = judged([each.healthy.text() for each in mutants])
    damaged = judged([each.text() for each in mutants])
    found = []
    for before, after in zip(healthy, damaged, strict=True):
        known = Counter((each.code, _told_of(each, text)) for each, _, _, text in before)
        new = []
        for each, line, end, text in after:
            what = each.code, _told_of(each, text)
            if known[what]:
                known[what] -= 1
            else:
                new.append((each, line, end))
        found.append(new)
    return found


def _told_of(finding: Finding, text: str) -> str:
    """What tells a finding from others of its code: its line. What SEC says of a session may come to stand elsewhere."""
    return "" if finding.code.startswith("SEC") else text


def is_beside(finding: Finding) -> bool:
    """Whether a finding states an outcome, or tells of the log as a file."""
    return finding.code.startswith("DEL") or finding.code == "SEC002"


def verdict(mutant: Mutant, new: list[tuple[Finding, int, int]]) -> tuple[bool, bool]:
    """Whether the damage was flagged in the right place, and whether it was told exactly once."""
    place = mutant.place()
    told = [each for each in new if not is_beside(each[0])] or new
    flagged = any(any(line <= at <= end for at in place) for _, line, end in told)
    return flagged, flagged and len(told) == 1


def counted(mutants: list[Mutant]) -> dict[str, Count]:
    counts: dict[str, Count] = {kind: Count() for kind in DAMAGES}
    for mutant, new in zip(mutants, news(mutants), strict=True):
        flagged, once = verdict(mutant, new)
        count = counts[mutant.kind]
        count.tried += 1
        count.flagged += flagged
        count.once += once
        count.strictly_once += flagged and len(new) == 1
    return counts


def bases(seed: int, count: int) -> Iterator[Session]:
    """Healthy sessions, every third of them a dialog of a transcript."""
    choose = Random(seed)
    for i, session in enumerate(many(seed, count)):
        yield choose.choice(healthy()) if i % 3 == 2 else session


@cache
def healthy() -> list[Session]:
    """The dialogs of ``transcripts/`` in which nothing above info is found."""
    found = sessions()
    told = judged([each.text() for each in found])
    return [each for each, hits in zip(found, told, strict=True) if all(hit.severity == "info" for hit, *_ in hits)]


def made(seed: int, each: int) -> list[Mutant]:
    """Some mutants of each kind, reproducibly."""
    choose = Random(seed)
    found: Counter[str] = Counter()
    mutants = []
    for session in bases(seed, each * 40):
        for kind in DAMAGES:
            if found[kind] < each and (mutant := mutate(choose, session, kind)) is not None:
                found[kind] += 1
                mutants.append(mutant)
        if len(mutants) == each * len(DAMAGES):
            break
    return mutants


def table(counts: dict[str, Count]) -> str:
    rows = [f"{'damage':48} {'tried':>6} {'flagged':>8} {'once':>6} {'strictly':>9}"]
    for kind, count in [*counts.items(), ("all", total(counts))]:
        rows.append(f"{kind:48} {count.tried:6} {count.flagged:8} {count.once:6} {count.strictly_once:9}")
    every = total(counts)
    rows.append(f"flagged {every.flagged / every.tried:.1%}, exactly once {every.once / every.tried:.1%}")
    return "\n".join(rows)


def total(counts: dict[str, Count]) -> Count:
    return Count(
        *(
            sum(getattr(count, name) for count in counts.values())
            for name in ("tried", "flagged", "once", "strictly_once")
        )
    )


def main(arguments: list[str]) -> None:
    """``python -m tests.mutants [SEED [KIND]]``: the table, or the failures of one kind."""
    seed = int(arguments[0]) if arguments else 1
    mutants = made(seed, 40)
    if len(arguments) < 2:
        print(table(counted(mutants)))
        return
    mutants = [each for each in mutants if arguments[1] in each.kind]
    told: set[tuple[str, ...]] = set()
    for mutant, new in sorted(zip(mutants, news(mutants), strict=True), key=lambda pair: len(pair[0].text())):
        codes = tuple(sorted(each.code for each, _, _ in new))
        if verdict(mutant, new) != (True, True) and codes not in told:
            told.add(codes)
            place = mutant.place()
            print("=" * 30, mutant.kind, codes)
            for i, line in enumerate(mutant.text().splitlines(), 1):
                print(
                    "»" if i in place else " ",
                    line,
                    *(f"  <-- {e.code} {e.message[:70]}" for e, at, _ in new if at == i),
                )


if __name__ == "__main__":
    main(sys.argv[1:])
