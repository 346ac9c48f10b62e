"""A dialog played for eyes: frames, each with the pause before it, of the lines of ``show`` and what is to be said of them.

Nothing is waited for here, and nothing written: :mod:`smtplog.replay.screen` shows frames as time goes by, :func:`cast` makes
a recording of them.
"""

from __future__ import annotations

import json
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from smtplog import steps
from smtplog.findings import Finding
from smtplog.model import Dialog, Reply
from smtplog.printable import printable
from smtplog.script import ScriptLine, script

#: Seconds before a command and before a reply where the log has no times.
BEFORE_COMMAND, BEFORE_REPLY = 1.0, 0.5
#: Seconds between two dialogs, and for the last picture of a recording.
BETWEEN = 2.0
_GUTTER = 9  # columns for the time
#: Columns and lines of a recording.
WIDTH, HEIGHT = 100, 30
_ASCII = {"✓": "ok", "✗": "NO", "•": "-"}
_SEVERITY = {"error": "red", "warning": "yellow", "info": "cyan"}
_SIDES = {"C": "blue", "S": "", "*": "dim"}

#: ``Page.paint``: a text in some styles.
Paint = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Line:
    """One line, safe for a terminal."""

    text: str
    style: str = ""
    lead: str = ""  #: before the text, in a style of its own
    lead_style: str = ""
    indent: int = 0
    of_log: bool = False  #: a line of ``show``, not a remark


@dataclass(frozen=True, slots=True)
class Frame:
    """What appears at once."""

    pause: float  #: seconds before it, already at the pace of the play
    lines: tuple[Line, ...]
    begins: bool = False  #: an exchange begins here
    at: float | None = None  #: seconds from the start of the dialog, as recorded; None where no more went by
    timed: bool = False  #: whether the log has times


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a dialog is played."""

    speed: float = 1.0  #: so many times as fast as recorded
    most_wait: float = 2.0  #: seconds of the longest pause

    def of(self, seconds: float) -> float:
        """A recorded pause as it is played."""
        return min(max(seconds, 0.0) / self.speed, self.most_wait)


def frames(dialog: Dialog, findings: Iterable[Finding], pace: Pace) -> Iterator[Frame]:
    """The frames of a dialog. Secrets are shown as the dialog has them."""
    lines = script(dialog)
    remarks = _remarks(dialog, lines, findings)
    times = [each.time for each in lines if each.time is not None]
    timed = len(set(times)) > 1
    start = now = min(times, default=None)
    took = f", took {_clock((max(times) - min(times)).total_seconds())} s" if timed else ""
    heading = Line(printable(f"# {dialog.id}  {dialog.source}:{dialog.line}{took}"), "dim")
    yield Frame(0.0, (heading,))
    seen: set[int] = set()
    before: float | None = None
    for group in _beats(lines):
        first = lines[group[0]]
        time = next((lines[i].time for i in group if lines[i].time is not None), None)
        pause = _between(now, time) if timed else _gentle(first)
        now = time if time is not None and (now is None or time > now) else now
        told = [line for i in group for line in (_of_log(lines[i]), *remarks[i])]
        begins = first.exchange is not None and first.exchange not in seen
        seen |= {first.exchange} if first.exchange is not None else set()
        at = _between(start, time) if timed and time is not None else None
        yield Frame(pace.of(pause), tuple(told), begins, at if at != before else None, timed)
        before = at
    words, colour = steps.outcome(dialog)
    yield Frame(0.0, (Line(printable(words), colour),))


def _beats(lines: Sequence[ScriptLine]) -> Iterator[list[int]]:
    """The indices of what appears together: a command with its text, a whole reply, an event."""
    for (_, side), group in groupby(enumerate(lines), lambda pair: (pair[1].exchange, pair[1].text[:1])):
        indices = [i for i, _ in group]
        yield from [[i] for i in indices] if side == "*" else [indices]


def _between(start: datetime | None, end: datetime | None) -> float:
    return (end - start).total_seconds() if start is not None and end is not None else 0.0


def _gentle(line: ScriptLine) -> float:
    return {"C": BEFORE_COMMAND, "S": BEFORE_REPLY}.get(line.text[:1], 0.0)


def _of_log(line: ScriptLine) -> Line:
    return Line(printable(line.text), _SIDES.get(line.text[:1], ""), of_log=True)


# -- remarks: replies in words, findings


def _remarks(dialog: Dialog, lines: Sequence[ScriptLine], findings: Iterable[Finding]) -> dict[int, list[Line]]:
    """What is said below each line of the dialog, by its index."""
    ends = {each.exchange: i for i, each in enumerate(lines) if each.text.startswith("S")}
    at = _places(dialog, lines, ends)
    found: dict[int, list[Line]] = defaultdict(list)
    for finding in findings:
        found[at(finding.line)] += _finding(finding)
    told: dict[int, list[Line]] = defaultdict(list)
    for exchange, i in ends.items():
        reply = dialog.greeting if exchange is None else dialog.exchanges[exchange].reply
        if reply is not None:
            verb = "Connect" if exchange is None else dialog.exchanges[exchange].verb
            told[i] += _in_words(reply, verb, explained=i in found)
    for i, remarks in found.items():
        told[i] += remarks
    return told


def _places(dialog: Dialog, lines: Sequence[ScriptLine], ends: dict[int | None, int]) -> Callable[[int], int]:
    """Where a finding at a line of the log is told: below a line of message text, else where the answer has come."""
    first: dict[int, int] = {}
    for i, each in enumerate(lines):
        first.setdefault(each.line, i)
    texts = {number for each in dialog.exchanges if each.content is not None for number in each.content.numbers}

    def place(line: int) -> int:
        i = first.get(line)
        if i is None:
            i = next((i for i, each in enumerate(lines) if each.line >= line), len(lines) - 1)
        if line in texts or lines[i].text.startswith("*"):
            return i
        return max(ends.get(lines[i].exchange, i), i)

    return place


def _in_words(reply: Reply, verb: str, *, explained: bool) -> Iterator[Line]:
    refused = reply.severity not in (2, 3)
    colour = {4: "yellow", 5: "red"}.get(reply.severity, "yellow" if refused else "green")
    words = printable(steps.in_words(reply, verb))
    yield Line(words, colour if refused else "dim", "✗" if refused else "✓", colour, indent=3)
    advice = steps.refusal(reply)[1] if refused and not explained else ""
    if advice:
        yield Line(printable(f"do: {advice}"), "dim", indent=3)


def _finding(finding: Finding) -> Iterator[Line]:
    lead = f"• {finding.severity} {finding.code}:"
    yield Line(printable(finding.message), "", lead, _SEVERITY[finding.severity], indent=3)
    yield Line(
        printable(f"write: {finding.corrected}" if finding.corrected else f"do: {finding.advice}"), "dim", indent=5
    )


# -- as text


def shown(frame: Frame, paint: Paint, width: int, *, unicode: bool = True) -> list[str]:
    """The lines of a frame as they are written: the time before the first, remarks folded to a width."""
    before = " " * _GUTTER if frame.timed else ""
    first = paint(f"{_clock(frame.at):>{_GUTTER - 1}}", "dim") + " " if frame.at is not None else before
    written: list[str] = []
    for line in frame.lines:
        start, first = first, before
        rows = _folded(line, paint, width - len(before), unicode) if line.indent else [paint(line.text, line.style)]
        written += [f"{start if number == 0 else before}{row}".rstrip() for number, row in enumerate(rows)]
    return written


def _folded(line: Line, paint: Paint, width: int, unicode: bool) -> list[str]:
    """A remark, folded to a width under its lead."""
    lead = line.lead if unicode else "".join(_ASCII.get(c, c) for c in line.lead)
    hanging = len(lead) + 1 if lead else 2
    blank = " " * (2 if lead else 4)
    room = max(width - line.indent, 30)
    rows = textwrap.wrap(line.text, room, initial_indent=" " * hanging, subsequent_indent=blank, break_on_hyphens=False)
    starts = [f"{paint(lead, line.lead_style)} " if lead else " " * hanging, *[blank] * len(rows)]
    return [
        f"{' ' * line.indent}{start}{paint(row.strip(' '), line.style)}"
        for start, row in zip(starts, rows, strict=False)
    ]


def _clock(seconds: float | None) -> str:
    """Seconds as they are read: ``0.012``, ``1:05.300``, ``2:01:07``."""
    milliseconds = round(max(seconds or 0.0, 0.0) * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest // 1000:02}"
    return f"{minutes}:{rest / 1000:06.3f}" if minutes else f"{rest / 1000:.3f}"


# -- as a recording


def one_after_the_other(parts: Iterable[Iterable[Frame]], pace: Pace) -> Iterator[Frame]:
    """The frames of several dialogs, an empty line and a pause between them."""
    for number, part in enumerate(parts):
        for i, frame in enumerate(part):
            if number and i == 0:
                yield Frame(pace.of(BETWEEN), (Line(""),))
            yield frame


def cast(played: Iterable[Frame], paint: Paint, title: str, pace: Pace) -> Iterator[str]:
    """The lines of an asciinema recording, version 2 (docs.asciinema.org/manual/asciicast/v2): a header, then one event a
    frame, its seconds from the start."""
    header = {"version": 2, "width": WIDTH, "height": HEIGHT, "title": title, "env": {"TERM": "xterm-256color"}}
    yield json.dumps(header, ensure_ascii=True)
    now = 0.0
    for frame in played:
        now += frame.pause
        text = "".join(f"{line}\r\n" for line in shown(frame, paint, WIDTH))
        yield json.dumps([round(now, 6), "o", text], ensure_ascii=True)
    yield json.dumps([round(now + pace.of(BETWEEN), 6), "o", ""])
