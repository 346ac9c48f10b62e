"""A command line as a whole: its arguments, characters, length, white space (RFC 5321 sections 2.4, 4.1.1, 4.5.3.1.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from smtplog import events, reference
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange
from smtplog.rules.course import hit
from smtplog.rules.extensions import keywords_for, parameters_of
from smtplog.rules.written import BARE, WORD, fault_of, judged, path_of
from smtplog.speech import split
from smtplog.suspects import disorder, per_batch

#: Verb → what it needs, and a line that has it.
_NEEDY = {
    "VRFY": ("an address or user name", "VRFY user@example.net"),
    "EXPN": ("the name of a list", "EXPN staff"),
    "ETRN": ("a domain", "ETRN example.org"),
    "BDAT": ("the size of the chunk in octets", "BDAT 1000 LAST"),
    "AUTH": ("a mechanism", "AUTH PLAIN"),
    "XCLIENT": ("name=value pairs", "XCLIENT ADDR=192.0.2.7"),
}
#: How whoever printed a log begins a remark behind a command.
_REMARK = re.compile(r"\*\*\*|<[-=]|[-=]+>|←")
#: Octets with CRLF: of a command line, and of a line of an AUTH exchange (RFC 5321 section 4.5.3.1.4; RFC 4954 section 4).
_LONGEST, _LONGEST_AUTH = 512, 12_288


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
    """DATA, RSET, QUIT or STARTTLS comes with an argument, or another command with more than it takes.

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

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: DATA    <== nobody was named
        S: 503 5.5.1 Error: need RCPT command

    What to do: send the bare verb.

    Servers: Postfix and Exchange answer 501; sendmail and qmail ignore the argument.

    Reference: RFC 5321 4.1.1, 4.3.2; RFC 3207 4
    """
    command = judged(exchange)
    found = fault_of(command) if command else None
    if not command or not found or found[0] != "SYN007":
        return
    verb, argument = split(command)
    rest = command[found[1].column - 1 :].strip()
    if verb in BARE and _REMARK.match(argument.strip()):
        return
    if verb in BARE:
        at, corrected = command.rstrip().rfind(argument.strip()) + 1, verb
        yield Hit(f"{verb} takes no argument; {argument.strip()} follows.", column=at, corrected=corrected)
    else:
        kept = command[: found[1].column - 1].rstrip(" ,")
        yield Hit(f"{verb} is complete before {rest}: {found[1].told}.", column=found[1].column, corrected=kept)


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
    """A command that needs an argument comes without it, or with something else in its place.

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
    command = judged(exchange)
    if not command:
        return
    path = path_of(command)
    found = fault_of(command)
    if path is not None and not path.text:
        wanted = "user@example.org" if path.verb == "MAIL" else "user@example.net"
        yield Hit(
            f"{path.verb} {WORD[path.verb]}: comes without an address; expected: < at column {len(command.rstrip()) + 1}.",
            column=len(command.rstrip()) + 1,
            corrected=path.line(wanted, ""),
        )
    elif found and found[0] == "SYN008" and (argument := exchange.argument.strip()):
        yield Hit(
            f"{argument} is not what {exchange.verb} needs: {found[1].told}.",
            column=found[1].column,
            corrected=_NEEDY.get(exchange.verb, ("", None))[1],
        )
    elif exchange.verb in _NEEDY and not exchange.argument.strip():
        needed, line = _NEEDY[exchange.verb]
        yield Hit(
            f"{exchange.verb} comes without its argument; expected: {needed}.",
            column=len(command.rstrip()) + 1,
            corrected=line,
        )


@rule(
    "SYN017",
    "non-ascii-command",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 5321 2.4; RFC 6531 3.2, 3.7.1",
    advice="Offer SMTPUTF8 with MAIL where the server has it, or use an ASCII address (xn-- for domains).",
    sessions=disorder,
)
def non_ascii_command(dialog: Dialog) -> Iterator[Hit]:
    """A command line holds an octet above 127 where SMTPUTF8 was not asked for.

    Why it matters: commands are ASCII. Only SMTPUTF8 on the MAIL of the transaction, or behind VRFY and EXPN, permits UTF-8 in
    addresses; EHLO never has it.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<jörg@example.org>
        S: 501 5.1.7 Invalid address

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SMTPUTF8
        C: MAIL FROM:<jörg@example.org> SMTPUTF8
        S: 250 Ok
        C: RCPT TO:<δοκ@example.net>
        S: 250 Ok

    What to do: write MAIL FROM:<...> SMTPUTF8 where EHLO lists it; else write the domain as xn--..., and use an ASCII local part.

    Servers: Postfix answers 553 5.6.7, Gmail 555 or 553 5.6.7, Exchange 501 5.1.7.

    Reference: RFC 5321 2.4; RFC 6531 3.2, 3.7.1
    """
    permitted = False
    for i, exchange in enumerate(dialog.exchanges):
        command = judged(exchange)
        if command is None:
            continue
        if exchange.verb == "MAIL":
            permitted = any(name == "SMTPUTF8" for name, _, _ in parameters_of(exchange))
        if command.isascii():
            continue
        own = exchange.verb in ("VRFY", "EXPN") and command.upper().endswith(" SMTPUTF8")
        if own or (permitted and exchange.verb in WORD):
            continue
        column = next(at for at, c in enumerate(command, 1) if ord(c) > 127)
        why = "EHLO is always ASCII" if exchange.verb in ("EHLO", "HELO", "LHLO") else "SMTPUTF8 was not asked for"
        yield hit(
            i,
            exchange,
            f"A character outside ASCII, {command[column - 1]!r}, stands at column {column} of {exchange.verb}; {why}.",
            column=column,
            corrected=f"{command} SMTPUTF8"
            if exchange.verb == "MAIL" and "SMTPUTF8" in (exchange.extensions or {})
            else None,
        )


@per_batch
def _long_lines(batch: Batch) -> np.ndarray:
    """The sessions with a client line of more than 510 octets that is no message text."""
    pairs, found = batch.exchanges, batch.sessions.events
    rows = np.flatnonzero(pairs.event >= 0)
    long = events.lengths(events.take(found.text, pairs.event[rows])) > _LONGEST - 2
    return np.bincount(pairs.session[rows[long]], minlength=len(batch.sessions.first)) > 0


@rule(
    "SYN018",
    "command-too-long",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.5.3.1.4; RFC 4954 4",
    advice="Shorten the line.",
    sessions=_long_lines,
)
def command_too_long(exchange: Exchange) -> Iterator[Hit]:
    """A command line is longer than every server must take: 512 octets with its CRLF.

    Why it matters: a server may refuse a longer line, cut it, or close the connection. Extensions that are used give more room (SIZE
    26 octets, AUTH= 500); an answer inside AUTH may have 12,288.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: NOOP {x*600}
        S: 500 5.5.2 Error: command too long

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: AUTH PLAIN
        S: 334
        C: {A*800}
        S: 235 2.7.0 Ok

    What to do: shorten the line; send a long AUTH answer after the 334 instead of behind AUTH.

    Servers: Postfix takes 2048 octets (line_length_limit), Exim 16384, Exchange 2048 to 4096.

    Reference: RFC 5321 4.5.3.1.4; RFC 4954 4
    """
    command = exchange.command
    if command is None or exchange.inferred or exchange.verb in ("", "."):
        return
    octets = len(command.encode()) + 2
    if exchange.verb == "AUTH-RESPONSE":
        limit = _LONGEST_AUTH
    else:
        used = {
            keyword
            for name, value, _ in parameters_of(exchange)
            for keyword in keywords_for(name, value, exchange.verb)
        }
        offered = exchange.extensions if exchange.extensions is not None else dict.fromkeys(used, "")
        limit = _LONGEST + sum(_increase(keyword, exchange.verb) for keyword in used if keyword in offered)
    if octets > limit:
        yield Hit(
            f"The {exchange.verb if reference.verb(exchange.verb) else 'command'} line has {octets} octets with its CRLF; expected: at most {limit}.",
            column=limit - 1,
        )


def _increase(keyword: str, verb: str) -> int:
    """By how many octets an extension lets a command line grow."""
    row = reference.extension(keyword)
    figure = re.search(rf"{verb}\s*\+?([0-9]+)|\b([0-9]+)", row["mail_line_increase"]) if row else None
    return int(figure[1] or figure[2]) if figure else 0


@rule(
    "SYN023",
    "odd-white-space",
    severity="info",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.1",
    advice="Use exactly one space between words, and none at the edges.",
    extra=True,
    sessions=disorder,
)
def odd_white_space(exchange: Exchange) -> Iterator[Hit]:
    """White space stands at the edges of a command line, or is more than one space between its words, or a tab.

    Why it matters: the grammar has one space between words. Servers must pass over spaces at the end, and most pass over more; some do
    not.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL  FROM:<a@example.org>
        S: 250 Ok

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C!: EHLO client.example.org  \\r\\n
        S: 250 mx.example.net

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<"a  b"@example.org>
        S: 250 Ok

    What to do: use exactly one space, and none at the edges.

    Servers: Exchange accepts double spaces; most accept spaces at the end.

    Reference: RFC 5321 4.1.1
    """
    command = exchange.command
    if command is None or exchange.inferred or exchange.verb in (".", "AUTH-RESPONSE") or exchange.state == "auth":
        return
    match = re.search(r"^[ \t]+|[ \t]+$|\t|  +", re.sub(r'"(?:[^"\\]|\\.)*"', lambda m: "x" * len(m[0]), command))
    if match is None or not command.strip():
        return
    leading = match.start() == 0
    refused = leading and exchange.severity == 5
    what = "in front of" if leading else "at the end of" if match.end() == len(command) else "inside"
    words = re.split(r"[ \t]+", command.strip()) if '"' not in command else [command.strip()]
    yield Hit(
        f"White space that does not belong there stands {what} the line; expected: one space between words, none at the edges.",
        severity="error" if refused else "info",
        final=True,
        column=match.start() + 1,
        corrected=" ".join(words),
    )
