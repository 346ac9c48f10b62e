"""The server's side of a play, without any socket: stands in for the server of recorded dialogs.

A command that the recorded client sent here is answered as it was; another one by the policy for what was not recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from smtplog import speech, states
from smtplog.dialogs import END_OF_DATA
from smtplog.replay.acts import Acts, Close, Receive, Send, Side, Wait
from smtplog.replay.faults import Fault, none_of_them
from smtplog.replay.framing import MOST_LINE, MOST_TEXT, Framing, TroubleError, shown
from smtplog.replay.handshake import handshake
from smtplog.replay.matching import differing, same_command
from smtplog.replay.recording import Recording
from smtplog.replay.stand_ins import reply_for
from smtplog.replay.standing import Standing, chunk_of, masked
from smtplog.replay.turns import Play, Turn

#: What is done with a command that was not recorded where it comes.
UNMATCHED = ("503", "close", "nearest", "state-machine")
#: So many commands that were not recorded are kept; a session in which more are refused ends.
MOST_MISSES = 1000
_MOST_SHOWN = 512  # characters of each


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client sent at once: a command line, message text with its dot, a chunk with its command."""

    octets: bytes
    verb: str
    line: str  #: the command line without its end; ``.``
    written: bool = False  #: it is in the recording already

    def is_turn(self, turn: Turn) -> bool:
        """Whether the recorded client asked for the same."""
        if turn.said is None:
            return False
        if self.octets == turn.said or "command" in turn.made_up:
            return True
        verb = "BDAT" if self.verb == "BDAT LAST" else self.verb
        if verb != turn.verb:
            return False
        return verb in (END_OF_DATA, "AUTH-RESPONSE") or same_command(shown(turn.command), self.line)


@dataclass(frozen=True, slots=True)
class Miss:
    """A command that was not recorded where it came."""

    line: str  #: its secret masked
    why: str  #: what of it differs from the nearest one that was recorded


@dataclass(slots=True)
class Server:
    """Plays the server of recorded dialogs: of the first, until the client asks for what another one has."""

    plays: Sequence[Play]
    recording: Recording = field(default_factory=Recording)
    unmatched: str = "503"
    timing: float = 0.0  #: of the recorded delays: 1 as recorded, 4 four times as fast, 0 none
    fault: Callable[[str], Fault | None] = none_of_them  #: what is done on purpose when this verb comes
    tls: bool = True  #: whether a handshake can be made; without a certificate STARTTLS is not offered
    at: int = 0  #: turns of the play that were played
    misses: list[Miss] = field(default_factory=list)
    ended: str = ""  #: what went wrong; empty where nothing did
    standing: Standing = field(default_factory=Standing)
    _play: int = 0
    _framing: Framing = field(default_factory=Framing)
    _gone: bool = False
    _refused: int = 0  #: commands that were not recorded
    _text: int = 0  #: octets of this message text that were written down and not kept
    _begins: bool = True  #: the next octets of text begin a line
    _chunk: Asked | None = None  #: of which so many octets are still to come:
    _left: int = 0
    _done: list[Asked] = field(default_factory=list)
    _otherwise: bool = False  #: something was answered that was not recorded
    _of_text: Fault | None = None  #: the fault at the end of this message text, which all of its replies have

    @property
    def play(self) -> Play:
        """The dialog that is played."""
        return self.plays[self._play]

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Its turns."""
        return self.play.turns

    @property
    def complete(self) -> bool:
        """Whether all of the recorded dialog was played."""
        return self.at >= len(self.turns) or all(not turn.awaited for turn in self.turns[self.at :])

    @property
    def due(self) -> str:
        """What the client was to say next."""
        turns = self.turns[self.at :]
        return _told(next((turn for turn in turns if turn.said is not None), None))

    def side(self) -> Side:
        """The acts of the server, one after the other. Trouble ends the session."""
        try:
            yield from self._played()
        except TroubleError as error:
            self.ended = str(error)
            self.recording.event("close server")
            yield Close()

    def _played(self) -> Side:
        if self.play.implicit_tls:
            yield from self._tls()
        while not self._gone:
            yield from self._speak()
            if self._gone or self._is_over():
                break
            asked = yield from self._next()
            if asked is None:
                self.recording.event("close server" if self._gone else "close client")
                yield Close()
                return
            yield from self._answer(asked)
        self.recording.event("close server")
        yield Close()

    # -- what comes

    def _next(self) -> Acts[Asked | None]:
        """What the client asks for next; None where it closed, or where the server does in the middle of message text."""
        judged = False
        while True:
            if self._framing.octets and self.standing.transaction == "data" and not judged:
                judged = True
                yield from self._in_text()
            found = None if self._gone else self._taken()
            if found is not None:
                if not found.written:
                    self.recording.client(found.octets, secret=self._is_secret(found))
                return found
            came = b"" if self._gone else (yield Receive(more=bool(self._framing.octets)))
            if not came:
                rest = self._framing.take(len(self._framing.octets))
                text = self.standing.transaction == "data" or self._chunk is not None
                self.recording.client(rest, secret=not text and self.standing.is_secret(shown(rest)))
                return None
            self._framing.add(came)

    def _in_text(self) -> Side:
        """A fault in the middle of message text, where one is wanted."""
        fault = self.fault("text")
        if fault is not None:
            yield Wait(fault.wait)
            self.recording.server(fault.reply)
            yield Send(fault.reply)
            self._gone = fault.closes or bool(fault.reply)

    def _taken(self) -> Asked | None:
        if self._chunk is not None:
            return self._rest_of_chunk()
        turn = self.turns[self.at] if self.at < len(self.turns) else None
        in_text = self.standing.transaction == "data"
        if turn is not None and turn.said is not None and not (turn.made_up - {"reply"} or self._text):
            octets = self._framing.exactly(turn.said)
            if octets is not None:
                verb = END_OF_DATA if turn.verb == END_OF_DATA else self.standing.verb_of(shown(turn.command))
                return Asked(octets, verb, shown(turn.command))
            if turn.text and turn.said.startswith(bytes(self._framing.octets)):
                return None  # the text that was recorded, so far
        if in_text:
            return self._end_of_text()
        end = self._framing.octets.find(b"\n")
        line = shown(bytes(self._framing.octets[: max(end, 0)]).removesuffix(b"\r"))
        verb = self.standing.verb_of(line) if end >= 0 else ""
        size = chunk_of(line) if verb in ("BDAT", "BDAT LAST") else None
        octets = self._framing.line()
        if octets is None or not size:
            return Asked(octets, verb, line) if octets is not None else None
        if size > MOST_TEXT:
            raise TroubleError(f"a chunk of {size:,} octets was announced; at most {MOST_TEXT:,} are taken")
        self.recording.client(octets)
        self._chunk, self._left = Asked(octets, verb, line, written=True), size
        return self._rest_of_chunk()

    def _end_of_text(self) -> Asked | None:
        """The end of message text (CRLF.CRLF, RFC 5321 section 4.1.1.4), where it came; what comes before it is written down
        line by line and not kept."""
        octets = self._framing.octets
        while (end := octets.find(b"\n") + 1) or len(octets) > MOST_LINE:
            piece = self._framing.take(end or len(octets))
            self.recording.client(piece)
            if self._begins and piece == b".\r\n":
                self._text = 0
                return Asked(piece, END_OF_DATA, ".", written=True)
            self._begins = piece.endswith(b"\r\n")
            self._text += len(piece)
            if self._text > MOST_TEXT:
                raise TroubleError(f"message text came that is longer than {MOST_TEXT:,} octets and has no end")
        return None

    def _rest_of_chunk(self) -> Asked | None:
        """The whole chunk, where it came; its octets are written down line by line and not kept."""
        octets = self._framing.octets
        while self._left and (
            (end := octets.find(b"\n", 0, self._left) + 1) or len(octets) >= min(self._left, MOST_LINE)
        ):
            piece = self._framing.take(end or min(self._left, len(octets)))
            self.recording.client(piece)
            self._left -= len(piece)
        if self._left:
            return None
        chunk, self._chunk = self._chunk, None
        return chunk

    def _is_secret(self, asked: Asked) -> bool:
        return asked.verb != END_OF_DATA and self.standing.is_secret(asked.line)

    # -- what is answered

    def _speak(self) -> Side:
        """Say what the recorded server said without being asked: the greeting, a further reply, a farewell."""
        while self.at < len(self.turns) and self.turns[self.at].said is None:
            turn = self.turns[self.at]
            self.at += 1
            if turn.further and self._otherwise and not (self.standing.due or self._of_text):
                continue  # fewer recipients were accepted than then (RFC 2033 section 4.2)
            fault = self.fault("greeting") if turn.exchange is None else self._of_text if turn.further else None
            yield from self._say(turn.reply or b"", turn.delay, fault)
            if self._gone:
                return
        while self._otherwise and self.standing.due:
            yield from self._say(reply_for(END_OF_DATA), 0.0, None)

    def _answer(self, asked: Asked) -> Side:
        turn = self._turn_for(asked)
        fault = self.fault(asked.verb)
        self._otherwise = self._otherwise or turn is None or fault is not None
        self._of_text = fault if asked.verb == END_OF_DATA else None
        if turn is None:
            yield from self._not_recorded(asked, fault)
            return
        if not turn.awaited:
            return
        self.standing.said(asked.verb)
        if turn.reply is None:  # the recorded server never answered, nor any command sent with this one
            self._gone = self.at >= len(self.turns)
        yield from self._say(turn.reply or b"", turn.delay, fault)
        if turn.starts_tls and not self._gone and not (fault and fault.reply):
            yield from self._tls()

    def _turn_for(self, asked: Asked) -> Turn | None:
        """The next turn, where it is what the client asks for: of this dialog, or of another one that began alike."""
        if self.at < len(self.turns) and asked.is_turn(self.turns[self.at]):
            self.at += 1
            self._done.append(asked)
            return self.turns[self.at - 1]
        for number, play in enumerate(self.plays):
            at = _place(play, self._done)
            if at is not None and at < len(play.turns) and asked.is_turn(play.turns[at]):
                self._play, self.at = number, at + 1
                self._done.append(asked)
                return play.turns[at]
        return None

    def _not_recorded(self, asked: Asked, fault: Fault | None) -> Side:
        line = masked(asked.line) if self._is_secret(asked) else asked.line
        if len(self.misses) < MOST_MISSES:
            line = line[:_MOST_SHOWN]
            self.misses.append(Miss(line, self._why(asked, line)[:_MOST_SHOWN]))
        turn = _nearest(self.turns, asked) if self.unmatched == "nearest" else None
        if self.unmatched == "close" and not fault:
            self._gone = True
            return
        state = self.standing.state
        self.standing.said(asked.verb)
        if turn is not None and turn.reply is not None:
            self.at = self.turns.index(turn) + 1
            yield from self._say(turn.reply, turn.delay, fault)
            return
        correct = self.unmatched == "state-machine" or asked.verb == "QUIT"
        reply = self._correct(asked, state) if correct else b"503 5.5.1 Not recorded here\r\n"
        yield from self._say(reply, 0.0, fault)
        self._refused += reply[:1] == b"5"
        if self._refused > MOST_MISSES:
            raise TroubleError(f"more than {MOST_MISSES:,} commands came that were not recorded")
        self._gone = self._gone or self.standing.closing
        if asked.verb == "STARTTLS" and reply.startswith(b"220") and not self._gone:
            yield from self._tls()

    def _why(self, asked: Asked, line: str) -> str:
        """What of a command differs from the nearest one that was recorded."""
        nearest = _nearest(self.turns, asked)
        if nearest is None:
            return f"the log has no {asked.verb or 'empty line'}; due was {self.due}"
        shown_as = _told(nearest)
        if asked.is_turn(nearest):
            return f"recorded is {shown_as}, but not here; due was {self.due}"
        return f"nearest is {shown_as}: {differing(shown(nearest.command), line)}"

    def _correct(self, asked: Asked, state: str) -> bytes:
        """What a correct server says to this command in this state."""
        if asked.verb not in states.ALLOWED[state]:
            known = any(asked.verb in verbs for verbs in states.ALLOWED.values())
            return b"503 5.5.1 Bad sequence of commands\r\n" if known else b"500 5.5.2 Command not recognized\r\n"
        if asked.verb == "STARTTLS" and (not self.tls or self.standing.tls):
            return b"503 5.5.1 TLS is not offered\r\n"
        offered = next(
            (t.reply for t in self.turns if t.verb == asked.verb and t.verb in states.HELLO and t.reply), None
        )
        if offered and self.standing.tls:
            offered = _without_starttls(offered)
        reply = offered or reply_for(asked.verb.removesuffix(" LAST"), speech.split(asked.line)[1])
        return reply * self.standing.replies_due(asked.verb)

    def _say(self, reply: bytes, delay: float, fault: Fault | None) -> Side:
        if self.timing and delay:
            yield Wait(delay / self.timing)
        if fault is not None:
            if fault.wait:
                yield Wait(fault.wait)
            reply = fault.reply or reply
            self._gone = self._gone or fault.closes
            if fault.silent:
                return
        if not reply:
            return
        rest = reply
        while rest:
            framing = Framing(bytearray(rest))
            whole = framing.reply() or bytes(framing.octets)
            self.standing.answered(whole)
            rest = rest[len(whole) :]
        self.recording.server(reply)
        yield Send(reply)

    def _tls(self) -> Side:
        yield from handshake(self.recording, self.standing)
        self._framing = Framing()

    def _is_over(self) -> bool:
        """Whether the server closes now, as the recorded one did."""
        return self.at >= len(self.turns) and (self.standing.closing or self.play.closes == "server")


def _without_starttls(reply: bytes) -> bytes:
    """The offers of a server once TLS stands (RFC 3207 section 4.2)."""
    lines = [line for line in reply.splitlines(keepends=True) if line[4:].strip().upper() != b"STARTTLS"]
    last = lines[-1]
    return b"".join([*lines[:-1], last[:3] + b" " + last[4:]])


def _place(play: Play, done: Sequence[Asked]) -> int | None:
    """How far this dialog goes with what was asked for so far; None where it began otherwise."""
    at = 0
    for asked in done:
        while at < len(play.turns) and play.turns[at].said is None:
            at += 1
        if at >= len(play.turns) or not asked.is_turn(play.turns[at]):
            return None
        at += 1
    while at < len(play.turns) and play.turns[at].said is None:
        at += 1
    return at


def _told(turn: Turn | None) -> str:
    """A turn as a person is told of it."""
    if turn is None:
        return "nothing: all of the log was played"
    what = "the end of the message text" if turn.verb == END_OF_DATA else _unsecret(turn)
    return what if turn.line is None else f"{what} (line {turn.line})"


def _unsecret(turn: Turn) -> str:
    line = shown(turn.command)
    gives = turn.verb == "AUTH-RESPONSE" or (turn.verb in ("AUTH", "X-EXPS") and " " in speech.split(line)[1].strip())
    return masked(line) if gives else line


def _nearest(turns: Sequence[Turn], asked: Asked) -> Turn | None:
    """The recorded exchange that is most like a command: the same verb, then the longest common beginning."""
    alike = [turn for turn in turns if turn.said is not None and turn.verb == asked.verb.removesuffix(" LAST")]
    return max(alike, key=lambda turn: _common(shown(turn.command).casefold(), asked.line.casefold()), default=None)


def _common(one: str, other: str) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
