"""Codes of replies: enhanced status codes and unlisted ones (RFC 2034, RFC 3463, RFC 5321 section 4.3.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import numpy as np

from smtplog import events, reference, speech
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange, Reply
from smtplog.negotiated import lines_of
from smtplog.rules.course import verb_of
from smtplog.suspects import Cell, refused, sessions_of

_HELLO = ("EHLO", "HELO", "LHLO")
#: Verbs that every server must know (RFC 5321 section 4.5.1).
_REQUIRED = ("HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY")
#: Codes of policy that answer any command of a session (RFC 5321 section 4.3.2).
_POLICY = (421, 450, 451, 454, 500, 501, 502, 503, 504, 521, 530, 550, 554)
_CONTRADICTS = r"^(?:2..[ -][45]|4..[ -][25]|5..[ -][24])\.[0-9]+\.[0-9]+(?: |$)"
_WITH_STATUS = r"^...[ -][245]\.[0-9]+\.[0-9]+(?: |$)"
#: What looks like an enhanced status code, well made or not.
_SOUND_STATUS = r"^[245]..[ -][245]\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2})(?: |$)"
_UNKNOWN = r"(?i:user unknown|unknown (?:user|recipient)|no such (?:user|recipient)|does not exist)"
_LIKE_STATUS = re.compile(r"([0-9]+\.[0-9]+\.[0-9]+)(?= |$)")


def _contradicting(batch: Batch) -> np.ndarray:
    """The exchanges whose reply has an enhanced status code of another class."""
    pairs = batch.exchanges
    at, lines = batch.server_lines
    wrong = np.zeros(len(batch.sessions.events), np.bool_)
    wrong[at] = events.found(events.values(lines), _CONTRADICTS)[events.codes(lines)]
    return (pairs.reply >= 0) & _of_reply(batch, wrong)


def _of_reply(batch: Batch, lines: np.ndarray) -> np.ndarray:
    """For each exchange, whether one of these lines begins or continues its reply."""
    pairs = batch.exchanges
    marked = np.zeros(len(pairs.reply_first) + 1, np.bool_)
    marked[np.searchsorted(pairs.reply_first, np.flatnonzero(lines), side="right") - 1] = True
    return marked[pairs.reply]


def _without_status(batch: Batch) -> np.ndarray:
    """The exchanges whose reply should bear an enhanced status code and does not on each line."""
    pairs = batch.exchanges
    wanted = batch.offers.has("ENHANCEDSTATUSCODES") & np.isin(pairs.code // 100, (2, 4, 5))
    if not wanted.any():
        return wanted
    at, lines = batch.server_lines
    bare = np.zeros(len(batch.sessions.events), np.bool_)
    bare[at] = ~events.found(events.values(lines), _WITH_STATUS)[events.codes(lines)]
    hello = np.array([name in _HELLO for name in pairs.verbs], np.bool_)[pairs.verb]
    return wanted & ~hello & _of_reply(batch, bare)


def _unlisted(batch: Batch) -> np.ndarray:
    """The exchanges with a code that is not listed for their verb; each pair of the two is looked up once."""
    pairs = batch.exchanges
    used, number = np.unique(pairs.verb.astype(np.int64) * 1000 + pairs.code, return_inverse=True)
    verdicts = [not _is_listed(pairs.verbs[pair // 1000], pair % 1000) for pair in used.tolist()]
    return np.array(verdicts, np.bool_)[number] if len(used) else np.zeros(0, np.bool_)


def _late_refusal(batch: Batch) -> np.ndarray:
    """The ends of messages with several recipients that were answered 550 or 553 because of one of them."""
    pairs, every = batch.exchanges, batch.transactions
    ends = np.array([name in (".", "BDAT LAST") for name in pairs.verbs], np.bool_)[pairs.verb]
    at = np.flatnonzero(ends & np.isin(pairs.code, (550, 553)) & (every.of_exchange >= 0))
    at = at[every.accepted[every.of_exchange[at]] > 1]
    first = events.take(batch.sessions.events.text, pairs.reply_first[pairs.reply[at]])
    mask = np.zeros(len(pairs.session), np.bool_)
    mask[at[events.found(first, rf"^...[ -]5\.1\.|{_UNKNOWN}")]] = True
    return mask


def _misplaced_status(batch: Batch) -> np.ndarray:
    """The sessions with an enhanced status code, or what looks like one, in a greeting, in the reply to a hello or in a
    3yz reply, and those with a malformed one."""
    pairs, sessions = batch.exchanges, batch.sessions
    hello = np.array([name in _HELLO for name in pairs.verbs], np.bool_)[pairs.verb] & (pairs.code // 100 == 2)
    numbers = np.concatenate([pairs.reply[hello & (pairs.reply >= 0)], pairs.greeting[pairs.greeting >= 0]])
    _, at = lines_of(sessions, pairs, np.unique(numbers))
    texts = events.values(batch.server_lines[1])
    status = events.found(texts, r"^...[ -][0-9]+\.[0-9]+\.[0-9]+(?: |$)")
    odd = status & ~events.found(texts, _SOUND_STATUS)
    lines, codes = batch.server_lines[0], events.codes(batch.server_lines[1])
    found = np.concatenate([lines[odd[codes]], at[status[batch.server_codes[at]]]])
    return np.bincount(sessions.session[found], minlength=len(sessions.first)) > 0


@rule(
    "REP006",
    "unlisted-reply-code",
    severity="info",
    party="server",
    scope="exchange",
    reference="RFC 5321 4.2, 4.3.2",
    advice="None needed; clients act on the first digit.",
    extra=True,
    rows=_unlisted,
)
def unlisted_reply_code(exchange: Exchange) -> Iterator[Hit]:
    """The code is not listed for this command.

    Why it matters: hardly; a client acts on the first digit.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: RSET
        S: 252 done

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@nodomain.invalid>
        S: 450 4.1.8 Sender address rejected: Domain not found

    What to do: nothing; a server of one's own should use a listed code.

    Servers: Postfix answers 450 to MAIL and 504 to RCPT, which is routine.

    Reference: RFC 5321 4.2, 4.3.2
    """
    reply = exchange.reply
    if reply is not None and not exchange.inferred and not _is_listed(exchange.verb, reply.code):
        yield Hit(f"{reply.code} is not listed for {exchange.verb}; its first digit counts.", line=reply.line)


@cache
def _is_listed(verb: str, code: int) -> bool:
    """Whether one of the tables of verbs and of reply codes has the two together; what no table can say counts as listed."""
    row = reference.verb("AUTH" if verb == "AUTH-RESPONSE" else verb)
    if row is None or not 200 <= code <= 599 or code in _POLICY:
        return True
    meaning = reference.reply_code(code)
    listed = re.findall(r"[0-9]+", f"{row['success']};{row['intermediate']};{row['errors']}")
    return str(code) in listed or (meaning is not None and verb in re.findall(r"[A-Z]+", meaning["commands"]))


@rule(
    "REP013",
    "required-command-refused",
    severity="warning",
    party="server",
    scope="exchange",
    reference="RFC 5321 4.5.1, 4.3.2, 3.5.3",
    advice="Implement the minimum set of commands.",
    rows=refused(*_REQUIRED),
)
def required_command_refused(exchange: Exchange) -> Iterator[Hit]:
    """The server does not know a command that every server must know.

    Why it matters: clients rely on this small set. A firewall may stand between that lets only some commands pass.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: RSET
        S: 502 5.5.1 Command not implemented

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: HELO client.example.org
        S: 500 What?

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: RSET
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: QUIT now
        S: 500 5.5.2 Syntax error

    What to do: implement the minimum set of RFC 5321 section 4.5.1, or find the firewall that stands between.

    Servers: VRFY is off at many, and old servers do not know EHLO: both are told as info.

    Reference: RFC 5321 4.5.1, 4.3.2, 3.5.3
    """
    reply, verb = exchange.reply, exchange.verb
    if reply is None or verb not in _REQUIRED or reply.code not in (500, 502) or exchange.odd or exchange.inferred:
        return
    if exchange.state in ("connected", "closing", "auth", "data") or _of_lmtp(exchange):
        return
    if verb in ("MAIL", "RCPT", "DATA") and reply.code == 502 and exchange.state == "greeted":
        return
    if re.search(r"(?i)too long|line length|utf-?8|synta|null|character", " ".join(reply.text)):
        return  # it knows the verb and speaks of how the line is written
    mild = verb in ("VRFY", "EHLO")
    yield Hit(f"{verb} was answered {reply.code}: every server must know it.", severity="info" if mild else None)


def _of_lmtp(exchange: Exchange) -> bool:
    """An LMTP server must refuse HELO and EHLO (RFC 2033 section 4.1)."""
    asks = exchange.reply is not None and "LHLO" in " ".join(exchange.reply.text).upper()
    return exchange.verb in ("HELO", "EHLO") and ("lmtp" in exchange.profiles or asks)


@rule(
    "REP014",
    "enhanced-class-mismatch",
    severity="error",
    party="server",
    scope="exchange",
    reference="RFC 2034 4; RFC 3463 2",
    advice="Mend the server's texts; clients should trust the basic code.",
    rows=_contradicting,
)
def enhanced_class_mismatch(exchange: Exchange) -> Iterator[Hit]:
    """The enhanced status code is of another class than the reply code.

    Why it matters: one says try again, the other says give up; clients differ in which one they believe.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 ENHANCEDSTATUSCODES
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 550 4.7.1 Try later

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 ENHANCEDSTATUSCODES
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 450 4.7.1 Try later

    What to do: mend the texts of the server; a client goes by the reply code.

    Servers: Exchange says 454 5.7.3, some appliances 550 4.x.

    Reference: RFC 2034 4; RFC 3463 2
    """
    reply = exchange.reply
    if reply is None or reply.enhanced is None or reply.severity not in (2, 4, 5):
        return
    if reply.enhanced[0] != str(reply.severity):
        at = next((i for i, text in enumerate(reply.text) if speech.status_of(text) == reply.enhanced), 0)
        line = min(reply.line + at, reply.end_line)
        message = f"{reply.code} is of class {reply.severity}, but its enhanced status code {reply.enhanced} of class"
        yield Hit(f"{message} {reply.enhanced[0]}.", line=line)


@rule(
    "REP015",
    "enhanced-code-missing",
    severity="info",
    party="server",
    scope="exchange",
    reference="RFC 2034 4",
    advice="Add enhanced status codes to all replies.",
    rows=_without_status,
)
def enhanced_code_missing(exchange: Exchange) -> Iterator[Hit]:
    """The server offered ENHANCEDSTATUSCODES, and a reply has none, or not on each of its lines.

    Why it matters: a client that looks for the code finds nothing. It is told once a session.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 ENHANCEDSTATUSCODES
        C: MAIL FROM:<a@example.org>
        S: 250 Ok

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 ENHANCEDSTATUSCODES
        C: QUIT
        S: 221-2.0.0 Good-bye
        S: 221 and thank you

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 ENHANCEDSTATUSCODES
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok
        C: RCPT TO:<b@example.net>
        S: 550-5.1.1 No such user
        S: 550 5.1.1 here

    What to do: add the codes; as a client, go by the reply code.

    Servers: Exim and filters in front of servers leave them out at times; Gmail repeats the code on each line.

    Reference: RFC 2034 4
    """
    reply = exchange.reply
    offered = "ENHANCEDSTATUSCODES" in (exchange.extensions or {})
    if reply is None or not offered or exchange.verb in _HELLO or reply.severity not in (2, 4, 5):
        return
    for i, text in enumerate(reply.text):
        if speech.status_of(text) is None:
            where = (
                "has no enhanced status code" if not reply.enhanced else "does not repeat its status code on each line"
            )
            yield Hit(f"The reply {reply.code} {where}.", line=min(reply.line + i, reply.end_line), once=True)
            return


@rule(
    "REP016",
    "enhanced-code-misplaced",
    severity="info",
    party="server",
    scope="dialog",
    reference="RFC 2034 4; RFC 3463 2",
    advice="Remove it.",
    extra=True,
    sessions=_misplaced_status,
)
def enhanced_code_misplaced(dialog: Dialog) -> Iterator[Hit]:
    """An enhanced status code stands where none belongs, or is malformed.

    Why it matters: hardly; a client that shows it to people confuses them.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 3.0.0 Go ahead

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: RSET
        S: 250 2.00.0 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 2.0.0 Ready to start TLS

    What to do: take the code out of the greeting, the answer to EHLO and 3yz replies; write it without leading zeros.

    Servers: Momentum greets with 220 2.0.0, which does no harm.

    Reference: RFC 2034 4; RFC 3463 2
    """
    if dialog.greeting is not None:
        yield from _misplaced(dialog.greeting, "the greeting", allowed=dialog.greeting.severity in (4, 5))
    for exchange in dialog.exchanges:
        if exchange.reply is not None and not exchange.inferred:
            place = "a reply to a hello" if exchange.verb in _HELLO else f"a {exchange.reply.code} reply"
            hello_done = exchange.verb in _HELLO and exchange.severity == 2
            yield from _misplaced(exchange.reply, place, allowed=exchange.severity in (2, 4, 5) and not hello_done)


def _misplaced(reply: Reply, place: str, *, allowed: bool) -> Iterator[Hit]:
    for i, text in enumerate(reply.text):
        match = _LIKE_STATUS.match(text)
        if match is None or reply.raw[i] == text:  # a line without a code has no place for one
            continue
        parts = match[1].split(".")
        if not allowed:
            message = f"{match[1]} stands in {place}, where no enhanced status code belongs."
        elif parts[0] not in ("2", "4", "5") or any(
            len(part) > 3 or (len(part) > 1 and part[0] == "0") for part in parts
        ):
            message = f"{match[1]} is no well-formed enhanced status code."
        else:
            continue
        yield Hit(message, line=min(reply.line + i, reply.end_line))
        return


@rule(
    "REP019",
    "too-many-recipients-552",
    severity="info",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.5.3.1.10",
    advice="Use 452; a client takes 552 for temporary here.",
    extra=True,
    sessions=sessions_of(Cell(frozenset({"RCPT"}), 552)),
)
def too_many_recipients_552(dialog: Dialog) -> Iterator[Hit]:
    """552 says that there are too many recipients; 452 is the code for it.

    Why it matters: a client that believes the 5 gives the recipients up, although a second message would reach them.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 552 5.5.3 Too many recipients

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 452 4.5.3 Too many recipients

    What to do: answer 452; as a client, send the rest in another message.

    Servers: Exim says 452 or 552 by its option recipients_max_reject.

    Reference: RFC 5321 4.5.3.1.10
    """
    accepted = 0
    for i, exchange in enumerate(dialog.exchanges):
        reply = exchange.reply
        accepted = 0 if exchange.verb == "MAIL" else accepted + (exchange.verb == "RCPT" and exchange.severity == 2)
        if exchange.verb == "RCPT" and reply is not None and reply.code == 552:
            words = " ".join(reply.text).lower()
            if accepted >= 100 or ("too many" in words and "recipient" in words) or reply.enhanced == "5.5.3":
                yield Hit("552 was answered because of the number of recipients; 452 is the code for it.", exchange=i)


@rule(
    "REP020",
    "post-dot-mailbox-error",
    severity="info",
    party="server",
    scope="dialog",
    reference="RFC 5321 3.3",
    advice="Verify recipients at RCPT time.",
    extra=True,
    sessions=sessions_of(_late_refusal),
)
def post_dot_mailbox_error(dialog: Dialog) -> Iterator[Hit]:
    """An unknown recipient is refused only after the message, of which there are several.

    Why it matters: the client cannot tell which of them is meant, and the message is lost for all.

    Flagged::

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
        C: Subject: x
        C:
        C: .
        S: 550 5.1.1 User unknown

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
        S: 550 5.7.1 Spam

    What to do: look recipients up when RCPT comes.

    Servers: filters in front of Exchange do this.

    Reference: RFC 5321 3.3
    """
    for i, exchange in enumerate(dialog.exchanges):
        reply = exchange.reply
        if verb_of(exchange) not in (".", "BDAT LAST") or reply is None or reply.code not in (550, 553):
            continue
        if exchange.recipient is not None or exchange.transaction is None:
            continue
        accepted = sum(each.accepted for each in dialog.transactions[exchange.transaction].recipients)
        words = " ".join(reply.text)
        unknown = (reply.enhanced or "").startswith("5.1.") or re.search(_UNKNOWN, words)
        if accepted > 1 and unknown:
            yield Hit(f"One of {accepted} recipients is unknown, but the reply cannot say which.", exchange=i)
