"""TLS that was taken away, not used, broken into or given up (RFC 3207 sections 4 and 6)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from smtplog import reference, states
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange
from smtplog.negotiated import keywords
from smtplog.rules.confidentiality import is_plaintext, mechanism, sends_secret
from smtplog.rules.course import after, commands, counts_replies, group_start, handshake_failed, hit, in_doubt
from smtplog.suspects import failed_handshakes, refused, verbs

_STARTS_TLS = ("STARTTLS", "X-ANONYMOUSTLS")
_CONTENT = ("DATA", "BDAT")
#: Circumstances in which nobody expects STARTTLS: Telnet cannot do it, and nobody listens inside a host.
_WITHOUT_TLS = frozenset({"implicit-tls", "loopback", "by-hand"})
#: A keyword that a firewall has written over, its length kept.
_OVERWRITTEN = re.compile(r"(?:X{4,}|\*{4,})[A-Z]?")


@rule(
    "SEC004",
    "starttls-stripped",
    severity="warning",
    party="unknown",
    scope="exchange",
    reference="RFC 3207 6; RFC 8461",
    advice="Switch the SMTP inspection of the firewall off; demand TLS (MTA-STS, DANE).",
    rows=verbs("EHLO", "LHLO", "STARTTLS"),
)
def starttls_stripped(exchange: Exchange) -> Iterator[Hit]:
    """Something between client and server keeps them from using TLS.

    Why it matters: a keyword of X or asterisks in the EHLO reply is one that a firewall wrote over, mostly STARTTLS; and a
    server that offers STARTTLS knows the command. Mail and passwords then go in clear, which is what an attacker wants too.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-XXXXXXXA
        S: 250 PIPELINING

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 500 5.5.1 Command unrecognized: "XXXXXXXX"

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-XCLIENT NAME ADDR
        S: 250 PIPELINING

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: STARTTLS
        S: 502 5.5.1 Command not implemented

    What to do: switch the SMTP inspection (fixup) of the firewall off; publish MTA-STS or DANE, so that senders demand TLS.

    Servers: Cisco PIX and ASA with inspect esmtp write over STARTTLS in this way.

    Reference: RFC 3207 6; RFC 8461
    """
    reply = exchange.reply
    if reply is None or exchange.tls:
        return
    if exchange.verb == "STARTTLS":
        offered = exchange.extensions is not None and "STARTTLS" in exchange.extensions
        if offered and reply.code in (500, 502):
            message = f"STARTTLS was offered, and answered {reply.code}: something on the way changes what is said."
            yield Hit(message, once=True)
    elif exchange.severity == 2 and exchange.verb in ("EHLO", "LHLO") and "STARTTLS" not in keywords(reply.text):
        for i, text in enumerate(reply.text[1:], 1):
            word = text.split(" ")[0]
            if _OVERWRITTEN.fullmatch(word):
                likely = ", which has the length of STARTTLS," if len(word) == len("STARTTLS") else ""
                yield Hit(
                    f"The keyword {word[:40]}{likely} was written over on the way; STARTTLS is not offered.",
                    line=min(reply.line + i, reply.end_line),
                    once=True,
                )
                return


def _starttls_left(batch: Batch) -> np.ndarray:
    """What may carry a secret in clear though STARTTLS was offered, and what carries the first message of a session so."""
    pairs = batch.exchanges
    left = ~pairs.tls & batch.offers.has("STARTTLS")
    messages = np.flatnonzero(left & verbs(*_CONTENT)(batch) & np.isin(pairs.code // 100, (2, 3)))
    mask = left & verbs("AUTH", "X-EXPS")(batch)
    mask[messages[np.unique(pairs.session[messages], return_index=True)[1]]] = True
    return mask


@rule(
    "SEC005",
    "tls-available-not-used",
    severity="info",
    party="client",
    scope="exchange",
    reference="RFC 3207 4, 6; RFC 8314 3.3",
    advice="Use STARTTLS; by hand: openssl s_client -starttls smtp -connect HOST:PORT.",
    rows=_starttls_left,
)
def tls_available_not_used(exchange: Exchange) -> Iterator[Hit]:
    """A message or a password went in clear, though the server had offered STARTTLS.

    Why it matters: it could be read on the way. On the submission port (587), where people log in, it is a warning. Of a capture
    of Telnet, which cannot do TLS, nothing is said.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Go ahead

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 550 5.1.1 User unknown
        C: QUIT
        S: 221 Bye

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 2.0.0 Ready
        *: tls ok
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Go ahead

    What to do: use STARTTLS; by hand with openssl s_client -starttls smtp -connect HOST:PORT.

    Servers: normal in Telnet tests.

    Reference: RFC 3207 4, 6; RFC 8314 3.3
    """
    offered = exchange.extensions is not None and "STARTTLS" in exchange.extensions
    if not offered or exchange.tls or exchange.profiles & _WITHOUT_TLS:
        return
    message = exchange.verb in _CONTENT and exchange.severity in (2, 3)
    if message or sends_secret(exchange):
        what = "The message" if message else f"{exchange.verb} {mechanism(exchange)}"
        warned = "submission" in exchange.profiles
        told = f"{what} went in clear, though STARTTLS was offered."
        yield Hit(told, severity="warning" if warned else None, once=True)


def _beside_starttls(batch: Batch) -> np.ndarray:
    """The sessions in which something was said between STARTTLS and its reply, or a reply came that nobody asked for."""
    pairs = batch.exchanges
    starts = verbs(*_STARTS_TLS)(batch)
    at = np.zeros(len(pairs.session), np.bool_)
    if starts.any():
        nobody = np.array([name == "" for name in pairs.verbs], np.bool_)[pairs.verb]
        at[1:] = starts[:-1] & (pairs.pipelined | (nobody & (pairs.event < 0)))[1:]
    return np.bincount(pairs.session[at], minlength=len(batch.sessions.first)) > 0


@rule(
    "SEC006",
    "starttls-command-injection",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 3207 4; CVE-2011-0411; CVE-2021-38371",
    advice="Discard what was received before the handshake; as a client, wait for the 220.",
    sessions=_beside_starttls,
)
def starttls_command_injection(dialog: Dialog) -> Iterator[Hit]:
    """Something was said in clear between STARTTLS and the TLS handshake.

    Why it matters: anybody on the way can put such words there. A server that keeps them and answers under TLS takes the
    words of the attacker for those of the client; a client that keeps an answer is deceived in the same way.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-PIPELINING
        S: 250 STARTTLS
        C: STARTTLS
        C: MAIL FROM:<evil@example.org>
        S: 220 2.0.0 Ready to start TLS

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 2.0.0 Ready to start TLS
        S: 250 2.1.0 Ok
        *: tls ok
        C: EHLO client.example.org
        S: 250 mx.example.net

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-PIPELINING
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 2.0.0 Ready to start TLS
        *: tls ok
        C: EHLO client.example.org
        S: 250 mx.example.net

    What to do: as a server, discard what came before the handshake (update the software); as a client, wait for the 220.

    Servers: Postfix since 2.8 discards it and says so in its log; Exim answers 554 synchronization error.

    Reference: RFC 3207 4; CVE-2011-0411; CVE-2021-38371
    """
    if not counts_replies(dialog) or dialog.profiles & {"implicit-tls"}:
        return
    for i, start in commands(dialog):
        if start.verb in _STARTS_TLS and not in_doubt(dialog, i + 1):
            yield from _injected(dialog, i)
            yield from _said_before_handshake(dialog, i)


def _injected(dialog: Dialog, start: int) -> Iterator[Hit]:
    """The commands that did not wait for the answer to STARTTLS."""
    group = []
    for i in range(start + 1, len(dialog.exchanges)):
        exchange = dialog.exchanges[i]
        if not exchange.pipelined or group_start(dialog, i) > start:
            break
        if reference.verb(exchange.verb) is not None and exchange.line is not None:
            group.append((i, exchange))
    if not group:
        return
    i, first = group[0]
    verb = dialog.exchanges[start].verb
    yield hit(i, first, f"{first.verb} was sent in clear before the reply to {verb}.", end_line=group[-1][1].line)
    handshake = next((event.line for event in dialog.events if event.kind == "tls" and event.text != "failed"), None)
    for i, exchange in group:
        reply = exchange.reply
        if handshake is not None and reply is not None and reply.line > handshake and exchange.line < handshake:  # type: ignore[operator]
            message = f"The server answered under TLS the {exchange.verb} that had come before the handshake."
            yield Hit(message, line=reply.line, exchange=i, party="server")
            return


def _said_before_handshake(dialog: Dialog, start: int) -> Iterator[Hit]:
    """A reply in clear between the 220 and the handshake."""
    if start + 1 >= len(dialog.exchanges) or after(dialog.exchanges[start]).tls is not True:
        return
    exchange = dialog.exchanges[start + 1]
    reply, ready = exchange.reply, dialog.exchanges[start].reply
    if exchange.verb or exchange.command is not None or reply is None or ready is None:
        return
    if any(event.kind == "tls" and event.line > reply.line > ready.end_line for event in dialog.events):
        message = f"The server said {reply.code} in clear between its 220 and the TLS handshake."
        yield Hit(message, line=reply.line, exchange=start + 1, party="server")


def _tls_failed(batch: Batch) -> np.ndarray:
    """The sessions in which STARTTLS was refused or the handshake failed."""
    n = len(batch.sessions.first)
    marked = np.bincount(batch.exchanges.session[refused(*_STARTS_TLS)(batch)], minlength=n) > 0
    return marked | (np.bincount(batch.sessions.session[failed_handshakes(batch)], minlength=n) > 0)


@rule(
    "SEC007",
    "cleartext-after-tls-failure",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 3207 4, 6",
    advice="Try again later, or demand TLS.",
    sessions=_tls_failed,
)
def cleartext_after_tls_failure(dialog: Dialog) -> Iterator[Hit]:
    """STARTTLS failed, and the client went on in clear.

    Why it matters: who can make TLS fail can then read mail and passwords. On port 25 senders go on by design, as mail in
    clear is better than none (an info there); a client that logs in must not.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 454 4.7.0 TLS not available due to local problem
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 454 4.7.0 TLS not available due to local problem
        C: QUIT
        S: 221 2.0.0 Bye

    What to do: try again later, or demand TLS.

    Servers: opportunistic TLS on port 25 does this by design.

    Reference: RFC 3207 4, 6
    """
    failed = None
    for i, exchange in commands(dialog):
        if exchange.verb in _STARTS_TLS:
            if exchange.severity in (4, 5) and not exchange.tls:
                failed = i, f"was answered {exchange.reply.code}" if exchange.reply else "failed"
            elif handshake_failed(dialog, i):
                failed = i, "led to a TLS handshake that failed"
        elif failed is not None and _goes_on(exchange) and group_start(dialog, i) > failed[0]:
            what = f"{exchange.verb} {mechanism(exchange)}" if exchange.verb not in states.MAIL else exchange.verb
            by_design = (dialog.server or "").endswith(":25") or "loopback" in dialog.profiles
            message = f"STARTTLS {failed[1]} (line {dialog.exchanges[failed[0]].line}), and {what} was sent in clear."
            yield hit(i, exchange, message, severity="info" if by_design else None)
            return


def _goes_on(exchange: Exchange) -> bool:
    """Whether an exchange begins a transaction, or sends a secret, in clear."""
    if exchange.tls:
        return False
    if exchange.verb in states.MAIL:
        return exchange.severity not in (4, 5)
    return sends_secret(exchange) and is_plaintext(mechanism(exchange))
