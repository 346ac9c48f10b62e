"""Stand in for the server of a log: answer as it answered, on loopback unless told otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smtplog.connecting import DAY, for_server, listening_on, nothing, plays
from smtplog.errors import UsageError
from smtplog.output import (
    Day,
    Grammar,
    InputFormat,
    Page,
    Paths,
    ShowSecrets,
    Zone,
    finished,
    leave,
    one_of,
    opened,
    printable,
)

if TYPE_CHECKING:
    from smtplog.replay.listener import Session

_LISTEN = typer.Option(help="HOST:PORT to listen on; port 0 takes a free one.")
_UNMATCHED = typer.Option(help="For what was not recorded: 503, close, nearest, state-machine.")
_FAULT = typer.Option(help="A fault on purpose, WHAT@WHERE: 421@RCPT, 450@RCPT#2, drop@text, delay:5@MAIL, silence@.")


def command(
    paths: Paths,
    input_format: InputFormat = None,
    grammar: Grammar = None,
    date: Day = None,
    timezone: Zone = None,
    show_secrets: ShowSecrets = False,
    listen: Annotated[str, _LISTEN] = "127.0.0.1:2525",
    match: Annotated[
        bool, typer.Option("--match", help="The client's commands choose the dialog; else in turn.")
    ] = False,
    unmatched: Annotated[str, _UNMATCHED] = "503",
    timing: Annotated[bool, typer.Option("--timing", help="Answer after the recorded delays.")] = False,
    speed: Annotated[float, typer.Option(help="With --timing: so many times as fast.")] = 1.0,
    fault: Annotated[list[str] | None, _FAULT] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM of the certificate; default: one made for this run.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="PEM of its key, where that is a file of its own.")] = None,
    record: Annotated[Path | None, typer.Option(help="Write each session to this folder.")] = None,
    sessions: Annotated[int, typer.Option(help="End after so many sessions; 0: never.")] = 0,
    timeout: Annotated[float, typer.Option(help="Seconds a client may take for each command.")] = 300.0,
    any_host: Annotated[bool, typer.Option("--any-host", help="Listen on an address that is not loopback.")] = False,
) -> None:
    """Answer as the server of a log did: for clients under test, for teaching, for a cassette."""
    import signal
    import threading

    from smtplog.replay import faults, wire
    from smtplog.replay.listener import Conduct, Listener
    from smtplog.replay.server import UNMATCHED

    one_of(unmatched, *UNMATCHED, what="policy")
    if not 0 < speed <= 1000 or not 0 < timeout <= DAY or sessions < 0:
        raise UsageError("--speed is a number up to 1000, --timeout one up to 86400 seconds, --sessions 0 or more")
    at = listening_on(listen, any_host, "this server")
    conduct = Conduct(
        unmatched=unmatched,
        timing=speed if timing else 0.0,
        in_turn=not match,
        faults=tuple(map(faults.fault, fault or ())),
        tls=for_server(certificate, key),
        timeout=timeout,
        show_secrets=show_secrets,
        folder=_folder(record),
    )
    transcript = opened(paths, input_format, grammar, date, timezone, show_secrets=True)
    parts = plays(transcript)
    if not parts:
        raise nothing(transcript.errors, "there is no dialog in these logs that a server could answer from")
    page, enough, served, hinted = Page(), threading.Event(), 0, unmatched != "503"
    signal.signal(signal.SIGTERM, lambda *_: enough.set())

    def told(session: Session) -> None:
        nonlocal served, hinted
        served += 1
        _tell(page, session)
        if session.server.misses and not hinted:
            hinted = True
            page.line(page.paint("   --unmatched state-machine answers such commands as a correct server would", "dim"))
        page.flush()
        if served == sessions:
            enough.set()

    with Listener(parts, at, conduct, told) as listening:
        what = "1 dialog" if len(parts) == 1 else f"{len(parts):,} dialogs"
        page.line(f"serving {what} on {wire.Address(at.host, listening.port)}; Ctrl-C ends it")
        page.flush()
        enough.wait()
    page.close()
    leave(finished(transcript))


def _folder(path: Path | None) -> Path | None:
    if path is not None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{path} cannot be a folder for sessions: {error.strerror}") from None
    return path


def _tell(page: Page, session: Session) -> None:
    server = session.server
    verdict = "all of it was played" if server.complete and not server.misses else "not all of it was played"
    words = [f"{session.number}: {session.peer}: {server.play.dialog.id}, {verdict}"]
    if server.ended:
        words.append(server.ended)
    elif not server.complete and not server.misses:
        words.append(f"due was {server.due}")
    page.line(printable("; ".join(words)))
    for miss in server.misses[:5]:
        page.line(page.paint(f"   not recorded: {printable(miss.line)[:100]}; {printable(miss.why)[:200]}", "yellow"))
