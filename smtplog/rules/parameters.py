"""The parameters of MAIL and RCPT as such (RFC 5321 section 4.1.2 and the RFC of each extension)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from smtplog import events, reference
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Exchange
from smtplog.rules.extensions import parameters, parameters_of, plain_parameters
from smtplog.rules.written import fault_of, judged, path_of
from smtplog.suspects import disorder, per_batch
from smtplog.syntax import Fault

#: Together at most one of these (RFC 4865 section 4).
_HOLDS = ("HOLDFOR", "HOLDUNTIL")


@rule(
    "SYN015",
    "esmtp-param-syntax",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.2 and the RFC of the parameter",
    advice="Correct the parameter.",
    sessions=disorder,
)
def esmtp_param_syntax(exchange: Exchange) -> Iterator[Hit]:
    """A parameter of MAIL or RCPT, or its value, is not of the form that its RFC gives it.

    Why it matters: the server refuses the whole command, however good the address is.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE
        C: MAIL FROM:<a@example.org> SIZE=10MB
        S: 501 5.5.4 Bad SIZE

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE
        C: MAIL FROM:<a@example.org>SIZE=100
        S: 501 5.5.4 Syntax error

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-SIZE
        S: 250 8BITMIME
        C: MAIL FROM:<a@example.org> size=1000 Body=8BitMime
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 XVERP
        C: MAIL FROM:<a@example.org> XVERP=+=
        S: 250 Ok

    What to do: write KEYWORD or KEYWORD=value, a space before each, with a value as smtplog explain KEYWORD shows it.

    Servers: all answer 501 or 555; some ignore a parameter that they cannot read. XVERP=+= is no value of RFC 5321, but Postfix
    wants it so.

    Reference: RFC 5321 4.1.2 and the RFC of the parameter
    """
    command = judged(exchange)
    found = fault_of(command) if command else None
    path = path_of(command) if command else None
    if not command or not path or not found or found[0] != "SYN015":
        return
    fault = found[1]
    named = f"The parameter {fault.parameter} of {path.verb}" if fault.parameter else f"A parameter of {path.verb}"
    inner = path.bracketed
    missing_space = fault.part == "closing" and inner is not None
    yield Hit(
        f"{named} is not right: {fault.told}.",
        column=fault.column,
        corrected=path.line(*inner) if missing_space and inner else _with_example(command, fault, path.verb),
    )


def _with_example(command: str, fault: Fault, verb: str) -> str | None:
    """The line with the example of the registry in place of the parameter, or without a parameter that nobody knows."""
    begins = (fault.parameter_column or fault.column) - 1
    ends = command.find(" ", begins)
    rest = command[ends:] if ends >= 0 else ""
    rows = [row for row in reference.parameter(fault.parameter or "") if verb in row["command"].split(";")]
    example = rows[0]["example"] if rows else ""
    return " ".join(f"{command[:begins]}{example}{rest}".split())


@per_batch
def _twice(batch: Batch) -> np.ndarray:
    """The sessions with a MAIL or RCPT that has a parameter twice, or both ways to hold a message."""
    (rows, _), texts = parameters(batch), plain_parameters(batch)
    marked = np.array([bool(_repeated(text)) for text in events.listed(events.values(texts))], np.bool_)
    at = rows[marked[events.codes(texts)]] if len(rows) else rows
    return np.bincount(batch.exchanges.session[at], minlength=len(batch.sessions.first)) > 0


def _repeated(words: str) -> set[str]:
    names = Counter(word.partition("=")[0].upper() for word in words.split())
    return {name for name, times in names.items() if times > 1} | (set(_HOLDS) if set(_HOLDS) <= set(names) else set())


@rule(
    "SYN016",
    "duplicate-esmtp-param",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 3461 4.5; RFC 1870 6; RFC 6710 4.1; RFC 4865",
    advice="Send each parameter once.",
    sessions=_twice,
)
def duplicate_esmtp_param(exchange: Exchange) -> Iterator[Hit]:
    """A parameter stands twice on one MAIL or RCPT, or HOLDFOR stands beside HOLDUNTIL.

    Why it matters: the two may contradict each other; a server must refuse the command, and one that does not takes one of them.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE
        C: MAIL FROM:<a@example.org> SIZE=1 SIZE=2
        S: 501 5.5.4 Duplicate parameter

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-SIZE
        S: 250 8BITMIME
        C: MAIL FROM:<a@example.org> SIZE=1 BODY=8BITMIME
        S: 250 Ok

    What to do: send each parameter once.

    Servers: Exchange answers 501 5.5.4; many take the last one and say nothing.

    Reference: RFC 3461 4.5; RFC 1870 6; RFC 6710 4.1; RFC 4865
    """
    command = judged(exchange)
    if not command or exchange.verb not in ("MAIL", "RCPT"):
        return
    told: dict[str, int] = {}
    for name, _, column in parameters_of(exchange):
        other = next((hold for hold in _HOLDS if name in _HOLDS and hold != name and hold in told), None)
        if name in told or other:
            end = command.find(" ", column)
            yield Hit(
                f"{name} stands beside {other}; expected: one of the two."
                if other
                else f"{name} stands a second time; expected: each parameter once.",
                column=column,
                corrected=(command[: column - 1].rstrip() + (command[end:] if end >= 0 else "")),
            )
            return
        told[name] = column
