"""Exchanges: replies joined, commands paired with them, the state before each. For all dialogs of a batch at once.

Exchanges are made here and nowhere else, for a 30-line capture and for a gigabyte. Pairing is arithmetic (RFC 2920
section 3.1: by count, never by adjacency): the k-th reply answers the k-th command of its session; the greeting answers
the connection; an end of data that the log leaves out is a command inserted after its 354; a reply that nobody asked for
is where replies minus commands reach a new maximum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smtplog import events, states
from smtplog.events import CLIENT, INFERRED, OPENED, SERVER, TLS, TLS_ACTIVE
from smtplog.sessions import Sessions, goes_ahead, last_before

#: How the columns of :class:`Exchanges` name verbs that no command line bears.
END_OF_DATA, AUTH_RESPONSE, NO_COMMAND = ".", "AUTH-RESPONSE", ""

_TRANSACTION = ("none", *states.TRANSACTION_STATES)
_HELLO = ("none", *states.HELLO)


@dataclass(slots=True)
class Exchanges:
    """One row an exchange, ordered by session and in each by the place of its command."""

    session: np.ndarray  #: int64
    event: np.ndarray  #: position of the command's event; -1 where the log holds none
    reply: np.ndarray  #: row in ``reply_*``; -1 without a reply
    verb: np.ndarray  #: position in ``verbs``
    verbs: list[str]
    inferred: np.ndarray  #: bool
    pipelined: np.ndarray  #: bool, sent before the reply to the command before it
    state: np.ndarray  #: int8, position in :data:`smtplog.states.STATES`
    tls: np.ndarray  #: bool
    authenticated: np.ndarray  #: bool
    code: np.ndarray  #: int16, of the reply; 0 without one
    place: np.ndarray  #: float, position among the events; a half where it was inserted
    greeting: np.ndarray  #: a session: row in ``reply_*``; -1
    reply_first: np.ndarray  #: position of the first event of each reply
    reply_session: np.ndarray


@dataclass(slots=True)
class _Slots:
    """What is due a reply: connections, commands, ends of data that the log leaves out."""

    place: np.ndarray  # float position among the events
    session: np.ndarray
    event: np.ndarray
    verb: np.ndarray
    inferred: np.ndarray


def pair(sessions: Sessions, *, content_absent: bool) -> Exchanges:
    """The exchanges of these sessions."""
    verbs = _verbs(sessions)
    first, _reply_of = _replies(sessions)
    slots, has_greeting = _slots(sessions, first, verbs, content_absent)
    answer, unsolicited = _answers(sessions, slots, first)
    slots, answer = _lmtp(sessions, slots, answer, first, verbs)
    return _walked(sessions, slots, answer, unsolicited, first, verbs, has_greeting)


def _verbs(sessions: Sessions) -> list[str]:
    verbs = sessions.verbs
    for name in (END_OF_DATA, AUTH_RESPONSE, NO_COMMAND):
        if name not in verbs:
            verbs.append(name)
    return verbs


def _replies(sessions: Sessions) -> tuple[np.ndarray, np.ndarray]:
    """Position of the first line of each reply, and which reply each server line belongs to."""
    server = sessions.events.kind == SERVER
    starts = sessions.first[sessions.session]
    before = last_before(server, starts)
    coded = sessions.code > 0
    continued = (before >= 0) & _goes_on(sessions, server, before, coded)
    command = (sessions.events.kind == CLIENT) & ~sessions.content
    interrupted = last_before(command, starts) > before
    banner = (sessions.code == 220) & (sessions.code[before] == 220)
    continued &= ~interrupted | banner
    begins = server & ((coded & ~continued) | (before < 0)) | _only_answers(sessions, server, coded, command, starts)
    other = server & coded & continued & (sessions.code != sessions.code[before])
    if other.any():  # another code before the last line: a reply of its own where a command waits for one
        waiting = np.cumsum(command) - np.cumsum(begins)
        waiting -= (np.cumsum(command) - np.cumsum(begins) - command + begins)[starts]
        begins |= other & (waiting > 0)
    return np.flatnonzero(begins), np.cumsum(begins) - 1


def _only_answers(
    sessions: Sessions, server: np.ndarray, coded: np.ndarray, command: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """Lines without a code that are all that answers a command: it stands right before, another right after."""
    bare = server & ~coded
    if not bare.any():
        return bare
    spoken = server | command
    before = last_before(spoken, starts)
    bare &= (before >= 0) & command[before]
    at = np.flatnonzero(spoken)
    after = np.append(at, 0)[np.searchsorted(at, np.flatnonzero(bare), side="right")]
    bare[np.flatnonzero(bare)] = command[after] & (sessions.session[after] == sessions.session[bare])
    return bare


def _goes_on(sessions: Sessions, server: np.ndarray, before: np.ndarray, coded: np.ndarray) -> np.ndarray:
    """Whether the server line before goes on; a line without a code is part of the reply before it and changes nothing."""
    bare = server & ~coded
    if not bare.any():
        return sessions.goes_on[before]
    starts = sessions.first[sessions.session]
    at = last_before(server & coded, starts)
    return (at >= 0) & sessions.goes_on[at]


def _slots(sessions: Sessions, first: np.ndarray, verbs: list[str], content_absent: bool) -> tuple[_Slots, np.ndarray]:
    found = sessions.events
    starts = sessions.first[sessions.session]
    server = found.kind == SERVER
    command = (found.kind == CLIENT) & ~sessions.content
    before = last_before(server | (found.kind == CLIENT), starts)
    verb = sessions.verb.copy()
    challenge = server & ~sessions.goes_on & (sessions.code == 334)
    answers = command & (before >= 0) & challenge[before]
    verb[answers] = verbs.index(AUTH_RESPONSE)
    sessions.odd &= ~answers
    missing = _missing(sessions, content_absent)
    left_out = np.flatnonzero(server & (before >= 0) & challenge[before])
    has_greeting = _greeted(sessions, command)
    connections = np.flatnonzero(has_greeting)
    at = np.flatnonzero(command)
    inserted = np.concatenate([missing, left_out])
    names = [verbs.index(END_OF_DATA)] * len(missing) + [verbs.index(AUTH_RESPONSE)] * len(left_out)
    place = np.concatenate([sessions.first[connections] - 0.75, inserted - 0.5, at.astype(np.float64)])
    order = np.argsort(place, kind="stable")
    n = len(connections) + len(inserted)
    event = np.concatenate([np.full(n, -1), at])[order]
    return _Slots(
        place=place[order],
        session=np.concatenate([connections, sessions.session[inserted], sessions.session[at]])[order],
        event=event,
        verb=np.concatenate([np.full(len(connections), -2), np.array(names, np.int64), verb[at]])[order],
        inferred=np.concatenate([np.ones(n, np.bool_), (found.flags[at] & INFERRED) > 0])[order],
    ), has_greeting


def _missing(sessions: Sessions, content_absent: bool) -> np.ndarray:
    """Where an end of data belongs that the log leaves out: before what follows a go-ahead (and its text), if that is no dot,
    no close, and no 421 that gave up waiting."""
    found = sessions.events
    starts = sessions.first[sessions.session]
    go_ahead = goes_ahead(sessions) & ~sessions.late
    said = (found.kind == SERVER) | ((found.kind == CLIENT) & ~sessions.content)
    before = last_before(said, starts)
    due = said & (before >= 0) & go_ahead[before]
    if due.any() and END_OF_DATA in sessions.verbs:
        due &= sessions.verb != sessions.verbs.index(END_OF_DATA)
    lines = np.flatnonzero(due & (found.kind == CLIENT))
    dots = [line.rstrip() == "." for line in events.listed(events.take(found.text, lines))]
    for at, dot in zip(lines.tolist(), dots, strict=True):
        if dot:  # Postfix smtp logs the dot but not the text
            sessions.verb[at] = sessions.verbs.index(END_OF_DATA)
            sessions.odd[at] = False
            due[at] = False
        elif not content_absent:
            due[at] = False
    gave_up = np.flatnonzero(due & (sessions.code == 421))
    for at in gave_up.tolist():
        words = events.text(found.text, at)
        due[at] = content_absent and "4.4.2" not in words and "imeout" not in words
    return np.flatnonzero(due)


def _greeted(sessions: Sessions, command: np.ndarray) -> np.ndarray:
    """Which sessions begin with their connection, so that their first reply is the greeting."""
    found = sessions.events
    starts = sessions.first
    ends = np.append(starts[1:], len(found)) - 1
    opened = np.bincount(sessions.session, found.kind == OPENED, len(starts)) > 0
    server, none = found.kind == SERVER, len(found)
    first_reply = _first(server, starts, ends, none)
    first_command = _first(command, starts, ends, none)
    code = np.append(sessions.code, 0)[np.minimum(first_reply, none)]
    verb = np.append(sessions.verb, -1)[np.minimum(first_command, none)]
    hello = np.isin(verb, [i for i, name in enumerate(sessions.verbs) if name in states.HELLO])
    tls = np.isin(
        verb, [i for i, name in enumerate(sessions.verbs) if name in ("STARTTLS", "XCLIENT", "X-ANONYMOUSTLS")]
    )
    # 503 and the answers to AUTH speak of commands: where nothing says that the session began, they are no greeting.
    refusal = (code >= 400) & (opened | ~np.isin(code, states.ANSWERS_A_COMMAND))
    leads = first_reply < first_command
    opened &= leads | (code == 220) | refusal | (code == 0)  # else the log begins in mid-session
    return opened | (leads & ((code == 220) | refusal | hello)) | (~leads & (code == 220) & ~tls)


def _first(mask: np.ndarray, starts: np.ndarray, ends: np.ndarray, none: int) -> np.ndarray:
    """The first position of each session where the mask is true; ``none`` where there is none."""
    at = np.append(np.flatnonzero(mask), none)
    found = at[np.searchsorted(at, starts)]
    return np.where(found <= ends, found, none)


def _answers(sessions: Sessions, slots: _Slots, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each slot the reply that answers it (-1), and the replies that nobody asked for."""
    silent = _silent(sessions, slots)
    if silent.any():
        asking = np.flatnonzero(~silent)
        names = ("place", "session", "event", "verb", "inferred")
        answered, unsolicited = _answers(sessions, _Slots(*(getattr(slots, name)[asking] for name in names)), first)
        answer = np.full(len(silent), -1, np.int64)
        answer[asking] = answered
        return answer, unsolicited
    n_sessions = len(sessions.first)
    reply_session = sessions.session[first]
    slots_start = np.searchsorted(slots.session, np.arange(n_sessions))
    replies_start = np.searchsorted(reply_session, np.arange(n_sessions))
    ordinal = np.arange(len(first)) - replies_start[reply_session] + 1
    asked = np.searchsorted(slots.place, first.astype(np.float64)) - slots_start[reply_session]
    excess = np.maximum(ordinal - asked, 0)
    wide = 2 * (len(first) + len(slots.place)) + 2
    highest = np.maximum.accumulate(excess + reply_session * wide) - reply_session * wide if len(first) else excess
    highest = np.maximum(highest, 0)
    rises = highest.copy()
    rises[1:] -= np.where(reply_session[1:] == reply_session[:-1], highest[:-1], 0)
    unsolicited = rises > 0
    answer = np.full(len(slots.place), -1, np.int64)
    solicited = np.flatnonzero(~unsolicited)
    answer[slots_start[reply_session[solicited]] + (ordinal - highest)[solicited] - 1] = solicited
    return answer, np.flatnonzero(unsolicited)


def _silent(sessions: Sessions, slots: _Slots) -> np.ndarray:
    """The header of a proxy before the greeting (HAProxy's PROXY protocol, version 1), which no reply is due to."""
    if "PROXY" not in sessions.verbs:
        return np.zeros(len(slots.place), np.bool_)
    server = np.flatnonzero(sessions.events.kind == SERVER)
    heard = np.append(server, len(sessions.events))[np.searchsorted(server, sessions.first)]
    return (slots.verb == sessions.verbs.index("PROXY")) & (slots.place < heard[slots.session])


def _lmtp(
    sessions: Sessions, slots: _Slots, answer: np.ndarray, first: np.ndarray, verbs: list[str]
) -> tuple[_Slots, np.ndarray]:
    """LMTP answers the end of data once a recipient (RFC 2033 section 4.2): a slot more for each further reply."""
    if "LHLO" not in verbs:
        return slots, answer
    from smtplog.lmtp import further_replies

    extra = further_replies(sessions, slots.session, slots.verb, slots.place, answer, first, verbs)
    if not extra.any():
        return slots, answer
    index = np.repeat(np.arange(len(slots.place)), extra + 1)
    slots = _Slots(*(getattr(slots, name)[index] for name in ("place", "session", "event", "verb", "inferred")))
    answer, _ = _answers(sessions, slots, first)
    return slots, answer


def _walked(
    sessions: Sessions,
    slots: _Slots,
    answer: np.ndarray,
    unsolicited: np.ndarray,
    first: np.ndarray,
    verbs: list[str],
    has_greeting: np.ndarray,
) -> Exchanges:
    reply_session = sessions.session[first]
    connection = slots.verb == -2
    greeting = np.full(len(sessions.first), -1, np.int64)
    greeting[slots.session[connection]] = answer[connection]
    answered = set(answer[answer >= 0].tolist()) if len(unsolicited) else set()
    orphans = np.array([reply for reply in unsolicited.tolist() if reply not in answered], np.int64)
    kept = np.flatnonzero(~connection)
    place = np.concatenate([slots.place[kept], first[orphans].astype(np.float64)])
    session = np.concatenate([slots.session[kept], reply_session[orphans]])
    order = np.lexsort((place, session))
    reply = np.concatenate([answer[kept], orphans])[order]
    verb = np.concatenate([slots.verb[kept], np.full(len(orphans), verbs.index(NO_COMMAND))])[order]
    session, place = session[order], place[order]
    code = np.where(reply >= 0, sessions.code[first[reply]] if len(first) else 0, 0).astype(np.int16)
    exchanges = Exchanges(
        session=session,
        event=np.concatenate([slots.event[kept], np.full(len(orphans), -1)])[order],
        reply=reply,
        verb=verb.astype(np.int64),
        verbs=verbs,
        inferred=np.concatenate([slots.inferred[kept], np.zeros(len(orphans), np.bool_)])[order],
        pipelined=_pipelined(session, place, reply, first),
        state=np.zeros(len(session), np.int8),
        tls=np.zeros(len(session), np.bool_),
        authenticated=np.zeros(len(session), np.bool_),
        code=code,
        place=place,
        greeting=greeting,
        reply_first=first,
        reply_session=reply_session,
    )
    _walk(sessions, exchanges)
    return exchanges


def _pipelined(session: np.ndarray, place: np.ndarray, reply: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Sent before the reply to the command before it had come."""
    pipelined = np.zeros(len(session), np.bool_)
    if len(session) > 1:
        came = np.where(reply[:-1] >= 0, first[reply[:-1]] if len(first) else 0, np.inf)
        pipelined[1:] = (session[1:] == session[:-1]) & (came > place[1:])
    return pipelined


# -- the walk: one column each for hello, TLS, authentication, transaction, all filled forward


def _walk(sessions: Sessions, exchanges: Exchanges) -> None:
    n = len(exchanges.session)
    starts = np.searchsorted(exchanges.session, exchanges.session)
    effects = _effects(exchanges.verbs)
    digit = np.minimum(exchanges.code // 100, 9)
    moves = {name: table[exchanges.verb, digit] for name, table in effects.items()}
    moves["closing"] = np.where(exchanges.code == 421, 1, moves["closing"])
    moves["transaction"] = np.where(
        (exchanges.code == 354) & (moves["transaction"] < 0), _TRANSACTION.index("data"), moves["transaction"]
    )
    before = {name: _filled(move, starts, n) for name, move in moves.items()}
    tls = before["tls"] > 0
    _tls_events(sessions, exchanges, tls)
    exchanges.tls = tls
    exchanges.authenticated = before["authenticated"] > 0
    greeted = exchanges.greeting[exchanges.session]
    code = np.where(greeted >= 0, sessions.code[exchanges.reply_first[greeted]] if len(exchanges.reply_first) else 0, 0)
    names = list(states.STATES)
    state = np.where(code // 100 == 2, names.index("greeted"), names.index("connected")).astype(np.int8)
    state[greeted < 0] = names.index("greeted")
    early = (
        (greeted >= 0) & (exchanges.reply_first[greeted] > exchanges.place)
        if len(exchanges.reply_first)
        else greeted > 0
    )
    state[early] = names.index("connected")
    state[before["tls"] > 0] = names.index("greeted")
    state[before["hello"] > 0] = names.index("ready")
    for number, name in enumerate(_TRANSACTION[1:], 1):
        state[before["transaction"] == number] = names.index(name)
    state[before["auth"] > 0] = names.index("auth")
    state[before["closing"] > 0] = names.index("closing")
    exchanges.state = state


def _effects(verbs: list[str]) -> dict[str, np.ndarray]:
    """The table of :mod:`smtplog.states` as arrays [verb, first digit]; -1 moves nothing."""
    tables = {name: np.full((len(verbs), 10), -1, np.int8) for name in states.After._fields}
    number = {name: i for i, name in enumerate(verbs)}
    for (verb, digit), after in states.AFTER.items():
        if verb not in number:
            continue
        for name, value in after._asdict().items():
            if value is not None:
                words = _TRANSACTION if name == "transaction" else _HELLO
                tables[name][number[verb], digit] = words.index(value) if isinstance(value, str) else int(value)
    return tables


def _filled(move: np.ndarray, starts: np.ndarray, n: int) -> np.ndarray:
    """The value before each exchange: what the last move in its session led to, 0 at its start."""
    if not n:
        return move
    last = last_before(move >= 0, starts)
    return np.where(last >= 0, move[last], 0)


def _tls_events(sessions: Sessions, exchanges: Exchanges, tls: np.ndarray) -> None:
    """What the log itself says of TLS: a mark on the line, a note, a handshake that failed."""
    found = sessions.events
    at = exchanges.event >= 0
    tls[at] |= (found.flags[exchanges.event[at]] & TLS_ACTIVE) > 0
    told = np.flatnonzero(found.kind == TLS)
    if len(told):
        worked = ~events.found(events.take(found.text, told), "^failed$")
        last = np.searchsorted(told, exchanges.place) - 1
        known = (last >= 0) & (sessions.session[told[last]] == exchanges.session)
        tls[known] = worked[last[known]]
