"""TLS in a log that shows the octets of the wire: from the client's hello on (RFC 8446 section 4.1.2) there are no lines.

What is sealed is one event: how the handshake went, and a gap where the rest of the session is.
"""

from __future__ import annotations

import re

import numpy as np

from smtplog import events
from smtplog.events import CLIENT, GAP, SERVER, TLS, Events

#: The first octets of a handshake: type and version of a record (RFC 8446 section 5.1); and where each octet that is not
#: printable was made a dot: type, version, length, message type, length, version.
_HELLO = re.compile(rb"\x16\x03[\x00-\x04]")
_DOTTED = r"^\.{4}.\.{3}.\.{2}"
_ALERT = b"\x15\x03"


class Sealed:
    """The sessions of one log that are under TLS."""

    def __init__(self, *, dotted: bool) -> None:
        """``dotted``: the log has dots for octets that are not printable."""
        self._dotted = re.compile(_DOTTED.encode()) if dotted else None
        self._sealed: dict[str, int] = {}  # key → how far: 0 hello, 1 answered, 2 decided, 3 told
        self._ready: set[str] = set()  # keys of which the server spoke last, with 220

    @property
    def under_way(self) -> bool:
        """Whether a session is under TLS."""
        return bool(self._sealed)

    def concern(self, found: Events) -> np.ndarray:
        """Which lines may be the hello of the client, its octets made dots."""
        if self._dotted is None:
            return np.zeros(len(found), np.bool_)
        hello: np.ndarray = events.found(found.text, _DOTTED) & (found.kind == CLIENT)
        return hello

    def said(self, key: str, text: str) -> None:
        """Take a line of the server."""
        if text.startswith("220"):
            self._ready.add(key)
        else:
            self._ready.discard(key)

    def ended(self, key: str) -> None:
        """The session of a key is over."""
        self._sealed.pop(key, None)
        self._ready.discard(key)

    def takes(self, key: str, kind: int, octets: bytes) -> bool:
        """Whether these octets, which do not go on in mid-line, are under TLS."""
        if key not in self._sealed and kind == CLIENT and self._is_hello(key, octets):
            self._sealed[key] = -1
        return key in self._sealed

    def _is_hello(self, key: str, octets: bytes) -> bool:
        """A line of dots is one only where the server has just said that it is ready."""
        dotted = self._dotted is not None and key in self._ready and self._dotted.match(octets)
        return bool(dotted) or _HELLO.match(octets) is not None

    def event(self, key: str, kind: int, octets: bytes) -> tuple[int, str] | None:
        """What octets under TLS tell: how the handshake went, or that words are missing."""
        stage = self._sealed[key]
        alert = octets.startswith(_ALERT)
        if stage == -1 or (stage == 0 and kind == CLIENT) or (stage == 1 and kind == SERVER):
            self._sealed[key] = max(stage, 0)
            return None
        if stage == 0 and not alert:
            self._sealed[key] = 1
            return None
        if stage < 2:
            self._sealed[key] = 3 if alert else 2
            return TLS, "failed" if alert else "ok"
        self._sealed[key] = 3
        return (GAP, "octets of TLS") if stage == 2 else None
