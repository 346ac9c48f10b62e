"""The course of a dialog, as the sequence rules ask for it: what the client said, what is certain about the state
before it, and what the client knew when it said it. No rule is registered here.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import cache, wraps
from itertools import pairwise
from operator import itemgetter
from typing import Any, TypeVar

from smtplog import speech, states
from smtplog.findings import Hit
from smtplog.model import Dialog, Event, Exchange
from smtplog.suspects import FIRST_AFTER_TLS

_T = TypeVar("_T")

#: Every verb that the state table knows as a command line.
VERBS = frozenset(verb for verbs in states.ALLOWED.values() for verb in verbs) - {".", "AUTH-RESPONSE", "BDAT LAST"}

#: What may be told of a dialog → the verbs whose answer can change it.
_MOVING = {
    thing: frozenset(verb for (verb, _), led_to in states.AFTER.items() if getattr(led_to, thing) is not None)
    for thing in ("hello", "transaction")
}

_NOT_UNDERSTOOD = (500, 501, 502, 503)
_SHOWN = 6  # verbs in "legal here: …"; the rest is an ellipsis
_HEADER_FIELD = re.compile(r"[!-9;-~]+:([ \t]|$)")  # RFC 5322 section 3.6.8, and the space that everybody writes
_LAST = re.compile(r"(?i:LAST)\b")


def of_dialog(function: Callable[[Dialog], _T]) -> Callable[[Dialog], _T]:
    """What a function says of a dialog, kept for the dialog it was last asked about: rules ask for every exchange of it."""
    kept: list[tuple[Dialog, _T]] = []

    @wraps(function)
    def asked(dialog: Dialog) -> _T:
        for known, said in kept:
            if known is dialog:
                return said
        said = function(dialog)
        kept[:] = [(dialog, said)]
        return said

    return asked


def verb_of(exchange: Exchange) -> str:
    """The verb as the state table has it: ``BDAT LAST`` is a verb of its own."""
    if exchange.verb == "BDAT" and _LAST.search(exchange.argument):
        return "BDAT LAST"
    return exchange.verb


def after(exchange: Exchange) -> states.After:
    """Where the reply to this command led."""
    return states.after(verb_of(exchange), exchange.reply.code if exchange.reply else 0)


def commands(dialog: Dialog, *, beyond_quit: bool = False) -> Iterator[tuple[int, Exchange]]:
    """The exchanges whose command stands in the log, with their index. Inferred commands, replies without a command and
    message text that the server took for commands accuse nobody; what follows QUIT belongs to SEQ006 alone."""
    if dialog.replies_only:
        return
    texts = [*rejected_texts(dialog), *spilled_texts(dialog)]
    text = {i for first, last in texts for i in range(first, last + 1)}
    for i, exchange in enumerate(dialog.exchanges[: None if beyond_quit else session_end(dialog)]):
        if is_said(exchange) and i not in text:
            yield i, exchange


@of_dialog
def session_end(dialog: Dialog) -> int:
    """The number of exchanges up to and with the first QUIT that was not refused; all, where there is none."""
    for i, exchange in enumerate(dialog.exchanges):
        if exchange.verb == "QUIT" and exchange.severity != 5:
            return i + 1
    return len(dialog.exchanges)


def is_said(exchange: Exchange) -> bool:
    """Whether the log holds the command line itself."""
    return exchange.command is not None and not exchange.inferred


def group_start(dialog: Dialog, index: int) -> int:
    """The first exchange of the pipelined group that an exchange belongs to (RFC 2920): the client had read the replies
    to all before that one, and to none from there on."""
    return max(_unpipelined(dialog)[index + 1], 0)


@of_dialog
def _unpipelined(dialog: Dialog) -> list[int]:
    return _last_before(not each.pipelined for each in dialog.exchanges)


#: Nobody reads a reply and answers it in less; a server logs the commands of one group so, each when it comes to it.
_AT_ONCE = timedelta(milliseconds=5)
_GROUPED = ("MAIL", "RCPT", "RSET")


def may_be_one_group(dialog: Dialog, first: int, index: int) -> bool:
    """Whether a log leaves open that the client had not read the replies from one exchange to another: PIPELINING is offered,
    and as in the log of a server each command is stamped with the time of the reply before it (RFC 2920 section 3.2)."""
    said = dialog.exchanges[first : index + 1]
    if any(exchange.verb not in _GROUPED for exchange in said[:-1]) or not offers(dialog, index, "PIPELINING"):
        return False
    return all(_follows_at_once(before, after) for before, after in pairwise(said))


def _follows_at_once(before: Exchange, after: Exchange) -> bool:
    answered = before.reply.time if before.reply else None
    return answered is not None and after.time is not None and after.time - answered < _AT_ONCE


def origin(dialog: Dialog, index: int) -> int:
    """Why no transaction, or this one, is open before an exchange: the last MAIL, whatever its answer, or the last
    command that ended a transaction; -1 where nothing did."""
    return _origins(dialog)[index]


@of_dialog
def _origins(dialog: Dialog) -> list[int]:
    """For each exchange, and the end, the last one before it that began or ended a transaction; -1 where none did."""
    moves = (each.verb in states.MAIL or after(each).transaction == "none" for each in dialog.exchanges)
    return _last_before(moves)


def _last_before(marks: Iterable[bool]) -> list[int]:
    """For each item, and the end, the position of the last marked one before it; -1 where there is none."""
    found = [-1]
    for i, marked in enumerate(marks):
        found.append(i if marked else found[-1])
    return found


def ends_message(dialog: Dialog, index: int) -> bool:
    """Whether an exchange (as :func:`origin` gives it) is the end of a message, whose answer clears all buffers."""
    return index >= 0 and verb_of(dialog.exchanges[index]) in (".", "BDAT LAST")


def discards(dialog: Dialog, index: int) -> bool:
    """Whether an exchange is an accepted hello that threw an open transaction away (RFC 5321 section 4.1.4)."""
    exchange = dialog.exchanges[index] if index >= 0 else None
    if exchange is None or exchange.verb not in states.HELLO or exchange.severity != 2:
        return False
    return exchange.state in ("mail", "rcpt", "bdat") and knows_transaction(dialog, index)


def without_hello_after_tls(dialog: Dialog, index: int) -> tuple[int, Exchange] | None:
    """The first command after a STARTTLS that was accepted, if it is none that may stand there (RFC 3207 section 4.2).
    None where the handshake failed, or where the command was sent before it could be done."""
    if after(dialog.exchanges[index]).tls is not True or handshake_failed(dialog, index):
        return None
    known = _known_commands(dialog)
    at = bisect_right(known, index, key=itemgetter(0))
    if at == len(known):
        return None
    i, exchange = known[at]
    early = group_start(dialog, i) <= index or in_doubt(dialog, i)
    return None if early or exchange.verb in FIRST_AFTER_TLS else (i, exchange)


@of_dialog
def _known_commands(dialog: Dialog) -> list[tuple[int, Exchange]]:
    """Of :func:`commands`, those whose verb is one of SMTP's."""
    return [(i, exchange) for i, exchange in commands(dialog) if exchange.verb in VERBS]


def handshake_failed(dialog: Dialog, index: int) -> bool:
    """Whether the log says that the TLS handshake after an exchange failed."""
    return any(event.kind == "tls" and event.text == "failed" and event.before == index + 1 for event in dialog.events)


def offers(dialog: Dialog, index: int, keyword: str) -> bool:
    """Whether the last accepted hello before an exchange was answered with a keyword."""
    for exchange in reversed(dialog.exchanges[:index]):
        if exchange.verb in states.HELLO and exchange.severity == 2 and exchange.reply:
            return any(line.split(" ")[0].upper() == keyword for line in exchange.reply.text[1:])
    return False


# -- what is certain


def knows_transaction(dialog: Dialog, index: int) -> bool:
    """Whether the log tells which transaction, if any, is open before an exchange: it starts with the connection, or an
    answer since its last gap says so."""
    return _told(dialog, index, "transaction")


def knows_hello(dialog: Dialog, index: int) -> bool:
    """Whether the log tells if a greeting of the client was accepted before an exchange."""
    return _told(dialog, index, "hello")


def _told(dialog: Dialog, index: int, thing: str) -> bool:
    gap = max((event.before for event in dialog.events if event.kind == "gap" and event.before <= index), default=-1)
    i = (_hello_moves if thing == "hello" else _transaction_moves)(dialog)[index]
    if i >= max(gap, 0):
        exchange = dialog.exchanges[i]
        if getattr(after(exchange), thing) is None:
            return False  # its answer is not in the log
        while i > 0 and exchange.line is not None and dialog.exchanges[i - 1].line == exchange.line:
            i -= 1  # LMTP answers one command several times
        return not _refused_out_of_order(dialog.exchanges[i])
    return gap < 0 and starts_with_connection(dialog)


@of_dialog
def _hello_moves(dialog: Dialog) -> list[int]:
    return _last_before(_may_move(each, "hello") for each in dialog.exchanges)


@of_dialog
def _transaction_moves(dialog: Dialog) -> list[int]:
    return _last_before(_may_move(each, "transaction") for each in dialog.exchanges)


def _may_move(exchange: Exchange, thing: str) -> bool:
    """Whether an exchange told something of the state, or lacks the answer that would have."""
    unknown = exchange.reply is None and verb_of(exchange) in _MOVING[thing]
    return unknown or getattr(after(exchange), thing) is not None


def _refused_out_of_order(exchange: Exchange) -> bool:
    """Whether a chunk was refused where no chunk may stand; the state table ends the transaction there, but servers
    that ask for RCPT first keep it."""
    return exchange.verb == "BDAT" and exchange.severity > 3 and exchange.state not in ("rcpt", "bdat", "failed")


def starts_with_connection(dialog: Dialog) -> bool:
    """Whether the log holds the dialog from its beginning, so that a state nobody set is the first state. What looks
    like a greeting with any other code may answer a command that the log lost."""
    greeted = dialog.greeting is not None and dialog.greeting.code in (220, 421, 521, 554)
    return greeted or any(event.kind == "opened" for event in dialog.events)


def in_doubt(dialog: Dialog, index: int) -> bool:
    """Whether text is known to be missing right before an exchange, or, at ``len(exchanges)``, before the end."""
    return any(event.kind == "gap" and event.before == index for event in dialog.events)


@of_dialog
def closed(dialog: Dialog) -> Event | None:
    """How the log says that the connection ended."""
    return next((event for event in dialog.events if event.kind == "closed"), None)


def is_dark(dialog: Dialog) -> bool:
    """Whether the dialog went on where the log does not reach: after a STARTTLS that was accepted, or in a gap."""
    end = len(dialog.exchanges)
    return (end > 0 and after(dialog.exchanges[-1]).tls is True) or in_doubt(dialog, end)


@of_dialog
def quits(dialog: Dialog) -> bool:
    """Whether the client said QUIT, answered or not."""
    return any(exchange.verb == "QUIT" for exchange in dialog.exchanges)


@of_dialog
def was_told_to_go(dialog: Dialog) -> bool:
    """Whether the server ended the session with 421 (RFC 5321 section 3.8)."""
    return any(exchange.reply is not None and exchange.reply.code == 421 for exchange in dialog.exchanges)


def refuses(dialog: Dialog) -> bool:
    """Whether the greeting turned the client away (RFC 5321 section 3.1, RFC 7504)."""
    return dialog.greeting is not None and dialog.greeting.code in (421, 521, 554)


def counts_replies(dialog: Dialog) -> bool:
    """Whether each command is due one reply in the log: not where that holds one side only, nor after XACK or VERB."""
    both_sides = dialog.greeting is not None or any(exchange.reply for exchange in dialog.exchanges)
    return both_sides and not dialog.replies_only and not dialog.profiles & {"xack-off", "verb"}


# -- message text that the server took for commands


@of_dialog
def rejected_texts(dialog: Dialog) -> list[tuple[int, int]]:
    """First and last exchange of each run of message text after a DATA without 354."""
    found = []
    exchanges = dialog.exchanges[: session_end(dialog)]
    for i, exchange in enumerate(exchanges):
        if exchange.verb == "DATA" and exchange.severity in (4, 5):
            last = _text_after(exchanges, i)
            if last > i and any(_is_text(each) for each in exchanges[i + 1 : last + 1]):
                found.append((i + 1, last))
    return found


@of_dialog
def spilled_texts(dialog: Dialog) -> list[tuple[int, int]]:
    """First and last exchange of each run of message text after an end of data, or after a chunk, that the client did not
    mean to be one: no commands, refused as such, and ended by a dot of their own or sent before the reply to that end."""
    found = []
    exchanges = dialog.exchanges[: session_end(dialog)]
    for i, exchange in enumerate(exchanges[:-1]):
        if exchange.verb in (".", "BDAT") and exchange.severity not in (4, 5) and not exchange.inferred:
            last = _text_after(exchanges, i)
            run = exchanges[i + 1 : last + 1]
            if any(each.reply and each.reply.code in _NOT_UNDERSTOOD for each in run) and _is_spilled(exchange, run):
                found.append((i + 1, last))
    return found


def _is_spilled(end: Exchange, run: tuple[Exchange, ...]) -> bool:
    """Whether lines are text and not slips of somebody who had read the reply to what ended the message. Behind a chunk a
    server may log its reply before the rest; there a header field or a dot tells."""
    if (run[-1].command or "").strip() == "." and len(run) > 1:
        return True
    words = len(run) > 1 or " " in (run[0].command or "").strip()
    if run[0].verb in VERBS:
        return False
    if end.verb == "BDAT":
        return run[0].pipelined or any(_is_text(each) for each in run)
    return words and run[0].pipelined


def _text_after(exchanges: tuple[Exchange, ...], index: int) -> int:
    """The last line that can be message text: up to a lone dot, or to what is a command beyond doubt."""
    last = index
    for i in range(index + 1, len(exchanges)):
        line = exchanges[i].command
        if line is None or exchanges[i].inferred or speech.is_command(line):
            break
        last = i
        if line.strip() == ".":
            break
    return last


def _is_text(exchange: Exchange) -> bool:
    line = exchange.command or ""
    return line.strip() == "." or (exchange.verb not in VERBS and _HEADER_FIELD.match(line) is not None)


# -- hits and their words


def hit(index: int, exchange: Exchange, message: str, **more: Any) -> Hit:
    """A hit at a command; ``more`` are further fields of the hit."""
    return Hit(message, line=exchange.line, exchange=index, **more)


def legal_here(exchange: Exchange, dialog: Dialog) -> str:
    """The sentence "Legal here: …" for the state before a command, the most useful verbs first."""
    return _legal(exchange.state, exchange.tls, exchange.authenticated, "lmtp" in dialog.profiles)


@cache
def _legal(state: str, tls: bool, authenticated: bool, lmtp: bool) -> str:
    words = {"data": "the message text and a lone dot", "auth": "an answer in base64, or * to give up"}
    if state in words:
        return f"Legal here: {words[state]}."
    hidden = {"EHLO", "HELO"} if lmtp else {"LHLO"}
    hidden |= ({"STARTTLS", "X-ANONYMOUSTLS"} if tls else set()) | ({"AUTH", "X-EXPS"} if authenticated else set())
    verbs = [verb for verb in states.legal_in("greeted" if state == "connected" else state) if verb not in hidden]
    return f"Legal here: {', '.join(verbs[:_SHOWN])}{', …' if len(verbs) > _SHOWN else '.'}"
