"""The traps of typing SMTP by hand: backspaces, cursor keys, slips, headers typed too early."""

from __future__ import annotations

from collections.abc import Iterator

from smtplog import reference
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange
from smtplog.suspects import disorder, unfinished

_HEADERS = ("subject", "from", "to", "date", "cc", "bcc", "message-id", "content-type", "reply-to", "mime-version")
_QUITS = ("exit", "bye", "close", "logout", "end", "q", "quit()", ".")
_JOINED = {
    "HELLO": "HELO",
    "EHELO": "EHLO",
    "ELHO": "EHLO",
    "MAILFROM": "MAIL FROM",
    "MAILFROM:": "MAIL FROM:",
    "RCPTTO": "RCPT TO",
    "RCPTTO:": "RCPT TO:",
    "RCTP": "RCPT",
    "DATE": "DATA",
    "QUITE": "QUIT",
}
_ERASE = "\x08\x7f"


def _typed(exchange: Exchange) -> str | None:
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
        command = _typed(exchange)
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
    command = _typed(exchange)
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
    command = _typed(exchange)
    if command is None:
        return
    at = command.find("\u00ff")
    if at >= 0 and command[at + 1 : at + 2] in ("\u00fa", "\u00fb", "\u00fc", "\u00fd", "\u00fe"):
        yield Hit("Telnet option bytes (IAC) were sent inside a command.", column=at + 1)


@rule(
    "TEL004",
    "empty-command-line",
    severity="info",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.1",
    advice="Do not press Enter twice.",
    sessions=disorder,
)
def empty_command_line(exchange: Exchange) -> Iterator[Hit]:
    """An empty line was sent where a command was due.

    Why it matters: most servers answer it with 500, and whoever counts replies by eye is one off from there on.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C:
        S: 500 5.5.2 Error: bad syntax

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: NOOP
        S: 250 Ok

    What to do: press Enter once.

    Servers: Postfix answers 500 5.5.2, Exchange 500 5.3.3, sendmail 500 5.5.1.

    Reference: RFC 5321 4.1.1
    """
    command = _typed(exchange)
    if command is not None and not command.strip("\0") and exchange.verb == "":
        refused = exchange.severity == 5
        yield Hit(
            "An empty line was sent as a command" + (" and answered as one." if refused else "."),
            severity="warning" if refused else "info",
        )


@rule(
    "TEL006",
    "header-typed-as-command",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1",
    advice="Send DATA first, wait for 354, then type the header.",
    sessions=disorder,
)
def header_typed_as_command(exchange: Exchange) -> Iterator[Hit]:
    """A header line was typed where a command was due.

    Why it matters: before DATA and its 354 the server reads commands; Subject: is none.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: Subject: test
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
        C: Subject: test
        C:
        C: Hello
        C: .
        S: 250 Ok queued

    What to do: type DATA, wait for 354, then the header, an empty line and the text.

    Servers: Postfix answers 221 2.7.0 and hangs up; Exchange, Exim, Gmail and sendmail answer 500 or 502.

    Reference: RFC 5321 4.1
    """
    command = _typed(exchange)
    if command is None:
        return
    name, colon, _ = command.strip().partition(":")
    if colon and name.lower() in _HEADERS:
        yield Hit(f"The header line {name}: was typed as a command; no message text was asked for yet.", column=1)


def verb_meant(word: str) -> str | None:
    """The verb that a mistyped one is nearest to: one slip away, or two in a longer word."""
    word = word.upper()
    if word in _JOINED:
        return _JOINED[word]
    known = [verb for verb in reference.verbs() if not verb.startswith("X")]
    if word in known or len(word) < 3 or not word.isascii():
        return None
    near = [(slips, verb) for verb in known if (slips := _slips(word, verb)) <= (1 if len(word) <= 4 else 2)]
    return min(near)[1] if near else None


def _slips(one: str, other: str) -> int:
    """Edit distance with swaps of neighbours."""
    if abs(len(one) - len(other)) > 2:
        return 9
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


@rule(
    "TEL007",
    "verb-typo",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.1",
    advice="Correct the spelling.",
    sessions=disorder,
)
def verb_typo(exchange: Exchange) -> Iterator[Hit]:
    """The verb is a known one with a slip in it.

    Why it matters: the server does not guess.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: RCTP TO:<b@example.net>
        S: 500 5.5.2 Error: command not recognized

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: FROB x
        S: 500 5.5.2 Error: command not recognized

    What to do: type the verb as RFC 5321 spells it.

    Servers: all answer 500 or 502.

    Reference: RFC 5321 4.1.1
    """
    command = _typed(exchange)
    if not command or not exchange.reply or exchange.reply.code not in (500, 501, 502):
        return
    if exchange.reply.code == 501 and exchange.verb not in _JOINED:
        return
    word = command.strip().split(" ")[0].partition(":")[0] or command
    meant = verb_meant(word)
    if meant:
        yield Hit(
            f"{word} is no command; {meant} was probably meant.",
            column=1,
            corrected=meant + command.strip()[len(word) :],
        )


@rule(
    "TEL008",
    "wrong-quit-word",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.1.10",
    advice="Type QUIT.",
    sessions=disorder,
)
def wrong_quit_word(exchange: Exchange) -> Iterator[Hit]:
    """The word of another program was typed to leave.

    Why it matters: SMTP knows QUIT only; the session stays open.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: exit
        S: 500 5.5.2 Error: command not recognized

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: quit
        S: 221 Bye

    What to do: type QUIT and wait for 221.

    Servers: all answer 500 or 502.

    Reference: RFC 5321 4.1.1.10
    """
    command = _typed(exchange)
    if command and command.strip().lower() in _QUITS:
        yield Hit(f"{command.strip()} does not end an SMTP session; QUIT does.", column=1, corrected="QUIT")


@rule(
    "TEL005",
    "missing-header-body-separator",
    severity="warning",
    party="client",
    scope="message",
    reference="RFC 5322 2.1",
    advice="Leave one empty line between the header and the text.",
    sessions=disorder,
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


def is_header(line: str) -> bool:
    """Whether a line of a message begins a header field (RFC 5322 section 3.6.8)."""
    name, colon, _ = line.partition(":")
    name = name.rstrip()
    return bool(colon and name) and all(33 <= ord(c) <= 126 for c in name)


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
