"""The streams of TCP in a packet capture, put together and written as the lines of a log.

Line n is what frame n of the capture brought to light, so that a line number is the number that Wireshark shows; the key is
Wireshark's ``tcp.stream``. A frame may tell several things: U+001E stands before each. ``grammars/pcap.lark`` reads the lines.

A stream is one of SMTP if one of its ports is 25, 465, 587 or 2525, or if it begins with a banner (RFC 5321 section 4.2: 220)
that is none of FTP. Octets that come again are left out, octets that come early wait; what the capture lacks is a gap. Of a
stream under TLS nothing is written but how each end began its turns in the handshake.
"""

from __future__ import annotations

import heapq
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from smtplog.errors import UnreadableError
from smtplog.packets import Segment

#: The first line of such a log.
TITLE = "packet capture"
RECORD = "\x1e"
PORTS = (25, 465, 587, 2525)
_BANNER = re.compile(rb"220[ -](?![^\r\n]*FTP)", re.IGNORECASE)
_WAITING = 1 << 20  # octets that wait for a hole to be filled; more, and the hole is a gap
_SEGMENT = 100  # octets that each segment which waits takes besides
_STREAMS = 50_000  # open streams that are remembered
_HANDSHAKE = 8  # turns under TLS of which the first octets are written
_WORDS = {octet: f"\\x{octet:02x}" for octet in (*range(32), *range(127, 256))} | {
    9: "\\t",
    10: "\\n",
    13: "\\r",
    92: "\\\\",
}


class PacketLog(io.RawIOBase):
    """A capture as a stream of octets: the lines of its log."""

    def __init__(self, found: Iterator[Segment | None], path: str) -> None:
        self._lines = lines(found, path)
        self._rest = b""
        self._error: UnreadableError | None = None

    def readable(self) -> bool:
        return True

    def read1(self, size: int) -> bytes:
        """At most so many octets; none at the end. What was read before the capture's damage comes first."""
        parts, have = [self._rest], len(self._rest)
        try:
            while have < size and self._error is None and (line := next(self._lines, None)) is not None:
                parts.append(line.encode() + b"\n")
                have += len(parts[-1])
        except UnreadableError as error:
            self._error = error
        octets = b"".join(parts)
        if not octets and self._error is not None:
            raise self._error
        self._rest = octets[size:]
        return octets[:size]


def lines(found: Iterator[Segment | None], path: str) -> Iterator[str]:
    """The lines of the log of a capture, one for each item. UnreadableError at its end if it holds no SMTP."""
    streams = _Streams()
    told, title, frames = False, TITLE, 0
    for segment in found:
        frames += 1
        line = _joined(streams.take(segment)) if segment is not None else ""
        told |= bool(line)
        yield title + line
        title = ""
    if end := _joined(streams.end()):
        yield end
    if not told:
        raise UnreadableError(
            f"{path} ({frames:,} frames) is a packet capture without SMTP: no stream has port "
            f"{', '.join(map(str, PORTS[:-1]))} or {PORTS[-1]}, and none begins with a 220 banner"
        )


def _joined(told: list[str]) -> str:
    return "".join(RECORD + each for each in told)


class _Streams:
    """All streams of a capture."""

    def __init__(self) -> None:
        self._open: dict[frozenset[tuple[str, int]], _Stream] = {}
        self._count = 0

    def take(self, segment: Segment) -> list[str]:
        """What a segment brings to light."""
        key = frozenset((segment.source, segment.target))
        stream, before = self._open.get(key), list[str]()
        if stream is None or stream.is_over(segment):
            before = stream.end() if stream is not None else []
            if len(self._open) >= _STREAMS:
                before += self._forget()
            stream = self._open[key] = _Stream(self._count, segment)
            self._count += 1
        return before + stream.take(segment)

    def _forget(self) -> list[str]:
        """Make room: what is over or no SMTP goes first, then the oldest."""
        self._open = {key: stream for key, stream in self._open.items() if stream.matters}
        oldest = list(self._open)[: max(len(self._open) - _STREAMS // 2, 0)]
        return [told for key in oldest for told in self._open.pop(key).end()]

    def end(self) -> list[str]:
        """What the end of the capture brings to light."""
        return [told for stream in self._open.values() for told in stream.end()]


class _Half:
    """What one end sent."""

    def __init__(self) -> None:
        self.next: int | None = None  # the sequence number that is due
        self.first: int | None = None  # that of the SYN
        self.fin: int | None = None  # where its octets end
        self.waiting = 0  # octets that came early
        self._passed = 0  # octets before the one that is due
        self._early: list[tuple[int, int, bytes]] = []  # a heap: place among all octets, how many were sent, the octets

    def missing(self, at: int) -> int:
        """How many octets are missing before this sequence number; negative for what was there already."""
        return 0 if self.next is None else (at - self.next + (1 << 31)) % (1 << 32) - (1 << 31)

    def went_on(self, size: int) -> None:
        """So many octets were there, or are given up."""
        assert self.next is not None
        self.next, self._passed = (self.next + size) % (1 << 32), self._passed + size

    def wait(self, missing: int, data: bytes, size: int) -> None:
        """Keep octets before which so many are missing."""
        heapq.heappush(self._early, (self._passed + missing, size, data))
        self.waiting += len(data) + _SEGMENT

    def early(self) -> int | None:
        """How many octets are missing before the first that wait, negative as in :meth:`missing`; None if none wait."""
        return self._early[0][0] - self._passed if self._early else None

    def waited(self) -> tuple[bytes, int]:
        """The first octets that wait, and how many were sent; they wait no longer."""
        _, size, data = heapq.heappop(self._early)
        self.waiting -= len(data) + _SEGMENT
        return data, size


class _Stream:
    """One connection."""

    def __init__(self, number: int, segment: Segment) -> None:
        self._number = number
        asks = segment.syn and segment.acknowledged is None
        answers = segment.syn and segment.acknowledged is not None
        self._ends = (segment.source, segment.target)
        served = [end[1] in PORTS for end in self._ends]
        self._smtp = any(served)
        #: which end is the server; where both ports say so or none, the one that was asked
        self._server = served.index(True) if served[0] != served[1] else 1 if asks or not answers else 0
        self._halves = (_Half(), _Half())
        self._opened = False
        self._known = self._smtp  # whether it is clear what the stream is
        self._sealed = 0  # how often an end took its turn under TLS
        self._sealing = -1  # whose turn it is
        self._last = [b"", b""]  # the end of what each end said
        self._by = -1  # which end closed first
        self._over = False
        self._time = ""

    @property
    def matters(self) -> bool:
        """Whether more of it may come that is written."""
        return not self._over and (self._smtp or not self._known)

    def is_over(self, segment: Segment) -> bool:
        """Whether a segment begins another connection of the same ends."""
        half = self._halves[self._ends.index(segment.source)]
        return segment.syn and segment.acknowledged is None and half.first not in (None, segment.sequence)

    def take(self, segment: Segment) -> list[str]:
        """What a segment brings to light."""
        side = self._ends.index(segment.source)
        half, other = self._halves[side], self._halves[1 - side]
        if (self._known and not self._smtp) or self._over:
            return []
        self._time = _stamp(segment.time)
        told: list[str] = []
        if segment.syn:
            half.first = segment.sequence
            half.next = (segment.sequence + 1) % (1 << 32) if half.next is None else half.next
            if self._smtp and segment.acknowledged is None:
                told += self._open_line()
        if segment.acknowledged is not None and (other.waiting or segment.size):
            told += self._lost(1 - side, segment.acknowledged, answered=segment.size > 0)
        at = (segment.sequence + segment.syn) % (1 << 32)
        if segment.size:
            told += self._data(side, at, segment.data, segment.size)
        if segment.fin or segment.rst:
            half.fin = (at + segment.size) % (1 << 32) if segment.fin else half.fin
            self._by = side if self._by < 0 else self._by
            if segment.rst or other.fin is not None:
                told += self.end()
        return told

    def end(self) -> list[str]:
        """What waits, and the close if there was one."""
        told: list[str] = []
        if self._over or not self._smtp:
            return told
        for side, half in enumerate(self._halves):
            while half.waiting:
                told += self._skip(side)
            if half.fin is not None and half.missing(half.fin) > 0:
                told += self._gap(half.missing(half.fin))
        if self._by >= 0 and self._opened:
            told.append(self._line("close server" if self._by == self._server else "close client"))
        self._over = self._by >= 0
        return told

    def _open_line(self) -> list[str]:
        if self._opened:
            return []
        self._opened = True
        return [self._line("open")]

    def _data(self, side: int, at: int, data: bytes, size: int) -> list[str]:
        half = self._halves[side]
        if half.next is None:
            half.next = at  # the capture begins in mid-stream
        missing = half.missing(at)
        if missing > 0:
            half.wait(missing, data, size)
            return self._skip(side) if half.waiting > _WAITING else []
        return self._fresh(side, data[-missing:], size + missing, len(data) + missing) + self._due(side)

    def _due(self, side: int) -> list[str]:
        """What waited, as far as nothing is missing before it."""
        half, told = self._halves[side], list[str]()
        while (missing := half.early()) is not None and missing <= 0:
            octets, size = half.waited()
            told += self._fresh(side, octets[-missing:], size + missing, len(octets) + missing)
        return told

    def _fresh(self, side: int, octets: bytes, size: int, have: int) -> list[str]:
        """Octets that are due; the capture may hold the first of them only."""
        if size <= 0:
            return []
        self._halves[side].went_on(size)
        told = self._said(side, octets) if have > 0 else []
        if size > max(have, 0):
            told += self._gap(size - max(have, 0))
        return told

    def _lost(self, side: int, acknowledged: int, *, answered: bool) -> list[str]:
        """The other end has what the capture lacks: octets behind it wait, or it was ``answered``."""
        half, told = self._halves[side], list[str]()
        while (early := half.early()) is not None and early <= half.missing(acknowledged):
            told += self._skip(side)
        missing = half.missing(acknowledged)
        if answered and missing > 1:  # the FIN takes a number, too
            half.went_on(missing)
            told += self._gap(missing)
        return told

    def _skip(self, side: int) -> list[str]:
        """Give up what is missing before the first octets that wait."""
        half = self._halves[side]
        missing = max(half.early() or 0, 0)
        half.went_on(missing)
        return (self._gap(missing) if missing else []) + self._due(side)

    def _gap(self, size: int) -> list[str]:
        return (
            [self._line(f"gap {size} octets are missing in the capture")] if self._opened and not self._sealed else []
        )

    def _said(self, side: int, octets: bytes) -> list[str]:
        if not self._known:
            self._known, self._smtp = True, _BANNER.match(octets) is not None
            self._server = side
            if not self._smtp:
                return []
        told: list[str] = []
        if not self._opened:
            begun = any(half.first is not None for half in self._halves)
            told += self._open_line()
            if not begun and not _BANNER.match(octets):
                told.append(self._line("gap the capture begins in mid-session"))
        if self._sealed or self._seals(side, octets):
            if self._sealed > _HANDSHAKE or side == self._sealing:
                return told
            self._sealed, self._sealing, octets = self._sealed + 1, side, octets[:16]
        self._last[side] = octets[-512:]
        return [*told, self._line(f"{'S' if side == self._server else 'C'} {_literal(octets)}")]

    def _seals(self, side: int, octets: bytes) -> bool:
        """Whether the client begins TLS: at once, or when the server has just said 220 (RFC 3207 section 4)."""
        last = self._last[self._server]
        ready = not last or last.startswith(b"220") or b"\n220" in last
        return side != self._server and ready and octets.startswith(b"\x16\x03")

    def _line(self, words: str) -> str:
        client, server = (f"{host}:{port}" for host, port in (self._ends[1 - self._server], self._ends[self._server]))
        return f"{self._time} {self._number} {client} {server} {words}"


def _stamp(time: float | str) -> str:
    if isinstance(time, str):
        return time
    try:
        return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    except (ValueError, OverflowError, OSError):
        return "-"


def _literal(octets: bytes) -> str:
    text = octets.decode("latin-1").translate(_WORDS)
    return f"{text[:-1]}\\x20" if text.endswith(" ") else text
