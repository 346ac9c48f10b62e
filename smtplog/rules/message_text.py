"""What the text of a message holds: its lines and its octets (RFC 5321 section 4.5.3.1.6, RFC 6152)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from smtplog import events
from smtplog.batches import Batch
from smtplog.findings import Hit, Severity, rule
from smtplog.model import Dialog, Exchange
from smtplog.rules.telnet import caret
from smtplog.suspects import text_lines, texts_with

_LONGEST = 998  # octets without CRLF
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def _with_long_lines(batch: Batch) -> np.ndarray:
    """The sessions with a line of message text that is longer than any may be."""
    at, lines = text_lines(batch)
    long = at[events.lengths(lines) > _LONGEST]
    return np.bincount(batch.sessions.session[long], minlength=len(batch.sessions.first)) > 0


@rule(
    "DAT001",
    "data-line-too-long",
    severity="warning",
    party="client",
    scope="message",
    reference="RFC 5321 4.5.3.1.6; RFC 5322 2.1.1",
    advice="Wrap the lines, or encode the text as quoted-printable or base64.",
    sessions=_with_long_lines,
)
def data_line_too_long(exchange: Exchange) -> Iterator[Hit]:
    """A line of the message text is longer than 998 octets.

    Why it matters: no server must take more than 1000 octets with CRLF. Some refuse the message, others break the line
    where it hurts: inside a word, a link or a DKIM signature.

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
        C: {x*999}
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
        C: Subject: x
        C:
        C: {x*998}
        C: ..{x*997}
        C: .
        S: 250 Ok

    What to do: wrap the lines, or encode the text; programs that write HTML into one line are the usual cause.

    Servers: Exim refuses since 4.95 (550 maximum allowed line length); Postfix and Exchange accept; sendmail folds.

    Reference: RFC 5321 4.5.3.1.6; RFC 5322 2.1.1
    """
    content = exchange.content
    if content is None or exchange.verb == "BDAT":
        return
    sizes = [size - line.startswith(".") for line, size in zip(content.lines, content.sizes, strict=True)]
    long = [i for i, size in enumerate(sizes) if size > _LONGEST]
    if long:
        more = f"; {len(long)} lines are too long" if len(long) > 1 else ""
        message = f"A line of the message has {sizes[long[0]]} octets; {_LONGEST} are allowed{more}."
        yield Hit(message, line=content.numbers[long[0]])


@rule(
    "DAT006",
    "8bit-without-8bitmime",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 5321 2.4; RFC 6152 3",
    advice="Add BODY=8BITMIME to MAIL where the server offers 8BITMIME; otherwise encode the text.",
    sessions=texts_with(r"[^\x00-\x7f]"),
)
def eight_bit_without_8bitmime(dialog: Dialog) -> Iterator[Hit]:
    """The message text has octets above 127, and MAIL did not announce them.

    Why it matters: without BODY=8BITMIME or SMTPUTF8 the text must be ASCII. A server may strip the eighth bit or refuse;
    most pass everything on as it is.

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
        C: café
        C: .
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 8BITMIME
        C: MAIL FROM:<a@example.org> BODY=8BITMIME
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: Subject: x
        C:
        C: café
        C: .
        S: 250 Ok

    What to do: announce it with BODY=8BITMIME; where the server does not offer that, encode the text as quoted-printable
    or base64.

    Servers: nearly every server of today keeps all eight bits. If 8BITMIME is offered and the message is taken, this is a
    remark only.

    Reference: RFC 5321 2.4; RFC 6152 3
    """
    for number, transaction in enumerate(dialog.transactions):
        announced = (transaction.parameters.get("BODY") or "").upper() in ("8BITMIME", "BINARYMIME")
        if announced or transaction.mail_from is None or "SMTPUTF8" in transaction.parameters:
            continue
        for i, exchange in enumerate(dialog.exchanges):
            content = exchange.content if exchange.transaction == number else None
            at = next((k for k, line in enumerate(content.lines) if _NOT_ASCII.search(line)), None) if content else None
            if content is None or at is None:
                continue
            offered = exchange.extensions is not None and "8BITMIME" in exchange.extensions
            severity: Severity = "info" if offered and exchange.severity in (0, 2) else "warning"
            known = "; the server offers 8BITMIME" if offered else "; the server does not offer 8BITMIME"
            said = known if exchange.extensions is not None else ""
            message = f"The message text has octets above 127, and MAIL has neither BODY=8BITMIME nor SMTPUTF8{said}."
            yield Hit(message, line=content.numbers[at], exchange=i, severity=severity)
            break


@rule(
    "DAT007",
    "control-character-in-data",
    severity="info",
    party="client",
    scope="message",
    reference="RFC 5321 4.1.1.4",
    advice="Do not use backspace or cursor keys while you type the text.",
    extra=True,
    sessions=texts_with(r"[\x00-\x08\x0b-\x1f\x7f]"),
)
def control_character_in_data(exchange: Exchange) -> Iterator[Hit]:
    """The message text holds a control character.

    Why it matters: what was typed by mistake reaches the reader, backspaces and all; a NUL is not allowed in a message, and
    programs cut the text there.

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
        C!: Subject: teh\\x08\\x08he test\\r\\n\\r\\nhello\\r\\n.\\r\\n
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
        C!: Subject: the test\\r\\n\\r\\n\\thello\\r\\n.\\r\\n
        S: 250 Ok

    What to do: prepare the text in a file and paste it.

    Servers: most pass control characters on; Exchange and Gmail refuse some messages with NUL.

    Reference: RFC 5321 4.1.1.4
    """
    content = exchange.content
    if content is None or exchange.verb == "BDAT":
        return
    odd = [i for i, line in enumerate(content.lines) if _CONTROL.search(line)]
    if odd:
        nul = next((i for i in odd if "\0" in content.lines[i]), None)
        at = odd[0] if nul is None else nul
        match = _CONTROL.search(content.lines[at])
        name = "a NUL" if nul is not None else f"the control character {caret(match[0] if match else '')}"
        count = f" ({len(odd)} lines have some)" if len(odd) > 1 else ""
        severity: Severity = "info" if nul is None else "warning"
        yield Hit(f"The message text holds {name}{count}.", line=content.numbers[at], severity=severity)
