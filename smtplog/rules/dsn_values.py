"""The parameters of delivery status notifications as they were typed: where each stands, where it breaks, and how it should
have been written (RFC 3461 section 4). What is right stands in ``grammars/command.lark``. No rule is registered here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice

from smtplog import reference, syntax

#: Parameter → the command that it belongs to.
COMMAND = {"RET": "MAIL", "ENVID": "MAIL", "NOTIFY": "RCPT", "ORCPT": "RCPT"}
#: Longest values: of ENVID in characters, an encoded one counted once (section 4.4); of ORCPT as written (section 4.2).
LONGEST_ENVID, LONGEST_ORCPT = 100, 500
#: So many words behind the path are read, and so often a line is mended anew: no line is long work.
_WORDS, _PASSES = 64, 4
NOTIFICATIONS = ("SUCCESS", "FAILURE", "DELAY", "NEVER")

_WORD = re.compile(r"[^ \t]+")
_PATH = re.compile(r'[ \t]*(?:<(?:"(?:[^"\\]|\\.)*"|[^">])*>|[^ \t]+)')
_UNIT = re.compile(r"\+[0-9A-Fa-f]{2}|.", re.DOTALL)
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]+;")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One of the four, with what belongs to its value though a space stands between."""

    name: str  #: upper case
    value: str | None  #: None: no equals sign; the parts of a value with spaces in it are joined
    column: int  #: from 1
    end: int  #: position behind its last character
    gap: int | None  #: column of the first space inside it

    @property
    def written(self) -> str:
        """As it should stand in a message: without spaces."""
        return self.name if self.value is None else f"{self.name}={self.value}"


def parameters(command: str) -> Iterator[Parameter]:
    """The parameters RET, ENVID, NOTIFY and ORCPT of a MAIL or RCPT line, in the order in which they stand."""
    path = _PATH.match(command, command.find(":") + 1)
    words = list(islice(_WORD.finditer(command, path.end()), _WORDS)) if path and ":" in command else []
    i = 0
    while i < len(words):
        first = last = words[i]
        name, text, i = first[0].partition("=")[0].upper(), first[0], i + 1
        if name not in COMMAND:
            continue
        while i < len(words) and _goes_on(name, text, words[i][0]):
            comma = "," if text[-1:].isalpha() and words[i][0][:1].isalpha() else ""
            text, last, i = text + comma + words[i][0], words[i], i + 1
        gap = None if last is first else first.end() + 1
        _, equals, value = text.partition("=")
        yield Parameter(name, value if equals else None, first.start() + 1, last.end(), gap)


def _goes_on(name: str, text: str, word: str) -> bool:
    """Whether a word is a part of the value before it that a space has cut off."""
    if word.startswith("="):
        return "=" not in text
    if name == "NOTIFY" and "=" in text:
        return text.endswith(",") or word.startswith(",") or word.strip(",").upper() in NOTIFICATIONS
    return text.endswith(("=", ";")) and "=" not in word and not reference.parameter(word)


# -- faults


#: The command lines that the grammar is asked about, up to the parameter.
_LINES = {"MAIL": "MAIL FROM:<> ", "RCPT": "RCPT TO:<postmaster> "}


def fault(parameter: Parameter) -> tuple[int, str] | None:
    """Where a parameter breaks, and a sentence that tells what was expected there; None if it is well-formed."""
    if parameter.gap is not None:
        return parameter.gap, f"A space stands inside {parameter.written}; the value is one word"
    before = _LINES[COMMAND[parameter.name]]
    found = syntax.fault(before + parameter.written)
    if found is not None:
        found = replace(found, column=found.column - len(before) + parameter.column - 1)
        return found.column, f"{parameter.written[:100]}: {found.told}"
    value = parameter.value or ""
    if parameter.name == "ORCPT" and not value.partition(";")[2]:
        return parameter.end + 1, f"{parameter.written} names no address"
    if parameter.name == "ORCPT" and len(value) > LONGEST_ORCPT:
        place = parameter.column + len("ORCPT=") + LONGEST_ORCPT
        return place, f"ORCPT has {len(value)} characters; {LONGEST_ORCPT} are allowed"
    return None


# -- the line as it should have been


@lru_cache(1024)
def corrected(command: str) -> str:
    """The command line with all of the four well written; one that belongs to the other command or whose value nobody can
    guess is left out."""
    for _ in range(_PASSES):  # what is left out can bring together what a space cuts in two
        before, command = command, _once_corrected(command)
        if command == before:
            break
    return command


def _once_corrected(command: str) -> str:
    verb = command.lstrip()[:4].upper()
    for parameter in reversed(list(parameters(command))):
        if COMMAND[parameter.name] == verb and fault(parameter) is None:
            continue
        head, tail = command[: parameter.column - 1], command[parameter.end :]
        meant = None if COMMAND[parameter.name] != verb else _meant(parameter)
        command = head.rstrip() + tail if meant is None else head + meant + tail
    return command


def _meant(parameter: Parameter) -> str | None:
    value = parameter.value or ""
    if parameter.name == "RET":
        return "RET=HDRS" if value[:1] in "Hh" and value else "RET=FULL"
    if parameter.name == "NOTIFY":
        return _meant_list(value)
    if parameter.name == "ENVID":
        units = [each[0] for each in _UNIT.finditer(encoded(value))]
        return f"ENVID={''.join(units[:LONGEST_ENVID])}" if units else None
    kind, semicolon, address = value.partition(";")
    if not semicolon or not _ADDRESS_TYPE.match(value):
        kind, address = "rfc822", address if semicolon and not kind else value.removeprefix("rfc822:")
    whole = f"{kind};{encoded(address)}"
    return f"ORCPT={whole}" if address and len(whole) <= LONGEST_ORCPT else None


def _meant_list(value: str) -> str | None:
    words = [word for word in re.split(r"[,;|/+]", value.upper()) if word]
    known = dict.fromkeys(near[0] for word in words if (near := _nearest(word)))
    chosen = [word for word in known if word != "NEVER"] or list(known)
    return f"NOTIFY={','.join(chosen)}" if chosen else None


def _nearest(word: str) -> list[str]:
    return ["NEVER"] if word in ("NONE", "NO", "OFF") else get_close_matches(word, NOTIFICATIONS, 1)


def encoded(text: str) -> str:
    """A text as xtext (RFC 3461 section 4); what is encoded already stays, its digits in upper case."""
    return "".join(_unit(each[0]) for each in _UNIT.finditer(text))


def _unit(unit: str) -> str:
    if len(unit) == 3:
        is_meant = unit.upper() == unit or " " <= chr(int(unit[1:], 16)) <= "~"  # or a bare plus before two letters
        return unit.upper() if is_meant else _coded("+") + unit[1:]
    return unit if "!" <= unit <= "~" and unit not in "+=" else _coded(unit)


def _coded(character: str) -> str:
    return "".join(f"+{octet:02X}" for octet in character.encode("utf-8", "replace"))


def decoded(text: str) -> str:
    """What an xtext says."""
    return _UNIT.sub(lambda m: chr(int(m[0][1:], 16)) if len(m[0]) == 3 else m[0], text)
