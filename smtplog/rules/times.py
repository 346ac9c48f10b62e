"""Times: who was slow, who did not wait (RFC 5321 section 4.5.3.2)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from statistics import median

import numpy as np

from smtplog.batches import Batch
from smtplog.events import CLIENT, NO_TIME, SERVER
from smtplog.findings import Hit, rule
from smtplog.model import Dialog, Exchange, Reply
from smtplog.rules.course import closed, hit, is_said, verb_of
from smtplog.sessions import last_before

#: Seconds that a client must wait for a reply at least (RFC 5321 section 4.5.3.2), by verb; 300 for all others.
_PATIENCE = {"DATA": 120.0, ".": 600.0, "BDAT LAST": 600.0, "BDAT": 180.0}
_USUAL_PATIENCE = 300.0
_SUBMISSION_LIMIT = 120.0
_SERVER_PATIENCE = 300.0  # RFC 5321 section 4.5.3.2.7
_TIMED_OUT = re.compile(r"time-?(?:d )?out|\bidle\b|inactivity|took too long|4\.4\.2", re.IGNORECASE)


def _patience(exchange: Exchange) -> float:
    return _PATIENCE.get(verb_of(exchange), _USUAL_PATIENCE)


def _told(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


@cache
def _silence(seconds: float) -> Callable[[Batch], np.ndarray]:
    """The sessions in which this much time passed between two lines."""

    def mark(batch: Batch) -> np.ndarray:
        sessions = batch.sessions
        time = sessions.events.time
        known = time != NO_TIME
        last = last_before(known, sessions.first[sessions.session])
        slow = known & (last >= 0)
        slow[slow] = time[slow] - time[last[slow]] >= seconds * 1_000_000
        return np.bincount(sessions.session[slow], minlength=len(sessions.first)) > 0

    return mark


@cache
def _slow(seconds: float, *, least: int = 1, code: int = 0) -> Callable[[Batch], np.ndarray]:
    """The sessions in which so many replies, of this code at least, came this long after their commands."""

    def mark(batch: Batch) -> np.ndarray:
        pairs, time = batch.exchanges, batch.sessions.events.time
        at = np.flatnonzero((pairs.event >= 0) & (pairs.reply >= 0) & (pairs.code >= code))
        sent, answered = time[pairs.event[at]], time[pairs.reply_first[pairs.reply[at]]]
        late = (sent != NO_TIME) & (answered != NO_TIME) & (answered - sent >= seconds * 1_000_000)
        return np.bincount(pairs.session[at[late]], minlength=len(batch.sessions.first)) >= least

    return mark


def _told_to_go(batch: Batch) -> np.ndarray:
    """The sessions with a 421."""
    sessions = batch.sessions
    return np.bincount(sessions.session[sessions.code == 421], minlength=len(sessions.first)) > 0


def _early(batch: Batch) -> np.ndarray:
    """The sessions whose client spoke before the server's first word, or that a refusal greets."""
    sessions, pairs = batch.sessions, batch.exchanges
    starts = sessions.first[sessions.session]
    server = sessions.events.kind == SERVER
    early = (sessions.events.kind == CLIENT) & (last_before(server & ~sessions.goes_on, starts) < 0)
    return (
        np.bincount(sessions.session[early & (pairs.greeting >= 0)[sessions.session]], minlength=len(pairs.greeting))
        > 0
    )


def _left_waiting(batch: Batch) -> np.ndarray:
    """The sessions with a command that nobody answered and a clock."""
    pairs, time = batch.exchanges, batch.sessions.events.time
    at = np.flatnonzero((pairs.code == 0) & (pairs.event >= 0))
    at = at[time[pairs.event[at]] != NO_TIME]
    return np.bincount(pairs.session[at], minlength=len(batch.sessions.first)) > 0


def _opened(dialog: Dialog) -> datetime | None:
    return next((event.time for event in dialog.events if event.kind == "opened" and event.before == 0), None)


@rule(
    "TIM001",
    "slow-greeting",
    severity="info",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.5.3.2.1",
    advice="Check reverse DNS, ident and the load of the server.",
    extra=True,
    sessions=_silence(30),
)
def slow_greeting(dialog: Dialog) -> Iterator[Hit]:
    """The greeting came later than 30 seconds after the connection.

    Why it matters: clients wait five minutes at most, impatient ones far less; a late greeting is usually a look-up that
    fails.

    Flagged::

        *: connect
        *: wait 45s
        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net

    Fine::

        *: connect
        *: wait 10s
        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net

    What to do: check reverse DNS, ident look-ups and the load of the server.

    Servers: postscreen and greet_pause wait 5 to 10 seconds on purpose; ident look-ups cost 30.

    Reference: RFC 5321 4.5.3.2.1
    """
    opened, greeting = _opened(dialog), dialog.greeting
    if opened is None or greeting is None or greeting.time is None:
        return
    seconds = (greeting.time - opened).total_seconds()
    if seconds > 30:
        late = seconds > _USUAL_PATIENCE
        yield Hit(f"The greeting took {_told(seconds)}.", line=greeting.line, severity="warning" if late else None)


@rule(
    "TIM002",
    "early-talker",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 5321 3.1, 4.3.1",
    advice="Wait for the whole 220 greeting.",
    sessions=_early,
)
def early_talker(dialog: Dialog) -> Iterator[Hit]:
    """The client spoke before the greeting was complete.

    Why it matters: spam software does so; servers that wait on purpose refuse such clients.

    Flagged::

        *: connect
        C: EHLO client.example.org
        S: 554 5.5.1 Error: pre-greeting traffic

    Flagged::

        *: connect
        S: 220-mx.example.net please wait
        C: EHLO client.example.org
        S: 220 mx.example.net ESMTP ready
        S: 250 mx.example.net

    Fine::

        *: connect
        C: PROXY TCP4 192.0.2.9 192.0.2.25 51000 25
        S: 220 mx.example.net ESMTP ready

    What to do: wait for the whole 220, its last line included.

    Servers: sendmail (greet_pause) and Exim answer 554, postscreen logs PREGREET.

    Reference: RFC 5321 3.1, 4.3.1
    """
    greeting = dialog.greeting
    if greeting is None or dialog.replies_only or "implicit-tls" in dialog.profiles:
        return
    for i, exchange in enumerate(dialog.exchanges):
        if not is_said(exchange) or exchange.line is None:
            continue
        if exchange.verb == "PROXY" or (exchange.command or "").startswith("\x16\x03"):
            continue
        if exchange.line < _complete(greeting):
            what = "in the middle of the greeting" if exchange.line > greeting.line else "before the greeting"
            yield hit(i, exchange, f"{exchange.verb or 'Something'} was sent {what}.")
        return


def _complete(greeting: Reply) -> int:
    """The line with which a greeting is complete: the first without a hyphen, whatever lines without a code the log has
    after it."""
    last = next((i for i, raw in enumerate(greeting.raw) if raw[3:4] != "-"), len(greeting.raw))
    return greeting.end_line if last >= len(greeting.raw) - 1 else greeting.line + last


@rule(
    "TIM003",
    "client-idle-timeout",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.5.3.2.7, 3.8",
    advice="Prepare the text before you connect, and type faster.",
    sessions=_told_to_go,
)
def client_idle_timeout(dialog: Dialog) -> Iterator[Hit]:
    """The server hung up because the client was silent for too long.

    Why it matters: what was not finished is lost. Who types by hand meets this often.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        *: wait 310s
        S: 421 4.4.2 mx.example.net Error: timeout exceeded
        *: close server

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 421 4.3.2 Service shutting down
        *: close server

    What to do: prepare the text and paste it line by line; the limit is five minutes at many servers, one at some.

    Servers: Exchange waits five minutes (an Edge server one), Postfix 300 s and 10 s under stress, Gmail says 421 4.4.2.

    Reference: RFC 5321 4.5.3.2.7, 3.8
    """
    for i, reply in _timeouts(dialog):
        silence = _silence_before(dialog, reply)
        if silence is not None and silence < 5 and i is not None:
            continue  # the answer to a command that had just been sent: the server waited for somebody else
        after = f" after {_told(silence)} of silence" if silence is not None and silence >= 1 else ""
        yield Hit(
            f"The server ended the session{after}: {reply.code} {' '.join(reply.text)[:120]}",
            line=reply.line,
            end_line=reply.end_line,
        )
        return


def _timeouts(dialog: Dialog) -> Iterator[tuple[int | None, Reply]]:
    """421 replies that speak of time, with the command that they answer where there is one."""
    for i, exchange in enumerate(dialog.exchanges):
        reply = exchange.reply
        if reply is not None and reply.code == 421 and _TIMED_OUT.search(" ".join(reply.text)):
            yield (i if is_said(exchange) else None), reply


def _silence_before(dialog: Dialog, reply: Reply) -> float | None:
    """Seconds from the last line before a reply to it; None where the log does not tell."""
    if reply.time is None:
        return None
    times = [exchange.time for exchange in dialog.exchanges if exchange.time and (exchange.line or 0) < reply.line]
    times += [
        each.reply.time for each in dialog.exchanges if each.reply and each.reply.time and each.reply.line < reply.line
    ]
    return (reply.time - max(times)).total_seconds() if times else None


@rule(
    "TIM004",
    "server-timeout-too-short",
    severity="info",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.5.3.2.7",
    advice="Raise the limit to five minutes.",
    extra=True,
    sessions=_told_to_go,
)
def server_timeout_too_short(dialog: Dialog) -> Iterator[Hit]:
    """The server hung up after less than five minutes of silence.

    Why it matters: a client may take its time; RFC 5321 asks a server to wait five minutes for the next command.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        *: wait 60s
        S: 421 4.4.2 idle timeout
        *: close server

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        *: wait 310s
        S: 421 4.4.2 idle timeout
        *: close server

    What to do: raise the limit to five minutes.

    Servers: overloaded servers and submission servers wait for less (RFC 6409 section 5.3 permits it).

    Reference: RFC 5321 4.5.3.2.7
    """
    for _, reply in _timeouts(dialog):
        silence = _silence_before(dialog, reply)
        if silence is not None and 5 <= silence < _SERVER_PATIENCE:
            yield Hit(f"The server waited {_told(silence)} only, then said {reply.code}.", line=reply.line)
        return


@rule(
    "TIM005",
    "tarpit",
    severity="info",
    party="server",
    scope="dialog",
    reference="RFC 5321 7.8",
    advice="Nothing; avoid the errors.",
    extra=True,
    sessions=_slow(5, least=3, code=400),
)
def tarpit(dialog: Dialog) -> Iterator[Hit]:
    """The server delays its refusals on purpose.

    Why it matters: it explains why a session with errors is slow, and nothing else is wrong.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: FOO
        *: wait 5s
        S: 500 5.3.3 Unrecognized command
        C: BAR
        *: wait 5s
        S: 500 5.3.3 Unrecognized command
        C: BAZ
        *: wait 5s
        S: 500 5.3.3 Unrecognized command

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: FOO
        *: wait 5s
        S: 500 5.3.3 Unrecognized command
        C: BAR
        S: 500 5.3.3 Unrecognized command
        C: BAZ
        S: 500 5.3.3 Unrecognized command

    What to do: nothing; avoid the errors.

    Servers: Exchange waits 5 s (TarpitInterval), Postfix 1 s and more (smtpd_error_sleep_time).

    Reference: RFC 5321 7.8
    """
    timed = [(i, each) for i, each in enumerate(dialog.exchanges) if each.latency is not None]
    late = [(i, each) for i, each in timed if each.severity in (4, 5) and (each.latency or 0) >= 5]
    others = [each.latency or 0.0 for _, each in timed if each.severity in (2, 3)]
    refusals = [each.latency or 0.0 for _, each in timed if each.severity in (4, 5)]
    if len(late) < 3 or len(late) < len(refusals) * 0.8 or (others and median(others) >= 5):
        return
    if max(refusals) <= 2 * median(refusals):
        i, exchange = late[0]
        yield hit(
            i, exchange, f"{len(late)} refusals came about {_told(median(refusals))} late, other replies at once."
        )


@rule(
    "TIM006",
    "slow-reply",
    severity="warning",
    party="server",
    scope="dialog",
    reference="RFC 5321 4.5.3.2; RFC 6409 5.3",
    advice="Scan after the message was accepted; raise the client's time limits.",
    sessions=_slow(_SUBMISSION_LIMIT),
)
def slow_reply(dialog: Dialog) -> Iterator[Hit]:
    """A reply came later than a client has to wait.

    Why it matters: the client may have hung up; after the end of a message it then sends it again, and it arrives twice.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        *: wait 150s
        S: 354 Go ahead

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C: Subject: x
        C:
        C: .
        *: wait 200s
        S: 250 Ok

    What to do: scan after the message was accepted; raise the time limits of clients.

    Servers: 30 to 60 s of content scanning after the dot are common.

    Reference: RFC 5321 4.5.3.2; RFC 6409 5.3
    """
    for i, exchange in enumerate(dialog.exchanges):
        if exchange.latency is None or not is_said(exchange) or exchange.verb == "QUIT":
            continue
        limit = _SUBMISSION_LIMIT if "submission" in dialog.profiles else _patience(exchange)
        if exchange.latency > limit:
            name = "the end of the message" if exchange.verb == "." else exchange.verb
            took = f"The reply to {name} took {_told(exchange.latency)}"
            yield hit(i, exchange, f"{took}; a client has to wait {_told(limit)} only.")


@rule(
    "TIM007",
    "client-gave-up-early",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.5.3.2, 6.1",
    advice="Raise the client's time limits.",
    sessions=_left_waiting,
)
def client_gave_up_early(dialog: Dialog) -> Iterator[Hit]:
    """The client hung up while a reply was due, sooner than it has to wait.

    Why it matters: the server may have been about to answer. After the end of a message nobody knows whether it was taken,
    and it may be delivered twice.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        *: wait 30s
        *: close client

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        *: wait 400s
        *: close client

    What to do: raise the client's limits to 5 minutes for MAIL and RCPT, 2 for DATA, 10 for the end of the message.

    Servers: web forms and simple mailers give up after 10 to 30 s.

    Reference: RFC 5321 4.5.3.2, 6.1
    """
    end = closed(dialog)
    if end is None or end.text != "client" or end.time is None or dialog.replies_only:
        return
    waiting = [(i, each) for i, each in enumerate(dialog.exchanges) if is_said(each) and each.reply is None]
    for i, exchange in waiting:
        if exchange.time is None or exchange.verb == "QUIT":
            return
        waited = (end.time - exchange.time).total_seconds()
        if 1 <= waited < _patience(exchange):
            name = "the end of the message" if exchange.verb == "." else exchange.verb
            yield hit(
                i,
                exchange,
                f"The client waited {_told(waited)} for the answer to {name}, not {_told(_patience(exchange))}.",
            )
        return
