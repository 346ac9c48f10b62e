"""How a command line is written: the columns of lines that are right, and of one line the first place that is wrong.

The declaration is ``grammars/command.lark`` (RFC 5321 section 4.1 and the parameters of its extensions). :func:`strict` runs
it over columns, as the expressions of ``grammars/command.re2``, which are made of it; :func:`fault` reads one line with
lark, and only where something is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

import numpy as np

from smtplog import events, grammar
from smtplog.events import Strings

Part = Literal["verb", "opening", "local", "domain", "literal", "closing", "parameter", "argument"]

#: A line is read up to here; what is longer is SYN018's.
_LONGEST = 12_288


@cache
def _expression(name: str) -> str:
    return dict(line.split(" ", 1) for line in grammar.text("command.re2").splitlines())[name]


def usual_and_strict(lines: Strings) -> tuple[np.ndarray, np.ndarray]:
    """Which client lines are everyday ones (no parameters but SIZE and BODY, no address of rare characters), and which are
    what RFC 5321 section 4.1.1 and the extensions allow, to the letter; the former are among the latter."""
    usual = events.found(lines, _expression("usual"))
    strict = usual.copy()
    others = np.flatnonzero(~usual)
    if len(others):
        strict[others] = events.found(events.take(lines, others), _expression("command"))
    return usual, strict


def strict(lines: Strings) -> np.ndarray:
    """Which client lines are what the RFC and the extensions allow."""
    return usual_and_strict(lines)[1]


@dataclass(frozen=True, slots=True)
class Fault:
    """The first place of a command line that the grammar does not allow."""

    column: int  #: from 1; one past the end where something is missing
    found: str  #: the character that stands there; empty at the end of the line
    expected: str  #: what was due there, in words
    part: Part  #: where in the line it is; ``local`` to ``closing``: in the path of MAIL or RCPT
    parameter: str | None = None  #: part ``parameter``: its keyword in upper case, if that much was read
    parameter_column: int = 0  #: of the keyword, from 1

    @property
    def told(self) -> str:
        """What was expected and what stands there, for a message."""
        found = {"": "the line ends", " ": "there is a space"}.get(self.found, f"there is {self.found}")
        return f"at column {self.column} {found}; expected: {self.expected}"


@lru_cache(1024)
def fault(line: str) -> Fault | None:
    """Where a command line breaks, or None for one that is right.

    White space of any kind and length passes for one space, and at the edges for none (SYN023 judges it). Characters
    outside ASCII pass for letters (SYN017). Source routes are right here (SYN013).
    """
    spaced, columns = _tidied(line[:_LONGEST])
    start = "obsolete" if re.match(r"(?i:MAIL FROM|RCPT TO):<@[^@:]+[:,]", spaced) else "command"
    read = grammar.read(_parser(), spaced, start)
    if read.stop is None:
        return None
    part, keyword = _part(read.tokens, start)
    return Fault(
        columns[read.stop] + 1,
        spaced[read.stop : read.stop + 1],
        _expected(read),
        part,
        keyword.value.upper() if keyword else None,
        columns[keyword.start_pos] + 1 if keyword else 0,
    )


def _tidied(line: str) -> tuple[str, list[int]]:
    """A line with single spaces between its words, ASCII letters for others, and the column of each character from 0."""
    kept: list[str] = []
    columns: list[int] = []
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"|[ \t]+|[^ \t"]+|"', line):
        text = " " if match[0].isspace() else match[0]
        if text == " " and not kept:
            continue
        kept.append("".join(c if ord(c) < 128 else "x" for c in text))
        columns += range(match.start(), match.start() + len(text))
    spaced = "".join(kept).rstrip(" ")
    end = columns[len(spaced) - 1] + 1 if spaced else 0
    return spaced, [*columns[: len(spaced)], end]


def _expected(read: grammar.Read) -> str:
    names = _names()
    due = tuple(
        dict.fromkeys(names.get(name, name) for name in sorted(read.due, key=lambda name: (name == "$END", name)))
    )
    if len(due) > 6:
        due = (names["KEYWORD"] if "KEYWORD" in read.due else "a command",)
    last = read.tokens[-1] if read.tokens else None
    if last is not None and last.end_pos == read.stop and last.type != "SP" and last.type in _words():
        return f"{_words()[last.type]}, then {_listed(due)}"
    return _listed(due)


def _listed(words: tuple[str, ...]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _parser() -> Any:
    return grammar.lark("command", ("command", "obsolete"))


@cache
def _words() -> dict[str, str]:
    return grammar.words("command")


@cache
def _names() -> dict[str, str]:
    """What each terminal is called; a word is called as it is spelt."""
    spelt = {
        each.name: each.pattern.value for each in _parser().terminals if type(each.pattern).__name__ == "PatternStr"
    }
    return {**spelt, "$END": "the end of the line", **_words()}


def _part(tokens: tuple[Any, ...], start: str) -> tuple[Part, Any]:
    """The part of a line that these tokens lead to, and the keyword of the parameter."""
    types = [token.type for token in tokens]
    if types[:1] not in (["MAIL"], ["RCPT"]):
        return ("argument" if types else "verb"), None
    closed = next((i for i, token in enumerate(tokens) if token == ">" or token.lower() == "<postmaster>"), None)
    if closed is not None:
        spaces = [i for i in range(closed, len(tokens)) if types[i] == "SP"]
        keyword = tokens[spaces[-1] + 1] if spaces and spaces[-1] + 1 < len(tokens) else None
        return ("parameter" if spaces else "closing"), keyword
    if "LESSTHAN" not in types:
        return "opening", None
    path = types[types.index("LESSTHAN") + 1 :]
    if start == "obsolete" and "COLON" in path:
        path = path[path.index("COLON") + 1 :]
    if "LSQB" in path:
        return ("closing" if "RSQB" in path else "literal"), None
    return ("domain" if "AT" in path else "local"), None
