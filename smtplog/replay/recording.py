"""What is said, written down as it is said, in the C:/S: notation: a log that smtplog itself reads."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TextIO

from smtplog import script
from smtplog.replay.framing import shown
from smtplog.replay.standing import masked


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Recording:
    """Writes a session to a stream, line by line, so that what happened so far is there whatever happens next."""

    stream: TextIO = field(default_factory=io.StringIO)
    show_secrets: bool = False
    clock: Callable[[], datetime] = _now
    stamps: bool = True  #: whether times are written
    _at: datetime | None = None

    def event(self, words: str) -> None:
        """``connect CLIENT -> SERVER``, ``tls ok``, ``close client`` …"""
        self._time()
        self._line(f"*: {words}")

    def client(self, octets: bytes, *, secret: bool = False) -> None:
        """Lines that the client sent; ``secret`` ones are masked."""
        self._time()
        for line in _lines(octets):
            if secret and not self.show_secrets:
                self._line(f"C: {masked(shown(line).rstrip())}")
            else:
                self._line(script.notation("C", line))

    def server(self, octets: bytes) -> None:
        """Lines that the server sent."""
        self._time()
        for line in _lines(octets):
            self._line(script.notation("S", line))

    def _time(self) -> None:
        now = self.clock()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        if self.stamps and now != self._at:
            self._at = now
            self._line(f"*: at {now.isoformat()}")

    def _line(self, text: str) -> None:
        self.stream.write(text + "\n")
        self.stream.flush()


def _lines(octets: bytes) -> list[bytes]:
    """The lines of some octets, each with its end; only LF ends a line here."""
    lines = octets.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
