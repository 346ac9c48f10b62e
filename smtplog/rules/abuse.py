"""Signs of abuse: addresses tried out, passwords guessed, mail relayed, holes probed (RFC 5321 section 7, RFC 2505)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

import numpy as np

from smtplog import events, formats, model, reference
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange, Transaction
from smtplog.negotiated import host
from smtplog.rules.confidentiality import AUTHENTICATES
from smtplog.rules.course import hit, is_said
from smtplog.rules.telnet import caret
from smtplog.suspects import unusual, verbs
from smtplog.views import path

_LEAST_TRIES = 5
_LEAST_FAILURES = 3
_MOST_ACCEPTED = 0.2
_QUERIES = ("VRFY", "EXPN")
_AUTH_FAILED = (534, 535)
_NO_MAILBOX = (550, 551, 553)
_UNKNOWN = re.compile(
    r"(?i)\b(?:unknown|no such|not found|not exist|doesn.?t exist|no mailbox|unavailable)|\binvalid (?:recipient|mailbox)"
)


def _many(batch: Batch, at: np.ndarray, least: int) -> np.ndarray:
    """The sessions with this many of some exchanges."""
    return np.bincount(batch.exchanges.session[at], minlength=len(batch.sessions.first)) >= least


def _tries(batch: Batch) -> np.ndarray:
    """The sessions that ask for many addresses, or in which many recipients are unknown and no message is sent."""
    pairs, n = batch.exchanges, len(batch.sessions.first)
    recipient = verbs("RCPT")(batch)
    unknown = _many(batch, recipient & np.isin(pairs.code, _NO_MAILBOX), _LEAST_TRIES)
    if unknown.any():
        everyone = np.bincount(pairs.session[recipient], minlength=n)
        taken = np.bincount(pairs.session[recipient & (pairs.code // 100 == 2)], minlength=n)
        unknown &= (taken <= _MOST_ACCEPTED * everyone) & ~_many(batch, verbs("DATA", "BDAT")(batch), 1)
    return unknown | _many(batch, verbs(*_QUERIES)(batch), _LEAST_TRIES)


@rule(
    "SEC008",
    "address-enumeration",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 5321 7.3",
    advice="Limit the rate, switch VRFY and EXPN off, answer such clients slowly.",
    sessions=_tries,
)
def address_enumeration(dialog: Dialog) -> Iterator[Hit]:
    """The client tries out which addresses exist.

    Why it matters: whoever collects addresses asks with VRFY, EXPN or RCPT, one name after the other, and sends nothing: five
    questions, or five unknown recipients of whom hardly one is accepted, without DATA.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: VRFY admin
        S: 550 5.1.1 no
        C: VRFY root
        S: 252 2.0.0 root
        C: VRFY test
        S: 550 5.1.1 no
        C: VRFY info
        S: 550 5.1.1 no
        C: VRFY sales
        S: 550 5.1.1 no

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<>
        S: 250 Ok
        C: RCPT TO:<anna@example.net>
        S: 550 5.1.1 User unknown
        C: RCPT TO:<bert@example.net>
        S: 550 5.1.1 User unknown
        C: RCPT TO:<carl@example.net>
        S: 550 5.1.1 User unknown
        C: RCPT TO:<dora@example.net>
        S: 550 5.1.1 User unknown
        C: RCPT TO:<emil@example.net>
        S: 550 5.1.1 User unknown
        C: QUIT
        S: 221 Bye

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<old1@example.net>
        S: 550 5.1.1 User unknown
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: From: a@example.org
        C: Date: Mon, 1 Jan 2024 00:00:00 +0000
        C:
        C: Hello
        C: .
        S: 250 Ok queued

    What to do: limit the rate, switch VRFY and EXPN off (Postfix disable_vrfy_command), answer such clients slowly.

    Servers: deliveries to a mailing list with a few dead addresses are normal; they go on to DATA.

    Reference: RFC 5321 7.3
    """
    said = [(i, exchange) for i, exchange in enumerate(dialog.exchanges) if is_said(exchange)]
    asked = [each for each in said if each[1].verb in _QUERIES]
    if len(asked) >= _LEAST_TRIES:
        yield _told(asked, f"{len(asked)} addresses were asked for with {' and '.join(_names(asked))}.")
    recipients = [each for each in said if each[1].verb == "RCPT"]
    unknown = [each for each in recipients if _is_unknown(each[1])]
    accepted = sum(exchange.severity == 2 for _, exchange in recipients)
    sends = any(exchange.verb in ("DATA", "BDAT") for exchange in dialog.exchanges)
    if len(unknown) >= _LEAST_TRIES and accepted <= _MOST_ACCEPTED * len(recipients) and not sends:
        yield _told(unknown, f"{len(unknown)} of {len(recipients)} recipients were unknown, and no message was sent.")


def _told(found: list[tuple[int, Exchange]], message: str) -> Hit:
    index, exchange = found[_LEAST_TRIES - 1]
    return hit(index, exchange, message, end_line=found[-1][1].line)


def _names(found: list[tuple[int, Exchange]]) -> list[str]:
    return list(dict.fromkeys(exchange.verb for _, exchange in found))


def _is_unknown(exchange: Exchange) -> bool:
    """Whether a recipient was refused because there is no such mailbox (5.1.1 and its kin)."""
    reply = exchange.reply
    if reply is None or reply.code not in _NO_MAILBOX:
        return False
    if reply.enhanced:
        return reply.enhanced.startswith("5.1.")
    return _UNKNOWN.search(" ".join(reply.text)) is not None


def _relays(batch: Batch) -> np.ndarray:
    """The sessions, in a log that is not a mail server's own, in which a message was taken from a stranger whose MAIL has
    no parameter."""
    pairs, every = batch.exchanges, batch.transactions
    taken = np.isin(every.outcome, [model.OUTCOMES.index(name) for name in ("delivered", "partial")])
    first = every.first[taken & (not _is_servers_own(batch.format))]
    first = first[(pairs.event[first] >= 0) & ~pairs.authenticated[first]]
    plain = events.found(events.take(batch.sessions.events.text, pairs.event[first]), r"@[^> ]+>? *$")
    return _many(batch, first[plain], 1)


#: Networks whose hosts a server relays for by design (RFC 1918, RFC 4193).
_OWN = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10")))
#: Hosts of the mail of thousands of domains, as ``data/server_banners.csv`` names them.
_FOR_MANY = (
    "Online Protection",
    "Gmail",
    "Proofpoint",
    "Mimecast",
    "Email Security",
    "Essentials",
    "Secure Email",
    "Cloudflare",
)


@rule(
    "SEC010",
    "open-relay-sign",
    severity="warning",
    party="server",
    scope="dialog",
    reference="RFC 5321 7.8; RFC 2505",
    advice="If the recipient's domain is not one of the server's, let it relay for its own clients and for those who log in.",
    sessions=_relays,
)
def open_relay_sign(dialog: Dialog) -> Iterator[Hit]:
    """A stranger's message to a stranger was taken.

    Why it matters: a server that forwards everybody's mail is found by spammers within hours, and then blocked everywhere.
    It is a hint only, for tests by hand: a server may take mail for many domains, so that the protocol log of a mail server
    cannot tell. Mail of programs (they declare SIZE or BODY), of clients in private networks and at the large providers is
    left out too.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<x@spam.example>
        S: 250 Ok
        C: RCPT TO:<victim@other.example>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: From: a@example.org
        C: Date: Mon, 1 Jan 2024 00:00:00 +0000
        C:
        C: Hello
        C: .
        S: 250 Ok queued

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<x@spam.example>
        S: 250 Ok
        C: RCPT TO:<victim@other.example>
        S: 554 5.7.1 Relay access denied

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<x@other.example>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: .
        S: 250 Ok queued

    What to do: let the server relay for its own clients and for those who log in only.

    Servers: servers that greylist or ask back may take RCPT and refuse after the text.

    Reference: RFC 5321 7.8; RFC 2505
    """
    if dialog.profiles & {"loopback", "lmtp", "exchange-internal", "proxied"} or _is_own(dialog.client):
        return
    if any(name in (dialog.server_software or "") for name in _FOR_MANY) or _is_servers_own(dialog.format):
        return
    hosts = _server_names(dialog)
    for number, transaction in enumerate(dialog.transactions):
        first = next(((i, e) for i, e in enumerate(dialog.exchanges) if e.transaction == number), None)
        if first is None or first[1].authenticated or not hosts:
            continue
        domain = _relayed(transaction, hosts)
        if domain:
            message = f"A message from {transaction.mail_from} to {domain} was taken by {hosts[0]} without log-in."
            yield hit(*first, f"{message} If {domain} is not one of its domains, it is an open relay.", once=True)


def _is_servers_own(format: str) -> bool:
    """Whether a log is the one that a mail server writes of its own sessions."""
    return formats.declaration(format).role == "logger"


def _relayed(transaction: Transaction, hosts: list[str]) -> str | None:
    """The domain of a recipient that is neither the sender's nor the server's, of a message that was taken."""
    sender = _domain(transaction.mail_from or "")
    if transaction.outcome not in ("delivered", "partial") or not sender or transaction.parameters:
        return None
    if any(_related(sender, name) for name in hosts):
        return None
    for recipient in transaction.recipients:
        domain = _domain(recipient.address)
        if recipient.accepted and domain and not any(_related(domain, each) for each in (sender, *hosts)):
            return domain
    return None


def _server_names(dialog: Dialog) -> list[str]:
    """The names by which the server calls itself, in its greeting and in its answer to the hello."""
    replies = [dialog.greeting] + [each.reply for each in dialog.exchanges if each.verb in ("EHLO", "HELO")]
    words = [(each.text[0].split() or [""])[0] for each in replies if each is not None and each.severity == 2]
    return [word.strip(".").lower() for word in dict.fromkeys(words) if _NAME.fullmatch(word)]


#: A host name; an address says nothing of the domains that the host serves.
_NAME = re.compile(r"(?:[A-Za-z0-9_-]+\.)+[A-Za-z][A-Za-z0-9-]*\.?")


def _domain(address: str) -> str:
    _, at, domain = address.rpartition("@")
    return domain.strip(".").lower() if at and "." in domain and not domain.startswith("[") else ""


def _related(domain: str, other: str) -> bool:
    """Whether two names have the same last two labels, or one is written into the other as providers do."""
    return domain.split(".")[-2:] == other.split(".")[-2:] or domain.replace(".", "-") in other


def _is_own(client: str | None) -> bool:
    """Whether the address of a client is of a private network."""
    try:
        return any(ip_address(host(client or "")) in network for network in _OWN)
    except ValueError:
        return False


def _failures(batch: Batch) -> np.ndarray:
    """The sessions in which AUTH failed again and again."""
    at = verbs(*AUTHENTICATES, "AUTH-RESPONSE")(batch) & np.isin(batch.exchanges.code, _AUTH_FAILED)
    return _many(batch, at, _LEAST_FAILURES)


@rule(
    "SEC011",
    "auth-brute-force",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 4954 9",
    advice="Limit the rate (fail2ban) and lock the account for a while.",
    sessions=_failures,
)
def auth_brute_force(dialog: Dialog) -> Iterator[Hit]:
    """AUTH failed three times or more in one session.

    Why it matters: it is a program that guesses passwords, or one with an old password that will lock the account.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: AUTH PLAIN ********
        S: 535 5.7.8 Authentication failed
        C: AUTH PLAIN ********
        S: 535 5.7.8 Authentication failed
        C: AUTH PLAIN ********
        S: 535 5.7.8 Authentication failed

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: AUTH PLAIN ********
        S: 535 5.7.8 Authentication failed
        C: AUTH PLAIN ********
        S: 535 5.7.8 Authentication failed
        C: AUTH PLAIN ********
        S: 235 2.7.0 Ok

    What to do: limit the rate (fail2ban), lock the account for a while; if the client is your own, give it the new password.

    Servers: none should drop before three failures; Exchange drops after three (421 4.7.0 Too many errors).

    Reference: RFC 4954 9
    """
    failed = [
        (i, exchange)
        for i, exchange in enumerate(dialog.exchanges)
        if exchange.verb in (*AUTHENTICATES, "AUTH-RESPONSE") and exchange.reply and exchange.reply.code in _AUTH_FAILED
    ]
    if len(failed) >= _LEAST_FAILURES:
        index, exchange = failed[_LEAST_FAILURES - 1]
        yield hit(index, exchange, f"AUTH failed {len(failed)} times in one session.", end_line=failed[-1][1].line)


#: What a path that is no shell trick does not hold before its ``>`` (RE2).
_TRICK = r"^[^>]*(?:[|;`%!]|\$[{(])"
_FOREIGN = r"^(?:\x16\x03|\x03\x00|SSH-|(?i:GET|POST|HEAD|PUT|OPTIONS|CONNECT|DEBUG|WIZ|KILL|SHOWQ)(?: |$))"
_HTTP = ("GET", "POST", "CONNECT", "HEAD", "PUT", "OPTIONS", "DELETE", "TRACE", "PROPFIND")
_HTTP_TARGET = re.compile(r"(?i)/|https?://|[A-Za-z0-9.-]+:[0-9]{1,5}\b|.* HTTP/[0-9]")
_PERCENT = re.compile(r"%[A-Za-z0-9-]+\.[A-Za-z0-9.-]+@|%[A-Za-z0-9.-]+$")
_BANG = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*![^!]")
_ENTITY = re.compile(r"&#?[A-Za-z0-9]{2,8};")
_SHELL = re.compile(r"[|`]|\$[{(]")


def _probes(batch: Batch) -> np.ndarray:
    """The sessions with a command line that may be a probe."""
    rows, lines = unusual(batch)
    tricks = events.found(lines, _TRICK) & verbs("MAIL", "RCPT", "EHLO", "HELO", *_QUERIES)(batch)[rows]
    foreign = events.found(lines, _FOREIGN) & batch.sessions.odd[batch.exchanges.event[rows]]
    return _many(batch, rows[tricks | foreign], 1)


@rule(
    "SEC012",
    "attack-probe",
    severity="warning",
    party="client",
    scope="exchange",
    reference="historic advisories; RFC 2505 2.8",
    advice="Block the source; keep the software up to date.",
    sessions=_probes,
)
def attack_probe(exchange: Exchange) -> Iterator[Hit]:
    """The client tries an old hole, a shell trick or another protocol.

    Why it matters: no mail program sends DEBUG or WIZ, a path that a shell would run, a way through the server in the local
    part (user%other, other!user), or the first words of HTTP, TLS, SSH or Remote Desktop on an SMTP port. Mostly it is a
    scanner; where the server took it, look closer.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: GET / HTTP/1.1
        S: 221 2.7.0 Error: I can break rules, too. Goodbye.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<root+${run{x}}@localhost>
        S: 550 5.1.1 Unknown

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<victim%other.example@mx.example.net>
        S: 554 5.7.1 Relay access denied

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: DEBUG
        S: 502 5.5.1 Error: command not recognized

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C!: \\x16\\x03\\x01\\x02\\x00\\x01\\r\\n
        S: 500 5.5.2 Error: bad syntax

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<o'brien+tag=x{y}@example.org>
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org> RET=HDRS
        S: 250 Ok
        C: RCPT TO:<b@example.net> ORCPT=rfc822;b@example.net
        S: 250 Ok

    What to do: block the source; keep the software up to date.

    Servers: Postfix answers such lines 221 2.7.0 and hangs up; Exim before 4.92 ran ${run in a local part (CVE-2019-10149).

    Reference: historic advisories; RFC 2505 2.8
    """
    if not is_said(exchange) or exchange.command is None or exchange.verb == ".":
        return
    what = _trick(exchange) or _foreign(exchange)
    if what:
        shown = caret(exchange.command[:80]) + ("…" if len(exchange.command) > 80 else "")
        yield Hit(f"{shown} is {what}.")


def _trick(exchange: Exchange) -> str | None:
    """What a path or a name holds that has no business there."""
    if exchange.verb in ("MAIL", "RCPT"):
        address = path(exchange.argument)
        if ">" not in exchange.argument:
            address = address.partition(" ")[0]  # parameters such as BY=600;R are none of it
        several = address.count("@") > 1 or _ENTITY.search(address)  # as one writes them in a mail program, or in HTML
        local = address.rpartition("@")[0]
        if _SHELL.search(address) or (";" in address and not several):
            return "an address with characters for a shell"
        if _PERCENT.search(address) and "@" in address:
            return "an address with another domain in its local part, to be relayed"
        if _BANG.match(local) and not local.startswith('"'):
            return "a bang path, to be relayed"
    elif exchange.verb in ("EHLO", "HELO", *_QUERIES) and _SHELL.search(exchange.argument):
        return f"{exchange.verb} with characters for a shell"
    return None


def _foreign(exchange: Exchange) -> str | None:
    """Another protocol, or a command of old holes."""
    line, known = exchange.command or "", reference.verb(exchange.verb)
    if known is not None:
        return "a command of old holes in mail servers" if known["status"] == "attack" else None
    if exchange.verb in _HTTP and _HTTP_TARGET.match(exchange.argument):
        return "a request of HTTP"
    if exchange.state in ("connected", "greeted") and not exchange.tls:
        for start, protocol in (("\x16\x03", "TLS"), ("\x03\x00", "Remote Desktop"), ("SSH-", "SSH")):
            if line.startswith(start):
                return f"the first word of {protocol}"
    return None
