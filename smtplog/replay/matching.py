"""When two replies, or two commands, count as the same: a ladder from strict to loose, each rung named."""

from __future__ import annotations

import re
from typing import Literal, get_args

from smtplog import speech
from smtplog.dialogs import END_OF_DATA
from smtplog.replay.framing import code_of, shown
from smtplog.views import path

Level = Literal["exact", "enhanced", "code", "class"]
LEVELS: tuple[str, ...] = get_args(Level)

#: What differs from session to session and from host to host, most specific first (RE2).
_VOLATILE = (
    (re.compile(r"\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [^;]{1,40}?(?:[+-][0-9]{4}|GMT|UTC|$)"), "<date>"),
    (re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+(?:Z|[+-][0-9:]+)?"), "<date>"),
    (re.compile(r"\[?(?:[0-9]{1,3}\.){3}[0-9]{1,3}\]?(?::[0-9]+)?"), "<address>"),
    (re.compile(r"\[?(?:IPv6:)?[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}\]?"), "<address>"),
    (re.compile(r"<[^<>@ ]+@[^<> ]+>"), "<address>"),
    (re.compile(r"\b(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}\b"), "<host>"),
    (re.compile(r"(?i)((?:queued as|id=?|InternalId=)\s*)[0-9A-Za-z.:-]+"), r"\1<id>"),
    (re.compile(r"\b(?=[0-9A-Za-z-]*[0-9])[0-9A-Za-z-]{8,}\b"), "<id>"),
    (re.compile(r"\b[0-9]{2,}\b"), "<number>"),
)


def masked(text: str) -> str:
    """A text of a reply without what is volatile: host names, addresses, dates, queue ids, sizes."""
    for pattern, name in _VOLATILE:
        text = pattern.sub(name, text)
    return text


def same_reply(recorded: bytes, given: bytes, level: Level) -> bool:
    """Whether a reply is the recorded one, as far as this level looks: its class, code, enhanced code, masked text."""
    return _seen(recorded, level) == _seen(given, level)


def _seen(reply: bytes, level: Level) -> tuple[object, ...]:
    code = code_of(reply)
    if level == "class":
        return (code // 100,)
    if level == "code":
        return (code,)
    words = [speech.words_of(line) for line in shown(reply).splitlines()]
    status = next((status for each in words if (status := speech.status_of(each))), None)
    if level == "enhanced":
        return (code, status)
    return (code, status, *(masked(each) for each in words))


def same_command(recorded: str, given: str) -> bool:
    """Whether a command asks for the same: verb; of MAIL and RCPT the address, of AUTH the mechanism. Names in EHLO, sizes
    and parameters differ from client to client."""
    verb, argument = speech.split(recorded)
    other, told = speech.split(given)
    if verb != other:
        return False
    if verb in ("MAIL", "RCPT"):
        return path(argument).casefold() == path(told).casefold()
    if verb in ("AUTH", "X-EXPS"):
        return argument.partition(" ")[0].upper() == told.partition(" ")[0].upper()
    if verb in ("EHLO", "HELO", "LHLO", "BDAT", "NOOP", END_OF_DATA):
        return True
    return argument.strip().casefold() == told.strip().casefold()
