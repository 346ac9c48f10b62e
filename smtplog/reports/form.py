"""What all forms share: the job, its end, and how texts of a log are made safe."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smtplog.findings import Finding, Rule
from smtplog.output import Page, printable


@dataclass(frozen=True)
class Job:
    """What is being reported."""

    page: Page
    rules: Sequence[Rule]
    transcript: Any  #: :class:`smtplog.transcript.Transcript`; its ``files`` and ``errors`` grow while it is read
    fail_on: str = "error"


@dataclass
class End:
    """How it ended: what the closing lines tell."""

    severities: Counter[str] = field(default_factory=Counter)  #: of the findings that count
    hidden: int = 0  #: known findings, not told
    unseen: int = 0  #: entries of the baseline that no finding answers to any more
    baseline: Path | None = None
    written: Path | None = None  #: the baseline that was written


class Form:
    """A written form of findings; made before the first one, closed after the last."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.page = job.page

    def tell(self, finding: Finding) -> None:
        """One finding, in the order in which dialogs are complete."""
        raise NotImplementedError

    def close(self, end: End) -> None:
        """The end; the page is closed by the caller."""


#: Formats whose lines are the commands themselves: only there a column of a command is a column of the log.
_BARE = ("bare-dialog", "telnet-unix", "telnet-win")


def log_column(finding: Finding, job: Job) -> int | None:
    """The column of the fault in the line of the log, where it is known."""
    if finding.column is None:
        return None
    files = reversed(job.transcript.files)  # the log being read is the last one
    known = next((report.format for report in files if report.source == finding.source), "")
    return finding.column if known in _BARE else None


def place(source: str) -> str:
    """A log's path for a machine: relative to the working directory where it lies below, with forward slashes."""
    if os.path.isabs(source):
        below = os.path.relpath(source)
        source = source if below.startswith("..") else below
    return source.replace(os.sep, "/").removeprefix("./")


def lines_of(text: str) -> str:
    """A text of several lines, each as a terminal may see it."""
    return "\n".join(printable(line) for line in text.split("\n"))


def dumps(value: Any, page: Page, indent: int | None = None) -> str:
    """JSON with every character that is not plain to see escaped: lossless, and safe for a terminal."""
    text = json.dumps(value, ensure_ascii=not page.unicode, indent=indent)
    if text.isprintable():
        return text
    return "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text)


class Listed:
    """A JSON list written piece by piece."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._waiting: str | None = None

    def add(self, value: Any) -> None:
        """One element more."""
        if self._waiting is not None:
            self._page.line(self._waiting + ",")
        self._waiting = dumps(value, self._page, indent=1)

    def end(self) -> None:
        """The last element has no comma after it."""
        if self._waiting is not None:
            self._page.line(self._waiting)
        self._waiting = None
