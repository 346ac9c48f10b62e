"""Delimited logs: a declaration that names the columns, read by pyarrow's CSV reader.

Comments and header lines are cut out of a block first; they set the columns, the separator and the side for what follows.
Without a header the first row tells the separator, where the declaration knows several. Where rows do not equal lines — a
stray quote, a wrapped or cut row — that block is read line by line. A log that puts nothing between quotes is cut at each
separator, however many columns a row has.
"""

from __future__ import annotations

import csv
import re
from typing import Any

import numpy as np

from smtplog import events
from smtplog.events import CLIENT, CLOSED, KINDS, NOTE, SERVER, TLS, Events, Strings
from smtplog.formats.clock import Calendar
from smtplog.formats.declaration import Declaration
from smtplog.formats.readers import Reader
from smtplog.formats.row_exchanges import RowExchanges
from smtplog.lines import Block

_WANTED = ("time", "key", "event", "verb", "text", "answer", "context", "here", "there")


class DelimitedReader(Reader):
    """Reads a delimited log."""

    def __init__(self, declaration: Declaration, *, swapped: bool = False, calendar: Calendar | None = None) -> None:
        super().__init__(declaration, swapped=swapped, calendar=calendar)
        head = declaration.head
        self._columns: list[str] = list(head["columns"])
        self._side = "server"  # the side of the program that writes
        self._comment: str = head["comment"]
        self._separators = tuple(head["separator"])
        self._separator: str = self._separators[0]
        self._learnt = len(self._separators) == 1
        self._quote: str = head.get("quote", '"')
        self._begins: str = head.get("row", "")
        told = "exchange" in head or "exchange" in head["event"].values()
        self._exchanges = RowExchanges(head.get("exchange", {})) if told else None
        self._needed = ("key", "event", "text", "verb") if told else ("key", "event", "text")
        #: Text, line and end of a row that the next block may go on with.
        self._begun: tuple[str, int, int] | None = None
        self._told = False  # it is a note already

    def read(self, block: Block) -> Events:
        skipped = self._no_rows(block)
        is_row = np.ones(len(block), np.bool_)
        is_row[skipped] = False
        rows = np.flatnonzero(is_row)
        begun, parts = self._begun, []
        if begun is not None and len(block):
            self._begun, told, self._told = None, self._told, False
            goes_on = is_row[0] and block.line(0)[:1].isspace()
            row = self._row(begun[0] + block.line(0).strip()) if goes_on else None
            if row is not None or not told:
                parts.append(self._one(begun, row))
            if row is not None:
                skipped, rows = np.concatenate([rows[:1], skipped]), rows[1:]
        first = 0
        for at in skipped[block.offsets[skipped] < block.offsets[skipped + 1]].tolist():
            said = self._header(block.line(at))
            if said is not None:  # what stands before is told as the head before says
                before = int(np.searchsorted(rows, at))
                parts += self._rows(block, rows[first:before])
                self._columns, self._separator, self._learnt, self._side = said
                first = before
        parts += self._rows(block, rows[first:])
        if len(skipped):
            parts.append(self._notes(block, skipped))
        return _ordered(parts) if parts else Events.build(np.zeros(0), np.zeros(0), events.from_list([]))

    def finish(self) -> Events | None:
        if self._begun is None or self._told:
            return None
        self._told = True  # the next file may yet go on with it
        return self._one(self._begun, None)

    def _one(self, begun: tuple[str, int, int], row: list[str] | None) -> Events:
        """A row that began in another block; a note where it did not go on."""
        text, line, eol = begun
        at, ends = np.array([line], np.int64), np.array([eol], np.uint8)
        if row is None:
            self._strange(at)
            return Events.build(np.array([NOTE]), at, events.from_list([text]), eol=ends)
        return self._events(self._fields([row]), at, ends)

    def _no_rows(self, block: Block) -> np.ndarray:
        """The lines that are comments or blank, by their first octets."""
        starts, stops = block.offsets[:-1], block.offsets[1:]
        data = np.frombuffer(block.data, np.uint8) if len(block.data) else np.zeros(1, np.uint8)
        first = data[np.minimum(starts, len(data) - 1)]
        name = self.declaration.head["columns"][0]
        marks = (ord(self._comment), 0xEF, ord(" "), ord("\t"), ord('"'), ord(name[0]))
        maybe = np.flatnonzero((starts == stops) | np.isin(first, marks))
        said = [block.line(i).lstrip('\ufeff \t"') for i in maybe.tolist()]
        cut = [
            not line or line.startswith(self._comment) or (line.startswith(name) and self._named(line) is not None)
            for line in said
        ]
        return maybe[cut] if said else maybe

    def _header(self, line: str) -> tuple[list[str], str, bool, str] | None:
        """What a line of the head sets for the rows below: the columns, the separator, whether that is known now, and the side.
        None: all stay."""
        line = line.strip("\ufeff \t")
        prefix = self.declaration.head["fields"]
        before = columns, separator, learnt, side = self._columns, self._separator, self._learnt, self._side
        if line.startswith(prefix) or not line.startswith(self._comment):
            named = self._named(line.removeprefix(prefix))
            columns, separator, learnt = (*named, True) if named is not None else (columns, separator, learnt)
        for header, each in self.declaration.head.get("side", {}).items():
            if line.startswith(header):
                side = each
        said = columns, separator, learnt, side
        return None if said == before else said

    def _named(self, line: str) -> tuple[list[str], str] | None:
        """The columns and the separator of a line that names the columns; None: it is none."""
        for separator in self._separators:
            names = [name.strip(' "') for name in line.split(separator)]
            if all(set(self._names(role)) & set(names) for role in self._needed):
                return names, separator
        return None

    def _learn(self, line: str, more: str) -> None:
        """What the first row says where no header did: the separator."""
        for separator in self._separators:
            self._separator = separator
            self._learnt = self._row(line) is not None or self._row(line + more.strip()) is not None
            if self._learnt:
                return
        self._separator = self._separators[0]

    def _rows(self, block: Block, rows: np.ndarray) -> list[Events]:
        """The events of the rows at these places."""
        if not len(rows):
            return []
        if not self._quote:
            return self._split(block, rows)
        if not self._learnt:
            self._learn(block.line(int(rows[0])), block.line(int(rows[1])) if len(rows) > 1 else "")
        fields = self._fast(block, rows)
        if fields is None:
            return self._slow(block, rows)
        return [self._events(fields, block.first + rows, block.eol[rows])]

    def _split(self, block: Block, rows: np.ndarray) -> list[Events]:
        """Rows without quotes are cut at each separator; one that ends before its last column has those that it has. Or the
        declaration says with groups where the columns are."""
        lines = events.stripped(events.take(events.strings(block.data, block.offsets), rows), " \t")
        if "(?P<" in self._begins:
            is_row, cells = events.extracted(lines, f"^{self._begins}")
        else:
            width, cells = events.cells(lines, self._separator, self._columns, self._wanted_names())
            is_row = width > self._columns.index(self._names("event")[0])
            if self._begins:
                is_row &= events.found(lines, f"^{self._begins}")
            cells = {name: events.take(cell, np.flatnonzero(is_row)) for name, cell in cells.items()}
        at = np.flatnonzero(is_row)
        fields = {role: _side_by_side([cells[name] for name in names]) for role, names in self._wanted().items()}
        found = self._events(fields, block.first + rows[at], block.eol[rows[at]])
        strange = rows[~is_row]
        self._strange(block.first + strange)
        return [found, self._notes(block, strange)] if len(strange) else [found]

    def _fast(self, block: Block, rows: np.ndarray) -> dict[str, Any] | None:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        wanted = self._wanted()
        text = pa.string()
        types = dict.fromkeys(self._columns, text)
        few = {name for role in ("key", "event", "here", "there") for name in wanted.get(role, ())}
        few -= {name for role, names in wanted.items() if role in ("time", "text", "verb", "answer") for name in names}
        few -= {name for names in wanted.values() if len(names) > 1 for name in names}
        types |= dict.fromkeys(few, pa.dictionary(pa.int32(), text))
        data = _with_line_ends(block, rows)
        try:
            table = arrow_csv.read_csv(
                pa.BufferReader(data),
                arrow_csv.ReadOptions(column_names=self._columns, block_size=max(len(data), 1), use_threads=True),
                arrow_csv.ParseOptions(delimiter=self._separator, quote_char=self._quote, ignore_empty_lines=False),
                arrow_csv.ConvertOptions(
                    column_types=types,
                    include_columns=self._wanted_names(),
                    strings_can_be_null=False,
                    null_values=[],
                ),
            )
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return None  # a row of another width: line by line
        if table.num_rows != len(rows):
            return None
        return {role: _side_by_side([_whole(table.column(name)) for name in names]) for role, names in wanted.items()}

    def _names(self, role: str) -> tuple[str, ...]:
        """The columns of a role: one, or several side by side."""
        names = self.declaration.head["column"].get(role, ())
        return (names,) if isinstance(names, str) else tuple(names)

    def _wanted_names(self) -> list[str]:
        return list(dict.fromkeys(name for names in self._wanted().values() for name in names))

    def _wanted(self) -> dict[str, tuple[str, ...]]:
        known = {role: tuple(name for name in self._names(role) if name in self._columns) for role in _WANTED}
        return {role: names for role, names in known.items() if names}

    def _slow(self, block: Block, rows: np.ndarray) -> list[Events]:
        """One line at a time; a row wrapped onto an indented line is joined; what is no row is a note."""
        places = rows.tolist()
        found: list[tuple[int, list[str]]] = []
        notes: list[int] = []
        wrapped: list[int] = []
        i = 0
        while i < len(places):
            at, used = places[i], 1
            line = block.line(at)
            row = self._row(line)
            if row is None and places[i + 1 : i + 2] == [at + 1] and block.line(at + 1)[:1].isspace():
                row, used = self._row(line + block.line(at + 1).strip()), 2
            if row is not None:
                found.append((at, row))
                wrapped += range(at + 1, at + used)
            elif at + 1 == len(block):
                self._begun = (line, block.first + at, int(block.eol[at]))
            else:
                notes.append(at)
            i += used if row is not None else 1
        lines = np.array([at for at, _ in found], np.int64)
        parts = (
            [self._events(self._fields([row for _, row in found]), block.first + lines, block.eol[lines])]
            if found
            else []
        )
        self._strange(block.first + np.array(notes, np.int64))
        return [*parts, self._notes(block, np.array(sorted([*notes, *wrapped]), np.int64))]

    def _fields(self, rows: list[list[str]]) -> dict[str, Any]:
        wanted = {role: [self._columns.index(name) for name in names] for role, names in self._wanted().items()}
        return {
            role: events.from_list([" ".join(row[at] for at in places) for row in rows])
            for role, places in wanted.items()
        }

    def _notes(self, block: Block, at: np.ndarray) -> Events:
        texts = events.from_list([block.line(i) for i in at.tolist()])
        return Events.build(np.full(len(at), NOTE), block.first + at, texts, eol=block.eol[at])

    def _row(self, line: str) -> list[str] | None:
        try:
            rows = list(csv.reader([line], delimiter=self._separator, quotechar=self._quote, strict=True))
        except csv.Error:
            return None  # a stray quote: the line is kept as a note
        event = self._columns.index(self._names("event")[0])
        declared = (*self.declaration.head["event"], "*")
        if len(rows) != 1 or len(rows[0]) <= event or ("" not in declared and rows[0][event] not in declared):
            return None
        return (rows[0] + [""] * len(self._columns))[: len(self._columns)]

    def _events(self, fields: dict[str, Any], numbers: np.ndarray, eol: np.ndarray) -> Events:
        n = len(numbers)
        column = events.encoded(fields["event"])
        names = events.listed(events.values(column))
        mine = (CLIENT, SERVER) if self._side == "client" else (SERVER, CLIENT)
        meaning = {"sent": mine[0], "received": mine[1]}
        declared = self.declaration.head["event"]
        said = [declared.get(name, declared.get("", "note")) for name in names]
        kinds = [meaning.get(each, _kind(each)) for each in said]
        kind = np.array(kinds or [NOTE], np.uint8)[events.codes(column)]
        known = np.array([name in declared or name == "*" or "" in declared for name in names] or [True], np.bool_)
        self._strange(numbers[~known[events.codes(column)]])
        text = fields["text"]
        if self._exchanges is not None:
            text = self._exchanges.words(kind, fields)
        if "context" in fields:
            kind, text = self._context(kind, text, fields["context"])
        ends = [
            events.encoded(fields[role]) if role in fields else events.constant("", n) for role in ("there", "here")
        ]
        client, server = ends if (self._side == "server") != self.swapped else ends[::-1]
        found = Events.build(
            self._sided(kind),
            numbers,
            text,
            eol=eol,
            time=self.clock.microseconds(fields["time"]) if "time" in fields else None,
            key=events.encoded(fields["key"]),
            client=client,
            server=server,
        )
        if self._exchanges is None:
            return found
        whole = np.array([each == "exchange" for each in said] or [False], np.bool_)[events.codes(column)]
        return self._exchanges.told(found, whole, fields)

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
            for rule, pattern in self.declaration.head.get("context", {}).items():
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


def _side_by_side(columns: list[Any]) -> Any:
    return columns[0] if len(columns) == 1 else events.joined(*columns)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _with_line_ends(block: Block, rows: np.ndarray) -> bytes:
    """The lines as CSV wants them, one LF behind each."""
    raw: bytes | None = block.raw
    if raw is not None and len(rows) == len(block):
        return raw
    lengths = np.diff(block.offsets)
    kept = np.zeros(len(block), np.bool_)
    kept[rows] = True
    data = np.frombuffer(block.data, np.uint8)[: block.offsets[-1]][np.repeat(kept, lengths)]
    out = np.full(len(data) + len(rows), ord("\n"), np.uint8)
    said = np.ones(len(out), np.bool_)
    said[np.cumsum(lengths[rows] + 1) - 1] = False
    out[said] = data
    return out.tobytes()


def _ordered(parts: list[Events]) -> Events:
    found = Events.concat(parts)
    return found if len(parts) == 1 else found.take(np.argsort(found.line, kind="stable"))
