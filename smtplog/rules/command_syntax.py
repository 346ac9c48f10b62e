"""How a command line is written: brackets, colon, arguments (RFC 5321 sections 3.3, 4.1.1, 4.1.2)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from smtplog.findings import Hit, rule
from smtplog.model import Exchange
from smtplog.speech import split
from smtplog.suspects import commands, disorder

_HELLO = ("EHLO", "HELO", "LHLO")
_PATHS = {"MAIL": "FROM", "RCPT": "TO"}
_BARE = ("DATA", "RSET", "QUIT", "STARTTLS")
_NEEDY = {
    "VRFY": "an address or user name",
    "EXPN": "the name of a list",
    "ETRN": "a domain",
    "BDAT": "the size of the chunk in octets",
    "AUTH": "a mechanism",
    "XCLIENT": "name=value pairs",
}
#: One label, or a name that only a private network knows.
_SHORT_NAME = r"^[A-Za-z]+[ \t]+(?:[^.\[ \t]+\.?|[^ \t]+(?i:\.local|\.lan|\.localdomain)\.?)[ \t]*$"
_NEVER = ("", ".", "AUTH-RESPONSE")


def _judged(exchange: Exchange) -> str | None:
    """The command line, if it is one that was really typed as a command and holds no control character."""
    command = exchange.command
    if command is None or exchange.inferred or exchange.verb in _NEVER or exchange.state == "auth":
        return None
    if command.isprintable():
        return command
    return None if any((ord(c) < 32 and c != "\t") or ord(c) == 127 for c in command) else command


def _keyword(command: str) -> tuple[str, str, int] | None:
    """(verb, what follows FROM or TO and its colon, its column from 0) of a well-begun MAIL or RCPT; white space around
    the colon is forgiven."""
    verb, argument = split(command)
    if verb not in _PATHS:
        return None
    word = _PATHS[verb]
    if not argument.upper().startswith(word):
        return None
    rest = argument[len(word) :].lstrip(" \t")
    if not rest.startswith(":"):
        return None
    path = rest[1:].lstrip(" \t")
    return verb, path, len(command.rstrip()) - len(path.rstrip())


def _bracketed(path: str) -> str:
    """A path as it should be written."""
    address, blank, parameters = path.partition(" ")
    address = address.strip("<>") if address.count("<") + address.count(">") < 2 else address[1:-1]
    return f"<{address}>{blank}{parameters}"


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
    command = _judged(exchange)
    found = _keyword(command) if command else None
    if not found or not found[1] or exchange.severity == 0:
        return
    verb, path, column = found
    address = path.partition(" ")[0]
    if (address.startswith("<") and ">" in path) or '"' in path or "<" in path[1:]:
        return
    refused = exchange.severity >= 4
    outcome = "the server refused it" if refused else "the server took it, stricter ones refuse it"
    yield Hit(
        f"The address {address} of {verb} is not between angle brackets; {outcome}.",
        severity="error" if refused else "warning",
        final=True,
        column=column + 1,
        corrected=f"{verb} {_PATHS[verb]}:{_bracketed(path)}",
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
    command = _judged(exchange)
    found = _keyword(command) if command else None
    if not command or not found:
        return
    verb, path, _ = found
    at = command.index(":")
    before, after = command[at - 1 : at].isspace(), command[at + 1 : at + 2].isspace() and bool(path)
    if before or after:
        where = "before" if before else "after"
        yield Hit(
            f"White space stands {where} the colon of {verb} {_PATHS[verb]}:.",
            severity="error"
            if exchange.severity == 5 and exchange.reply and exchange.reply.code in (500, 501, 555)
            else "warning",
            final=True,
            column=at + (0 if before else 2),
            corrected=f"{verb} {_PATHS[verb]}:{_bracketed(path)}",
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
    command = _judged(exchange)
    verb, argument = split(command) if command else ("", "")
    if not command or verb not in _PATHS or _keyword(command):
        return
    word = _PATHS[verb]
    address = next(
        (part for part in argument.replace(":", " ").split() if "@" in part or part.startswith("<")), "<address>"
    )
    yield Hit(
        f"{verb} wants {word}: and then the address; {argument or 'nothing'} follows instead.",
        column=len(command) - len(argument) + 1,
        corrected=f"{verb} {word}:{_bracketed(address)}",
    )


@rule(
    "SYN004",
    "hello-argument-missing",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.1.1",
    advice="Give your full host name, or your address as [192.0.2.7].",
    sessions=disorder,
)
def hello_argument_missing(exchange: Exchange) -> Iterator[Hit]:
    """EHLO, HELO or LHLO comes without the name of the client.

    Why it matters: the name is part of the command; many servers refuse a bare one.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO
        S: 501 Syntax: EHLO hostname

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO [192.0.2.7]
        S: 250 mx.example.net

    What to do: write EHLO and your host name.

    Servers: Postfix, Exim and Gmail answer 501; Exchange and qmail accept it.

    Reference: RFC 5321 4.1.1.1
    """
    command = _judged(exchange)
    if command and exchange.verb in _HELLO and not exchange.argument.strip():
        verb = exchange.verb
        yield Hit(f"{verb} comes without a host name.", column=len(command) + 1, corrected=f"{verb} client.example.org")


@rule(
    "SYN005",
    "hello-argument-invalid",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.1.1, 4.1.2, 4.1.3",
    advice="Use a host name, or the address in brackets: [192.0.2.7].",
    sessions=disorder,
)
def hello_argument_invalid(exchange: Exchange) -> Iterator[Hit]:
    """The argument of EHLO or HELO is neither a domain nor an address literal.

    Why it matters: servers may refuse it, and filters score it.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO 192.0.2.10
        S: 250 mx.example.net

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO [IPv6:2001:db8::25]
        S: 250 mx.example.net

    What to do: give one word, a host name of letters, digits and hyphens, or an address literal.

    Servers: most accept anything; Postfix refuses with reject_invalid_helo_hostname (501 5.5.2), Exim unless
    helo_allow_chars has the character.

    Reference: RFC 5321 4.1.1.1, 4.1.2, 4.1.3
    """
    command = _judged(exchange)
    name = exchange.argument.strip()
    if not command or exchange.verb not in _HELLO or not name:
        return
    fault = _bad_name(name)
    if fault:
        corrected = f"{exchange.verb} {fault[1]}" if fault[1] else None
        yield Hit(
            f"{name} is no host name: {fault[0]}.",
            severity="error" if exchange.severity == 5 and exchange.reply and exchange.reply.code == 501 else "warning",
            final=True,
            column=command.index(name) + 1,
            corrected=corrected,
        )
    elif exchange.verb == "HELO" and name.startswith("["):
        yield Hit(f"HELO takes a host name; the literal {name} goes with EHLO.", severity="info", final=True)


def _bad_name(name: str) -> tuple[str, str] | None:
    """What is wrong with a host name or literal, and the right form where it is known."""
    if " " in name or "\t" in name:
        return "it is more than one word", name.split()[0]
    if name.startswith("[") or name.endswith("]"):
        return _bad_literal(name)
    if _address(name):
        form = f"[IPv6:{name}]" if ":" in name else f"[{name}]"
        return "it is a bare address; a literal stands in brackets", form
    if name.endswith("."):
        return "it ends with a dot", name.rstrip(".")
    if len(name) > 255:
        return "it has more than 255 octets", ""
    for label in name.split("."):
        if not label:
            return "it has an empty label", ""
        if len(label) > 63:
            return "it has a label of more than 63 octets", ""
        if label[0] == "-" or label[-1] == "-":
            return f"the label {label} has a hyphen at its edge", ""
        if not (label.isascii() and label.replace("-", "").isalnum()):
            return f"the label {label} holds a character that is no letter, digit or hyphen", ""
    return None


def _bad_literal(name: str) -> tuple[str, str] | None:
    inner = name.strip("[]")
    if not (name.startswith("[") and name.endswith("]")):
        return "a literal stands between [ and ]", f"[{inner}]"
    if inner.upper().startswith("IPV6:"):
        return None if ":" in inner[5:] and _address(inner[5:]) else ("it is no IPv6 address", "")
    if ":" in inner and _address(inner):
        return "an IPv6 literal needs the tag IPv6:", f"[IPv6:{inner}]"
    return None if _address(inner) or (":" in inner and inner[0].isalpha()) else ("it is no IPv4 address", "")


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@rule(
    "SYN007",
    "unexpected-argument",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.1, 4.3.2; RFC 3207 4",
    advice="Send the verb alone.",
    sessions=disorder,
)
def unexpected_argument(exchange: Exchange) -> Iterator[Hit]:
    """DATA, RSET, QUIT or STARTTLS comes with an argument.

    Why it matters: these verbs take none; a server should answer 501.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: QUIT now
        S: 501 5.5.4 Syntax: QUIT

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: NOOP now
        S: 250 Ok

    What to do: send the bare verb.

    Servers: Postfix and Exchange answer 501; sendmail and qmail ignore the argument.

    Reference: RFC 5321 4.1.1, 4.3.2; RFC 3207 4
    """
    command = _judged(exchange)
    if command and exchange.verb in _BARE and exchange.argument.strip():
        at = command.index(exchange.argument.strip()) + 1
        yield Hit(
            f"{exchange.verb} takes no argument; {exchange.argument.strip()} follows.",
            column=at,
            corrected=exchange.verb,
        )


@rule(
    "SYN008",
    "required-argument-missing",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.1.6-7; RFC 1985 5; RFC 3030 2; RFC 4954 8",
    advice="Add the argument.",
    sessions=disorder,
)
def required_argument_missing(exchange: Exchange) -> Iterator[Hit]:
    """A command that needs an argument comes without it.

    Why it matters: the server cannot know what is meant and refuses.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: VRFY
        S: 501 5.5.4 Syntax: VRFY address

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: HELP
        S: 214 See RFC 5321

    What to do: add what the command needs: an address, a mechanism, a size.

    Servers: all answer 501 (Postfix 500 to ETRN).

    Reference: RFC 5321 4.1.1.6-7; RFC 1985 5; RFC 3030 2; RFC 4954 8
    """
    command = _judged(exchange)
    if not command:
        return
    found = _keyword(command)
    if found and not found[1].strip():
        wanted = "MAIL FROM:<user@example.org>" if found[0] == "MAIL" else "RCPT TO:<user@example.net>"
        yield Hit(
            f"{found[0]} {_PATHS[found[0]]}: comes without an address.", column=len(command) + 1, corrected=wanted
        )
    elif exchange.verb in _NEEDY and not exchange.argument.strip():
        yield Hit(f"{exchange.verb} needs {_NEEDY[exchange.verb]}.", column=len(command) + 1)


@rule(
    "SYN006",
    "hello-not-fqdn",
    severity="info",
    party="client",
    scope="exchange",
    reference="RFC 5321 2.3.5, 4.1.1.1",
    advice="Use a full host name that the DNS resolves.",
    extra=True,
    sessions=commands(_SHORT_NAME, *_HELLO),
)
def hello_not_fqdn(exchange: Exchange) -> Iterator[Hit]:
    """The argument of EHLO or HELO is a single label or a private name.

    Why it matters: the server cannot look it up; filters score it.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO localhost
        S: 250 mx.example.net

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net

    What to do: say your full name as the DNS knows it.

    Servers: Postfix refuses with reject_non_fqdn_helo_hostname (504 5.5.2); Exchange accepts.

    Reference: RFC 5321 2.3.5, 4.1.1.1
    """
    command = _judged(exchange)
    name = exchange.argument.strip().rstrip(".")
    if not command or exchange.verb not in _HELLO or not name or _bad_name(name) or name.startswith("["):
        return
    if "." not in name or name.lower().endswith((".local", ".lan", ".localdomain")):
        yield Hit(f"{name} is not a full host name.", column=command.index(name) + 1)
