"""MAIL and RCPT up to the path and around it: keyword, colon, brackets (RFC 5321 sections 3.3, 4.1.1.2, 4.1.1.3, 4.1.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from smtplog.findings import Hit, rule
from smtplog.model import Exchange
from smtplog.rules.written import WORD, Path, fault_of, judged, path_of
from smtplog.speech import split
from smtplog.suspects import disorder

_ADDRESS = re.compile(r"[^\s<>(),;:\"]+@[^\s<>(),;:\"]+")
_JOINED = re.compile(r"(?i)[ \t]*(MAIL)FROM\b|[ \t]*(RCPT)TO\b")


@rule(
    "SYN001",
    "missing-angle-brackets",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 5321 3.3, 4.1.2",
    advice="Write the address between < and >: MAIL FROM:<user@example.org>.",
    sessions=disorder,
)
def missing_angle_brackets(exchange: Exchange) -> Iterator[Hit]:
    """The address of MAIL or RCPT is not between angle brackets.

    Why it matters: the grammar asks for them. Many servers are lenient, so a test by hand passes where a strict
    server refuses the same line.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:chris@contoso.com
        S: 250 2.1.0 Sender OK

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<chris@contoso.com>
        S: 250 2.1.0 Sender OK

    What to do: write MAIL FROM:<user@example.org> and RCPT TO:<user@example.net>.

    Servers: Exchange, Postfix, Exim and sendmail accept the line; Gmail answers 555 5.5.2, strict servers 501.

    Reference: RFC 5321 3.3, 4.1.2
    """
    command = judged(exchange)
    found = fault_of(command) if command else None
    path = path_of(command) if command else None
    if not found or not path or found[0] != "SYN001" or exchange.severity == 0:
        return
    words = path.text.split()
    address, rest = words[0], " ".join(words[1:])
    refused = exchange.severity >= 4
    outcome = "the server refused it" if refused else "the server took it, stricter ones refuse it"
    yield Hit(
        f"The address {address} of {path.verb} is not between < and >: {found[1].told}; {outcome}.",
        severity="error" if refused else "warning",
        final=True,
        column=path.column if not address.startswith("<") else found[1].column,
        corrected=path.line(address.strip("<>"), rest),
    )


@rule(
    "SYN002",
    "space-around-colon",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 5321 3.3",
    advice="Remove the white space before and after the colon.",
    sessions=disorder,
)
def space_around_colon(exchange: Exchange) -> Iterator[Hit]:
    """White space stands before or after the colon of FROM: or TO:.

    Why it matters: the grammar has none there; strict filters refuse the line.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM: <a@example.org>
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE
        C: MAIL FROM:<a@example.org> SIZE=100
        S: 250 Ok

    What to do: write MAIL FROM:<a@example.org>, nothing around the colon.

    Servers: nearly all are lenient; OpenSMTPD and some filters are not.

    Reference: RFC 5321 3.3
    """
    command = judged(exchange)
    path = path_of(command) if command else None
    if path is None or not (path.before or (path.after and path.text)):
        return
    where = "before" if path.before else "after"
    address, rest = path.bracketed or (path.text.split(" ")[0].strip("<>"), path.text.partition(" ")[2])
    refused = exchange.severity == 5 and exchange.reply is not None and exchange.reply.code in (500, 501, 555)
    yield Hit(
        f"White space stands {where} the colon of {path.verb} {WORD[path.verb]}: where none is expected.",
        severity="error" if refused else "warning",
        final=True,
        column=path.colon - path.before if path.before else path.colon + 1,
        corrected=path.line(address, rest),
    )


@rule(
    "SYN003",
    "missing-colon-or-keyword",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.1.2, 4.1.1.3",
    advice="Write MAIL FROM:<...> and RCPT TO:<...>, with the colon.",
    sessions=disorder,
)
def missing_colon_or_keyword(exchange: Exchange) -> Iterator[Hit]:
    """MAIL comes without FROM: or RCPT without TO:.

    Why it matters: the server cannot tell where the address begins and refuses the command.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM <a@example.org>
        S: 501 5.5.4 Invalid arguments

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: mail from:<a@example.org>
        S: 250 Ok

    What to do: type the keyword and its colon: MAIL FROM:<a@example.org>, RCPT TO:<b@example.net>.

    Servers: all reject it with 500 or 501 (Exchange 501 5.5.4 Invalid arguments).

    Reference: RFC 5321 4.1.1.2, 4.1.1.3
    """
    command = judged(exchange)
    if not command or path_of(command):
        return
    joined = _JOINED.match(command)
    verb = (joined[1] or joined[2]).upper() if joined else split(command)[0]
    if verb not in WORD:
        return
    word = WORD[verb]
    found = fault_of(command)
    address = next(iter(_ADDRESS.findall(command)), "address")
    if joined:
        yield Hit(
            f"A space is missing between {verb} and {word}:.",
            column=len(verb) + 1,
            corrected=Path(verb, "", 0, 0, 0, 0).line(address, ""),
        )
        return
    argument = split(command)[1]
    yield Hit(
        f"{verb} wants {word}: and then the address; {argument or 'nothing'} follows instead"
        + (f": {found[1].told}." if found else "."),
        column=found[1].column if found else len(command) - len(argument) + 1,
        corrected=Path(verb, "", 0, 0, 0, 0).line(address, ""),
    )


@rule(
    "SYN022",
    "garbage-around-path",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.2",
    advice="Only <mailbox>; names belong in the header of the message.",
    sessions=disorder,
)
def garbage_around_path(exchange: Exchange) -> Iterator[Hit]:
    """A name, a comment, a second address or other text stands around the path.

    Why it matters: one path is all that the command takes. What a mail program shows as the name of a sender belongs in the header of
    the message, and each recipient has an RCPT of its own.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:"Bob" <b@example.net>
        S: 501 5.1.3 Bad recipient address syntax

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<"Bob Smith"@example.net>
        S: 250 Ok

    What to do: write the bare address between < and >, one RCPT for each recipient.

    Servers: sendmail, and Postfix with strict_rfc821_envelopes=no, read the forms of a message header here; others answer 501,
    Gmail 555 5.5.2.

    Reference: RFC 5321 4.1.2
    """
    command = judged(exchange)
    found = fault_of(command) if command else None
    path = path_of(command) if command else None
    if not found or not path or found[0] != "SYN022":
        return
    addresses = _ADDRESS.findall(path.text)
    yield Hit(
        f"Only an address between < and > belongs behind {path.verb} {WORD[path.verb]}:; {found[1].told}."
        + (" Each recipient has an RCPT of its own." if path.verb == "RCPT" and len(addresses) > 1 else ""),
        column=found[1].column,
        corrected=path.line(addresses[0], "") if addresses else None,
    )
