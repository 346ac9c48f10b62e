"""Commands sent before the reply to the one before them (RFC 2920)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from smtplog import reference
from smtplog.batches import Batch
from smtplog.findings import Hit, Severity, rule
from smtplog.model import Dialog, Exchange
from smtplog.rules.course import after, closed, commands, group_start, hit, knows_hello, of_dialog, session_end, verb_of
from smtplog.states import HELLO

#: Commands that must end their group (RFC 2920 section 3.1), and STARTTLS (RFC 3207 section 4).
_LAST = ("EHLO", "HELO", "LHLO", "DATA", "VRFY", "EXPN", "TURN", "QUIT", "NOOP", "STARTTLS", "ETRN", "ATRN", "HELP")
_NO_COMMAND = (".", "AUTH-RESPONSE", "")


def _too_early(batch: Batch) -> np.ndarray:
    """The sessions in which a command came before the reply to the one before it and PIPELINING was not offered, or after
    one that ends a group."""
    pairs = batch.exchanges
    last = np.array([name in _LAST or name in ("AUTH", "X-EXPS") for name in pairs.verbs], np.bool_)
    after_last = np.zeros(len(pairs.session), np.bool_)
    after_last[1:] = last[pairs.verb[:-1]]
    at = pairs.pipelined & (after_last | ~batch.offers.has("PIPELINING"))
    return np.bincount(pairs.session[at], minlength=len(batch.sessions.first)) > 0


def _judged(dialog: Dialog) -> Iterator[tuple[int, Exchange]]:
    """The commands that did not wait, with certainty: the log shows both sides and who spoke when."""
    if dialog.profiles & {"verb", "xack-off", "exchange-internal"}:
        return
    for i, exchange in commands(dialog):
        if i and exchange.pipelined and exchange.verb not in _NO_COMMAND and dialog.exchanges[i - 1].verb != "":
            yield i, exchange


def _ends_group(exchange: Exchange) -> bool:
    """Whether a command must be the last of its group. AUTH with an initial response may be followed (RFC 4954 section 4)
    where the mechanism needs no other word."""
    if exchange.verb == "AUTH":
        mechanism, _, initial = exchange.argument.partition(" ")
        row = reference.mechanism(mechanism)
        return not initial.strip() or row is None or row["client_first"] != "yes" or row["rounds"] != "1"
    return verb_of(exchange) in _LAST


@rule(
    "EXT004",
    "pipelining-not-advertised",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.3.1; RFC 2920 3",
    advice="Wait for each reply, or check for PIPELINING.",
    sessions=_too_early,
)
def pipelining_not_advertised(dialog: Dialog) -> Iterator[Hit]:
    """A command was sent before the reply to the one before it, though the server had not offered PIPELINING.

    Why it matters: servers that look for it refuse and hang up, because spam software does so. Text pasted into Telnet
    does the same.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        S: 250 Ok

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: HELO client.example.org
        C: MAIL FROM:<a@example.org>
        S: 250 mx.example.net
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 PIPELINING
        C: MAIL FROM:<a@example.org>
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        S: 250 Ok

    What to do: wait for each reply, or look for PIPELINING in the EHLO reply; paste one line at a time.

    Servers: Exim answers 554 SMTP synchronization error, Postfix since 3.9 554 5.5.0 and hangs up; Exchange, Gmail and
    sendmail work through the lines.

    Reference: RFC 5321 4.3.1; RFC 2920 3
    """
    for i, exchange in _judged(dialog):
        group = group_start(dialog, i)
        offered = exchange.extensions is not None and "PIPELINING" in exchange.extensions
        if offered or not (exchange.hello or (knows_hello(dialog, i) and _hello_said(dialog, i))):
            continue
        before = dialog.exchanges[i - 1]
        name = "the end of the message" if before.verb == "." else before.verb
        farewell = exchange.verb == "QUIT" and before.verb == "." and i + 1 == session_end(dialog)
        yield hit(
            i,
            exchange,
            f"{exchange.verb} was sent before the reply to {name}; the server had not offered PIPELINING.",
            severity="info" if farewell else _severity(dialog, group),
            final=True,
            once=True,
        )


def _hello_said(dialog: Dialog, index: int) -> bool:
    """Whether the client said any hello before; where it did not, that is its fault (SEQ001)."""
    tls = max((i for i in range(index) if after(dialog.exchanges[i]).tls), default=-1)
    return any(exchange.verb in HELLO for exchange in dialog.exchanges[tls + 1 : index])


def _severity(dialog: Dialog, group: int) -> Severity | None:
    """Error where the server refused the group for it, or hung up."""
    refused = _last_refusal(dialog) >= group
    end = closed(dialog)
    left = end is not None and end.text == "server" and not any(each.verb == "QUIT" for each in dialog.exchanges)
    return "error" if refused or left else None


@of_dialog
def _last_refusal(dialog: Dialog) -> int:
    """The last exchange that the server refused because of its group; -1 where it did not."""
    found = -1
    for i, exchange in enumerate(dialog.exchanges):
        if exchange.reply is not None and exchange.reply.code in (503, 554):
            words = " ".join(exchange.reply.text).lower()
            if exchange.pipelined or "pipelin" in words or "synchroni" in words:
                found = i
    return found


@rule(
    "EXT005",
    "pipelining-sync-violation",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 2920 3.1; RFC 3207 4; RFC 4954 4",
    advice="Wait for the reply after such commands.",
    sessions=_too_early,
)
def pipelining_sync_violation(dialog: Dialog) -> Iterator[Hit]:
    """With PIPELINING offered, a command followed one that must be the last of its group.

    Why it matters: the answer to such a command decides what may come next: after DATA the text, after EHLO what is offered,
    after STARTTLS another connection altogether.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 PIPELINING
        C: NOOP
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        S: 250 Ok

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 PIPELINING
        C: EHLO client.example.org
        C: MAIL FROM:<a@example.org>
        S: 250-mx.example.net
        S: 250 PIPELINING
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 PIPELINING
        C: RSET
        C: MAIL FROM:<a@example.org>
        C: RCPT TO:<b@example.net>
        C: DATA
        S: 250 Ok
        S: 250 Ok
        S: 250 Ok
        S: 354 Go ahead

    What to do: wait for the reply after EHLO, DATA, VRFY, EXPN, NOOP, HELP, STARTTLS, AUTH and QUIT.

    Servers: Postfix and Exim refuse text behind STARTTLS; most others work through the lines.

    Reference: RFC 2920 3.1; RFC 3207 4; RFC 4954 4
    """
    told = set()
    for i, exchange in _judged(dialog):
        before = dialog.exchanges[i - 1]
        offered = exchange.extensions is not None and "PIPELINING" in exchange.extensions
        offered |= before.extensions is not None and "PIPELINING" in before.extensions
        group = group_start(dialog, i)
        if offered and group not in told and _ends_group(before):
            told.add(group)
            yield hit(
                i,
                exchange,
                f"{exchange.verb} was sent in one group after {before.verb}, which must be the last of its group.",
                severity="error" if before.verb in ("STARTTLS", "DATA") else "warning",
                final=True,
            )
