"""Transactions (RFC 5321 section 3.3) and what became of them, and how each dialog ended; columns over all dialogs of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smtplog import events, states
from smtplog.dialogs import Exchanges
from smtplog.events import CLOSED, CONTENT
from smtplog.model import ENDS, OUTCOMES
from smtplog.sessions import Sessions

DELIVERED, REJECTED, DEFERRED, PARTIAL, ABORTED, UNKNOWN = range(len(OUTCOMES))
QUIT, BY_SERVER, BY_CLIENT, TIMEOUT, TRUNCATED = range(len(ENDS))
_MEMBERS = ("MAIL", "RCPT", "DATA", ".", "BDAT", "BDAT LAST", "BURL", "XEXCH50")
#: Refusals of the command line itself (RFC 5321 section 4.2.2), not of the sender.
_NOT_UNDERSTOOD = (500, 501, 502, 503, 504, 555)


@dataclass(slots=True)
class Transactions:
    """One row a transaction, in the order of the log inside each session."""

    of_exchange: np.ndarray  #: int64, the transaction of each exchange; -1
    session: np.ndarray
    first: np.ndarray  #: the exchange that began it
    decided: np.ndarray  #: the exchange whose reply decided; -1
    outcome: np.ndarray  #: int8, position in OUTCOMES
    accepted: np.ndarray  #: recipients accepted
    rejected: np.ndarray  #: refused with 5yz
    deferred: np.ndarray  #: refused with 4yz
    end: np.ndarray  #: a session: int8, position in ENDS
    session_outcome: np.ndarray  #: a session: int8


def transactions(sessions: Sessions, exchanges: Exchanges) -> Transactions:
    """The transactions of these exchanges."""
    verb = _Verbs(exchanges)
    of_exchange, first = _members(exchanges, verb)
    end = ends(sessions, exchanges)
    n = len(first)
    inside = np.flatnonzero(of_exchange >= 0)
    member, digit = of_exchange[inside], exchanges.code[inside] // 100

    def count(mask: np.ndarray) -> np.ndarray:
        return np.bincount(member[mask], minlength=n)

    rcpt = verb.named("RCPT")[inside]
    accepted, rejected, deferred = (count(rcpt & (digit == d)) for d in (2, 5, 4))
    result = Transactions(
        of_exchange=of_exchange,
        session=exchanges.session[first],
        first=first,
        decided=np.full(n, -1, np.int64),
        outcome=np.full(n, UNKNOWN, np.int8),
        accepted=accepted,
        rejected=rejected,
        deferred=deferred,
        end=end,
        session_outcome=np.zeros(0, np.int8),
    )
    _decide(result, exchanges, verb, inside, member, digit)
    result.session_outcome = _session_outcomes(len(sessions.first), exchanges, verb, result)
    return result


class _Verbs:
    def __init__(self, exchanges: Exchanges) -> None:
        self.verb, self.names = exchanges.verb, exchanges.verbs

    def named(self, *names: str) -> np.ndarray:
        return np.isin(self.verb, [i for i, name in enumerate(self.names) if name in names])


def _members(exchanges: Exchanges, verb: _Verbs) -> tuple[np.ndarray, np.ndarray]:
    n = len(exchanges.session)
    digit = exchanges.code // 100
    idle = ~np.isin(exchanges.state, [states.STATES.index(name) for name in states.TRANSACTION_STATES])
    member = verb.named(*_MEMBERS)
    misread = np.isin(exchanges.code, _NOT_UNDERSTOOD)  # a slip, typed again as a rule: it began nothing
    begins = verb.named("MAIL") & ((idle & ~misread) | (digit == 2) | (digit == 0))
    ends = (verb.named("RSET", *states.HELLO, "STARTTLS") & (digit == 2)) | (verb.named(".", "BDAT LAST") & (digit > 0))
    session_start = np.ones(n, np.bool_)
    session_start[1:] = exchanges.session[1:] != exchanges.session[:-1]
    # a log that starts in mid-session shows a transaction without its MAIL
    ended = np.zeros(n, np.bool_)
    ended[1:] = ends[:-1] & ~(verb.named(".")[1:] & verb.named(".")[:-1])
    closed = _last(np.where(begins, 2, np.where(ended | session_start, 1, 0)))
    stray = member & ~begins & (closed == 1) & (digit == 2) & verb.named("RCPT", ".", "BDAT", "BDAT LAST")
    begins |= stray & ~_again(stray, begins | ended | session_start)
    number = np.cumsum(begins) - 1
    open_now = _last(np.where(begins, 2, np.where(ended | session_start, 1, 0))) == 2
    return np.where(member & open_now, number, -1), np.flatnonzero(begins)


def _last(marks: np.ndarray) -> np.ndarray:
    """The last mark that is not zero, itself included."""
    at = np.maximum.accumulate(np.where(marks > 0, np.arange(len(marks)), 0)) if len(marks) else marks
    return marks[at] if len(marks) else marks


def _again(mask: np.ndarray, resets: np.ndarray) -> np.ndarray:
    """Where the mask was already true since the last reset."""
    count = np.cumsum(mask) - mask
    base = np.maximum.accumulate(np.where(resets, count, 0)) if len(mask) else count
    return count > base


def _decide(
    result: Transactions, exchanges: Exchanges, verb: _Verbs, inside: np.ndarray, member: np.ndarray, digit: np.ndarray
) -> None:
    """The reply to the end of data decides; before it a refused MAIL, DATA, or refused recipients; else how it was left."""
    n = len(result.first)
    last_end = verb.named(".", "BDAT LAST")[inside]
    data = verb.named("DATA", "BDAT", "BURL")[inside]
    mail = verb.named("MAIL")[inside]
    rcpt = verb.named("RCPT")[inside]
    outcome = np.full(n, -1, np.int8)
    left = _left(result, exchanges, verb)
    by_digit = {2: DELIVERED, 4: DEFERRED, 5: REJECTED}

    def settle(mask: np.ndarray, only: np.ndarray, refusals: tuple[int, ...]) -> None:
        for d in refusals:
            at = np.flatnonzero(mask & (digit == d))
            at = at[only[member[at]] & (outcome[member[at]] < 0)]
            outcome[member[at]] = by_digit[d]
            result.decided[member[at]] = inside[at]

    everyone = np.ones(n, np.bool_)
    ended = np.bincount(member[last_end], minlength=n) > 0
    settle(last_end, everyone, (2, 5, 4))
    outcome[ended & (outcome < 0)] = UNKNOWN  # an end of data that nobody answered
    settle(data, everyone, (5, 4))
    settle(mail, everyone, (5, 4))
    none = (result.accepted == 0) & (result.rejected + result.deferred > 0)
    settle(rcpt, none & (result.deferred == 0), (5,))
    settle(rcpt, none, (4, 5))
    outcome = np.where(outcome < 0, left, outcome)
    delivered = outcome == DELIVERED
    mixed = np.bincount(member[last_end & (digit > 2)], minlength=n) > 0
    outcome[delivered & ((result.rejected + result.deferred > 0) | mixed)] = PARTIAL
    result.outcome = outcome.astype(np.int8)


def _left(result: Transactions, exchanges: Exchanges, verb: _Verbs) -> np.ndarray:
    """A transaction without an end: unknown where the log stops, aborted where the session went on or was closed."""
    n = len(result.first)
    last = np.full(n, -1, np.int64)
    inside = np.flatnonzero(result.of_exchange >= 0)
    last[result.of_exchange[inside]] = inside
    session_end = np.searchsorted(exchanges.session, result.session, side="right") - 1
    cut = (last == session_end) & (result.end[result.session] == TRUNCATED)
    return np.where(cut, UNKNOWN, ABORTED).astype(np.int8)


def ends(sessions: Sessions, exchanges: Exchanges) -> np.ndarray:
    """How each dialog ended."""
    n = len(sessions.first)
    verb = _Verbs(exchanges)
    end = np.full(n, TRUNCATED, np.int8)
    closed = np.flatnonzero(sessions.events.kind == CLOSED)
    words = {"client": BY_CLIENT, "server": BY_SERVER, "timeout": TIMEOUT, "": BY_SERVER}
    column = events.encoded(events.take(sessions.events.text, closed))
    named = np.array([words.get(word, BY_SERVER) for word in events.listed(events.values(column))] or [0], np.int8)
    end[sessions.session[closed]] = named[events.codes(column)]
    for at in np.flatnonzero(sessions.code[exchanges.reply_first] == 421).tolist():
        text = events.text(sessions.events.text, exchanges.reply_first[at])
        idle = any(word in text.lower() for word in ("4.4.2", "timeout", "timed out", "idle", "inactiv"))
        end[exchanges.reply_session[at]] = TIMEOUT if idle else BY_SERVER
    quits = verb.named("QUIT") & (exchanges.code // 100 <= 2)
    end[exchanges.session[quits]] = QUIT
    return end


def _session_outcomes(n: int, exchanges: Exchanges, verb: _Verbs, result: Transactions) -> np.ndarray:
    counts = np.zeros((n, len(OUTCOMES)), np.int64)
    np.add.at(counts, (result.session, result.outcome.astype(np.int64)), 1)
    outcome = np.where(result.end == TRUNCATED, UNKNOWN, ABORTED).astype(np.int8)
    refused = np.zeros(n, np.int16)
    gates = verb.named(*states.HELLO, "AUTH", "AUTH-RESPONSE", "STARTTLS") & (exchanges.code >= 400)
    refused[exchanges.session[gates]] = exchanges.code[gates] // 100
    hello = verb.named("EHLO") & (exchanges.code // 100 == 5)  # an EHLO that HELO made good is no refusal
    made_good = np.isin(exchanges.session, exchanges.session[verb.named("HELO") & (exchanges.code // 100 == 2)])
    refused[exchanges.session[hello & made_good]] = 0
    outcome[refused == 5], outcome[refused == 4] = REJECTED, DEFERRED
    for worst in (UNKNOWN, ABORTED, REJECTED, DEFERRED):
        outcome[counts[:, worst] > 0] = worst
    some = counts[:, DELIVERED] + counts[:, PARTIAL] > 0
    others = counts.sum(axis=1) > counts[:, DELIVERED]
    outcome[some] = np.where(others, PARTIAL, DELIVERED)[some]
    return outcome


def greeting_refused(sessions: Sessions, exchanges: Exchanges, result: Transactions) -> None:
    """A refused greeting is the outcome of a session without transactions."""
    at = np.flatnonzero(exchanges.greeting >= 0)
    digit = sessions.code[exchanges.reply_first[exchanges.greeting[at]]] // 100
    alone = ~np.isin(at, result.session)
    result.session_outcome[at[alone & (digit == 5)]] = REJECTED
    result.session_outcome[at[alone & (digit == 4)]] = DEFERRED


def has_content(sessions: Sessions) -> np.ndarray:
    """Which sessions hold message text."""
    mask = sessions.content | (sessions.events.kind == CONTENT)
    return np.bincount(sessions.session[mask], minlength=len(sessions.first)) > 0
