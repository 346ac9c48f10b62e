"""The order of the envelope: MAIL, RCPT, DATA (RFC 5321 sections 3.3 and 4.1.4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from smtplog import states
from smtplog.findings import Hit, rule
from smtplog.model import Dialog
from smtplog.rules.course import (
    commands,
    discards,
    ends_message,
    group_start,
    hit,
    knows_transaction,
    legal_here,
    may_be_one_group,
    origin,
    verb_of,
)
from smtplog.suspects import disorder

_UNREAD = "If both were sent in one group, this is no fault; the log does not show it."


@rule(
    "SEQ002",
    "rcpt-before-mail",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 5321 3.3, 4.1.4",
    advice="Send MAIL FROM:<...> and wait for 250 before RCPT.",
    sessions=disorder,
)
def rcpt_before_mail(dialog: Dialog) -> Iterator[Hit]:
    """RCPT came without an accepted MAIL.

    Why it matters: a recipient belongs to the transaction that MAIL opens; without one the server has nowhere to put
    it. A RCPT sent in one group with a MAIL that was then refused is no fault: the client could not know. The log of a server
    does not show groups: there it is a remark where the stamps leave it open.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: RCPT TO:<b@example.net>
        S: 503 5.5.1 Error: need MAIL command

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 PIPELINING
        C: MAIL FROM:<a@blocked.example>
        C: RCPT TO:<b@example.net>
        S: 550 5.7.1 Sender refused
        S: 503 5.5.1 Error: need MAIL command

    What to do: send MAIL FROM:<...> and wait for 250 before RCPT.

    Servers: all answer 503 (Exim: sender not yet given; Exchange: 503 5.5.2 Need mail command).

    Reference: RFC 5321 3.3, 4.1.4
    """
    done = set()
    for i, exchange in commands(dialog):
        if exchange.verb == "RCPT" and exchange.state == "ready" and knows_transaction(dialog, i):
            cause = origin(dialog, i)
            if cause in done or ends_message(dialog, cause) or discards(dialog, cause):
                continue
            refused = cause >= 0 and dialog.exchanges[cause].verb in states.MAIL
            if refused and cause >= group_start(dialog, i):
                continue
            done.add(cause)
            why = "although MAIL was refused" if refused else "without MAIL"
            message = f"RCPT was sent {why}: no transaction is open. {legal_here(exchange, dialog)}"
            yield _unless_one_group(hit(i, exchange, message), dialog, cause if refused else i)


@rule(
    "SEQ003",
    "data-without-recipient",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 5321 3.3, 4.1.4; RFC 2920 3.1",
    advice="Get at least one RCPT accepted before DATA.",
    sessions=disorder,
)
def data_without_recipient(dialog: Dialog) -> Iterator[Hit]:
    """DATA, BDAT or BURL came although no recipient was accepted, and the client could know it.

    Why it matters: a message without a recipient goes nowhere. A DATA sent in one group with its RCPTs is no fault:
    the client had not read their answers.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok
        C: RCPT TO:<nobody@example.net>
        S: 550 5.1.1 User unknown
        C: DATA
        S: 554 5.5.1 Error: no valid recipients

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok
        C: DATA
        S: 503 5.5.1 Error: need RCPT command

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 PIPELINING
        C: MAIL FROM:<a@example.org>
        C: RCPT TO:<nobody@example.net>
        C: DATA
        S: 250 2.1.0 Ok
        S: 550 5.1.1 User unknown
        S: 554 5.5.1 Error: no valid recipients

    What to do: get at least one RCPT accepted before DATA.

    Servers: Postfix answers 554 after refused recipients and 503 when there were none, Exim 503 with the refusal
    repeated, Exchange 503 5.5.2, Gmail 503 5.5.1.

    Reference: RFC 5321 3.3, 4.1.4; RFC 2920 3.1
    """
    for i, exchange in commands(dialog):
        starts_text = exchange.verb in ("DATA", "BDAT", "BURL") and exchange.state in ("ready", "mail")
        if starts_text and knows_transaction(dialog, i):
            cause = origin(dialog, i)
            if discards(dialog, cause) or _has_its_own_rule(dialog, cause, exchange.verb):
                continue
            recipients = [j for j in range(cause + 1, i) if dialog.exchanges[j].verb == "RCPT"]
            if recipients and recipients[-1] >= group_start(dialog, i):
                continue
            count = f"all {len(recipients)} were refused" if len(recipients) > 1 else "the only one was refused"
            why = count if recipients else "none was named"
            message = f"{exchange.verb} was sent without an accepted recipient: {why}. {legal_here(exchange, dialog)}"
            yield _unless_one_group(hit(i, exchange, message), dialog, recipients[-1] if recipients else i)


def _unless_one_group(told: Hit, dialog: Dialog, cause: int) -> Hit:
    """The hit, as a remark where the log leaves open that the client had not read what refused it."""
    index = told.exchange
    if index is None or cause == index or not may_be_one_group(dialog, cause, index):
        return told
    return replace(told, message=f"{told.message} {_UNREAD}", severity="info", final=True)


def _has_its_own_rule(dialog: Dialog, cause: int, verb: str) -> bool:
    """DATA after the end of a message is SEQ005, BDAT after BDAT LAST is SEQ018."""
    if not ends_message(dialog, cause):
        return False
    return verb == "DATA" or verb_of(dialog.exchanges[cause]) == "BDAT LAST"


@rule(
    "SEQ004",
    "nested-mail",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.1.4",
    advice="Send RSET (or finish with DATA) before a new MAIL.",
    sessions=disorder,
)
def nested_mail(dialog: Dialog) -> Iterator[Hit]:
    """MAIL came while a transaction was open.

    Why it matters: a transaction ends with its message or with RSET; a second MAIL inside it is refused, and what
    follows may be taken for the first message.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: MAIL FROM:<c@example.org>
        S: 503 5.5.1 Error: nested MAIL command

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RSET
        S: 250 Ok
        C: MAIL FROM:<c@example.org>
        S: 250 Ok

    What to do: send RSET (or finish with DATA) before a new MAIL.

    Servers: Postfix answers 503 nested MAIL, Exim 503 Sender already given, Exchange 503 5.5.2 Sender already
    specified; some old servers silently start again.

    Reference: RFC 5321 4.1.4
    """
    for i, exchange in commands(dialog):
        if exchange.verb in states.MAIL and exchange.state in ("mail", "rcpt") and knows_transaction(dialog, i):
            cause = origin(dialog, i)
            opening = dialog.exchanges[cause] if cause >= 0 else None
            if opening is None or opening.verb not in states.MAIL or opening.severity != 2:
                continue  # a RCPT opened it, and SEQ002 tells of that
            message = f"{exchange.verb} was sent while a transaction was open. {legal_here(exchange, dialog)}"
            yield hit(i, exchange, message)


@rule(
    "SEQ005",
    "envelope-reuse-after-data",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.1.1.4, 4.1.4",
    advice="Start each message with MAIL FROM.",
    sessions=disorder,
)
def envelope_reuse_after_data(dialog: Dialog) -> Iterator[Hit]:
    """RCPT or DATA came right after the end of a message, without a new MAIL.

    Why it matters: the reply to the end of a message clears sender and recipients, whether the message was accepted
    or not.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        C: Subject: one
        C:
        C: Hello
        C: .
        S: 451 4.3.0 Try again later
        C: RCPT TO:<c@example.net>
        S: 503 5.5.1 Error: need MAIL command

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 End data with <CR><LF>.<CR><LF>
        C: Subject: one
        C:
        C: Hello
        C: .
        S: 250 2.0.0 Ok: queued as 4ABC
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<c@example.net>
        S: 250 Ok

    What to do: start each message with MAIL FROM.

    Servers: all answer 503; the buffers are cleared after the dot whatever the reply class was.

    Reference: RFC 5321 4.1.1.4, 4.1.4
    """
    done = set()
    for i, exchange in commands(dialog):
        without_mail = exchange.verb in ("RCPT", "DATA") and exchange.state in ("ready", "greeted")
        if without_mail and knows_transaction(dialog, i):
            cause = origin(dialog, i)
            if ends_message(dialog, cause) and cause not in done:
                done.add(cause)
                message = f"{exchange.verb} was sent after the end of a message without a new MAIL. "
                yield hit(i, exchange, message + legal_here(exchange, dialog))
