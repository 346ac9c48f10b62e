"""The readers: lines of a log in, events out, by nothing but the format's declaration.

A reader keeps what must survive a block: the columns of a delimited log, the lines of a capture whose session is not at
its end, the clock of a notation that writes times on lines of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import numpy as np

from smtplog import events
from smtplog.events import CLIENT, FALLBACK, INFERRED, KINDS, NOTE, SERVER, TLS, TLS_ACTIVE, Events, Strings
from smtplog.formats.clock import microseconds
from smtplog.formats.declaration import Declaration
from smtplog.formats.peelers import peel_lines
from smtplog.grammar import Shape, rule_names, shapes
from smtplog.lines import Block


class Reader:
    """Reads one log (all of its rotated files) block by block."""

    def __init__(self, declaration: Declaration, *, swapped: bool = False, latest: date | None = None) -> None:
        self.declaration = declaration
        self.swapped = swapped  #: client and server change places (the vote over the payloads)
        self.latest = latest
        self.not_understood = 0
        self.first_not_understood: int | None = None

    def read(self, block: Block) -> Events:
        """The events of a block, notes among them."""
        raise NotImplementedError

    def finish(self) -> Events | None:
        """What the end of a file brings to light."""
        return None

    def _strange(self, lines: np.ndarray) -> None:
        self.not_understood += len(lines)
        if len(lines) and self.first_not_understood is None:
            self.first_not_understood = int(lines[0])

    def _sided(self, kind: np.ndarray) -> np.ndarray:
        if not self.swapped:
            return kind
        other = np.arange(len(KINDS), dtype=np.uint8)
        other[[CLIENT, SERVER]] = other[[SERVER, CLIENT]]
        return other[kind]


def reader(declaration: Declaration, *, swapped: bool = False, latest: date | None = None) -> Reader:
    """The reader for the kind of this declaration."""
    from smtplog.formats.captures import CaptureReader
    from smtplog.formats.delimited import DelimitedReader

    kinds: dict[str, type[Reader]] = {"lines": LineReader, "capture": CaptureReader, "delimited": DelimitedReader}
    return kinds[declaration.kind](declaration, swapped=swapped, latest=latest)


def column_of(block: Block) -> Strings:
    """The lines of a block as a column."""
    return events.strings(block.data, block.offsets)


def block_flags(block: Block) -> np.ndarray:
    """The flags of the lines as flags of events."""
    return np.where(block.flags & 2, np.uint8(FALLBACK), np.uint8(0)) | np.where(
        block.flags & 1, np.uint8(8), np.uint8(0)
    )


class LineReader(Reader):
    """A format whose grammar is that of one line: its terminals, run over whole columns."""

    def __init__(self, declaration: Declaration, *, swapped: bool = False, latest: date | None = None) -> None:
        super().__init__(declaration, swapped=swapped, latest=latest)
        names = rule_names(declaration.grammar)
        self.shapes: tuple[Shape, ...] = shapes(declaration.slug, names)
        self._held: tuple[Events, np.ndarray] | None = None
        self._clock = events.NO_TIME
        self._peel = declaration.peel
        literals = {shape.literal for shape in self.shapes}
        self._literals = "" if "" in literals else "|".join(_escaped(each) for each in _shortest(literals))

    def read(self, block: Block) -> Events:
        lines = column_of(block)
        numbers = block.first + np.arange(len(block), dtype=np.int64)
        flags, eol = block_flags(block), block.eol
        if self._peel:
            lines, numbers, flags, eol = peel_lines(self._peel, lines, numbers, flags, eol)
        position, rule, columns = self._match(lines)
        found = self._events(position, rule, columns, numbers, flags, eol)
        rest = np.ones(len(lines), np.bool_)
        rest[position] = False
        if not self._literals:
            self._strange(numbers[rest & (events.lengths(lines) > 0)])
        return found

    def _match(self, lines: Strings) -> tuple[np.ndarray, np.ndarray, dict[str, Strings]]:
        """Where a shape fits, which (position in ``shapes``), and the fields, ordered by line."""
        left = np.arange(len(lines))
        if self._literals:
            left = left[events.found(lines, self._literals)]
        rest = events.take(lines, left) if len(left) < len(lines) else lines
        positions, rules, parts = [], [], []
        for number, shape in enumerate(self.shapes):
            if not len(left):
                break
            mask, fields = events.extracted(rest, shape.pattern)
            if mask.any():
                positions.append(left[mask])
                rules.append(np.full(len(positions[-1]), number, np.int16))
                parts.append(fields)
                left, rest = left[~mask], events.take(rest, np.flatnonzero(~mask))
        if not positions:
            return np.zeros(0, np.int64), np.zeros(0, np.int16), {}
        position = np.concatenate(positions)
        order = np.argsort(position, kind="stable")
        columns = {name: events.take(_stacked(name, positions, parts), order) for name in _names(parts)}
        return position[order], np.concatenate(rules)[order], columns

    def _events(
        self,
        position: np.ndarray,
        rule: np.ndarray,
        columns: dict[str, Strings],
        numbers: np.ndarray,
        flags: np.ndarray,
        eol: np.ndarray,
    ) -> Events:
        n = len(position)
        kinds = np.array([_kind(shape.rule) for shape in self.shapes], np.uint8)
        marks = np.array([_mark(shape.rule) for shape in self.shapes], np.uint8)
        text = columns.get("TEXT", events.from_list([""] * n))
        suffix = [shape.rule.rpartition("_")[2] for shape in self.shapes]
        spoken = np.isin(kinds, (CLIENT, SERVER, KINDS.index("content"), KINDS.index("gap"), NOTE))[rule]
        if not spoken.all():  # an event's text says how it went: closed "client", tls "failed"
            at = np.flatnonzero(~spoken)
            words = [_how(self.shapes[number].rule, suffix[number]) for number in rule[at].tolist()]
            text = _replaced(text, at, words)
        keys = {name.lower(): events.encoded(columns[name]) for name in ("KEY", "CLIENT", "SERVER") if name in columns}
        if "key" in keys:
            keys["key"] = events.encoded(
                events.joined(*(columns[name] for name in ("KEY", "CLIENT", "SERVER") if name in columns))
            )
        found = Events.build(
            self._sided(kinds[rule]),
            numbers[position],
            text,
            flags=flags[position] | marks[rule],
            eol=eol[position],
            time=microseconds(columns["TIME"], self.latest) if "TIME" in columns else None,
            key=keys.get("key"),
            client=keys.get("client"),
            server=keys.get("server"),
        )
        return self._unfolded(found, rule)

    def _unfolded(self, found: Events, rule: np.ndarray, *, final: bool = False) -> Events:
        """Raw octets become the lines they hold, folded lines join the one before, clock lines set the time. The last
        line of a block waits: the next one may be folded."""
        names = [shape.rule for shape in self.shapes]
        if not any(name.endswith("_raw") or name in ("more", "clock", "wait") for name in names):
            return found
        from smtplog.formats.notation import Unfolder

        if self._held is not None:
            found, rule = Events.concat([self._held[0], found]), np.concatenate([self._held[1], rule])
            self._held = None
        if not final and len(found):
            whole = np.flatnonzero([names[number] != "more" for number in rule.tolist()])
            last = int(whole[-1]) if len(whole) else 0
            self._held = (found.take(np.arange(last, len(found))), rule[last:])
            found, rule = found.take(np.arange(last)), rule[:last]
        unfolder = Unfolder(self._clock)
        found = unfolder.unfold(found, [names[number] for number in rule.tolist()])
        self._clock = unfolder.clock
        return found

    def finish(self) -> Events | None:
        if self._held is None:
            return None
        held, rule = self._held
        self._held = None
        return self._unfolded(held, rule, final=True)


def _names(parts: list[dict[str, Strings]]) -> Iterator[str]:
    yield from dict.fromkeys(name for part in parts for name in part)


def _stacked(name: str, positions: list[np.ndarray], parts: list[dict[str, Strings]]) -> Strings:
    import pyarrow as pa

    empty = [
        part[name] if name in part else events.from_list([""] * len(position))
        for position, part in zip(positions, parts, strict=True)
    ]
    return pa.concat_arrays(empty)


def _replaced(column: Strings, at: np.ndarray, words: list[str]) -> Strings:
    import pyarrow as pa

    stack = pa.concat_arrays([column, events.from_list(words)])
    index = np.arange(len(column))
    index[at] = len(column) + np.arange(len(at))
    return events.take(stack, index)


def _kind(rule: str) -> int:
    name = rule.split("_")[0]
    return KINDS.index(name) if name in KINDS else NOTE


def _mark(rule: str) -> int:
    said = rule.split("_")[0] in ("client", "server", "gap")
    return (TLS_ACTIVE if said and rule.endswith("_tls") else 0) | (INFERRED if rule.endswith("_inferred") else 0)


def _how(rule: str, suffix: str) -> str:
    if KINDS.index("tls") == TLS and rule.split("_")[0] == "tls":
        return suffix if suffix in ("active", "failed") else "ok"
    return suffix if "_" in rule else ""


def _escaped(literal: str) -> str:
    return "".join("\\" + c if c in r"\.+*?()|[]{}^$" else c for c in literal)


def _shortest(literals: set[str]) -> list[str]:
    return sorted(each for each in literals if not any(other != each and other in each for other in literals))
