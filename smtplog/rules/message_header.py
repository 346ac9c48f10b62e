"""The header of a message, and the empty line that ends it (RFC 5322 sections 2.1, 2.2 and 3.6)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from smtplog import events
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Content, Exchange
from smtplog.suspects import text_lines, texts, texts_with

_MANY_HOPS, _LOOP = 25, 100
_ONCE = ("date", "from", "subject", "message-id")


def _unlike_a_header(batch: Batch) -> np.ndarray:
    """The sessions with a message that does not begin with header fields and an empty line."""
    at, lines = text_lines(batch)
    session = batch.sessions.session[at]
    n = len(batch.sessions.first)
    if not len(at):
        return np.zeros(n, np.bool_)
    begins = np.ones(len(at), np.bool_)
    begins[1:] = at[1:] != at[:-1] + 1
    empty = events.lengths(lines) == 0
    before = np.cumsum(empty) - empty
    first = np.flatnonzero(begins)
    message = np.cumsum(begins) - 1
    of_header = np.flatnonzero(before == before[first][message])  # no empty line of its message before it
    field = events.found(events.take(lines, of_header), r"^(?:[!-9;-~]+[ \t]*:|[ \t]+[^ \t])")
    folded = begins[of_header] & events.found(events.take(lines, of_header), r"^[ \t]")
    odd = of_header[(~field & ~empty[of_header]) | folded]
    endless = first[np.add.reduceat(empty.astype(np.int64), first) == 0]
    return np.bincount(session[np.concatenate([odd, endless])], minlength=n) > 0


def is_header(line: str) -> bool:
    """Whether a line of a message begins a header field (RFC 5322 section 3.6.8)."""
    name, colon, _ = line.partition(":")
    name = name.rstrip()
    return bool(colon and name) and all(33 <= ord(c) <= 126 for c in name)


def header(content: Content) -> Iterator[str]:
    """The names of the header fields of a message, in lower case, up to the first line that is no part of the header."""
    for i, line in enumerate(content.lines):
        if is_header(line):
            yield line.partition(":")[0].rstrip().lower()
        elif not (i and line[:1] in (" ", "\t") and line.strip()):
            return


@rule(
    "TEL005",
    "missing-header-body-separator",
    severity="warning",
    party="client",
    scope="message",
    reference="RFC 5322 2.1",
    advice="Leave one empty line between the header and the text.",
    sessions=_unlike_a_header,
)
def missing_header_body_separator(exchange: Exchange) -> Iterator[Hit]:
    """No empty line stands between the header and the text of a message.

    Why it matters: without it the first line of the text is taken for a header and lost to the reader.

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
        C: Subject: test
        C: This is a test message
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
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: Subject: test
        C:
        C: This is a test message
        C: .
        S: 250 Ok queued

    What to do: press Enter twice after the last header line.

    Servers: all accept the message; some put the line into the header.

    Reference: RFC 5322 2.1
    """
    content = exchange.content
    if content is None or not content.lines or exchange.verb != ".":
        return
    if not content.lines[0].strip():
        return
    if not is_header(content.lines[0]):
        yield Hit("The message has text but no header.", line=content.line, severity="info")
        return
    for i, line in enumerate(content.lines):
        if not line.strip():
            return
        if not (is_header(line) or (i and line[:1] in (" ", "\t"))):
            yield Hit("Text follows the header without an empty line between them.", line=content.numbers[i])
            return
    yield Hit("The message is a header only, without the empty line that ends it.", line=content.numbers[-1])


@rule(
    "DAT008",
    "missing-required-header",
    severity="info",
    party="client",
    scope="message",
    reference="RFC 5322 3.6; RFC 5321 3.3",
    advice="Write From: and Date: lines too, each once.",
    extra=True,
    sessions=texts,
)
def missing_required_header(exchange: Exchange) -> Iterator[Hit]:
    """The header lacks From or Date, or has a field twice that may stand once only.

    Why it matters: a message needs both. Relays may refuse it without, and spam filters count it against the sender.

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
        C: hi
        C: .
        S: 250 Ok

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
        C: From: a@example.org
        C: Date: Mon, 1 Jan 2024 00:00:00 +0000
        C: Subject: x
        C: Subject: y
        C:
        C: hi
        C: .
        S: 250 Ok

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
        C: From: a@example.org
        C: Date: Mon, 1 Jan 2024 00:00:00 +0000
        C:
        C: hi
        C: .
        S: 250 Ok

    What to do: write both lines. A submission server (port 587 or 465) may add what is missing, so nothing is said there.

    Servers: Postfix and Exim accept; Gmail refuses with 550 5.7.1 what has no valid From.

    Reference: RFC 5322 3.6; RFC 5321 3.3
    """
    content = exchange.content
    if content is None or exchange.verb != "." or "submission" in exchange.profiles:
        return
    count = Counter(header(content))
    missing = [name.title() for name in ("from", "date") if not count[name]]
    double = [name.title() for name in _ONCE if count[name] > 1]
    faults = [f"lacks {' and '.join(missing)}"] if missing else []
    faults += [f"has {' and '.join(double)} more than once"] if double else []
    if faults:
        yield Hit(f"The header {' and '.join(faults)}.", line=content.line)


@rule(
    "DAT010",
    "many-received-headers",
    severity="info",
    party="operator",
    scope="message",
    reference="RFC 5321 6.3",
    advice="Look for a forwarding loop: the Received lines name the servers that pass the message round.",
    extra=True,
    sessions=texts_with(r"^(?i:Received)[ \t]*:", _MANY_HOPS),
)
def many_received_headers(exchange: Exchange) -> Iterator[Hit]:
    """The message has passed very many servers: 25 Received fields or more; 100 mean a loop.

    Why it matters: servers count these fields to stop loops, and refuse a message that has too many.

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
        C: {Received: from x by y*100}
        C:
        C: .
        S: 554 5.4.6 Too many hops

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
        C: {Received: from x by y*24}
        C: From: a@example.org
        C:
        C: .
        S: 250 Ok

    What to do: find two servers that forward to each other and break the circle.

    Servers: Postfix stops at 50 (hopcount_limit), Exim at 30 (received_headers_max), sendmail at 25, Exchange at 60.

    Reference: RFC 5321 6.3
    """
    content = exchange.content
    hops = sum(name == "received" for name in header(content)) if content is not None else 0
    if content is not None and hops >= _MANY_HOPS:
        loop = hops >= _LOOP
        message = f"The message has {hops} Received fields{': it runs in a loop' if loop else ''}."
        yield Hit(message, line=content.line, severity="warning" if loop else "info")
