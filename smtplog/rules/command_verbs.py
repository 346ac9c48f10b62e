"""The verb of a command: unknown, or of RFC 821 only (RFC 5321 sections 4.1.5, 4.2.4, appendix F)."""

from __future__ import annotations

from collections.abc import Iterator

from smtplog import reference
from smtplog.findings import Hit, rule
from smtplog.model import Exchange
from smtplog.rules.written import judged
from smtplog.speech import split
from smtplog.suspects import disorder

#: Obsolete verb → the line that does the same today.
_OBSOLETE = {"SEND": "MAIL", "SOML": "MAIL", "SAML": "MAIL", "TURN": "ETRN", "VERB": "", "ONEX": ""}


@rule(
    "SYN020",
    "unknown-verb",
    severity="error",
    party="client",
    scope="exchange",
    reference="RFC 5321 4.2.4, 4.1.5",
    advice="HELP and EHLO show what the server supports.",
    sessions=disorder,
)
def unknown_verb(exchange: Exchange) -> Iterator[Hit]:
    """The verb is none of SMTP or its extensions, and the server does not know it.

    Why it matters: nothing was done. A word of one's own is legal only when it begins with X and both sides agreed on it.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: FROB x
        S: 500 5.5.2 Error: command not recognized

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 X-PRIVATE
        C: X-PRIVATE x
        S: 250 Ok

    What to do: type one of the commands that HELP or EHLO lists.

    Servers: Exchange answers 500 5.3.3, Gmail 502 5.5.1, Postfix 500 5.5.2 (502 before 3.x).

    Reference: RFC 5321 4.2.4, 4.1.5
    """
    command = judged(exchange)
    if not command or not exchange.reply or exchange.reply.code not in (500, 502):
        return
    word = command.split()[0] if command.strip() else ""
    if not word or word.upper().startswith("X") or reference.verb(word) is not None or reference.verb(exchange.verb):
        return
    shown = word if len(word) <= 40 else word[:37] + "..."
    yield Hit(
        f"{shown} is no command of SMTP or its extensions; expected: a verb, such as those in the reply to HELP.",
        column=len(command) - len(command.lstrip()) + 1,
    )


@rule(
    "SYN021",
    "obsolete-command",
    severity="warning",
    party="client",
    scope="exchange",
    reference="RFC 5321 F.1, F.6",
    advice="Use MAIL.",
    sessions=disorder,
)
def obsolete_command(exchange: Exchange) -> Iterator[Hit]:
    """SEND, SOML, SAML, TURN, VERB or ONEX was sent.

    Why it matters: these are of RFC 821, or of old sendmails. Hardly a server has them, and TURN let anybody fetch the mail of others.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: SOML FROM:<a@example.org>
        S: 502 5.5.1 Not implemented

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: VERB
        S: 502 5.5.1 Not implemented

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok

    What to do: use MAIL instead of SEND, SOML and SAML, and ETRN or ATRN instead of TURN; leave out VERB and ONEX.

    Servers: sendmail still accepts VERB and ONEX; others answer 500 or 502.

    Reference: RFC 5321 F.1, F.6
    """
    command = judged(exchange)
    if not command or exchange.verb not in _OBSOLETE:
        return
    argument = split(command)[1]
    instead = _OBSOLETE[exchange.verb]
    yield Hit(
        f"{exchange.verb} is obsolete; expected: {instead or 'nothing in its place'}.",
        column=1,
        corrected=f"{instead} {argument}".strip() if instead == "MAIL" else None,
    )
