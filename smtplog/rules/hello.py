"""The client's greeting: EHLO, HELO, LHLO, and what came before or instead (RFC 5321 sections 3.2 and 4.1.4)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from smtplog import states
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange
from smtplog.rules.course import (
    VERBS,
    after,
    closed,
    commands,
    discards,
    group_start,
    handshake_failed,
    hit,
    is_dark,
    knows_hello,
    legal_here,
    refuses,
    was_told_to_go,
    without_hello_after_tls,
)
from smtplog.suspects import disorder, refused, sessions_of, verbs

#: What is legal somewhere, but not before a hello.
_NEEDS_HELLO = VERBS.difference(states.ALLOWED["greeted"])


def _ready(batch: Batch) -> np.ndarray:
    """The exchanges of clients that have greeted and have no transaction open."""
    return batch.exchanges.state == states.STATES.index("ready")


@rule(
    "SEQ001",
    "mail-before-hello",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.1.1.1, 4.1.4",
    advice="Send EHLO with your host name first.",
    sessions=disorder,
)
def mail_before_hello(dialog: Dialog) -> Iterator[Hit]:
    """A command that needs a hello came before any EHLO, HELO or LHLO was accepted.

    Why it matters: the hello tells the server who speaks and the client which extensions it may use. After STARTTLS
    and XCLIENT the server has forgotten it, and a hello that was refused does not count.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: MAIL FROM:<a@example.org>
        S: 503 5.5.1 Error: send HELO/EHLO first

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO
        S: 501 5.5.4 Syntax: EHLO hostname
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: NOOP
        S: 250 2.0.0 Ok
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok

    Fine::

        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok
        C: RCPT TO:<b@example.net>
        S: 250 2.1.5 Ok

    What to do: send EHLO with your host name first, and again after STARTTLS.

    Servers: Exchange answers 503 5.5.2, Gmail and Postfix 503 5.5.1 (Postfix only with smtpd_helo_required, else it
    accepts), sendmail 503 5.0.0; Exim and qmail accept by default.

    Reference: RFC 5321 4.1.1.1, 4.1.4
    """
    if refuses(dialog):
        return
    done = set()
    for i, exchange in commands(dialog):
        if exchange.state in ("connected", "greeted") and exchange.verb in _NEEDS_HELLO and knows_hello(dialog, i):
            forgotten = _forgotten_at(dialog, i)
            if forgotten not in done and not _hello_on_its_way(dialog, forgotten, i):
                done.add(forgotten)
                message = f"{exchange.verb} was sent before any hello was accepted. {legal_here(exchange, dialog)}"
                yield hit(i, exchange, message)


def _forgotten_at(dialog: Dialog, index: int) -> int:
    """The STARTTLS or XCLIENT since which no hello counts; -1: the connection."""
    return max((i for i in range(index) if after(dialog.exchanges[i]).hello == "none"), default=-1)


def _hello_on_its_way(dialog: Dialog, start: int, index: int) -> bool:
    """Whether the client had said hello and could not know yet that it was refused, or has its own finding for it."""
    for i in range(start + 1, index):
        exchange = dialog.exchanges[i]
        if exchange.verb in states.HELLO and i >= group_start(dialog, index):
            return True
    if start < 0:
        return False
    return handshake_failed(dialog, start) or without_hello_after_tls(dialog, start) is not None


@rule(
    "SEQ019",
    "redundant-hello",
    severity="info",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.1.4, 4.1.1.5",
    advice="Greet once.",
    extra=True,
    sessions=sessions_of(verbs(*states.HELLO), _ready),
)
def redundant_hello(dialog: Dialog) -> Iterator[Hit]:
    """EHLO or HELO was said again although nothing had happened that asks for it.

    Why it matters: it is legal, but costs a round trip and resets the session. After STARTTLS, XCLIENT or AUTH, and
    after a hello that was refused, a second one is in order.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: EHLO client.example.org
        S: 250 mx.example.net

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: AUTH PLAIN AHUAcA==
        S: 235 2.7.0 Ok
        C: EHLO client.example.org
        S: 250 mx.example.net

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 500 5.5.1 Command unrecognized
        C: HELO client.example.org
        S: 250 mx.example.net

    What to do: greet once.

    Servers: all accept it.

    Reference: RFC 5321 4.1.4, 4.1.1.5
    """
    if "exchange-internal" in dialog.profiles:
        return
    greeted = False
    for i, exchange in enumerate(dialog.exchanges):
        if exchange.verb in states.HELLO:
            if greeted and exchange.state == "ready" and exchange.severity == 2 and not exchange.inferred:
                message = f"{exchange.verb} was said again in a session that was greeted. "
                yield hit(i, exchange, message + legal_here(exchange, dialog))
            greeted = exchange.severity == 2
        elif after(exchange).hello == "none" or after(exchange).authenticated:
            greeted = False


@rule(
    "SEQ020",
    "hello-discards-transaction",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.1.4",
    advice="Use RSET on purpose, never EHLO, to reset.",
    sessions=disorder,
)
def hello_discards_transaction(dialog: Dialog) -> Iterator[Hit]:
    """An EHLO or HELO that was accepted threw the open transaction away.

    Why it matters: an accepted hello works as RSET: sender and recipients are gone. It is an error where the client
    goes on with RCPT or DATA as if they were not.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: DATA
        S: 503 5.5.1 Error: need MAIL command

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: EHLO client.example.org
        S: 501 5.5.4 Syntax: EHLO hostname
        C: RCPT TO:<b@example.net>
        S: 250 Ok

    What to do: use RSET on purpose, never EHLO, to reset.

    Servers: all implement the reset.

    Reference: RFC 5321 4.1.4
    """
    for i, exchange in commands(dialog):
        if discards(dialog, i):
            message = f"{exchange.verb} threw the open transaction away"
            relied = _goes_on_without_mail(dialog, i)
            if relied is None:
                yield hit(i, exchange, f"{message}. {legal_here(exchange, dialog)}", final=True)
            else:
                following = dialog.exchanges[relied]
                message = f"{message}, and {following.verb} followed without a new MAIL. {legal_here(exchange, dialog)}"
                yield hit(i, exchange, message, end_line=following.line, severity="error", final=True)


def _goes_on_without_mail(dialog: Dialog, index: int) -> int | None:
    """The RCPT or DATA that relies on a transaction which is gone."""
    for i, exchange in commands(dialog):
        if i > index and exchange.verb in ("RCPT", "DATA", "BDAT", "BURL"):
            return i
        if i > index and (exchange.verb in states.MAIL or after(exchange).transaction == "none"):
            return None
    return None


@rule(
    "SEQ021",
    "no-helo-fallback",
    severity="info",
    party="client",
    scope="dialog",
    reference="RFC 5321 3.2",
    advice="Fall back to HELO.",
    extra=True,
    sessions=sessions_of(refused("EHLO")),
)
def no_helo_fallback(dialog: Dialog) -> Iterator[Hit]:
    """EHLO was not understood, and the client closed the connection without trying HELO.

    Why it matters: a server that knows no extensions still takes mail after HELO.

    Flagged::

        S: 220 mx.example.net SMTP ready
        C: EHLO client.example.org
        S: 500 Command unrecognized
        *: close client

    Fine::

        S: 220 mx.example.net SMTP ready
        C: EHLO client.example.org
        S: 500 Command unrecognized
        C: HELO client.example.org
        S: 250 mx.example.net
        *: close client

    What to do: fall back to HELO.

    Servers: Cisco PIX fixup and very old servers answer 500 to EHLO.

    Reference: RFC 5321 3.2
    """
    if closed(dialog) is None or is_dark(dialog) or was_told_to_go(dialog):
        return
    last: tuple[int, Exchange, int] | None = None
    for i, exchange in commands(dialog):
        if exchange.verb == "EHLO" and exchange.reply and exchange.reply.code in (500, 501, 502, 504):
            last = (i, exchange, exchange.reply.code)
        elif exchange.verb in ("HELO", "LHLO", "QUIT") or after(exchange).hello == "EHLO":
            last = None
    if last is not None:
        i, exchange, code = last
        message = f"EHLO was answered {code}, and the client tried neither HELO nor QUIT. "
        yield hit(i, exchange, message + legal_here(exchange, dialog))
