"""The readers: lines of a log in, events out, by nothing but the format's declaration.

A reader keeps what must survive a block: the columns of a delimited log, the lines of a capture whose session is not at
its end, the clock of a notation that writes times on lines of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from smtplog import events
from smtplog.events import CLIENT, FALLBACK, KINDS, NOTE, SERVER, Events, Strings
from smtplog.formats.assembly import Assembly
from smtplog.formats.clock import Calendar, Clock
from smtplog.formats.declaration import Declaration
from smtplog.formats.peelers import cut_records, peel_lines
from smtplog.grammar import Shape, rule_names, shapes
from smtplog.lines import Block


class Reader:
    """Reads one log (all of its rotated files) block by block."""

    def __init__(self, declaration: Declaration, *, swapped: bool = False, calendar: Calendar | None = None) -> None:
        self.declaration = declaration
        self.swapped = swapped  #: client and server change places (the vote over the payloads)
        self.clock = Clock(declaration.zone, calendar or Calendar())
        self.not_understood = 0  #: lines of this file
        self.first_not_understood: int | None = None  #: counted through all files
        self.notes = False  #: whether the lines that no rule reads are events too

    def begin(self, calendar: Calendar) -> None:
        """The log goes on in another file."""
        self.clock.begin(calendar)
        self.not_understood, self.first_not_understood = 0, None

    def read(self, block: Block) -> Events:
        """The events of a block, notes among them."""
        raise NotImplementedError

    def finish(self) -> Events | None:
        """What the end of a file brings to light."""
        return None

    @property
    def assumed(self) -> list[str]:
        """What the times of the log leave out, and what was taken for it, in sentences."""
        return self.clock.assumed

    def _strange(self, lines: np.ndarray) -> None:
        """Count lines that are not understood."""
        self._counted(len(lines), int(lines.min()) if len(lines) else None)

    def _counted(self, count: int, first: int | None) -> None:
        self.not_understood += count
        if first is not None:
            self.first_not_understood = min(first, self.first_not_understood or first)

    def _sided(self, kind: np.ndarray) -> np.ndarray:
        if not self.swapped:
            return kind
        other = np.arange(len(KINDS), dtype=np.uint8)
        other[[CLIENT, SERVER]] = other[[SERVER, CLIENT]]
        return other[kind]


def reader(declaration: Declaration, *, swapped: bool = False, calendar: Calendar | None = None) -> Reader:
    """The reader for the kind of this declaration."""
    from smtplog.formats.captures import CaptureReader
    from smtplog.formats.delimited import DelimitedReader

    kinds: dict[str, type[Reader]] = {"lines": LineReader, "capture": CaptureReader, "delimited": DelimitedReader}
    return kinds[declaration.kind](declaration, swapped=swapped, calendar=calendar)


def column_of(block: Block) -> Strings:
    """The lines of a block as a column."""
    return events.strings(block.data, block.offsets)


def block_flags(block: Block) -> np.ndarray:
    """The flags of the lines as flags of events."""
    return np.where(block.flags & 2, np.uint8(FALLBACK), np.uint8(0)) | np.where(
        block.flags & 1, np.uint8(8), np.uint8(0)
    )


_TELLS_NOTHING = 0.9  # share of lines that bear a string, above which to look for it saves no work
_SELDOM = 0.2  # share below which each occurrence is worth a step


class LineReader(Reader):
    """A format whose grammar is that of one line: its terminals, run over whole columns."""

    def __init__(self, declaration: Declaration, *, swapped: bool = False, calendar: Calendar | None = None) -> None:
        super().__init__(declaration, swapped=swapped, calendar=calendar)
        self.shapes: tuple[Shape, ...] = shapes(declaration.path, rule_names(declaration.grammar))
        keyless, timeless = self._lacking("KEY"), self._lacking("TIME")
        # Where every word comes with an address, that is part of the key; else it stands in the opening line alone. What is
        # said below a heading has that of the heading.
        said = [each for each in self.shapes if each.rule.split("_")[0] in ("client", "server")]
        addressed = bool(said) and all(re.search(r"\(\?P<(?:CLIENT|SERVER)>", each.pattern) for each in said)
        if addressed:
            keyless |= np.array([each.rule.startswith("said") for each in self.shapes], np.bool_)
        self._key = ("KEY", "CLIENT", "SERVER", "PEER") if addressed else ("KEY", "PEER")
        self._assembly = Assembly(
            tuple(each.rule for each in self.shapes),
            keyless=keyless,
            timeless=timeless,
            breaks=declaration.breaks,
            swapped=swapped,
        )
        self._sized = any("_sized" in each.rule for each in self.shapes)
        literals = {next(iter(shape.literals), "") for shape in self.shapes}
        self._literals = "" if "" in literals else "|".join(_escaped(each) for each in _shortest(literals))

    def _lacking(self, field: str) -> np.ndarray:
        """The shapes of lines that lack a field which other lines have."""
        has = np.array([f"(?P<{field}>" in each.pattern and each.rule != "clock" for each in self.shapes], np.bool_)
        return ~has if has.any() else has

    def read(self, block: Block) -> Events:
        lines, numbers, flags, eol = self._peeled(block)
        position, rule, columns = self._match(lines)
        if not self.declaration.noise:
            rest = events.lengths(lines) > 0
            rest[position] = False
            self._strange(numbers[rest])
        found = self._events(rule, columns, numbers[position], flags[position], eol[position])
        found = self._assembly.take(found, rule, events.take(lines, position) if self._sized else None)
        if self.notes:
            at = np.setdiff1d(np.arange(len(lines)), position)
            texts = events.take(lines, at)
            found = Events.concat(
                [found, Events.build(np.full(len(at), NOTE), numbers[at], texts, flags=flags[at], eol=eol[at])]
            )
        return found

    def finish(self) -> Events | None:
        return self._assembly.finish()

    def _peeled(self, block: Block) -> tuple[Strings, np.ndarray, np.ndarray, np.ndarray]:
        """The lines as the grammar sees them, with their numbers, flags and ends."""
        lines = column_of(block)
        numbers = block.first + np.arange(len(block), dtype=np.int64)
        flags, eol = block_flags(block), block.eol
        if self.declaration.record:
            lines, numbers, flags, eol = cut_records(self.declaration.record, lines, numbers, flags, eol)
        if self.declaration.peel:
            lines, numbers, flags, eol = peel_lines(self.declaration.peel, lines, numbers, flags, eol)
        return lines, numbers, flags, eol

    def fits(self, block: Block) -> np.ndarray:
        """Which shapes (columns) fit which lines (rows), each by itself: what :meth:`read` takes is the first of them."""
        lines, numbers, _, _ = self._peeled(block)
        if self.declaration.tail:
            lines = events.without(lines, self.declaration.tail)
        fitting = np.zeros((len(block), len(self.shapes)), np.bool_)
        for number, shape in enumerate(self.shapes):
            fitting[numbers[events.found(lines, shape.pattern)] - block.first, number] = True
        return fitting

    def _match(self, lines: Strings) -> tuple[np.ndarray, np.ndarray, dict[str, Strings]]:
        """Where a shape fits, which (position in ``shapes``), and the fields, ordered by line."""
        left = np.arange(len(lines))
        if self._literals:
            left = left[events.found(lines, self._literals)]
        rest = events.take(lines, left) if len(left) < len(lines) else lines
        if self.declaration.tail:
            rest = events.without(rest, self.declaration.tail)
        positions, rules, parts = [], [], []
        free, bearing = np.ones(len(left), np.bool_), Bearing(rest)
        for number, shape in enumerate(self.shapes):
            at = np.flatnonzero(free)
            if not len(at):
                break
            at = bearing.those(at, shape.literals)  # few bear its strings: a search for one is much less work
            if not len(at):
                continue
            mask, fields = events.extracted(events.take(rest, at) if len(at) < len(left) else rest, shape.pattern)
            if mask.any():
                positions.append(left[at[mask]])
                rules.append(np.full(len(positions[-1]), number, np.int16))
                parts.append(fields)
                free[at[mask]] = False
        if not positions:
            return np.zeros(0, np.int64), np.zeros(0, np.int16), {}
        position = np.concatenate(positions)
        order = np.argsort(position, kind="stable")
        columns = {name: events.take(_stacked(name, positions, parts), order) for name in _names(parts)}
        return position[order], np.concatenate(rules)[order], columns

    def _events(
        self, rule: np.ndarray, columns: dict[str, Strings], numbers: np.ndarray, flags: np.ndarray, eol: np.ndarray
    ) -> Events:
        """The matched lines as events, each by itself."""
        roles = self._assembly.roles
        text = columns.get("TEXT", events.from_list([""] * len(rule)))
        spoken = np.array([role.spoken for role in roles], np.bool_)[rule]
        if not spoken.all():  # an event's text says how it went: closed "client", tls "failed"
            at = np.flatnonzero(~spoken)
            how = events.take(events.from_list([role.how for role in roles]), rule[at])
            text = events.replaced_at(text, at, how)
        keys = {name.lower(): events.encoded(columns[name]) for name in ("KEY", "CLIENT", "SERVER") if name in columns}
        if any(name in columns for name in self._key):
            keys["key"] = events.encoded(events.joined(*(columns[name] for name in self._key if name in columns)))
        kinds = np.array([role.kind for role in roles], np.uint8)
        unmarked = np.array(
            [role.has("more") for role in roles], np.bool_
        )  # by its form: it is the same side's in every log
        return Events.build(
            np.where(unmarked, kinds, self._sided(kinds))[rule],
            numbers,
            text,
            flags=flags | np.array([role.flags for role in roles], np.uint8)[rule],
            eol=eol,
            time=self.clock.microseconds(columns["TIME"]) if "TIME" in columns else None,
            key=keys.get("key"),
            client=keys.get("client"),
            server=keys.get("server"),
        )


class Bearing:
    """Which lines hold a string: what none or nearly all of them hold costs next to nothing to know."""

    def __init__(self, lines: Strings) -> None:
        self._lines = lines
        data, self._where = events.octets(lines)
        self._octets = data[: self._where[-1]].tobytes()
        self._some = np.arange(0, len(lines), max(len(lines) // 300, 1))
        self._known: dict[str, np.ndarray | None] = {}

    def those(self, at: np.ndarray, literals: tuple[str, ...]) -> np.ndarray:
        """Of these lines the ones that may hold all of the strings."""
        for literal in literals:
            if not len(at):
                break
            if literal not in self._known:
                self._known[literal] = self._search(literal)
            bearing = self._known[literal]
            at = at if bearing is None else at[bearing[at]]
        return at

    def _search(self, literal: str) -> np.ndarray | None:
        if literal.encode() not in self._octets:
            return np.zeros(len(self._lines), np.bool_)
        share = events.bears(events.take(self._lines, self._some), literal).mean()
        if share > _TELLS_NOTHING:
            return None
        if share > _SELDOM:
            return events.bears(self._lines, literal)
        words, at, found = literal.encode(), int(self._where[0]), list[int]()
        while (at := self._octets.find(words, at)) >= 0:
            found.append(at)
            at += 1  # what goes across the end of a line may overlap the next
        begins = np.array(found, np.int64)
        line = np.searchsorted(self._where, begins, side="right") - 1
        bearing = np.zeros(len(self._lines), np.bool_)
        bearing[line[begins + len(words) <= self._where[line + 1]]] = True  # not across the end of a line
        return bearing


def _names(parts: list[dict[str, Strings]]) -> Iterator[str]:
    yield from dict.fromkeys(name for part in parts for name in part)


def _stacked(name: str, positions: list[np.ndarray], parts: list[dict[str, Strings]]) -> Strings:
    import pyarrow as pa

    empty = [
        part[name] if name in part else events.from_list([""] * len(position))
        for position, part in zip(positions, parts, strict=True)
    ]
    return pa.concat_arrays(empty)


def _escaped(literal: str) -> str:
    return "".join("\\" + c if c in r"\.+*?()|[]{}^$" else c for c in literal)


def _shortest(literals: set[str]) -> list[str]:
    return sorted(each for each in literals if not any(other != each and other in each for other in literals))
