"""The client's side of a play, without any socket: sends what the recorded client sent, listens to what is answered.

Where a server answers otherwise than the recorded one did, the client stays within the protocol: no message text without
a 354, no secret without the TLS under which it was said, nothing after a 421.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from smtplog import speech
from smtplog.dialogs import END_OF_DATA
from smtplog.replay.acts import Side, Wait
from smtplog.replay.credentials import Credentials
from smtplog.replay.framing import TroubleError, code_of, shown
from smtplog.replay.matching import Level, same_reply
from smtplog.replay.speaker import Speaker
from smtplog.replay.turns import Play, Turn

#: What becomes of the play after an answer that is not the recorded one.
ON_MISMATCH = ("stop", "continue", "quit-cleanly")


@dataclass(slots=True)
class Heard:
    """What became of one turn."""

    turn: Turn
    reply: bytes | None = None  #: what the server answered; None where it answered nothing
    seconds: float | None = None  #: from the command to the whole reply
    same: bool = True  #: whether it is what the recorded server answered
    skipped: str = ""  #: why the turn was not played

    @property
    def compared(self) -> bool:
        """Whether there was something to compare: not where the log lacks the reply."""
        return not self.skipped and "reply" not in self.turn.made_up


@dataclass(slots=True)
class Client(Speaker):
    """Plays the client of a recorded dialog."""

    play: Play
    level: Level = "code"
    on_mismatch: str = "continue"
    speed: float = 0.0  #: of the recorded pauses: 1 as recorded, 4 four times as fast, 0 none
    most_wait: float = 60.0  #: the longest pause, in seconds
    clock: Callable[[], float] = time.monotonic
    credentials: Credentials | None = None  #: who logs in, in place of who did then
    deliver: bool = True  #: whether message text may be sent
    as_masked: bool = True  #: whether a masked secret may be sent as it is masked
    heard: list[Heard] = field(default_factory=list)
    ended: str = ""  #: why the play ended before its last turn; empty where it did not
    _waiting: deque[tuple[Heard, float]] = field(default_factory=deque)
    _further: int = 0  #: replies to the end of data that are due beside the first (LMTP)

    def side(self) -> Side:
        """The acts of the client, one after the other. Trouble ends the play; what was heard is kept."""
        try:
            yield from self._played()
        except TroubleError as error:
            self.ended = str(error)
            for heard, _ in self._waiting:
                self._lost(heard)
            yield from self.flee()

    def _played(self) -> Side:
        if self.play.implicit_tls:
            yield from self.handshake()
        for turn in self.play.turns:
            if not turn.further:
                self._await_further()
            if not turn.pipelined or self.standing.in_auth:
                yield from self._settle()
            if self.ended or self.gone:
                break
            yield from self._take(turn)
        self._await_further()
        yield from self._settle()
        if self.gone and any(turn.reply is not None and "reply" not in turn.made_up for turn in self.unplayed()):
            self.ended = self.ended or "the server closed the connection"
        if self.ended and self.on_mismatch == "quit-cleanly":
            yield from self.quit()
        if self.play.closes == "server" and not self.ended:
            yield from self.wait_for_close()
        yield from self.leave()

    def unplayed(self) -> Iterator[Turn]:
        """The turns that were not reached."""
        return iter(self.play.turns[len(self.heard) :])

    # -- one turn

    def _take(self, turn: Turn) -> Side:
        heard = Heard(turn)
        self.heard.append(heard)
        if turn.said is None:
            if turn.further:
                self._further -= 1
                heard.skipped = (
                    "" if self._further >= 0 else "no reply is due: another number of recipients was accepted"
                )
            if not heard.skipped:
                self._waiting.append((heard, self.clock()))
            return
        heard.skipped = self._forbidden(turn)
        if heard.skipped:
            if turn.verb == END_OF_DATA and self.standing.transaction == "data":
                self.ended = self.ended or heard.skipped
            return
        if self.speed:
            yield Wait(min(turn.pause / self.speed, self.most_wait))
        yield from self._say(turn, heard)
        if not turn.awaited:
            return
        self._waiting.append((heard, self.clock()))
        self._further = self.standing.replies_due(self.standing.verb_of(shown(turn.command))) - 1
        if turn.starts_tls:
            yield from self._settle()
            if self.heard[-1].reply is not None and code_of(self.heard[-1].reply) == 220:
                yield from self.handshake()
            elif turn.is_added:
                raise TroubleError("TLS was asked for, and the server does not start it")

    def _say(self, turn: Turn, heard: Heard) -> Side:
        assert turn.said is not None
        said = turn.said
        line = shown(turn.command)
        if turn.verb in ("AUTH", "X-EXPS", "AUTH-RESPONSE") and self.credentials is not None:
            line = self._with_secret(line, self.credentials)
            said = line.encode() + b"\r\n"
        yield from self.say(said, line, text=turn.verb == END_OF_DATA, answered=turn.awaited)

    def _with_secret(self, line: str, credentials: Credentials) -> str:
        """A line with the secret of the user in place of the recorded one."""
        if self.standing.in_auth:
            prompt = next((each.reply for each in reversed(self.heard[:-1]) if each.reply), b"")
            return credentials.answer(self.mechanism, speech.words_of(shown(prompt).strip()))
        verb, argument = speech.split(line)
        mechanism, _, initial = argument.partition(" ")
        said = credentials.initial(mechanism.upper()) if initial else None
        if initial and mechanism.upper() == "LOGIN":  # the user's name on the command line, as some clients send it
            said = credentials.answer("LOGIN", "")
        return f"{line[: len(verb)]} {mechanism}{f' {said}' if said else ''}"

    def _await_further(self) -> None:
        """Replies to the end of data that the recorded server had no occasion for."""
        for _ in range(self._further):
            self._waiting.append((Heard(Turn(None, None, END_OF_DATA, None, None)), self.clock()))
        self._further = 0

    def _forbidden(self, turn: Turn) -> str:
        """Why a turn may not be played as things stand here."""
        standing = self.standing
        if not self.deliver and (turn.verb in ("DATA", "BDAT") or (turn.verb == END_OF_DATA and turn.pipelined)):
            return "message text is sent with --deliver only"
        if turn.starts_tls and standing.tls:
            return "TLS is active already"
        if "secret" in turn.made_up and self.credentials is None and not self.as_masked:
            return "the log masks the secret: name a user with --auth"
        if turn.verb == END_OF_DATA and standing.transaction != "data" and not turn.pipelined:
            return "no 354: the message text was not sent"
        if turn.verb == "AUTH-RESPONSE" and not standing.in_auth:
            return "no 334: the answer was not sent"
        if standing.in_auth and turn.verb != "AUTH-RESPONSE":
            return "the server waits for an answer to AUTH"
        if turn.verb in ("AUTH", "X-EXPS", "DATA", "BDAT") and not standing.tls and self._was_tls(turn):
            return "recorded under TLS: neither secret nor message text is sent without it"
        if standing.transaction == "data" and turn.verb not in (END_OF_DATA, "AUTH-RESPONSE") and not self._waiting:
            return "the server waits for message text"
        return ""

    def _was_tls(self, turn: Turn) -> bool:
        return turn.exchange is not None and self.play.dialog.exchanges[turn.exchange].tls

    # -- replies

    def _settle(self) -> Side:
        """Wait for every reply that is due."""
        while self._waiting and not self.gone:
            heard, asked = self._waiting[0]
            reply = yield from self.hear(heard.turn.verb, heard.turn.reply if self.level == "exact" else None)
            self._waiting.popleft()
            if reply is None:
                self._lost(heard)
                return
            heard.reply = reply if heard.reply is None else heard.reply + reply
            heard.seconds = self.clock() - asked
            self._judge(heard)
        for heard, _ in self._waiting:
            self._lost(heard)
        self._waiting.clear()

    def _lost(self, heard: Heard) -> None:
        """The server closed before it answered, as the recorded one may have done."""
        heard.same = heard.turn.reply is None

    def _judge(self, heard: Heard) -> None:
        recorded = heard.turn.reply
        heard.same = not heard.compared or (recorded is None or same_reply(recorded, heard.reply or b"", self.level))
        if code_of(heard.reply or b"") == 421 and (recorded is None or code_of(recorded) != 421):
            self.ended = self.ended or "the server ends the session with 421"
        if not heard.same and self.on_mismatch != "continue":
            self.ended = self.ended or f"another answer to {heard.turn.verb or 'the connection'}"
