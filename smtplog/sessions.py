"""Which events make one session, which of them are message text, and where a reply begins and ends.

A session key is not a session: a new one begins at ``opened``, after ``closed``, at a 220 that follows QUIT or that nobody
asked for, and when the key was silent for 200,000 lines or one hour of log time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smtplog import events, reference, speech, syntax
from smtplog.events import AS_SENT, CLIENT, CLOSED, CONTENT, FALLBACK, GAP, NO_TIME, NOTE, OPENED, SERVER, TLS, Events
from smtplog.lines import CRLF, END_OCTETS

SILENT_LINES = 200_000
SILENT_TIME = 3600 * 1_000_000  # microseconds

#: Verbs that a 220 answers in the middle of a session.
_ANSWERED_BY_220 = ("STARTTLS", "X-ANONYMOUSTLS", "XCLIENT", "ATRN")


@dataclass(slots=True)
class Sessions:
    """The events of some whole sessions, one session after the other, in the order of the log inside each."""

    events: Events
    session: np.ndarray  #: int64, which session each event belongs to
    first: np.ndarray  #: position of the first event of each session
    code: np.ndarray  #: int16, reply code of a server line
    goes_on: np.ndarray  #: bool, a hyphen after the code
    verb: np.ndarray  #: int32, position in ``verbs``; -1 on all but commands
    verbs: list[str]
    odd: np.ndarray  #: bool, a command line that the strict grammar does not accept
    usual: np.ndarray  #: bool, an everyday command line (:func:`smtplog.syntax.usual_and_strict`)
    content: np.ndarray  #: bool, message text after DATA or BDAT
    strong: np.ndarray  #: bool, an event that makes a session: not a close, a TLS note or a gap on its own
    late: np.ndarray  #: bool, a 354 whose text was sent before it


def last_before(mask: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """For each position the last one before it where the mask is true, in the same session; -1 where there is none."""
    at = np.where(mask, np.arange(len(mask)), -1)
    last = np.empty_like(at)
    if len(at):
        last[0] = -1
        np.maximum.accumulate(at[:-1], out=last[1:])
    last[last < starts] = -1
    return last


def by_key(found: Events) -> np.ndarray:
    """The order that puts the events of one key together and leaves their order alone."""
    return np.argsort(events.codes(found.key), kind="stable")


def divide(found: Events, *, content_absent: bool) -> Sessions:
    """Divide events, sorted by key, into sessions, and say what each event is."""
    n = len(found)
    client, server = found.kind == CLIENT, found.kind == SERVER
    code, goes_on, verb, verbs, odd, usual = _spoken(found, client, server)
    key = events.codes(found.key)
    new_key = np.ones(n, np.bool_)
    new_key[1:] = key[1:] != key[:-1]
    begins = new_key | _begins(found, new_key, code, goes_on, verb, verbs, client, server)
    session = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    strong = (found.kind != CLOSED) & (found.kind != TLS) & (found.kind != GAP) & (found.kind != NOTE)
    content, late = found.kind == CONTENT, np.zeros(n, np.bool_)
    sessions = Sessions(found, session, first, code, goes_on, verb, verbs, odd, usual, content, strong, late)
    sessions.strong &= ~(client & _unheard(sessions, client, server))
    if content_absent:
        _mark_shown(sessions, client, server)
    else:
        _mark_content(sessions, client, server)
    sessions.verb[sessions.content | ~client] = -1
    sessions.odd &= ~sessions.content & client
    return sessions


def _unheard(sessions: Sessions, client: np.ndarray, server: np.ndarray) -> np.ndarray:
    """The events of sessions in which nobody answers and the first line is a header field: no SMTP, but a message that came
    in by standard input."""
    heard = np.bincount(sessions.session[server], minlength=len(sessions.first)) > 0
    said = np.flatnonzero(client)
    session = sessions.session[said]
    first = said[np.append(True, session[1:] != session[:-1])[: len(said)]]
    first = first[~heard[sessions.session[first]] & ~_known(sessions)[sessions.verb[first]]]
    header = events.found(events.take(sessions.events.text, first), r"^[!-9;-~]+:(?: |$)")
    return np.isin(sessions.session, sessions.session[first[header]])


def _known(sessions: Sessions) -> np.ndarray:
    """Which of the verbs are those of commands; one more, for the lines that have none, is not."""
    return np.array([reference.verb(name) is not None for name in sessions.verbs] + [False])


#: Behind these, and where nothing stands before them, lines that are no commands may be a message that the server refused.
_TAKE_TEXT = ("", "DATA", "BDAT", "BDAT LAST")


def put_aside(sessions: Sessions) -> None:
    """Message text that the program wrote to its own queue between two transactions (sendmail: a bounce), made notes: lines
    with a blank one among them that begin with no command, more than are answered before the client speaks again. What
    follows DATA or a chunk is none: a client may go on where it was refused."""
    found, known = sessions.events, _known(sessions)
    said, server = (found.kind == CLIENT) & ~sessions.content, found.kind == SERVER
    aside = np.zeros(len(said), np.bool_)
    for number in np.unique(sessions.session[said & (events.lengths(found.text) == 0)]).tolist():
        stop = sessions.first[number + 1] if number + 1 < len(sessions.first) else len(said)
        own = np.arange(sessions.first[number], stop)
        own = own[(said | (server & ~sessions.goes_on))[own]]
        before = ""
        for run in np.split(own, np.flatnonzero(said[own][1:] & server[own][:-1]) + 1):  # until the client speaks again
            lines = run[said[run]]
            spare = lines[: len(lines) - int(server[run].sum())]
            text = before not in _TAKE_TEXT and len(spare) > 2 and not known[sessions.verb[spare[0]]]
            if text and (events.lengths(events.take(found.text, spare)) == 0).any():
                aside[spare] = True
            before = sessions.verbs[sessions.verb[lines[-1]]] if len(lines) else before
    if aside.any():
        found.kind = np.where(aside, np.uint8(NOTE), found.kind)
        sessions.verb[aside], sessions.odd[aside] = -1, False


def _spoken(
    found: Events, client: np.ndarray, server: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str], np.ndarray, np.ndarray]:
    """Codes of server lines; verbs of client lines. Each distinct line is looked at once."""
    n = len(found)
    code, goes_on = np.zeros(n, np.int16), np.zeros(n, np.bool_)
    verb, odd, usual = np.full(n, -1, np.int32), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    at = np.flatnonzero(server)
    lines = events.encoded(events.take(found.text, at))
    replies = speech.replies(events.values(lines))
    code[at], goes_on[at] = replies.code[events.codes(lines)], replies.goes_on[events.codes(lines)]
    at = np.flatnonzero(client)
    lines = events.take(found.text, at)
    column = speech.verbs(lines)
    verbs = events.listed(events.values(column))
    verb[at] = events.codes(column)
    usual[at], strict = syntax.usual_and_strict(lines)
    odd[at] = ~strict & ((found.flags[at] & events.INFERRED) == 0)
    return code, goes_on, verb, verbs, odd, usual


def _begins(
    found: Events,
    new_key: np.ndarray,
    code: np.ndarray,
    goes_on: np.ndarray,
    verb: np.ndarray,
    verbs: list[str],
    client: np.ndarray,
    server: np.ndarray,
) -> np.ndarray:
    n = len(found)
    kind, before = found.kind, np.roll(found.kind, 1)
    begins = (kind == OPENED) & (before != OPENED)
    begins |= (before == CLOSED) & (kind != CLOSED)
    begins[1:] |= np.diff(found.line) > SILENT_LINES
    times = np.where(found.time == NO_TIME, 0, found.time)
    timed = (found.time[1:] != NO_TIME) & (found.time[:-1] != NO_TIME)
    begins[1:] |= timed & (np.diff(times) > SILENT_TIME)
    starts = np.maximum.accumulate(np.where(new_key | begins, np.arange(n), 0)) if n else np.zeros(0, np.int64)
    return begins | _banners(starts, code, goes_on, verb, verbs, client, server)


def _banners(
    starts: np.ndarray,
    code: np.ndarray,
    goes_on: np.ndarray,
    verb: np.ndarray,
    verbs: list[str],
    client: np.ndarray,
    server: np.ndarray,
) -> np.ndarray:
    """A 220 that follows QUIT, or one that no command can have asked for, is the greeting of the next session."""
    server_before = last_before(server, starts)
    client_before = last_before(client, starts)
    banner = server & (code == 220)
    banner &= ~((server_before >= 0) & goes_on[server_before] & (code[server_before] == 220))
    known = np.array([reference.verb(name) is not None for name in verbs] + [False])[verb]
    spoke = last_before(client & known, starts)  # chatter of programs after QUIT does not hide it
    said = np.where(spoke >= 0, verb[spoke], -1)
    quits = np.array([name == "QUIT" for name in verbs] + [False])[said]
    asked = np.array([name in _ANSWERED_BY_220 for name in verbs] + [False])[said]
    answered = (server_before > client_before) & ~goes_on[server_before]
    after_greeting = server_before >= 0
    return banner & after_greeting & (quits | (answered & ~asked))


def _lone_dots(found: Events, client: np.ndarray) -> np.ndarray:
    dots = np.zeros(len(found), np.bool_)
    maybe = np.flatnonzero(client & (events.lengths(found.text) <= 3))
    dots[maybe] = np.array([line.rstrip() == "." for line in events.listed(events.take(found.text, maybe))], np.bool_)
    return dots


def _mark_shown(sessions: Sessions, client: np.ndarray, server: np.ndarray) -> None:
    """Message text in a log of a kind that leaves it out: another program writes the same marks. What the client says between
    a 354 and a lone dot is text, if the server says nothing in between."""
    dots = _lone_dots(sessions.events, client)
    if not dots.any():
        return
    starts = sessions.first[sessions.session]
    marks = last_before(server | dots, starts)
    inside = client & (marks >= 0) & (server & (sessions.code == 354))[marks]
    ended = np.zeros(len(dots), np.bool_)
    ended[marks[dots & inside]] = True  # the 354 of each dot
    sessions.content |= inside & ~dots & ended[marks]


def _mark_content(sessions: Sessions, client: np.ndarray, server: np.ndarray) -> None:
    """Message text: what the client says between a 354 and a lone dot, or between BDAT and its last octet."""
    found, starts = sessions.events, sessions.first[sessions.session]
    dots = _lone_dots(found, client)
    go_ahead = goes_ahead(sessions)
    go_ahead |= _one_sided(sessions, server)
    every_dot = dots.copy()
    dots[_unheeded(sessions, dots, client, server)] = False
    marks = last_before(server | dots | go_ahead, starts)
    inside = client & (marks >= 0) & go_ahead[marks]
    ahead = _sent_ahead(sessions, client, server, inside, dots)
    inside = (inside & ~(sessions.late[marks] & (marks >= 0))) | ahead
    sessions.content |= inside & ~dots
    if (found.kind == CONTENT).any():  # a capture's grammar knows which dot ends a message
        marks = last_before(server | dots | (found.kind == CONTENT), starts)
        inside |= client & (marks >= 0) & (found.kind[marks] == CONTENT)
    _name_dots(sessions, every_dot & client, inside)
    _mark_chunks(sessions, client)


def goes_ahead(sessions: Sessions) -> np.ndarray:
    """The last lines of the replies behind which message text is due: 354, or to DATA any other 3yz, by whose first digit a
    client goes (RFC 5321 section 4.3.2)."""
    final = (sessions.events.kind == SERVER) & ~sessions.goes_on
    go_ahead: np.ndarray = final & (sessions.code == 354)
    other = np.flatnonzero(final & (sessions.code // 100 == 3) & (sessions.code != 354) & (sessions.code != 334))
    if len(other):
        client = sessions.events.kind == CLIENT
        asked = last_before(client, sessions.first[sessions.session])[other]
        data = np.array([name == "DATA" for name in sessions.verbs] + [False], np.bool_)
        go_ahead[other] = (asked >= 0) & data[sessions.verb[asked]]
    return go_ahead


def _sent_ahead(
    sessions: Sessions, client: np.ndarray, server: np.ndarray, inside: np.ndarray, dots: np.ndarray
) -> np.ndarray:
    """Message text, its dot included, that a client sent without waiting for the 354: DATA must be the last of a pipeline
    (RFC 2920 section 3.1), but what the server answers to it decides."""
    ahead = np.zeros(len(client), np.bool_)
    data = np.isin(sessions.verb, [number for number, name in enumerate(sessions.verbs) if name == "DATA"])
    said = np.flatnonzero(client | server)
    same = sessions.session[said[1:]] == sessions.session[said[:-1]]
    on = np.append(client[said[1:]] & client[said[:-1]] & same, False)  # the client goes on
    stops = np.flatnonzero(~on)
    asks = np.flatnonzero(on & (data & client & ~inside)[said])
    for stop in np.unique(stops[np.searchsorted(stops, asks)]).tolist():
        begin = int(stops[np.searchsorted(stops, stop) - 1]) + 1 if stop > stops[0] else 0
        replies = _replies_behind(sessions, server, said, stop + 1)
        if not (begin and same[begin - 1]):
            replies = replies[1:]  # the greeting was not awaited, too
        if replies:
            among = asks[slice(*np.searchsorted(asks, (begin, stop)))] - begin
            _ahead_in(sessions, said[begin : stop + 1], among.tolist(), replies, ahead, inside, dots)
    return ahead


def _ahead_in(
    sessions: Sessions,
    run: np.ndarray,
    asks: list[int],
    replies: list[int],
    ahead: np.ndarray,
    inside: np.ndarray,
    dots: np.ndarray,
) -> None:
    """Mark the text in what a client said in one go, DATA at ``asks``, and was then answered by these ``replies``."""
    waits, ends = np.cumsum(~inside[run] | dots[run]), np.flatnonzero(dots[run])
    lines, free = 0, 0  # of text that no reply answers; where the text before ends
    for ask in asks:
        asked = int(waits[ask]) - 1 - lines  # commands before it that wait for their replies
        if ask < free or asked >= len(replies) or sessions.code[replies[asked]] != 354:
            continue
        at = int(np.searchsorted(ends, ask))
        ended = at < len(ends)
        sessions.late[replies[asked]] = ended
        if ended or asked == len(replies) - 1:
            last = int(ends[at]) if ended else len(run) - 1
            ahead[run[ask + 1 : last + 1]] = True
            lines += int(waits[last] - waits[ask]) - ended
            free = last + 1


def _replies_behind(sessions: Sessions, server: np.ndarray, said: np.ndarray, at: int) -> list[int]:
    """The last lines of the replies that stand there, up to the next word of the client."""
    found: list[int] = []
    while at < len(said) and server[said[at]] and sessions.session[said[at]] == sessions.session[said[at - 1]]:
        if not sessions.goes_on[said[at]]:
            found.append(int(said[at]))
        at += 1
    return found


def _unheeded(sessions: Sessions, dots: np.ndarray, client: np.ndarray, server: np.ndarray) -> np.ndarray:
    """Dots known to have been sent otherwise than as CRLF.CRLF, the one end of data (RFC 5321 section 4.1.1.4), and that no
    reply follows at once: the server read on."""
    found = sessions.events
    known = (found.flags & AS_SENT) > 0
    if not known.any():
        return np.zeros(0, np.int64)
    before = last_before(client | server, sessions.first[sessions.session])
    whole = (found.eol == CRLF) & (events.lengths(found.text) == 1)
    known |= (before >= 0) & known[before]
    at = np.flatnonzero(dots & known & ~(whole & ((before < 0) | ~client[before] | (found.eol[before] == CRLF))))
    said = np.flatnonzero(client | server)
    after = np.append(said, -1)[np.searchsorted(said, at, side="right")]
    answered = (after >= 0) & server[after] & (sessions.session[after] == sessions.session[at])
    return at[~answered]


def _one_sided(sessions: Sessions, server: np.ndarray) -> np.ndarray:
    """DATA in a session of which the log holds the client's side only: nothing else says that text follows. Text begins with
    a header; where a command follows at once, the log leaves the text out."""
    heard = np.bincount(sessions.session[server], minlength=len(sessions.first)) > 0
    data = [number for number, name in enumerate(sessions.verbs) if name == "DATA"]
    alone = np.isin(sessions.verb, data) & ~heard[sessions.session]
    said = np.flatnonzero(sessions.events.kind == CLIENT)
    at = np.flatnonzero(alone)
    after = np.append(said, -1)[np.searchsorted(said, at, side="right")]
    for i, follows in zip(at.tolist(), after.tolist(), strict=True):
        if follows >= 0 and sessions.session[follows] == sessions.session[i]:
            alone[i] = not speech.is_command(events.text(sessions.events.text, follows))
    return alone


def _name_dots(sessions: Sessions, dots: np.ndarray, inside: np.ndarray) -> None:
    """A dot that ends a message has the verb ``.``; any other is a line without a verb."""
    for name in (".", ""):
        if name not in sessions.verbs:
            sessions.verbs.append(name)
    sessions.verb[dots & inside] = sessions.verbs.index(".")
    sessions.verb[dots & ~inside] = sessions.verbs.index("")
    sessions.odd[dots] = (~inside)[dots]


def _mark_chunks(sessions: Sessions, client: np.ndarray) -> None:
    """The octets after BDAT n (RFC 3030 section 2), where the log shows them: lines until n octets are complete."""
    chunks = [number for number, name in enumerate(sessions.verbs) if name in ("BDAT", "BDAT LAST")]
    if not chunks:
        return
    end = 0
    for at in np.flatnonzero(np.isin(sessions.verb, chunks) & client & ~sessions.content).tolist():
        if at < end:
            sessions.content[at] = True  # looks like BDAT but stands inside a chunk
            continue
        due = _chunk_size(events.text(sessions.events.text, at))
        end = at + 1
        whole = _exactly(sessions, client, end, due)
        while end < len(client) and sessions.session[end] == sessions.session[at] and client[end] and due > 0:
            line = events.text(sessions.events.text, end)
            if not whole:
                if due < len(line.encode()) and speech.is_command(line):
                    break  # the log leaves the octets out; the client goes on
                if speech.is_command(line) and end == at + 1 and line[:4].upper() in ("BDAT", "QUIT", "MAIL", "RSET"):
                    break
            due -= _octets(sessions.events, end, line)
            sessions.content[end] = True
            end += 1


def _exactly(sessions: Sessions, client: np.ndarray, start: int, due: int) -> bool:
    """Whether the client lines from here on end, line ends counted, where so many octets are complete: then they are the
    chunk, whatever they look like."""
    at = start
    while at < len(client) and sessions.session[at] == sessions.session[start] and client[at] and due > 0:
        due -= _octets(sessions.events, at, events.text(sessions.events.text, at))
        at += 1
    return at > start and due == 0


def _chunk_size(command: str) -> int:
    size = ([*command.split(), "", ""])[1]
    return int(size) if size.isdigit() and len(size) < 19 else 0


def _octets(found: Events, at: int, line: str) -> int:
    """What a line took on the wire, its end included: CRLF, unless the log knows better."""
    size = len(line) if found.flags[at] & FALLBACK else len(line.encode())
    return size + (END_OCTETS[found.eol[at]] if found.flags[at] & AS_SENT else 2)
