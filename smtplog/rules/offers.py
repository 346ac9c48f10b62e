"""What the server offers in its EHLO reply (RFC 5321 section 4.1.1.1 and the extensions)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from smtplog import reference
from smtplog.findings import Hit, rule
from smtplog.model import Exchange, Reply
from smtplog.negotiated import is_cut, keywords
from smtplog.suspects import verbs

_HELLO = ("EHLO", "LHLO")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
#: keyword → the one that must stand beside it, and why (RFC 6531 section 3.1, RFC 3030 section 3).
_NEEDS = {"SMTPUTF8": "8BITMIME", "BINARYMIME": "CHUNKING"}
_DOMAIN = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})\.?)+|\[[0-9A-Za-z.:-]+\]")
#: What servers put on the last line for a full stop.
_FULL_STOP = ("OK",)


def _offered(exchange: Exchange) -> Reply | None:
    """The accepted reply to EHLO or LHLO, if the log holds it whole."""
    reply = exchange.reply
    if exchange.verb not in _HELLO or reply is None or reply.severity != 2 or is_cut(reply.text):
        return None
    return reply


def _lines(reply: Reply) -> Iterator[tuple[int, str]]:
    """The line of the log and the text of each keyword line."""
    for i, text in enumerate(reply.text[1:], 1):
        yield min(reply.line + i, reply.end_line), text


@rule(
    "EXT010",
    "starttls-offered-under-tls",
    severity="warning",
    party="server",
    scope="exchange",
    reference="RFC 3207 4.2",
    advice="Do not list it under TLS.",
    rows=verbs(*_HELLO),
)
def starttls_offered_under_tls(exchange: Exchange) -> Iterator[Hit]:
    """STARTTLS is offered although TLS is active already.

    Why it matters: a client that takes it at its word fails; it may also be a sign that the reply is not from the server
    that ended the TLS.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 2.0.0 Ready
        *: tls ok
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 454 4.7.0 TLS not available
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS

    What to do: take STARTTLS out of the EHLO reply under TLS.

    Servers: the common ones do so by themselves.

    Reference: RFC 3207 4.2
    """
    reply = _offered(exchange)
    if reply is not None and exchange.tls and "STARTTLS" in keywords(reply.text):
        at = next((line for line, text in _lines(reply) if text.strip().upper() == "STARTTLS"), reply.line)
        yield Hit("STARTTLS is offered, though TLS is active.", line=at)


@rule(
    "EXT011",
    "inconsistent-ehlo-set",
    severity="warning",
    party="server",
    scope="exchange",
    reference="RFC 6531 3.1; RFC 3030 3; RFC 4954 3; RFC 5321 2.2.2",
    advice="Advertise the required keyword too.",
    rows=verbs(*_HELLO),
)
def inconsistent_ehlo_set(exchange: Exchange) -> Iterator[Hit]:
    """The keywords of an EHLO reply do not go together.

    Why it matters: an extension that needs another one cannot be used without it; a client has to guess.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SMTPUTF8

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE unlimited

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 BINARYMIME

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-8BITMIME
        S: 250-CHUNKING
        S: 250-BINARYMIME
        S: 250-SIZE
        S: 250-X-PRIVATE
        S: 250-AUTH PLAIN
        S: 250 SMTPUTF8

    What to do: offer the keyword that is missing, or take the other one away.

    Servers: a filter that hides CHUNKING hides BDAT only and leaves BINARYMIME behind.

    Reference: RFC 6531 3.1; RFC 3030 3; RFC 4954 3; RFC 5321 2.2.2
    """
    reply = _offered(exchange)
    if reply is None:
        return
    offered = keywords(reply.text)
    at = {text.split(" ")[0].upper(): line for line, text in reversed(list(_lines(reply)))}
    for keyword, needed in _NEEDS.items():
        if keyword in offered and needed not in offered:
            message = f"{keyword} is offered without {needed}, which it needs."
            yield Hit(message, line=at.get(keyword, reply.line))
    if "AUTH" in offered and not offered["AUTH"]:
        yield Hit("AUTH is offered without any mechanism.", line=at.get("AUTH", reply.line))
    size = offered.get("SIZE", "")
    if size and not (size.isascii() and size.isdigit()):
        yield Hit(f"SIZE is followed by {size[:40]!r}, not by a number of octets.", line=at.get("SIZE", reply.line))
    for keyword in offered if len(reply.text) > 1 else ():
        known = reference.extension(keyword) is not None or keyword.startswith("X") or keyword in _FULL_STOP
        if not known and _KEYWORD.fullmatch(keyword):
            message = f"{keyword[:60]} is no registered keyword and does not begin with X."
            yield Hit(message, line=at.get(keyword, reply.line), severity="info")


@rule(
    "REP009",
    "ehlo-reply-malformed",
    severity="warning",
    party="server",
    scope="exchange",
    reference="RFC 5321 4.1.1.1",
    advice="Mend the keyword list.",
    rows=verbs(*_HELLO),
)
def ehlo_reply_malformed(exchange: Exchange) -> Iterator[Hit]:
    """The reply to EHLO is not a domain and then one keyword a line.

    Why it matters: clients look for keywords word by word; one that is written otherwise is not found.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 8BIT_MIME

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-SIZE 1000
        S: 250 SIZE 2000

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-Hello, nice to meet you!
        S: 250 SIZE 1000

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net Hello [192.0.2.7]
        S: 250-SIZE 1000
        S: 250 AUTH PLAIN LOGIN

    What to do: mend the list: the host name first, then one keyword of letters, digits and hyphens a line.

    Servers: Postfix can write AUTH=PLAIN for old clients, Exchange X-EXPS=LOGIN; both are told as info.

    Reference: RFC 5321 4.1.1.1
    """
    reply = _offered(exchange)
    if reply is None:
        return
    first = (reply.text[0].split() or [""])[0]
    if not _DOMAIN.fullmatch(first):
        yield Hit(f"The EHLO reply begins with {first[:60]!r}, not with the name of the server.", line=reply.line)
    seen: Counter[str] = Counter()
    again: dict[str, int] = {}  # keyword → the line where it is said the second time
    for line, text in _lines(reply):
        keyword = text.split(" ")[0]
        name, equals, _ = keyword.partition("=")
        last = line == reply.end_line
        if not keyword and not last:
            yield Hit("A line of the EHLO reply holds no keyword.", line=line)
        elif equals and name.upper() in ("AUTH", "X-EXPS"):
            yield Hit(f"{keyword[:60]} is an old form; the keyword is followed by a blank.", line=line, severity="info")
        elif keyword and not _KEYWORD.fullmatch(keyword) and not set(keyword) <= set("X*"):
            known = reference.extension(keyword) is not None
            message = f"{keyword[:60]!r} is no keyword: it may hold letters, digits and hyphens only."
            yield Hit(message, line=line, severity="info" if known else None)
        elif keyword.upper() in seen:
            again.setdefault(keyword.upper(), line)
        seen[keyword.upper()] += 1
    for keyword, line in again.items():
        times = "twice" if seen[keyword] == 2 else f"{seen[keyword]} times"
        yield Hit(f"{keyword[:60]} is offered {times}; the parameters belong on one line.", line=line)
