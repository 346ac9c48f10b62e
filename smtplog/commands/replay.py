"""Play a log again: in the terminal with its timing, or against a server, comparing the answers."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from smtplog.errors import UsageError
from smtplog.output import (
    Day,
    Grammar,
    InputFormat,
    Output,
    OutputFormat,
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
    from smtplog.replay.against import Again
    from smtplog.replay.credentials import Credentials
    from smtplog.replay.turns import Play

_TO = typer.Option(help="HOST:PORT of a server to send the client's side to. Without it nothing is sent.")
_MATCH = typer.Option(help="How alike answers must be: exact, enhanced, code (default), class.")
_MISMATCH = typer.Option(help="After another answer: stop, continue (default), quit-cleanly.")
_SET = typer.Option("--set", help="from=ADDRESS, to=ADDRESS, ehlo=NAME in place of the recorded ones.")
_MAP = typer.Option("--map", help="recipients=OLD:NEW,… where OLD is an address, @domain or *.")
_AUTH = typer.Option("--auth", help="Log in as this user; the password from SMTPLOG_PASSWORD, or asked for.")


def command(
    paths: Paths,
    input_format: InputFormat = None,
    grammar: Grammar = None,
    date: Day = None,
    timezone: Zone = None,
    output_format: OutputFormat = "text",
    output: Output = None,
    show_secrets: ShowSecrets = False,
    dialog: Annotated[str | None, typer.Option("--dialog", help="Only the dialog with this id.")] = None,
    to: Annotated[str | None, _TO] = None,
    match: Annotated[str, _MATCH] = "code",
    on_mismatch: Annotated[str, _MISMATCH] = "continue",
    sets: Annotated[list[str] | None, _SET] = None,
    maps: Annotated[list[str] | None, _MAP] = None,
    ehlo: Annotated[str | None, typer.Option(help="The name in EHLO.")] = None,
    auth: Annotated[str | None, _AUTH] = None,
    tls: Annotated[bool, typer.Option("--tls", help="TLS from the first octet (port 465).")] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="Take any certificate.")] = False,
    trust: Annotated[Path | None, typer.Option(help="PEM of certificates to trust, in place of the system's.")] = None,
    deliver: Annotated[
        bool, typer.Option("--deliver", help="Send message text to a host that is not loopback.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before anything is sent.")] = False,
    timing: Annotated[bool, typer.Option("--timing", help="With --to: keep the recorded pauses.")] = False,
    speed: Annotated[float, typer.Option(help="So many times as fast as recorded.")] = 1.0,
    max_wait: Annotated[float, typer.Option(help="The longest pause, in seconds.")] = 5.0,
    timeout: Annotated[float, typer.Option(help="Seconds the server may take for each answer.")] = 300.0,
) -> None:
    """Play a log in the terminal, or send its client's side to a server and compare what it answers."""
    from smtplog.replay.against import Again
    from smtplog.replay.client import ON_MISMATCH
    from smtplog.replay.edits import edits
    from smtplog.replay.matching import LEVELS, Level
    from smtplog.replay.turns import play
    from smtplog.replay.wire import address, for_clients

    if not 0 < speed <= 1000 or not 0 < timeout <= 86400 or not 0 <= max_wait <= 86400:
        raise UsageError("--speed is a number up to 1000, --timeout and --max-wait are seconds up to 86400")
    one_of(output_format, "text", "json", "junit")
    one_of(on_mismatch, *ON_MISMATCH, what="way to go on")
    how = None
    if to is not None:
        server = address(to, 465 if tls else 25)
        how = Again(
            to=server,
            tls=for_clients(insecure=insecure, trusted=str(trust) if trust else None),
            level=cast(Level, one_of(match, *LEVELS, what="match")),
            on_mismatch=on_mismatch,
            speed=speed if timing else 0.0,
            most_wait=max_wait,
            timeout=timeout,
            credentials=_credentials(auth),
            deliver=deliver,
            edits=edits(sets or (), maps or (), ehlo),
            show_secrets=show_secrets,
            implicit_tls=tls,
        )
    transcript = opened(paths, input_format, grammar, date, timezone, show_secrets=True)
    plays = [part for each in transcript if (dialog is None or each.id == dialog) and (part := play(each)).turns]
    if not plays:
        for sentence in transcript.errors:
            raise UsageError(sentence)
        raise UsageError(f"there is no dialog {dialog!r} here" if dialog else "there is no dialog here to play")
    if how is None:
        raise UsageError("name a server with --to HOST:PORT")
    leave(finished(transcript, _against(plays, how, output_format, output, yes=yes)))


def _credentials(user: str | None) -> Credentials | None:
    from smtplog.replay.credentials import from_environment

    def ask(what: str) -> str:
        return str(typer.prompt(what, hide_input=True, err=True))

    return from_environment(user, ask if sys.stdin.isatty() else None)


def _against(plays: list[Play], how: Again, output_format: str, output: Path | None, *, yes: bool) -> int:
    """Send them, tell what differs; the exit code."""
    from dataclasses import replace

    from smtplog.replay import against, wire
    from smtplog.reports import outcomes

    loopback = wire.is_loopback(how.to.host)
    how = replace(how, deliver=how.deliver or loopback)
    plays = against.prepared(plays, how)
    if not loopback and not yes:
        _ask(plays, how)
    page = Page()
    form = outcomes.FORMS[output_format](page)
    same = True
    with open(output, "w", encoding="utf-8") if output else contextlib.nullcontext() as stream:
        for outcome in against.replay(plays, how, stream):
            same = same and outcome.same
            form.tell(outcome)
    form.close()
    page.close()
    return 0 if same else 1


def _ask(plays: list[Play], how: Again) -> None:
    """Say who will hear of it, and ask. Raises UsageError where there is nobody to ask."""
    from smtplog.replay.edits import recipients

    who = recipients(plays)
    what = "message text is sent" if how.deliver else "no message text is sent (--deliver sends it)"
    named = ", ".join(printable(each) for each in who[:10]) + (f" and {len(who) - 10} more" if len(who) > 10 else "")
    told = (
        f"{how.to}: {len(plays):,} {'dialog' if len(plays) == 1 else 'dialogs'}, recipients: {named or 'none'}; {what}"
    )
    if not sys.stdin.isatty():
        raise UsageError(f"{told}. Nothing was sent: --yes sends it without being asked")
    print(told, file=sys.stderr)
    if not typer.confirm("Send?", err=True):
        raise UsageError("nothing was sent")
