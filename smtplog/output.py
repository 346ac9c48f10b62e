"""Text for eyes: safe for a terminal, aligned, coloured only where colour means something."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from smtplog.errors import UsageError
from smtplog.printable import printable as printable

if TYPE_CHECKING:
    from smtplog.transcript import FileReport

Paths = Annotated[
    list[str], typer.Argument(help="Logs: files, directories, globs, - for standard input; packed or not.")
]
InputFormat = Annotated[str | None, typer.Option("--input-format", help="The log format; default: told from the file.")]
Grammar = Annotated[
    Path | None, typer.Option("--grammar", help="A declaration of your own, my.lark; see smtplog formats --check.")
]
Day = Annotated[
    str | None, typer.Option("--date", help="The day of the log (YYYY-MM-DD), for stamps without a year or a date.")
]
Zone = Annotated[
    str | None,
    typer.Option("--timezone", help="The zone of stamps that name none: Europe/Berlin, +02:00; default: UTC."),
]
OutputFormat = Annotated[str, typer.Option("--output-format", help="text, json …")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file.")]
ShowSecrets = Annotated[bool, typer.Option("--show-secrets", help="Do not mask what follows AUTH.")]

MOST_FILES = 20  #: so many are told one by one
COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "bold": "1", "dim": "2"}
SEVERITY = {"error": "red", "warning": "yellow", "info": "cyan"}


class Page:
    """Where a command writes: standard output or a file, with colour on a terminal unless NO_COLOR is set."""

    def __init__(self, output: Path | None = None) -> None:
        import os
        import shutil

        try:
            self.stream: TextIO = open(output, "w", encoding="utf-8") if output else sys.stdout
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {error.strerror}") from None
        terminal = self.stream.isatty()
        self.colour = (terminal or bool(os.environ.get("FORCE_COLOR"))) and not os.environ.get("NO_COLOR")
        self.width = max(min(shutil.get_terminal_size((100, 24)).columns, 140), 60) if terminal else 100
        self.unicode = "utf" in (getattr(self.stream, "encoding", "") or "").lower()

    def paint(self, text: str, *styles: str) -> str:
        """A text in a colour, where the stream can have it."""
        codes = ";".join(COLOURS[style] for style in styles if style)
        return f"\x1b[{codes}m{text}\x1b[0m" if self.colour and codes else text

    def line(self, text: str = "") -> None:
        """One line; what the stream's encoding has not is replaced."""
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        try:
            self.stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        except BrokenPipeError:
            self._gone()

    def heading(self, text: str) -> None:
        self.line()
        self.line(self.paint(text, "bold"))

    def wrapped(self, text: str, indent: int = 0, first: str | None = None) -> None:
        """A paragraph, folded to the width."""
        import textwrap

        blank = " " * indent
        for line in textwrap.wrap(
            printable(text),
            self.width,
            initial_indent=blank if first is None else first,
            subsequent_indent=blank,
            break_on_hyphens=False,
        ):
            self.line(line)

    def table(self, rows: Sequence[Sequence[str]], *, right: Iterable[int] = (), styles: Sequence[str] = ()) -> None:
        """Aligned columns; the last one takes what is left of the width."""
        if not rows:
            return
        right = set(right)
        cells = [[printable(cell) for cell in row] for row in rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        room = self.width - sum(widths[:-1]) - 2 * len(widths)
        for number, row in enumerate(cells):
            shown = [
                cell.rjust(w) if i in right else cell.ljust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ]
            shown[-1] = elided(row[-1], max(room, 20))
            style = styles[number] if number < len(styles) else ""
            self.line("  " + self.paint("  ".join(shown).rstrip(), style))

    def aside(self, text: str) -> None:
        """A line that the next call takes away again; for a terminal."""
        self.stream.write(f"\r\x1b[K{self.paint(text, 'dim')}")
        self.flush()

    def flush(self) -> None:
        """What was written so far is to be seen now."""
        try:
            self.stream.flush()
        except BrokenPipeError:
            self._gone()

    def close(self) -> None:
        """The end of the output."""
        self.flush()
        if self.stream is not sys.stdout:
            self.stream.close()

    def _gone(self) -> None:
        """Nobody reads any more: no error; what is still buffered goes nowhere."""
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit


class Progress:
    """One line on standard error that says how far long work has come; only on a terminal, and after a second."""

    def __init__(self) -> None:
        import time

        self._clock = time.monotonic
        self._next = self._clock() + 1
        self._told = False

    def tell(self, text: str) -> None:
        """Say it, at most five times a second."""
        if self._clock() >= self._next and sys.stderr.isatty():
            self._next = self._clock() + 0.2
            self._told = True
            print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._told:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def elided(text: str, width: int) -> str:
    """A text cut to a width."""
    return text if len(text) <= width else text[: max(width - 3, 1)] + "..."


def opened(
    paths: list[str],
    input_format: str | None,
    grammar: Path | None,
    date: str | None,
    timezone: str | None,
    show_secrets: bool = False,
) -> Any:
    """The transcript that the options of a command name."""
    from datetime import date as day

    from smtplog.transcript import read

    try:
        of = day.fromisoformat(date) if date else None
    except ValueError:
        raise UsageError(f"{date!r} is no day; write it as 2026-01-31") from None
    return read(
        *paths, input_format=input_format, grammar=grammar, date=of, timezone=timezone, show_secrets=show_secrets
    )


def told_files(page: Page, files: Sequence[FileReport]) -> None:
    """How each file was read: its format, what was not understood, what was assumed."""
    for report in files[:MOST_FILES]:
        sure = f" ({report.confidence:.0%} sure)" if report.confidence < 1 else ""
        line = f"{printable(report.source)}: {report.format}{sure}, {report.lines:,} lines{_strange(report)}"
        page.line(page.paint(line, "dim"))
    if len(files) > MOST_FILES:
        page.line(page.paint(f"and {len(files) - MOST_FILES:,} files more", "dim"))
    assumed = list(dict.fromkeys(sentence for report in files for sentence in report.assumed))
    for sentence in assumed[:MOST_FILES]:
        page.wrapped(sentence, 2)


def _strange(report: FileReport) -> str:
    count = report.not_understood
    lines = "1 line" if count == 1 else f"{count:,} lines"
    return f"; {lines} not understood, first at line {report.first_not_understood:,}" if count else ""


def one_of(word: str, *known: str, what: str = "output format") -> str:
    """A word of the user, if it is one that is known."""
    if word not in known:
        raise UsageError(f"there is no {what} {word!r} here; there are {', '.join(known)}")
    return word


def finished(transcript: Any, code: int = 0) -> int:
    """Says what could not be done; the exit code: 2 for that wins over 1."""
    for sentence in transcript.errors:
        print(f"smtplog: {printable(sentence)}", file=sys.stderr)
    return 2 if transcript.errors else code


def leave(code: int) -> None:
    """End a command with this exit code."""
    if code:
        raise typer.Exit(code)


def seconds(words: object) -> float:
    """Seconds as the user writes them: ``2``, ``2s``, ``0.5``, ``500ms``, ``1m``. Raises UsageError."""
    text = str(words).strip()
    unit = next((each for each in ("ms", "s", "m") if text.endswith(each)), "")
    try:
        return float(text.removesuffix(unit)) * {"ms": 0.001, "m": 60.0}.get(unit, 1.0)
    except ValueError:
        raise UsageError(f"{text!r} is no time; write seconds: 2, 0.5, 2s, 500ms, 1m") from None


def comma(words: str | Iterable[str] | None) -> list[str]:
    """The words of a comma list, or of several."""
    lists = [words] if isinstance(words, str) else words or ()
    return [word.strip() for each in lists for word in each.split(",") if word.strip()]
