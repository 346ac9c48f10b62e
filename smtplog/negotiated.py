"""What both sides agreed on before a command: the EHLO keywords in force (RFC 5321 section 4.1.1.1) and the circumstances
of the session that change what rules ask for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from smtplog import events, reference, states
from smtplog.events import TLS
from smtplog.lines import EOLS
from smtplog.sessions import last_before

if TYPE_CHECKING:
    from smtplog.dialogs import Exchanges
    from smtplog.sessions import Sessions

#: Verbs that only servers of one Exchange organisation say to each other.
_INTERNAL = ("X-EXPS", "X-ANONYMOUSTLS", "XEXCH50")


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


#: The circumstances that the words of a session tell, in the order of the bits of :func:`flags`.
_TOLD = ("lmtp", "exchange-internal", "verb", "xack-off", "proxied", "text-capture", "implicit-tls")


def flags(sessions: Sessions, exchanges: Exchanges) -> np.ndarray:
    """For each session a number whose bits say which of :data:`_TOLD` hold."""
    n = len(sessions.first)

    def says(*verbs: str) -> np.ndarray:
        wanted = [i for i, verb in enumerate(exchanges.verbs) if verb in verbs]
        return np.bincount(exchanges.session[np.isin(exchanges.verb, wanted)], minlength=n) > 0

    internal = [verb for verb in exchanges.verbs if verb.startswith(("XSHADOW", "XPROXY"))]
    crlf = sessions.events.eol == EOLS.index("crlf")
    active = np.zeros(n, np.bool_)
    tls = np.flatnonzero(sessions.events.kind == TLS)
    if len(tls):
        active[sessions.session[tls[events.found(events.take(sessions.events.text, tls), "^active$")]]] = True
    columns = (
        says("LHLO") | _greets_with(sessions, exchanges, r"(?i)\bLMTP\b"),
        says(*_INTERNAL, *internal),
        says("VERB"),
        says("XACK"),
        says("XCLIENT"),
        np.bincount(sessions.session[crlf], minlength=n) == 0,
        active,
    )
    bits = np.zeros(n, np.int64)
    for i, column in enumerate(columns):
        bits |= column.astype(np.int64) << i
    return bits


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


def _is_loopback(end: str) -> bool:
    host = end.rpartition(":")[0].strip("[]") if end.count(":") == 1 or "]" in end else end
    try:
        return ip_address(host or end).is_loopback
    except ValueError:
        return (host or end).lower() in ("localhost", "localhost.localdomain")
