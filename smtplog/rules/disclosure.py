"""What a server tells strangers about itself and its users (RFC 5321 sections 3.5, 7.3 and 7.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import numpy as np

from smtplog import reference
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Reply
from smtplog.rules.course import hit
from smtplog.suspects import replies, verbs

_MAILBOX = re.compile(r"<[^<>]+>|[^\s<>@]+@[^\s<>@]+")
_QUERIES = ("VRFY", "EXPN")


def _queries_answered(batch: Batch) -> np.ndarray:
    """The sessions in which VRFY or EXPN had success."""
    at = verbs(*_QUERIES)(batch) & (batch.exchanges.code // 100 == 2)
    return np.bincount(batch.exchanges.session[at], minlength=len(batch.sessions.first)) > 0


@rule(
    "SEC009",
    "vrfy-expn-discloses",
    severity="info",
    party="server",
    scope="dialog",
    reference="RFC 5321 3.5, 7.3",
    advice="Switch VRFY and EXPN off: disable_vrfy_command = yes (Postfix), PrivacyOptions goaway (sendmail).",
    sessions=_queries_answered,
)
def vrfy_expn_discloses(dialog: Dialog) -> Iterator[Hit]:
    """VRFY or EXPN told a stranger who has a mailbox.

    Why it matters: addresses are collected, and passwords guessed, with the names that these commands give away.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: VRFY smith
        S: 250 2.1.5 John Smith <smith@example.net>

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: EXPN staff
        S: 250-<anna@example.net>
        S: 250 <bert@example.net>

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: VRFY smith
        S: 252 2.0.0 smith

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: VRFY smith
        S: 250 Cannot verify, but will take a message

    What to do: switch both commands off.

    Servers: sendmail answers with its default PrivacyOptions; others say 252 or 502.

    Reference: RFC 5321 3.5, 7.3
    """
    for i, exchange in enumerate(dialog.exchanges):
        reply = exchange.reply
        if exchange.verb not in _QUERIES or reply is None or exchange.authenticated:
            continue
        lists = exchange.verb == "EXPN" and reply.code == 250
        if lists or (reply.code in (250, 251) and _MAILBOX.search(" ".join(reply.text))):
            told = "the members of a list" if exchange.verb == "EXPN" else "a mailbox"
            yield hit(i, exchange, f"{exchange.verb} was answered {reply.code}, with {told}, to a stranger.")


@rule(
    "SEC013",
    "software-version-disclosed",
    severity="info",
    party="operator",
    scope="dialog",
    reference="RFC 5321 3.1, 7.5",
    advice="Leave the version out of the greeting, if policy asks for it.",
    extra=True,
    sessions=replies(r"^(?:220|214)[ -].*[0-9]\.[0-9]"),
)
def software_version_disclosed(dialog: Dialog) -> Iterator[Hit]:
    """The greeting or the help text names the software and its version.

    Why it matters: it is allowed, and helps to find faults; it also tells an attacker which holes to try.

    Flagged::

        S: 220 mx.example.net ESMTP Exim 4.96 Mon, 01 Jan 2024 12:00:00 +0000

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: HELP
        S: 214-2.0.0 This is sendmail version 8.14.4
        S: 214 2.0.0 End of HELP info

    Fine::

        S: 220 mx.example.net ESMTP Postfix (Debian/GNU)

    Fine::

        S: 220 192.0.2.7 ESMTP ready

    What to do: leave the version out of the greeting (smtpd_banner, smtp_banner, SmtpGreetingMessage), if policy asks for it.

    Servers: Exim and sendmail name it by default; Postfix, Exchange and Gmail do not.

    Reference: RFC 5321 3.1, 7.5
    """
    if dialog.greeting is not None and dialog.greeting.severity == 2:
        yield from _named(dialog.greeting, "greeting")
    for exchange in dialog.exchanges:
        if exchange.verb == "HELP" and exchange.severity == 2 and exchange.reply is not None:
            yield from _named(exchange.reply, "help text")


def _named(reply: Reply, where: str) -> Iterator[Hit]:
    words = " ".join(reply.text)[:2048]
    found = _version().search(words)
    if found is not None:
        yield Hit(f"The {where} names the software and its version: {found[0]}.", line=reply.line, once=True)


@cache
def _version() -> re.Pattern[str]:
    """A product of ``data/server_banners.csv`` and, within a few words, a number that is a version."""
    names = {row["software"].split()[0].strip("()/,") for row in reference.table("server_banners")}
    names |= {"Mail Service", "ESMTP Server"}
    products = "|".join(sorted(map(re.escape, (name for name in names if len(name) > 2)), key=len, reverse=True))
    return re.compile(
        rf"(?i)\b(?:{products})\b[^0-9\n]{{0,24}}?v?[0-9]{{1,4}}\.[0-9][0-9A-Za-z._-]{{0,30}}(?![0-9.]*@)"
    )
