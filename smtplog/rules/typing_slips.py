"""Slips of words in a session typed by hand: no command at all, a header too early, a verb misspelt, an answer in clear."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

import numpy as np

from smtplog import events, reference
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange
from smtplog.rules.course import commands, hit
from smtplog.rules.telnet import typed
from smtplog.suspects import disorder, verbs

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
    command = typed(exchange)
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
    command = typed(exchange)
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
    command = typed(exchange)
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
    command = typed(exchange)
    if command and command.strip().lower() in _QUITS and (command.strip() != "." or exchange.severity == 5):
        yield Hit(f"{command.strip()} does not end an SMTP session; QUIT does.", column=1, corrected="QUIT")


#: Base64 of printable ASCII: each group of four characters is three octets from 32 to 127.
_FIRST, _SECOND, _THIRD = (
    "[I-Za-f]",
    "[C-HS-Xi-ny-z0-3]",
    "(?:[BFJNRVZdhlptx159][A-Za-z0-9+/]|[AEIMQUYcgkosw048][g-z0-9+/])",
)
_PRINTABLE = rf"^(?:{_FIRST}{_SECOND}{_THIRD})*(?:{_FIRST}{_SECOND}[A-Za-z0-9+/]=|{_FIRST}[A-Za-z0-9+/]==)?$"


def _answers_in_clear(batch: Batch) -> np.ndarray:
    """The sessions with an AUTH answer that is not base64 of printable ASCII."""
    pairs = batch.exchanges
    rows = np.flatnonzero(verbs("AUTH-RESPONSE")(batch) & (pairs.event >= 0))
    lines = events.take(batch.sessions.events.text, pairs.event[rows])
    odd = rows[~events.found(lines, _PRINTABLE)]
    return np.bincount(pairs.session[odd], minlength=len(batch.sessions.first)) > 0


@rule(
    "TEL011",
    "auth-login-not-encoded",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 4954 4",
    advice="Type base64: printf %s 'user' | base64.",
    sessions=_answers_in_clear,
)
def auth_login_not_encoded(dialog: Dialog) -> Iterator[Hit]:
    """A user name or password was typed in clear where AUTH LOGIN waits for base64.

    Why it matters: VXNlcm5hbWU6 and UGFzc3dvcmQ6 are base64 for Username: and Password:, and the answers must be base64
    too. The server decodes what was typed to something else, and refuses it.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: user@example.org
        S: 501 5.5.2 Cannot Decode response

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: dXNlckBleGFtcGxlLm9yZw==
        S: 334 UGFzc3dvcmQ6
        C: c2VjcmV0
        S: 235 2.7.0 Authentication successful

    What to do: type printf %s 'user@example.org' | base64 in another window and paste its answer; the same for the password.

    Servers: Exchange answers 535 5.7.3, Gmail 501 5.5.2 or 535 5.7.8, Postfix 535 5.7.8; many ask for the password first.

    Reference: RFC 4954 4
    """
    for i, exchange in commands(dialog):
        asked = _asked(dialog.exchanges[i - 1]) if i and exchange.verb == "AUTH-RESPONSE" else None
        if asked and _is_clear((exchange.command or "").strip()):
            taken = exchange.severity == 2
            outcome = "; this server took it" if taken else ""
            how = "with its base64 damaged" if _is_damaged(exchange.command or "") else "in clear"
            message = f"The {asked} was sent {how}; AUTH LOGIN waits for it in base64{outcome}."
            yield hit(i, exchange, message, column=1, severity="warning" if taken else None, once=True)


def _asked(before: Exchange) -> str | None:
    """What a 334 asks for: a user name or a password, in base64 (AUTH LOGIN)."""
    if before.reply is None or before.reply.code != 334:
        return None
    question = (_decoded(before.reply.text[0].strip()) or b"").lower()
    return "user name" if question.startswith(b"user") else "password" if question.startswith(b"pass") else None


#: What stands in a log for an answer that it does not tell; ``*`` gives up, ``=`` is an empty answer.
_NOT_TOLD = re.compile(r"=|\*+|[xX]{4,}|<.*>|\[.*\]|\(.*\)|(?i:redacted|hidden|masked|removed)")
_READS_AS_WORD = re.compile(r"[A-Za-z]?[a-z]{3,}[0-9]*|[A-Z]{3,}[0-9]*")


def _is_clear(answer: str) -> bool:
    """Whether an answer is no base64, or decodes to no text although it reads as a word."""
    if not answer or _NOT_TOLD.fullmatch(answer):
        return False
    octets = _decoded(answer)
    return octets is None or (_READS_AS_WORD.fullmatch(answer) is not None and not _is_text(octets))


def _is_damaged(answer: str) -> bool:
    """Whether an answer is base64 but for spaces in it or for its padding."""
    packed = answer.replace(" ", "").strip("=")
    octets = _decoded(packed + "=" * (-len(packed) % 4)) if len(packed) > 3 else None
    return octets is not None and _is_text(octets)


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _is_text(octets: bytes) -> bool:
    try:
        return octets.decode("utf-8").strip("\0").isprintable()
    except UnicodeDecodeError:
        return False
