"""Announced limits: size of the message, number of recipients (RFC 1870, RFC 9422)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from smtplog import events
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Content, Dialog, Exchange, Transaction
from smtplog.rules.course import commands, hit, verb_of
from smtplog.rules.extensions import parameters
from smtplog.suspects import sessions_of, text_lines, texts, verbs

_LIMIT = re.compile(r"(RCPTMAX|MAILMAX|RCPTDOMAINMAX)=([0-9]{1,9})", re.IGNORECASE)


def _limit(exchange: Exchange) -> int:
    """The advertised limit in octets; 0 where there is none (RFC 1870 section 4)."""
    words = (exchange.extensions or {}).get("SIZE", "").split()
    return int(words[0]) if words and words[0].isdigit() and len(words[0]) < 19 else 0


def _size(text: str | None) -> int:
    return int(text) if text and text.isdigit() and len(text) < 19 else 0


def _too_big(batch: Batch) -> np.ndarray:
    """The sessions that declare more than the server takes, or whose message text is longer."""
    marked = np.zeros(len(batch.sessions.first), np.bool_)
    limits = np.array([_size((each.get("SIZE", "") + " ").split(" ")[0]) for each in batch.offers.keywords], np.int64)
    if not (limits > 0).any():
        return marked
    rows, words = parameters(batch)
    least = len(str(limits[limits > 0].min()))  # figures: only a number of as many can be over
    at = np.flatnonzero(events.found(words, rf"(?i) SIZE=[0-9]{{{least},18}}(?: |$)"))
    matched, groups = events.extracted(events.take(words, at), r"(?i) SIZE=(?P<size>[0-9]{1,18})(?: |$)")
    rows = rows[at[matched]]
    limit = np.append(limits, 0)[batch.offers.kind[rows]]
    over = (limit > 0) & (events.whole_numbers(groups["size"]) > limit)
    marked[batch.exchanges.session[rows[over]]] = True
    said, lines = text_lines(batch)
    session = batch.sessions.session[said]
    size = np.bincount(session, events.lengths(lines) + 2, len(marked))
    least_of = np.full(len(marked), np.inf)
    limit = np.append(limits, 0)[batch.offers.kind]
    np.minimum.at(least_of, batch.exchanges.session[limit > 0], limit[limit > 0])
    return marked | (size > least_of)


def _limited(batch: Batch) -> np.ndarray:
    """The exchanges under announced limits."""
    return batch.offers.has("LIMITS")


def _messages(dialog: Dialog) -> Iterator[tuple[int, Exchange, Transaction, Content]]:
    """The end of each message whose whole text the log holds."""
    for i, exchange in enumerate(dialog.exchanges):
        if verb_of(exchange) in (".", "BDAT LAST") and exchange.transaction is not None and not exchange.inferred:
            transaction = dialog.transactions[exchange.transaction]
            if transaction.content is not None and exchange.content is not None and exchange.recipient is None:
                yield i, exchange, transaction, transaction.content


@rule(
    "EXT006",
    "size-over-limit",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 1870 4, 6.1",
    advice="Shrink or split the message.",
    sessions=_too_big,
)
def size_over_limit(dialog: Dialog) -> Iterator[Hit]:
    """The message is, or is declared, larger than the server takes.

    Why it matters: the server refuses it, at MAIL or after all of it was sent; another attempt ends in the same way.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE 1000
        C: MAIL FROM:<a@example.org> SIZE=5000
        S: 552 5.3.4 Message size exceeds fixed limit

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE 20
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Go ahead
        C: Subject: a message of more than 20 octets
        C:
        C: hello
        C: .
        S: 552 5.3.4 Message size exceeds fixed limit

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE 0
        C: MAIL FROM:<a@example.org> SIZE=99999999
        S: 250 Ok

    What to do: make the message smaller, split it, or send a link; the operator may raise the limit.

    Servers: Gmail announces 157286400, Exchange Online 157286400 and less, Exchange 37748736, Postfix 10240000.

    Reference: RFC 1870 4, 6.1
    """
    declared = set()
    for i, exchange in commands(dialog):
        limit = _limit(exchange)
        match = re.search(r" SIZE=([0-9]{1,18})(?: |$)", exchange.command or "", re.IGNORECASE)
        if exchange.verb == "MAIL" and limit and match and int(match[1]) > limit:
            declared.add(exchange.transaction)
            message = f"SIZE={match[1]} was declared; the server takes {limit} octets at most."
            yield hit(i, exchange, message, column=match.start(1) + 1)
    for i, exchange, _, content in _messages(dialog):
        limit = _limit(exchange)
        if limit and content.octets > limit and exchange.transaction not in declared:
            message = f"The message has {content.octets} octets; the server takes {limit} at most."
            yield Hit(message, line=exchange.line, exchange=i)


@rule(
    "EXT007",
    "size-understated",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 1870 6.3",
    advice="Declare the real size.",
    extra=True,
    sessions=texts,
)
def size_understated(dialog: Dialog) -> Iterator[Hit]:
    """The message is a good deal larger than SIZE= declared.

    Why it matters: the server reserved too little; it may refuse a message that it has let pass at MAIL.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE 100000
        C: MAIL FROM:<a@example.org> SIZE=10
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Go ahead
        C: {Subject: a line of forty octets, roughly*40}
        C: .
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE 100000
        C: MAIL FROM:<a@example.org> SIZE=10
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Go ahead
        C: Subject: only a little more than declared
        C: .
        S: 250 Ok

    What to do: declare the real size; to declare too much does no harm.

    Servers: most accept it.

    Reference: RFC 1870 6.3
    """
    for i, exchange, transaction, content in _messages(dialog):
        size = _size(transaction.parameters.get("SIZE"))
        if size and content.octets > size * 1.1 and content.octets - size > 1000:
            message = f"SIZE={size} was declared, and {content.octets} octets were sent."
            yield Hit(message, line=exchange.line, exchange=i)


@rule(
    "EXT014",
    "limits-exceeded",
    severity="info",
    party="client",
    scope="dialog",
    reference="RFC 9422 3-4",
    advice="Split the recipients.",
    extra=True,
    sessions=sessions_of(verbs("MAIL", "RCPT"), _limited),
)
def limits_exceeded(dialog: Dialog) -> Iterator[Hit]:
    """There are more recipients, messages or domains than the server announced with LIMITS.

    Why it matters: the server refuses what is over the limit.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 LIMITS RCPTMAX=1
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: RCPT TO:<c@example.net>
        S: 452 4.5.3 Too many recipients

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 LIMITS RCPTMAX=2
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok

    What to do: split the recipients over several messages or sessions.

    Servers: Exim and Postfix keep to LIMITS as clients.

    Reference: RFC 9422 3-4
    """
    seen = {"RCPTMAX": 0, "MAILMAX": 0, "RCPTDOMAINMAX": 0}
    domains: set[str] = set()
    for i, exchange in commands(dialog):
        words = (exchange.extensions or {}).get("LIMITS", "")
        if exchange.verb == "MAIL":
            seen["RCPTMAX"], domains = 0, set()
            seen["MAILMAX"] += exchange.severity == 2
            over = seen["MAILMAX"] + (exchange.severity != 2)
            yield from _over(i, exchange, words, {"MAILMAX": over})
        elif exchange.verb == "RCPT":
            domains.add(exchange.argument.partition(">")[0].rpartition("@")[2].lower())
            seen["RCPTMAX"] += 1
            yield from _over(i, exchange, words, {"RCPTMAX": seen["RCPTMAX"], "RCPTDOMAINMAX": len(domains)})


def _over(index: int, exchange: Exchange, words: str, counts: dict[str, int]) -> Iterator[Hit]:
    """A hit where a count has just passed its announced limit."""
    for name, limit in _LIMIT.findall(words):
        if counts.get(name.upper()) == int(limit) + 1:
            yield hit(
                index, exchange, f"{exchange.verb} number {int(limit) + 1} is over the server's {name.upper()}={limit}."
            )
