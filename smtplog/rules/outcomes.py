"""What became of the message, and of the log-in (RFC 5321 sections 4.2.5 and 6.1, RFC 4954 section 6)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import OUTCOMES, Dialog, Exchange
from smtplog.rules.course import closed, hit, verb_of
from smtplog.rules.refusals import _asks_for_log_in, _remedy, _shown
from smtplog.suspects import refused, verbs

_AUTH = ("AUTH", "AUTH-RESPONSE", "X-EXPS")
#: Codes that say that a log-in failed (RFC 4954 section 6).
_FAILED = (535, 534, 525, 538, 454, 432)


@rule(
    "DEL003",
    "message-rejected-after-data",
    severity="warning",
    party="unknown",
    scope="exchange",
    reference="RFC 5321 4.2.5",
    advice="Read the reason; change the content or mend the reputation of the sender.",
    rows=refused(".", "DATA", "BDAT", "BDAT LAST", "BURL"),
)
def message_rejected_after_data(exchange: Exchange) -> Iterator[Hit]:
    """The message was refused after its text, or at DATA.

    Why it matters: nobody got it, whatever was said to the recipients before. The reason is in the content, its size,
    its headers or the sender's reputation.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Go ahead
        C: Subject: x
        C:
        C: hello
        C: .
        S: 550 5.7.1 Message rejected as spam

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Go ahead
        C: Subject: x
        C:
        C: hello
        C: .
        S: 451 4.7.1 Try again later

    What to do: read the reason; change the content, make the message smaller, or mend SPF, DKIM and reputation.

    Servers: spam filters answer 550 or 554 5.7.1 here, size limits 552 5.3.4, loops 554 5.4.6.

    Reference: RFC 5321 4.2.5
    """
    reply, verb = exchange.reply, verb_of(exchange)
    if reply is None or exchange.severity != 5:
        return
    at_end = verb in (".", "BDAT LAST") or (verb == "BURL" and exchange.argument.upper().endswith("LAST"))
    of_order = reply.code in (500, 501, 502, 503)
    early = verb == "DATA" and exchange.state == "rcpt" and not of_order and not _asks_for_log_in(exchange)
    if verb == "BDAT LAST" and of_order:
        return
    if at_end or early:
        lost = f"for {exchange.recipient}" if exchange.recipient else "for every recipient"
        yield Hit(f"The message was refused {lost}: {_shown(reply)}", advice=_remedy(reply))


@rule(
    "DEL007",
    "authentication-failed",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 4954 6",
    advice="Check user name, password or app password, and mechanism.",
    rows=refused(*_AUTH),
)
def authentication_failed(exchange: Exchange) -> Iterator[Hit]:
    """AUTH ended with a refusal.

    Why it matters: 535 blames the credentials, 534 and 538 the mechanism; 454 is a fault of the server and says nothing
    about the password.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: AUTH PLAIN ********
        S: 535 5.7.8 Bad credentials

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: ********
        S: 334 UGFzc3dvcmQ6
        C: ********
        S: 454 4.7.0 Temporary authentication failure

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: *
        S: 501 5.7.0 Authentication aborted

    What to do: check user name, password or app password, and mechanism; after 454 try again later with the same ones.

    Servers: Gmail answers 535 5.7.8 and wants an app password, Exchange Online 535 5.7.139 where basic log-in is off.

    Reference: RFC 4954 6
    """
    reply = exchange.reply
    if reply is None or exchange.verb not in _AUTH or exchange.severity not in (4, 5) or exchange.command == "*":
        return
    if reply.code in _FAILED or (exchange.verb == "AUTH-RESPONSE" and exchange.severity == 5):
        fault_of_server = reply.severity == 4
        yield Hit(
            f"The log-in failed: {_shown(reply)}",
            party="server" if fault_of_server else None,
            advice="Try again later with the same password: the server could not check it."
            if fault_of_server
            else _remedy(reply),
        )


def _partial(batch: Batch) -> np.ndarray:
    """The exchanges that decided a transaction for some of its recipients only."""
    done = batch.transactions
    mask = np.zeros(len(batch.exchanges.session), np.bool_)
    mask[done.decided[(done.outcome == OUTCOMES.index("partial")) & (done.decided >= 0)]] = True
    return mask


@rule(
    "DEL008",
    "partial-recipients",
    severity="info",
    party="unknown",
    scope="exchange",
    reference="RFC 5321 3.3, 4.2.5",
    advice="Handle the refused recipients separately.",
    rows=_partial,
)
def partial_recipients(exchange: Exchange) -> Iterator[Hit]:
    """The message was taken, but not for every recipient that was named.

    Why it matters: it looks delivered, and some of the people never see it.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: RCPT TO:<c@example.net>
        S: 550 5.1.1 User unknown
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: From: a@example.org
        C: Date: Mon, 1 Jan 2024 00:00:00 +0000
        C:
        C: Hello
        C: .
        S: 250 Ok queued

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: From: a@example.org
        C: Date: Mon, 1 Jan 2024 00:00:00 +0000
        C:
        C: Hello
        C: .
        S: 250 Ok queued

    What to do: handle the refused recipients separately; the accepted ones need nothing.

    Servers: all work so; LMTP servers answer for each recipient after the dot.

    Reference: RFC 5321 3.3, 4.2.5
    """
    if exchange.decides == "partial":
        yield Hit("The message was taken for some of its recipients only; at least one was refused.")


def _left_open(batch: Batch) -> np.ndarray:
    """The sessions with a message that nobody answered."""
    rows = verbs(".", "BDAT LAST")(batch) & (batch.exchanges.code == 0)
    return np.bincount(batch.exchanges.session[rows], minlength=len(batch.sessions.first)) > 0


@rule(
    "DEL010",
    "outcome-unknown",
    severity="warning",
    party="unknown",
    scope="dialog",
    reference="RFC 5321 4.1.1.10, 6.1; RFC 1047",
    advice="Check the server's log before the message is sent again.",
    sessions=_left_open,
    tokens=True,
)
def outcome_unknown(dialog: Dialog) -> Iterator[Hit]:
    """The connection ended between the end of the message and its answer.

    Why it matters: the message may be queued or not. A client that sends it again may deliver it twice.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: Subject: x
        C:
        C: .
        *: close server

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: Subject: x
        C:
        C: .
        S: 421 4.3.0 shutting down, message not accepted
        *: close server

    What to do: look into the server's log, or ask the recipient, before the message is sent again.

    Servers: a content filter that takes longer than the client waits is the usual cause.

    Reference: RFC 5321 4.1.1.10, 6.1; RFC 1047
    """
    end = closed(dialog)
    if end is None or dialog.replies_only:
        return
    ends = [(i, each) for i, each in enumerate(dialog.exchanges) if verb_of(each) in (".", "BDAT LAST")]
    if not ends or ends[-1][1].reply is not None or ends[-1][1].inferred:
        return
    i, exchange = ends[-1]
    answered_later = any(each.reply for each in dialog.exchanges[i + 1 :])
    accepted = exchange.state in ("data", "rcpt", "bdat")
    if accepted and not answered_later:
        who = f" by the {end.text}" if end.text in ("client", "server") else ""
        yield hit(
            i, exchange, f"The connection was closed{who} before the message was answered: nobody knows its fate."
        )
