"""Hold a session with a server by hand, or stand between a client and a server, and keep it as a log."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smtplog.connecting import (
    DAY,
    Auth,
    Insecure,
    Tls,
    Trust,
    credentials,
    for_client,
    for_server,
    listening_on,
    written,
)
from smtplog.errors import UsageError
from smtplog.output import Output, Page, ShowSecrets, leave, printable

if TYPE_CHECKING:
    from smtplog.console import Lines
    from smtplog.replay.credentials import Credentials
    from smtplog.replay.proxy import Between
    from smtplog.replay.recording import Recording
    from smtplog.replay.wire import Address

_HOST = typer.Argument(metavar="HOST[:PORT]", help="The server: mx.example.net, mx.example.net:587, [::1]:2525.")
_CAREFUL = typer.Option("--careful", help="From a pipe: do not send a line that has a fault; end there with 1.")
_PROXY = typer.Option(help="HOST:PORT to listen on: record what clients say to the server through it.")
_EXPLAIN = typer.Option("--explain/--no-explain", help="Say what replies mean; default: on a terminal.")


def command(
    host: Annotated[str, _HOST],
    output: Output = None,
    show_secrets: ShowSecrets = False,
    telnet_log: Annotated[bool, typer.Option("--telnet-log", help="Write -o as a log of Telnet.")] = False,
    tls: Tls = False,
    starttls: Annotated[bool, typer.Option("--starttls", help="Say EHLO, STARTTLS and EHLO first.")] = False,
    ehlo: Annotated[str | None, typer.Option(help="The name in EHLO; default: this end's address.")] = None,
    auth: Auth = None,
    insecure: Insecure = False,
    trust: Trust = None,
    careful: Annotated[bool, _CAREFUL] = False,
    explain: Annotated[bool | None, _EXPLAIN] = None,
    timeout: Annotated[float, typer.Option(help="Seconds the server may take for each answer.")] = 300.0,
    proxy: Annotated[str | None, _PROXY] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="With --proxy: PEM of its certificate; default: one made for this run.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="PEM of its key, where that is a file of its own.")] = None,
    sessions: Annotated[int, typer.Option(help="With --proxy: end after so many sessions; 0: never.")] = 0,
    any_host: Annotated[bool, typer.Option("--any-host", help="With --proxy: listen beyond loopback.")] = False,
) -> None:
    """Talk to a server by hand: replies explained, faults shown before a line is sent, all of it kept with -o."""
    from smtplog.replay import wire
    from smtplog.replay.recording import Recording, TelnetLog

    if not 0 < timeout <= DAY or sessions < 0:
        raise UsageError("--timeout is a number of seconds up to 86400, --sessions 0 or more")
    if tls and starttls:
        raise UsageError("--tls and --starttls do not go together: TLS begins at once, or after STARTTLS")
    if telnet_log and output is None:
        raise UsageError("--telnet-log says how -o is written; name a file with -o")
    to = wire.address(host, 465 if tls else 25)
    context = for_client(insecure, trust)
    kind = TelnetLog if telnet_log else Recording
    if proxy is None:
        begin = {"tls": tls, "starttls": starttls, "hello": ehlo}
        leave(_by_hand(to, context, timeout, output, kind, auth, begin, explain, careful=careful, show=show_secrets))
        return
    if starttls or ehlo or auth or careful:
        raise UsageError(
            "with --proxy the client says what it says: --starttls, --ehlo, --auth and --careful do not fit"
        )
    if output is None:
        raise UsageError("name a file for the sessions with -o, or a folder that exists for a file each")
    from smtplog.replay.proxy import Between, checked

    at = listening_on(proxy, any_host, str(to))
    own = for_server(certificate, key)
    between = Between(to, context, own, checked(output), kind, tls, timeout, show_secrets=show_secrets)
    _between(at, between, sessions)


def _between(at: Address, between: Between, enough: int) -> None:
    """Stand between clients and the server until it is enough."""
    import threading

    from smtplog.replay.proxy import Passed, Proxy
    from smtplog.replay.wire import Address

    page, ended = Page(), threading.Event()

    def told(passed: Passed) -> None:
        words = f"{passed.number}: {passed.client}: {passed.answers:,} commands answered"
        page.line(printable(f"{words}; {passed.trouble}" if passed.trouble else words))
        page.flush()
        if proxy.sessions == enough:
            ended.set()

    with Proxy(at, between, told) as proxy:
        page.line(f"recording what goes from {Address(at.host, proxy.port)} to {between.server}; Ctrl-C ends it")
        page.flush()
        ended.wait()
    page.close()


def _by_hand(
    to: Address,
    context: Any,
    timeout: float,
    output: Path | None,
    kind: type[Recording],
    user: str | None,
    begin: dict[str, Any],
    explain: bool | None,
    *,
    careful: bool,
    show: bool,
) -> int:
    """Hold one session; the exit code."""
    from smtplog.console import Console, Piped, Shown, Typed
    from smtplog.replay import wire
    from smtplog.replay.conversation import Conversation

    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    line = wire.connect(to, min(timeout, 30.0))
    line.tls, line.timeout, line.total = context, timeout, 86400.0
    begin["hello"] = begin["hello"] or _name(line.here.host)
    page = Page()
    shown = Shown(page, terminal, terminal if explain is None else explain)
    try:
        with written(output) as stream:
            conversation = Conversation(
                recording=kind(stream if stream is not None else io.StringIO(), show_secrets=show),
                screen=shown,
                user=lambda: _user(user, terminal),
                show_secrets=show,
                in_clear=wire.is_loopback(to.host),
            )
            conversation.recording.event(f"connect {line.here} -> {line.there}")
            if terminal:
                shown.noted(f"connected to {to}; :help says what else there is")
            lines: Lines = Piped()
            if terminal and os.environ.get("TERM", "dumb") == "dumb":
                lines = Typed()
            elif terminal:
                from smtplog.editor import Edited

                lines = Edited(conversation, lambda: line.socket.fileno(), lambda: line.take(conversation.glance()))
            code = Console(conversation, shown, lines, line.take, careful).hold(conversation.begin(**begin))
    finally:
        line.close()
    if terminal and output is not None:
        shown.noted(f"kept in {output}")
    page.close()
    return code


def _name(host: str) -> str:
    """An address as the name of a client that has no better one (RFC 5321 section 4.1.3)."""
    return f"[IPv6:{host}]" if ":" in host else f"[{host}]"


def _user(name: str | None, terminal: bool) -> Credentials:
    from smtplog.replay.conversation import nobody

    found = credentials(name, ask=terminal)
    if found is None and terminal:
        found = credentials(str(typer.prompt("User", err=True)), ask=True)
    return found or nobody()
