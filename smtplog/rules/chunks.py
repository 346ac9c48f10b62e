"""How the message itself is sent: DATA or BDAT, and only when asked for (RFC 5321 section 3.3, RFC 3030 section 2)."""

from __future__ import annotations

from collections.abc import Iterator

from smtplog.findings import Hit, rule
from smtplog.model import Dialog
from smtplog.rules.course import (
    after,
    commands,
    group_start,
    hit,
    knows_transaction,
    legal_here,
    offers,
    rejected_texts,
    verb_of,
)
from smtplog.suspects import disorder

_CHUNKS = ("BDAT", "BDAT LAST", "BURL")

#: verb → states in which it mixes the two ways of sending a message (RFC 3030 section 2).
_MIXES = {
    "DATA": ("bdat", "failed"),
    "MAIL": ("bdat",),
    "RCPT": ("bdat", "failed"),
    **dict.fromkeys(_CHUNKS, ("data",)),
}


@rule(
    "SEQ016",
    "text-after-rejected-data",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 5321 3.3",
    advice="Send text only after 354.",
    sessions=disorder,
)
def text_after_rejected_data(dialog: Dialog) -> Iterator[Hit]:
    """DATA was refused, and the client sent the message text all the same.

    Why it matters: without 354 the server takes each line of the text for a command. Most are refused one by one; one
    that looks like a command is obeyed.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: DATA
        S: 503 5.5.1 Error: need RCPT command
        C: Subject: test
        S: 500 5.5.2 Error: command not recognized
        C: .
        S: 500 5.5.2 Error: command not recognized

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: DATA
        S: 503 5.5.1 Error: need RCPT command
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

    What to do: send text only after 354.

    Servers: typical of scripts that do not read replies; sendmail answers each line 500 5.5.1.

    Reference: RFC 5321 3.3
    """
    if dialog.replies_only:
        return
    for first, last in rejected_texts(dialog):
        refused = dialog.exchanges[first - 1].reply
        code = refused.code if refused else 0
        lines = "a line" if first == last else f"{last - first + 1} lines"
        message = f"DATA was answered {code}, not 354, and {lines} of message text followed. "
        exchange, end = dialog.exchanges[first], dialog.exchanges[last]
        yield hit(first, exchange, message + legal_here(exchange, dialog), end_line=end.line)


@rule(
    "SEQ017",
    "data-bdat-mixed",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 3030 2",
    advice="Use one method per transaction.",
    sessions=disorder,
)
def data_bdat_mixed(dialog: Dialog) -> Iterator[Hit]:
    """DATA and BDAT were mixed in one transaction, or MAIL or RCPT came after a chunk.

    Why it matters: the envelope is closed with the first chunk, and a message comes either as text after DATA or in
    chunks; a server that let both through could put two messages together.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 CHUNKING
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: BDAT 0
        S: 250 Ok
        C: DATA
        S: 503 5.5.1 Error: DATA after BDAT

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 CHUNKING
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: BDAT 0
        S: 250 Ok
        C: RSET
        S: 250 Ok
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Go ahead

    What to do: use one method per transaction.

    Servers: Postfix answers 503 and says which two were mixed.

    Reference: RFC 3030 2
    """
    for i, exchange in commands(dialog):
        verb = verb_of(exchange)
        if exchange.state not in _MIXES.get(verb, ()) or not knows_transaction(dialog, i):
            continue
        if exchange.state == "data" and dialog.exchanges[i - 1].verb != "DATA":
            continue
        earlier = "DATA" if exchange.state == "data" else "a chunk"
        message = f"{verb} was sent after {earlier} in the same transaction. {legal_here(exchange, dialog)}"
        yield hit(i, exchange, message)


@rule(
    "SEQ018",
    "bdat-after-last-or-error",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 3030 2",
    advice="Send RSET after a failed chunk.",
    sessions=disorder,
)
def bdat_after_last_or_error(dialog: Dialog) -> Iterator[Hit]:
    """BDAT came after BDAT LAST, or after a chunk that was refused.

    Why it matters: BDAT LAST ends the message, and a chunk that was refused leaves the transaction undefined until
    RSET, EHLO or a new MAIL. Chunks that were on their way already when one was refused are no fault where PIPELINING
    is offered.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 CHUNKING
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: BDAT 0 LAST
        S: 250 Ok
        C: BDAT 0 LAST
        S: 503 5.5.1 Bad sequence

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 CHUNKING
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: BDAT 0
        S: 452 4.3.1 Insufficient system storage
        C: BDAT 0 LAST
        S: 503 5.5.1 Bad sequence

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 CHUNKING
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: BDAT 0
        S: 250 Ok
        C: BDAT 0 LAST
        S: 250 Ok

    What to do: send RSET after a failed chunk.

    Servers: Google sends MAIL, RCPT and BDAT LAST in one packet, which is legal.

    Reference: RFC 3030 2
    """
    done = set()
    for i, exchange in commands(dialog):
        if exchange.verb == "BDAT" and knows_transaction(dialog, i):
            cause = _chunk_before(dialog, i)
            if cause is not None and cause not in done:
                done.add(cause)
                last = verb_of(dialog.exchanges[cause]) == "BDAT LAST"
                what = "BDAT LAST, which ends the message" if last else "a chunk that was refused"
                yield hit(i, exchange, f"BDAT was sent after {what}. {legal_here(exchange, dialog)}")


def _chunk_before(dialog: Dialog, index: int) -> int | None:
    """The chunk after which no chunk may come: the last, or one that was refused before the client sent this one."""
    start, pipelining = group_start(dialog, index), offers(dialog, index, "PIPELINING")
    for i in range(index - 1, -1, -1):
        chunk = dialog.exchanges[i]
        verb = verb_of(chunk)
        if verb == "BDAT LAST" and chunk.line != dialog.exchanges[index].line:
            return i
        if verb == "BDAT" and chunk.severity in (4, 5) and not (pipelining and i >= start):
            return i
        if verb not in _CHUNKS and after(chunk).transaction in ("none", "mail"):
            return None
    return None
