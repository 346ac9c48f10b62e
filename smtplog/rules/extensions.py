"""What was used against what was offered (RFC 5321 sections 2.2, 3.2 and 4.1.1.1)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache

import numpy as np

from smtplog import events, reference, states
from smtplog.batches import Batch
from smtplog.events import Strings
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange
from smtplog.rules import dsn_values
from smtplog.rules.course import commands, hit, is_said
from smtplog.rules.written import addressed
from smtplog.suspects import per_batch, refused, verbs

#: Parameters behind a path: ``SIZE=100 BODY=8BITMIME`` (RFC 5321 section 4.1.2).
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^ ]*))?")
#: A path, a quoted local part included; ``AUTH=<>`` behind it is a parameter.
_PATH = re.compile(r'<(?:"(?:[^"\\]|\\.)*"|[^>"])*>')
#: Verbs that RFC 821 had without an extension, or that SYN021 judges.
_NO_EXTENSION = ("VRFY", "EXPN", "HELP", "SEND", "SOML", "SAML", "TURN", "VERB", "ONEX")
_WORDED = re.compile(
    r"unrecogni[sz]ed|unsupported|not supported|not implemented|unknown|not allowed|not permitted|disabled",
    re.IGNORECASE,
)


def parameters_of(exchange: Exchange) -> list[tuple[str, str | None, int]]:
    """Keyword in upper case, value, and column from 1 of each parameter of a MAIL or RCPT line; of VRFY and EXPN too."""
    command = exchange.command or ""
    if exchange.verb in ("MAIL", "RCPT"):
        command = addressed(command)
        start = _behind_path(command)
    elif exchange.verb in ("VRFY", "EXPN"):
        start = len(command) - len("SMTPUTF8") if command.upper().endswith(" SMTPUTF8") else -1
    else:
        return []
    if start <= 0:
        return []
    found = [(m[1].upper(), m[2], m.start() + 1) for m in _PARAMETER.finditer(command, start)]
    cut = [(each.column, each.end) for each in dsn_values.parameters(command) if each.gap is not None]
    return [each for each in found if not any(first < each[2] <= last for first, last in cut)]


def _behind_path(command: str) -> int:
    """Where the path of a MAIL or RCPT line, right or wrong, ends; 0 or less: nowhere."""
    path = _PATH.search(command)
    return path.end() if path else command.rfind(">") + 1 or command.find(" ", command.find(":") + 2)


@cache
def keywords_for(parameter: str, value: str | None, verb: str) -> tuple[str, ...]:
    """The EHLO keywords one of which permits a parameter on a verb; empty where the parameter is not known there."""
    if parameter == "BODY":
        return ("BINARYMIME",) if (value or "").upper() == "BINARYMIME" else ("8BITMIME", "BINARYMIME")
    rows = [row for row in reference.parameter(parameter) if verb in row["command"].split(";")]
    return tuple(keyword for row in rows for keyword in row["extension"].split(";"))


def keyword_of(verb: str) -> tuple[str, ...]:
    """The EHLO keywords one of which permits a verb; empty for the verbs that every server has."""
    row = reference.verb(verb)
    if row is None or verb in _NO_EXTENSION or row["extension_keyword"] in ("-", ""):
        return ()
    return tuple(row["extension_keyword"].split(";"))


def _missing(exchange: Exchange) -> list[tuple[str, str | None, int, tuple[str, ...]]]:
    """The parameters whose keyword was not offered; those of the other command are DSN004's."""
    offered = exchange.extensions or {}
    found = []
    for name, value, column in parameters_of(exchange):
        keywords = keywords_for(name, value, exchange.verb)
        foreign = not keywords and bool(reference.parameter(name))
        private = not keywords and (name.startswith("X") or exchange.severity != 5)
        if not foreign and not private and not any(each in offered for each in keywords or (name,)):
            found.append((name, value, column, keywords))
    return found


@per_batch
def parameters(batch: Batch) -> tuple[np.ndarray, Strings]:
    """The MAIL and RCPT exchanges with something behind the path, and that text. Of a line that is not right, or that has a
    ``>`` elsewhere too, it is what reads as parameters, with single blanks."""
    pairs, sessions = batch.exchanges, batch.sessions
    rows = np.flatnonzero(verbs("MAIL", "RCPT")(batch) & (pairs.event >= 0))
    lines = events.replaced(events.take(sessions.events.text, pairs.event[rows]), "=<>", "=-")
    rare = np.flatnonzero(~sessions.usual[pairs.event[rows]])
    rare = rare[sessions.odd[pairs.event[rows[rare]]] | events.found(events.take(lines, rare), ">[^>]*>")]
    wanted = ~events.ends_with(lines, ">")
    wanted[rare] = True
    more = np.flatnonzero(wanted)
    words = events.after_last(events.take(lines, more), ">")
    commands = events.listed(events.take(sessions.events.text, pairs.event[rows[rare]]))
    return rows[more], events.replaced_at(words, np.searchsorted(more, rare), list(map(_as_parameters, commands)))


def _as_parameters(command: str) -> str:
    start = _behind_path(command)
    return "".join(f" {match[0]}" for match in _PARAMETER.finditer(command, start)) if start > 0 else ""


@per_batch
def plain_parameters(batch: Batch) -> events.Codes:
    """That text for each of these exchanges without figures, each distinct one held once."""
    return events.encoded(events.without_figures(parameters(batch)[1]))


def _parameter_shapes(batch: Batch) -> tuple[np.ndarray, np.ndarray, list[tuple[str, ...]]]:
    """The exchanges with parameters, the shape of each, and the shapes: verb, then ``KEYWORD=VALUE`` without figures."""
    (rows, _), plain, pairs = parameters(batch), plain_parameters(batch), batch.exchanges
    kinds = len(events.values(plain)) + 1
    verb = np.array([name == "MAIL" for name in pairs.verbs], np.int64)[pairs.verb[rows]]
    used, shape = np.unique(events.codes(plain) + verb * kinds, return_inverse=True)
    texts = [each.upper().split() for each in events.listed(events.values(plain))]
    return rows, shape, [("MAIL" if i >= kinds else "RCPT", *texts[i % kinds]) for i in used.tolist()]


def _with_parameter(pattern: str) -> Callable[[Batch], np.ndarray]:
    """The sessions with a parameter that a regular expression finds."""

    def mark(batch: Batch) -> np.ndarray:
        rows, words = parameters(batch)
        at = rows[events.found(words, pattern)]
        return np.bincount(batch.exchanges.session[at], minlength=len(batch.sessions.first)) > 0

    return mark


def _not_offered(batch: Batch) -> np.ndarray:
    """The exchanges with a parameter or a verb that the hello in force did not offer."""
    mask = np.zeros(len(batch.exchanges.session), np.bool_)
    offers, pairs = batch.offers, batch.exchanges
    rows, shape, shapes = _parameter_shapes(batch)
    lacks = np.zeros((len(shapes), len(offers.keywords) + 1), np.bool_)
    for i, (verb, *words) in enumerate(shapes):
        for j, offered in enumerate(offers.keywords):
            lacks[i, j] = any(not _is_offered(word, verb, offered) for word in words)
    mask[rows] = lacks[shape, offers.kind[rows]]
    for number, verb in enumerate(pairs.verbs):
        keywords = keyword_of(verb.removesuffix(" LAST")) or ((verb,) if verb in ("HELP", "EXPN") else ())
        if keywords:
            mask |= (pairs.verb == number) & (offers.kind >= 0) & ~offers.has(*keywords)
    return mask


def _is_offered(word: str, verb: str, offered: Mapping[str, str]) -> bool:
    name, _, value = word.partition("=")
    keywords = keywords_for(name, value or None, verb) or (name,)
    return any(each in offered for each in keywords)


def _after_helo(batch: Batch) -> np.ndarray:
    """The exchanges with a parameter or a verb of an extension where HELO is in force."""
    pairs, hello = batch.exchanges, batch.hello
    helo = np.array([name == "HELO" for name in pairs.verbs], np.bool_)
    mask = (hello >= 0) & helo[pairs.verb[hello]] if len(hello) else np.zeros(0, np.bool_)
    wanted = np.array([bool(keyword_of(name.removesuffix(" LAST"))) for name in pairs.verbs], np.bool_)
    extended = wanted[pairs.verb]
    if (mask & ~extended).any():
        extended[_parameter_shapes(batch)[0]] = True
    return mask & extended


@rule(
    "EXT001",
    "parameter-not-advertised",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.1.3, 2.2",
    advice="Use only what EHLO lists.",
    rows=_not_offered,
)
def parameter_not_advertised(exchange: Exchange) -> Iterator[Hit]:
    """A parameter of MAIL or RCPT belongs to an extension that the server did not offer.

    Why it matters: a server may refuse the whole command; one that takes it may ignore what was asked for, such as a
    delivery notification.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE
        C: MAIL FROM:<a@example.org> RET=FULL
        S: 555 5.5.4 Unsupported option: RET=FULL

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org> BODY=7BIT
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-SIZE 1000
        S: 250 8BITMIME
        C: MAIL FROM:<a@example.org> SIZE=100 BODY=8BITMIME
        S: 250 Ok

    What to do: send a parameter only where the last EHLO reply has its keyword.

    Servers: Exchange answers 501 5.5.4, Postfix 555 5.5.4, Exim 501 or 555; qmail ignores what it does not know.

    Reference: RFC 5321 4.1.1.3, 2.2
    """
    if exchange.extensions is None or exchange.hello == "HELO" or not is_said(exchange):
        return
    missing = _missing(exchange)
    if missing:
        name, value, column, keywords = missing[0]
        shown = f"{name}={value}" if value is not None else name
        wanted = " or ".join(keywords or (name,))
        others = f"; so were {', '.join(each[0] for each in missing[1:])}" if len(missing) > 1 else ""
        yield Hit(
            f"{shown} was sent on {exchange.verb}, but the server did not offer {wanted}{others}.",
            column=column,
            corrected=_without(exchange.command or "", missing),
            once=" ".join(keywords or (name,)),
        )


def _without(command: str, missing: list[tuple[str, str | None, int, tuple[str, ...]]]) -> str:
    """The command line without these parameters."""
    for name, value, column, _ in reversed(missing):
        stop = column - 1 + len(name) + (0 if value is None else 1 + len(value))
        command = command[: column - 1].rstrip() + command[stop:]
    return command


@rule(
    "EXT002",
    "verb-not-advertised",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.1.1.1, 3.5.2; RFC 3030 2",
    advice="Check the EHLO reply first.",
    rows=_not_offered,
)
def verb_not_advertised(exchange: Exchange) -> Iterator[Hit]:
    """A verb of an extension was sent that the last EHLO reply does not list.

    Why it matters: the server need not know it. With BDAT it is dangerous: a server that does not know it takes the
    message text for commands.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE
        C: STARTTLS
        S: 502 5.5.1 Error: command not implemented

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE
        C: VRFY bob
        S: 252 2.0.0 bob

    What to do: look at the EHLO reply first; after STARTTLS at the new one.

    Servers: Postfix answers 502 or 503, Exim 503, Exchange 502 5.3.3.

    Reference: RFC 5321 4.1.1.1, 3.5.2; RFC 3030 2
    """
    if exchange.extensions is None or exchange.hello == "HELO" or not is_said(exchange):
        return
    small = exchange.verb in ("HELP", "EXPN")
    keywords = (exchange.verb,) if small else keyword_of(exchange.verb)
    if keywords and not any(each in exchange.extensions for each in keywords):
        message = f"{exchange.verb} was sent, but the server's EHLO reply does not list {' or '.join(keywords)}."
        yield Hit(message, severity="info" if small else None, final=small, once=exchange.verb)


@rule(
    "EXT003",
    "extension-after-helo",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 2.2.1, 3.2",
    advice="Say EHLO, not HELO.",
    rows=_after_helo,
)
def extension_after_helo(exchange: Exchange) -> Iterator[Hit]:
    """A parameter or a verb of an extension was used after HELO.

    Why it matters: HELO opens a session without extensions; the server has offered none.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: HELO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org> SIZE=1000
        S: 555 5.5.4 Unsupported option

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: HELO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok

    What to do: begin with EHLO; go back to HELO only where EHLO is refused, and then without extensions.

    Servers: Postfix and Exchange take parameters after HELO, others answer 501, 503 or 555.

    Reference: RFC 5321 2.2.1, 3.2
    """
    if exchange.hello != "HELO" or not is_said(exchange):
        return
    found = parameters_of(exchange) if exchange.verb in ("MAIL", "RCPT") else []
    if found:
        name, value, column = found[0]
        shown = f"{name}={value}" if value is not None else name
        yield Hit(f"{shown} was sent in a session that began with HELO: nothing was offered.", column=column, once=True)
    elif keyword_of(exchange.verb):
        yield Hit(f"{exchange.verb} was sent in a session that began with HELO: nothing was offered.", once=True)


@rule(
    "EXT008",
    "auth-mechanism-not-advertised",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 4954 3, 4",
    advice="Pick a mechanism that EHLO offers.",
    rows=verbs("AUTH"),
)
def auth_mechanism_not_advertised(exchange: Exchange) -> Iterator[Hit]:
    """AUTH was sent with a mechanism that the last EHLO reply does not list.

    Why it matters: the server answers 504, and no log-in takes place.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN LOGIN
        C: AUTH CRAM-MD5
        S: 504 5.5.4 Unrecognized authentication type

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN LOGIN
        C: auth plain ********
        S: 235 2.7.0 Ok

    What to do: pick one of the mechanisms behind AUTH in the EHLO reply; after STARTTLS the list may differ.

    Servers: Exchange answers 504 5.7.4, Postfix 535 or 504, Exim 504.

    Reference: RFC 4954 3, 4
    """
    offered = (exchange.extensions or {}).get("AUTH", "").upper().split()
    mechanism = exchange.argument.split(" ")[0].upper()
    if exchange.verb == "AUTH" and offered and mechanism and mechanism not in offered and is_said(exchange):
        column = (exchange.command or "").upper().find(mechanism, 4) + 1
        choice = ", ".join(dict.fromkeys(offered))
        yield Hit(f"AUTH {mechanism} was sent; the server offers {choice}.", column=column or None)


@rule(
    "EXT009",
    "advertised-but-refused",
    severity="warning",
    party="server",
    scope="exchange",
    reference="RFC 5321 4.2.4",
    advice="Remove the keyword or enable the feature.",
    rows=refused(),
)
def advertised_but_refused(exchange: Exchange) -> Iterator[Hit]:
    """The server does not know a verb or a parameter that it has offered itself.

    Why it matters: clients rely on what EHLO offers. Often a firewall between the two rewrites commands or the reply.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 ETRN
        C: ETRN example.org
        S: 502 5.5.1 Error: command not implemented

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE
        C: MAIL FROM:<a@example.org> SIZE=100
        S: 555 5.5.4 Unsupported option: SIZE

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE 50
        C: MAIL FROM:<a@example.org> SIZE=100
        S: 552 5.3.4 Message too big

    What to do: take the keyword out of the EHLO reply, or enable what it stands for; look for a firewall between.

    Servers: firewalls that rewrite EHLO; Exchange behind an appliance.

    Reference: RFC 5321 4.2.4
    """
    reply, offered = exchange.reply, exchange.extensions
    if reply is None or not offered or exchange.odd or not is_said(exchange):
        return
    verb = exchange.verb
    in_order = verb in states.ALLOWED[exchange.state]
    listed = [each for each in keyword_of(verb) if each in offered]
    if reply.code in (500, 502) and listed and in_order:
        yield Hit(f"The server offered {listed[0]} and answers {verb} with {reply.code}.")
    elif reply.code in (501, 504, 555) and verb in ("MAIL", "RCPT") and _WORDED.search(" ".join(reply.text)):
        used = parameters_of(exchange)
        names = [name for name, value, _ in used if "DSN" not in keywords_for(name, value, verb)]
        told = [name for name in names if name in " ".join(reply.text).upper()] or names
        if told and not _missing(exchange) and len(names) == len(used):
            yield Hit(
                f"The server offered {told[0]} and answers {verb} with it: {reply.code} {' '.join(reply.text)[:100]}"
            )


@rule(
    "EXT012",
    "binarymime-with-data",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 3030 3",
    advice="Use BDAT or 8BITMIME.",
    sessions=_with_parameter(r"(?i) BODY=BINARYMIME"),
)
def binarymime_with_data(dialog: Dialog) -> Iterator[Hit]:
    """DATA was sent for a message that MAIL declared as BODY=BINARYMIME.

    Why it matters: binary text has no lines, so no dot can end it; it goes with BDAT only.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-CHUNKING
        S: 250 BINARYMIME
        C: MAIL FROM:<a@example.org> BODY=BINARYMIME
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 503 5.5.1 BINARYMIME requires BDAT

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-CHUNKING
        S: 250-BINARYMIME
        S: 250 8BITMIME
        C: MAIL FROM:<a@example.org> BODY=8BITMIME
        S: 250 Ok
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

    What to do: send the message with BDAT, or declare BODY=8BITMIME and encode what is binary.

    Servers: Exchange answers 503 5.5.2.

    Reference: RFC 3030 3
    """
    for i, exchange in commands(dialog):
        if exchange.verb != "DATA" or exchange.transaction is None:
            continue
        body = dialog.transactions[exchange.transaction].parameters.get("BODY") or ""
        if body.upper() == "BINARYMIME":
            yield hit(i, exchange, "DATA was sent, but MAIL had declared BODY=BINARYMIME, which needs BDAT.")


@rule(
    "EXT013",
    "requiretls-without-tls",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 8689 2",
    advice="STARTTLS first.",
    sessions=_with_parameter(r"(?i) REQUIRETLS\b"),
)
def requiretls_without_tls(exchange: Exchange) -> Iterator[Hit]:
    """REQUIRETLS was asked for on a connection without TLS.

    Why it matters: the option promises that the message never travels in clear, and this is the first step of its way.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 REQUIRETLS
        C: MAIL FROM:<a@example.org> REQUIRETLS
        S: 530 5.7.10 REQUIRETLS needs TLS

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 Ready
        *: tls ok
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 REQUIRETLS
        C: MAIL FROM:<a@example.org> REQUIRETLS
        S: 250 Ok

    What to do: say STARTTLS first; where it is not offered, the message cannot be sent this way.

    Servers: a server offers REQUIRETLS under TLS only.

    Reference: RFC 8689 2
    """
    if exchange.verb == "MAIL" and not exchange.tls and is_said(exchange):
        for name, _, column in parameters_of(exchange):
            if name == "REQUIRETLS":
                yield Hit("REQUIRETLS was asked for on a connection without TLS.", column=column)
