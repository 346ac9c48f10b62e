"""How sessions end: QUIT, and closes without it (RFC 5321 sections 3.8 and 4.1.1.10)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Reply
from smtplog.rules.course import (
    VERBS,
    after,
    closed,
    commands,
    handshake_failed,
    hit,
    is_dark,
    quits,
    refuses,
    session_end,
    was_told_to_go,
)
from smtplog.states import TRANSACTION_STATES
from smtplog.suspects import unfinished


def _silent(batch: Batch) -> np.ndarray:
    """The sessions without a command other than QUIT."""
    pairs = batch.exchanges
    spoken = np.array([name not in ("QUIT", "") for name in pairs.verbs], np.bool_)[pairs.verb]
    return np.bincount(pairs.session[spoken], minlength=len(batch.sessions.first)) == 0


def _beyond_quit(batch: Batch) -> np.ndarray:
    """The sessions that do not end with the first QUIT that was not refused."""
    pairs = batch.exchanges
    quit_said = np.array([name == "QUIT" for name in pairs.verbs], np.bool_)[pairs.verb] & (pairs.code // 100 != 5)
    goes_on = np.append(pairs.session[1:] == pairs.session[:-1], False)[: len(quit_said)]
    return np.bincount(pairs.session[quit_said & goes_on], minlength=len(batch.sessions.first)) > 0


@rule(
    "SEQ006",
    "command-after-quit",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.1.1.10",
    advice="Stop sending after QUIT.",
    sessions=_beyond_quit,
)
def command_after_quit(dialog: Dialog) -> Iterator[Hit]:
    """The client went on after QUIT.

    Why it matters: QUIT is the last word of a session. What follows is lost, or makes TCP reset the connection before
    the 221 is read. A QUIT that was refused (5yz) does not count; an empty line or what is no command may be what the
    program that wrote the log had to say.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: QUIT
        C: NOOP
        S: 221 Bye

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: QUIT now
        S: 501 5.5.4 Syntax: QUIT
        C: QUIT
        S: 221 Bye

    What to do: stop sending after QUIT.

    Servers: they close after 221; further input is lost or causes a TCP reset.

    Reference: RFC 5321 4.1.1.10
    """
    end = session_end(dialog)
    for i, exchange in commands(dialog, beyond_quit=True):
        if i >= end and exchange.verb in VERBS:
            yield hit(i, exchange, f"{exchange.verb} was sent after QUIT. Legal here: nothing.")
            return


@rule(
    "SEQ007",
    "closed-without-quit",
    severity="info",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.1.1.10, 4.1.4",
    advice="End with QUIT and wait for 221.",
    sessions=unfinished,
    tokens=True,
)
def closed_without_quit(dialog: Dialog) -> Iterator[Hit]:
    """The client closed the connection without QUIT.

    Why it matters: the server cannot tell a client that is done from one that broke down. With a transaction open (a
    warning) the message is not delivered.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        *: close client

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 421 4.3.2 Service shutting down
        *: close client

    What to do: end with QUIT and wait for 221.

    Servers: very common for monitors and address verifiers; Postfix logs lost connection after MAIL.

    Reference: RFC 5321 4.1.1.10, 4.1.4
    """
    end = closed(dialog)
    if end is None or end.text != "client" or dialog.replies_only or quits(dialog):
        return
    if refuses(dialog) or was_told_to_go(dialog) or _is_beyond(dialog) or not _session_was_open(dialog):
        return
    if _transaction_is_open(dialog):
        message = "The client closed the connection without QUIT while a transaction was open."
        yield Hit(message, line=end.line, severity="warning", final=True)
    else:
        yield Hit("The client closed the connection without QUIT.", line=end.line)


def _session_was_open(dialog: Dialog) -> bool:
    return dialog.greeting is not None or any(exchange.reply for exchange in dialog.exchanges)


def _is_beyond(dialog: Dialog) -> bool:
    """Whether the end lies beyond the log, or is that of a TLS handshake that failed."""
    return is_dark(dialog) or handshake_failed(dialog, len(dialog.exchanges) - 1)


def _transaction_is_open(dialog: Dialog) -> bool:
    """Whether a transaction was open after the last command."""
    if not dialog.exchanges:
        return False
    last = dialog.exchanges[-1]
    led_to = after(last).transaction
    return last.state in TRANSACTION_STATES if led_to is None else led_to != "none"


@rule(
    "SEQ008",
    "server-closed-unexpectedly",
    severity="warning",
    party="server",
    scope="dialog",
    reference="RFC 5321 3.8, 4.1.1.10",
    advice="Treat as 451 and retry; ask the operator for the server log.",
    sessions=unfinished,
    tokens=True,
)
def server_closed_unexpectedly(dialog: Dialog) -> Iterator[Hit]:
    """The server closed the connection though the client had not said QUIT and no reply announced it.

    Why it matters: a server that must stop says 421 first. Without a word the client cannot know what became of its
    command.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        *: close server

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        S: 421 4.4.2 mx.example.net Error: timeout exceeded
        *: close server

    What to do: treat it as 451 and retry; ask the operator for the server log.

    Servers: firewalls and overloaded hosts do this; Exchange sometimes drops after tarpit limits.

    Reference: RFC 5321 3.8, 4.1.1.10
    """
    end = closed(dialog)
    if end is None or end.text != "server" or dialog.replies_only or quits(dialog) or _is_beyond(dialog):
        return
    last = _last_reply(dialog)
    if last is None or last.code in (221, 421, 521, 554) or (last is dialog.greeting and last.code >= 400):
        return
    yield Hit(f"The server closed the connection without a word after its reply {last.code}.", line=end.line)


def _last_reply(dialog: Dialog) -> Reply | None:
    replies = [exchange.reply for exchange in dialog.exchanges if exchange.reply]
    return replies[-1] if replies else dialog.greeting


@rule(
    "SEQ026",
    "empty-session",
    severity="info",
    party="client",
    scope="dialog",
    reference="RFC 5321 3.8",
    advice="Nothing; use NOOP or EHLO probes if you want to test more.",
    extra=True,
    sessions=_silent,
)
def empty_session(dialog: Dialog) -> Iterator[Hit]:
    """The client connected, was greeted, and left without a command.

    Why it matters: it does not; it is allowed, and mostly a port check or the probe of a load balancer.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: QUIT
        S: 221 Bye

    Flagged::

        S: 220 mx.example.net ESMTP ready
        *: close client

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: QUIT
        S: 221 Bye

    What to do: nothing; use NOOP or EHLO probes if you want to test more.

    Servers: port checks and load-balancer probes.

    Reference: RFC 5321 3.8
    """
    if dialog.greeting is None or dialog.greeting.code != 220 or dialog.replies_only or is_dark(dialog):
        return
    if any(exchange.verb not in ("QUIT", "") for exchange in dialog.exchanges):
        return
    if quits(dialog) or closed(dialog) is not None:
        message = "The session was greeted and ended without a command."
        yield Hit(message, line=dialog.greeting.line, end_line=dialog.end_line)
