"""Play a log again: in the terminal with its timing, or against a server, comparing the answers."""

from __future__ import annotations

import dataclasses
import os
import sys
import typing
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smtplog.connecting import DAY, Auth, Insecure, Tls, Trust, credentials, for_client, nothing, plays, written
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
    seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from smtplog.replay.against import Again
    from smtplog.replay.credentials import Credentials
    from smtplog.replay.terminal import Frame, Pace
    from smtplog.replay.turns import Play

_TO = typer.Option(help="HOST:PORT of a server to send the client's side to. Without it nothing is sent.")
_MATCH = typer.Option(help="How alike answers must be: exact, enhanced, code (default), class.")
_MISMATCH = typer.Option(help="After another answer: stop, continue (default), quit-cleanly.")
_SET = typer.Option("--set", help="from=ADDRESS, to=ADDRESS, ehlo=NAME in place of the recorded ones.")
_MAP = typer.Option("--map", help="recipients=OLD:NEW,… where OLD is an address, @domain or *.")
_MAX_WAIT = typer.Option(parser=seconds, metavar="SECONDS", help="The longest pause: 2 (default), 2s, 500ms.")
_TIMEOUT = typer.Option(parser=seconds, metavar="SECONDS", help="With --to: what the server may take for each answer.")


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
    match: Annotated[str | None, _MATCH] = None,
    on_mismatch: Annotated[str | None, _MISMATCH] = None,
    sets: Annotated[list[str] | None, _SET] = None,
    maps: Annotated[list[str] | None, _MAP] = None,
    ehlo: Annotated[str | None, typer.Option(help="The name in EHLO.")] = None,
    auth: Auth = None,
    tls: Tls = False,
    starttls: Annotated[
        bool, typer.Option("--starttls", help="Start TLS after the first EHLO, though the log does not.")
    ] = False,
    insecure: Insecure = False,
    trust: Trust = None,
    deliver: Annotated[
        bool, typer.Option("--deliver", help="Send message text to a host that is not loopback.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before anything is sent.")] = False,
    timing: Annotated[bool, typer.Option("--timing", help="With --to: keep the recorded pauses.")] = False,
    speed: Annotated[float | None, typer.Option(help="So many times as fast as recorded.")] = None,
    max_wait: Annotated[float | None, _MAX_WAIT] = None,
    timeout: Annotated[float | None, _TIMEOUT] = None,
    step: Annotated[bool, typer.Option("--step", help="On a terminal: Enter shows the next exchange.")] = False,
    cast: Annotated[Path | None, typer.Option(help="Write an asciinema recording to this file.")] = None,
) -> None:
    """Play a log in the terminal with its timing (space pauses, q quits), or send its client's side to a server and compare
    what it answers."""
    from smtplog.replay.against import Again
    from smtplog.replay.client import ON_MISMATCH
    from smtplog.replay.edits import edits
    from smtplog.replay.matching import LEVELS, Level
    from smtplog.replay.terminal import Pace
    from smtplog.replay.wire import address

    timing = timing or speed is not None or max_wait is not None
    speed, max_wait = 1.0 if speed is None else speed, 2.0 if max_wait is None else max_wait
    if not 0 < speed <= 1000 or (timeout is not None and not 0 < timeout <= DAY) or not 0 <= max_wait <= DAY:
        raise UsageError("--speed is a number up to 1000, --timeout and --max-wait are seconds up to 86400")
    one_of(output_format, "text", "json", "junit")
    sending: dict[str, object] = {"--set": sets, "--map": maps, "--ehlo": ehlo, "--auth": auth, "--deliver": deliver}
    sending |= {"--tls": tls, "--starttls": starttls, "--insecure": insecure, "--trust": trust, "--yes": yes}
    sending |= {"--match": match, "--on-mismatch": on_mismatch, "--timeout": timeout}
    playing = {"--step": step, "--cast": cast}
    stray = [name for name, given in (playing if to is not None else sending).items() if given]
    if stray:
        raise UsageError(f"{stray[0]} goes {'with' if to is None else 'without'} --to HOST:PORT")
    if tls and starttls:
        raise UsageError("--starttls and --tls do not go together: TLS starts once")
    _spared(paths, output or cast)
    if to is None:
        one_of(output_format, "text", what="output format without --to")
        transcript = opened(paths, input_format, grammar, date, timezone, show_secrets)
        _played(transcript, dialog, Pace(speed, max_wait), output, cast, step=step)
        leave(finished(transcript))
        return
    how = Again(
        to=address(to, 465 if tls else 25),
        tls=for_client(insecure, trust),
        level=typing.cast(Level, one_of(match or "code", *LEVELS, what="match")),
        on_mismatch=one_of(on_mismatch or "continue", *ON_MISMATCH, what="way to go on"),
        speed=speed if timing else 0.0,
        most_wait=max_wait,
        timeout=timeout,
        credentials=credentials(auth),
        deliver=deliver,
        edits=edits(sets or (), maps or (), ehlo),
        show_secrets=show_secrets,
        implicit_tls=tls,
        starttls=starttls,
    )
    transcript = opened(paths, input_format, grammar, date, timezone, show_secrets=True)
    parts = plays(each for each in transcript if dialog is None or each.id == dialog)
    if not parts:
        raise _nothing(transcript, dialog)
    if (
        how.credentials is None
        and sys.stdin.isatty()
        and any("secret" in turn.made_up for each in parts for turn in each.turns)
    ):
        how = dataclasses.replace(how, credentials=_asked())
    leave(finished(transcript, _against(parts, how, output_format, output, yes=yes)))


def _nothing(transcript: Any, dialog: str | None) -> UsageError:
    """Why there is nothing to play."""
    return nothing(
        transcript.errors, f"there is no dialog {dialog!r} here" if dialog else "there is no dialog here to play"
    )


def _spared(paths: list[str], output: Path | None) -> None:
    """Raises UsageError where the output would be written over a log that is still to be read."""
    if output is not None and output.exists() and any(Path(each).exists() and output.samefile(each) for each in paths):
        raise UsageError(f"{output} is a log that is to be played and would be written over; name another file with -o")


# -- in the terminal


def _played(
    transcript: Any, dialog: str | None, pace: Pace, output: Path | None, cast: Path | None, *, step: bool
) -> None:
    """Play the dialogs: on a terminal as time goes by, into a file or a pipe at once, into a recording with its times."""
    from smtplog import findings
    from smtplog.replay import terminal

    rules = findings.chosen()
    checked = (pair for batch in transcript.batches() for pair in transcript.checked(batch, None, rules))
    parts = (terminal.frames(each, found, pace) for each, found in checked if dialog is None or each.id == dialog)
    frames = terminal.one_after_the_other(parts, pace)
    first = next(frames, None)
    if first is None:
        raise _nothing(transcript, dialog)
    frames = chain([first], frames)
    page = Page(cast or output)
    if cast is not None:
        page.colour = not os.environ.get("NO_COLOR")
        title = f"smtplog replay {' '.join(transcript.paths)}"
        for line in terminal.cast(frames, page.paint, title, pace):
            page.line(line)
    else:
        _shown(frames, page, step=step)
    page.close()


def _shown(frames: Iterable[Frame], page: Page, *, step: bool) -> None:
    from smtplog.replay import screen, terminal

    def tell(frame: Frame) -> None:
        for line in terminal.shown(frame, page.paint, page.width, unicode=page.unicode):
            page.line(line)
        page.flush()

    if not page.stream.isatty():
        for frame in frames:
            tell(frame)
    elif not sys.stdin.isatty():
        screen.Screen(tell, page.aside, screen.NoKeys()).show(frames)
    else:
        with screen.Keyboard(sys.stdin.fileno()) as keys:
            page.line(page.paint("space pauses, Enter goes on at once, q quits", "dim"))
            screen.Screen(tell, page.aside, keys, step=step).show(frames)


# -- against a server


def _asked() -> Credentials | None:
    """Who logs in where the log masks who did."""
    what = "The log masks its secrets. Log in as (nothing: without AUTH)"
    user = str(typer.prompt(what, default="", show_default=False, err=True)).strip()
    return credentials(user) if user else None


def _against(parts: list[Play], how: Again, output_format: str, output: Path | None, *, yes: bool) -> int:
    """Send them, tell what differs; the exit code."""
    from smtplog.replay import against, wire
    from smtplog.reports import outcomes

    loopback = wire.is_loopback(how.to.host)
    how = dataclasses.replace(how, deliver=how.deliver or loopback)
    parts = against.prepared(parts, how)
    if not loopback and not yes:
        _ask(parts, how)
    page = Page()
    form = outcomes.FORMS[output_format](page)
    same = True
    with written(output) as stream:
        try:
            for outcome in against.replay(parts, how, stream):
                same = same and outcome.same
                form.tell(outcome)
        finally:  # a server that goes away between two dialogs: what was compared is told
            form.close()
            page.close()
    return 0 if same else 1


def _ask(parts: list[Play], how: Again) -> None:
    """Say who will hear of it, and ask. Raises UsageError where there is nobody to ask."""
    from smtplog.replay.edits import recipients

    who = recipients(parts)
    what = "message text is sent" if how.deliver else "no message text is sent (--deliver sends it)"
    named = ", ".join(printable(each) for each in who[:10]) + (f" and {len(who) - 10} more" if len(who) > 10 else "")
    told = (
        f"{how.to}: {len(parts):,} {'dialog' if len(parts) == 1 else 'dialogs'}, recipients: {named or 'none'}; {what}"
    )
    if not sys.stdin.isatty():
        raise UsageError(f"{told}. Nothing was sent: --yes sends it without being asked")
    print(told, file=sys.stderr)
    if not typer.confirm("Send?", err=True):
        raise UsageError("nothing was sent")
