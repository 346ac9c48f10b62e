"""What is said, written down as it is said, in the C:/S: notation or as Telnet shows it: a log that smtplog itself reads."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TextIO

from smtplog import redact, script
from smtplog.replay.framing import shown
from smtplog.replay.standing import asks_for_user, masked, secret_of


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
    _secrets: set[bytes] = field(default_factory=set)  #: of this session; masked wherever they are said again
    _pattern: re.Pattern[bytes] | None = None
    _heard: str = ""  #: the last line of the server

    @property
    def secrets(self) -> frozenset[str]:
        """What was given away in AUTH so far, and what it decodes to."""
        return frozenset(each.decode() for each in self._secrets)

    def event(self, words: str) -> None:
        """``connect CLIENT -> SERVER``, ``tls ok``, ``close client`` …"""
        self._time()
        self._line(f"*: {words}")

    def client(self, octets: bytes, *, secret: bool = False) -> None:
        """Lines that the client sent; ``secret`` ones are masked."""
        self._time()
        for line in _lines(octets):
            if secret and not self.show_secrets:
                self._remember(shown(line).strip())
                self._said("C", masked(shown(line).rstrip()).encode() + b"\r\n")
            else:
                self._said("C", self.hidden(line))

    def server(self, octets: bytes) -> None:
        """Lines that the server sent."""
        if octets:
            self._time()
        for line in _lines(octets):
            self._heard = shown(line).strip()
            self._said("S", self.hidden(line))

    def _remember(self, line: str) -> None:
        """A secret that was said; the name of a user is none."""
        if not asks_for_user(self._heard):
            self._secrets |= {value.encode() for value in redact.meanings(secret_of(line))}
            by_length = sorted(self._secrets, key=len, reverse=True)
            self._pattern = re.compile(b"|".join(map(re.escape, by_length))) if by_length else None

    def hidden(self, line: bytes) -> bytes:
        """Some octets with the secrets that were said in this session masked."""
        return self._pattern.sub(redact.MASK.encode(), line) if self._pattern else line

    def _said(self, side: str, line: bytes) -> None:
        """One line of either side, its end included."""
        self._line(script.notation(side, line))

    def _time(self) -> None:
        now = self.clock()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        if self.stamps and now != self._at:
            self._at = now
            self._line(f"*: at {now.isoformat()}")

    def _line(self, text: str) -> None:
        self.stream.write(text + "\n")
        self.stream.flush()


class TelnetLog(Recording):
    """Writes a session as the screen of Telnet shows it, what was typed included; that TLS began, the reply to STARTTLS tells."""

    def event(self, words: str) -> None:
        """What Telnet says of it."""
        what, _, more = words.partition(" ")
        if what == "connect":
            host = more.rpartition(" -> ")[2].rpartition(":")[0].strip("[]")
            for line in (f"Trying {host}...", f"Connected to {host}.", "Escape character is '^]'."):
                self._line(line)
        elif words == "tls ok" and not self._heard:
            self._line("New, TLS, the handshake is done")  # as openssl s_client says it before the greeting
        elif what == "close":
            self._line("Connection closed by foreign host." if more == "server" else "Connection closed.")

    def _said(self, side: str, line: bytes) -> None:
        self._line(line.rstrip(b"\r\n").decode("utf-8", "replace"))

    def _time(self) -> None:
        """Telnet knows no times."""


@dataclass(slots=True)
class Copies(Recording):
    """Hands everything on to several recordings; the first says what is a secret."""

    to: tuple[Recording, ...] = ()

    def event(self, words: str) -> None:
        """To each of them."""
        for each in self.to:
            each.event(words)

    def client(self, octets: bytes, *, secret: bool = False) -> None:
        """To each of them."""
        for each in self.to:
            each.client(octets, secret=secret)

    def server(self, octets: bytes) -> None:
        """To each of them."""
        for each in self.to:
            each.server(octets)

    def hidden(self, line: bytes) -> bytes:
        """As the first of them has it."""
        return self.to[0].hidden(line) if self.to else line


def _lines(octets: bytes) -> list[bytes]:
    """The lines of some octets, each with its end; only LF ends a line here."""
    lines = octets.split(b"\n")
    return [line + b"\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
