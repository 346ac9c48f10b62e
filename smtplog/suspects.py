"""Where the rules look: marks over the columns of a batch, so that a gigabyte of healthy dialogs is never made into views.

Each function is a condition without which a rule has nothing to say: necessary, not sufficient; the rule decides. A dialog is
in order when every command line is what the strict grammar accepts, stands in a state that allows it and has one reply of a
class that its verb can have, and when the session ends with QUIT or with the end of the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from typing import TypeVar

import numpy as np

from smtplog import events, reference, speech, states
from smtplog.batches import Batch
from smtplog.dialogs import AUTH_RESPONSE
from smtplog.events import CLIENT, CONTENT, SERVER, TLS
from smtplog.findings import Marks
from smtplog.negotiated import mixed, reply_kinds, summed, text_kinds
from smtplog.sessions import last_before
from smtplog.transactions import QUIT, TRUNCATED, has_content

#: What may come first after a TLS handshake (RFC 3207 section 4.2, RFC 5321 section 4.1.4).
FIRST_AFTER_TLS = (*states.HELLO, "QUIT", "NOOP", "RSET")

T = TypeVar("T")

# -- marks over sessions


def per_batch(mark: Callable[[Batch], T]) -> Callable[[Batch], T]:
    """Work that several marks share is done once for a batch."""

    @wraps(mark)
    def remembered(batch: Batch) -> T:
        if mark not in batch.worked_out:
            batch.worked_out[mark] = mark(batch)
        found: T = batch.worked_out[mark]
        return found

    return remembered


@per_batch
def disorder(batch: Batch) -> np.ndarray:
    """The sessions that are not in order, however they ended."""
    sessions, pairs = batch.sessions, batch.exchanges
    n = len(sessions.first)
    marked = np.bincount(sessions.session[sessions.odd | _odd_reply_lines(batch)], minlength=n) > 0
    marked |= np.bincount(sessions.session[failed_handshakes(batch)], minlength=n) > 0
    marked |= np.bincount(pairs.session[_out_of_order(batch)], minlength=n) > 0
    marked |= np.bincount(pairs.session[_command_for_answer(batch)], minlength=n) > 0
    greeted = pairs.greeting >= 0
    marked[greeted] |= events.found(events.take(sessions.events.text, _greetings(batch)), r"(?i)\bLMTP\b")
    code = np.zeros(n, np.int16)
    code[greeted] = sessions.code[_greetings(batch)]
    return marked | (greeted & (code != 220))


def unfinished(batch: Batch) -> np.ndarray:
    """The sessions that end otherwise than with QUIT or with the end of the log, or whose replies do not come out even."""
    pairs = batch.exchanges
    unanswered = np.bincount(pairs.session[pairs.code == 0], minlength=len(batch.sessions.first)) > 0
    return unanswered | ~np.isin(batch.transactions.end, (QUIT, TRUNCATED))


@cache
def commands(pattern: str, *names: str) -> Callable[[Batch], np.ndarray]:
    """The sessions with a command line, of these verbs or of any, that a regular expression (RE2) finds something in."""

    def mark(batch: Batch) -> np.ndarray:
        pairs, sessions = batch.exchanges, batch.sessions
        said = np.flatnonzero((pairs.event >= 0) & (verbs(*names)(batch) if names else True))
        hit = events.found(events.take(sessions.events.text, pairs.event[said]), pattern)
        return np.bincount(pairs.session[said[hit]], minlength=len(sessions.first)) > 0

    return mark


def replies(pattern: str) -> Callable[[Batch], np.ndarray]:
    """The sessions with a server line that a regular expression (RE2) finds something in."""

    def mark(batch: Batch) -> np.ndarray:
        at, lines = batch.server_lines
        found = at[events.found(events.values(lines), pattern)[events.codes(lines)]]
        return np.bincount(batch.sessions.session[found], minlength=len(batch.sessions.first)) > 0

    return mark


def sessions_of(*marks: Marks) -> Marks:
    """The sessions with an exchange that each of these marks over exchanges has marked."""

    @per_batch
    def mark(batch: Batch) -> np.ndarray:
        mask = np.logical_and.reduce([each(batch) for each in marks])
        return np.bincount(batch.exchanges.session[mask], minlength=len(batch.sessions.first)) > 0

    return mark


def texts(batch: Batch) -> np.ndarray:
    """The sessions of which the log holds message text."""
    return has_content(batch.sessions)


@per_batch
def text_lines(batch: Batch) -> tuple[np.ndarray, events.Strings]:
    """The positions of the lines of message text, and the lines."""
    found = batch.sessions.events
    at = np.flatnonzero(batch.sessions.content | (found.kind == CONTENT))
    return at, events.take(found.text, at)


@cache
def texts_with(pattern: str, least: int = 1) -> Callable[[Batch], np.ndarray]:
    """The sessions with so many lines of message text that a regular expression (RE2) finds something in."""

    def mark(batch: Batch) -> np.ndarray:
        at, lines = text_lines(batch)
        hit = at[events.found(lines, pattern)] if len(at) else at
        return np.bincount(batch.sessions.session[hit], minlength=len(batch.sessions.first)) >= least

    return mark


# -- marks over exchanges


@dataclass(frozen=True, slots=True)
class Cell:
    """The exchanges of some verbs, or of all, whose reply has at least this code: a mark over a batch and a question to one
    exchange alike."""

    verbs: frozenset[str]  #: empty: all
    least: int = 0

    def __call__(self, batch: Batch) -> np.ndarray:
        mask = batch.exchanges.code >= self.least
        if self.verbs:
            names = [name in self.verbs or name.removesuffix(" LAST") in self.verbs for name in batch.exchanges.verbs]
            mask &= np.array(names, np.bool_)[batch.exchanges.verb]
        return mask

    def holds(self, verb: str, code: int) -> bool:
        """Whether an exchange with this verb and reply code is one of them."""
        return code >= self.least and (not self.verbs or verb in self.verbs)


@per_batch
def unusual(batch: Batch) -> tuple[np.ndarray, events.Strings]:
    """The exchanges with a command line that is no everyday one (parameters other than SIZE and BODY, rare characters,
    faults), and these lines."""
    at = batch.exchanges.event
    rows = np.flatnonzero((at >= 0) & ~batch.sessions.usual[at])
    return rows, events.take(batch.sessions.events.text, at[rows])


@cache
def verbs(*names: str) -> Cell:
    """The exchanges of these verbs."""
    return Cell(frozenset(names))


@cache
def refused(*names: str) -> Cell:
    """The exchanges of these verbs, or of all, that were answered 4yz or 5yz."""
    return Cell(frozenset(names), 400)


# -- equal dialogs and equal exchanges once


def shapes(batch: Batch, numbers: np.ndarray) -> np.ndarray:
    """A number for each of these sessions that all share whose tokens are the same: verbs, states, classes of replies and
    flags of the exchanges, and what happened beside them; of a run of RCPT the last one counts, and the whole code of a
    reply only at the end of a session and of 421. Words and times make no difference."""
    pairs, found = batch.exchanges, batch.sessions.events
    chosen = np.zeros(len(batch.sessions.first), np.bool_)
    chosen[numbers] = True
    total = mixed(batch.transactions.end, batch.flags, _ports(batch), pairs.greeting >= 0)
    rows = np.flatnonzero(chosen[pairs.session])
    verb = np.array([hash(name) for name in pairs.verbs], np.int64)[pairs.verb[rows]]
    flags = pairs.inferred[rows] | pairs.tls[rows] << 1 | pairs.authenticated[rows] << 2 | pairs.pipelined[rows] << 3
    member = batch.transactions.of_exchange[rows] >= 0
    same = np.zeros(len(rows), np.bool_)  # as the next one: of one session
    same[:-1] = pairs.session[rows][1:] == pairs.session[rows][:-1]
    code = np.where(same & (pairs.code[rows] != 421), pairs.code[rows] // 100, pairs.code[rows])
    token = mixed(verb, pairs.state[rows], flags, code, pairs.event[rows] >= 0, member)
    folded = np.zeros(len(rows), np.bool_)
    folded[:-1] = same[:-1] & (verb[:-1] == hash("RCPT")) & (verb[1:] == hash("RCPT")) & (code[:-1] > 0)
    new = ~folded
    at = np.flatnonzero(chosen[batch.sessions.session] & ~np.isin(found.kind, (CLIENT, SERVER, CONTENT)))
    with np.errstate(over="ignore"):
        for owner, kind in (
            (pairs.session[rows[new]], token[new].view(np.int64)),
            (batch.sessions.session[at], mixed(found.kind[at], text_kinds(events.take(found.text, at))).view(np.int64)),
        ):
            place = np.arange(len(owner)) - np.searchsorted(owner, owner)
            total += summed(owner, mixed(kind, place), len(total))
    return total[numbers]


def distinct(batch: Batch, rows: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """The kinds of exchanges among these rows, each a number that is the same in every batch, and the rows of each. Addresses,
    what stands between brackets, the text of a success and the value of SIZE make no kind: no rule that is shown kinds looks
    at them."""
    if not len(rows):
        return np.zeros(0, np.uint64), []
    kinds = _kinds(batch, rows)
    order = np.argsort(kinds, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], kinds[order][1:] != kinds[order][:-1]]))
    return kinds[order][starts], np.split(rows[order], starts[1:])


def _kinds(batch: Batch, rows: np.ndarray) -> np.ndarray:
    pairs = batch.exchanges
    command = np.full(len(rows), -1, np.int64)
    said = np.flatnonzero(pairs.event[rows] >= 0)
    command[said] = text_kinds(events.take(batch.sessions.events.text, pairs.event[rows[said]]))
    decided = batch.transactions.decided
    outcome = np.full(len(pairs.session), -1, np.int64)
    outcome[decided[decided >= 0]] = batch.transactions.outcome[decided >= 0]
    verb = np.array([hash(name) for name in pairs.verbs], np.int64)
    hello = np.array([name in states.HELLO for name in pairs.verbs], np.bool_)[pairs.verb[rows]]
    words = np.zeros(len(rows), np.uint64)
    for mine, brief in ((hello, False), (~hello, True)):
        numbers = np.unique(pairs.reply[rows[mine]])
        _, kinds = reply_kinds(batch, numbers, brief=brief)
        words[mine] = kinds[np.searchsorted(numbers, pairs.reply[rows[mine]])] if len(numbers) else 0
    offered = np.array([hash(tuple(each.items())) for each in batch.offers.keywords] + [0], np.int64)
    in_force = np.where(batch.hello[rows] >= 0, verb[pairs.verb[batch.hello[rows]]], 0)
    flags = pairs.inferred[rows] | pairs.tls[rows] << 1 | pairs.authenticated[rows] << 2
    return mixed(
        verb[pairs.verb[rows]],
        pairs.state[rows],
        flags,
        outcome[rows],
        batch.flags[pairs.session[rows]],
        _ports(batch)[pairs.session[rows]],
        command,
        words.view(np.int64),
        offered[batch.offers.kind[rows]],
        in_force,
    )


@per_batch
def _ports(batch: Batch) -> np.ndarray:
    """A number for the addresses of each session, as far as they change its circumstances."""
    found = batch.sessions.events
    bits = np.zeros(len(batch.sessions.first), np.int64)
    ends = ((found.server, r":587$"), (found.server, r":465$"), (found.server, _LOOPBACK), (found.client, _LOOPBACK))
    for i, (column, pattern) in enumerate(ends):
        told = events.found(events.values(column), pattern)
        if told.any():
            at = np.flatnonzero(told[events.codes(column)])
            bits[batch.sessions.session[at]] |= 1 << i
    return bits


_LOOPBACK = r"(?:^|\[)(?:127\.|(?:IPv6:)?::1(?:\]|$)|(?i:localhost))"


# -- the order of a dialog


def _greetings(batch: Batch) -> np.ndarray:
    """Position of the first line of each greeting."""
    greeting = batch.exchanges.greeting
    return batch.exchanges.reply_first[greeting[greeting >= 0]]


def _command_for_answer(batch: Batch) -> np.ndarray:
    """Answers to a 334 that look like commands (RFC 4954 section 4)."""
    pairs = batch.exchanges
    answers = [number for number, name in enumerate(pairs.verbs) if name == AUTH_RESPONSE]
    at = np.flatnonzero(np.isin(pairs.verb, answers) & (pairs.event >= 0))
    lines = events.listed(events.take(batch.sessions.events.text, pairs.event[at]))
    return at[np.array([reference.verb(speech.split(line)[0]) is not None for line in lines], np.bool_)]


def failed_handshakes(batch: Batch) -> np.ndarray:
    """Positions of the notes of TLS handshakes that failed."""
    found = batch.sessions.events
    at = np.flatnonzero(found.kind == TLS)
    return at[events.found(events.take(found.text, at), "^failed$")] if len(at) else at


def _odd_reply_lines(batch: Batch) -> np.ndarray:
    """Server lines without a code, with a code that no command has, or at odds with the line before."""
    sessions = batch.sessions
    server = sessions.events.kind == SERVER
    starts = sessions.first[sessions.session]
    before = last_before(server, starts)
    code = sessions.code
    digit, second = code // 100, code // 10 % 10
    odd = server & ((digit < 2) | (digit > 5) | (second > 5))
    continued = server & (before >= 0) & sessions.goes_on[before]
    spoken = server | (sessions.verb >= 0)
    interrupted = last_before(spoken, starts) != before
    odd |= continued & ((code != code[before]) | interrupted)
    last = np.append(sessions.first[1:], len(server)) - 1
    ending = np.zeros(len(server), np.bool_)
    ending[last] = True
    return odd | (server & sessions.goes_on & ending)


def _out_of_order(batch: Batch) -> np.ndarray:
    """Exchanges that the state table does not allow, that have no reply or no command, or a reply of another class."""
    pairs = batch.exchanges
    allowed = np.zeros((len(states.STATES), len(pairs.verbs)), np.bool_)
    for state, verbs in states.ALLOWED.items():
        for name in verbs:
            if name in pairs.verbs:
                allowed[states.STATES.index(state), pairs.verbs.index(name)] = True
    out = ~allowed[pairs.state, pairs.verb]

    def verb(*names: str) -> np.ndarray:
        return np.array([name in names for name in pairs.verbs], np.bool_)[pairs.verb]

    digit = pairs.code // 100
    closed = batch.transactions.end[pairs.session] != TRUNCATED
    out |= (digit == 0) & (closed | (pairs.reply >= 0))
    out |= (pairs.event < 0) & ~pairs.inferred
    goes_on = verb("DATA", "AUTH", "AUTH-RESPONSE", "X-EXPS", "XEXCH50")
    out |= (digit == 3) & ~goes_on
    out |= (digit == 2) & verb("DATA")
    out |= (pairs.code == 354) & ~verb("DATA", "XEXCH50")
    out |= (pairs.code == 334) & ~verb("AUTH", "AUTH-RESPONSE", "X-EXPS")
    out |= (pairs.code == 235) & ~verb("AUTH", "AUTH-RESPONSE", "X-EXPS")
    transaction = np.array([name in states.TRANSACTION_STATES for name in states.STATES], np.bool_)[pairs.state]
    out |= verb(*states.HELLO) & transaction
    handshake = verb("STARTTLS", "X-ANONYMOUSTLS")
    out |= handshake & pairs.tls
    out[1:] |= (handshake & (digit == 2))[:-1] & (~verb(*FIRST_AFTER_TLS)[1:] | pairs.pipelined[1:])
    out |= verb("AUTH") & pairs.authenticated
    out |= verb("LHLO")
    return out
