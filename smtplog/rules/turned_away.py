"""The server has turned the client away, in its greeting or with 421, and the client goes on (RFC 5321 section 3.8)."""

from __future__ import annotations

from collections.abc import Iterator

from smtplog.findings import Hit, rule
from smtplog.model import Dialog
from smtplog.rules.course import VERBS, commands, group_start, hit, refuses
from smtplog.suspects import disorder


@rule(
    "SEQ022",
    "commands-after-refusing-greeting",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 5321 3.1; RFC 7504 3",
    advice="Send QUIT and try another MX or later.",
    sessions=disorder,
)
def commands_after_refusing_greeting(dialog: Dialog) -> Iterator[Hit]:
    """The server had turned the client away in its greeting, and the client went on.

    Why it matters: after 554, 521 or 421 the server takes no mail; it answers all but QUIT with 503, or closes.

    Flagged::

        S: 554 mx.example.net No SMTP service here
        C: EHLO client.example.org
        S: 503 5.5.1 Bad sequence of commands

    Fine::

        S: 554 mx.example.net No SMTP service here
        C: QUIT
        S: 221 Bye

    What to do: send QUIT and try another MX, or try later.

    Servers: sendmail greet_pause and postscreen use 554 and 421; many servers close at once.

    Reference: RFC 5321 3.1; RFC 7504 3
    """
    if dialog.greeting is None or not refuses(dialog):
        return
    for i, exchange in commands(dialog):
        knew = len(dialog.sources) > 1 or (exchange.line or 0) >= dialog.greeting.line
        if knew and exchange.verb in VERBS and exchange.verb != "QUIT":
            message = f"{exchange.verb} was sent although the greeting was {dialog.greeting.code}. Legal here: QUIT."
            yield hit(i, exchange, message)
            return


@rule(
    "SEQ023",
    "commands-after-421",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 5321 3.8",
    advice="Stop and retry later.",
    sessions=disorder,
)
def commands_after_421(dialog: Dialog) -> Iterator[Hit]:
    """The client went on after it had received 421.

    Why it matters: 421 says that the server closes the connection; commands that follow are lost. QUIT is harmless,
    and commands that were on their way already are no fault.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 421 4.3.2 Service not available, closing transmission channel
        C: MAIL FROM:<a@example.org>
        S: 503 5.5.1 Bad sequence of commands

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 PIPELINING
        C: MAIL FROM:<a@example.org>
        C: RCPT TO:<b@example.net>
        S: 421 4.3.2 Service not available, closing transmission channel
        *: close server

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 421 4.3.2 Service not available, closing transmission channel
        C: QUIT
        S: 221 2.0.0 Bye

    What to do: stop, and retry later.

    Servers: Gmail may answer 421 to DATA and close.

    Reference: RFC 5321 3.8
    """
    told = [i for i, exchange in enumerate(dialog.exchanges) if exchange.reply and exchange.reply.code == 421]
    for i, exchange in commands(dialog) if told else ():
        if exchange.verb == "QUIT":
            return
        if exchange.verb in VERBS and told[0] < group_start(dialog, i):
            yield hit(i, exchange, f"{exchange.verb} was sent after the server had said 421. Legal here: QUIT.")
            return
