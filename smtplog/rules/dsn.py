"""Delivery status notifications: RET and ENVID of MAIL, NOTIFY and ORCPT of RCPT (RFC 3461)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from smtplog import events
from smtplog.batches import Batch
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange
from smtplog.rules.course import commands, hit, is_said
from smtplog.rules.dsn_values import COMMAND, LONGEST_ORCPT, NOTIFICATIONS, corrected, decoded, fault, parameters
from smtplog.suspects import commands as lines_with
from smtplog.suspects import per_batch, unusual, verbs

_NULL_SENDER = lines_with(r"^(?i:MAIL FROM):[ \t]*<>", "MAIL")

# -- which sessions


@per_batch
def _asking(batch: Batch) -> tuple[np.ndarray, events.Strings]:
    """The MAIL and RCPT exchanges with one of the four parameters, and their command lines."""
    rows, lines = unusual(batch)
    named = events.found(lines, rf"(?i)[> \t](?:{'|'.join(COMMAND)})(?:[= \t]|$)")
    asking = np.flatnonzero(named & verbs("MAIL", "RCPT")(batch)[rows])
    return rows[asking], events.take(lines, asking)


def _sessions(batch: Batch, rows: np.ndarray) -> np.ndarray:
    return np.bincount(batch.exchanges.session[rows], minlength=len(batch.sessions.first)) > 0


#: What the grammar allows and these rules do not: the other command, a value cut in two by a space, no address.
_SUSPECT = (
    r"(?i)^MAIL .*[> \t](?:NOTIFY|ORCPT)(?:[= \t]|$)|^RCPT .*[> \t](?:RET|ENVID)(?:[= \t]|$)"
    rf"|[ \t](?:{'|'.join(NOTIFICATIONS)})(?:[ \t,]|$)|;(?:[ \t]|$)"
)


@per_batch
def _broken(batch: Batch) -> np.ndarray:
    """The sessions with one of the four that is not well-formed, or on the wrong command."""
    rows, lines = _asking(batch)
    suspect = batch.sessions.odd[batch.exchanges.event[rows]] | events.found(lines, _SUSPECT)
    return _sessions(batch, rows[suspect | (events.lengths(lines) > LONGEST_ORCPT)])


def _broken_or_submitted(batch: Batch) -> np.ndarray:
    """Those, and the sessions of authenticated clients whose ORCPT is not the address of RCPT, letter for letter."""
    rows, lines = _asking(batch)
    mask, fields = events.extracted(lines, r"(?i)^RCPT TO:<(?P<path>[^<>]*)>.* ORCPT=rfc822;(?P<original>[^ ]*)")
    same = np.zeros(len(rows), np.bool_)
    pairs = zip(events.listed(fields["path"]), events.listed(fields["original"]), strict=True)
    same[mask] = [path == original for path, original in pairs]
    asking = np.zeros(len(rows), np.bool_)
    asking[mask] = True
    return _broken(batch) | _sessions(batch, rows[asking & ~same])


def _refused(batch: Batch) -> np.ndarray:
    """The sessions in which such a command was refused for its parameters, or in which it was accepted without them."""
    (rows, lines), pairs = _asking(batch), batch.exchanges
    at = np.flatnonzero(pairs.code[rows] >= 400)
    reply = pairs.reply_first[pairs.reply[rows[at]]]
    words = events.found(events.take(batch.sessions.events.text, reply), _NAMED.pattern)
    blamed = np.isin(pairs.code[rows[at]], (455, 501, 504, 555)) | words
    return _sessions(batch, rows[at[blamed]]) | _sessions(batch, rows[at[_also_without(batch, rows[at], lines, at)]])


def _also_without(batch: Batch, refused: np.ndarray, lines: events.Strings, at: np.ndarray) -> np.ndarray:
    """Which of these refused exchanges stand in a session where the same command without the parameters was accepted."""
    pairs = batch.exchanges
    near = np.isin(pairs.session, pairs.session[refused]) & (pairs.code // 100 == 2) & (pairs.event >= 0)
    rows = np.flatnonzero(near & verbs("MAIL", "RCPT")(batch))
    accepted = events.listed(events.take(batch.sessions.events.text, pairs.event[rows]))
    known = {(s, _plain(line)) for s, line in zip(pairs.session[rows].tolist(), accepted, strict=True)}
    asked = zip(pairs.session[refused].tolist(), events.listed(events.take(lines, at)), strict=True)
    return np.array([(s, bare(line)) in known for s, line in asked], np.bool_)


def _in_vain(batch: Batch) -> np.ndarray:
    """The sessions that ask for notifications and have a message without a sender, or want TLS and all of a message back."""
    rows, lines = _asking(batch)
    notify = _sessions(batch, rows[events.found(lines, r"(?i) NOTIFY=[^N]")]) & _NULL_SENDER(batch)
    return notify | _sessions(batch, rows[events.found(lines, r"(?i)RET=.*REQUIRETLS|REQUIRETLS.*RET=")])


# -- values


def _faults(exchange: Exchange, *names: str) -> Iterator[Hit]:
    command = exchange.command or ""
    if not is_said(exchange) or exchange.verb not in ("MAIL", "RCPT"):
        return
    told: set[str] = set()
    for parameter in parameters(command):
        mine = parameter.name in names and COMMAND[parameter.name] == exchange.verb and parameter.name not in told
        found = fault(parameter) if mine else None
        if found:
            told.add(parameter.name)
            column, what = found
            yield Hit(f"{what}.", column=column, corrected=corrected(command))


@rule(
    "DSN001",
    "notify-invalid",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 3461 4.1",
    advice="Write NOTIFY=NEVER alone, or a list of SUCCESS, FAILURE and DELAY with commas and no spaces.",
    sessions=_broken,
)
def notify_invalid(exchange: Exchange) -> Iterator[Hit]:
    """The value of NOTIFY is none that RFC 3461 knows.

    Why it matters: the server refuses the recipient, or takes it and sends other notifications than were asked for.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net> NOTIFY=NEVER,FAILURE
        S: 501 5.5.4 Invalid arguments

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net> NOTIFY=SUCCESS, FAILURE
        S: 501 5.5.4 Invalid arguments

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net> notify=success,delay
        S: 250 Ok

    What to do: write NOTIFY=NEVER alone, or a list such as NOTIFY=SUCCESS,FAILURE: commas, no spaces. Upper or lower case
    makes no difference.

    Servers: Exchange answers 501 5.5.4 Invalid arguments, Postfix 501 5.5.4 Error: Bad NOTIFY parameter syntax, Exim 501.

    Reference: RFC 3461 4.1
    """
    yield from _faults(exchange, "NOTIFY")


@rule(
    "DSN002",
    "ret-or-envid-invalid",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 3461 4.3, 4.4",
    advice="Write RET=FULL or RET=HDRS, and ENVID as xtext of at most 100 characters.",
    sessions=_broken,
)
def ret_or_envid_invalid(exchange: Exchange) -> Iterator[Hit]:
    """The value of RET is neither FULL nor HDRS, or that of ENVID is no xtext.

    Why it matters: the server refuses the sender, so that nothing of the message is sent. In xtext a plus sign, an equals
    sign and what is not printable ASCII is a plus and two upper-case hexadecimal digits.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org> RET=HEADERS
        S: 501 5.5.4 Bad RET parameter syntax

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org> RET=HDRS ENVID=x+2by
        S: 501 5.5.4 Bad ENVID parameter syntax

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org> RET=HDRS ENVID=x+2By
        S: 250 Ok

    What to do: RET=FULL asks for the whole message in a failure notice, RET=HDRS for its header. Encode + and = in ENVID
    as +2B and +3D, and keep it under 101 characters.

    Servers: Postfix answers 501 5.5.4 Bad RET (or ENVID) parameter syntax, Exchange 501 5.5.4 Invalid arguments.

    Reference: RFC 3461 4.3, 4.4
    """
    yield from _faults(exchange, "RET", "ENVID")


@rule(
    "DSN003",
    "orcpt-invalid",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 3461 4.2",
    advice="Write ORCPT=rfc822;address, the address as xtext.",
    sessions=_broken_or_submitted,
)
def orcpt_invalid(exchange: Exchange) -> Iterator[Hit]:
    """The value of ORCPT is not a type, a semicolon and an address as xtext; or it differs where it cannot yet.

    Why it matters: notifications name the original recipient by it; what cannot be read is lost, or the
    recipient is refused for it (an error). On submission nobody has forwarded the message yet, so the two addresses are
    one (an info).

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<a+b@example.net> ORCPT=rfc822;a+b@example.net
        S: 501 5.5.4 Error: Bad ORCPT parameter syntax

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net> ORCPT=b@example.net
        S: 501 5.5.4 Invalid arguments

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net> ORCPT=rfc822;list+2Bb@example.com
        S: 250 Ok

    What to do: write ORCPT=rfc822; and the address first given, + as +2B, = as +3D. A relay passes it on as it came.

    Servers: Postfix answers 501 5.5.4 Bad ORCPT parameter syntax, Exchange 501 5.5.4 Invalid arguments.

    Reference: RFC 3461 4.2
    """
    broken = list(_faults(exchange, "ORCPT"))
    refused = exchange.severity == 5 and exchange.reply is not None and exchange.reply.code in _OF_SYNTAX
    yield from (replace(each, severity="error") if refused else each for each in broken)
    if not broken and exchange.verb == "RCPT" and is_said(exchange) and _is_submission(exchange):
        for parameter in parameters(exchange.command or ""):
            kind, _, original = (parameter.value or "").partition(";")
            path = _address(exchange.argument)
            if parameter.name == "ORCPT" and kind.lower() == "rfc822" and path and not _same(decoded(original), path):
                yield Hit(
                    f"ORCPT names {decoded(original)} and RCPT {path}: on submission the two are one.",
                    column=parameter.column,
                    severity="info",
                )


#: The replies to a line that is not well-formed (RFC 5321 section 4.2.2, RFC 1869 section 4).
_OF_SYNTAX = (500, 501, 504, 555)


def _is_submission(exchange: Exchange) -> bool:
    return exchange.authenticated or "submission" in exchange.profiles


_IN_BRACKETS = re.compile(r"<(?:@[^:>]*:)?([^>]*)>")


def _address(argument: str) -> str:
    match = _IN_BRACKETS.search(argument)
    return match[1] if match else ""


def _same(one: str, other: str) -> bool:
    """Domains in any case; the local part letter for letter (RFC 5321 section 2.4)."""
    (left, _, domain), (right, _, other_domain) = one.rpartition("@"), other.rpartition("@")
    return left == right and domain.lower() == other_domain.lower()


@rule(
    "DSN004",
    "dsn-param-on-wrong-command",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 3461 4",
    advice="RET and ENVID belong to MAIL, NOTIFY and ORCPT to RCPT.",
    sessions=_broken,
)
def dsn_param_on_wrong_command(exchange: Exchange) -> Iterator[Hit]:
    """RET or ENVID was sent on RCPT, or NOTIFY or ORCPT on MAIL.

    Why it matters: what to return is asked once for a message, whether to notify once for each recipient; on the other
    command the server does not know the word.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org> NOTIFY=SUCCESS
        S: 555 5.5.4 Unsupported option: NOTIFY=SUCCESS

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org> RET=FULL
        S: 250 Ok

    What to do: move RET and ENVID to MAIL, NOTIFY and ORCPT to RCPT.

    Servers: Postfix answers 555 5.5.4 Unsupported option, Exchange 501 5.5.4, Exim 501 or 555.

    Reference: RFC 3461 4
    """
    command = exchange.command or ""
    if exchange.verb not in ("MAIL", "RCPT") or not is_said(exchange):
        return
    found = [each for each in parameters(command) if COMMAND[each.name] != exchange.verb]
    if found:
        names = " and ".join(dict.fromkeys(each.name for each in found))
        verb = "belongs" if names == found[0].name else "belong"
        yield Hit(
            f"{names} {verb} to {COMMAND[found[0].name]}, not to {exchange.verb}.",
            column=found[0].column,
            corrected=corrected(command),
        )


# -- the server


@rule(
    "DSN005",
    "valid-dsn-refused",
    severity="warning",
    party="server",
    scope="dialog",
    reference="RFC 3461 5.1",
    advice="Stop offering DSN, or accept its parameters.",
    sessions=_refused,
)
def valid_dsn_refused(dialog: Dialog) -> Iterator[Hit]:
    """The server offered DSN and refuses a command for a well-formed parameter of it.

    Why it matters: clients add these parameters because they were offered; the mail is lost for it. Told where the reply
    speaks of parameters, or where the same command was accepted without them in the same transaction.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org> RET=HDRS
        S: 555 5.5.4 Unsupported option: RET=HDRS

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net> NOTIFY=SUCCESS
        S: 550 5.7.1 Refused
        C: RCPT TO:<b@example.net>
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<a@example.org> RET=HDRS
        S: 250 Ok
        C: RCPT TO:<b@example.net> NOTIFY=SUCCESS
        S: 550 5.1.1 No such user here

    What to do: take DSN out of the EHLO reply, or accept what it stands for; look for a filter between the two.

    Servers: Postfix with DSN in smtpd_discard_ehlo_keywords answers 501 5.7.1 DSN support is disabled, but does not offer
    it either; then EXT001 is told.

    Reference: RFC 3461 5.1
    """
    for i, exchange in commands(dialog):
        if exchange.severity < 4 or "DSN" not in (exchange.extensions or {}) or not _is_sound(exchange):
            continue
        names = [each.written for each in parameters(exchange.command or "")]
        if names and _blames(exchange):
            reply = exchange.reply
            text = f"{reply.code} {' '.join(reply.text)[:100]}".strip() if reply else ""
            yield hit(i, exchange, f"The server offers DSN and refuses {exchange.verb} with {' '.join(names)}: {text}")
        elif names and _passes_without(i, exchange, dialog):
            yield hit(
                i,
                exchange,
                f"The server offers DSN and refuses {exchange.verb} with {' '.join(names)}; without, it accepts it.",
            )


_OF_PARAMETERS = re.compile(
    r"param|option|argument|keyword|unrecogni[sz]ed|unsupported|not (?:supported|implemented|allowed|recogni[sz]ed)",
    re.I,
)
_NAMED = re.compile(r"\b(?:RET|ENVID|NOTIFY|ORCPT|DSN)\b")
_OF_ADDRESSES = re.compile(r"[45]\.[1-47]\.")


#: Parameters that no rule has anything to say of where they were offered; any other may be what was refused.
_HARMLESS = {"SIZE", "BODY", "SMTPUTF8"}


def _is_sound(exchange: Exchange) -> bool:
    """Whether nothing is wrong with the line: each parameter is well-formed, stands at its place and once."""
    command = exchange.command or ""
    if exchange.verb not in ("MAIL", "RCPT") or exchange.odd:
        return False
    names = [each.name for each in parameters(command)]
    return (
        len(set(names)) == len(names)
        and all(COMMAND[name] == exchange.verb for name in names)
        and not any(fault(each) for each in parameters(command))
    )


def _blames(exchange: Exchange) -> bool:
    """Whether a refusal speaks of parameters, and of no other than these."""
    reply = exchange.reply
    if reply is None:
        return False
    text = " ".join(reply.text)
    if _NAMED.search(reply.text[0]):
        return True
    others = _others(exchange)
    if others - _HARMLESS or others & {word.upper() for word in re.findall(r"[A-Za-z0-9-]+", text)}:
        return False
    if reply.enhanced and _OF_ADDRESSES.match(reply.enhanced):
        return False
    return reply.code in (455, 504, 555) or (reply.code == 501 and _OF_PARAMETERS.search(text) is not None)


def _others(exchange: Exchange) -> set[str]:
    """The other parameters of a MAIL or RCPT line."""
    words = (exchange.command or "").partition(">")[2].split()
    return {word.partition("=")[0].upper() for word in words} - COMMAND.keys()


def _passes_without(index: int, exchange: Exchange, dialog: Dialog) -> bool:
    """Whether the same command without these parameters was accepted in the same transaction; what is refused in one may
    be taken in another for reasons of its own."""
    if exchange.severity != 5 or exchange.reply is None or exchange.reply.code in (503, 530):
        return False
    command = bare(exchange.command or "")
    return any(
        other.severity == 2
        and other.verb == exchange.verb
        and (other.tls, other.authenticated) == (exchange.tls, exchange.authenticated)
        and not any(parameters(other.command or ""))
        and _plain(other.command or "") == command
        and _of_one_transaction(index, i, dialog)
        for i, other in commands(dialog)
    )


def _of_one_transaction(refused: int, accepted: int, dialog: Dialog) -> bool:
    """Whether two exchanges belong to one transaction: of two RCPT the same, of two MAIL one that nothing was sent in
    between."""
    one, other = dialog.exchanges[refused], dialog.exchanges[accepted]
    if one.verb == "RCPT":
        return one.transaction is not None and one.transaction == other.transaction
    between = dialog.exchanges[min(refused, accepted) + 1 : max(refused, accepted)]
    return not any(each.verb in ("MAIL", "RCPT") and each.severity == 2 for each in between)


def bare(command: str) -> str:
    """A command line without the four parameters, to be held against others."""
    for parameter in reversed(list(parameters(command))):
        command = command[: parameter.column - 1].rstrip() + command[parameter.end :]
    return _plain(command)


def _plain(command: str) -> str:
    return command.strip().casefold()


# -- asked for in vain


@rule(
    "DSN006",
    "notify-with-null-sender",
    severity="info",
    party="client",
    scope="dialog",
    reference="RFC 3461 5.2; RFC 8689 5",
    advice="Leave NOTIFY off.",
    extra=True,
    sessions=_in_vain,
)
def notify_with_null_sender(dialog: Dialog) -> Iterator[Hit]:
    """A notification was asked for that cannot be sent.

    Why it matters: with MAIL FROM:<> there is no address to notify. With REQUIRETLS only the header of a message may be
    returned, so that RET=FULL is of no effect.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<>
        S: 250 Ok
        C: RCPT TO:<b@example.net> NOTIFY=SUCCESS
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 DSN
        C: MAIL FROM:<>
        S: 250 Ok
        C: RCPT TO:<b@example.net> NOTIFY=NEVER
        S: 250 Ok

    What to do: leave NOTIFY off, or write NOTIFY=NEVER; with REQUIRETLS write RET=HDRS.

    Servers: relays copy NOTIFY unchanged, as RFC 3461 demands, so that the fault may be that of the first one.

    Reference: RFC 3461 5.2; RFC 8689 5
    """
    for i, exchange in commands(dialog):
        for each in parameters(exchange.command or "") if exchange.verb in ("MAIL", "RCPT") else ():
            value = (each.value or "").upper()
            if each.name == "RET" and exchange.verb == "MAIL" and value == "FULL" and "REQUIRETLS" in _others(exchange):
                yield hit(i, exchange, "RET=FULL has no effect with REQUIRETLS.", column=each.column)
            elif each.name == "NOTIFY" and value not in ("", "NEVER") and _has_null_sender(exchange, dialog):
                message = f"{each.written} was asked for, but the message has no sender (MAIL FROM:<>) to notify."
                yield hit(i, exchange, message, column=each.column)


def _has_null_sender(exchange: Exchange, dialog: Dialog) -> bool:
    if exchange.verb != "RCPT" or exchange.transaction is None:
        return False
    return dialog.transactions[exchange.transaction].mail_from == ""
