"""A client that speaks to a live server, without any socket: says lines, hears whole replies, keeps track and a recording.

What plays a log, what probes a server and what a person types all go through it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from smtplog import speech
from smtplog.dialogs import END_OF_DATA
from smtplog.replay.acts import Acts, Close, Receive, Send, Side
from smtplog.replay.credentials import Credentials
from smtplog.replay.framing import Framing, TroubleError, code_of, shown
from smtplog.replay.handshake import handshake
from smtplog.replay.recording import Recording
from smtplog.replay.standing import Standing

_MOST_REST = 1 << 16


@dataclass(slots=True, kw_only=True)
class Speaker:
    """The client's end of a live session."""

    recording: Recording = field(default_factory=Recording)
    standing: Standing = field(default_factory=Standing)
    gone: bool = False  #: the server closed
    mechanism: str = ""  #: of the last AUTH
    _framing: Framing = field(default_factory=Framing)

    def say(self, octets: bytes, line: str, *, text: bool = False, answered: bool = True) -> Side:
        """Send a command (``line`` is its text, without its end; a chunk may follow it), or with ``text`` message text and
        its dot. Raises TroubleError where the server has answered what was not asked yet."""
        early = bytes(self._framing.octets)
        if early and not self.standing.waiting and code_of(early) != 421:
            raise TroubleError("the server answered before it was asked")
        if text:
            self.recording.client(octets)
            self.standing.said(END_OF_DATA)
        else:
            verb = self.standing.verb_of(line)
            self.recording.client(octets, secret=self.standing.is_secret(line))
            if answered:
                self.standing.said(verb)
            if verb == "AUTH":
                self.mechanism = speech.split(line)[1].partition(" ")[0].upper()
        yield Send(octets)

    def hear(self, command: str = "", expected: bytes | None = None) -> Acts[bytes | None]:
        """The next whole reply; None where the server closed before it. ``command``: the verb it answers; ``expected``: these
        very octets are taken as one reply, though they be none."""
        more = False
        odd = expected is not None and Framing(bytearray(expected)).reply() != expected
        while True:
            found = self._framing.exactly(expected) if expected else None
            begun = odd and expected is not None and expected.startswith(bytes(self._framing.octets))
            found = found or (None if begun else self._framing.reply())
            if found is not None:
                self.recording.server(found)
                self.standing.answered(found)
                return found
            came = yield Receive(command, more)
            if not came:
                self.gone = True
                self.recording.server(self._framing.take(_MOST_REST))
                return None
            self._framing.add(came)
            more = True

    def ask(self, line: str) -> Acts[bytes | None]:
        """Say a line and hear its reply."""
        yield from self.say(line.encode() + b"\r\n", line)
        return (yield from self.hear(speech.split(line)[0]))

    def send_text(self, text: bytes) -> Acts[list[bytes]]:
        """Send message text, its dots stuffed and its lines ended with CRLF here (RFC 5321 section 4.5.2), and hear all of its
        replies: with LMTP one for each recipient."""
        due = self.standing.replies_due(END_OF_DATA)
        yield from self.say(stuffed(text) + b".\r\n", ".", text=True)
        replies = []
        for _ in range(due):
            reply = yield from self.hear(END_OF_DATA)
            if reply is None:
                break
            replies.append(reply)
        return replies

    def log_in(self, mechanism: str, credentials: Credentials) -> Acts[bytes | None]:
        """AUTH to its end (RFC 4954); the last reply."""
        initial = credentials.initial(mechanism)
        reply = yield from self.ask(f"AUTH {mechanism} {initial}" if initial else f"AUTH {mechanism}")
        for _ in range(8):
            if reply is None or not self.standing.in_auth:
                break
            prompt = speech.words_of(shown(reply).strip())
            reply = yield from self.ask(credentials.answer(mechanism, prompt))
        return reply

    def handshake(self) -> Side:
        """TLS, now. Raises TroubleError where it fails."""
        yield from handshake(self.recording, self.standing)
        self._framing = Framing()

    def quit(self) -> Side:
        """QUIT, where it may be said."""
        if not (self.gone or self.standing.closing or self.standing.state in ("data", "auth")):
            yield from self.ask("QUIT")

    def wait_for_close(self) -> Side:
        """Let the server close first, as it does after 221."""
        while not self.gone and len(self._framing.octets) < _MOST_REST:
            came = yield Receive("QUIT")
            self.gone = not came
            self._framing.add(came)

    def leave(self) -> Side:
        """Close the connection."""
        self.recording.event("close server" if self.gone else "close client")
        yield Close()

    def flee(self) -> Side:
        """Close after trouble; what came of a reply is kept."""
        self.recording.server(self._framing.take(_MOST_REST))
        self.recording.event("close client")
        yield Close()


def stuffed(text: bytes) -> bytes:
    """Message text as it is sent: every line ended with CRLF, a dot before each leading dot."""
    lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
