"""The parameters of delivery status notifications as they were typed: where each stands, where its value breaks, and how it
should have been written (RFC 3461 section 4). No rule is registered here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from smtplog import reference

#: Parameter → the command that it belongs to.
COMMAND = {"RET": "MAIL", "ENVID": "MAIL", "NOTIFY": "RCPT", "ORCPT": "RCPT"}
#: Longest values: of ENVID in characters, an encoded one counted once (section 4.4); of ORCPT as written (section 4.2).
LONGEST_ENVID, LONGEST_ORCPT = 100, 500
NOTIFICATIONS = ("SUCCESS", "FAILURE", "DELAY", "NEVER")

_WORD = re.compile(r"[^ \t]+")
_PATH = re.compile(r'[ \t]*(?:<(?:"(?:[^"\\]|\\.)*"|[^">])*>|[^ \t]+)')
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
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

    def at(self, place: int) -> int:
        """The column of a place in the value; where spaces are inside, the place cannot be told better than by them."""
        return self.gap or self.column + len(self.name) + 1 + place


def parameters(command: str) -> Iterator[Parameter]:
    """The parameters RET, ENVID, NOTIFY and ORCPT of a MAIL or RCPT line, in the order in which they stand."""
    path = _PATH.match(command, command.find(":") + 1)
    words = list(_WORD.finditer(command, path.end())) if path and ":" in command else []
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


# -- faults: column, and what was expected there


def fault(parameter: Parameter) -> tuple[int, str] | None:
    """Where a parameter breaks, and what was expected instead; None if it is well-formed."""
    value = parameter.value
    if not value:
        end = parameter.column + len(parameter.name) + (value is not None)
        return end, f"{parameter.name} comes without a value; {_WANTED[parameter.name]}"
    if parameter.gap is not None:
        return parameter.gap, f"A space stands inside {parameter.written}; the value is one word"
    found = _FAULTS[parameter.name](value)
    return (parameter.at(found[0]), found[1]) if found else None


_WANTED = {
    "NOTIFY": "expected is NEVER, or a list of SUCCESS, FAILURE and DELAY",
    "RET": "expected is FULL or HDRS",
    "ENVID": "expected is an identifier as xtext",
    "ORCPT": "expected is a type such as rfc822, a semicolon and the address as xtext",
}


def _notify(value: str) -> tuple[int, str] | None:
    place = 0
    for word in (words := value.split(",")):
        if word.upper() not in NOTIFICATIONS:
            told = f"NOTIFY={value} has an empty place in its list" if not word else f"NOTIFY does not know {word}"
            return place, f"{told}; {_WANTED['NOTIFY']}"
        if word.upper() == "NEVER" and len(words) > 1:
            return place, f"NEVER stands alone; NOTIFY={value} asks for it and for others"
        place += len(word) + 1
    return None


def _ret(value: str) -> tuple[int, str] | None:
    return None if value.upper() in ("FULL", "HDRS") else (0, f"RET={value} is unknown; {_WANTED['RET']}")


def _xtext(name: str, value: str, start: int) -> tuple[int, str] | None:
    match = _XTEXT.match(value, start)
    place = match.end() if match else start
    if place == len(value):
        return None
    if value[place] == "+":
        if re.match(r"[0-9A-Fa-f]{2}", value[place + 1 : place + 3]):
            return place, f"The hexadecimal digits of {value[place : place + 3]} in {name} must be upper case"
        return place, f"A plus sign in {name} is written +2B (xtext)"
    return (
        place,
        f"The character {value[place]!r} in {name} is not allowed as it stands; xtext writes it {_coded(value[place])}",
    )


def _envid(value: str) -> tuple[int, str] | None:
    if bad := _xtext("ENVID", value, 0):
        return bad
    units = list(_UNIT.finditer(value))
    if len(units) <= LONGEST_ENVID:
        return None
    return units[LONGEST_ENVID].start(), f"ENVID has {len(units)} characters; {LONGEST_ENVID} are allowed"


def _orcpt(value: str) -> tuple[int, str] | None:
    match = _ADDRESS_TYPE.match(value)
    if match is None:
        return 0, f"ORCPT has no address type and semicolon before the address; {_WANTED['ORCPT']}"
    if match.end() == len(value):
        return match.end(), f"ORCPT={value} names no address; {_WANTED['ORCPT']}"
    bad = None if match[0].lower() == "utf-8;" and not value.isascii() else _xtext("ORCPT", value, match.end())
    if bad is None and len(value) > LONGEST_ORCPT:
        return LONGEST_ORCPT, f"ORCPT has {len(value)} characters; {LONGEST_ORCPT} are allowed"
    return bad


_FAULTS: dict[str, Callable[[str], tuple[int, str] | None]] = {
    "NOTIFY": _notify,
    "RET": _ret,
    "ENVID": _envid,
    "ORCPT": _orcpt,
}


# -- the line as it should have been


def corrected(command: str) -> str:
    """The command line with all of the four well written; one that belongs to the other command or whose value nobody can
    guess is left out."""
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


def sound(verb: str) -> str:
    """A regular expression (RE2) for the MAIL or RCPT lines at which no rule of these parameters has anything to find: those
    of ``data/mail_parameters.csv`` only, each with a value that it allows."""
    rows = [row for row in reference.table("mail_parameters") if verb in row["command"].split(";")]
    dsn = [f"(?i:{row.key})={row['value_regex'].strip('^$')}" for row in rows if row.key in COMMAND]
    others = sorted({row.key for row in reference.table("mail_parameters")} - COMMAND.keys())
    return f"^(?i:{verb} )[^<>]*<[^ <>]*>(?: (?:(?i:{'|'.join(others)})(?:=[!-~]*)?|{'|'.join(dsn)}))*$"
