"""Outcomes of replays: side by side for eyes, as JSON, as JUnit XML."""

from __future__ import annotations

import json
import textwrap
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from itertools import zip_longest

from smtplog.output import Page, elided, printable
from smtplog.replay.comparison import Outcome, Row
from smtplog.replay.matching import masked
from smtplog.reports.junit import attribute, content

_MARKS = {
    "same": ("=", "green"),
    "different": ("≠", "red"),
    "no answer": ("≠", "red"),
    "not sent": ("·", "yellow"),
    "not played": ("·", "yellow"),
    "nothing to compare": (" ", "dim"),
}


class OutcomeForm(ABC):
    """How outcomes are told, one dialog after the other."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @abstractmethod
    def tell(self, outcome: Outcome) -> None:
        """One dialog."""

    @abstractmethod
    def close(self) -> None:
        """All of them were told."""


class Text(OutcomeForm):
    """The verdict, then the two dialogs side by side, what differs marked."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self.told = self.different = 0

    def tell(self, outcome: Outcome) -> None:
        """One dialog."""
        page = self.page
        if self.told:
            page.line()
        self.told += 1
        self.different += not outcome.same
        page.line(page.paint(f"{printable(outcome.dialog)}  {printable(outcome.source)}", "bold"))
        page.line(self._verdict(outcome))
        half = (page.width - 24) // 2
        page.line(page.paint(f"    {'':2}{'recorded':<{half + 8}}  now", "dim"))
        for row in outcome.rows:
            self._row(row, half)

    def _row(self, row: Row, half: int) -> None:
        page = self.page
        mark, colour = _MARKS[row.result]
        mark = mark if page.unicode else {"≠": "!", "·": "-"}.get(mark, mark)
        line = str(row.line) if row.line else ""
        page.line(f"{line:>4}  {page.paint(elided(printable(row.command), page.width - 8), 'blue')}")
        if row.why:
            page.line(f"    {page.paint(f'{mark} {printable(row.why)}', colour)}")
        if row.why or (row.recorded is None and row.given is None):
            return
        differs = row.result in ("different", "no answer")
        times = _seconds(row.recorded_seconds), _seconds(row.seconds)
        for number, (one, other) in enumerate(self._beside(row)):
            here = mark if number == 0 or (differs and masked(one[4:]) != masked(other[4:])) else " "
            folded = [
                _folded(printable(side), half) if differs else [elided(printable(side), half)] for side in (one, other)
            ]
            for left, right in zip_longest(*folded, fillvalue=""):
                text = f"{here} {left:<{half}} {times[0]:>7}  {right:<{half}} {times[1]:>7}".rstrip()
                page.line("    " + page.paint(text, "" if here in " =" else colour))
                here, times = " ", ("", "")

    def _beside(self, row: Row) -> list[tuple[str, str]]:
        """The lines of both replies; behind the first, those that begin with the same word (a keyword of EHLO) in one row."""
        left = (row.recorded or "(not in the log)").split("\n")
        right = (row.given or f"({row.result})").split("\n")
        more = f"{'…' if self.page.unicode else '...'} {len(left) - 1} lines more"
        if len(left) > 2 and (row.given is None or row.given == row.recorded):
            return [(left[0], right[0]), (more, more if row.given is not None else "")]
        waiting: dict[str, deque[str]] = defaultdict(deque)
        for line in right[1:]:
            waiting[_first(line)].append(line)
        rows = [(left[0], right[0])]
        for line in left[1:]:
            alike = waiting[_first(line)]
            rows.append((line, alike.popleft() if alike else ""))
        return rows + [("", line) for lines in waiting.values() for line in lines]

    def _verdict(self, outcome: Outcome) -> str:
        page = self.page
        skipped = sum(row.result == "not sent" for row in outcome.rows)
        rest = f"; {skipped} not sent" if skipped else ""
        if outcome.same:
            return page.paint(f"The same: {_answers(outcome.compared)} as recorded{rest}.", "green")
        words = (
            f"Different: {outcome.different} of {_answers(outcome.compared)}{rest}"
            if outcome.different
            else f"Not to the end{rest}"
        )
        why = f"; it ended early: {printable(outcome.ended)}" if outcome.ended else ""
        return page.paint(f"{words}{why}.", "red")

    def close(self) -> None:
        """The last line, where there were several."""
        if self.told > 1:
            self.page.line()
            self.page.line(f"{self.told - self.different:,} of {self.told:,} dialogs went as recorded.")


def _first(line: str) -> str:
    """The first word behind the code."""
    return line[4:].partition(" ")[0].casefold()


def _folded(text: str, width: int) -> list[str]:
    """A line of a reply in as many rows as it needs."""
    return textwrap.wrap(text, width, subsequent_indent="    ", break_on_hyphens=False) or [""]


def _answers(count: int) -> str:
    return "1 answer" if count == 1 else f"{count:,} answers"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}s" if seconds < 100 else f"{seconds:.0f}s"


class Json(OutcomeForm):
    """A list of outcomes."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        self.outcomes: list[Outcome] = []

    def tell(self, outcome: Outcome) -> None:
        """One dialog."""
        self.outcomes.append(outcome)

    def close(self) -> None:
        """Write them."""
        self.page.line(json.dumps([each.to_json() for each in self.outcomes], ensure_ascii=True, indent=1))


class Junit(OutcomeForm):
    """A dialog is a suite, an exchange a case."""

    def __init__(self, page: Page) -> None:
        super().__init__(page)
        page.line('<?xml version="1.0" encoding="UTF-8"?>')
        page.line('<testsuites name="smtplog replay">')

    def tell(self, outcome: Outcome) -> None:
        """One dialog."""
        skipped = sum(row.result in ("not sent", "not played", "nothing to compare") for row in outcome.rows)
        counts = f'tests="{len(outcome.rows)}" failures="{outcome.different}" errors="{int(bool(outcome.ended))}" skipped="{skipped}"'
        self.page.line(f" <testsuite name={attribute(f'{outcome.source} {outcome.dialog}')} {counts}>")
        for number, row in enumerate(outcome.rows, 1):
            self._case(outcome, number, row)
        if outcome.ended:
            self.page.line(f"  <system-err>{content(outcome.ended)}</system-err>")
        self.page.line(" </testsuite>")

    def _case(self, outcome: Outcome, number: int, row: Row) -> None:
        time = f' time="{row.seconds:.6f}"' if row.seconds is not None else ""
        head = f"  <testcase classname={attribute(outcome.dialog)} name={attribute(f'{number} {row.command}')}{time}"
        if row.result == "same":
            self.page.line(f"{head}/>")
        elif row.result in ("different", "no answer"):
            told = content(f"recorded: {row.recorded}", f"now: {row.given or '(no answer)'}")
            self.page.line(f"{head}><failure message={attribute(row.result)}>{told}</failure></testcase>")
        else:
            self.page.line(f"{head}><skipped message={attribute(row.why or row.result)}/></testcase>")

    def close(self) -> None:
        """The end."""
        self.page.line("</testsuites>")


FORMS: dict[str, type[OutcomeForm]] = {"text": Text, "json": Json, "junit": Junit}
