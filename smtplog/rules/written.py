"""A command line as it was written: which rule its first fault belongs to, so that one fault has one finding.

The grammar (:mod:`smtplog.syntax`) says where a line breaks; :func:`fault_of` says whose business that is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from smtplog import reference
from smtplog.model import Exchange
from smtplog.speech import split
from smtplog.syntax import Fault, fault

HELLO = ("EHLO", "HELO", "LHLO")
#: The keyword in front of the path.
WORD = {"MAIL": "FROM", "RCPT": "TO"}
_NEVER = ("", ".", "AUTH-RESPONSE")
#: What stands for an address where somebody, or a web page (``[email protected]``), took it out of a log.
_TAKEN_OUT = re.compile(
    r"\[email.protected\]|(?<=<)\[?(?i:redacted|removed|hidden|masked|omitted|anonymi[sz]ed)\]?(?=>)"
)
_COLON = re.compile(r"(?i)[ \t]*(?:MAIL[ \t]+FROM|RCPT[ \t]+TO)([ \t]*):([ \t]*)")


def judged(exchange: Exchange) -> str | None:
    """The command line, if it is one that was really typed as a command and holds no control character; as
    :func:`addressed` gives it."""
    command = exchange.command
    if command is None or exchange.inferred or exchange.verb in _NEVER or exchange.state == "auth":
        return None
    if exchange.verb in WORD:
        command = addressed(command)
    if command.isprintable():
        return command
    return None if any((ord(c) < 32 and c != "\t") or ord(c) == 127 for c in command) else command


def addressed(command: str) -> str:
    """A MAIL or RCPT line. Nobody can judge an address that was taken out of the log: one of the same length stands for it."""
    return _TAKEN_OUT.sub(lambda match: "@x.x".rjust(len(match[0]), "x"), command)


@dataclass(frozen=True, slots=True)
class Path:
    """What follows the colon of MAIL FROM: or RCPT TO:."""

    verb: str
    text: str  #: up to the end of the line, without the white space after the colon
    column: int  #: of the text, from 1
    before: int  #: how much white space stands before the colon
    after: int  #: and behind it
    colon: int  #: column of the colon

    @property
    def bracketed(self) -> tuple[str, str] | None:
        """What stands between < and its >, and what follows; None without both of them."""
        match = re.match(r'<((?:"(?:[^"\\]|\\.)*"|[^">])*)>', self.text) or re.match(r"<([^>]*)>", self.text)
        return (match[1], self.text[match.end() :]) if match else None

    def line(self, address: str, rest: str) -> str:
        """The whole command line with this address, and what follows it."""
        rest = " ".join(rest.split())
        return f"{self.verb} {WORD[self.verb]}:<{address}>{' ' if rest else ''}{rest}"


def path_of(command: str) -> Path | None:
    """The path of a well-begun MAIL or RCPT; white space around the colon is forgiven."""
    match = _COLON.match(command)
    if match is None:
        return None
    verb = split(command.lstrip())[0]
    return Path(verb, command[match.end() :], match.end() + 1, len(match[1]), len(match[2]), match.end(1) + 1)


@lru_cache(1024)
def fault_of(command: str) -> tuple[str, Fault] | None:
    """The rule that the first fault of a command line belongs to, and the fault. What SYN001 to SYN008, SYN020 and SYN021
    see for themselves has none."""
    path = path_of(command)
    if path is not None and path.before + path.after:
        squeezed = command[: path.colon - 1 - path.before] + ":" + path.text
        found = fault(squeezed)
        if found is not None:
            moved = path.before + path.after
            found = replace(
                found,
                column=found.column + moved,
                parameter_column=found.parameter_column and found.parameter_column + moved,
            )
    else:
        found = fault(command)
    if found is None:
        return None
    code = _in_path(path, found) if path is not None else _in_command(command, found)
    return (code, found) if code else None


def _in_path(path: Path, found: Fault) -> str | None:
    """The rule for a fault of MAIL or RCPT from the path on."""
    inner = path.bracketed
    if found.part == "parameter":
        return "SYN022" if found.found in ("(", "<") and not found.parameter else "SYN015"
    if not path.text:
        return "SYN008"
    if found.part == "opening":
        return "SYN022" if "<" in path.text else "SYN001"
    if found.part == "closing":
        return "SYN015" if inner and _is_parameter(inner[1]) else "SYN022"
    if inner is None:
        return "SYN009" if '"' in path.text and path.text.count('"') % 2 else "SYN001"
    address = inner[0]
    if not address.strip():
        return "SYN012" if path.verb == "RCPT" else "SYN009"
    if (
        found.found in ("<", "(")
        or ("<" in address and '"' not in address)
        or (found.found in (",", ";") and "@" in address[address.find(found.found) :])
    ):
        return "SYN022"
    if found.part == "local":
        return "SYN014" if found.found == ">" and "@" not in address else "SYN009"
    if found.part == "literal":
        return "SYN011"
    return "SYN009" if found.found == "@" else "SYN010"


def _is_parameter(text: str) -> bool:
    word, equals, _ = text.split(" ")[0].partition("=")
    return bool(reference.parameter(word)) or (bool(equals) and word.replace("-", "").isalnum())


def _in_command(command: str, found: Fault) -> str | None:
    """The rule for a fault of another command."""
    verb, argument = split(command.lstrip())
    if verb in HELLO:
        return "SYN011" if argument.startswith("[") and verb != "HELO" else "SYN005" if argument else "SYN004"
    if verb in WORD:
        return "SYN003"
    if found.part != "argument" or reference.verb(verb) is None:
        return None
    begins = len(command.rstrip()) - len(argument.rstrip()) + 1
    if verb in ("AUTH", "X-EXPS") and " " in argument and found.column > begins + argument.find(" "):
        return "SYN024"
    return "SYN008" if found.column <= begins and verb not in BARE else "SYN007"


#: Verbs that take no argument.
BARE = ("DATA", "RSET", "QUIT", "STARTTLS", "X-ANONYMOUSTLS")
