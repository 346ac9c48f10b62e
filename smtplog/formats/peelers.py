"""What is taken off a log before its grammar sees it. A peeler never destroys: a lone backspace or DEL was *sent* and stays."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterable

import numpy as np

from smtplog import events, speech
from smtplog.events import Strings
from smtplog.lines import NONE

#: What a line begins with that a peeler took out of the dialog: prose around a quotation, the rest of a wrapped line.
ASIDE = "\0"

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,16}[@-~]|\][^\x07\x1b]{0,512}(?:\x07|\x1b\\)|[@-Z\\^_=>])")
_REPEAT = re.compile(r"\{([^{}*]{1,2000})\*([0-9]{1,6})\}")
_BREAK = re.compile(r"(?i)(?:<br ?/?>[ \t]*)+$")
_LATENCY = r"(\[[0-9]{1,9} ms\])[ \t]*$"
#: A stamp of syslog behind what a collector, or the tag of a paste, put there: a stamp of its own, a priority, a name.
_COLLECTED = (
    r"^[^ ]{1,40} ?"
    r"([A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2})"
)
_QUOTE = re.compile(r"^(?:> ?){1,8}")


def peel_lines(
    names: tuple[str, ...], lines: Strings, numbers: np.ndarray, flags: np.ndarray, eol: np.ndarray
) -> tuple[Strings, np.ndarray, np.ndarray, np.ndarray]:
    """The peelers that work on single lines of a column; one line may become several."""
    if "collected" in names and (before := events.found(lines, _COLLECTED)).any():
        at = np.flatnonzero(before)
        lines = events.replaced_at(lines, at, events.rewritten(events.take(lines, at), _COLLECTED, r"\1"))
    if "erasures" in names and (struck := events.found(lines, "\x08")).any():
        texts = events.listed(lines)
        lines = events.from_list([_erased(text) if odd else text for text, odd in zip(texts, struck, strict=True)])
    if "browser" in names and events.found(lines, "(?i)<br ?/?>[ \t]*$").any():
        lines = events.from_list([_from_browser(line) for line in events.listed(lines)])
    if "repeat" in names and events.found(lines, r"\{[^{}*]+\*[0-9]+\}").any():
        return _repeated(lines, numbers, flags, eol)
    if "latencies" in names and events.found(lines, _LATENCY).any():
        return _latencies(lines, numbers, flags, eol)
    return lines, numbers, flags, eol


def cut_records(
    record: str, lines: Strings, numbers: np.ndarray, flags: np.ndarray, eol: np.ndarray
) -> tuple[Strings, np.ndarray, np.ndarray, np.ndarray]:
    """Lines that hold several records, cut before each; a piece with another behind it has no end, and blanks in between
    are nobody's."""
    several = np.flatnonzero(events.found(lines, f".(?:{record})"))
    if not len(several):
        return lines, numbers, flags, eol
    begins, counts, pieces = re.compile(record), np.ones(len(lines), np.int64), list[str]()
    for position, line in zip(several.tolist(), events.listed(events.take(lines, several)), strict=True):
        starts = [0, *(match.start() for match in begins.finditer(line, 1)), len(line)]
        counts[position] = len(starts) - 1
        pieces += [line[start:end].rstrip(" ") for start, end in itertools.pairwise(starts)]
    where = np.repeat(np.arange(len(lines)), counts)
    cut = np.zeros(len(lines), np.bool_)
    cut[several] = True
    texts = events.replaced_at(events.take(lines, where), np.flatnonzero(cut[where]), pieces)
    unended = np.append(where[1:] == where[:-1], False)
    return texts, numbers[where], flags[where], np.where(unended, np.uint8(NONE), eol[where])


def _from_browser(line: str) -> str:
    """A line as a browser shows it: it ends in ``<br>``, and no other angle bracket stands in it, for all are entities."""
    shown = _BREAK.sub("", line)
    if shown == line or "<" in shown or ">" in shown:
        return line
    words = html.unescape(shown)
    return line if "\n" in words or "\r" in words else words


def known_peelers() -> tuple[str, ...]:
    """The names that a declaration may give."""
    return ("browser", "collected", "latencies", "repeat", *_PEELERS)


def _latencies(
    lines: Strings, numbers: np.ndarray, flags: np.ndarray, eol: np.ndarray
) -> tuple[Strings, np.ndarray, np.ndarray, np.ndarray]:
    """``250 Ok [341 ms]`` is the reply and a line that says how long it took."""
    index: list[int] = []
    texts: list[str] = []
    for i, line in enumerate(events.listed(lines)):
        match = re.search(_LATENCY, line)
        pieces = [line[: match.start()].rstrip(), match[1]] if match else [line]
        index += [i] * len(pieces)
        texts += pieces
    at = np.array(index, np.int64)
    return events.from_list(texts), numbers[at], flags[at], eol[at]


def _repeated(
    lines: Strings, numbers: np.ndarray, flags: np.ndarray, eol: np.ndarray
) -> tuple[Strings, np.ndarray, np.ndarray, np.ndarray]:
    """``{x*600}`` stands for 600 copies of x; as all of a line's words, for 600 such lines."""
    index, texts = [], []
    for i, line in enumerate(events.listed(lines)):
        whole = re.match(r"([ \t]*(?:C|S): )\{([^{}*]{2,2000})\*([0-9]{1,4})\}$", line)
        if whole and " " in whole[2].rstrip():
            copies = [whole[1] + whole[2]] * int(whole[3])
        else:
            copies = [_REPEAT.sub(lambda m: (m[1] * int(m[2]))[: 1 << 20], line)]
        index += [i] * len(copies)
        texts += copies
    at = np.array(index, np.int64)
    return events.from_list(texts), numbers[at], flags[at], eol[at]


def peel_piece(names: Iterable[str], lines: list[str]) -> list[str]:
    """The peelers that work on a whole piece of a capture; as many lines come out as go in."""
    for name in names:
        lines = _PEELERS[name](lines)
    return lines


def _fence(lines: list[str]) -> list[str]:
    """Markdown: a fence around the block, or every line between backticks. What stands outside of the fences is put aside
    where a dialog stands inside one. A piece whose dialog comes before the first fence begins inside of one."""
    ticked = [len(line) > 2 and line[0] == line.rstrip()[-1:] == "`" and line[1] != "`" for line in lines]
    if sum(ticked) > 2:
        peeled = [line.strip().strip("`") if mark else line for line, mark in zip(lines, ticked, strict=True)]
        return _outside_aside(peeled, ticked)
    fences = [line.strip().startswith(("```", "~~~")) for line in lines]
    if not any(fences):
        return lines
    first = fences.index(True)
    inside = [False] * len(lines)
    within = not lines[first].strip().strip("`~") and _dialog(lines, [i < first for i in range(len(lines))])
    for i, fence in enumerate(fences):
        within ^= fence
        inside[i] = within and not fence
    return _outside_aside([line if not fence else "" for line, fence in zip(lines, fences, strict=True)], inside)


def _quote(lines: list[str]) -> list[str]:
    """Quoted mail: ``> `` before every line; what was written around the quotation is put aside."""
    quoted = [line.startswith(">") for line in lines]
    if not any(quoted):
        return lines
    peeled = [_QUOTE.sub("", line) if mark else line for line, mark in zip(lines, quoted, strict=True)]
    return _outside_aside(peeled, quoted) if _dialog(peeled, quoted) else lines


def _outside_aside(lines: list[str], inside: list[bool]) -> list[str]:
    """Lines outside put aside, where a dialog stands inside and none outside."""
    if not _dialog(lines, inside) or _dialog(lines, [not mark for mark in inside]):
        return lines
    return [line if mark or not line.strip() else ASIDE + line for line, mark in zip(lines, inside, strict=True)]


def _dialog(lines: list[str], chosen: list[bool]) -> bool:
    """Whether replies stand in the chosen lines, and a command or a banner."""
    some = [line.lstrip(" \t") for line, mark in zip(lines, chosen, strict=True) if mark]
    codes = [speech.code_of(line) for line in some]
    return sum(code > 0 for code in codes) > 1 and (220 in codes or any(speech.is_command(line) for line in some))


def _indent(lines: list[str]) -> list[str]:
    """The blanks that every line begins with; what stands around an indented block with a dialog in it is put aside."""
    deep = [line.startswith(("    ", "\t")) for line in lines]
    if not all(mark or not line.strip() or line.startswith(ASIDE) for line, mark in zip(lines, deep, strict=True)):
        lines = _outside_aside(lines, deep)
    said = [line for line in lines if line.strip() and not line.startswith(ASIDE)]
    depth = min((len(line) - len(line.lstrip(" \t")) for line in said), default=0)
    return [line if line.startswith(ASIDE) else line[depth:] for line in lines] if depth else lines


def _escapes(lines: list[str]) -> list[str]:
    """Colours, cursor motion and titles of a terminal."""
    return [_ESCAPES.sub("", line) if "\x1b" in line else line for line in lines]


def _erasures(lines: list[str]) -> list[str]:
    """The erase echo of a local editor (``BS blank BS``), and bold by overstrike; a lone BS stays."""
    return [_erased(line) if "\b" in line else line for line in lines]


def _erased(line: str) -> str:
    if line.count("\b") >= 2 and all(line[i - 1 : i] == line[i + 1 : i + 2] for i, c in enumerate(line) if c == "\b"):
        return re.sub(r"\x08.", "", line)
    kept: list[str] = []
    i = 0
    while i < len(line):
        if line.startswith("\b \b", i):
            if kept:
                kept.pop()
            i += 3
        elif line.startswith("\b\x1b[K", i):
            if kept:
                kept.pop()
            i += 4
        else:
            kept.append(line[i])
            i += 1
    return "".join(kept)


_LABEL = re.compile(r"([a-z][a-z0-9_.-]{0,20}: )")


def _label(lines: list[str]) -> list[str]:
    """A word and a colon that every line begins with, as the name of the part of a server that writes."""
    said = [line for line in lines if line.strip()]
    match = _LABEL.match(said[0]) if said else None
    if match is None or not all(line.startswith(match[1].rstrip()) for line in said):
        return lines
    return [line[len(match[1]) :] for line in lines]


def _doubled(lines: list[str]) -> list[str]:
    """Typed characters and their echo in one log (script --log-io): ``EEHHLLOO``. Only where no command stands undoubled."""
    single = [_single(line) if len(line) > 1 and line[0] == line[1] else None for line in lines]
    if sum(speech.is_command(line) for line in single if line) < 2 or any(speech.is_command(line) for line in lines):
        return lines
    return [line if once is None else once for line, once in zip(lines, single, strict=True)]


def _single(line: str) -> str | None:
    """The line with each pair made one; an erased character is DEL and its echo. None where they are no pairs."""
    kept: list[str] = []
    i = 0
    while i < len(line):
        if line[i] in "\x7f\b" and line.startswith("\b \b", i + 1):
            del kept[-1:]
            i += 4
        elif line[i : i + 1] == line[i + 1 : i + 2]:
            kept.append(line[i])
            i += 2
        else:
            return None
    return "".join(kept)


def _wrapped(lines: list[str]) -> list[str]:
    """Lines broken at the width of a window (a copy of the screen): joined again, the rest put aside. Message text is left
    as it stands: its lines may all be of one length."""
    text = _message_text(lines)
    width = max((len(line) for line, inside in zip(lines, text, strict=True) if not inside), default=0)
    full = [len(line) == width and not inside for line, inside in zip(lines, text, strict=True)]
    widest = {line for line, mark in zip(lines, full, strict=True) if mark}
    if width < 40 or (len(widest) < 2 and width not in (80, 100, 120, 132)):
        return lines
    joined = list(lines)
    below = ""  # the next line that is a line
    for i in range(len(lines) - 1, 0, -1):
        if (
            full[i - 1]
            and lines[i].strip()
            and not lines[i].startswith(ASIDE)
            and _breaks(lines[i - 1], lines[i], below)
        ):
            joined[i - 1], joined[i] = joined[i - 1] + joined[i], ASIDE
        else:
            below = joined[i]
    return joined


def _breaks(line: str, rest: str, below: str) -> bool:
    """Whether a line as wide as the window goes on below. Behind the last line of a reply stands a command, and below that a
    reply, so that what has no reply below was said by the server."""
    if speech.code_of(rest) or speech.is_command(rest) or rest.startswith(("Connection closed", "Trying ")):
        return False
    code = speech.code_of(line)
    if code in (334, 354):
        return False
    return (line[3:4] == "-" or not speech.code_of(below)) if code else speech.is_command(line)


def _message_text(lines: list[str]) -> list[bool]:
    """Which lines stand between a 354 and a dot."""
    inside, found = False, []
    for line in lines:
        found.append(inside)
        inside = line.rstrip() != "." if inside else speech.code_of(line) == 354
    return found


def _certificates(lines: list[str]) -> list[str]:
    """What TLS programs print of the other side's certificates is put aside."""
    if not any(
        line.startswith(("Certificate chain", "-----BEGIN CERTIFICATE", "Server certificate")) for line in lines
    ):
        return lines
    kept: list[str] = []
    within = False
    for line in lines:
        if line.startswith(("Certificate chain", "Server certificate", "-----BEGIN CERTIFICATE")):
            within = True
        elif line.startswith(("New, ", "SSL-Session:")) or speech.code_of(line):
            within = False
        kept.append(ASIDE + line if within and line.strip() else line)
    return kept


_PEELERS = {
    "fence": _fence,
    "quote": _quote,
    "indent": _indent,
    "escapes": _escapes,
    "erasures": _erasures,
    "label": _label,
    "doubled": _doubled,
    "wrapped": _wrapped,
    "certificates": _certificates,
}
#: Those that look at one line at a time.
LINE_BY_LINE = ("erasures", "escapes")
