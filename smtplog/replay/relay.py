"""What goes between a client and a server, without any socket: taken apart, written down, handed on as it was.

A line is handed on as soon as it has come; where a STARTTLS waits for its answer, nothing of the client goes on before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from smtplog.dialogs import END_OF_DATA
from smtplog.replay.framing import MOST_LINE, Framing, code_of, shown
from smtplog.replay.recording import Recording
from smtplog.replay.standing import Standing, chunk_of
from smtplog.replay.turns import UNANSWERED

End = Literal["client", "server"]
_TLS = ("STARTTLS", "X-ANONYMOUSTLS")


@dataclass(frozen=True, slots=True)
class HandOn:
    """Send these octets to this end."""

    to: End
    octets: bytes


@dataclass(frozen=True, slots=True)
class BothTLS:
    """Do the handshake with the server, hand this reply on to the client, do the handshake with the client."""

    reply: bytes


Step = HandOn | BothTLS


@dataclass(slots=True)
class Relay:
    """One session between two ends."""

    recording: Recording = field(default_factory=Recording)
    standing: Standing = field(default_factory=Standing)
    answers: int = 0  #: commands that were answered
    _came: dict[End, Framing] = field(default_factory=lambda: {"client": Framing(), "server": Framing()})
    _chunk: int = 0  #: octets of a chunk that are still to come
    _begins: bool = True  #: the next octets of message text begin a line
    _asked_tls: bool = False  #: STARTTLS was said and is not answered

    def take(self, end: End, octets: bytes) -> Iterator[Step]:
        """What one end said. Raises TroubleError where it is more than any program of SMTP may say."""
        self._came[end].add(octets)
        yield from self._client() if end == "client" else self._server()

    def rest(self) -> None:
        """The session is over: what came and is no whole line is written down."""
        for end, framing in self._came.items():
            left = framing.take(min(len(framing.octets), MOST_LINE))
            if left and end == "client":
                self.recording.client(left, secret=self.standing.in_auth)
            elif left:
                self.recording.server(left)

    def secured(self) -> None:
        """TLS stands with both ends: what either said before it and was not taken is thrown away (RFC 3207 section 6)."""
        self._came = {"client": Framing(), "server": Framing()}
        self.standing.tls = True
        self.recording.event("tls ok")

    # -- the client

    def _client(self) -> Iterator[Step]:
        while not self._asked_tls and (octets := self._piece()):
            yield HandOn("server", octets)

    def _piece(self) -> bytes:
        """The next line of the client, or what has come of a chunk or of a long line of text; written down."""
        framing = self._came["client"]
        if self._chunk:
            end = framing.octets.find(b"\n", 0, self._chunk) + 1
            octets = framing.take(end or min(self._chunk, len(framing.octets)))
            self._chunk -= len(octets)
            self.recording.client(octets)
            return octets
        if self.standing.transaction == "data":
            return self._text(framing)
        line = framing.line()
        if line is None:
            return b""
        words = shown(line.removesuffix(b"\n").removesuffix(b"\r"))
        verb = self.standing.verb_of(words)
        self.recording.client(line, secret=self.standing.is_secret(words))
        if verb in UNANSWERED:
            return line
        self.standing.said(verb)
        self._asked_tls = verb in _TLS
        self._chunk = (chunk_of(words) or 0) if verb in ("BDAT", "BDAT LAST") else 0
        return line

    def _text(self, framing: Framing) -> bytes:
        """A line of message text; of one longer than any may be, what has come."""
        end = framing.octets.find(b"\n") + 1
        if not end and len(framing.octets) < MOST_LINE:
            return b""
        octets = framing.take(end or len(framing.octets))
        self.recording.client(octets)
        if self._begins and octets == b".\r\n":
            self.standing.said(END_OF_DATA)
        self._begins = octets.endswith(b"\r\n")
        return octets

    # -- the server

    def _server(self) -> Iterator[Step]:
        framing = self._came["server"]
        while (reply := framing.reply()) is not None:
            self.recording.server(reply)
            verb = self.standing.answered(reply)
            self.answers += bool(verb)
            self._begins = self._begins or verb == "DATA"
            if verb in _TLS:
                self._asked_tls = False
                if code_of(reply) // 100 == 2:
                    yield BothTLS(reply)
                    return
            yield HandOn("client", reply)
            yield from self._client()
