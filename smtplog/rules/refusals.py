"""Refusals before the message: recipients, senders, sessions (RFC 5321 sections 3.1, 4.2.1 and 4.3.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from smtplog import reference
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange, Reply
from smtplog.rules.course import hit
from smtplog.suspects import refused

#: Replies that speak of the command line or of the order of commands, not of sender or recipient.
_NOT_UNDERSTOOD = (500, 501, 502, 503, 555)
_RELAY = re.compile(
    r"\brelay(?:ing)? (?:access )?(?:is )?(?:not|denied|disallowed|prohibited|forbidden|refused|restricted|blocked)"
    r"|\b(?:unable|not (?:permitted|allowed|authori[sz]ed)|cannot|refuse) to (?:relay|send through)"
    r"|\b(?:do|does|will) ?n.t relay|\bnot relay\b|\bno relay|\brelay access|\brelaying\b|rcpthosts"
    r"|not in my list of allowed|mail relay(?:ing)? not",
    re.IGNORECASE,
)
_LOG_IN_FIRST = re.compile(
    r"\bauthenticat(?:ion|e) (?:is )?(?:required|needed|first)|\bauth(?:entication)? required|\bauthenticate first"
    r"|\bmust (?:first )?(?:be )?authenticate|\bclient was not authenticated|\bplease authenticate|\bnot authenticated"
    r"|\brequires? authentication|\bmust issue a? ?STARTTLS|\bSTARTTLS (?:command )?first|\bturn on SMTP Auth"
    r"|\bSMTP auth(?:entication)? is required",
    re.IGNORECASE,
)
#: Words about the sender's domain that look like the ones above: SPF, DKIM and DMARC are no log-in.
_OF_THE_DOMAIN = re.compile(r"\b(?:SPF|DKIM|DMARC)\b|5\.7\.26")
_GREYLISTED = re.compile(r"gr[ea]y-?list|postgrey|try again (?:later|in)|come back later", re.IGNORECASE)
_TIMED_OUT = re.compile(r"time-?(?:d )?out|\bidle\b|4\.4\.2", re.IGNORECASE)


def _words(reply: Reply) -> str:
    return " ".join(reply.text)


def _shown(reply: Reply) -> str:
    """A reply in one line, as messages quote it."""
    words = f"{reply.code} {_words(reply)}"
    return words if len(words) <= 140 else words[:137] + "..."


def _remedy(reply: Reply) -> Callable[[], str | None]:
    """What to do, by the text of the reply, else by its enhanced status code."""

    def advice() -> str | None:
        told = reference.situations(_words(reply))
        if told:
            return told[0]["next"]
        row = reference.enhanced(reply.enhanced) if reply.enhanced else None
        return row["advice"] if row is not None else None

    return advice


def _asks_for_log_in(exchange: Exchange) -> bool:
    reply = exchange.reply
    if reply is None or exchange.severity != 5 or exchange.verb not in ("MAIL", "RCPT", "DATA", "AUTH", "BDAT"):
        return False
    words = _words(reply)
    worded = reply.code in (550, 553, 554) and exchange.verb != "AUTH" and bool(_LOG_IN_FIRST.search(words))
    return (reply.code == 530 or worded) and not _OF_THE_DOMAIN.search(words)


def _refuses_relay(exchange: Exchange) -> bool:
    reply = exchange.reply
    if reply is None or exchange.verb != "RCPT" or exchange.severity != 5 or reply.code in _NOT_UNDERSTOOD:
        return False
    return reply.code == 551 or reply.enhanced == "5.7.54" or _RELAY.search(_words(reply)) is not None


@rule(
    "DEL001",
    "recipient-rejected",
    severity="warning",
    party="unknown",
    scope="exchange",
    reference="RFC 5321 4.3.2; RFC 3463",
    advice="Fix or remove the address.",
    rows=refused("RCPT"),
)
def recipient_rejected(exchange: Exchange) -> Iterator[Hit]:
    """A recipient was refused for good.

    Why it matters: the message does not reach this address, and sending it again changes nothing. The enhanced status
    code and the text say whether the address is wrong, the mailbox is shut or full, or a policy is in the way.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<nobody@example.net>
        S: 550 5.1.1 <nobody@example.net>: User unknown

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 554 5.7.1 Service unavailable; client blocked using a block list

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@other.example>
        S: 554 5.7.1 <b@other.example>: Relay access denied

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:b@@example.net
        S: 501 5.1.3 Bad recipient address syntax

    What to do: correct the address or take it off the list; for a policy (5.7.x) follow the text.

    Servers: all use 550 for an unknown user; policy comes as 550, 553 or 554.

    Reference: RFC 5321 4.3.2; RFC 3463
    """
    reply = exchange.reply
    if reply is None or exchange.verb != "RCPT" or exchange.severity != 5 or reply.code in _NOT_UNDERSTOOD:
        return
    if not (_refuses_relay(exchange) or _asks_for_log_in(exchange)):
        yield Hit(f"The recipient was refused: {_shown(reply)}", advice=_remedy(reply))


@rule(
    "DEL002",
    "deferred",
    severity="info",
    party="server",
    scope="exchange",
    reference="RFC 5321 4.2.1; RFC 6647",
    advice="Retry after some minutes from the same address.",
    rows=refused("MAIL", "RCPT", "DATA", ".", "BDAT", "BDAT LAST", "BURL"),
)
def deferred(exchange: Exchange) -> Iterator[Hit]:
    """The server put the sender off: 4yz to MAIL, RCPT, DATA or the end of the message.

    Why it matters: nothing is lost. A mail server tries again by itself; a person with Telnet has to.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 451 4.7.1 Greylisted, please try again in 300 seconds

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 550 5.1.1 User unknown

    What to do: try again after some minutes, from the same address.

    Servers: greylisting is 450 or 451 to RCPT; full disks are 452; Exchange says 451 4.7.0 while it is busy.

    Reference: RFC 5321 4.2.1; RFC 6647
    """
    reply = exchange.reply
    named = exchange.verb in ("MAIL", "RCPT", "DATA", ".", "BDAT", "BURL")
    if reply is None or not named or reply.severity != 4 or reply.code == 421:
        return
    what = {"MAIL": "The sender", "RCPT": "The recipient"}.get(exchange.verb, "The message")
    hint = " This is greylisting: the same sender is let in later." if _GREYLISTED.search(_words(reply)) else ""
    yield Hit(f"{what} was put off: {_shown(reply)}.{hint}".replace("..", "."), advice=_remedy(reply))


@rule(
    "DEL004",
    "sender-rejected",
    severity="warning",
    party="unknown",
    scope="exchange",
    reference="RFC 5321 4.3.2; RFC 7372",
    advice="Use a permitted sender; fix SPF and DNS of its domain.",
    rows=refused("MAIL"),
)
def sender_rejected(exchange: Exchange) -> Iterator[Hit]:
    """The sender was refused by policy.

    Why it matters: no message with this sender, or from this address, gets through until the reason is mended.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@blocked.example>
        S: 550 5.7.23 SPF validation failed

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 530 5.7.0 Authentication required

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE 1000
        C: MAIL FROM:<a@example.org> SIZE=5000
        S: 552 5.3.4 Message size exceeds fixed limit

    What to do: use a sender that this server permits; mend SPF, reverse DNS or reputation, as the text says.

    Servers: Exchange answers 550 5.7.1 or 5.7.60, Postfix 550, 553 or 554 5.7.1, sendmail 553 5.1.8.

    Reference: RFC 5321 4.3.2; RFC 7372
    """
    reply = exchange.reply
    if reply is None or exchange.verb != "MAIL" or exchange.severity != 5:
        return
    if reply.code in (*_NOT_UNDERSTOOD, 504, 530, 552) or _asks_for_log_in(exchange):
        return
    yield Hit(f"The sender was refused: {_shown(reply)}", advice=_remedy(reply))


@rule(
    "DEL005",
    "authentication-required",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 4954 6; RFC 3207 4; RFC 6409 4.3",
    advice="STARTTLS and AUTH before MAIL.",
    rows=refused("MAIL", "RCPT", "DATA", "AUTH", "BDAT"),
)
def authentication_required(exchange: Exchange) -> Iterator[Hit]:
    """The server wants STARTTLS or AUTH first.

    Why it matters: it is a submission server, or one for known senders only; the same command is taken after a log-in.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: MAIL FROM:<a@example.org>
        S: 530 5.7.0 Authentication required

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: MAIL FROM:<a@example.org>
        S: 530 5.7.0 Must issue a STARTTLS command first

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 550 5.7.1 Client was not authenticated

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 550 5.7.26 This mail is unauthenticated: SPF and DKIM did not pass

    What to do: say STARTTLS, then EHLO again, then AUTH, then MAIL. Where the server offers no AUTH, ask its operator
    to permit your address.

    Servers: Exchange says 530 5.7.57 or 5.7.1, Gmail 530 5.5.1 and 530 5.7.0, Postfix 530 5.7.0.

    Reference: RFC 4954 6; RFC 3207 4; RFC 6409 4.3
    """
    reply = exchange.reply
    if reply is not None and _asks_for_log_in(exchange):
        tls = "STARTTLS" in _words(reply).upper()
        wanted = "STARTTLS" if tls else "a log-in (AUTH)"
        yield Hit(f"The server wants {wanted} before {exchange.verb}: {_shown(reply)}", advice=_remedy(reply))


@rule(
    "DEL006",
    "relay-denied",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 5321 3.6.1, 4.1.1.3",
    advice="Authenticate, use port 587, or use the right MX.",
    rows=refused("RCPT"),
)
def relay_denied(exchange: Exchange) -> Iterator[Hit]:
    """The server does not forward mail to this recipient's domain for this client.

    Why it matters: the address may be right; this is the wrong server for it, or the client has not logged in.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@other.example>
        S: 554 5.7.1 <b@other.example>: Relay access denied

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@other.example>
        S: 553 sorry, that domain isn't in my list of allowed rcpthosts

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 550 5.1.1 User unknown

    What to do: log in on port 587, or send to the MX of the recipient's domain; as operator, add the domain or the client.

    Servers: Exchange answers 550 5.7.54 or 550 5.7.1 Unable to relay, Postfix 554 5.7.1, Exim 550 relay not permitted,
    sendmail 550 5.7.1 Relaying denied, qmail 553.

    Reference: RFC 5321 3.6.1, 4.1.1.3
    """
    if exchange.reply is not None and _refuses_relay(exchange):
        yield Hit(
            f"The server does not relay to this recipient: {_shown(exchange.reply)}", advice=_remedy(exchange.reply)
        )


def _turned_away(batch: Batch) -> np.ndarray:
    """The sessions whose greeting, or an answer to whose hello, is a refusal."""
    pairs, sessions = batch.exchanges, batch.sessions
    marked = np.zeros(len(sessions.first), np.bool_)
    greeted = np.flatnonzero(pairs.greeting >= 0)
    marked[greeted] = sessions.code[pairs.reply_first[pairs.greeting[greeted]]] >= 400
    marked[pairs.session[refused("EHLO", "HELO", "LHLO")(batch)]] = True
    return marked


@rule(
    "DEL009",
    "session-refused",
    severity="warning",
    party="server",
    scope="dialog",
    reference="RFC 5321 3.1, 7.9",
    advice="Check the sending IP on block lists and its PTR record.",
    sessions=_turned_away,
)
def session_refused(dialog: Dialog) -> Iterator[Hit]:
    """The server refused the whole session, in its greeting or in its answer to the hello.

    Why it matters: it is the client's address, name or rate that is refused; no message was even looked at.

    Flagged::

        S: 554 5.7.1 mx.example.net: your address 192.0.2.7 is blocked

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 550 5.7.1 Your reputation is too bad
        C: QUIT
        S: 221 Bye

    Flagged::

        S: 421 4.7.0 mx.example.net Too many connections from your address

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 502 5.5.1 Command not implemented
        C: HELO client.example.org
        S: 250 mx.example.net

    What to do: look up the sending address in the block list that the text names, check its PTR record and its rate.

    Servers: Postfix answers 554 from postscreen and 450 or 504 to a bad hello name, Exchange 550 5.7.1 or 421 4.3.2.

    Reference: RFC 5321 3.1, 7.9
    """
    greeting = dialog.greeting
    if greeting is not None and greeting.severity in (4, 5) and not _TIMED_OUT.search(_words(greeting)):
        yield Hit(
            f"The server turned the client away: {_shown(greeting)}",
            line=greeting.line,
            end_line=greeting.end_line,
            advice=_remedy(greeting),
        )
    for i, exchange in enumerate(dialog.exchanges):
        reply = exchange.reply
        if exchange.verb not in ("EHLO", "HELO", "LHLO") or reply is None or reply.severity not in (4, 5):
            continue
        if reply.code in _NOT_UNDERSTOOD or _TIMED_OUT.search(_words(reply)):
            continue
        yield hit(i, exchange, f"The server refused the hello: {_shown(reply)}", advice=_remedy(reply))
        return
