"""When two replies, or two commands, count as the same: a ladder from strict to loose, each rung named."""

from __future__ import annotations

import re
from typing import Literal, get_args

from smtplog import reference, speech
from smtplog.dialogs import END_OF_DATA
from smtplog.replay.framing import code_of, shown
from smtplog.views import path

Level = Literal["exact", "enhanced", "code", "class"]
LEVELS: tuple[str, ...] = get_args(Level)

_TIME = r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?: ?[AP]M)?"
_ZONE = r"(?: ?(?:[+-][0-9]{2}:?[0-9]{2}|UTC|UT|GMT|Z|[A-Z]{1,3}T)\b)?(?: \([A-Za-z ]{1,30}\))?"
_DAY = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6},? {1,3})?"
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
#: Dates and times as servers write them (RFC 5322 section 3.3, ISO 8601, ctime), every part of them bounded.
_DATE = re.compile(
    rf"\b{_DAY}(?:[0-9]{{1,2}}[ -]{_MONTH}[ -][0-9]{{2,4}}(?:,? {_TIME}{_ZONE})?"
    rf"|{_MONTH} {{1,3}}[0-9]{{1,2}}(?:,? [0-9]{{4}})?(?:,? {_TIME}{_ZONE}(?: [0-9]{{4}})?)?"
    rf"|[0-9]{{4}}[-/][0-9]{{2}}[-/][0-9]{{2}}(?:[T ]{_TIME}{_ZONE})?"
    rf"|{_TIME}{_ZONE})(?![0-9A-Za-z:])"
)
_WORD = re.compile(r"[^\s<>()\[\]{},;=/\"']+")
_ADDRESS = re.compile(
    r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?::[0-9]{1,5})?"
    r"|(?:[Ii][Pp][Vv]6:)?[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:(?:\.[0-9]{1,3}){3})?"
)
_HOST = re.compile(r"(?:[\w-]{1,63}\.){1,40}[^\W\d_][\w-]{1,62}|localhost", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,30}|[0-9]{1,20}(?:[.,][0-9]{1,9})?(?:ms|s|[KMG]i?B?|B)")
#: Words that say: what follows is a name that this server gave.
_GIVEN = re.compile(
    r"(?i)\b(?:(?:queued|saved|accepted|stored) as|(?:queue|message|mail|session|transaction)?-?id|InternalId)[ =:#]{1,3}<?$"
)
#: A word with a number behind it, or before it: ``SMTPUTF8``, ``CRAM-MD5``, ``8BITMIME``; a version.
_NUMBERED = re.compile(
    r"[A-Za-z][A-Za-z-]*[0-9]{1,4}|[0-9]{1,2}[A-Za-z]+|v?[0-9]{1,4}(?:\.[0-9]{1,6}){1,5}(?:[-+~a-z].*)?"
)
_LEAST_ID = 8  # characters


def masked(text: str) -> str:
    """A text of a reply without what is volatile: host names, addresses, dates, queue ids, sizes."""
    text = _DATE.sub("<date>", text)
    return _WORD.sub(lambda match: _volatile(match[0], text[max(match.start() - 30, 0) : match.start()]), text)


def _volatile(word: str, before: str) -> str:
    """A word, or what it is where it is volatile; the stop at its end is kept."""
    bare = word.rstrip(".:!?")
    if _ADDRESS.fullmatch(word) and any(c.isalnum() for c in word):
        return "<address>"
    if "@" in bare[1:-1] or (_ADDRESS.fullmatch(bare) and bare):
        kind = "address"
    elif _NUMBER.fullmatch(bare):
        kind = "number"
    elif _HOST.fullmatch(bare):
        kind = "host"
    elif _is_id(bare, given=_GIVEN.search(before) is not None):
        kind = "id"
    else:
        return word
    return f"<{kind}>{word[len(bare) :]}"


def _is_id(word: str, *, given: bool) -> bool:
    """Whether a word is one that a program made: letters and digits mixed, and no keyword."""
    if given:
        return any(c.isdigit() for c in word) or (word.isupper() and len(word) > 4)
    if len(word) < _LEAST_ID or not (any(c.isdigit() for c in word) and any(c.isalpha() for c in word)):
        return False
    return not (_NUMBERED.fullmatch(word) or reference.extension(word) or reference.mechanism(word))


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
    status = speech.status_in(words)
    if level == "enhanced":
        return (code, status)
    names_itself = status is None and (code == 220 or (code == 250 and len(words) > 1))  # RFC 5321 section 4.2
    if names_itself:
        words[0] = f"<host>{words[0][len(words[0].split(' ')[0]) :]}"
    return (code, status, *(masked(each) for each in words))


def differing(recorded: str, given: str) -> str:
    """What of a command is not what was recorded, in words."""
    verb, argument = speech.split(recorded)
    other, told = speech.split(given)
    if verb != other:
        return "the verb differs"
    if verb in ("MAIL", "RCPT"):
        return f"the address differs, recorded {path(argument)}, here {path(told)}"
    if verb in ("AUTH", "X-EXPS"):
        return f"the mechanism differs, recorded {argument.partition(' ')[0]}, here {told.partition(' ')[0]}"
    return f"what follows {verb} differs"


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
