"""Hold a session with a server by hand and keep it as a log: Telnet done right."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from smtplog.errors import UsageError
from smtplog.output import Output, Page, ShowSecrets, leave

if TYPE_CHECKING:
    from smtplog.console import Lines
    from smtplog.replay.credentials import Credentials

_HOST = typer.Argument(metavar="HOST[:PORT]", help="The server: mx.example.net, mx.example.net:587, [::1]:2525.")
_AUTH = typer.Option("--auth", help="Who logs in; the password from SMTPLOG_PASSWORD, or asked for.")
_CAREFUL = typer.Option("--careful", help="From a pipe: do not send a line that has a fault; end there with 1.")
_EXPLAIN = typer.Option("--explain/--no-explain", help="Say what replies mean; default: on a terminal.")


def command(
    host: Annotated[str, _HOST],
    output: Output = None,
    show_secrets: ShowSecrets = False,
    telnet_log: Annotated[bool, typer.Option("--telnet-log", help="Write -o as a log of Telnet.")] = False,
    tls: Annotated[bool, typer.Option("--tls", help="TLS from the first octet (port 465).")] = False,
    starttls: Annotated[bool, typer.Option("--starttls", help="Say EHLO, STARTTLS and EHLO first.")] = False,
    ehlo: Annotated[str | None, typer.Option(help="The name in EHLO; default: this end's address.")] = None,
    auth: Annotated[str | None, _AUTH] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Take any certificate.")] = False,
    trust: Annotated[Path | None, typer.Option(help="PEM of certificates to trust, in place of the system's.")] = None,
    careful: Annotated[bool, _CAREFUL] = False,
    explain: Annotated[bool | None, _EXPLAIN] = None,
    timeout: Annotated[float, typer.Option(help="Seconds the server may take for each answer.")] = 300.0,
) -> None:
    """Talk to a server by hand: replies explained, faults shown before a line is sent, all of it kept with -o."""
    from smtplog.console import Console, Piped, Shown
    from smtplog.replay import wire
    from smtplog.replay.conversation import Conversation
    from smtplog.replay.recording import Recording, TelnetLog

    if not 0 < timeout <= 86400:
        raise UsageError("--timeout is a number of seconds up to 86400")
    if tls and starttls:
        raise UsageError("--tls and --starttls do not go together: TLS begins at once, or after STARTTLS")
    if telnet_log and output is None:
        raise UsageError("--telnet-log says how -o is written; name a file with -o")
    to = wire.address(host, 465 if tls else 25)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    context = wire.for_clients(insecure=insecure, trusted=str(trust) if trust else None)
    line = wire.connect(to, min(timeout, 30.0))
    line.tls, line.timeout, line.total = context, timeout, 86400.0
    try:
        with _written(output) as stream:
            kind = TelnetLog if telnet_log else Recording
            recording = kind(stream, show_secrets=show_secrets) if stream is not None else Recording()
            page = Page()
            shown = Shown(page, terminal, terminal if explain is None else explain)
            conversation = Conversation(
                recording=recording,
                screen=shown,
                user=lambda: _user(auth, terminal),
                show_secrets=show_secrets,
                in_clear=wire.is_loopback(to.host),
            )
            conversation.recording.event(f"connect {line.here} -> {line.there}")
            lines: Lines = _typed() if terminal else Piped()
            if terminal:
                shown.noted(f"connected to {to}; :help says what else there is")
            console = Console(conversation, shown, lines, line.take, careful)
            code = console.hold(conversation.begin(tls=tls, starttls=starttls, hello=ehlo or _name(line.here.host)))
            if terminal and output is not None:
                shown.noted(f"kept in {output}")
            page.close()
    finally:
        line.close()
    leave(code)


def _written(output: Path | None) -> contextlib.AbstractContextManager[TextIO | None]:
    if output is None:
        return contextlib.nullcontext()
    try:
        return open(output, "w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None


def _typed() -> Lines:
    from smtplog.console import Typed

    return Typed()


def _name(host: str) -> str:
    """An address as the name of a client that has no better one (RFC 5321 section 4.1.3)."""
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"


def _user(name: str | None, terminal: bool) -> Credentials:
    from smtplog.replay.conversation import nobody
    from smtplog.replay.credentials import from_environment

    def ask(what: str) -> str:
        return str(typer.prompt(what, hide_input=True, err=True))

    found = from_environment(name, ask if terminal else None)
    if found is None and terminal:
        found = from_environment(str(typer.prompt("User", err=True)), ask)
    return found or nobody()
