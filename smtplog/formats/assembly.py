"""What one line of a log does not say alone.

A line may leave out whose session it is, go on where the line before ended, hold several lines of the wire or half of one,
or name the side that speaks in the lines below it. The names of the grammar's rules tell which: see :class:`~smtplog.formats.roles.Role`.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from smtplog import events
from smtplog.events import (
    AS_SENT,
    CLIENT,
    CLOSED,
    CONTENT,
    FALLBACK,
    GAP,
    KINDS,
    NO_TIME,
    NOTE,
    OPENED,
    SERVER,
    TLS,
    Events,
    Strings,
)
from smtplog.formats.chunks import Chunks
from smtplog.formats.roles import Role
from smtplog.formats.sealed import Sealed
from smtplog.formats.sizes import Sizes
from smtplog.lines import CR, CRLF, LF, NONE

_ESCAPE = re.compile(
    rb"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|u\{([0-9A-Fa-f]{1,6})\}|([0-3][0-7]{2})|(.))", re.DOTALL
)
_NAMED = {
    **{bytes([octet]): bytes([octet]) for octet in b"\\\"'#/"},
    **dict(zip((b"a", b"b", b"t", b"n", b"v", b"f", b"r"), (bytes([octet]) for octet in range(7, 14)), strict=True)),
    b"0": b"\0",
    b"e": b"\x1b",
}
_ENCODED = re.compile(r"(?:^| )[A-Za-z0-9+/]{24,}$")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_WIRE_LINE = re.compile(rb"([^\r\n]*)(\r+\n|\n|\r\x00*|$)")
_WRITTEN_END = re.compile(r"<CRLF>|<EOL>|(?:\\r)+\\n")  # a line end in words
_PLAIN_END = r"(?:\\r\\n|\\015\\012)"  # a line end in a string literal
_PLAIN_ENDS = re.compile(_PLAIN_END)
_LAST_END = re.compile(f"(?:{_WRITTEN_END.pattern})$")
_LARGEST = 1 << 20  # octets of one line that is put together from parts


class Assembly:
    """Puts the matched lines of one log together, block by block; keeps what the next block needs."""

    def __init__(
        self,
        rules: tuple[str, ...],
        *,
        keyless: np.ndarray,
        timeless: np.ndarray,
        breaks: str = "",
        swapped: bool = False,
    ) -> None:
        """``rules`` names the rule of each shape, ``keyless`` and ``timeless`` say which of them lack a key or a time that
        others of the grammar have; ``breaks`` stands for a line end inside a line; ``swapped``: the
        sides change places."""
        self._breaks = breaks
        self.roles = tuple(Role(rule) for rule in rules)
        heading = np.array([role.heading for role in self.roles], np.int16)
        if swapped:
            heading = np.where(heading == CLIENT, SERVER, np.where(heading == SERVER, CLIENT, heading))
        self._sizes: Sizes | None = None
        if any(role.has("sized") for role in self.roles):
            said = [role.rule for role in self.roles].index("said")
            self._sizes = Sizes(self.roles, heading)
            self.roles = (*self.roles, self._sizes.part)
            heading, keyless, timeless = (np.append(each, each[said]) for each in (heading, keyless, timeless))
        self._keyless, self._timeless = keyless, timeless
        self._slow = np.array([role.slow for role in self.roles], np.bool_)
        self._is_said = np.array([role.name == "said" for role in self.roles], np.bool_)
        self._heading = heading
        self._quoted = np.array([role.has("quoted") for role in self.roles], np.bool_)
        self._raw = np.array([role.has("raw") for role in self.roles], np.bool_)
        self._tail = np.array([role.has("tail") for role in self.roles], np.bool_)
        self._undoubled = np.array([role.has("undoubled") for role in self.roles], np.bool_)
        self._whole = np.array([role.has("whole") for role in self.roles], np.bool_)
        self._part = np.array([role.part for role in self.roles], np.bool_)
        self._more = np.array([role.has("more") for role in self.roles], np.bool_)
        self._text = np.array([role.name == "content" and role.has("more") for role in self.roles], np.bool_)
        self._nested = np.array([role.has("nested") for role in self.roles], np.bool_)
        self._cut = np.array([role.has("cut") for role in self.roles], np.bool_)
        self._kept = np.array([role.has("kept") for role in self.roles], np.bool_)
        self._lost: bool | None = None  # whether the log was written again with LF for CRLF
        self._outbound = np.array([role.has("outbound") for role in self.roles], np.bool_)
        self._opened_tls = np.array([role.name == "opened" and role.has("tls") for role in self.roles], np.bool_)
        self._open_end = np.array([role.has("open") for role in self.roles], np.bool_)
        self._folded = np.array([role.name == "more" for role in self.roles], np.bool_)
        self._folds = any(role.name == "more" or role.has("open") for role in self.roles)
        self._late = np.array([role.name == "wait" and role.has("after") for role in self.roles], np.bool_)
        self._wire = any(role.octets for role in self.roles)
        shows = self._sizes is not None or any(role.part or role.has("kept") for role in self.roles)
        dotted = self._sizes is not None or bool((self._kept | (self._cut & self._is_said)).any())
        self._octets = (Chunks(), Sealed(dotted=dotted)) if shows else None
        self._clock = NO_TIME
        self._side = NOTE  # of the last heading
        self._record = False  # whether what stands below the last heading ends with a line
        self._before: dict[bool, Events] = {}  # nested or not → the last such line, for what the next ones leave out
        self._outward: set[str] = set()  # keys whose sides are the other way round
        self._spoke: dict[str, int] = {}  # key → side of its last line
        self._waits: dict[str, int] = {}  # key → 1 while its server waits for message text
        self._held: tuple[Events, np.ndarray] | None = None  # a line that the next block may fold onto
        self._parts: dict[
            tuple[str, int], tuple[Events, bytes]
        ] = {}  # (key, side) → where a line began, and its octets

    def take(self, found: Events, rule: np.ndarray, lines: Strings = None, *, final: bool = False) -> Events:
        """The events that these lines stand for. ``rule`` is the position of each line's role, ``lines`` what stands in the
        log."""
        if self._sizes is not None and lines is not None:
            found, rule = self._sizes.covered(found, rule, lines)
        if self._kept.any():
            self._ended(found, rule)
        if self._breaks:
            found, rule = _broken(found, rule, self._breaks)
        if self._quoted.any():
            found = _unquoted(found, self._quoted[rule])
        if self._undoubled.any():
            found = _doubled(found, self._undoubled[rule])
        if len(found):
            found = self._sided(self._inherited(found, rule), rule)
        if self._opened_tls[rule].any():
            found, rule = self._under_tls(found, rule)
        if self._folds:
            found, rule = self._held_back(found, rule, final=final)
        if self._late.any():
            found, rule = self._before_its_reply(found, rule, final=final)
        keep = (self._heading[rule] < 0) if (self._heading >= 0).any() else np.ones(len(rule), np.bool_)
        if self._whole.any() and (self._parts or self._part[rule].any()):
            keep[:] = True  # a heading may end what is open
        elif self._whole.any() and not keep.all():
            self._record = bool(self._whole[rule[np.flatnonzero(~keep)[-1]]])
        if self._more.any() and len(found):
            keep &= self._continues(found, rule)
        if not keep.all():
            at = np.flatnonzero(keep)
            found, rule = found.take(at), rule[at]
        if self._wire:
            cut = self._cut[rule] & (found.eol == NONE)
            implied = ~self._slow[rule] & ~cut & np.isin(found.kind, (CLIENT, SERVER, CONTENT))
            found.eol = np.where(implied, np.uint8(CRLF), found.eol)
        done = np.zeros(len(rule), np.bool_)
        if self._raw.any():
            found, rule, done = _line_literals(found, rule, self._raw)
        slow = self._slow[rule] | (self._heading[rule] >= 0) | (self._cut[rule] & (found.eol == NONE))
        slow &= ~done
        if self._tail.any():
            slow &= ~self._whole_records(found, self._tail[rule])
        if self._octets is not None:
            slow |= (found.kind == GAP) | self._octets[0].concern(found) | self._octets[1].concern(found)
        if slow.any() or self._parts or self._octets is not None:
            found = self._one_by_one(found, rule, slow, final=final)
        elif self._clock != NO_TIME:
            found.time = np.where(found.time == NO_TIME, self._clock, found.time)
        return found

    def _ended(self, found: Events, rule: np.ndarray) -> None:
        """Give the lines of a log that kept the ends of the wire, but was written again without CRs, their ends back."""
        words = self._kept[rule] & (events.lengths(found.text) > 0)
        if self._lost is None and words.any():
            self._lost = bool(found.eol[np.flatnonzero(words)[0]] != CRLF)
        if self._lost:
            found.eol = np.where(words, np.uint8(CRLF), found.eol)

    def _whole_records(self, found: Events, tailed: np.ndarray) -> np.ndarray:
        """Which records end with their line: their last character is a blank, or a CR ended the line of the log before it,
        which was the line's own. The mark is taken off; programs that show no CR write ``?``, ``^M`` or ``#015`` for it. Where
        the first record, mostly a greeting, has none, the log was written again without CRs."""
        done = tailed & (found.eol == CR)
        at = np.flatnonzero(tailed & ~done)
        lines = events.take(found.text, at)
        mask, fields = events.extracted(lines, r"^(?P<TEXT>.*?)(?:\?|\^M|#015)? $")
        at, before = at[mask], events.lengths(lines)[mask]
        marked = done.copy()
        marked[at] = before - events.lengths(fields["TEXT"]) > 1
        if len(at):
            found.text = events.replaced_at(found.text, at, fields["TEXT"])
        done[at] = True
        if self._lost is None and done.any():
            self._lost = not marked[np.flatnonzero(done)[0]]
        ends = np.where(marked | bool(self._lost), np.uint8(CRLF), np.uint8(LF))
        found.eol = np.where(done, ends, found.eol)
        found.flags = np.where(done, found.flags | AS_SENT, found.flags).astype(np.uint8)
        return done

    # -- what a line leaves out

    def _inherited(self, found: Events, rule: np.ndarray) -> Events:
        """A line without a key or a time has those of the line before; inside a nested dialog, the key of the nested one."""
        lacks_key, lacks_time, inside = self._keyless[rule], self._timeless[rule], self._nested[rule]
        ends: dict[str, Any] = {}  # the addresses of the lines with a key, whatever the others say themselves
        if lacks_key.any() or lacks_time.any():
            before = sorted((int(row.line[0]), nested) for nested, row in self._before.items())
            carried = [self._before[nested] for _, nested in before]
            whole = Events.concat([*carried, found]) if carried else found
            within = np.concatenate([np.array([nested for _, nested in before], np.bool_), inside])
            for lacks, fields in ((lacks_key, ("key", "client", "server")), (lacks_time, ("time",))):
                known = np.concatenate([np.ones(len(carried), np.bool_), ~lacks])
                last = last_where(known) if fields == ("time",) else last_known(known, within)
                for name in fields if lacks.any() else ():
                    column, extra = getattr(whole, name), len(carried)
                    at = last[extra:]
                    if name in ("client", "server"):
                        ends[name] = events.take(column, at)
                        at = np.where(_said(column)[extra:], extra + np.arange(len(found)), at)
                    setattr(found, name, events.take(column, at))
        if self._keyless.any() or self._timeless.any():
            for nested, mine in ((False, ~inside), (True, inside)):
                if mine.any():
                    at = np.flatnonzero(mine)[-1:]
                    self._before[nested] = found.take(at)
                    for name, column in ends.items():
                        setattr(self._before[nested], name, events.take(column, at))
        if inside.any():
            names = events.listed(events.values(found.key))
            within_names = events.from_list([*names, *(f"{name} nested".lstrip() for name in names)])
            found.key = events.coded(events.codes(found.key) + inside * len(names), within_names)
        return found

    def _sided(self, found: Events, rule: np.ndarray) -> Events:
        """Who speaks: by the last heading, and the other way round where the writer of the log is the client."""
        kind = found.kind
        if self._is_said.any():
            headings = self._heading[rule]
            if self._kept.any():
                headings = np.where(self._kept[rule] & ~self._is_said[rule], kind.astype(np.int16), headings)
            last = np.maximum.accumulate(np.where(headings >= 0, np.arange(len(rule)), -1))
            side = np.where(last >= 0, headings[last], self._side)
            kind = np.where(self._is_said[rule], side, kind).astype(np.uint8)
            self._side = int(side[-1])
        if self._outbound.any():
            kind = self._turned(found, kind, rule)
        found.kind = kind
        return found

    def _turned(self, found: Events, kind: np.ndarray, rule: np.ndarray) -> np.ndarray:
        codes, names = events.codes(found.key), events.listed(events.values(found.key))
        opened = kind == OPENED
        order = np.argsort(codes, kind="stable")
        outward = np.zeros(len(found), np.bool_)
        last = np.maximum.accumulate(np.where(opened[order], np.arange(len(order)), -1))
        starts = np.searchsorted(codes[order], codes[order])
        here = last >= starts
        before = np.array([name in self._outward for name in names], np.bool_)[codes[order]]
        outward[order] = np.where(here, self._outbound[rule][order[np.maximum(last, 0)]], before)
        for at in np.flatnonzero(opened).tolist():
            (self._outward.add if outward[at] else self._outward.discard)(names[codes[at]])
        other = np.arange(len(KINDS), dtype=np.uint8)
        other[[CLIENT, SERVER]] = other[[SERVER, CLIENT]]
        return np.where(outward, other[kind], kind)

    def _continues(self, found: Events, rule: np.ndarray) -> np.ndarray:
        """Which lines stand: those that must go on with a line of their side only where there is one, text without a mark
        only where the server waits for text."""
        more = self._more[rule]
        heading = self._heading[rule]
        spoken = ~more & ((heading >= 0) | np.isin(found.kind, (CLIENT, SERVER, OPENED, CLOSED)))
        side = np.where(heading >= 0, heading, found.kind)
        stands = ~more | (self._last_said(found, spoken, side, self._spoke) == found.kind)
        text = more & (found.kind == CONTENT)
        if self._text.any():
            dots = (found.kind == CLIENT) & events.found(found.text, r"^\.$")
            waits = events.found(found.text, r"^354(?: |$)") & (found.kind == SERVER)
            told = (spoken & (found.kind != CLIENT)) | dots
            stands = np.where(text, self._last_said(found, told, waits.astype(np.uint8), self._waits) == 1, stands)
        return stands

    @staticmethod
    def _last_said(found: Events, marked: np.ndarray, value: np.ndarray, carried: dict[str, int]) -> np.ndarray:
        """For each line the value at the last marked line of its key, itself included; ``carried`` has those of the blocks
        before and takes those of this one."""
        codes, names = events.codes(found.key), events.listed(events.values(found.key))
        order = np.argsort(codes, kind="stable")
        last = np.maximum.accumulate(np.where(marked[order], np.arange(len(order)), -1))
        starts = np.searchsorted(codes[order], codes[order])
        before = np.array([carried.get(name, NOTE) for name in names], np.uint8)[codes[order]]
        said = np.empty(len(found), np.uint8)
        said[order] = np.where(last >= starts, value[order[np.maximum(last, 0)]], before)
        if len(carried) > 100_000:
            carried.clear()
        ends = order[np.flatnonzero(np.append(codes[order][1:] != codes[order][:-1], True))]
        carried.update((names[codes[at]], int(said[at])) for at in ends.tolist())
        return said

    def _under_tls(self, found: Events, rule: np.ndarray) -> tuple[Events, np.ndarray]:
        """A session that opens under TLS: what the log says once is two events."""
        again = np.repeat(np.arange(len(rule)), 1 + self._opened_tls[rule])
        second = np.flatnonzero(np.append(False, again[1:] == again[:-1]))
        found, rule = found.take(again), rule[again]
        found.kind[second] = TLS
        found.text = events.replaced_at(found.text, second, ["active"] * len(second))
        return found, rule

    def _gone_on(self, found: Events, rule: np.ndarray) -> Events:
        """A reply of which the code alone is known goes on if the line below it does, with the same code."""
        at = np.flatnonzero(self._open_end[rule][:-1])
        texts = events.listed(found.text)
        words = [texts[i] + ("-" if texts[i + 1].startswith(texts[i] + "-") else "") for i in at.tolist()]
        found.text = events.replaced_at(found.text, at, words)
        return found

    # -- lines put together

    def _held_back(self, found: Events, rule: np.ndarray, *, final: bool) -> tuple[Events, np.ndarray]:
        """The last line of a block waits: the next one may be folded onto it."""
        if self._held is not None:
            found, rule = Events.concat([self._held[0], found]), np.concatenate([self._held[1], rule])
            self._held = None
        if self._open_end[rule].any():
            found = self._gone_on(found, rule)
        if not final and len(found):
            whole = np.flatnonzero(~self._folded[rule])
            last = int(whole[-1]) if len(whole) else 0
            self._held = (found.take(np.arange(last, len(found))), rule[last:])
            found, rule = found.take(np.arange(last)), rule[:last]
        return found, rule

    def _before_its_reply(self, found: Events, rule: np.ndarray, *, final: bool) -> tuple[Events, np.ndarray]:
        """A wait that the log tells behind a reply goes before the first line of it. The last reply of a block waits."""
        if self._held is not None:
            found, rule = Events.concat([self._held[0], found]), np.concatenate([self._held[1], rule])
            self._held = None
        server, texts = found.kind == SERVER, events.listed(found.text)

        def start(at: int) -> int:
            """Where the reply begins whose last line stands above this one."""
            at -= bool(at and server[at - 1])
            while at and server[at - 1] and texts[at - 1][3:4] == "-":
                at -= 1
            return at

        stop = len(found) if final else start(len(found))
        order = np.arange(stop, dtype=np.float64)
        for at in np.flatnonzero(self._late[rule[:stop]]).tolist():
            order[at] = start(at) - 0.5
        if stop < len(found):
            self._held = (found.take(np.arange(stop, len(found))), rule[stop:])
        ordered = np.argsort(order, kind="stable")
        return found.take(ordered), rule[ordered]

    def _one_by_one(self, found: Events, rule: np.ndarray, slow: np.ndarray, *, final: bool) -> Events:
        lines = _Lines(found, self._parts, self._clock, self._record, self._octets)
        edges = np.flatnonzero(slow[1:] != slow[:-1]) + 1
        starts = [0, *edges.tolist(), len(rule)] if len(rule) else [0]
        for start, stop in itertools.pairwise(starts):
            while start < stop and (slow[start] or lines.waits):
                lines.add(start, self.roles[rule[start]])
                start += 1
            if start < stop:
                lines.pass_on(start, stop)
        if final:
            lines.end()
        self._parts, self._clock, self._record = lines.open(), lines.clock, lines.record
        return lines.events()

    def finish(self) -> Events | None:
        """What the end of the log brings to light."""
        if self._held is None and not self._parts:
            return None
        nothing = Events.build(np.zeros(0), np.zeros(0, np.int64), events.from_list([]))
        return self.take(nothing, np.zeros(0, np.int16), final=True)


def last_where(known: np.ndarray) -> np.ndarray:
    """For each position the last one up to there that is known; 0 where there is none."""
    return np.maximum.accumulate(np.where(known, np.arange(len(known)), 0))


def last_known(known: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The same, among the lines of the same dialog, the outer or the nested one; a nested one may begin with what the outer
    one knows."""
    plain, nested = last_where(known & ~inside), last_where(known & inside)
    begun = np.maximum.accumulate(known & inside)
    return np.where(inside & begun, nested, plain)


class _Lines:
    """The lines of the wire in one block. What the log says line by line passes on in runs; the rest is put together."""

    def __init__(
        self,
        found: Events,
        parts: dict[tuple[str, int], tuple[Events, bytes]],
        clock: int,
        record: bool,
        octets: tuple[Chunks, Sealed] | None,
    ) -> None:
        self._wire = octets
        begun = [row for row, _ in parts.values()]
        self._shift = len(begun)
        self._found = Events.concat([*begun, found]) if begun else found
        self._texts = events.listed(self._found.text)
        self._keys = events.listed(self._found.key)
        self._kind, self._line = self._found.kind.tolist(), self._found.line.tolist()
        self._flags = self._found.flags.tolist()
        self._time, self._eol = self._found.time.tolist(), self._found.eol.tolist()
        self._open = {at: (i, octets) for i, (at, (_, octets)) in enumerate(parts.items())}
        self._out: list[_Run | _Line] = []
        self.clock, self.record = clock, record

    @property
    def waits(self) -> bool:
        """Whether a line waits for its other part, or what follows may be in a chunk or under TLS."""
        return bool(self._open) or (self._wire is not None and any(each.under_way for each in self._wire))

    def pass_on(self, start: int, stop: int) -> None:
        """Take a run of lines as they stand."""
        start, stop = start + self._shift, stop + self._shift
        self._out.append(_Run(start, stop, self.clock))
        if self._wire is not None:
            for i in range(start, stop):
                if self._kind[i] == SERVER:
                    self._heard(self._keys[i], self._texts[i])
                elif self._kind[i] in (OPENED, CLOSED):
                    self._over(self._keys[i])

    def add(self, i: int, role: Role) -> None:
        """Take one line of the log."""
        i += self._shift
        text, kind = self._texts[i], self._kind[i]
        if role.name == "clock":
            self.clock = self._time[i]
        elif role.heading >= 0:
            if self.record and self._open:
                for key in {key for key, _ in self._open}:
                    self._flush(key, b"\r\n")
            self.record = role.has("whole")
        elif role.name == "wait":
            self._wait(text)
        elif role.name == "more":
            self._fold(i, text)
        else:
            if kind in (OPENED, CLOSED):
                self._flush(self._keys[i])
                self._over(self._keys[i])
            elif kind == GAP:
                self._flush(self._keys[i])
                if self._wire is not None:
                    self._wire[0].broken(self._keys[i])
            elif kind in (CLIENT, SERVER) and self._open:
                self._flush(self._keys[i], kind=CONTENT)  # message text is at its end where somebody speaks
            part = (
                role.part or (self._eol[i] == NONE and role.has("cut")) or (self._eol[i] != CRLF and role.has("kept"))
            )
            waits = bool(self._open) and (self._keys[i], kind) in self._open
            if role.has("glued") and not role.octets and not waits:
                for words in unglued(text):
                    self._tell(i, words, self._eol[i], self._flags[i])
            elif not waits and self._sealed(i, kind, text, role):
                pass
            elif role.octets or part or waits or not self._passes(i, kind, text):
                octets = text.encode() if part and not role.octets else self._octets(i, text, role)
                self._part(i, (self._keys[i], kind), octets, part=part)
            else:
                self._tell(i, text, self._eol[i], self._flags[i])

    def _passes(self, i: int, kind: int, text: str) -> bool:
        """Whether a whole line stands as it is: no chunk of BDAT ends inside it."""
        if self._wire is None:
            return True
        if kind == SERVER:
            self._heard(self._keys[i], text)
        elif kind == CLIENT:
            size = len(text) if self._flags[i] & FALLBACK or text.isascii() else len(text.encode())
            return self._wire[0].passes(self._keys[i], text, size + 2)
        return True

    def _sealed(self, i: int, kind: int, text: str, role: Role) -> bool:
        """Whether a line is octets of TLS; the first of them are an event."""
        if self._wire is None or kind not in (CLIENT, SERVER):
            return False
        key, octets = self._keys[i], self._octets(i, text, role)
        if not self._wire[1].takes(key, kind, octets):
            return False
        told = self._wire[1].event(key, kind, octets)
        if told is not None:
            time = self._time[i]
            time = self.clock if time == NO_TIME else time
            self._out.append(_Line(i, told[1], self._eol[i], 0, time, self._line[i], told[0]))
        return True

    def _over(self, key: str) -> None:
        for each in self._wire or ():
            each.ended(key)

    def _heard(self, key: str, text: str) -> None:
        for each in self._wire or ():
            each.said(key, text)

    def _octets(self, i: int, text: str, role: Role) -> bytes:
        """The octets of a line of the log."""
        if role.has("tail"):
            octets = text.encode("latin-1", "replace") if self._flags[i] & FALLBACK else text.encode()
            if self._flags[i] & AS_SENT:  # its mark is taken off already
                return octets + (b"\r\n" if self._eol[i] == CRLF else b"\n")
            return octets.removesuffix(b"+")
        if self._flags[i] & AS_SENT:  # a literal that is undone already
            return text.encode() + b"\r\n"
        if role.octets or not self._flags[i] & FALLBACK:
            return _octets_of(text, role)
        return text.encode("latin-1", "replace") + b"\r\n"

    def _tell(self, i: int, text: str, eol: int, flags: int) -> None:
        time = self._time[i]
        self._out.append(_Line(i, text, eol, flags, self.clock if time == NO_TIME else time, self._line[i]))

    def _part(self, i: int, where: tuple[str, int], octets: bytes, *, part: bool) -> None:
        first, before = self._open.pop(where, (i, b""))
        octets = before + octets
        if not octets and not part:
            self._told(first, b"")
        for piece, whole in self._pieces(where, octets):
            if whole or not part or len(piece) >= _LARGEST:
                self._told(first, piece)
            else:
                self._open[where] = (first, piece)
            first = i

    def _pieces(self, where: tuple[str, int], octets: bytes) -> Iterable[tuple[bytes, bool]]:
        """What is whole in some octets of one side, and what waits for more."""
        key, kind = where
        if self._wire is not None and kind == CLIENT and self._wire[0].counts(key, octets):
            return self._wire[0].divided(key, octets)
        whole = octets.rfind(b"\n") + 1
        return ((piece, ends) for piece, ends in ((octets[:whole], True), (octets[whole:], False)) if piece)

    def _told(self, i: int, octets: bytes) -> None:
        """Lines of the wire that began in this line of the log."""
        for words, eol, flags in wire_lines(octets):
            self._tell(i, words, eol, flags | self._flags[i])
            if self._kind[i] == SERVER and self._wire is not None:
                self._heard(self._keys[i], words)

    def _flush(self, key: str, end: bytes = b"", *, kind: int | None = None) -> None:
        for where in [where for where in self._open if where[0] == key and kind in (None, where[1])]:
            first, octets = self._open.pop(where)
            self._told(first, octets + end)

    def _fold(self, i: int, text: str) -> None:
        """Join a folded line to the one before, if that stands right above it."""
        last = self._out[-1] if self._out else None
        if isinstance(last, _Run):
            at = last.stop - 1
            self._out[-1:] = [_Run(last.start, at, last.clock)] if at > last.start else []
            self._tell(at, self._texts[at], self._eol[at], self._flags[at])
            last = self._out[-1]
        if isinstance(last, _Line) and last.line == self._line[i] - 1 and self._kind[last.at] in (CLIENT, SERVER):
            self._out[-1] = last._replace(text=folded(last.text, text.strip()), line=self._line[i])

    def _wait(self, text: str) -> None:
        if match := re.match(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(m?)s?$", text.strip()):
            start = 0 if self.clock == NO_TIME else self.clock
            self.clock = start + round(float(match[1]) * (1_000 if match[2] else 1_000_000))

    def end(self) -> None:
        """The log is at its end: what waits for more is all there is."""
        for key in {key for key, _ in self._open}:
            self._flush(key)

    def open(self) -> dict[tuple[str, int], tuple[Events, bytes]]:
        """What waits for its other part."""
        return {where: (self._found.take(np.array([i])), octets) for where, (i, octets) in self._open.items()}

    def events(self) -> Events:
        """The lines so far, in the order in which they were complete."""
        lines = [each for each in self._out if isinstance(each, _Line)]
        at = [np.arange(each.start, each.stop) if isinstance(each, _Run) else [each.at] for each in self._out]
        index = np.concatenate([*at, []]).astype(np.int64)
        sizes = [len(each) for each in at]
        own = np.repeat(np.array([isinstance(each, _Line) for each in self._out], np.bool_), sizes)
        clocks = np.repeat(
            np.array([each.clock if isinstance(each, _Run) else NO_TIME for each in self._out], np.int64), sizes
        )
        taken = self._found.take(index)
        taken.text = events.replaced_at(taken.text, np.flatnonzero(own), [line.text for line in lines])
        taken.eol, taken.flags, taken.time = taken.eol.copy(), taken.flags.copy(), taken.time.copy()
        taken.time = np.where(taken.time == NO_TIME, clocks, taken.time) if len(index) else taken.time
        taken.kind = taken.kind.copy()
        taken.kind[own] = [
            kind if line.kind < 0 else line.kind for line, kind in zip(lines, taken.kind[own], strict=True)
        ]
        taken.eol[own] = [line.eol for line in lines]
        taken.flags[own] = [line.flags for line in lines]
        taken.time[own] = [line.time for line in lines]
        return taken


class _Run(NamedTuple):
    """Lines that pass on as they stand."""

    start: int
    stop: int
    clock: int  #: their time, where they have none of their own


class _Line(NamedTuple):
    """A line that was put together."""

    at: int  #: the event that it begins in
    text: str
    eol: int
    flags: int
    time: int
    line: int  #: the line of the log that it ends on
    kind: int = -1  #: of the event, if not that of the line


def _said(column: Any) -> np.ndarray:
    """Where a column of codes is not empty."""
    said: np.ndarray = (events.lengths(events.values(column)) > 0)[events.codes(column)]
    return said


def folded(text: str, more: str) -> str:
    """A line and what was folded: joined with a blank, or, in the middle of base64, with nothing. A backslash at the end of a
    line says that it is folded (RFC 3461 section 10)."""
    encoded = _ENCODED.search(text) is not None and _BASE64.fullmatch(more) is not None
    text = text.removesuffix(" \\")
    return text + more if encoded else f"{text} {more}"


def _broken(found: Events, rule: np.ndarray, breaks: str) -> tuple[Events, np.ndarray]:
    """The same words, a line for each that the log put into one; what is empty before, between and after is left out."""
    at = np.flatnonzero(events.bears(found.text, breaks))
    if not len(at):
        return found, rule
    lines = [
        [line for line in text.split(breaks) if line] or [""] for text in events.listed(events.take(found.text, at))
    ]
    counts = np.ones(len(found), np.int64)
    counts[at] = [len(each) for each in lines]
    index = np.repeat(np.arange(len(found)), counts)
    many = np.zeros(len(found), np.bool_)
    many[at] = True
    told = found.take(index)
    told.text = events.replaced_at(told.text, np.flatnonzero(many[index]), [line for each in lines for line in each])
    return told, rule[index]


def _unquoted(found: Events, quoted: np.ndarray) -> Events:
    """The same lines, the escapes undone in those that stood between quotes."""
    at = np.flatnonzero(quoted & events.found(found.text, r"\\"))
    if not len(at):
        return found
    lines = []
    for i, text in zip(at.tolist(), events.listed(events.take(found.text, at)), strict=True):
        text = re.sub(r"(?:\\r|\\015)*(?:\\n|\\012)$", "", text)
        octets = unescaped(re.sub(r"(?s)(\\[^rn])|\\(?=[rn])", lambda match: match[1] or "\\\\", text))
        try:
            lines.append(octets.decode())
        except UnicodeDecodeError:
            found.flags[i] |= FALLBACK
            lines.append(octets.decode("latin-1"))
    found.text = events.replaced_at(found.text, at, lines)
    return found


def _doubled(found: Events, undoubled: np.ndarray) -> Events:
    """Lines of the client as they went over the wire (RFC 5321 section 4.5.2). A lone dot ends the text."""
    found.eol = np.where(undoubled, np.uint8(CRLF), found.eol)
    at = np.flatnonzero(undoubled)
    at = at[events.found(events.take(found.text, at), r"^\..")]
    if len(at):
        dotted = ["." + events.text(found.text, i) for i in at.tolist()]
        found.text = events.replaced_at(found.text, at, dotted)
    return found


def _line_literals(found: Events, rule: np.ndarray, raw: np.ndarray) -> tuple[Events, np.ndarray, np.ndarray]:
    """String literals that are whole lines, in which nothing but the line ends is escaped, as nearly all are: these are undone
    in one step, a line for each. Tells which lines are such."""
    literal = np.flatnonzero(raw[rule])
    texts = events.take(found.text, literal)
    mask, fields = events.extracted(texts, rf"^(?P<TEXT>[^\\]*(?:{_PLAIN_END}[^\\]*)*){_PLAIN_END}$")
    at, texts = literal[mask], fields.get("TEXT", texts)
    several = np.flatnonzero(events.bears(texts, "\\"))
    lines = [_PLAIN_ENDS.split(text) for text in events.listed(events.take(texts, several))]
    counts = np.ones(len(found), np.int64)
    counts[at[several]] = [len(each) for each in lines]
    done = np.zeros(len(found), np.bool_)
    done[at] = True
    if len(at):
        found.text = events.replaced_at(found.text, at, texts)
    if len(several):
        index = np.repeat(np.arange(len(found)), counts)
        told = np.flatnonzero((counts > 1)[index])
        found, rule, done = found.take(index), rule[index], done[index]
        found.text = events.replaced_at(found.text, told, [line for each in lines for line in each])
    found.eol = np.where(done, np.uint8(CRLF), found.eol)
    found.flags = np.where(done, found.flags | AS_SENT, found.flags)
    return found, rule, done


def _octets_of(text: str, role: Role) -> bytes:
    """The octets that a text stands for; a plain one that is no part is a whole line."""
    if role.has("raw"):
        return unescaped(text)
    if role.has("glued"):
        return re.sub("<EOL>" if "<EOL>" in text else "<CRLF>", "\r\n", text).encode()
    if role.has("hex"):
        digits = "".join(re.sub("-|,|0x", " ", text).split())
        return bytes.fromhex(digits[: len(digits) // 2 * 2]) if re.fullmatch("[0-9A-Fa-f]*", digits) else b""
    if role.has("base64"):
        try:
            return base64.b64decode(text.strip(), validate=True)
        except ValueError:
            return b""
    return text.encode() if role.has("part") else text.encode() + b"\r\n"


def unescaped(text: str) -> bytes:
    """A string literal's octets: ``\\r \\n \\t \\0 \\xNN \\NNN \\uNNNN \\\\`` and quotes."""

    def octets(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return bytes([int(match[1], 16)])
        if match[2] or match[3]:
            number = int(match[2] or match[3], 16)
            return chr(number).encode("utf-8", "replace") if number < 0x110000 else b"?"
        if match[4]:
            return bytes([int(match[4], 8) & 255])
        return _NAMED.get(match[5], match[0])

    raw = text.encode("utf-8", "replace")
    return _ESCAPE.sub(octets, raw) if b"\\" in raw else raw


def unglued(text: str) -> list[str]:
    """The lines that stand in one. Those of a reply begin with its code: ``250-a250-SIZE 1250 OK`` is three lines, the last
    one with a blank behind the code; digits that could be a number's end are the code's."""
    text = _LAST_END.sub("", text)
    code = text[:3]
    if re.match("[2-5][0-9]{2}(?: |$)", text):
        return [text]
    if not re.match("[2-5][0-9]{2}-", text):
        return _WRITTEN_END.split(text)
    *lines, last = re.split(f"(?={code}-)", text)[1:]
    before, mark, end = last.rpartition(f"{code} ")
    lines += [before, mark + end] if mark else [last]
    return [*(_LAST_END.sub("", line).rstrip(" ") for line in lines[:-1]), lines[-1]]


def wire_lines(octets: bytes) -> list[tuple[str, int, int]]:
    """The lines in some octets of the wire, each with the code of its line end and its flags. A line that is no UTF-8 is
    decoded one to one."""
    found: list[tuple[str, int, int]] = []
    for match in _WIRE_LINE.finditer(octets):
        if match.end() == match.start() and found:
            break
        end = NONE if not match[2] else LF if match[2] == b"\n" else CRLF if match[2].endswith(b"\n") else CR
        try:
            found.append((match[1].decode(), end, AS_SENT))
        except UnicodeDecodeError:
            found.append((match[1].decode("latin-1"), end, AS_SENT | FALLBACK))
    return found
