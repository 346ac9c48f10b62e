"""The name that a client gives in EHLO, HELO and LHLO (RFC 5321 sections 4.1.1.1, 4.1.2)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from smtplog.findings import Hit, rule
from smtplog.model import Exchange
from smtplog.rules.written import HELLO, fault_of, judged
from smtplog.suspects import commands, disorder

#: One label, or a name that only a private network knows.
_SHORT_NAME = r"^[A-Za-z]+[ \t]+(?:[^.\[ \t]+\.?|[^ \t]+(?i:\.local|\.lan|\.localdomain)\.?)[ \t]*$"


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
    command = judged(exchange)
    if command and exchange.verb in HELLO and not exchange.argument.strip():
        verb = exchange.verb
        yield Hit(
            f"{verb} comes without a host name; expected: a space and the name of the client.",
            column=len(command.rstrip()) + 1,
            corrected=f"{verb} client.example.org",
        )


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

        S: 220 mx.example.net ESMTP ready
        C: EHLO 36A42160
        S: 250 mx.example.net

    What to do: give one word, a host name of letters, digits and hyphens, or an address literal.

    Servers: most accept anything; Postfix refuses with reject_invalid_helo_hostname (501 5.5.2), Exim unless
    helo_allow_chars has the character.

    Reference: RFC 5321 4.1.1.1, 4.1.2, 4.1.3
    """
    command = judged(exchange)
    name = exchange.argument.strip()
    found = fault_of(command) if command else None
    if not command or not found or found[0] != "SYN005":
        return
    if exchange.verb == "HELO" and name.startswith("[") and " " not in name:
        yield Hit(
            f"HELO takes a host name; the literal {name} goes with EHLO.",
            severity="info",
            final=True,
            column=command.index(name) + 1,
            corrected=f"EHLO {name}",
        )
        return
    reason, form = _bad_name(name) or ("its last label has no letter", "")
    yield Hit(
        f"{name} is no host name: {reason}; {found[1].told}.",
        severity="error" if exchange.severity == 5 and exchange.reply and exchange.reply.code == 501 else "warning",
        final=True,
        column=found[1].column,
        corrected=f"{exchange.verb} {form}" if form else None,
    )


def _bad_name(name: str) -> tuple[str, str] | None:
    """What is wrong with a host name, and the right form where it can be told."""
    if " " in name or "\t" in name:
        return "it is more than one word", name.split()[0]
    if name.endswith("]"):
        return "a literal stands between [ and ]", f"[{name.strip('[]')}]"
    if _address(name):
        form = f"[IPv6:{name}]" if ":" in name else f"[{name}]"
        return "it is a bare address; a literal stands in brackets", form
    form = ".".join(part for label in name.split(".") if (part := label.replace("_", "-").strip("-")))
    if not (form.isascii() and form.replace(".", "").replace("-", "").isalnum()):
        form = ""
    if name.endswith("."):
        return "it ends with a dot", form
    for label in name.split("."):
        if not label:
            return "it has an empty label", form
        if len(label) > 63:
            return "it has a label of more than 63 octets", ""
        if label[0] == "-" or label[-1] == "-":
            return f"the label {label} has a hyphen at its edge", form
        if not (label.isascii() and label.replace("-", "").isalnum()):
            return f"the label {label} holds a character that is no letter, digit or hyphen", form
    return None


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@rule(
    "SYN006",
    "hello-not-fqdn",
    severity="info",
    party="client",
    scope="exchange",
    reference="RFC 5321 2.3.5, 4.1.1.1",
    advice="Use a full host name that the DNS resolves.",
    extra=True,
    sessions=commands(_SHORT_NAME, *HELLO),
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
    command = judged(exchange)
    name = exchange.argument.strip().rstrip(".")
    if not command or exchange.verb not in HELLO or not name or _bad_name(name) or name.startswith("["):
        return
    if "." not in name or name.lower().endswith((".local", ".lan", ".localdomain")):
        yield Hit(f"{name} is not a full host name.", column=command.index(name) + 1)
