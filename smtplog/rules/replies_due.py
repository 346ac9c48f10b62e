"""Exactly one reply to each command (RFC 5321 section 4.2)."""

from __future__ import annotations

from collections.abc import Iterator

from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange
from smtplog.rules.course import (
    closed,
    commands,
    counts_replies,
    hit,
    in_doubt,
    is_dark,
    refuses,
    session_end,
    starts_with_connection,
    verb_of,
)
from smtplog.suspects import disorder, unfinished


@rule(
    "SEQ009",
    "command-without-reply",
    severity="warning",
    party="unknown",
    scope="dialog",
    reference="RFC 5321 4.2, 4.3.1",
    advice="Look for a network or server fault at this point.",
    sessions=unfinished,
    tokens=True,
)
def command_without_reply(dialog: Dialog) -> Iterator[Hit]:
    """A command was never answered.

    Why it matters: each command is due exactly one reply; the client cannot know what became of this one. A log that
    simply stops says nothing, and a QUIT without an answer is REP012.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        *: close server

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: QUIT
        *: close client

    What to do: look for a network or server fault at this point.

    Servers: some close on QUIT without 221.

    Reference: RFC 5321 4.2, 4.3.1
    """
    if not counts_replies(dialog) or is_dark(dialog) or refuses(dialog) or _server_left(dialog):
        return
    waiting = []
    for i, exchange in commands(dialog):
        if exchange.verb not in ("", "QUIT") and exchange.reply is None and not _was_passed_over(dialog, i):
            waiting.append((i, exchange))
    lines = {exchange.line for _, exchange in waiting}
    end = closed(dialog)
    if waiting and end is not None:
        i, exchange = waiting[0]
        others = f", nor were the {len(lines) - 1} after it" if len(lines) > 2 else ", nor was the next"
        who = f" by the {end.text}" if end.text in ("client", "server") else ""
        message = f"{_named(exchange)} was not answered before the connection was closed{who}"
        yield hit(i, exchange, f"{message}{others if len(lines) > 1 else ''}.", end_line=waiting[-1][1].line)
    elif end is None and not any(exchange.pipelined for exchange in dialog.exchanges):
        for i, exchange in waiting:
            if any(later.reply for later in dialog.exchanges[i + 1 :]):
                yield hit(i, exchange, f"{_named(exchange)} was not answered, though a later command was.")


def _server_left(dialog: Dialog) -> bool:
    """Whether the last reply says that the server goes; it answers nothing after that."""
    codes = [exchange.reply.code for exchange in dialog.exchanges if exchange.reply]
    return bool(codes) and (421 in codes or codes[-1] in (221, 521))


def _was_passed_over(dialog: Dialog, index: int) -> bool:
    """Whether its answer may be missing in the log only, or it is one of many that LMTP owes one dot (SEQ025)."""
    exchange = dialog.exchanges[index]
    gap = any(event.kind == "gap" and event.before > index for event in dialog.events)
    if gap or (exchange.verb == "." and exchange.content is None and exchange.state != "data"):
        return True
    return any(each.line == exchange.line and each.reply for each in dialog.exchanges if each.recipient is not None)


def _named(exchange: Exchange) -> str:
    names = {".": "The end of the message", "AUTH-RESPONSE": "The answer inside AUTH"}
    return names.get(exchange.verb, exchange.verb)


@rule(
    "SEQ010",
    "unsolicited-reply",
    severity="warning",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.2, 3.8",
    advice="Check for an empty line or hidden characters sent by the client.",
    sessions=disorder,
)
def unsolicited_reply(dialog: Dialog) -> Iterator[Hit]:
    """A reply came while no command was waiting for one.

    Why it matters: the client takes it for the answer to its next command, and from there on all answers are off by
    one. 421 may come at any time.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        S: 421 4.4.2 mx.example.net idle timeout
        *: close server

    What to do: check for an empty line or hidden characters sent by the client.

    Servers: a double reply after a blank line is common: Exim and sendmail answer the empty line typed in Telnet with
    500.

    Reference: RFC 5321 4.2, 3.8
    """
    if not counts_replies(dialog):
        return
    for i, exchange in enumerate(dialog.exchanges[: session_end(dialog)]):
        reply = exchange.reply
        if exchange.command is not None or reply is None or reply.code in (0, 421) or _may_be_due(dialog, i):
            continue
        message = f"The reply {reply.code} came while no command was waiting for one."
        yield Hit(message, line=reply.line, end_line=reply.end_line, exchange=i)


def _may_be_due(dialog: Dialog, index: int) -> bool:
    """Whether it can answer a command that the log does not hold, or one recipient of a message: LMTP, or PRDR, where
    353 announces such replies."""
    if in_doubt(dialog, index) or (not index and not starts_with_connection(dialog)):
        return True
    before = next((each for each in reversed(dialog.exchanges[:index]) if each.command is not None), None)
    if before is None:
        return dialog.greeting is None
    by_recipient = "lmtp" in dialog.profiles or any(each.reply and each.reply.code == 353 for each in dialog.exchanges)
    return by_recipient and verb_of(before) in (".", "BDAT LAST")
