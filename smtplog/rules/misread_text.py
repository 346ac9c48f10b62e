"""Message text that client and server do not see in the same way: dots that were not doubled (RFC 5321 section 4.5.2), chunks
of another size than announced (RFC 3030 section 2).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from smtplog.batches import Batch
from smtplog.findings import Hit, Severity, rule
from smtplog.model import Content, Dialog, Exchange
from smtplog.rules.course import spilled_texts
from smtplog.rules.message_header import is_header
from smtplog.suspects import commands, texts, texts_with, verbs

_NOT_UNDERSTOOD = (500, 501, 502)


def _dotted(batch: Batch) -> np.ndarray:
    """The sessions with a line of text that begins with one dot, or with a dot where a command is due."""
    marked: np.ndarray = texts_with(r"^\.[^.]")(batch)
    return marked | commands(r"^\.[ \t]*$", "")(batch)


def _not_doubled(exchange: Exchange, content: Content) -> list[int]:
    """The lines that begin with one dot and have other text behind it. No such lines are an end of data with a remark of
    whoever wrote the log, and folded header lines whose tab the log shows as a dot."""
    dotted = [
        i
        for i, line in enumerate(content.lines)
        if line.startswith(".") and not line.startswith("..") and line.strip("\0 \t") != "."
    ]
    if dotted and exchange.verb == "." and exchange.line is None and dotted[-1] == len(content.lines) - 1:
        dotted.pop()
    return [i for i in dotted if not _inside_header(content, i)]


def _inside_header(content: Content, at: int) -> bool:
    """Whether a line stands between two fields of the header."""
    before = any(not line.strip() for line in content.lines[:at]) or at == 0
    after = next((line for line in content.lines[at + 1 :] if not line.startswith(".")), "")
    return not before and is_header(after)


@rule(
    "DAT004",
    "missing-dot-stuffing",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.5.2",
    advice="Double the dot at the beginning of such lines.",
    sessions=_dotted,
)
def missing_dot_stuffing(dialog: Dialog) -> Iterator[Hit]:
    """A line of the message text begins with a dot that was not doubled.

    Why it matters: the server takes one dot away, so the text that arrives is another one. A line with nothing but a dot ends
    the message there, and what follows is read as commands.

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
        C: .hidden file
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
        C: Subject: x
        C:
        C: the first half
        C: .
        S: 250 Ok queued
        C: the second half
        S: 500 5.5.2 Error: command not recognized
        C: .
        S: 500 5.5.2 Error: command not recognized

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
        C: ..hidden file
        C: .
        S: 250 Ok

    What to do: double the dot; mail programs do it by themselves, whoever types must do it by hand.

    Servers: all take one dot away and say nothing.

    Reference: RFC 5321 4.5.2
    """
    for first, last in spilled_texts(dialog):
        end = dialog.exchanges[first - 1]
        if end.verb == "." and end.command is not None and end.command.rstrip() == ".":
            lines = "one line" if first == last else f"{last - first + 1} lines"
            message = f"A line with a single dot ended the message; {lines} of its text after it were read as commands."
            yield Hit(message, line=end.line, exchange=first)
    for i, exchange in enumerate(dialog.exchanges):
        content = exchange.content
        if content is None or exchange.verb not in (".", "DATA"):
            continue
        single = _not_doubled(exchange, content)
        if single:
            doubles = any(line.startswith("..") for line in content.lines)
            severity: Severity = "info" if doubles else "warning"
            count = f"{len(single)} lines of the text begin" if len(single) > 1 else "A line of the text begins"
            message = f"{count} with a dot that was not doubled; the server takes it away."
            yield Hit(message, line=content.numbers[single[0]], exchange=i, severity=severity)


def _chunks_in_doubt(batch: Batch) -> np.ndarray:
    """The sessions with a chunk whose octets the log has, or after which something was not understood."""
    pairs = batch.exchanges
    chunk = verbs("BDAT")(batch)
    after = np.zeros(len(chunk), np.bool_)
    after[:-1] = chunk[:-1] & np.isin(pairs.code[1:], _NOT_UNDERSTOOD) & (pairs.session[1:] == pairs.session[:-1])
    n = len(batch.sessions.first)
    marked = np.bincount(pairs.session[after], minlength=n) > 0
    return marked | (texts(batch) & (np.bincount(pairs.session[chunk], minlength=n) > 0))


@rule(
    "DAT009",
    "bdat-size-mismatch",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 3030 2",
    advice="Count the octets of the chunk, two for each CRLF.",
    sessions=_chunks_in_doubt,
)
def bdat_size_mismatch(dialog: Dialog) -> Iterator[Hit]:
    """A chunk has another size than its BDAT command says.

    Why it matters: the server counts octets. What is too much is read as commands; where some are missing, it takes the next
    commands for text and waits.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 CHUNKING
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: BDAT 15 LAST
        C: Subject: test
        C: one line more
        S: 250 Ok
        S: 500 5.5.2 Error: command not recognized

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 CHUNKING
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: BDAT 13 LAST
        C!: Subject: test\\r\\n
        S: 250 Ok

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 CHUNKING
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: BDAT 1000 LAST
        C: Subject: test
        S: 421 4.4.2 Timeout

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 CHUNKING
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: BDAT 15 LAST
        C!: Subject: test\\r\\n
        S: 250 Ok

    What to do: count every octet of the chunk, CRLF as two, after the text was put into the form in which it is sent.

    Servers: all count; none can guess.

    Reference: RFC 3030 2
    """
    spilled = dict(spilled_texts(dialog))
    for i, exchange in enumerate(dialog.exchanges):
        size = _declared(exchange)
        if size is None or (exchange.severity in (4, 5) and not _gave_up(exchange)):
            continue
        sent = exchange.content.octets_sent if exchange.content else 0
        following = dialog.exchanges[i + 1] if i + 1 < len(dialog.exchanges) else None
        if i + 1 in spilled:
            lines = spilled[i + 1] - i
            what = "one line more was" if lines == 1 else f"{lines} lines more were"
            message = f"BDAT announced {size} octets; {what} sent and read as commands."
            yield Hit(message, exchange=i + 1, line=exchange.line)
        elif sent != size if _counts(exchange, dialog) else sent < size and _waits_in_vain(exchange, dialog):
            yield Hit(f"BDAT announced {size} octets, and {sent} were sent.", exchange=i, line=exchange.line)
        elif following is not None and _is_surplus(following):
            code = following.reply.code if following.reply else 0
            message = (
                f"BDAT announced {size} octets; the server read what came after them as a command and answered {code}."
            )
            yield Hit(message, exchange=i, line=exchange.line)


def _declared(exchange: Exchange) -> int | None:
    words = exchange.argument.split()
    if exchange.verb != "BDAT" or exchange.inferred or not words or not words[0].isdigit() or len(words[0]) > 18:
        return None
    return int(words[0])


def _counts(exchange: Exchange, dialog: Dialog) -> bool:
    """Whether the log holds all octets of a chunk as they were sent."""
    complete = exchange.reply is not None or dialog.end != "truncated"
    return exchange.content is not None and complete and "text-capture" not in dialog.profiles


def _waits_in_vain(exchange: Exchange, dialog: Dialog) -> bool:
    """Whether the session ended where octets were due: then a text capture, too, tells that they are missing."""
    ended = dialog.end.startswith("closed") and exchange is dialog.exchanges[-1] and exchange.reply is None
    return exchange.content is not None and (_gave_up(exchange) or ended)


def _gave_up(exchange: Exchange) -> bool:
    """Whether the server ended the session instead of an answer, as when it waits for octets that never come."""
    return exchange.reply is not None and exchange.reply.code == 421


def _is_surplus(exchange: Exchange) -> bool:
    """A reply that no command asked for and that does not understand one."""
    return exchange.command is None and exchange.reply is not None and exchange.reply.code in _NOT_UNDERSTOOD
