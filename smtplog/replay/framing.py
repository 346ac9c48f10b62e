"""Octets that came, taken apart: replies, command lines, message text, chunks. Sizes are bounded; nothing is trusted."""

from __future__ import annotations

from dataclasses import dataclass, field

from smtplog import speech
from smtplog.errors import SmtplogError

#: Bounds, in octets: of a line (RFC 5321 section 4.5.3.1 has 512), of a whole reply, of a message.
MOST_LINE, MOST_REPLY, MOST_TEXT = 1 << 16, 1 << 20, 100 << 20


class TroubleError(SmtplogError):
    """The other side does what no program of SMTP may do; the sentence says what."""


@dataclass(slots=True)
class Framing:
    """A buffer of octets that came and are not taken yet. Each ``…`` gives None where more must come first."""

    octets: bytearray = field(default_factory=bytearray)
    _sought: int = 0  #: octets already searched for an end, so that single octets cost linear time
    _start: int = 0  #: where the line of a reply begins that has not come whole

    def add(self, octets: bytes) -> None:
        """More came."""
        self.octets += octets

    def take(self, size: int) -> bytes:
        """So many octets, which must be there."""
        taken = bytes(self.octets[:size])
        del self.octets[:size]
        self._sought = self._start = 0
        return taken

    def exactly(self, wanted: bytes) -> bytes | None:
        """These very octets, where they came."""
        return self.take(len(wanted)) if wanted and self.octets.startswith(wanted) else None

    def line(self) -> bytes | None:
        """A line with its end."""
        end = self.octets.find(b"\n", self._sought)
        if end < 0:
            self._sought = len(self.octets)
            if len(self.octets) > MOST_LINE:
                raise TroubleError(f"a line came that is longer than {MOST_LINE:,} octets and has no end")
            return None
        return self.take(end + 1)

    def reply(self) -> bytes | None:
        """A whole reply: lines up to one without a hyphen after its code (RFC 5321 section 4.2.1)."""
        while (end := self.octets.find(b"\n", self._sought)) >= 0:
            line = bytes(self.octets[self._start : end])
            self._start = self._sought = end + 1
            if line[3:4] != b"-" or not code_of(line):
                return self.take(self._start)
            if self._start > MOST_REPLY:
                raise TroubleError(f"a reply came that is longer than {MOST_REPLY:,} octets and has no end")
        self._sought = len(self.octets)
        if self._sought > self._start + MOST_LINE:
            raise TroubleError(f"a line of a reply came that is longer than {MOST_LINE:,} octets and has no end")
        return None

    def text(self) -> bytes | None:
        """Message text and its end, CRLF.CRLF (RFC 5321 section 4.1.1.4)."""
        if self.octets.startswith(b".\r\n"):
            return self.take(3)
        end = self.octets.find(b"\r\n.\r\n", self._sought)
        if end < 0:
            self._sought = max(len(self.octets) - 4, 0)
            if len(self.octets) > MOST_TEXT:
                raise TroubleError(f"message text came that is longer than {MOST_TEXT:,} octets and has no end")
            return None
        return self.take(end + 5)

    def chunk(self, size: int) -> bytes | None:
        """So many octets of a chunk."""
        if size > MOST_TEXT:
            raise TroubleError(f"a chunk of {size:,} octets was announced; at most {MOST_TEXT:,} are taken")
        return self.take(size) if len(self.octets) >= size else None


def shown(octets: bytes) -> str:
    """A line of the wire as text: UTF-8, or one character an octet."""
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def code_of(octets: bytes) -> int:
    """The code of a reply; 0 where it has none."""
    return speech.code_of(shown(octets.partition(b"\n")[0].removesuffix(b"\r")))
