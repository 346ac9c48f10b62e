"""Texts of replies: greeting, hello, good-bye, and what may stand in a line (RFC 5321 sections 3.1, 3.2, 4.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from smtplog import events
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange, Reply
from smtplog.rules.course import closed, counts_replies, hit, is_said, refuses, was_told_to_go
from smtplog.suspects import replies, verbs

_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})\.)*[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})\.?|\[[0-9A-Za-z.:-]+\]"
)
#: A host name that is no plain word: with a dot, a digit or a hyphen, or localhost.
_HOST = re.compile(r".*[.0-9-].*|\[.*\]|(?i:localhost)")
_KEYWORD_LINE = re.compile(
    r"(?:SIZE|PIPELINING|8BITMIME|STARTTLS|AUTH|DSN|ENHANCEDSTATUSCODES|CHUNKING|HELP|ETRN|VRFY)\b"
)
_BARE_CODE = r"^(?:[0-9]{2}[0-35-9]|[0-9][0-24-9]4|[0-24-9]34)[ -]?[ \t]*$"  # not 334, which may be empty
_LONGEST = 512  # octets, the line end included (RFC 5321 section 4.5.3.1.5)
_LONGEST_CHALLENGE = 12288  # RFC 4954 section 4


def _each(dialog: Dialog) -> Iterator[tuple[int | None, Reply]]:
    """All replies, the greeting first, with the index of their exchange."""
    if dialog.greeting is not None:
        yield None, dialog.greeting
    for i, exchange in enumerate(dialog.exchanges):
        if exchange.reply is not None:
            yield i, exchange.reply


def _long(batch: Batch) -> np.ndarray:
    at, lines = batch.server_lines
    at = at[(events.lengths(events.values(lines)) > _LONGEST - 2)[events.codes(lines)]]
    return np.bincount(batch.sessions.session[at], minlength=len(batch.sessions.first)) > 0


def _greets_oddly(batch: Batch) -> np.ndarray:
    """The sessions whose greeting does not begin with what looks like a host name."""
    pairs, sessions = batch.exchanges, batch.sessions
    marked = np.zeros(len(sessions.first), np.bool_)
    at = np.flatnonzero(pairs.greeting >= 0)
    lines = events.take(sessions.events.text, pairs.reply_first[pairs.greeting[at]])
    marked[at] = ~events.found(lines, r"^...[ -](?:[A-Za-z0-9_-]+[.0-9-][A-Za-z0-9_.-]*|\[[0-9A-Za-z.:-]+\])(?: |$)")
    return marked


def _without_221(batch: Batch) -> np.ndarray:
    """The sessions in which QUIT was answered by something else than 221, or not at all."""
    pairs = batch.exchanges
    rows = verbs("QUIT")(batch) & ~np.isin(pairs.code, (221, 421))
    return np.bincount(pairs.session[rows], minlength=len(batch.sessions.first)) > 0


@rule(
    "REP008",
    "greeting-without-domain",
    severity="info",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.2, 4.3.1",
    advice="Put the host name first.",
    sessions=_greets_oddly,
)
def greeting_without_domain(dialog: Dialog) -> Iterator[Hit]:
    """The greeting does not begin with the name of the server.

    Why it matters: clients detect by it that they talk to themselves, and people see whom they talk to.

    Flagged::

        S: 220 Welcome to our mail server
        C: EHLO client.example.org
        S: 250 mx.example.net

    Flagged::

        S: 220 ****************************
        C: EHLO client.example.org
        S: 250 mx.example.net

    Fine::

        S: 220 [192.0.2.1] ready
        C: EHLO client.example.org
        S: 250 mx.example.net

    What to do: put the host name first; switch off the inspection of a firewall that masks the banner.

    Servers: Cisco firewalls mask the greeting with asterisks; some appliances say 220 ESMTP.

    Reference: RFC 5321 4.2, 4.3.1
    """
    greeting = dialog.greeting
    if greeting is None or greeting.code != 220:
        return
    text = greeting.text[0].strip()
    first = text.split(" ")[0]
    named = _DOMAIN.fullmatch(first) and (_HOST.fullmatch(first) or _is_one_label(text, first))
    if not named:
        shown = f"{first[:60]!r}" if first else "nothing"
        yield Hit(f"The greeting begins with {shown}, not with the name of the server.", line=greeting.line)


def _is_one_label(text: str, first: str) -> bool:
    """Whether a plain word is the server's short name: ``mail ESMTP Postfix``, ``mail``."""
    second = text[len(first) :].strip().split(" ")[0]
    return first.upper() not in ("ESMTP", "SMTP", "WELCOME", "HELLO") and second.upper() in (
        "ESMTP",
        "SMTP",
        "LMTP",
        "",
    )


@rule(
    "REP010",
    "reply-without-text",
    severity="info",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.2",
    advice="Add a text.",
    extra=True,
    sessions=replies(_BARE_CODE),
)
def reply_without_text(dialog: Dialog) -> Iterator[Hit]:
    """A reply is a code and nothing else.

    Why it matters: it is legal, but old clients fail, and people learn nothing.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: NOOP
        S: 250

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: AUTH PLAIN
        S: 334

    What to do: add a text.

    Servers: home-made ones.

    Reference: RFC 5321 4.2
    """
    for _, reply in _each(dialog):
        if len(reply.text) == 1 and reply.code not in (0, 334) and not reply.text[0].strip():
            yield Hit(f"The reply {reply.code} has no text.", line=reply.line)


@rule(
    "REP011",
    "helo-extended-reply",
    severity="warning",
    party="server",
    scope="exchange",
    reference="RFC 5321 3.2",
    advice="Answer HELO with one line.",
    rows=verbs("HELO"),
)
def helo_extended_reply(exchange: Exchange) -> Iterator[Hit]:
    """HELO is answered with a list of keywords.

    Why it matters: HELO is for clients that know no extensions, and some of them read one line only.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: HELO client.example.org
        S: 250-mx.example.net
        S: 250-SIZE 1000
        S: 250 PIPELINING

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: HELO client.example.org
        S: 250 mx.example.net

    What to do: answer HELO with one line.

    Servers: the common ones do.

    Reference: RFC 5321 3.2
    """
    reply = exchange.reply
    if exchange.verb != "HELO" or reply is None or reply.severity != 2 or len(reply.text) < 2:
        return
    if any(_KEYWORD_LINE.match(text.upper()) for text in reply.text[1:]):
        yield Hit(f"HELO was answered with {len(reply.text) - 1} keyword lines.", line=reply.line)


@rule(
    "REP012",
    "quit-not-221",
    severity="warning",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.1.1.10",
    advice="Use 221, then close.",
    sessions=_without_221,
    tokens=True,
)
def quit_not_221(dialog: Dialog) -> Iterator[Hit]:
    """QUIT was answered by something else than 221, or the server hung up without an answer.

    Why it matters: no mail is lost; the client does not learn that all was well.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: QUIT
        S: 250 Goodbye

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: QUIT
        *: close server

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: QUIT
        S: 221-2.0.0 thanks
        S: 221 2.0.0 Bye

    What to do: answer 221, then close.

    Servers: old ones said 250, as an example in RFC 1985 does.

    Reference: RFC 5321 4.1.1.10
    """
    end = closed(dialog)
    for i, exchange in enumerate(dialog.exchanges):
        if exchange.verb != "QUIT" or not is_said(exchange) or exchange.odd:
            continue
        reply = exchange.reply
        if reply is not None and reply.code not in (0, 221, 421):
            yield hit(i, exchange, f"QUIT was answered {reply.code}, not 221.")
        elif reply is None and end is not None and end.text == "server" and _owes_221(dialog):
            yield hit(i, exchange, "The server hung up at QUIT without an answer.")
        return


def _owes_221(dialog: Dialog) -> bool:
    """Whether the log holds all replies and the server had not said good-bye before."""
    return counts_replies(dialog) and not was_told_to_go(dialog) and not refuses(dialog)


@rule(
    "REP017",
    "reply-line-too-long",
    severity="warning",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.5.3.1.5; RFC 4954 4",
    advice="Split the reply into several lines.",
    sessions=_long,
)
def reply_line_too_long(dialog: Dialog) -> Iterator[Hit]:
    """A line of a reply is longer than 512 octets, its line end included.

    Why it matters: a client may cut it, or take the rest for another reply. A challenge of AUTH (334) may have 12,288.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: NOOP
        S: 250 {x*600}

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: NOOP
        S: 250-{x*400}
        S: 250 {x*400}

    What to do: split it into several lines.

    Servers: long lists of mechanisms or web addresses do it; many clients cope.

    Reference: RFC 5321 4.5.3.1.5; RFC 4954 4
    """
    if dialog.format == "exchange":
        return  # it joins the lines of a reply
    for i, reply in _each(dialog):
        longest = _LONGEST_CHALLENGE if reply.code == 334 else _LONGEST
        for number, raw in enumerate(reply.raw):
            octets = len(raw.encode()) + 2
            if octets > longest:
                line = min(reply.line + number, reply.end_line)
                message = f"A line of the reply {reply.code} has {octets} octets; {longest} are allowed."
                yield Hit(message, line=line, exchange=i)
                break


@rule(
    "REP018",
    "reply-non-ascii",
    severity="warning",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.2; RFC 6531 3.7.4",
    advice="Use ASCII text.",
    sessions=replies(r"[^\t -~]"),
)
def reply_non_ascii(dialog: Dialog) -> Iterator[Hit]:
    """A reply holds octets above 127 or control characters.

    Why it matters: clients may cut the line or show rubbish; only with SMTPUTF8 is UTF-8 allowed.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: RSET
        S: 250 réinitialisé

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-8BITMIME
        S: 250 SMTPUTF8
        C: VRFY rené SMTPUTF8
        S: 250 René <rené@example.net>

    What to do: write the texts in ASCII.

    Servers: Windows servers with texts of another language.

    Reference: RFC 5321 4.2; RFC 6531 3.7.4
    """
    for i, reply in _each(dialog):
        if i is not None and _speaks_utf8(dialog, dialog.exchanges[i]):
            continue
        for number, raw in enumerate(reply.raw):
            odd = next((c for c in raw if c != "\t" and not " " <= c <= "~"), None)
            if odd is not None:
                kind = "a control character" if ord(odd) < 32 or ord(odd) == 127 else "an octet above 127"
                line = min(reply.line + number, reply.end_line)
                yield Hit(f"The reply {reply.code} holds {kind}.", line=line, exchange=i)
                break


def _speaks_utf8(dialog: Dialog, exchange: Exchange) -> bool:
    """Whether the client has asked for SMTPUTF8 with this command or the MAIL of its transaction."""
    if (exchange.command or "").upper().endswith(" SMTPUTF8"):
        return True
    if exchange.transaction is None:
        return False
    return "SMTPUTF8" in dialog.transactions[exchange.transaction].parameters
