"""A dialog as it is played: turn by turn, with the octets that went over the wire.

What the log does not hold — a message text, a chunk, a masked secret, a command concluded from its reply, a reply lost in
the middle — is played as a stand-in, and the turn says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from smtplog import redact, speech, states
from smtplog.dialogs import END_OF_DATA
from smtplog.model import Content, Dialog, Exchange, Reply
from smtplog.replay.stand_ins import reply_for, text_of

CRLF = b"\r\n"
_ENDS = {"lf": b"\n", "cr": b"\r"}
#: Client lines that no server answers: the header of the PROXY protocol goes before the greeting.
UNANSWERED = ("PROXY",)


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange as it is played."""

    exchange: (
        int | None
    )  #: index into ``Dialog.exchanges``; None for the greeting and for what the log holds nothing of
    line: int | None  #: of the log
    verb: str  #: upper case; ``.`` end of data; empty where nothing was asked
    said: bytes | None  #: what the client sends: a line, or message text and its dot, or a chunk with its command
    reply: bytes | None  #: what the server answers, all lines; None where it answered nothing
    text: int = 0  #: so many octets of ``said`` are message text: those before the dot, those behind BDAT
    pipelined: bool = False  #: said before the reply to the turn before it (RFC 2920)
    starts_tls: bool = False  #: the handshake comes next
    awaited: bool = True  #: the client waits for a reply
    further: bool = False  #: a further reply to the same end of data (LMTP)
    made_up: frozenset[str] = frozenset()  #: stand-ins in it: ``command text secret reply``
    pause: float = 0.0  #: seconds before the client speaks
    delay: float = 0.0  #: seconds from then to the reply

    @property
    def is_added(self) -> bool:
        """Whether the log holds nothing of it."""
        return self.exchange is None and {"command", "reply"} <= self.made_up

    @property
    def command(self) -> bytes:
        """The command line without its end; empty where nothing is said."""
        said = self.said or b""
        line = said[self.text :] if self.verb == END_OF_DATA else said[: len(said) - self.text]
        return line.removesuffix(b"\n").removesuffix(b"\r")


@dataclass(frozen=True, slots=True)
class Play:
    """A dialog that can be played."""

    dialog: Dialog
    turns: tuple[Turn, ...]  #: the greeting first, where the log has one
    implicit_tls: bool  #: TLS before the greeting (RFC 8314 section 3)
    closes: str  #: who closes in the end: ``client`` or ``server``

    @property
    def lmtp(self) -> bool:
        """Whether each recipient has its own reply to the end of data (RFC 2033)."""
        return any(turn.verb == "LHLO" for turn in self.turns)

    @property
    def made_up(self) -> int:
        """How many turns hold a stand-in."""
        return sum(bool(turn.made_up) for turn in self.turns)


def play(dialog: Dialog) -> Play:
    """The turns of a dialog. Secrets are sent as the dialog has them: read it with ``show_secrets`` to play them."""
    dialog = _with_its_auth(dialog)
    exchanges = dialog.exchanges
    tls_at_once = bool(exchanges and exchanges[0].tls) or any(
        event.kind == "tls" and event.before == 0 and event.text != "failed" for event in dialog.events
    )
    ends = {"quit": "server", "closed-by-server": "server", "timeout": "server"}
    return Play(dialog, tuple(_turns(dialog)), tls_at_once, ends.get(dialog.end, "client"))


def _with_its_auth(dialog: Dialog) -> Dialog:
    """A log that begins behind AUTH begins with an answer to it, whatever word that looks like."""
    first = dialog.exchanges[0] if dialog.exchanges else None
    if first is None or first.command is None or first.reply is None or first.reply.code != 334:
        return dialog
    if first.verb in ("AUTH", "X-EXPS", "AUTH-RESPONSE"):
        return dialog
    return replace(dialog, exchanges=(replace(first, verb="AUTH-RESPONSE", argument=""), *dialog.exchanges[1:]))


def _turns(dialog: Dialog) -> Iterator[Turn]:
    exchanges = dialog.exchanges
    heard = any(each.reply is not None for each in exchanges)  # else the log holds the client's side only
    #: Up to here the client had its answers: one came later, or it spoke again though it may not before one.
    last = max(
        (i for i, each in enumerate(exchanges) if each.reply is not None or not (heard and each.pipelined)), default=-1
    )
    crlf = any(each.eol == "crlf" for each in exchanges)
    now = dialog.started
    first = exchanges[0] if exchanges else None
    #: Said before the greeting.
    before = 1 if first is not None and first.verb in UNANSWERED and first.reply is None else 0
    for i in range(before):
        yield from _turn(dialog, i, crlf, 0.0, answered=False, pipelined=False)
    if dialog.greeting is not None:
        greeting = dialog.greeting
        yield Turn(None, greeting.line, "", None, _octets(greeting), delay=_seconds(now, greeting.time))
        now = greeting.time or now
    elif exchanges and exchanges[0].command is not None:  # the log lacks it; no client speaks before it
        yield Turn(None, None, "", None, reply_for(""), made_up=frozenset(["reply"]))
    if exchanges and exchanges[0].verb == "AUTH-RESPONSE":  # the log begins behind its AUTH
        begun = frozenset(("command", "reply"))
        yield Turn(None, None, "AUTH", b"AUTH LOGIN" + CRLF, reply_for("AUTH", "LOGIN"), made_up=begun)
    for i, exchange in enumerate(exchanges[before:], before):
        pause = _seconds(now, exchange.time)
        now = exchange.time or now
        yield from _turn(
            dialog, i, crlf, pause, answered=i < last, pipelined=i > before and heard and exchange.pipelined
        )
        if exchange.reply is not None:
            now = exchange.reply.time or now


def _turn(dialog: Dialog, i: int, crlf: bool, pause: float, *, answered: bool, pipelined: bool) -> Iterator[Turn]:
    exchange = dialog.exchanges[i]
    made_up: set[str] = set()
    text = said = None
    further = _is_further(dialog.exchanges, i)
    if not (exchange.command is None or further):
        text, said = _said(dialog, exchange, crlf, made_up)
    reply = _octets(exchange.reply) if exchange.reply is not None else None
    after = dialog.exchanges[i + 1].verb if i + 1 < len(dialog.exchanges) else ""
    awaited = exchange.verb not in UNANSWERED or reply is not None
    if reply is None and answered and awaited and not _is_answered_later(dialog.exchanges, i):
        made_up.add("reply")
        reply = reply_for(exchange.verb or "NOOP", exchange.argument, after)
    yield Turn(
        i,
        exchange.line,
        exchange.verb if said is not None else "",
        said,
        reply,
        text=len(text or b""),
        pipelined=pipelined and said is not None,
        starts_tls=_starts_tls(dialog, i),
        awaited=awaited,
        further=further,
        made_up=frozenset(made_up),
        pause=pause,
        delay=exchange.latency or 0.0,
    )
    if exchange.verb == "DATA" and "reply" in made_up and after != END_OF_DATA:  # the log holds nothing of the message
        text = text_of(None)
        whole = frozenset(("command", "text", "reply"))
        yield Turn(None, None, END_OF_DATA, text + b".\r\n", reply_for(END_OF_DATA), text=len(text), made_up=whole)
    elif exchange.verb == "DATA" and exchange.content is not None:  # a text that the log never ends
        text = _text(exchange.content, crlf)
        yield Turn(i, exchange.content.line, END_OF_DATA, text, None, text=len(text), awaited=False)


def _is_further(exchanges: tuple[Exchange, ...], i: int) -> bool:
    """A further reply to the same end of data: LMTP gives one a recipient."""
    here, before = exchanges[i], exchanges[i - 1] if i else None
    return (
        before is not None
        and here.verb == before.verb == END_OF_DATA
        and here.recipient is not None
        and before.recipient is not None
        and here.line == before.line
    )


def _is_answered_later(exchanges: tuple[Exchange, ...], i: int) -> bool:
    """Whether the log has a reply that nothing asks for between this command and the next one that is answered."""
    return next((each.command is None for each in exchanges[i + 1 :] if each.reply is not None), False)


def _said(dialog: Dialog, exchange: Exchange, crlf: bool, made_up: set[str]) -> tuple[bytes | None, bytes]:
    """Message text, and all that the client sends with it."""
    command = (exchange.command or "").encode()
    end = _ENDS.get(exchange.eol, CRLF) if crlf else CRLF
    verb = exchange.verb
    if exchange.inferred and verb != END_OF_DATA:
        made_up.add("command")
        command = command if command.strip(b"*") else verb.encode()
    if verb in ("AUTH", "X-EXPS", "AUTH-RESPONSE") and redact.hidden(_secret(exchange)):
        made_up.add("secret")
    if verb == END_OF_DATA:
        text = (
            _text(exchange.content, crlf) if exchange.content is not None else _made_up_text(dialog, exchange, made_up)
        )
        return text, text + (command or b".") + end
    if verb == "BDAT" and (size := _chunk_size(exchange)) is not None:
        held = _text(exchange.content, crlf) if exchange.content is not None else b""
        if len(held) != size:
            made_up.add("text")
            held = held[:size] if len(held) > size else held + text_of(size - len(held))
        return held, command + end + held
    return None, command + end


def _secret(exchange: Exchange) -> str:
    """What the client gives away in this line; something that is no mask where it gives nothing."""
    if exchange.verb == "AUTH-RESPONSE":
        return (exchange.command or "").strip() or "-"
    return exchange.argument.partition(" ")[2].strip() or "-"


def _made_up_text(dialog: Dialog, exchange: Exchange, made_up: set[str]) -> bytes:
    made_up.add("text")
    size = None
    if exchange.transaction is not None:
        size = dialog.transactions[exchange.transaction].parameters.get("SIZE")
    return text_of(int(size) if size and size.isascii() and size.isdigit() else None)


def _chunk_size(exchange: Exchange) -> int | None:
    """The octets that follow a BDAT command (RFC 3030 section 2)."""
    words = exchange.argument.split()
    return int(words[0]) if words and words[0].isascii() and words[0].isdigit() and len(words[0]) < 10 else None


def _text(content: Content, crlf: bool) -> bytes:
    """Message text as it was sent: stuffed dots kept, octets that were no UTF-8 given back."""
    octets = b""
    for line, eol, size in zip(content.lines, content.eol, content.sizes, strict=True):
        held = line.encode()
        if len(held) != size:
            held = line.encode("latin-1", "replace")
        octets += held + (_ENDS.get(eol, CRLF) if crlf else CRLF)
    return octets


def _octets(reply: Reply) -> bytes:
    """A reply as it was sent: a line of it that the log shows without its code has one (RFC 5321 section 4.2.1)."""
    last = len(reply.raw) - 1
    return b"".join(
        (
            line if not reply.code or speech.code_of(line) else f"{reply.code:03}{' ' if i == last else '-'}{line}"
        ).encode()
        + CRLF
        for i, line in enumerate(reply.raw)
    )


def _starts_tls(dialog: Dialog, i: int) -> bool:
    """Whether the handshake after this exchange succeeded."""
    exchange = dialog.exchanges[i]
    code = exchange.reply.code if exchange.reply is not None else 0
    if code != 220 or not states.after(exchange.verb, code).tls:
        return False
    events = [each for each in dialog.events if each.kind == "tls" and each.before == i + 1]
    if events:
        return events[0].text != "failed"
    return i + 1 < len(dialog.exchanges) and dialog.exchanges[i + 1].tls


def _seconds(start: datetime | None, end: datetime | None) -> float:
    return max((end - start).total_seconds(), 0.0) if start is not None and end is not None else 0.0
