"""Where a live session stands: the state table of :mod:`smtplog.states`, walked as commands and replies go by."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from smtplog import negotiated, redact, reference, speech, states
from smtplog.dialogs import END_OF_DATA
from smtplog.replay.credentials import prompt_of
from smtplog.replay.framing import code_of, shown

_AUTH = ("AUTH", "X-EXPS", "AUTH-RESPONSE")


@dataclass(slots=True)
class Standing:
    """The state of one session. Commands are told as they are sent, replies as they come, in the order of the wire."""

    hello: str = ""  #: the accepted hello in force
    tls: bool = False
    authenticated: bool = False
    transaction: str = "none"
    extensions: Mapping[str, str] = field(default_factory=dict)  #: EHLO keyword → parameters, of the last EHLO
    recipients: int = 0  #: accepted in this transaction
    greeted: bool = False
    closing: bool = False
    in_auth: bool = False  #: a 334 came: the client owes an answer
    waiting: deque[str] = field(default_factory=deque)  #: verbs that are not answered yet
    due: int = 0  #: replies to the end of data that come after the next one (LMTP)
    _auth_failed: bool = False  #: AUTH was refused, and no command was said since
    _connected: bool = False  #: the first reply came

    @property
    def state(self) -> str:
        """One of :data:`smtplog.states.STATES`."""
        if self.closing:
            return "closing"
        if self.in_auth:
            return "auth"
        if self.transaction != "none":
            return self.transaction
        return "ready" if self.hello else "greeted" if self.greeted else "connected"

    @property
    def lmtp(self) -> bool:
        """Whether the session speaks LMTP (RFC 2033)."""
        return self.hello == "LHLO"

    def replies_due(self, verb: str) -> int:
        """How many replies a command is due here: with LMTP the end of data has one for each recipient (RFC 2033 section 4.2)."""
        return max(self.recipients, 1) if self.lmtp and verb in (END_OF_DATA, "BDAT LAST") else 1

    def verb_of(self, line: str) -> str:
        """The verb of a client line here: that of a command, ``AUTH-RESPONSE``; ``BDAT LAST`` is a verb of its own."""
        if self.in_auth:
            return "AUTH-RESPONSE"
        verb, argument = speech.split(line)
        return "BDAT LAST" if verb == "BDAT" and argument.upper().split()[1:] == ["LAST"] else verb

    @property
    def legal(self) -> tuple[str, ...]:
        """The verbs that may come here, the most useful first: of those that an extension brings, the offered ones."""
        verbs = states.legal_in(self.state)
        if not self.hello:
            return verbs
        return tuple(verb for verb in verbs if self._is_offered(verb.removesuffix(" LAST")))

    def _is_offered(self, verb: str) -> bool:
        if (verb == "STARTTLS" and self.tls) or (verb == "AUTH" and self.authenticated):
            return False
        row = reference.verb(verb)
        keywords = row["extension_keyword"].split(";") if row is not None else ["-"]
        hello = verb in states.HELLO and (verb == "LHLO") != self.lmtp
        return not hello and any(each in ("-", "", "HELP") or each in self.extensions for each in keywords)

    def said(self, verb: str) -> None:
        """The client sent this command, or the end of data."""
        self.waiting.append(verb)
        self._auth_failed = self._auth_failed and reference.verb(verb) is None
        if verb == "AUTH-RESPONSE":
            self.in_auth = False
        if verb == END_OF_DATA:
            self.transaction = "rcpt" if self.transaction == "data" else self.transaction

    def answered(self, reply: bytes) -> str:
        """A whole reply came; gives the verb that it answers, empty for one that nothing asked for."""
        code = code_of(reply)
        if not (self._connected or self.waiting):
            self._connected = True
            self.greeted = code // 100 == 2
            self.closing = not self.greeted
            return ""
        self._connected = True
        if self.due:
            self.due -= 1
            return END_OF_DATA
        verb = self.waiting.popleft() if self.waiting else ""
        self.due = self.replies_due(verb) - 1
        if verb == "RCPT" and code // 100 == 2:
            self.recipients += 1
        if verb in ("EHLO", "LHLO") and code // 100 == 2:
            text = tuple(speech.words_of(line) for line in shown(reply).splitlines())
            self.extensions = negotiated.keywords(text)
        if verb in _AUTH:
            self._auth_failed = code // 100 in (4, 5)
        self._move(states.after(verb, code))
        self.in_auth = code == 334  # whatever it answers: the server waits for an answer, or for text
        if code == 354 and states.after(verb, code).transaction is None:
            self.transaction = "data"
        return verb

    def _move(self, after: states.After) -> None:
        self.transaction = after.transaction or self.transaction
        if after.transaction in ("none", "mail"):
            self.recipients = 0
        if after.hello is not None:
            self.hello = "" if after.hello == "none" else after.hello
        self.tls = self.tls if after.tls is None else after.tls
        self.authenticated = self.authenticated if after.authenticated is None else after.authenticated
        self.in_auth = self.in_auth if after.auth is None else after.auth
        self.closing = self.closing if after.closing is None else after.closing

    def is_secret(self, line: str) -> bool:
        """Whether a client line, not told yet, gives away a secret: an AUTH command with one, an answer to AUTH, also one that
        did not wait for its 334 or comes although AUTH was refused."""
        verb, argument = speech.split(line)
        if verb in ("AUTH", "X-EXPS") and not self.in_auth:
            return not redact.hidden(argument.partition(" ")[2].strip())
        early = self._auth_failed or any(each in _AUTH for each in self.waiting)
        answer = self.in_auth or (early and " " not in line.strip() and reference.verb(verb) is None)
        return answer and not redact.hidden(line.strip())


def masked(line: str) -> str:
    """A client line with its secret masked."""
    verb, argument = speech.split(line)
    if verb in ("AUTH", "X-EXPS") and " " in argument.strip():
        return f"{line[: len(verb)]} {argument.partition(' ')[0]} {redact.MASK}"
    return redact.MASK


def secret_of(line: str) -> str:
    """The secret in a client line that holds one."""
    verb, argument = speech.split(line)
    return argument.partition(" ")[2].strip() if verb in ("AUTH", "X-EXPS") else line.strip()


def asks_for_user(reply: str) -> bool:
    """Whether a 334 asks for the name of the user, as that of LOGIN does."""
    return speech.code_of(reply) == 334 and "user" in prompt_of(speech.words_of(reply)).casefold()


def chunk_of(line: str) -> int | None:
    """The octets that follow a BDAT command (RFC 3030 section 2); None where the line is none."""
    verb, argument = speech.split(line)
    size = argument.partition(" ")[0] if verb == "BDAT" else ""
    return int(size[:12]) if size.isascii() and size.isdigit() else None
