"""What is taken off a log before its grammar sees it. A peeler never destroys: a lone backspace or DEL was *sent* and stays."""

from __future__ import annotations

import html
import itertools
import re

import numpy as np

from smtplog import events
from smtplog.events import Strings
from smtplog.lines import NONE

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,16}[@-~]|\][^\x07\x1b]{0,512}(?:\x07|\x1b\\)|[@-Z\\^_=>])")
_REPEAT = re.compile(r"\{([^{}*]{1,2000})\*([0-9]{1,6})\}")
_BREAK = re.compile(r"(?i)(?:<br ?/?>[ \t]*)+$")
_QUOTE = re.compile(r"^(?:> ?){1,8}")


def peel_lines(
    names: tuple[str, ...], lines: Strings, numbers: np.ndarray, flags: np.ndarray, eol: np.ndarray
) -> tuple[Strings, np.ndarray, np.ndarray, np.ndarray]:
    """The peelers that work on single lines of a column; one line may become several."""
    if "erasures" in names and (struck := events.found(lines, "\x08")).any():
        texts = events.listed(lines)
        lines = events.from_list([_erased(text) if odd else text for text, odd in zip(texts, struck, strict=True)])
    if "browser" in names and events.found(lines, "(?i)<br ?/?>[ \t]*$").any():
        lines = events.from_list([_from_browser(line) for line in events.listed(lines)])
    if "repeat" in names and events.found(lines, r"\{[^{}*]+\*[0-9]+\}").any():
        return _repeated(lines, numbers, flags, eol)
    return lines, numbers, flags, eol


def cut_records(
    record: str, lines: Strings, numbers: np.ndarray, flags: np.ndarray, eol: np.ndarray
) -> tuple[Strings, np.ndarray, np.ndarray, np.ndarray]:
    """Lines that hold several records, cut before each; a piece with another behind it has no end, and blanks in between
    are nobody's."""
    several = np.flatnonzero(events.found(lines, f".(?:{record})"))
    if not len(several):
        return lines, numbers, flags, eol
    at, index, texts, ends = 0, [], [], []
    begins = re.compile(record)
    for position in several.tolist():
        line = events.text(lines, position)
        starts = [0, *(match.start() for match in begins.finditer(line, 1)), len(line)]
        pieces = [line[start:end].rstrip(" ") for start, end in itertools.pairwise(starts)]
        index += [*range(at, position), *([position] * len(pieces))]
        texts += [*events.listed(events.take(lines, np.arange(at, position))), *pieces]
        ends += [*eol[at:position].tolist(), *([NONE] * (len(pieces) - 1)), int(eol[position])]
        at = position + 1
    index += range(at, len(lines))
    texts += events.listed(events.take(lines, np.arange(at, len(lines))))
    where = np.array(index, np.int64)
    return events.from_list(texts), numbers[where], flags[where], np.array([*ends, *eol[at:].tolist()], np.uint8)


def _from_browser(line: str) -> str:
    """A line as a browser shows it: it ends in ``<br>``, and no other angle bracket stands in it, for all are entities."""
    shown = _BREAK.sub("", line)
    if shown == line or "<" in shown or ">" in shown:
        return line
    words = html.unescape(shown)
    return line if "\n" in words or "\r" in words else words


def known_peelers() -> tuple[str, ...]:
    """The names that a declaration may give."""
    return ("browser", "repeat", *_PEELERS)


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


def peel_piece(names: tuple[str, ...], lines: list[str]) -> list[str]:
    """The peelers that work on a whole piece of a capture; as many lines come out as go in."""
    for name in names:
        lines = _PEELERS[name](lines)
    return lines


def _fence(lines: list[str]) -> list[str]:
    """Markdown: a fence around the block, or every line between backticks."""
    said = [line for line in lines if line.strip()]
    if said and all(line.startswith("`") and line.rstrip().endswith("`") for line in said):
        return [line.strip().strip("`") for line in lines]
    return ["" if line.strip().startswith("```") else line for line in lines]


def _quote(lines: list[str]) -> list[str]:
    """Quoted mail: ``> `` before every line."""
    said = [line for line in lines if line.strip()]
    return [_QUOTE.sub("", line) for line in lines] if said and all(line.startswith(">") for line in said) else lines


def _indent(lines: list[str]) -> list[str]:
    """The blanks that every line begins with."""
    said = [line for line in lines if line.strip()]
    depth = min((len(line) - len(line.lstrip(" \t")) for line in said), default=0)
    return [line[depth:] for line in lines] if depth else lines


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


_PEELERS = {"fence": _fence, "quote": _quote, "indent": _indent, "escapes": _escapes, "erasures": _erasures}
