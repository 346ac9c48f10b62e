"""Secrets: sent without TLS, asked for without TLS, left in the log (RFC 4954 sections 4 and 9, RFC 8314 section 3)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

import numpy as np

from smtplog import events, reference
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange
from smtplog.negotiated import keywords
from smtplog.rules.course import is_said
from smtplog.suspects import verbs

AUTHENTICATES = ("AUTH", "X-EXPS")
#: Circumstances in which the words of a session do not cross a network in clear, or in which the log does not tell.
SHELTERED = frozenset({"implicit-tls", "loopback", "incomplete"})


def mechanism(exchange: Exchange) -> str:
    """The mechanism of an AUTH command, in upper case."""
    return exchange.argument.partition(" ")[0].upper()


def is_plaintext(mechanism: str) -> bool:
    """Whether who reads the exchange of a mechanism has the password or the token: PLAIN, LOGIN, XOAUTH2, OAUTHBEARER."""
    row = reference.mechanism(mechanism)
    return row is not None and row["plaintext_equivalent"].startswith("yes")


def sends_secret(exchange: Exchange) -> bool:
    """Whether something secret follows an AUTH command, or stands in it: not where the server refused it first."""
    if exchange.verb not in AUTHENTICATES or not is_said(exchange):
        return False
    return exchange.severity in (2, 3) or exchange.argument.partition(" ")[2].strip() not in ("", "=")


def in_clear(batch: Batch) -> np.ndarray:
    """The AUTH commands without TLS."""
    return verbs(*AUTHENTICATES)(batch) & ~batch.exchanges.tls


#: A word of base64 behind AUTH and its mechanism, or alone as the answer to a 334 (RE2).
_BASE64 = r"^(?:(?i:AUTH|X-EXPS) +[^ ]+ +)?[A-Za-z0-9+/]{2,}=* *$"


def _with_secret(batch: Batch) -> np.ndarray:
    """The sessions with something in AUTH that may be base64."""
    pairs = batch.exchanges
    at = np.flatnonzero(verbs(*AUTHENTICATES, "AUTH-RESPONSE")(batch) & (pairs.event >= 0) & ~pairs.inferred)
    at = at[events.found(events.take(batch.sessions.events.text, pairs.event[at]), _BASE64)]
    return np.bincount(pairs.session[at], minlength=len(batch.sessions.first)) > 0


@rule(
    "SEC001",
    "plaintext-auth-without-tls",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 4954 4, 9; RFC 8314 3",
    advice="Use STARTTLS or port 465, and change the password: it has crossed the network in clear.",
    rows=in_clear,
)
def plaintext_auth_without_tls(exchange: Exchange) -> Iterator[Hit]:
    """AUTH sent a password or a token without TLS.

    Why it matters: base64 hides nothing. Everybody on the way can read the password of PLAIN and LOGIN and the token of
    XOAUTH2 and OAUTHBEARER, and use it. On the host itself, and where the log says that TLS was active, all is well; a
    command that the server refused before anything secret was sent is told by DEL005 or DEL007.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN LOGIN
        C: AUTH PLAIN AGEAc2VjcmV0
        S: 235 2.7.0 Ok

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: ********
        S: 334 UGFzc3dvcmQ6
        C: ********
        S: 535 5.7.8 Authentication failed

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 2.0.0 Ready to start TLS
        *: tls ok
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: AUTH PLAIN AGEAc2VjcmV0
        S: 235 2.7.0 Ok

    Fine::

        *: connect 127.0.0.1:50312 -> 127.0.0.1:587
        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: AUTH PLAIN AGEAc2VjcmV0
        S: 235 2.7.0 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH CRAM-MD5
        C: AUTH CRAM-MD5
        S: 334 PDEuMkBteC5leGFtcGxlLm5ldD4=
        C: YSAwMTIzNDU2Nzg5YWJjZGVm
        S: 235 2.7.0 Ok

    What to do: use STARTTLS or port 465, and change the password.

    Servers: Gmail and Exchange Online refuse it (530 5.7.0, 535); Postfix does so with smtpd_tls_auth_only.

    Reference: RFC 4954 4, 9; RFC 8314 3
    """
    if exchange.tls or SHELTERED & exchange.profiles or not sends_secret(exchange):
        return
    name = mechanism(exchange)
    if is_plaintext(name):
        message = f"{exchange.verb} {name} without TLS: the credentials crossed the network in clear."
        yield Hit(message, once=True)


@rule(
    "SEC002",
    "credentials-in-transcript",
    severity="warning",
    party="operator",
    scope="dialog",
    reference="RFC 4954 9; RFC 4616 4",
    advice="Mask the log before you pass it on (smtplog does so in all it prints), and change the password.",
    sessions=_with_secret,
)
def credentials_in_transcript(dialog: Dialog) -> Iterator[Hit]:
    """The log itself holds a password or a token in base64.

    Why it matters: whoever is given the log can log in; base64 is no encryption. TLS on the wire does not help here.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: dXNlcg==
        S: 334 UGFzc3dvcmQ6
        C: c2VjcmV0
        S: 235 2.7.0 Ok

    Flagged::

        *: tls active
        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH XOAUTH2
        C: AUTH XOAUTH2 dXNlcj1hQGV4YW1wbGUub3JnAWF1dGg9QmVhcmVyIGFiY2QBAQ==
        S: 235 2.7.0 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: ********
        S: 334 UGFzc3dvcmQ6
        C: ********
        S: 235 2.7.0 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH LOGIN
        C: AUTH LOGIN dXNlcg==
        S: 334 UGFzc3dvcmQ6
        C: *
        S: 501 5.7.0 Authentication aborted

    What to do: mask the log before you pass it on, and change the password.

    Servers: swaks and Exchange mask these lines in their logs; Postfix -v and a Telnet capture do not.

    Reference: RFC 4954 9; RFC 4616 4
    """
    if "redacted" in dialog.profiles:
        return
    for name, index, value, place in _answers(dialog):
        if _is_secret(name, value, place):
            exchange = dialog.exchanges[index]
            message = f"The log holds the credentials of AUTH {name}, in base64 that anybody can decode."
            yield Hit(message, line=exchange.line, exchange=index, once=True)


def _answers(dialog: Dialog) -> Iterator[tuple[str, int, str, int]]:
    """What the client sent in AUTH: mechanism, index of the exchange, the text, and which one of its AUTH it is, from 0. An
    answer to a prompt for the password is never the first one of LOGIN."""
    name, place = "", 0
    for i, exchange in enumerate(dialog.exchanges):
        if exchange.verb in AUTHENTICATES:
            name, place = mechanism(exchange), 0
            value = exchange.argument.partition(" ")[2].strip()
            if not value:
                continue
        elif exchange.verb == "AUTH-RESPONSE":
            value = (exchange.command or "").strip()
            asked = dialog.exchanges[i - 1].reply if i else None
            words = _decoded(asked.text[-1].strip()) if asked is not None else None
            if words is not None and words.lower().startswith("pass"):
                place = max(place, 1)
        else:
            continue
        if is_said(exchange):
            yield name, i, value, place
        place += 1


def _is_secret(name: str, value: str, place: int) -> bool:
    """Whether an AUTH answer decodes to a password or a token."""
    text = _decoded(value)
    if not text:
        return False
    if name == "LOGIN":
        return place == 1 and text.rstrip("\0").isprintable()
    if name == "PLAIN":
        parts = text.split("\0")
        return len(parts) > 1 and bool(parts[-2] and parts[-1])
    if name in ("XOAUTH2", "OAUTHBEARER"):
        token = text.partition("auth=")[2].partition("\x01")[0]
        return bool(token.removeprefix("Bearer ").strip())
    return False


def _decoded(value: str) -> str | None:
    """Base64 of UTF-8 text, its padding left out or not; None for anything else."""
    try:
        return base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None


@rule(
    "SEC003",
    "plaintext-auth-offered-without-tls",
    severity="warning",
    party="server",
    scope="exchange",
    reference="RFC 4954 4; RFC 8314 3.2",
    advice="Offer PLAIN, LOGIN and tokens under TLS only.",
    rows=verbs("EHLO", "LHLO"),
)
def plaintext_auth_offered_without_tls(exchange: Exchange) -> Iterator[Hit]:
    """The server offers to take a password in clear.

    Why it matters: clients take what is offered, and send the password without TLS. Where STARTTLS is offered beside it, or
    on the host itself, this is a hint only.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN LOGIN

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-STARTTLS
        S: 250 AUTH CRAM-MD5 PLAIN

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-STARTTLS
        S: 250 AUTH CRAM-MD5 SCRAM-SHA-256

    Fine::

        *: tls active
        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN LOGIN

    What to do: offer AUTH after STARTTLS only, on port 465, or with mechanisms that do not show the password.

    Servers: Postfix does so with smtpd_tls_auth_only = yes; Exim as cPanel sets it up lists AUTH under TLS only.

    Reference: RFC 4954 4; RFC 8314 3.2
    """
    reply = exchange.reply
    if reply is None or exchange.severity != 2 or exchange.verb not in ("EHLO", "LHLO") or exchange.tls:
        return
    offered = keywords(reply.text)
    clear = [name for name in offered.get("AUTH", "").upper().split() if is_plaintext(name)]
    listed = "STARTTLS" in offered
    if not clear or exchange.profiles & {"implicit-tls", "exchange-internal"}:
        return
    if "incomplete" in exchange.profiles and not listed:
        return  # the log does not show whether TLS was active
    at = next((i for i, line in enumerate(reply.text) if line[:4].upper() == "AUTH"), 0)
    local = listed or "loopback" in exchange.profiles
    yield Hit(
        f"The server offers AUTH {', '.join(dict.fromkeys(clear))} without TLS{', beside STARTTLS' if listed else ''}.",
        line=min(reply.line + at, reply.end_line),
        severity="info" if local else None,
        once=True,
    )
