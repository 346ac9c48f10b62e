"""The base64 of an AUTH exchange (RFC 4954 section 4, RFC 4648 section 4)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from smtplog import events
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange
from smtplog.redact import hidden
from smtplog.rules.course import hit
from smtplog.suspects import per_batch, verbs

_WHOLE = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_ALPHABET = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


@per_batch
def _answers(batch: Batch) -> np.ndarray:
    """The sessions with an answer, behind AUTH or after a 334, that is not base64."""
    pairs, found = batch.exchanges, batch.sessions.events
    rows = np.flatnonzero(verbs("AUTH", "X-EXPS", "AUTH-RESPONSE")(batch) & (pairs.event >= 0))
    lines = events.take(found.text, pairs.event[rows])
    whole = events.found(lines, _WHOLE) | events.found(
        lines, r"^(?i:AUTH|X-EXPS)(?: [^ ]*)?(?: " + _WHOLE[1:-1] + r")?$"
    )
    return np.bincount(pairs.session[rows[~whole]], minlength=len(batch.sessions.first)) > 0


@rule(
    "SYN024",
    "bad-auth-base64",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 4954 4; RFC 4648 4",
    advice="Encode it: printf '\\0user\\0password' | base64 for PLAIN.",
    sessions=_answers,
)
def bad_auth_base64(dialog: Dialog) -> Iterator[Hit]:
    """What was sent behind AUTH, or in answer to a 334, is not base64.

    Why it matters: the server cannot decode it and refuses, whatever the user name and the password are.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: AUTH PLAIN user:secret
        S: 501 5.5.2 Cannot decode

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: AUTH PLAIN =
        S: 535 5.7.8 Bad credentials

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: *
        S: 501 5.7.0 Cancelled

    What to do: base64 of NUL, user, NUL, password for PLAIN; base64 of each of the two for LOGIN.

    Servers: Exim answers 501 Invalid base64 data, Exchange 501 5.5.4 or 535, Gmail 501 5.5.2.

    Reference: RFC 4954 4; RFC 4648 4
    """
    if "redacted" in dialog.profiles:
        return
    first = 0
    for i, exchange in enumerate(dialog.exchanges):
        if exchange.verb in ("AUTH", "X-EXPS"):
            first = i
        elif exchange.verb != "AUTH-RESPONSE":
            continue
        if exchange.severity == 2:  # the log shows decoded what was sent encoded (swaks --auth-plaintext)
            continue
        answer = _answer(exchange)
        reason = _fault(answer) if answer else None
        if reason is None or _succeeds(dialog, first):
            continue
        at, words = reason
        where = "The answer to the 334" if exchange.verb == "AUTH-RESPONSE" else f"The answer behind {exchange.verb}"
        mechanism = exchange.argument.split(" ")[0]
        yield hit(
            i,
            exchange,
            f"{where} is not base64: {words}.",
            column=len((exchange.command or "").rstrip()) - len(answer) + at,
            corrected=None if exchange.verb == "AUTH-RESPONSE" else f"{exchange.verb} {mechanism}",
        )


def _answer(exchange: Exchange) -> str:
    """What was sent to be decoded; empty where nothing was, or where the log hides it."""
    command = exchange.command
    if command is None or exchange.inferred:
        return ""
    answer = command.strip() if exchange.verb == "AUTH-RESPONSE" else exchange.argument.partition(" ")[2].strip()
    return "" if answer in ("=", "*") or hidden(answer) else answer


def _succeeds(dialog: Dialog, first: int) -> bool:
    """Whether the AUTH exchange that begins here was accepted in the end."""
    for exchange in dialog.exchanges[first:]:
        if exchange.severity != 3:
            return exchange.severity == 2
    return False


def _fault(answer: str) -> tuple[int, str] | None:
    """Column from 1 and words of what is wrong; nothing of the answer itself."""
    body = answer.rstrip("=")
    strange = next((at for at, c in enumerate(body, 1) if c not in _ALPHABET), None)
    if strange is not None:
        return strange, f"its character {strange} is none of A-Z, a-z, 0-9, + and /"
    if len(answer) - len(body) > 2:
        return len(body) + 3, "more than two = stand at its end"
    if len(answer) % 4:
        return len(answer) + 1, "its length is no multiple of four; = is missing at its end, or characters are"
    return None
