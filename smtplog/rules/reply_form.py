"""How the server answers: form of the lines, class of the code (RFC 5321 sections 4.2 and 4.3.2)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from smtplog import reference, speech
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange, Reply
from smtplog.suspects import disorder

#: What stands for lines that were left out.
_LEFT_OUT = re.compile(r"(?i)(?:^|[ \t])\.[ \t]\.[ \t]\.(?:[ \t]|$)|\[(?:\.\.\.|…)\]|\(multi-?line\)$")
_GOES_ON = ("DATA", "AUTH", "AUTH-RESPONSE", "X-EXPS", "XEXCH50", "BURL")
_LOGS_IN = ("AUTH", "AUTH-RESPONSE", "X-EXPS")


def _replies(dialog: Dialog) -> Iterator[Reply]:
    if dialog.greeting:
        yield dialog.greeting
    yield from (exchange.reply for exchange in dialog.exchanges if exchange.reply)


@rule(
    "REP001",
    "malformed-reply",
    severity="error",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.2",
    advice="Have the server mended; a client should hang up.",
    sessions=disorder,
)
def malformed_reply(dialog: Dialog) -> Iterator[Hit]:
    """A line of the server is not three digits and then a blank, a hyphen or nothing.

    Why it matters: a client finds out by the code alone what happened.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: Nice to meet you

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250

    What to do: mend the server, or the proxy before it.

    Servers: home-made servers and proxies do this.

    Reference: RFC 5321 4.2
    """
    for reply in _replies(dialog):
        for i, raw in enumerate(reply.raw):
            if not speech.code_of(raw) and raw[:3] != "000":
                yield Hit(
                    f"The server's line {raw[:60]!r} begins with no reply code.",
                    line=min(reply.line + i, reply.end_line),
                )


@rule(
    "REP002",
    "reply-class-out-of-range",
    severity="error",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.2, 4.3.2",
    advice="Have the server mended.",
    sessions=disorder,
)
def reply_class_out_of_range(dialog: Dialog) -> Iterator[Hit]:
    """The first digit of a reply code is not 2 to 5, or its second is above 5.

    Why it matters: a client judges unknown codes by these digits.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: NOOP
        S: 150 wait

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: NOOP
        S: 259 fine

    What to do: mend the server.

    Servers: sendmail sends 050 lines after VERB, which are exempt.

    Reference: RFC 5321 4.2, 4.3.2
    """
    for reply in _replies(dialog):
        verbose = "verb" in dialog.profiles and reply.code < 100
        if reply.code and not verbose and not (2 <= reply.code // 100 <= 5 and reply.code // 10 % 10 <= 5):
            yield Hit(
                f"{reply.code:03} is no reply code of SMTP: the first digit is 2 to 5, the second 0 to 5.",
                line=reply.line,
            )


@rule(
    "REP003",
    "multiline-code-mismatch",
    severity="error",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.2.1",
    advice="Have the server mended; clients rely on one code a reply.",
    sessions=disorder,
)
def multiline_code_mismatch(dialog: Dialog) -> Iterator[Hit]:
    """The lines of one reply bear different codes.

    Why it matters: a client may decide by any line.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 251 SIZE

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 SIZE

    What to do: mend the server, or the proxy before it.

    Servers: seen on broken proxies.

    Reference: RFC 5321 4.2.1
    """
    for reply in _replies(dialog):
        other = next(
            ((i, c) for i, raw in enumerate(reply.raw) if (c := speech.code_of(raw)) not in (0, reply.code)), None
        )
        if other is not None and reply.code:
            line = min(reply.line + other[0], reply.end_line)
            yield Hit(f"The reply begins with {reply.code} and goes on with {other[1]}.", line=line)


@rule(
    "REP004",
    "multiline-not-terminated",
    severity="error",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.2.1",
    advice="Have the server mended: the last line has a blank after the code.",
    sessions=disorder,
)
def multiline_not_terminated(dialog: Dialog) -> Iterator[Hit]:
    """A reply has lines with a hyphen only, and the dialog goes on.

    Why it matters: the client waits for the last line.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-SIZE
        C: MAIL FROM:<a@example.org>
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250-SIZE
        S: 250

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net . . . 250 REQUIRETLS
        C: QUIT
        S: 221 Bye

    What to do: mend the server: code, blank, text on the last line.

    Servers: printed examples hold such slips; the 220- of a greeting delay is none, its last line comes later.

    Reference: RFC 5321 4.2.1
    """
    commands = (e.line or 0 for e in dialog.exchanges if e.command is not None)
    last = max([*commands, *(reply.line for reply in _replies(dialog))], default=0)
    for reply in _replies(dialog):
        coded = [raw for raw in reply.raw if speech.code_of(raw)]
        more = last > reply.end_line
        more |= any(event.kind == "closed" and event.line >= reply.end_line for event in dialog.events)
        if coded and coded[-1][3:4] == "-" and more and not _is_abridged(dialog, reply):
            yield Hit(
                f"The reply {reply.code} never ends: its last line has a hyphen after the code.", line=reply.end_line
            )


def _is_abridged(dialog: Dialog, reply: Reply) -> bool:
    """Whether whoever printed a log left lines of a reply out: an ellipsis or a remark stands for them, or the log begins
    inside an answer to a hello that it does not hold."""
    first = reply is dialog.greeting or not dialog.exchanges or reply.line <= (dialog.exchanges[0].line or reply.line)
    return bool(_LEFT_OUT.search(reply.raw[-1])) or (first and reply.code == 250 and len(reply.raw) == 1)


@rule(
    "REP005",
    "wrong-reply-class",
    severity="error",
    party="server",
    scope="exchange",
    reference="RFC 5321 4.3.2; RFC 4954 4",
    advice="Check the count of replies: a proxy may have put one in; mend the server.",
    sessions=disorder,
)
def wrong_reply_class(exchange: Exchange) -> Iterator[Hit]:
    """The class of a reply is one that its command cannot have.

    Why it matters: usually the replies are off by one, and every later answer belongs to another command.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Go ahead

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: t1 AUTH PLAIN AGFubgBzM2NyZXQ=
        S: 235 2.7.0 Ok

    What to do: count replies against commands; look for a proxy between.

    Servers: a 250 to DATA is the mark of an injected reply.

    Reference: RFC 5321 4.3.2; RFC 4954 4
    """
    reply, verb = exchange.reply, exchange.verb
    if reply is None or exchange.command is None or exchange.inferred or not verb:
        return
    if verb != "AUTH-RESPONSE" and verb != "." and reference.verb(verb) is None:  # what was meant, nobody knows
        return
    wrong = (
        (reply.severity == 3 and verb not in _GOES_ON and not (verb == "." and reply.code == 353))  # 353: PRDR
        or (reply.severity == 2 and verb == "DATA")
        or (reply.code == 354 and verb in _LOGS_IN)
        or (reply.code == 334 and verb in ("DATA", "XEXCH50"))
        or (reply.code == 235 and verb not in _LOGS_IN)
    )
    if wrong:
        name = "the end of data" if verb == "." else verb
        yield Hit(f"{reply.code} cannot answer {name}.", line=reply.line)


@rule(
    "REP007",
    "bad-greeting-code",
    severity="error",
    party="server",
    scope="dialog",
    reference="RFC 5321 3.1, 4.3.2; RFC 7504",
    advice="Have the server greet with 220.",
    sessions=disorder,
)
def bad_greeting_code(dialog: Dialog) -> Iterator[Hit]:
    """The first reply of the server is neither 220 nor a refusal.

    Why it matters: a client must not go on without 220.

    Flagged::

        S: 250 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net

    Fine::

        S: 554 mx.example.net No SMTP service here
        C: QUIT
        S: 221 Bye

    What to do: greet with 220, or refuse with 421, 521, 554 or another 4yz or 5yz.

    Servers: no notable difference.

    Reference: RFC 5321 3.1, 4.3.2; RFC 7504
    """
    greeting = dialog.greeting
    if greeting and greeting.code and greeting.code != 220 and greeting.severity not in (4, 5):
        yield Hit(f"The greeting is {greeting.code}; it must be 220 or a refusal.", line=greeting.line)
