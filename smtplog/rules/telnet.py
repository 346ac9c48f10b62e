"""Keys and bytes of a terminal in a session, and message text typed by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from smtplog import events
from smtplog.batches import Batch
from smtplog.events import NOTE, OPENED
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange
from smtplog.suspects import disorder, unfinished

_ERASE = "\x08\x7f"


def typed(exchange: Exchange) -> str | None:
    """The command line if it was typed in command state."""
    if exchange.command is None or exchange.inferred or exchange.verb in ("AUTH-RESPONSE",) or exchange.state == "auth":
        return None
    return None if exchange.verb == "." else exchange.command


def caret(text: str) -> str:
    """A text with its control characters in caret notation."""
    return "".join("^" + chr(ord(c) ^ 64) if ord(c) < 32 or ord(c) == 127 else c for c in text)


def intended(text: str) -> str:
    """A line with its erasures applied."""
    kept: list[str] = []
    for c in text:
        if c in _ERASE:
            del kept[-1:]
        else:
            kept.append(c)
    return "".join(kept)


@rule(
    "TEL001",
    "backspace-in-command",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 854; RFC 5321 4.1.2",
    advice="After a slip press Enter, take the 500, and type the whole command again.",
    sessions=disorder,
)
def backspace_in_command(dialog: Dialog) -> Iterator[Hit]:
    """A backspace or DEL was sent inside a command line.

    Why it matters: SMTP knows no line editing. Windows Telnet sends each key at once, so the server sees the wrong
    letters, the backspace and the right ones, and refuses the line.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C!: MAIL FRMO\\x08\\x08OM:<a@example.org>\\r\\n
        S: 500 5.3.3 Unrecognized command

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok

    What to do: press Enter and type the command anew; nothing is lost.

    Servers: Exchange and Postfix do not edit. A Telnet in line mode edits before it sends, and then no backspace arrives.

    Reference: RFC 854; RFC 5321 4.1.2
    """
    for i, exchange in enumerate(dialog.exchanges):
        command = typed(exchange)
        if command is None or not any(c in _ERASE for c in command):
            continue
        meant = intended(command)
        reply = exchange.reply
        answer = f"; it answered {reply.code} {reply.enhanced or ''}".rstrip() if reply else ""
        because = " because of the erased characters" if reply and reply.severity == 5 else ""
        again = next(
            (e for e in dialog.exchanges[i + 1 :] if e.command and e.verb == meant.split(" ")[0].upper()), None
        )
        mended = (
            f" Typed again on line {again.line}, where it was accepted." if again and again.severity in (2, 3) else ""
        )
        yield Hit(
            f"{caret(command)} was sent with backspaces in it: the server got every key{answer}{because}. Meant was {meant}.{mended}",
            exchange=i,
            column=min(command.index(c) for c in _ERASE if c in command) + 1,
            corrected=meant,
        )


@rule(
    "TEL002",
    "escape-sequence-in-command",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.2",
    advice="Do not use cursor keys; SMTP has no history. Type the line anew.",
    sessions=disorder,
)
def escape_sequence_in_command(exchange: Exchange) -> Iterator[Hit]:
    """A cursor key or another control character was sent inside a command line.

    Why it matters: the server takes it as part of the command and refuses the line.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C!: \\x1b[ARCPT TO:<b@example.net>\\r\\n
        S: 500 5.5.2 Error: bad syntax

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C!: NOOP\\r\\n
        S: 250 Ok

    What to do: type the line without arrow, Home and Delete keys.

    Servers: Postfix 3.9 and later answers 221 2.7.0 and hangs up at a line that does not begin with a letter; Exchange and
    Exim answer 500.

    Reference: RFC 5321 4.1.2
    """
    command = typed(exchange)
    if command is None or "\u00ff" in command:  # the options of TEL003 hold controls too
        return
    at = next((i for i, c in enumerate(command) if ord(c) < 32 and c not in "\t" + _ERASE), None)
    if at is not None:
        what = "An escape sequence (a cursor key?)" if command[at] == "\x1b" else "A control character"
        yield Hit(f"{what} was sent inside a command: {caret(command)}.", column=at + 1)


@rule(
    "TEL003",
    "telnet-option-bytes",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 854; RFC 5321 2.4",
    advice="Use a raw connection: PuTTY type Raw, nc -C, or openssl s_client.",
    sessions=disorder,
)
def telnet_option_bytes(exchange: Exchange) -> Iterator[Hit]:
    """The bytes of a Telnet negotiation were sent as part of a command.

    Why it matters: an SMTP server does not negotiate; the bytes become the beginning of the first command.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C!: \\xff\\xfb\\x1f\\xff\\xfd\\x03EHLO client.example.org\\r\\n
        S: 500 5.5.2 Error: bad syntax

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net

    What to do: use a raw connection instead of the Telnet protocol.

    Servers: Postfix 3.9 and later hangs up with 221 2.7.0; others answer 500.

    Reference: RFC 854; RFC 5321 2.4
    """
    command = typed(exchange)
    if command is None:
        return
    at = command.find("\u00ff")
    if at >= 0 and command[at + 1 : at + 2] in ("\u00fa", "\u00fb", "\u00fc", "\u00fd", "\u00fe"):
        yield Hit("Telnet option bytes (IAC) were sent inside a command.", column=at + 1)


def _with_chatter(batch: Batch) -> np.ndarray:
    """The sessions with a note of a client, or with commands that have no reply, as the second of each echoed pair."""
    found = batch.sessions.events
    at = np.flatnonzero(np.isin(found.kind, (NOTE, OPENED)))
    told = at[events.lengths(events.take(found.text, at)) > 0]
    pairs = batch.exchanges
    mute = np.flatnonzero((pairs.code == 0) & (pairs.event > 0))
    texts = (events.listed(events.take(found.text, pairs.event[mute] - back)) for back in (0, 1))
    twice = np.array([line == before for line, before in zip(*texts, strict=True)], np.bool_)
    noisy = np.concatenate([batch.sessions.session[told], pairs.session[mute[twice]]])
    return np.bincount(noisy, minlength=len(batch.sessions.first)) > 0


@rule(
    "TEL010",
    "client-noise",
    severity="info",
    party="unknown",
    scope="dialog",
    reference="-",
    advice="Nothing to do; leave these lines out where you show the log to others.",
    extra=True,
    sessions=_with_chatter,
)
def client_noise(dialog: Dialog) -> Iterator[Hit]:
    """The log holds what a Telnet client itself said, or each line of the client twice.

    Why it matters: these lines were never sent. smtplog leaves them out; other readers may take them for SMTP.

    Flagged::

        *: text Trying 192.0.2.1...
        *: text Connected to mx.example.net.
        *: text Escape character is '^]'.
        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net

    What to do: nothing; for clarity leave these lines out. Where every line stands twice, switch the local echo off.

    Servers: no difference.

    Reference: -
    """
    note = next((event for event in dialog.events if event.kind == "note"), None)
    if note is not None:
        yield Hit(f"A client's own words stand in the log: {caret(note.text)[:80]}", line=note.line)
        return
    said = [exchange for exchange in dialog.exchanges if exchange.command and not exchange.inferred]
    pairs = list(zip(said[::2], said[1::2], strict=False))
    doubled = len(pairs) > 1 and len(said) % 2 == 0 and all(one.command == other.command for one, other in pairs)
    if doubled and sum(exchange.reply is not None for exchange in said) <= len(pairs) + 1:
        yield Hit("Every line of the client stands twice: its own echo and that of the terminal.", line=said[0].line)


@rule(
    "TEL009",
    "unterminated-data",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.1.1.4",
    advice="End the message with a single dot on a line of its own.",
    sessions=unfinished,
    tokens=True,
)
def unterminated_data(dialog: Dialog) -> Iterator[Hit]:
    """The session ended inside the message text: no line with a single dot was sent.

    Why it matters: nothing was delivered; the server waits for the dot until it gives up.

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
        C:
        C: Hello
        C: QUIT
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
        C: Subject: test

    What to do: type a dot alone on a line, then wait for the 250.

    Servers: Postfix logs a time-out or a lost connection after DATA.

    Reference: RFC 5321 4.1.1.4
    """
    waiting = [i for i, exchange in enumerate(dialog.exchanges) if exchange.verb == "DATA" and exchange.severity == 3]
    if not waiting or dialog.end in ("quit", "truncated"):
        return
    last = waiting[-1]
    if any(exchange.verb == "." for exchange in dialog.exchanges[last:]):
        return
    text = dialog.exchanges[last].content
    if text is None and not (dialog.exchanges[-1].verb == "DATA" or dialog.exchanges[-1].reply):
        return
    slip = next((line for line in (text.lines if text else ()) if _meant_as_end(line)), None)
    hint = (
        f" The line {slip.strip()!r} in the text was perhaps meant as a command; in the text it is text."
        if slip
        else ""
    )
    yield Hit(f"The message was never ended by a line with a single dot; nothing was delivered.{hint}", exchange=last)


def _meant_as_end(line: str) -> bool:
    word = line.strip().upper()
    return word in ("QUIT", "RSET", ".", "..") or word.startswith("MAIL FROM:")
