"""What is said: a client line as verb and argument, a server line as code, separator and text.

Everything here reads ``grammars/smtp.lark``, over whole columns of distinct lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from smtplog import events
from smtplog.events import Codes, Strings
from smtplog.grammar import Shape, shapes


@cache
def _all() -> tuple[Shape, ...]:
    return shapes("smtp", ("reply", "status", "command"))


@cache
def _shapes(rule: str) -> tuple[Shape, ...]:
    return tuple(shape for shape in _all() if shape.rule == rule)


@cache
def _one_pattern(rule: str, *groups: str) -> str:
    """The shapes of a rule as one regular expression without fields, or its longest shape with them."""
    if groups:
        return max((shape.pattern for shape in _shapes(rule)), key=len)
    bodies = (re.sub(r"\(\?P<\w+>", "(?:", shape.pattern[1:-1]) for shape in _shapes(rule))
    return "^(?:" + "|".join(bodies) + ")$"


@dataclass(frozen=True, slots=True)
class Replies:
    """The distinct server lines of a batch."""

    code: np.ndarray  #: int16; 0 where a line has none
    goes_on: np.ndarray  #: bool; a hyphen after the code


def replies(lines: Strings) -> Replies:
    """Code and separator of each server line (RFC 5321 section 4.2)."""
    well_formed = events.found(lines, _one_pattern("reply"))
    offsets = np.frombuffer(lines.buffers()[1], np.int32, len(lines) + 1, lines.offset * 4)
    octets = np.frombuffer(lines.buffers()[2] or b"", np.uint8)
    starts = offsets[:-1][well_formed]
    digits = [octets[starts + i].astype(np.int16) - ord("0") for i in range(3)]
    code = np.zeros(len(lines), np.int16)
    code[well_formed] = digits[0] * 100 + digits[1] * 10 + digits[2]
    goes_on = np.zeros(len(lines), np.bool_)
    longer = offsets[1:] - offsets[:-1] > 3
    at = well_formed & longer
    goes_on[at] = octets[offsets[:-1][at] + 3] == ord("-")
    return Replies(code, goes_on)


@cache
def _reply() -> re.Pattern[str]:
    return re.compile(_one_pattern("reply"), re.ASCII | re.DOTALL)


@cache
def _status() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(shape.pattern.replace("(?:[245]", "(?P<status>[245]", 1)) for shape in _shapes("status"))


def code_of(line: str) -> int:
    """The code of one server line, 0 where it has none."""
    return int(line[:3]) if _reply().match(line) else 0


def words_of(line: str) -> str:
    """The text of one server line without its code and separator."""
    return line[4:] if code_of(line) else line


def status_of(words: str) -> str | None:
    """The enhanced status code (RFC 3463) that the text of a reply begins with."""
    for pattern in _status():
        if match := pattern.match(words):
            return match["status"]
    return None


def status_in(lines: Iterable[str]) -> str | None:
    """The enhanced status code of a reply: that of the first of its lines, without their codes, that has one."""
    return next((status for line in lines if (status := status_of(line))), None)


def verbs(lines: Strings) -> Codes:
    """The verb of each client line in upper case; ``BDAT LAST`` is a verb of its own (RFC 3030 section 2)."""
    import pyarrow.compute as pc

    first = pc.extract_regex(lines, pattern=r"^(?P<verb>[^ \t]*)")
    upper = pc.utf8_upper(pc.struct_field(first, indices=[0]))
    last = events.found(lines, r"^(?i:BDAT +[0-9]+ +LAST) *$")
    if last.any():
        upper = pc.if_else(events.integers(last), events.from_list(["BDAT LAST"])[0], upper)
    return events.encoded(upper)


def split(line: str) -> tuple[str, str]:
    """Verb in upper case and argument of one client line."""
    verb, _, argument = line.replace("\t", " ").partition(" ")
    return verb.upper(), line[len(verb) :].lstrip(" \t") if argument or verb != line else ""


def is_command(line: str) -> bool:
    """Whether a line begins with a verb of RFC 5321 and looks like its command, typing slips in the argument aside."""
    verb, argument = split(line)
    if verb in ("MAIL", "RCPT"):
        return argument[:5].upper().startswith(("FROM", "TO:", "TO "))
    if verb in ("DATA", "RSET", "QUIT", "STARTTLS", "NOOP", "HELP"):
        return not argument
    return verb in ("EHLO", "HELO", "LHLO", "VRFY", "EXPN", "AUTH", "BDAT") and " " not in argument.strip()[:200]
