"""``read()``: any number of logs of any size, lazily.

bytes → lines → events → dialogs, block by block; a file larger than memory is the normal case.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from smtplog import findings as book
from smtplog import formats, judging, redact, reference
from smtplog.batches import Assembler, Batch, Part
from smtplog.errors import SmtplogError, StoppedError, UnknownFormatError, UnreadableError, UsageError
from smtplog.events import NOTE, Events, Strings, lengths, take
from smtplog.findings import Finding, Rule
from smtplog.lines import DEFAULT_SIZE, Block, read_blocks
from smtplog.model import Dialog
from smtplog.sources import Source, find, looks_binary, open_source

if TYPE_CHECKING:
    import pandas as pd

    from smtplog.summary import Summary

_T = TypeVar("_T")

#: How much of a file's head is looked at to tell its format, in octets. Fixed, so that block sizes change nothing.
HEAD = 1 << 18


@dataclass(slots=True)
class FileReport:
    """What became of one file."""

    source: str
    format: str = ""
    confidence: float = 1.0  #: 0 … 1; 1 where the user named the format
    lines: int = 0
    dialogs: int = 0
    not_understood: int = 0
    first_not_understood: int | None = None
    error: str | None = None
    replies_only: bool = False
    note: str = ""  #: why this format
    assumed: list[str] = field(default_factory=list)  #: what its times leave out, and what was taken for it


@dataclass(frozen=True, slots=True)
class Notes:
    """Lines of a file that are part of no dialog."""

    source: str
    line: np.ndarray
    time: np.ndarray
    text: Strings


@dataclass(slots=True)
class _Log:
    """An open log: its reader, its assembler, the files it was rotated over."""

    reader: formats.Reader
    assembler: Assembler
    reports: list[FileReport] = field(default_factory=list)
    lines: int = 0  # of the files before


class Transcript:
    """Logs that can be asked. Reading happens when a question is asked, again for each question; nothing is kept."""

    def __init__(
        self,
        paths: Iterable[str | Path],
        *,
        input_format: str | None = None,
        grammar: str | Path | None = None,
        date: date | None = None,
        timezone: str | None = None,
        block_size: int | None = None,
        show_secrets: bool = False,
        notes: bool = False,
    ) -> None:
        self.paths = [str(path) for path in paths]
        self.input_format = input_format
        self.grammar = grammar
        self.date = date
        self.zone = formats.zone_named(timezone) if timezone else None
        self.show_secrets = show_secrets
        self.block_size = block_size or int(os.environ.get("SMTPLOG_BLOCK_SIZE", DEFAULT_SIZE))
        self.files: list[FileReport] = []  #: of the last reading
        self.skipped: list[
            tuple[str, str]
        ] = []  #: files met in a directory or by a glob that are no logs: path, reason
        self.errors: list[str] = []  #: what could not be done of what the user named
        self.notes = notes  #: whether ``events`` holds the lines that are part of no dialog
        self._set_aside: list[Notes] = []
        self._secrets: set[str] = set()
        self._named()

    # -- reading

    def batches(self) -> Iterator[Batch]:
        """Batches of whole dialogs, in the order in which they are complete."""
        self.files, self.skipped, self.errors = [], [], []
        formats.declarations()  # a format of others that is broken is no fault of a file
        self._declaration = self._named()
        self._set_aside, self._secrets = [], set()
        log: _Log | None = None
        for source in self._sources():
            report = FileReport(source.path)
            try:
                yield from self._file(source, report, log)
                log = self._open
            except StoppedError as error:
                self._failed(source, report, f"{source.path}:{error.line}: {error}")
                log = self._open
            except SmtplogError as error:
                self._failed(source, report, str(error))
                log = self._open
        if log is not None:
            yield from self._ended(log)
        self._open = None

    _open: _Log | None = None
    _declaration: formats.Declaration | None = None

    def _named(self) -> formats.Declaration | None:
        """The format that the user names; UsageError where there is none such."""
        if self.grammar is not None and self.input_format is not None:
            raise UsageError(
                "a grammar of one's own and the name of a format do not go together: each says what the log is"
            )
        if self.grammar is not None:
            return formats.own_declaration(self.grammar)
        return formats.declaration(self.input_format) if self.input_format is not None else None

    def _sources(self) -> Iterator[Source]:
        for path in self.paths:
            try:
                yield from find([path])
            except SmtplogError as error:
                self.errors.append(str(error))

    def _failed(self, source: Source, report: FileReport, sentence: str) -> None:
        report.error = sentence
        self._complain(source, sentence)

    def _complain(self, source: Source, sentence: str) -> None:
        if source.named:
            self.errors.append(sentence)
        else:
            self.skipped.append((source.path, sentence))

    def _file(self, source: Source, report: FileReport, before: _Log | None) -> Iterator[Batch]:
        self._open = before
        with open_source(source) as stream:
            blocks = read_blocks(stream, size=self.block_size)
            head, blocks = head_of(blocks, source)
            declaration, margin = self._format(source, head, report)
            if margin:
                head, blocks = (
                    formats.without_margin(head, margin),
                    (formats.without_margin(each, margin) for each in blocks),
                )
            swapped = formats.turned(declaration, head)
            calendar = formats.calendar_of(source.path, self.zone, self.date)
            log = before
            if (
                log is None
                or log.assembler.format != declaration.slug
                or declaration.kind == "capture"
                or not _chained(declaration)
            ):
                if log is not None:
                    yield from self._ended(log)
                reader = formats.reader(declaration, swapped=swapped, calendar=calendar)
                reader.notes = self.notes
                log = _Log(reader, Assembler(declaration.slug, content_absent=declaration.content == "absent"))
            else:
                log.reader.begin(calendar)
            self._open = log
            log.assembler.parts.append(Part(source.path, log.lines + 1))
            log.reports.append(report)
            self.files.append(report)
            try:
                yield from self._blocks(log, blocks, report)
            except UnreadableError as error:
                told = f"; the {report.lines:,} lines before that were read" if report.lines else ""
                report.error = str(error) + told
                self._complain(source, report.error)
            if declaration.kind == "capture":
                yield from self._ended(log)
                self._open = None

    def _blocks(self, log: _Log, blocks: Iterable[Block], report: FileReport) -> Iterator[Batch]:
        start = log.lines

        def parsed() -> Iterator[tuple[int, Events]]:
            for block in blocks:
                yield len(block), log.reader.read(block.shifted(start))

        for length, found in _ahead(parsed()):
            report.lines += length
            log.lines = start + report.lines
            self._note(found, report, start)
            yield from self._told(log, log.assembler.add(found, log.lines))
        end = log.reader.finish()
        if end is not None:
            self._note(end, report, start)
            yield from self._told(log, log.assembler.add(end, log.lines))
        report.not_understood = log.reader.not_understood
        first = log.reader.first_not_understood
        report.first_not_understood = None if first is None else first - start
        report.assumed = log.reader.assumed
        report.replies_only = getattr(log.reader, "replies_only", False)

    def _note(self, found: Events, report: FileReport, start: int) -> None:
        """Set the notes aside, where they are wanted."""
        if self.notes:
            at = np.flatnonzero((found.kind == NOTE) & (lengths(found.text) > 0))
            self._set_aside.append(Notes(report.source, found.line[at] - start, found.time[at], take(found.text, at)))

    def _ended(self, log: _Log) -> Iterator[Batch]:
        yield from self._told(log, log.assembler.finish())

    def _told(self, log: _Log, batch: Batch | None) -> Iterator[Batch]:
        if batch is not None:
            names = {report.source: report for report in log.reports}
            firsts = batch.sessions.events.line[batch.sessions.first]
            edges = np.array([part.first for part in batch.parts[1:]], np.int64)
            counts = np.bincount(np.searchsorted(edges, firsts, side="right"), minlength=len(batch.parts))
            for part, count in zip(batch.parts, counts.tolist(), strict=True):
                names[part.source].dialogs += count
            yield batch

    def _format(self, source: Source, head: Block, report: FileReport) -> tuple[formats.Declaration, formats.Margin]:
        """Which format a file is, and what its lines begin with that is none of it."""
        if self._declaration is not None:
            chosen, margin = self._declaration, formats.margin_before(self._declaration, head)
            report.note = "named by the user"
        else:
            candidates = formats.detect(head)
            if not candidates or candidates[0].score < formats.ENOUGH:
                raise UnknownFormatError(_unplaced(source, head, candidates))
            chosen, margin = formats.declaration(candidates[0].slug), candidates[0].margin
            report.confidence, report.note = candidates[0].score, candidates[0].reason
        report.format = chosen.slug
        return chosen, margin

    # -- answers

    def __iter__(self) -> Iterator[Dialog]:
        """The dialogs one by one; secrets are masked unless ``show_secrets``."""
        for batch in self.batches():
            yield from self.viewed(batch)

    def viewed(self, batch: Batch, which: Iterable[int] | None = None) -> Iterator[Dialog]:
        """Views of a batch as they may be shown."""
        for dialog in batch.dialogs(which):
            if self.notes and not self.show_secrets:
                self._secrets |= redact.secrets(dialog)
            yield dialog if self.show_secrets else redact.redact(dialog)

    def noted(self) -> Iterator[Notes]:
        """The notes of the dialogs that were read before."""
        for each in self._set_aside:
            yield each if self.show_secrets else replace(each, text=redact.masked_column(each.text, self._secrets))

    def check(self, rules: Iterable[Rule] | None = None) -> Iterator[Finding]:
        """The findings of these rules (default: all that are on)."""
        chosen = tuple(rules) if rules is not None else book.chosen()
        for batch in self.batches():
            yield from self.findings_of(batch, chosen)

    def findings_of(self, batch: Batch, rules: tuple[Rule, ...]) -> Iterator[Finding]:
        """The findings in a batch: only dialogs that can have one are looked at."""
        yield from judging.findings(batch, rules, show_secrets=self.show_secrets)

    def checked(
        self, batch: Batch, which: Iterable[int] | None, rules: tuple[Rule, ...]
    ) -> Iterator[tuple[Dialog, list[Finding]]]:
        """Views of a batch as they may be shown, each with its findings."""
        for dialog in batch.dialogs(which):
            found = judging.check(dialog, rules, show_secrets=self.show_secrets)
            yield dialog if self.show_secrets else redact.redact(dialog), found

    def summary(self, rules: Iterable[Rule] | None = None) -> Summary:
        """Counts of everything, in one reading."""
        from smtplog.summary import Summary

        chosen = tuple(rules) if rules is not None else book.chosen()
        total = Summary()
        for batch in _ahead(self.batches()):
            total.add(batch, judging.tally(batch, chosen), mask=not self.show_secrets)
        total.told(self.files, self.skipped)
        return total

    @property
    def dialogs(self) -> pd.DataFrame:
        """One row a dialog; columns in :func:`smtplog.tables.dialogs_frame`."""
        from smtplog import tables

        return tables.dialogs_frame(self)

    @property
    def exchanges(self) -> pd.DataFrame:
        """One row an exchange; columns in :func:`smtplog.tables.exchanges_frame`."""
        from smtplog import tables

        return tables.exchanges_frame(self)

    @property
    def transactions(self) -> pd.DataFrame:
        """One row a transaction; columns in :func:`smtplog.tables.transactions_frame`."""
        from smtplog import tables

        return tables.transactions_frame(self)

    @property
    def findings(self) -> pd.DataFrame:
        """One row a finding; columns in :func:`smtplog.tables.findings_frame`."""
        from smtplog import tables

        return tables.findings_frame(self.check())

    @property
    def events(self) -> pd.DataFrame:
        """One row an event, with ``notes`` one row a note behind them; columns in :func:`smtplog.tables.events_frame`."""
        from smtplog import tables

        return tables.events_frame(self, self.noted())

    def __repr__(self) -> str:
        return f"<smtplog.Transcript of {', '.join(self.paths)}>"

    def _repr_html_(self) -> str:
        from smtplog import tables

        return tables.overview_html(self.summary())


def read(
    *paths: str | Path,
    input_format: str | None = None,
    grammar: str | Path | None = None,
    date: date | None = None,
    timezone: str | None = None,
    block_size: int | None = None,
    show_secrets: bool = False,
    notes: bool = False,
) -> Transcript:
    """Open logs: files, directories, globs, ``-``; compressed or not; each format told from its head.

    ``grammar`` is a declaration of your own (``my.lark``; CONTRIBUTING.md), as which all of them are then read.
    ``date`` is the day of the log, for stamps without a year or a date; ``timezone`` (``Europe/Berlin``, ``+02:00``) that of
    stamps without one. ``notes``: ``events`` holds the lines that are part of no dialog too. What was assumed for want of them stands in ``files``. Nothing is read before a question is asked; what cannot be
    read then stands in ``errors`` and ``skipped``.
    """
    return Transcript(
        paths,
        input_format=input_format,
        grammar=grammar,
        date=date,
        timezone=timezone,
        block_size=block_size,
        show_secrets=show_secrets,
        notes=notes,
    )


def _ahead(items: Iterator[_T]) -> Iterator[_T]:
    """The same items, the next two made in another thread meanwhile: reading a block, pairing the one before it and judging
    the one before that use all cores there are, as each spends its time in numpy and Arrow. A log of one block needs no
    thread."""
    first = next(items, None)
    if first is None:
        return
    second = next(items, None)
    yield first
    if second is None:
        return
    yield second
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, items, None) for _ in range(2))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(pool.submit(next, items, None))
            yield item


def _chained(declaration: formats.Declaration) -> bool:
    """Whether a session may go on in the next file: where lines bear a key, and logs of the kind are rotated at all."""
    return declaration.rotated and (declaration.kind == "delimited" or "KEY" in declaration.grammar)


def head_of(blocks: Iterator[Block], source: Source) -> tuple[Block, Iterator[Block]]:
    """The head of a file as one block, and all blocks again."""
    seen: list[Block] = []
    size = 0
    for block in blocks:
        seen.append(block)
        size += len(block.data)
        if size >= HEAD:
            break
    if not seen:
        raise UnreadableError(
            f"{source.path} is empty: there is nothing to analyse; check where the log was written to"
        )
    head = _cut(_joined(seen))
    reason = looks_binary(head.data[: 1 << 16])
    if reason:
        raise UnreadableError(f"{source.path} is no text: {reason}")
    return head, chain(seen, blocks)


def _joined(blocks: list[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    ends = np.cumsum([0] + [len(block.data) for block in blocks])
    parts = [block.offsets[1:] + end for block, end in zip(blocks, ends.tolist(), strict=False)]
    offsets = np.concatenate([np.zeros(1, np.int32), *parts]).astype(np.int32)
    eol, flags = (np.concatenate([getattr(block, name) for block in blocks]) for name in ("eol", "flags"))
    return Block(b"".join(bytes(block.data) for block in blocks), offsets, eol, flags, blocks[0].first)


def _cut(block: Block) -> Block:
    """The lines that end within the first HEAD octets, one at least."""
    n = max(int(np.searchsorted(block.offsets, HEAD, side="right")) - 1, 1)
    if n >= len(block):
        return block
    end = int(block.offsets[n])
    return Block(bytes(block.data[:end]), block.offsets[: n + 1], block.eol[:n], block.flags[:n], block.first)


def _unplaced(source: Source, head: Block, candidates: list[Any]) -> str:
    if (other := reference.other_log([head.line(i) for i in range(min(len(head), 400))])) is not None:
        return (
            f"{source.path} ({len(head):,} lines looked at) holds no SMTP dialog: it is {other.key}, which holds {other['holds']}; "
            f"to have the dialog logged, {other['next']}"
        )
    near = ", ".join(f"{each.slug} ({each.reason})" for each in candidates[:3])
    nearest = f"the nearest are {near}" if near else "no line bears the signature of a known format"
    return (
        f"{source.path} ({len(head):,} lines looked at) holds no SMTP dialog in a format that is known here: {nearest}; "
        "name one with --input-format (see smtplog formats)"
    )
