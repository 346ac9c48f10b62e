"""TLS in a log that shows the octets of the wire: from the client's hello on (RFC 8446 section 4.1.2) there are no lines.

What is sealed is one event: how the handshake went, and a gap where the rest of the session is.
"""

from __future__ import annotations

import re

import numpy as np

from smtplog import events
from smtplog.events import CLIENT, CLOSED, GAP, OPENED, SERVER, TLS, Events

#: The first octets of a record that begins a handshake (RFC 8446 section 5.1); and where each octet that is not printable
#: was made a dot: type, version, length, message type, length, version.
_HELLO = "^\x16\x03[\x01-\x04]"
_DOTTED = r"^\.{4}.\.{3}.\.{2}"
_ALERT = "\x15"


class Sealed:
    """The sessions of one log that are under TLS, block by block."""

    def __init__(self, *, dotted: bool) -> None:
        """``dotted``: the log has dots for octets that are not printable."""
        self._dotted = re.compile(_DOTTED) if dotted else None
        self._pattern = f"{_HELLO}|{_DOTTED}" if dotted else _HELLO
        self._sealed: dict[str, int] = {}  # key → how far: 0 hello, 1 answered, 2 decided, 3 told
        self._said = ""  # the last line before this block

    def lifted(self, found: Events) -> Events:
        """The events without what is sealed."""
        hello = (found.kind == CLIENT) & events.found(found.text, self._pattern)
        if hello.any() or self._sealed:
            found = self._one_by_one(found, hello)
        said = np.flatnonzero((found.kind == CLIENT) | (found.kind == SERVER))
        if len(said):
            self._said = events.text(found.text, int(said[-1]))
        return found

    def _one_by_one(self, found: Events, hello: np.ndarray) -> Events:
        kinds, keys, texts = found.kind.tolist(), events.listed(found.key), events.listed(found.text)
        keep, told, before = np.ones(len(kinds), np.bool_), {}, self._said
        for i, (kind, key, text) in enumerate(zip(kinds, keys, texts, strict=True)):
            if kind in (OPENED, CLOSED):
                self._sealed.pop(key, None)
            elif kind in (CLIENT, SERVER):
                if key in self._sealed:
                    keep[i], event = self._told(key, kind, text)
                    if event:
                        told[i] = event
                elif hello[i] and self._begins(text, before):
                    self._sealed[key], keep[i] = 0, False
                before = text
        if told:
            found.kind[list(told)] = [kind for kind, _ in told.values()]
            found.flags[list(told)] = 0
            found.text = events.replaced_at(found.text, np.array(list(told)), [text for _, text in told.values()])
        return found.take(np.flatnonzero(keep))

    def _begins(self, text: str, before: str) -> bool:
        """A line of dots is the hello of a client only where the server has just said that it is ready."""
        return self._dotted is None or not self._dotted.match(text) or before.startswith("220")

    def _told(self, key: str, kind: int, text: str) -> tuple[bool, tuple[int, str] | None]:
        """Whether an octet line under TLS tells something, and what."""
        stage = self._sealed[key]
        if stage == 0:
            failed = kind == SERVER and text.startswith(_ALERT)
            self._sealed[key] = 3 if failed else int(kind == SERVER)
            return failed, (TLS, "failed") if failed else None
        if stage == 1 and kind == CLIENT:
            failed = text.startswith(_ALERT)
            self._sealed[key] = 3 if failed else 2
            return True, (TLS, "failed" if failed else "ok")
        if stage == 2:
            self._sealed[key] = 3
            return True, (GAP, "octets of TLS")
        return False, None
