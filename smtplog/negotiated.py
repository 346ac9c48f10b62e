"""What both sides agreed on before a command: the EHLO keywords in force (RFC 5321 section 4.1.1.1) and the circumstances
of the session that change what rules ask for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from smtplog import events, reference, speech, states
from smtplog.events import AS_SENT, GAP, OPENED, SERVER, TLS, Strings
from smtplog.redact import HIDDEN
from smtplog.sessions import last_before

if TYPE_CHECKING:
    from smtplog.batches import Batch
    from smtplog.dialogs import Exchanges
    from smtplog.sessions import Sessions

#: Verbs that only servers of one Exchange organisation say to each other.
_INTERNAL = ("X-EXPS", "X-ANONYMOUSTLS", "XEXCH50")
#: An AUTH line, or the answer to a 334, whose secret somebody has taken out of the log.
_REDACTED = (
    r"^(?:(?i:AUTH|X-EXPS) +(?:[^ ]+ +)?)?"
    rf"(?:{HIDDEN}|[xX]{{4,}}|\.{{3,}}|…|(?i:redacted|hidden|removed|masked|omitted)) *$"
)
#: A 220 that answers STARTTLS, not a connection.
_STARTS_TLS = r"(?i)^220[ -](?:2\.0\.0 )?(?:ready to start TLS|(?:TLS )?go ahead|begin TLS|SMTP server ready)"


def hellos(exchanges: Exchanges) -> np.ndarray:
    """For each exchange the exchange with the accepted hello that is in force before it; -1 where there is none, as
    after STARTTLS, which makes the client forget (RFC 3207 section 4.2)."""
    n = len(exchanges.session)
    if not n:
        return np.zeros(0, np.int64)
    moves, forgets = np.zeros((2, len(exchanges.verbs)), np.bool_)
    for i, name in enumerate(exchanges.verbs):
        led_to = states.after(name, 250).hello
        moves[i], forgets[i] = led_to is not None, led_to == "none"
    done = exchanges.code // 100 == 2
    starts = np.searchsorted(exchanges.session, exchanges.session)
    last = last_before(moves[exchanges.verb] & done, starts)
    return np.where((last >= 0) & forgets[exchanges.verb[last]], -1, last)


_LEFT_OUT = re.compile(r"^ *$| \.\.\.$|\boffers [0-9]+ extensions?$")


@lru_cache(4096)
def keywords(text: tuple[str, ...]) -> Mapping[str, str]:
    """EHLO keyword in upper case → its parameters, of the text of the reply. ``AUTH=LOGIN``, as old servers have it, is AUTH."""
    found: dict[str, str] = {}
    for line in text[1:] if len(text) > 1 else _unfolded(text[0] if text else ""):
        keyword, _, parameters = line.strip().partition(" ")
        name, equals, value = keyword.upper().partition("=")
        if name:
            more = f"{keyword[len(name) + 1 :]} {parameters}".strip() if equals and value else parameters.strip()
            found[name] = f"{found[name]} {more}".strip() if name in found else more
    return MappingProxyType(found)


def is_cut(text: tuple[str, ...]) -> bool:
    """Whether a log tells less of an EHLO reply than was said: its code alone, the first line with ``...`` behind it, how
    many extensions there are, or the last line alone: a keyword where the name of the server stands (RFC 5321 section
    4.1.1.1)."""
    if len(text) > 1:
        return False
    return (
        not text
        or _LEFT_OUT.search(text[0]) is not None
        or reference.extension(text[0].split(" ")[0].upper()) is not None
    )


def _unfolded(line: str) -> list[str]:
    """The keywords of a reply that the log has joined to one line, as Exchange does: each known one begins a line."""
    lines: list[str] = []
    mechanisms = False
    for word in line.split(" ")[1:]:
        name = word.upper()
        known = reference.extension(name) is not None and not (mechanisms and reference.mechanism(name))
        if known:
            lines.append(word)
            mechanisms = name in ("AUTH", "X-EXPS")
        elif lines:
            lines[-1] += " " + word
    return lines


@dataclass(frozen=True, slots=True)
class Offers:
    """What was offered last before each exchange of a batch."""

    kind: np.ndarray  #: an exchange: position in ``keywords``; -1 where no EHLO is in force, or the log cut its reply
    keywords: list[Mapping[str, str]]

    def has(self, *names: str) -> np.ndarray:
        """For each exchange, whether one of these keywords was offered; False where nobody knows."""
        told = np.array([any(name in each for name in names) for each in self.keywords] + [False], np.bool_)
        return told[self.kind]


def offers(batch: Batch) -> Offers:
    """The keywords in force before each exchange; each distinct list of an EHLO reply is read once."""
    sessions, exchanges, hello = batch.sessions, batch.exchanges, batch.hello
    extended = np.array([name in ("EHLO", "LHLO") for name in exchanges.verbs], np.bool_)
    known = (hello >= 0) & extended[exchanges.verb[hello]] if len(hello) else np.zeros(0, np.bool_)
    numbers = np.unique(exchanges.reply[hello[known]])
    kind = np.full(len(hello), -1, np.int64)
    if not len(numbers):
        return Offers(kind, [])
    _, words = reply_kinds(batch, numbers, keywords_only=True)
    _, examples, number_of = np.unique(words, return_index=True, return_inverse=True)
    lists = []
    cut = []
    for number in numbers[examples].tolist():
        lines = events.listed(events.take(sessions.events.text, lines_of(sessions, exchanges, np.array([number]))[1]))
        text = tuple(speech.words_of(line) for line in lines)
        lists.append(keywords(text))
        cut.append(is_cut(text))
    kinds = np.where(cut, -1, np.arange(len(cut)))[number_of]
    kind[known] = kinds[np.searchsorted(numbers, exchanges.reply[hello[known]])]
    return Offers(kind, lists)


def lines_of(sessions: Sessions, exchanges: Exchanges, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The lines of some replies: position in ``numbers`` and position of the event, in the order of the log."""
    stops = np.minimum(
        np.append(exchanges.reply_first[1:], len(sessions.events)),
        np.append(sessions.first[1:], len(sessions.events))[exchanges.reply_session],
    )
    length = stops[numbers] - exchanges.reply_first[numbers]
    owner = np.repeat(np.arange(len(numbers)), length)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(length) - length, length)
    event = exchanges.reply_first[numbers][owner] + place
    server = sessions.events.kind[event] == SERVER
    return owner[server], event[server]


def reply_kinds(
    batch: Batch, numbers: np.ndarray, *, keywords_only: bool = False, brief: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Some replies by number, sorted, and for each a number that equal words share; -1 is no reply. What stands between
    brackets makes no difference; if only keywords count, neither does the first line of many; ``brief``: nor the text of a
    success."""
    real = numbers[numbers >= 0]
    owner, event = lines_of(batch.sessions, batch.exchanges, real)
    first = np.ones(len(owner), np.bool_)
    first[1:] = owner[1:] != owner[:-1]
    place = np.arange(len(owner)) - np.flatnonzero(first)[np.cumsum(first) - 1] if len(owner) else owner
    if keywords_only:
        wanted = (place > 0) | (np.bincount(owner, minlength=len(real)) == 1)[owner]
        owner, event, place = owner[wanted], event[wanted], place[wanted]
    distinct, codes = events.values(batch.server_lines[1]), batch.server_codes[event]
    used = np.zeros(len(distinct), np.bool_)
    used[codes] = True
    kinds = np.zeros(len(distinct), np.int64)
    kinds[used] = text_kinds(events.take(distinct, np.flatnonzero(used)), brief=brief)
    total = summed(owner, mixed(kinds[codes], place), len(real))
    return numbers, np.concatenate([np.zeros(len(numbers) - len(real), np.uint64), total])


def text_kinds(lines: Strings, *, brief: bool = False) -> np.ndarray:
    """A number for each line that lines share which differ only in what stands between brackets, in the name after a hello
    or in the value of SIZE; ``brief``: or in the text of a success."""
    column = events.encoded(events.beginnings(lines) if brief else lines)
    masked = events.encoded(events.masked(events.values(column), brief=brief))
    number = np.array([hash(line) for line in events.listed(events.values(masked))] or [0], np.int64)
    return number[events.codes(masked)][events.codes(column)]


def summed(owner: np.ndarray, numbers: np.ndarray, n: int) -> np.ndarray:
    """The sum of the 64-bit numbers of each of n owners; those of one owner stand together."""
    total = np.zeros(n, np.uint64)
    if len(owner):
        starts = np.flatnonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))
        with np.errstate(over="ignore"):
            total[owner[starts]] = np.add.reduceat(numbers, starts)
    return total


_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))


def mixed(*columns: np.ndarray) -> np.ndarray:
    """One 64-bit number for a row of numbers."""
    total = np.zeros(len(columns[0]), np.uint64)
    with np.errstate(over="ignore"):
        for column in columns:
            total = (total ^ column.astype(np.int64).view(np.uint64)) * _MIX[0]
            total ^= total >> np.uint64(29)
            total *= _MIX[1]
            total ^= total >> np.uint64(32)
    return total


#: The circumstances that the words of a session tell, in the order of the bits of :func:`flags`. ``text-capture``: the line
#: ends are those of the log, not of the wire; only raw octets (``C!:``) tell what was sent.
_TOLD = (
    "lmtp",
    "exchange-internal",
    "verb",
    "xack-off",
    "proxied",
    "text-capture",
    "implicit-tls",
    "redacted",
    "incomplete",
    "by-hand",
)


def flags(sessions: Sessions, exchanges: Exchanges, *, by_hand: bool) -> np.ndarray:
    """For each session a number whose bits say which of :data:`_TOLD` hold. ``by_hand``: typed in a terminal, in all
    likelihood in one that knows no TLS."""
    n = len(sessions.first)

    def says(*verbs: str) -> np.ndarray:
        wanted = [i for i, verb in enumerate(exchanges.verbs) if verb in verbs]
        return np.bincount(exchanges.session[np.isin(exchanges.verb, wanted)], minlength=n) > 0

    internal = [verb for verb in exchanges.verbs if verb.startswith(("XSHADOW", "XPROXY"))]
    active = np.zeros(n, np.bool_)
    tls = np.flatnonzero(sessions.events.kind == TLS)
    if len(tls):
        active[sessions.session[tls[events.found(events.take(sessions.events.text, tls), "^active$")]]] = True
    columns = (
        says("LHLO") | _greets_with(sessions, exchanges, r"(?i)\bLMTP\b"),
        says(*_INTERNAL, *internal),
        says("VERB"),
        says("XACK"),
        says("XCLIENT", "PROXY"),
        np.bincount(sessions.session[sessions.events.flags & AS_SENT > 0], minlength=n) == 0,
        active,
        _is_redacted(sessions, exchanges),
        _lacks_something(sessions, exchanges),
        np.full(n, by_hand),
    )
    bits = np.zeros(n, np.int64)
    for i, column in enumerate(columns):
        bits |= column.astype(np.int64) << i
    return bits


def _is_redacted(sessions: Sessions, exchanges: Exchanges) -> np.ndarray:
    """The sessions whose log hides what was said in AUTH."""
    n = len(sessions.first)
    wanted = [i for i, verb in enumerate(exchanges.verbs) if verb in ("AUTH", "X-EXPS", "AUTH-RESPONSE")]
    at = np.flatnonzero(np.isin(exchanges.verb, wanted) & (exchanges.event >= 0)) if wanted else np.zeros(0, np.int64)
    if len(at):
        at = at[events.found(events.take(sessions.events.text, exchanges.event[at]), _REDACTED)]
    return np.bincount(exchanges.session[at], minlength=n) > 0


def _lacks_something(sessions: Sessions, exchanges: Exchanges) -> np.ndarray:
    """The sessions of which the log lacks the beginning or something in between, so that TLS may have begun there."""
    n, kind = len(sessions.first), sessions.events.kind
    opened = np.bincount(sessions.session[kind == OPENED], minlength=n) > 0
    gaps = np.bincount(sessions.session[kind == GAP], minlength=n) > 0
    begins = opened | (exchanges.greeting >= 0)
    return gaps | ~begins | (~opened & _greets_with(sessions, exchanges, _STARTS_TLS))


def _greets_with(sessions: Sessions, exchanges: Exchanges, pattern: str) -> np.ndarray:
    greeting = exchanges.greeting
    found = np.zeros(len(greeting), np.bool_)
    at = np.flatnonzero(greeting >= 0)
    if len(at):
        lines = events.take(sessions.events.text, exchanges.reply_first[greeting[at]])
        found[at] = events.found(lines, pattern)
    return found


@lru_cache(65536)
def circumstances(bits: int, client: str | None, server: str | None) -> frozenset[str]:
    """The circumstances of a session by the names that the rule book has for its profiles: what :func:`flags` tells, and
    ``submission implicit-tls loopback`` by the addresses of both ends."""
    found = {name for i, name in enumerate(_TOLD) if bits >> i & 1}
    if server and server.endswith((":587", ":465")):
        found.add("submission")
    if server and server.endswith(":465"):
        found.add("implicit-tls")
    if any(_is_loopback(end) for end in (client, server) if end):
        found.add("loopback")
    return frozenset(found)


def host(end: str) -> str:
    """The address, or else the name, of ``192.0.2.7:25``, ``[2001:db8::7]:25`` or ``mx.example.net[192.0.2.7]:25``."""
    if "[" in end:
        return end.rpartition("[")[2].partition("]")[0].removeprefix("IPv6:")
    return end.partition(":")[0] if end.count(":") == 1 else end


def _is_loopback(end: str) -> bool:
    try:
        return ip_address(host(end)).is_loopback
    except ValueError:
        return host(end).lower() in ("localhost", "localhost.localdomain")
