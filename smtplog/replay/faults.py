"""Faults on purpose: what a stand-in server does wrong, and when.

``421@RCPT`` answers with 421 and closes; ``450@RCPT#2`` answers the second RCPT so; ``drop@DATA`` closes without an answer;
``drop@text`` closes in the middle of the message text; ``delay:5@MAIL`` answers five seconds later; ``delay:30@greeting``
greets so late; ``silence@.`` never answers.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from difflib import get_close_matches

from smtplog import reference
from smtplog.dialogs import END_OF_DATA
from smtplog.errors import UsageError

_FAULT = re.compile(
    r"(?P<what>[245][0-9][0-9]|drop|silence|delay:(?P<seconds>[0-9]{1,5}(?:\.[0-9]{1,3})?))@(?P<where>[^#@ ]+)(?:#(?P<which>[0-9]{1,6}))?"
)
#: Places that are no verbs.
PLACES = ("greeting", "text", END_OF_DATA)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done wrong at one place."""

    where: str  #: a verb in upper case, ``greeting``, ``text`` or ``.``
    which: int = 0  #: the how-manieth time; 0: each
    reply: bytes = b""  #: in place of the recorded one
    wait: float = 0.0  #: seconds before the answer
    closes: bool = False  #: the connection is closed, after the reply where there is one
    silent: bool = False  #: nothing is answered


def fault(words: str) -> Fault:
    """A fault as the user writes it. Raises UsageError."""
    match = _FAULT.fullmatch(words)
    if match is None:
        raise UsageError(
            f"{words!r} is no fault; write WHAT@WHERE: 421@RCPT, 450@RCPT#2, drop@DATA, drop@text, silence@., delay:5@MAIL"
        )
    what, where = match["what"], match["where"]
    where = where if where.lower() not in PLACES else where.lower()
    where = where if where in PLACES else where.upper()
    if where not in PLACES and reference.verb(where) is None and not where.startswith("X"):
        known = (*reference.verbs(), *PLACES)
        near = get_close_matches(where, known, 1)
        told = (
            f"did you mean {near[0]}?" if near else f"there are {', '.join(PLACES)} and the verbs, as MAIL, RCPT, DATA"
        )
        raise UsageError(f"{words!r} has its fault at {where}, which no client says; {told}")
    which = int(match["which"] or 0)
    if match["seconds"]:
        return Fault(where, which, wait=float(match["seconds"]))
    if what == "silence":
        return Fault(where, which, silent=True)
    if what == "drop":
        return Fault(where, which, closes=True, silent=True)
    reply = f"{what} {what[0]}.0.0 A fault on purpose\r\n".encode()
    return Fault(where, which, reply=reply, closes=what == "421")


@dataclass(slots=True)
class Faults:
    """The faults of one session; each knows its turn."""

    faults: tuple[Fault, ...]
    _seen: Counter[str] = field(default_factory=Counter)

    def __call__(self, where: str) -> Fault | None:
        where = where.removesuffix(" LAST")
        self._seen[where] += 1
        return next(
            (each for each in self.faults if each.where == where and each.which in (0, self._seen[where])), None
        )


def none_of_them(where: str) -> Fault | None:
    """A server that does nothing wrong."""
    return None
