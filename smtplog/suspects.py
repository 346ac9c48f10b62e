"""Which dialogs of a batch the rules must look at: those that the walk over the columns did not find in perfect order.

A dialog is in order when every command line is what the strict grammar accepts, stands in a state that allows it and has
one reply of a class that its verb can have, and when the session ends with QUIT or with the end of the log. Nothing that
a rule flags can happen in such a dialog, so it is never made a view.
"""

from __future__ import annotations

import numpy as np

from smtplog import events, reference, speech, states
from smtplog.batches import Batch
from smtplog.dialogs import AUTH_RESPONSE
from smtplog.events import SERVER, TLS
from smtplog.sessions import last_before
from smtplog.transactions import QUIT, TRUNCATED, has_content


def suspects(batch: Batch, *, everything: bool = False) -> list[int]:
    """The sessions to look at, in the order in which they were complete."""
    if everything:
        return batch.order.tolist()
    sessions, pairs = batch.sessions, batch.exchanges
    n = len(sessions.first)
    marked = has_content(sessions) | ~np.isin(batch.transactions.end, (QUIT, TRUNCATED))
    marked |= np.bincount(sessions.session[sessions.odd | _odd_reply_lines(batch)], minlength=n) > 0
    marked |= np.bincount(sessions.session[sessions.events.kind == TLS], minlength=n) > 0
    marked |= np.bincount(pairs.session[_out_of_order(batch)], minlength=n) > 0
    marked |= np.bincount(pairs.session[_command_for_answer(batch)], minlength=n) > 0
    greeted = pairs.greeting >= 0
    marked[greeted] |= events.found(events.take(sessions.events.text, _greetings(batch)), r"(?i)\bLMTP\b")
    code = np.zeros(n, np.int16)
    code[greeted] = sessions.code[_greetings(batch)]
    marked |= greeted & (code != 220)
    return batch.order[marked[batch.order]].tolist()


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
        return np.isin(pairs.verb, [i for i, name in enumerate(pairs.verbs) if name in names])

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
    transaction = np.isin(pairs.state, [states.STATES.index(name) for name in states.TRANSACTION_STATES])
    out |= verb(*states.HELLO) & transaction
    out |= verb("STARTTLS", "X-ANONYMOUSTLS") & (pairs.tls | (digit == 2))
    out |= verb("AUTH") & pairs.authenticated
    out |= verb("LHLO")
    return out
