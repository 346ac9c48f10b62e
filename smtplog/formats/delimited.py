"""Delimited logs: a declaration that names the columns, read by pyarrow's CSV reader.

Comments and header lines are cut out of a block first; they set the columns and the side for what follows. Where rows do
not equal lines — a stray quote, a wrapped or cut row — that block is read line by line.
"""

from __future__ import annotations

import csv
import itertools
import re
from typing import Any

import numpy as np

from smtplog import events
from smtplog.events import CLIENT, CLOSED, KINDS, NOTE, SERVER, TLS, Events, Strings
from smtplog.formats.clock import Calendar
from smtplog.formats.declaration import Declaration
from smtplog.formats.readers import Reader
from smtplog.lines import Block

_WANTED = ("time", "key", "event", "text", "context", "here", "there")


class DelimitedReader(Reader):
    """Reads a delimited log."""

    def __init__(self, declaration: Declaration, *, swapped: bool = False, calendar: Calendar | None = None) -> None:
        super().__init__(declaration, swapped=swapped, calendar=calendar)
        head = declaration.head
        self._columns: list[str] = list(head["columns"])
        self._side = "server"  # the side of the program that writes
        self._comment: str = head["comment"]
        self._separator: str = head["separator"]

    def read(self, block: Block) -> Events:
        skipped = self._no_rows(block)
        edges = [-1, *skipped.tolist(), len(block)]
        parts = []
        for start, stop in itertools.pairwise(edges):
            if start >= 0:
                self._header(block.line(start))
            if stop - start > 1:
                parts.append(self._rows(block, start + 1, stop))
        if len(skipped):
            texts = events.from_list([block.line(i) for i in skipped.tolist()])
            parts.append(
                Events.build(np.full(len(skipped), NOTE), block.first + skipped, texts, eol=block.eol[skipped])
            )
        return _ordered(parts) if parts else Events.build(np.zeros(0), np.zeros(0), events.from_list([]))

    def _no_rows(self, block: Block) -> np.ndarray:
        """The lines that are comments or blank, by their first octets."""
        starts, stops = block.offsets[:-1], block.offsets[1:]
        data = np.frombuffer(block.data, np.uint8) if len(block.data) else np.zeros(1, np.uint8)
        first = data[np.minimum(starts, len(data) - 1)]
        maybe = np.flatnonzero((starts == stops) | np.isin(first, (ord(self._comment), 0xEF, ord(" "), ord("\t"))))
        said = [block.line(i).lstrip("\ufeff \t") for i in maybe.tolist()]
        return maybe[[not line or line.startswith(self._comment) for line in said]] if said else maybe

    def _header(self, line: str) -> None:
        line = line.lstrip("\ufeff \t")
        prefix = self.declaration.head["fields"]
        if line.startswith(prefix):
            names = [name.strip() for name in line[len(prefix) :].split(self._separator)]
            column = self.declaration.head["column"]
            if {column["key"], column["event"], column["text"]} <= set(names):
                self._columns = names
        for header, side in self.declaration.head["side"].items():
            if line.startswith(header):
                self._side = side

    def _rows(self, block: Block, start: int, stop: int) -> Events:
        fields = self._fast(block, start, stop)
        if fields is None:
            return self._slow(block, start, stop)
        return self._events(fields, block.first + np.arange(start, stop), block.eol[start:stop])

    def _fast(self, block: Block, start: int, stop: int) -> dict[str, Any] | None:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        wanted = self._wanted()
        text = pa.string()
        types = dict.fromkeys(self._columns, text)
        for role in ("key", "event", "here", "there"):
            if role in wanted:
                types[wanted[role]] = pa.dictionary(pa.int32(), text)
        data = _with_line_ends(block, start, stop)
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(data),
                arrow_csv.ReadOptions(column_names=self._columns, block_size=max(len(data), 1), use_threads=True),
                arrow_csv.ParseOptions(delimiter=self._separator, ignore_empty_lines=False),
                arrow_csv.ConvertOptions(
                    column_types=types, include_columns=list(wanted.values()), strings_can_be_null=False, null_values=[]
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return None  # a row of another width: line by line
        if table.num_rows != stop - start:
            return None
        return {role: _whole(table.column(name)) for role, name in wanted.items()}

    def _wanted(self) -> dict[str, str]:
        roles = self.declaration.head["column"]
        return {role: roles[role] for role in _WANTED if role in roles and roles[role] in self._columns}

    def _slow(self, block: Block, start: int, stop: int) -> Events:
        """One line at a time; a row wrapped onto an indented line is joined; what is no row is a note."""
        wanted = {role: self._columns.index(name) for role, name in self._wanted().items()}
        rows: list[tuple[int, list[str]]] = []
        notes: list[int] = []
        i = start
        while i < stop:
            line, used = block.line(i), 1
            row = self._row(line)
            if row is None and i + 1 < stop and block.line(i + 1)[:1].isspace():
                row, used = self._row(line + block.line(i + 1).strip()), 2
            if row is None:
                notes.append(i)
                i += 1
            else:
                rows.append((i, row))
                notes += range(i + 1, i + used)
                i += used
        fields = {role: events.from_list([row[at] for _, row in rows]) for role, at in wanted.items()}
        at = np.array([i for i, _ in rows], np.int64)
        found = self._events(fields, block.first + at, block.eol[at]) if rows else None
        strange = np.array(notes, np.int64)
        self._strange(block.first + strange)
        texts = events.from_list([block.line(i) for i in notes])
        left = Events.build(np.full(len(notes), NOTE), block.first + strange, texts, eol=block.eol[strange])
        return _ordered([left] if found is None else [found, left])

    def _row(self, line: str) -> list[str] | None:
        try:
            rows = list(csv.reader([line], delimiter=self._separator, strict=True))
        except csv.Error:
            return None  # a stray quote: the line is kept as a note
        event = self._columns.index(self.declaration.head["column"]["event"])
        if len(rows) != 1 or len(rows[0]) <= event or rows[0][event] not in (*self.declaration.head["event"], "*"):
            return None
        return (rows[0] + [""] * len(self._columns))[: len(self._columns)]

    def _events(self, fields: dict[str, Any], numbers: np.ndarray, eol: np.ndarray) -> Events:
        n = len(numbers)
        column = events.encoded(fields["event"])
        names = events.listed(events.values(column))
        mine = (CLIENT, SERVER) if self._side == "client" else (SERVER, CLIENT)
        meaning = {"sent": mine[0], "received": mine[1]}
        declared = self.declaration.head["event"]
        kinds = [meaning.get(declared.get(name, ""), _kind(declared.get(name, "note"))) for name in names]
        kind = np.array(kinds or [NOTE], np.uint8)[events.codes(column)]
        known = np.array([name in declared or name == "*" for name in names] or [True], np.bool_)
        self._strange(numbers[~known[events.codes(column)]])
        text = fields["text"]
        if "context" in fields:
            kind, text = self._context(kind, text, fields["context"])
        ends = [
            events.encoded(fields[role]) if role in fields else events.constant("", n) for role in ("there", "here")
        ]
        client, server = ends if (self._side == "server") != self.swapped else ends[::-1]
        return Events.build(
            self._sided(kind),
            numbers,
            text,
            eol=eol,
            time=self.clock.microseconds(fields["time"]) if "time" in fields else None,
            key=events.encoded(fields["key"]),
            client=client,
            server=server,
        )

    def _context(self, kind: np.ndarray, text: Strings, context: Strings) -> tuple[np.ndarray, Strings]:
        """What the context column makes of notes and closes."""
        closed = np.flatnonzero(kind == CLOSED)
        if len(closed):
            text = events.replaced_at(
                text, closed, [self._closed_by(each) for each in events.listed(events.take(context, closed))]
            )
        notes = np.flatnonzero(kind == NOTE)
        if len(notes):
            said = events.take(context, notes)
            for rule, pattern in self.declaration.head["context"].items():
                at = notes[events.found(said, pattern)]
                if len(at):
                    kind = kind.copy()
                    kind[at] = TLS
                    text = events.replaced_at(text, at, ["failed" if rule.endswith("failed") else "ok"] * len(at))
        return kind, text

    def _closed_by(self, context: str) -> str:
        if re.search(r"(?i)time", context):
            return "timeout"
        here, there = ("server", "client") if self._side == "server" else ("client", "server")
        return here if context.startswith("Local") else there if context.startswith("Remote") else ""


def _kind(name: str) -> int:
    return KINDS.index(name) if name in KINDS else NOTE


def _whole(column: Any) -> Any:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _with_line_ends(block: Block, start: int, stop: int) -> bytes:
    """The lines as CSV wants them, one LF behind each."""
    raw: bytes | None = block.raw
    if raw is not None and stop - start == len(block):
        return raw
    first, last = int(block.offsets[start]), int(block.offsets[stop])
    data = np.frombuffer(block.data, np.uint8)[first:last]
    ends = block.offsets[start + 1 : stop + 1] - first
    out = np.empty(len(data) + len(ends), np.uint8)
    at = ends + np.arange(len(ends))
    mask = np.ones(len(out), np.bool_)
    mask[at] = False
    out[at] = ord("\n")
    out[mask] = data
    return out.tobytes()


def _ordered(parts: list[Events]) -> Events:
    found = Events.concat(parts)
    return found if len(parts) == 1 else found.take(np.argsort(found.line, kind="stable"))
