"""What a server answered beside what was recorded: the outcome of a replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from smtplog import redact, speech
from smtplog.dialogs import END_OF_DATA
from smtplog.model import Dialog
from smtplog.replay.client import Client, Heard
from smtplog.replay.framing import code_of, shown
from smtplog.replay.standing import masked
from smtplog.replay.turns import Turn

#: What became of a turn.
RESULTS = ("same", "different", "no answer", "not sent", "not played", "nothing to compare")


@dataclass(frozen=True, slots=True)
class Row:
    """One turn: what was said, what was answered then, what is answered now."""

    line: int | None  #: of the log
    command: str  #: secrets masked; ``(greeting)`` and the like where nothing was said
    recorded: str | None  #: the reply of the log, its lines joined by line feeds
    given: str | None
    recorded_seconds: float | None
    seconds: float | None
    result: str  #: one of :data:`RESULTS`
    why: str = ""
    stand_ins: tuple[str, ...] = ()  #: what the log did not hold

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "line": self.line,
            "command": self.command,
            "recorded": _reply_json(self.recorded),
            "given": _reply_json(self.given),
            "recorded_seconds": self.recorded_seconds,
            "seconds": None if self.seconds is None else round(self.seconds, 6),
            "result": self.result,
            "why": self.why,
            "stand_ins": list(self.stand_ins),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one dialog."""

    dialog: str
    source: str
    rows: tuple[Row, ...]
    ended: str  #: why it ended before its last turn; empty where it did not

    @property
    def different(self) -> int:
        """How many answers are other ones, or lacking."""
        return sum(row.result in ("different", "no answer") for row in self.rows)

    @property
    def compared(self) -> int:
        """How many answers were compared."""
        return sum(row.result in ("same", "different", "no answer") for row in self.rows)

    @property
    def same(self) -> bool:
        """Whether the server answered as the recorded one did, as far as was looked."""
        return not self.different and not self.ended

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "dialog": self.dialog,
            "source": self.source,
            "same": self.same,
            "compared": self.compared,
            "different": self.different,
            "ended": self.ended,
            "exchanges": [row.to_json() for row in self.rows],
        }


def outcome(client: Client, *, show_secrets: bool = False) -> Outcome:
    """The outcome of a play that has ended."""
    dialog = client.play.dialog
    pattern = None if show_secrets else redact.masking(dialog, client.recording.secrets)

    def hidden(text: str | None) -> str | None:
        return text if text is None else redact.mask(text, pattern)

    def row(heard: Heard, result: str) -> Row:
        turn = heard.turn
        recorded = _text(turn.reply) if "reply" not in turn.made_up else None
        return Row(
            turn.line,
            redact.mask(_command(dialog, turn, show_secrets), pattern),
            hidden(recorded),
            hidden(_text(heard.reply)),
            turn.delay or None,
            heard.seconds,
            result,
            heard.skipped,
            tuple(sorted(turn.made_up)),
        )

    rows = [row(heard, _result(heard)) for heard in client.heard]
    rows += [row(Heard(turn), "not played") for turn in client.unplayed()]
    return Outcome(dialog.id, dialog.source, tuple(rows), client.ended)


def _result(heard: Heard) -> str:
    """What became of a turn that was reached."""
    if heard.skipped:
        return "not sent"
    unasked = heard.turn.reply is None and heard.reply is not None
    if unasked or not (heard.compared and heard.turn.awaited):
        return "nothing to compare"
    return "same" if heard.same else "different" if heard.reply is not None else "no answer"


def _command(dialog: Dialog, turn: Turn, show_secrets: bool) -> str:
    if turn.said is None and turn.exchange is None:
        return "(the same message, for one more recipient)" if turn.verb == END_OF_DATA else "(greeting)"
    if turn.said is None:
        recipient = dialog.exchanges[turn.exchange].recipient if turn.further and turn.exchange is not None else None
        return f"(the same message, for {recipient})" if recipient else "(unasked)"
    if turn.verb == END_OF_DATA:
        return f"({turn.text:,} octets of message text)"
    line = shown(turn.command)
    if show_secrets or turn.verb not in ("AUTH", "X-EXPS", "AUTH-RESPONSE"):
        return line
    if turn.verb == "AUTH-RESPONSE":
        return line if redact.hidden(line) else redact.MASK
    return masked(line) if speech.split(line)[1].partition(" ")[2] else line


def _text(reply: bytes | None) -> str | None:
    return None if reply is None else "\n".join(shown(reply).splitlines())


def _reply_json(reply: str | None) -> dict[str, Any] | None:
    if reply is None:
        return None
    words = [speech.words_of(line) for line in reply.split("\n")]
    status = speech.status_in(words)
    return {"code": code_of(reply.encode()), "enhanced": status, "text": words}
