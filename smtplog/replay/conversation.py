"""A session that a person holds, without terminal or socket: lines typed in, acts out.

A line is a command, message text after a 354 (its dots are stuffed here), the octets of a chunk, an answer to a 334, or a
helper: ``AUTH`` alone or ``:auth PLAIN`` logs in. STARTTLS typed by hand does the handshake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from smtplog import redact, reference, speech
from smtplog.dialogs import END_OF_DATA
from smtplog.errors import UsageError
from smtplog.findings import Finding
from smtplog.replay.acts import Acts, Receive, Send, Side, Wait
from smtplog.replay.credentials import MECHANISMS, Credentials
from smtplog.replay.framing import TroubleError, code_of, shown
from smtplog.replay.recording import Copies
from smtplog.replay.so_far import SoFar
from smtplog.replay.speaker import Speaker
from smtplog.replay.standing import chunk_of, masked

#: The mechanisms of the helper, the best first: under TLS, and without it.
_UNDER_TLS, _IN_CLEAR = ("PLAIN", "LOGIN", "CRAM-MD5"), ("CRAM-MD5", "PLAIN", "LOGIN")
_FAREWELL = 0.2  # seconds for the server to close after its 221


class Screen(Protocol):
    """Where a conversation is shown."""

    def said(self, line: str) -> None:
        """A line was sent that nobody typed; its secret is masked."""

    def heard(self, reply: str, verb: str) -> None:
        """A whole reply came; the verb that it answers, ``Connect`` for the greeting, empty where nothing was asked."""

    def noted(self, sentence: str) -> None:
        """Something else happened."""


def nobody() -> Credentials:
    """There is nobody to ask."""
    raise UsageError("there is no user to log in: set SMTPLOG_USER and SMTPLOG_PASSWORD, or name one with --auth")


@dataclass(slots=True, kw_only=True)
class Conversation(Speaker):
    """The client of a session, told line by line what to say."""

    screen: Screen
    user: Callable[[], Credentials] = nobody  #: who logs in; asked when it is needed. Raises UsageError
    show_secrets: bool = False
    in_clear: bool = False  #: whether the helper may send a password without TLS
    so_far: SoFar = field(default_factory=SoFar)
    over: bool = False  #: nothing can be said any more
    ended: str = ""  #: the trouble that ended it; empty where there was none
    unsent: int = 0  #: lines that were not sent: text without a 354, answers without a 334, whatever came after the end
    _beginning: bool = False  #: what is said now nobody typed
    _helping: Credentials | None = None  #: the helper answers what comes
    _chunk: int = 0  #: octets of a chunk that are still to come
    _chunk_verb: str = ""
    _last: bytes = b""  #: the last reply
    _refused: str = ""  #: what was refused that the lines pasted behind it belong to

    def __post_init__(self) -> None:
        self.recording = Copies(to=(self.recording, self.so_far.recording))

    @property
    def in_text(self) -> bool:
        """Whether the next line is message text, or the octets of a chunk."""
        return self.standing.transaction == "data" or self._chunk > 0

    # -- the beginning and the end

    def begin(self, *, tls: bool = False, starttls: bool = False, hello: str = "") -> Side:
        """Up to the greeting; with ``starttls`` up to the hello under TLS."""
        yield from self._guarded(self._begun(tls, starttls, hello))

    def _begun(self, tls: bool, starttls: bool, hello: str) -> Side:
        if tls:
            yield from self.handshake()
        yield from self._hear("Connect")
        self._beginning = True
        if starttls and self.standing.greeted:
            for line in (f"EHLO {hello}", "STARTTLS", f"EHLO {hello}"):
                if self.over:
                    return
                self.screen.said(line)
                yield from self._command(line)
                if line == "STARTTLS" and not (self.standing.tls or self.over):
                    raise TroubleError("TLS was asked for, and the server does not start it")
        self._beginning = False

    def leave(self) -> Side:
        """QUIT where it may be said; else the connection is closed as it stands."""
        yield from self._guarded(self._left())

    def _left(self) -> Side:
        if self.over:
            return
        if not self._chunk and self.standing.state not in ("data", "auth", "connected", "closing"):
            self.screen.said("QUIT")
            yield from self._command("QUIT")
        if not self.over:
            yield from self._close()

    def abandon(self) -> Side:
        """Close at once."""
        if not self.over:
            self.over = True
            yield from self.flee()

    def _close(self) -> Side:
        self.over = True
        yield from Speaker.leave(self)

    def _guarded(self, side: Side) -> Side:
        try:
            yield from side
        except TroubleError as error:
            self.ended, self.over = str(error), True
            yield from self.flee()

    # -- lines

    def meant(self, line: str) -> str:
        """The line that a helper stands for; any other line as it is. Raises UsageError where there is nobody to log in."""
        if self.in_text or self.over:
            return line
        words = line.split()
        if self.standing.in_auth:
            hidden = bool(line) and line != "*" and redact.hidden(line)
            return self._answer() if hidden else line
        asked = words[1:2] if words[:1] == [":auth"] else [] if line.strip().upper() == "AUTH" else None
        if asked is None and words[:1] and words[0].upper() == "AUTH" and len(words) == 3 and redact.hidden(words[2]):
            asked = words[1:2]  # as a log has it that masks the secret
        if asked is None or not (words[0] == ":auth" or self._mechanisms()):
            return line
        mechanism = asked[0].upper() if asked else self._best()
        if mechanism not in MECHANISMS:
            raise UsageError(f"AUTH {mechanism} cannot be answered here; there are {', '.join(MECHANISMS)}")
        if mechanism != "CRAM-MD5" and not (self.standing.tls or self.in_clear):
            raise UsageError(f"AUTH {mechanism} sends the password itself, and TLS is not active: STARTTLS first")
        self._helping = self.user()
        initial = self._helping.initial(mechanism)
        return f"AUTH {mechanism} {initial}" if initial else f"AUTH {mechanism}"

    def _mechanisms(self) -> list[str]:
        return self.standing.extensions.get("AUTH", "").upper().split()

    def _best(self) -> str:
        order = _UNDER_TLS if self.standing.tls else _IN_CLEAR
        return next((each for each in order if each in self._mechanisms()), order[0])

    def before(self, line: str) -> list[Finding]:
        """What is wrong with a line that is to be sent."""
        if self.over or self._chunk or (self.in_text and line != ".") or self._is_skipped(line):
            return []
        verb = END_OF_DATA if self.in_text else self.standing.verb_of(line)
        return self.so_far.before(_octets(line), verb)

    def hidden(self, line: str) -> str:
        """A line as it may be shown."""
        return masked(line) if self.standing.is_secret(line) and not (self.in_text or self.show_secrets) else line

    def typed(self, line: str, *, pasted: bool = False) -> Side:
        """Send one line and hear what is answered. ``pasted``: more lines wait behind it that were written before its reply;
        what of them belongs to a command that was refused is not sent."""
        yield from self._guarded(self._typed(line, pasted))

    def _typed(self, line: str, pasted: bool) -> Side:
        yield from self._glanced()
        if self.over:
            self.unsent += 1
        elif self._is_skipped(line):
            self.unsent += 1
            self._refused = "" if line == "." else self._refused
        elif self._chunk:
            yield from self._chunk_line(line)
        elif self.standing.transaction == "data":
            yield from self._text_line(line)
        else:
            self._refused = ""
            yield from self._command(line)
            self._refused = self._refused if pasted else ""

    def _is_skipped(self, line: str) -> bool:
        if self._refused == "DATA":
            return True
        return self._refused == "AUTH" and reference.verb(speech.split(line)[0]) is None

    def _command(self, line: str) -> Side:
        verb = self.standing.verb_of(line)
        size = chunk_of(line) if verb in ("BDAT", "BDAT LAST") else None
        yield from self.say(_octets(line), line)
        if size:
            self._chunk, self._chunk_verb = size, verb
            return
        reply = yield from self._hear(verb)
        if verb == "DATA" and self.standing.transaction != "data":
            self._refused = "DATA"
        elif verb in ("AUTH", "AUTH-RESPONSE") and not self.standing.in_auth and not self.standing.authenticated:
            self._refused = "AUTH"
        if verb in ("STARTTLS", "X-ANONYMOUSTLS") and code_of(reply) == 220 and not self.over:
            yield from self.handshake()
            if not self._beginning:
                self.screen.noted("TLS is active; the server has forgotten the hello (EHLO comes next)")
        yield from self._help(reply)

    def _help(self, reply: bytes) -> Side:
        """Answer what AUTH asks for, where the helper began it."""
        for _ in range(8):
            if self._helping is None or self.over or not self.standing.in_auth:
                break
            answer = self._answer(reply)
            self.screen.said(self.hidden(answer))
            yield from self.say(_octets(answer), answer)
            reply = yield from self._hear("AUTH-RESPONSE")
        self._helping = None

    def _answer(self, reply: bytes = b"") -> str:
        if self._helping is None:
            self._helping = self.user()
        prompt = reply or self._last
        return self._helping.answer(self.mechanism, speech.words_of(shown(prompt).strip()))

    def _text_line(self, line: str) -> Side:
        if line == ".":
            yield from self.say(b".\r\n", ".", text=True)
            for _ in range(max(self.standing.recipients, 1) if self.standing.lmtp else 1):
                if not self.over:
                    yield from self._hear(END_OF_DATA)
            return
        octets = (b"." if line.startswith(".") else b"") + _octets(line)
        self.recording.client(octets)
        yield Send(octets)

    def _chunk_line(self, line: str) -> Side:
        octets = _octets(line)
        if len(octets) > self._chunk + 2:
            self.screen.noted(f"the chunk ends within this line: {len(octets) - self._chunk:,} octets were not sent")
        octets = octets[: self._chunk]
        self._chunk -= len(octets)
        self.recording.client(octets)
        yield Send(octets)
        if not self._chunk:
            lmtp = self.standing.lmtp and self._chunk_verb == "BDAT LAST"
            for _ in range(max(self.standing.recipients, 1) if lmtp else 1):
                if not self.over:
                    yield from self._hear(self._chunk_verb)

    # -- replies

    def _hear(self, verb: str) -> Acts[bytes]:
        """The next reply; nothing where the server closed."""
        reply = yield from self.hear("" if verb == "Connect" else verb.removesuffix(" LAST"))
        if reply is None:
            self.screen.noted("the server closed the connection")
            yield from self._close()
            return b""
        self._last = reply
        self.screen.heard(shown(self.recording.hidden(reply)), verb)
        if self.standing.closing:
            yield Wait(_FAREWELL)
            yield from self._glanced()
            if not self.over:
                yield from self._close()
        return reply

    def glance(self) -> Side:
        """Hear what was not asked for: a 421, a close."""
        yield from self._guarded(self._glanced())

    def _glanced(self) -> Side:
        if self.over:
            return
        try:
            came = yield Receive(now=True)
        except TroubleError:
            return
        self._framing.add(came)
        while self._framing.octets and (reply := self._framing.reply()) is not None:
            self.recording.server(reply)
            self.standing.answered(reply)
            self.screen.heard(shown(self.recording.hidden(reply)), "")
        if not came:
            self.gone = True
            self.recording.server(self._framing.take(1 << 16))
            if not self.standing.closing:
                self.screen.noted("the server closed the connection")
            yield from self._close()


def _octets(line: str) -> bytes:
    return line.encode("utf-8", "surrogateescape") + b"\r\n"
