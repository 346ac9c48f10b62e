"""LMTP (RFC 2033): its own hello, and one reply a recipient at the end of the message."""

from __future__ import annotations

import re
from collections.abc import Iterator

from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange
from smtplog.rules.course import after, commands, hit, in_doubt, knows_transaction, session_end, verb_of, was_told_to_go
from smtplog.suspects import disorder

_SAYS_LMTP = re.compile(r"\bLMTP\b")
_SAYS_SMTP = re.compile(r"\bE?SMTP\b")
_NOT_UNDERSTOOD = (500, 502, 503)  # other refusals of a hello are about its argument or the client


@rule(
    "SEQ024",
    "lmtp-smtp-hello-mismatch",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 2033 4.1",
    advice="Use LHLO on LMTP sockets, EHLO on SMTP.",
    sessions=disorder,
)
def lmtp_smtp_hello_mismatch(dialog: Dialog) -> Iterator[Hit]:
    """LHLO was said to an SMTP server, or EHLO or HELO to an LMTP server.

    Why it matters: the two protocols differ in the replies to the end of a message; the hello tells them apart, and
    neither server may accept that of the other. An LMTP server that accepts EHLO is itself at fault.

    Flagged::

        S: 220 mx.example.net LMTP ready
        C: EHLO client.example.org
        S: 500 5.5.1 Use LHLO

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: LHLO client.example.org
        S: 502 5.5.1 Unknown command

    Fine::

        S: 220 mx.example.net LMTP ready
        C: LHLO client.example.org
        S: 250 mx.example.net

    What to do: use LHLO on LMTP sockets, EHLO on SMTP.

    Servers: Dovecot answers 502 5.5.1 Unknown command to EHLO on LMTP.

    Reference: RFC 2033 4.1
    """
    is_lmtp = _greets_as_lmtp(dialog)
    accepted = any(exchange.verb == "LHLO" and exchange.severity == 2 for exchange in dialog.exchanges)
    for i, exchange in commands(dialog):
        if exchange.verb == "LHLO" and not (is_lmtp or accepted) and _not_understood(exchange):
            yield hit(i, exchange, "LHLO was said to a server that speaks SMTP. Legal here: EHLO, HELO.")
        elif exchange.verb in ("EHLO", "HELO") and (is_lmtp or accepted or _asks_for_lhlo(exchange)):
            if exchange.severity == 2:
                message = f"{exchange.verb} was accepted by a server that speaks LMTP. Legal here: LHLO."
                yield hit(i, exchange, message, party="server", final=True)
            else:
                yield hit(i, exchange, f"{exchange.verb} was said to a server that speaks LMTP. Legal here: LHLO.")


def _greets_as_lmtp(dialog: Dialog) -> bool:
    """Whether the greeting, the host name at its head aside, says LMTP and not SMTP."""
    words = " ".join(line.partition(" ")[2] for line in dialog.greeting.text) if dialog.greeting else ""
    return bool(_SAYS_LMTP.search(words)) and not _SAYS_SMTP.search(words)


def _not_understood(exchange: Exchange) -> bool:
    return exchange.reply is not None and exchange.reply.code in _NOT_UNDERSTOOD


def _asks_for_lhlo(exchange: Exchange) -> bool:
    return _not_understood(exchange) and exchange.reply is not None and "LHLO" in " ".join(exchange.reply.text).upper()


@rule(
    "SEQ025",
    "lmtp-reply-count",
    severity="error",
    party="server",
    scope="dialog",
    reference="RFC 2033 4.2, 4.3",
    advice="Fix the LMTP server; one reply per accepted RCPT.",
    sessions=disorder,
)
def lmtp_reply_count(dialog: Dialog) -> Iterator[Hit]:
    """An LMTP server gave more or fewer replies to the end of the message than it had accepted recipients.

    Why it matters: each reply is the fate of the message for one recipient, in the order of the RCPTs; a recipient
    named twice has two. A reply too few or too many shifts all that follow.

    Flagged::

        S: 220 mx.example.net LMTP ready
        C: LHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok
        C: RCPT TO:<b@example.net>
        S: 250 2.1.5 Ok
        C: RCPT TO:<c@example.net>
        S: 250 2.1.5 Ok
        C: DATA
        S: 354 Go ahead
        C: Subject: one
        C:
        C: Hello
        C: .
        S: 250 2.0.0 Delivered
        C: QUIT
        S: 221 2.0.0 Bye

    Fine::

        S: 220 mx.example.net LMTP ready
        C: LHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok
        C: RCPT TO:<b@example.net>
        S: 250 2.1.5 Ok
        C: RCPT TO:<c@example.net>
        S: 550 5.1.1 User unknown
        C: RCPT TO:<d@example.net>
        S: 250 2.1.5 Ok
        C: DATA
        S: 354 Go ahead
        C: Subject: one
        C:
        C: Hello
        C: .
        S: 250 2.0.0 Delivered
        S: 452 4.2.2 Mailbox full
        C: QUIT
        S: 221 2.0.0 Bye

    What to do: fix the LMTP server; one reply per accepted RCPT.

    Servers: Dovecot, Cyrus and Exim give one reply per recipient.

    Reference: RFC 2033 4.2, 4.3
    """
    if "lmtp" not in dialog.profiles or dialog.replies_only or not _speaks_lmtp(dialog):
        return
    for first, last in _ends_of_messages(dialog):
        expected = _accepted_before(dialog, first)
        replies = sum(exchange.reply is not None for exchange in dialog.exchanges[first : last + 1])
        cut = last + 1 == len(dialog.exchanges) or in_doubt(dialog, last + 1) or was_told_to_go(dialog)
        if not expected or not knows_transaction(dialog, first) or (cut and replies < expected):
            continue
        if replies != expected:
            recipients = "one recipient" if expected == 1 else f"{expected} recipients"
            given = "one reply" if replies == 1 else f"{replies} replies"
            message = f"The server accepted {recipients} and gave {given} to the end of the message."
            end = dialog.exchanges[last].reply
            yield hit(first, dialog.exchanges[first], message, end_line=end.end_line if end else None)


def _speaks_lmtp(dialog: Dialog) -> bool:
    """Whether the server knows LMTP: it did not refuse all LHLO."""
    said = [exchange for exchange in dialog.exchanges if exchange.verb == "LHLO"]
    return not said or any(exchange.severity not in (4, 5) for exchange in said)


def _ends_of_messages(dialog: Dialog) -> Iterator[tuple[int, int]]:
    """First and last exchange of each end of a message; replies in excess that count as unsolicited are part of it."""
    first = None
    exchanges = dialog.exchanges[: session_end(dialog)]
    for i, exchange in enumerate(exchanges):
        ends = verb_of(exchange) in (".", "BDAT LAST")
        if first is not None:
            again = ends and exchange.line == dialog.exchanges[first].line
            if again or exchange.command is None:
                continue
            yield first, i - 1
        first = i if ends else None
    if first is not None:
        yield first, len(exchanges) - 1


def _accepted_before(dialog: Dialog, index: int) -> int:
    """The recipients accepted since the last MAIL; one named twice counts twice."""
    count = 0
    for exchange in reversed(dialog.exchanges[:index]):
        if after(exchange).transaction in ("none", "mail"):
            break
        count += exchange.verb == "RCPT" and exchange.severity == 2
    return count
