"""What is changed in a play before it is sent: the reverse-path, recipients, the name in EHLO.

Only envelope commands change; message text and headers are sent as recorded. A command that the log does not hold is
completed from these words, or refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from smtplog import speech
from smtplog.errors import UsageError
from smtplog.replay.framing import shown
from smtplog.replay.stand_ins import reply_for
from smtplog.replay.turns import CRLF, Play, Turn
from smtplog.rules.dsn_values import decoded
from smtplog.states import HELLO, MAIL
from smtplog.views import path

#: The names that ``--set`` knows.
NAMES = ("from", "to", "ehlo")


@dataclass(frozen=True, slots=True)
class Edits:
    """What to change. Addresses are written without brackets; an empty ``sender`` is the null reverse-path."""

    sender: str | None = None
    recipient: str | None = None  #: of every RCPT
    ehlo: str | None = None
    mapped: Mapping[str, str] = field(default_factory=dict)  #: address, ``@domain`` or ``*`` → its new one

    def address(self, old: str) -> str:
        """The new address for a recorded recipient."""
        if self.recipient is not None:
            return self.recipient
        local, at, domain = old.rpartition("@")
        for key in (old.casefold(), f"@{domain.casefold()}", "*"):
            new = self.mapped.get(key)
            if new is not None:
                return f"{local if at else old}{new}" if new.startswith("@") else new
        return old


def edits(sets: Iterable[str], maps: Iterable[str], ehlo: str | None) -> Edits:
    """The edits that ``--set NAME=VALUE``, ``--map recipients=OLD:NEW,…`` and ``--ehlo NAME`` ask for. Raises UsageError."""
    values: dict[str, str] = {}
    for words in sets:
        name, equals, value = words.partition("=")
        if not equals or name not in NAMES:
            raise UsageError(f"--set {words!r} means nothing; write --set from=ann@example.org, to=… or ehlo=…")
        if not value and name != "from":
            raise UsageError(f"--set {name}= names nobody; only the reverse-path may be empty: --set from=")
        values[name] = clean(value)
    mapped: dict[str, str] = {}
    for words in maps:
        name, equals, pairs = words.partition("=")
        if name != "recipients" or not equals:
            raise UsageError(
                f"--map {words!r} means nothing; write --map recipients=OLD:NEW, @old.example:@new.example or *:NEW"
            )
        for pair in pairs.split(","):
            old, colon, new = pair.strip().rpartition(":")
            if not colon:
                old, new = "*", pair.strip()
            if not old or not new.strip("@"):
                raise UsageError(f"--map {words!r} maps nobody or to nobody; write --map recipients=OLD:NEW")
            mapped[old.casefold()] = clean(new)
    return Edits(values.get("from"), values.get("to"), clean(ehlo) if ehlo else values.get("ehlo"), mapped)


def clean(value: str) -> str:
    """A value that may stand in a command. Raises UsageError."""
    if any(ord(c) < 33 or ord(c) == 127 or c in "<>" for c in value):
        raise UsageError(f"{value!r} cannot be sent: no blanks, controls or angle brackets in an address or a name")
    return value


def edited(play: Play, changes: Edits) -> Play:
    """The play with its changes. Raises UsageError for a command that the log does not hold and nothing completes."""
    return replace(play, turns=tuple(_turn(turn, play, changes) for turn in play.turns))


def secured(play: Play, *, at_once: bool) -> Play:
    """The play under TLS from the first octet, or after a STARTTLS behind its first hello, however it was recorded. A recorded
    STARTTLS is left out by the client where TLS stands already."""
    if at_once:
        return replace(play, implicit_tls=True)
    turns = play.turns
    first = next((i for i, turn in enumerate(turns) if turn.verb in ("EHLO", "LHLO")), None)
    if first is None:
        raise UsageError(f"dialog {play.dialog.id} has no EHLO, so STARTTLS cannot come behind it")
    if any(turn.starts_tls for turn in turns):
        return replace(play, implicit_tls=False)
    added = frozenset(("command", "reply"))
    start = Turn(None, None, "STARTTLS", b"STARTTLS" + CRLF, reply_for("STARTTLS"), starts_tls=True, made_up=added)
    hello = replace(turns[first], exchange=None, line=None, pipelined=False, made_up=turns[first].made_up | added)
    after = turns[first + 1 : first + 2]
    rest = tuple(replace(turn, pipelined=False) for turn in after) + turns[first + 2 :]
    return replace(play, implicit_tls=False, turns=(*turns[: first + 1], start, hello, *rest))


def recipients(plays: Iterable[Play]) -> list[str]:
    """The recipients that these plays name, each once."""
    lines = (shown(turn.command) for play in plays for turn in play.turns if turn.verb == "RCPT" and turn.said)
    return list(dict.fromkeys(path(speech.split(line)[1]) for line in lines))


def _turn(turn: Turn, play: Play, changes: Edits) -> Turn:
    line = shown(turn.command)
    verb, argument = speech.split(line)
    if turn.said is None or turn.verb in (".", "AUTH-RESPONSE", "BDAT"):
        return turn
    if "command" in turn.made_up:
        return _line(turn, _completed(verb, argument, play, changes))
    if verb in HELLO and changes.ehlo is not None:
        return _line(turn, f"{line[: len(verb)]} {changes.ehlo}")
    old = path(argument) if verb in MAIL or verb == "RCPT" else ""
    new = old
    if verb in MAIL and changes.sender is not None:
        new = changes.sender
    elif verb == "RCPT":
        new = changes.address(old)
    if new == old:
        return turn
    rest = "".join(f" {_original(each, old, new)}" for each in _parameters(argument))
    return _line(turn, f"{line[: len(verb)]} {argument.partition(':')[0]}:<{new}>{rest}")


def _parameters(argument: str) -> list[str]:
    rest = argument.partition(":")[2].lstrip()
    after = rest.partition(">")[2] if rest.startswith("<") else rest.partition(" ")[2]
    return after.split()


def _original(parameter: str, old: str, new: str) -> str:
    """A parameter of RCPT; an ORCPT that names the recorded recipient names the new one, so that no report of the test goes
    by the old one (RFC 3461 section 4.2)."""
    name, _, value = parameter.partition("=")
    kind, _, address = value.partition(";")
    same = decoded(address).casefold() == old.casefold()
    if name.upper() != "ORCPT" or kind.lower() not in ("rfc822", "utf-8") or not same:
        return parameter
    written = "".join(c if "!" <= c <= "~" and c not in "+=" else f"+{ord(c):02X}" for c in new)
    return f"{name}={kind};{written if new.isascii() else new}"


def _completed(verb: str, argument: str, play: Play, changes: Edits) -> str:
    """A command that was concluded from its reply, as it can be sent."""
    wanted = {"MAIL": changes.sender, "RCPT": changes.recipient, **dict.fromkeys(HELLO, changes.ehlo)}
    if verb not in wanted or argument:
        return f"{verb} {argument}".rstrip()
    name = {"MAIL": "from", "RCPT": "to"}.get(verb, "ehlo")
    value = wanted[verb]
    if value is None:
        raise UsageError(
            f"the words of the {verb} that was sent in dialog {play.dialog.id} are not in {play.dialog.source}; give them "
            f"with --set {name}=…, or choose another dialog with --dialog"
        )
    return f"{verb} {value}" if verb in HELLO else f"{verb} {'FROM' if verb == 'MAIL' else 'TO'}:<{value}>"


def _line(turn: Turn, line: str) -> Turn:
    return replace(turn, said=line.encode() + CRLF, made_up=turn.made_up - {"command"})
