"""BDAT in a log that shows the octets of the wire: a chunk ends after so many octets (RFC 3030 section 2), in mid-line if need be.

What comes behind it is the next command, though no line end stands between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from smtplog import events
from smtplog.events import CLIENT, Events

_BDAT = re.compile(rb"BDAT ([0-9]{1,18})(?: +LAST)?[ \t]*(?:\r*\n|$)", re.IGNORECASE)
_BEGINS = r"^(?i:BDAT) [0-9]"


class Chunks:
    """The chunks of all sessions of one log."""

    def __init__(self) -> None:
        self._go_ahead: set[str] = (
            set()
        )  # keys of which the server spoke last, with 354: what follows is text, BDAT too
        self._due: dict[str, int] = {}  # key → octets of its chunk that are still to come

    @property
    def under_way(self) -> bool:
        """Whether octets of a chunk are still to come."""
        return bool(self._due)

    def concern(self, found: Events) -> np.ndarray:
        """Which lines may begin a chunk."""
        begins: np.ndarray = events.found(found.text, _BEGINS) & (found.kind == CLIENT)
        return begins

    def said(self, key: str, text: str) -> None:
        """Take a line of the server."""
        if text.startswith("354"):
            self._go_ahead.add(key)
        else:
            self._go_ahead.discard(key)

    def ended(self, key: str) -> None:
        """The session of a key is over."""
        self._due.pop(key, None)
        self._go_ahead.discard(key)

    def passes(self, key: str, text: str, size: int) -> bool:
        """Whether a whole line of the client, of so many octets, stands as it is: no chunk ends inside it."""
        due = self._due.get(key)
        if due is None:
            if text[:4].upper() == "BDAT":
                self._command(key, text.encode())
        elif size > due:
            return False
        elif size == due:
            del self._due[key]
        else:
            self._due[key] = due - size
        return True

    def broken(self, key: str) -> None:
        """Octets are missing: nobody knows where the chunk ends."""
        self._due.pop(key, None)

    def counts(self, key: str, octets: bytes) -> bool:
        """Whether a chunk is due, or may begin in these octets of the client."""
        return key in self._due or (key not in self._go_ahead and _BDAT.search(octets) is not None)

    def divided(self, key: str, octets: bytes) -> Iterator[tuple[bytes, bool]]:
        """The client's octets in pieces: whole lines and the ends of chunks; whether each is whole, or waits for more."""
        at = 0
        while at < len(octets):
            due = self._due.get(key, 0)
            end = octets.find(b"\n", at) + 1
            stop = min(end or len(octets), at + due) if due else end or len(octets)
            whole = bool(end) or (due > 0 and stop - at == due)
            if due and whole:
                self._due[key] = due - (stop - at)
                if stop - at == due:
                    del self._due[key]
            elif whole:
                self._command(key, octets[at:stop])
            yield octets[at:stop], whole
            at = stop

    def _command(self, key: str, line: bytes) -> None:
        if key not in self._go_ahead and (match := _BDAT.match(line)) and int(match[1]):
            self._due[key] = int(match[1])
