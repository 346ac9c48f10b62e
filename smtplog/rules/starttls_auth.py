"""STARTTLS and AUTH: when, how often, and what comes after (RFC 3207 section 4, RFC 4954 section 4)."""

from __future__ import annotations

from collections.abc import Iterator

from smtplog import speech
from smtplog.findings import Hit, rule
from smtplog.model import Dialog
from smtplog.rules.course import after, commands, hit, knows_transaction, legal_here, without_hello_after_tls
from smtplog.suspects import disorder

_STARTS_TLS = ("STARTTLS", "X-ANONYMOUSTLS")
_AUTHENTICATES = ("AUTH", "X-EXPS")
_OUTSIDE_TRANSACTIONS = ("STARTTLS", "AUTH", "ETRN", "ATRN", "XCLIENT", "XFORWARD", "X-EXPS", "X-ANONYMOUSTLS")


@rule(
    "SEQ011",
    "no-hello-after-starttls",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 3207 4.2",
    advice="Send EHLO again right after the TLS handshake.",
    sessions=disorder,
)
def no_hello_after_starttls(dialog: Dialog) -> Iterator[Hit]:
    """The first command after the TLS handshake was no hello.

    Why it matters: both sides forget all they knew before the handshake, so that nobody on the way can have put words
    into it; the client must say EHLO again and read the extensions again. QUIT, NOOP and RSET may come first.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 2.0.0 Ready to start TLS
        *: tls ok
        C: MAIL FROM:<a@example.org>
        S: 503 5.5.1 Error: send HELO/EHLO first

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 2.0.0 Ready to start TLS
        *: tls ok
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok

    What to do: send EHLO again right after the TLS handshake.

    Servers: Postfix, Exchange and Gmail require EHLO again; some accept and log.

    Reference: RFC 3207 4.2
    """
    for start in range(len(dialog.exchanges)):
        found = without_hello_after_tls(dialog, start)
        if found is not None:
            i, exchange = found
            message = f"{exchange.verb} was the first command after the TLS handshake, not EHLO. "
            yield hit(i, exchange, f"{message}Legal here: EHLO, HELO, RSET, QUIT, NOOP.")


@rule(
    "SEQ012",
    "starttls-under-tls",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 3207 4.2",
    advice="Use STARTTLS once, before AUTH and MAIL.",
    sessions=disorder,
)
def starttls_under_tls(dialog: Dialog) -> Iterator[Hit]:
    """STARTTLS was sent although TLS was active already.

    Why it matters: there is no TLS inside TLS; a client that asks for it has lost track of its connection.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 2.0.0 Ready
        *: tls ok
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: STARTTLS
        S: 554 5.5.1 Error: TLS already active

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 STARTTLS
        C: STARTTLS
        S: 454 4.7.0 TLS not available
        C: STARTTLS
        S: 220 2.0.0 Ready

    Fine::

        *: tls ok
        C: STARTTLS
        S: 220 2.0.0 Ready
        C: EHLO client.example.org
        S: 250 mx.example.net

    What to do: use STARTTLS once, before AUTH and MAIL.

    Servers: Postfix answers 554 5.5.1, Exim 503, Exchange 503 5.5.2.

    Reference: RFC 3207 4.2
    """
    for i, exchange in commands(dialog):
        taken = exchange.reply is not None and exchange.reply.code == 220
        if i == 0 and dialog.greeting is None and taken:
            continue  # the handshake above it in the log is its own
        if exchange.verb in _STARTS_TLS and (exchange.tls or "implicit-tls" in dialog.profiles):
            message = f"{exchange.verb} was sent although TLS was active already. {legal_here(exchange, dialog)}"
            yield hit(i, exchange, message)


@rule(
    "SEQ013",
    "tls-or-auth-inside-transaction",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 4954 4; RFC 1985 5; RFC 3207 4; Postfix XCLIENT_README",
    advice="Do TLS and authentication before MAIL.",
    sessions=disorder,
)
def tls_or_auth_inside_transaction(dialog: Dialog) -> Iterator[Hit]:
    """STARTTLS, AUTH, ETRN, ATRN, XCLIENT or XFORWARD was sent while a transaction was open.

    Why it matters: who speaks and how must be settled before the envelope; a change in the middle of it is refused.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok
        C: AUTH PLAIN AHUAcA==
        S: 503 5.5.1 Error: MAIL transaction in progress

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: MAIL FROM:<a@example.org>
        S: 530 5.7.0 Authentication required
        C: AUTH PLAIN AHUAcA==
        S: 235 2.7.0 Ok
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok

    What to do: do TLS and authentication before MAIL.

    Servers: Postfix answers 503, Exim 503 not permitted in mail transaction, Exchange 503 5.5.2.

    Reference: RFC 4954 4; RFC 1985 5; RFC 3207 4; Postfix XCLIENT_README
    """
    for i, exchange in commands(dialog):
        inside = exchange.verb in _OUTSIDE_TRANSACTIONS and exchange.state in ("mail", "rcpt", "bdat")
        if inside and knows_transaction(dialog, i):
            message = f"{exchange.verb} was sent while a transaction was open. {legal_here(exchange, dialog)}"
            yield hit(i, exchange, message)


@rule(
    "SEQ014",
    "second-auth",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 4954 4",
    advice="Authenticate once per session.",
    sessions=disorder,
)
def second_auth(dialog: Dialog) -> Iterator[Hit]:
    """AUTH was sent again after it had succeeded.

    Why it matters: a session has one identity. After STARTTLS or XCLIENT, which make the server forget it, and after
    an AUTH that failed, another one is in order.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: AUTH PLAIN AHUAcA==
        S: 235 2.7.0 Ok
        C: AUTH PLAIN AHUAcA==
        S: 503 5.5.1 Already authenticated

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH PLAIN
        C: AUTH PLAIN AHUAcA==
        S: 535 5.7.8 Bad credentials
        C: AUTH PLAIN AHUAcQ==
        S: 235 2.7.0 Ok

    What to do: authenticate once per session.

    Servers: all answer 503.

    Reference: RFC 4954 4
    """
    for i, exchange in commands(dialog):
        if exchange.verb in _AUTHENTICATES and exchange.authenticated and not _gap_since_success(dialog, i):
            message = f"{exchange.verb} was sent again after it had succeeded. {legal_here(exchange, dialog)}"
            yield hit(i, exchange, message)


def _gap_since_success(dialog: Dialog, index: int) -> bool:
    """Whether text is missing in which the server may have forgotten who the client is."""
    success = max((i for i in range(index) if after(dialog.exchanges[i]).authenticated), default=-1)
    return any(event.kind == "gap" and success < event.before <= index for event in dialog.events)


@rule(
    "SEQ015",
    "command-inside-auth-exchange",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 4954 4",
    advice="Send * alone to cancel, then continue.",
    sessions=disorder,
)
def command_inside_auth_exchange(dialog: Dialog) -> Iterator[Hit]:
    """A command was sent where the server waited for an answer to its 334.

    Why it matters: after 334 the server takes every line for base64. A command is refused, or, where it happens to be
    base64 such as QUIT (a warning), sent on as a user name or password.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: MAIL FROM:<a@example.org>
        S: 501 5.5.2 Cannot decode response

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: QUIT
        S: 334 UGFzc3dvcmQ6

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250-mx.example.net
        S: 250 AUTH LOGIN
        C: AUTH LOGIN
        S: 334 VXNlcm5hbWU6
        C: *
        S: 501 5.7.0 Authentication aborted
        C: MAIL FROM:<a@example.org>
        S: 250 2.1.0 Ok

    What to do: send * alone to cancel, then continue.

    Servers: QUIT typed here decodes as base64, so that they go on and ask for the password.

    Reference: RFC 4954 4
    """
    for i, exchange in commands(dialog):
        line = (exchange.command or "").rstrip()
        if exchange.verb == "AUTH-RESPONSE" and speech.is_command(line):
            legal = legal_here(exchange, dialog)
            if line.isalpha() and len(line) % 4 == 0:  # it may be a secret: the message does not repeat it
                message = (
                    "A command word was sent where the server waited for an AUTH answer, and was taken for base64."
                )
                yield hit(i, exchange, f"{message} {legal}", severity="warning", final=True)
            else:
                verb = speech.split(line)[0]
                yield hit(i, exchange, f"{verb} was sent where the server waited for an AUTH answer. {legal}")
