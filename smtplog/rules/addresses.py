"""The mailbox in MAIL and RCPT: local part, domain, literal, route (RFC 5321 sections 4.1.2, 4.1.3)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from smtplog import events
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Exchange
from smtplog.rules.written import Path, fault_of, judged, path_of
from smtplog.suspects import disorder, per_batch, verbs
from smtplog.syntax import Fault

#: RFC 5321 section 4.5.3.1: octets of a local part, a domain, a path with its brackets.
_LOCAL, _DOMAIN, _PATH = 64, 255, 256


def _found(exchange: Exchange, code: str) -> tuple[Path, Fault] | None:
    """Path and fault of a MAIL or RCPT whose first fault belongs to this rule."""
    command = judged(exchange)
    found = fault_of(command) if command else None
    path = path_of(command) if command else None
    return (path, found[1]) if found and path and found[0] == code else None


def _halves(path: Path) -> tuple[str, str, str]:
    """Local part, domain, and what follows the path."""
    address, rest = path.bracketed or (path.text, "")
    local, _, domain = address.rpartition("@") if "@" in address else (address, "", "")
    return local, domain, rest


@rule(
    "SYN009",
    "bad-local-part",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.2",
    advice="Correct what stands before the @, or put it between quotes.",
    sessions=disorder,
)
def bad_local_part(exchange: Exchange) -> Iterator[Hit]:
    """What stands before the @ is neither words with single dots between them nor a quoted string.

    Why it matters: servers refuse the address, or take it for another one.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<john doe@example.org>
        S: 501 5.1.7 Bad sender address syntax

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a..b@example.org>
        S: 501 5.1.7 Bad sender address syntax

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<"john doe"@example.org>
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<[email protected]>
        S: 250 Ok
        C: RCPT TO:<REDACTED> NOTIFY=NEVER
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<user+tag@example.org>
        S: 250 Ok

    What to do: correct the address. If it is really spelt so, put the part before the @ between quotes.

    Servers: Postfix and Exchange accept two dots in a row, which Japanese mobile carriers gave out; others answer 501 or 553.

    Reference: RFC 5321 4.1.2
    """
    seen = _found(exchange, "SYN009")
    if seen is None:
        return
    path, fault = seen
    local, domain, rest = _halves(path)
    empty = local == '""'
    quoted = _quoted(local)
    yield Hit(
        f"The local part {local or '(empty)'} is not right: {fault.told}.",
        severity="warning" if empty else None,
        final=empty,
        column=fault.column,
        corrected=path.line(f"{quoted}@{domain}", rest) if quoted and domain else None,
    )


def _quoted(local: str) -> str | None:
    """The local part as it can be written: without dots too many, or as a quoted string."""
    if not local.strip(' ."'):
        return None
    plain = ".".join(part for part in local.strip().split(".") if part)
    if plain.replace(".", "").isalnum():
        return plain
    bare = local.strip('"').replace("\\", "").replace('"', "")
    return f'"{bare}"' if bare.isprintable() else None


@rule(
    "SYN010",
    "bad-domain",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.2; RFC 1035 2.3.1",
    advice="Correct what stands behind the @.",
    sessions=disorder,
)
def bad_domain(exchange: Exchange) -> Iterator[Hit]:
    """What stands behind the @ is no domain.

    Why it matters: labels are of letters, digits and hyphens, with single dots between them and no hyphen at their edges; the DNS can
    hold no mail domain of another form.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example..org>
        S: 501 5.1.7 Bad sender address syntax

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@exa_mple.org>
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@3com.example>
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@x--y.example.org>
        S: 250 Ok

    What to do: correct the domain.

    Servers: Postfix and Exchange accept an underscore; Exim answers 501, Gmail 553 5.1.3.

    Reference: RFC 5321 4.1.2; RFC 1035 2.3.1
    """
    seen = _found(exchange, "SYN010")
    if seen is None:
        return
    path, fault = seen
    local, domain, rest = _halves(path)
    labels = [label.strip("-") for label in domain.strip().split(".")]
    right = ".".join(label for label in labels if label)
    sound = right.replace(".", "").replace("-", "").isalnum() and all(len(label) < 64 for label in labels)
    yield Hit(
        f"{domain or '(nothing)'} is no domain: {fault.told}.",
        column=fault.column,
        corrected=path.line(f"{local}@{right}", rest) if sound else None,
    )


@rule(
    "SYN011",
    "bad-address-literal",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.3",
    advice="Use four decimal numbers, or the tag IPv6: and the address.",
    sessions=disorder,
)
def bad_address_literal(exchange: Exchange) -> Iterator[Hit]:
    """What stands between [ and ] is no IPv4 address, no IPv6: address and no tagged literal.

    Why it matters: a literal stands for a host without a name; one that is malformed stands for none.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@[192.0.2.256]>
        S: 501 5.1.7 Bad sender address syntax

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO [2001:db8::25]
        S: 501 5.5.4 Invalid address

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@[192.0.2.25]>
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO [IPv6:2001:db8::25]
        S: 250 mx.example.net

    What to do: write [192.0.2.25] or [IPv6:2001:db8::25].

    Servers: most take any literal in EHLO; Gmail and most large sites refuse mail to and from literals by policy.

    Reference: RFC 5321 4.1.3
    """
    command = judged(exchange)
    found = fault_of(command) if command else None
    if not command or not found or found[0] != "SYN011":
        return
    begins = command.index("[")
    inner, bracket, rest = command[begins + 1 :].partition("]")
    right = _literal(inner)
    yield Hit(
        f"[{inner}{bracket} is no address literal: {found[1].told}.",
        column=found[1].column,
        corrected=f"{command[:begins]}[{right}]{rest}".strip() if right else None,
    )


def _literal(inner: str) -> str | None:
    """The right form of what stands between brackets, where it can be told."""
    import ipaddress

    inner = inner.strip()
    bare = inner[5:] if inner[:5].upper() == "IPV6:" else inner
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    return bare if address.version == 4 else f"IPv6:{bare}"


@rule(
    "SYN012",
    "null-forward-path",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.2",
    advice="Give the address of a recipient.",
    sessions=disorder,
)
def null_forward_path(exchange: Exchange) -> Iterator[Hit]:
    """RCPT TO:<> names nobody.

    Why it matters: the empty path is for MAIL alone, where it marks a notification; a recipient must be somebody.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<>
        S: 501 5.1.3 Bad recipient address syntax

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<>
        S: 250 Ok

    What to do: give the address of the recipient. A notification about a notification is not sent at all.

    Servers: all refuse it; Gmail with 555 5.5.2.

    Reference: RFC 5321 4.1.2
    """
    seen = _found(exchange, "SYN012")
    if seen is not None:
        path, fault = seen
        yield Hit(
            "RCPT TO:<> names no recipient; expected: an address between < and >.",
            column=fault.column,
            corrected=path.line("user@example.net", path.bracketed[1] if path.bracketed else ""),
        )


@rule(
    "SYN013",
    "source-route-used",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 5321 3.6.1, 4.1.1.3, C",
    advice="Leave out the route: only the mailbox.",
    sessions=disorder,
)
def source_route_used(exchange: Exchange) -> Iterator[Hit]:
    """The path names relays in front of the mailbox.

    Why it matters: source routes are obsolete; a server must read them, but a client should not send them, and many servers take them
    for an attempt to relay.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<@relay.example,@hub.example:b@example.net>
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok

    What to do: write the mailbox alone.

    Servers: Postfix strips the route or refuses it as relaying; Exchange answers 501.

    Reference: RFC 5321 3.6.1, 4.1.1.3, C
    """
    command = judged(exchange)
    path = path_of(command) if command else None
    inner = path.bracketed if path else None
    if not path or not inner or not inner[0].startswith("@"):
        return
    route, colon, mailbox = inner[0].partition(":")
    if colon and "@" in mailbox:
        yield Hit(
            f"The path begins with the source route {route}, which is obsolete; expected: the mailbox alone.",
            column=path.column + 1,
            corrected=path.line(mailbox, inner[1]),
        )


@rule(
    "SYN014",
    "unqualified-address",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 5321 2.3.5, 4.1.1.3; RFC 6409 4.2",
    advice="Write user@domain.",
    sessions=disorder,
)
def unqualified_address(exchange: Exchange) -> Iterator[Hit]:
    """An address has no @ and no domain.

    Why it matters: only RCPT TO:<postmaster> may do without. Each server adds a domain of its own, or refuses.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<root>
        S: 553 5.5.4 <root>... Domain name required for sender address root

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<Postmaster>
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<>
        S: 250 Ok

    What to do: write the whole address.

    Servers: Postfix adds $myorigin for local clients, and answers 504 with reject_non_fqdn_sender and _recipient; sendmail 553 5.5.4,
    Exim 501.

    Reference: RFC 5321 2.3.5, 4.1.1.3; RFC 6409 4.2
    """
    seen = _found(exchange, "SYN014")
    if seen is None:
        return
    path, fault = seen
    local, _, rest = _halves(path)
    yield Hit(
        f"The address {local} of {path.verb} has no domain; expected: @ and a domain before the closing bracket.",
        severity="error" if exchange.severity in (4, 5) else "warning",
        final=True,
        column=fault.column,
        corrected=path.line(f"{local}@example.org", rest),
    )


@per_batch
def _long_paths(batch: Batch) -> np.ndarray:
    """The sessions with a MAIL or RCPT that is long enough for one of the limits, and has a part that is."""
    pairs = batch.exchanges
    rows = np.flatnonzero(verbs("MAIL", "RCPT")(batch) & (pairs.event >= 0))
    lines = events.take(batch.sessions.events.text, pairs.event[rows])
    long = np.flatnonzero(events.lengths(lines) > _LOCAL + len("RCPT TO:<@>"))
    lines = events.take(lines, long)
    beyond = events.found(lines, r"[^<@: ]{65}@") | (events.lengths(lines) > _DOMAIN)
    return np.bincount(pairs.session[rows[long[beyond]]], minlength=len(batch.sessions.first)) > 0


@rule(
    "SYN019",
    "address-too-long",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.5.3.1.1-3",
    advice="Shorten it, or ignore it for addresses that a mailing list or a forwarder makes.",
    sessions=_long_paths,
)
def address_too_long(exchange: Exchange) -> Iterator[Hit]:
    """A local part, a domain or a path is longer than every server must take.

    Why it matters: a server has to take local parts of 64 octets, domains of 255 and paths of 256, brackets included; more works only
    by luck.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<{b*65}@example.org>
        S: 501 5.1.7 Address too long

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<{b*64}@example.org>
        S: 250 Ok

    What to do: shorten the address. Bounce addresses of mailing lists and forwarders are often longer, and are mostly taken.

    Servers: most accept longer local parts; some answer 501 or 553.

    Reference: RFC 5321 4.5.3.1.1-3
    """
    command = judged(exchange)
    path = path_of(command) if command else None
    inner = path.bracketed if path else None
    if not path or not inner:
        return
    address = inner[0]
    local, at, domain = (
        address.rpartition(":")[2].rpartition("@") if not address.startswith('"') else address.rpartition("@")
    )
    begins = path.column + 1 + len(address) - len(local) - len(at) - len(domain)
    for what, text, limit, column in (
        ("local part", local, _LOCAL, begins),
        ("domain", domain, _DOMAIN, begins + len(local) + 1),
        ("path", f"<{address}>", _PATH, path.column),
    ):
        octets = len(text.encode())
        if octets > limit:
            yield Hit(
                f"The {what} of {path.verb} has {octets} octets; expected: at most {limit}.",
                column=column + limit,
            )
            return
