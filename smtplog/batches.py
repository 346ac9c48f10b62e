"""From a stream of events to batches of whole dialogs.

A dialog is complete at its close, at the next opening of its key, or when its key has been silent for 200,000 lines —
never because a block ended. What is open is carried into the next batch. Dialogs come in the order in which they are
complete, so where a log is cut into blocks changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from smtplog import dialogs, events, model, negotiated, sessions, transactions, views
from smtplog.dialogs import Exchanges
from smtplog.events import CLIENT, CLOSED, INFERRED, NO_TIME, NOTE, SERVER, Events
from smtplog.formats.declaration import declaration
from smtplog.formats.replies_only import inferred_commands, is_replies_only
from smtplog.sessions import SILENT_LINES, Sessions
from smtplog.transactions import Transactions


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a log: its name and the number that its first line has in the log, from 1."""

    source: str
    first: int


@dataclass(slots=True)
class Batch:
    """Some whole dialogs, in the order in which they were complete."""

    format: str
    parts: tuple[Part, ...]
    sessions: Sessions
    exchanges: Exchanges
    transactions: Transactions
    ids: list[str]
    order: np.ndarray  #: the sessions in the order in which they were complete
    hello: np.ndarray  #: an exchange: the exchange with the hello in force before it; -1
    flags: np.ndarray  #: a session: see :func:`smtplog.negotiated.flags`
    worked_out: dict[Any, Any] = field(default_factory=dict)  #: what marks over this batch share
    _offers: negotiated.Offers | None = None
    _server_lines: tuple[np.ndarray, events.Codes] | None = None
    _server_codes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def dialogs(self, which: Iterable[int] | None = None) -> Iterator[model.Dialog]:
        """Views of all dialogs or of these sessions, secrets and all."""
        yield from views.dialogs(self, self.order.tolist() if which is None else which)

    def views(self, rows: np.ndarray) -> list[model.Exchange]:
        """Views of these exchanges, which may be of any sessions; message text is left out."""
        return views.exchanges(self, rows)

    def _part(self, line: int) -> int:
        return max(i for i, part in enumerate(self.parts) if part.first <= line or i == 0)

    def source_of(self, line: int) -> str:
        """The file that holds this line of the log."""
        return self.parts[self._part(line)].source

    def sources_of(self, first: int, last: int) -> tuple[str, ...]:
        """The files from one line of the log to another."""
        return tuple(part.source for part in self.parts[self._part(first) : self._part(last) + 1])

    def local(self, line: int) -> int:
        """The number of a line in its own file."""
        return int(line) - self.parts[self._part(line)].first + 1

    def client(self, number: int) -> str | None:
        """Address of the client of a session."""
        return self._end(self.sessions.events.client, number)

    def server(self, number: int) -> str | None:
        """Address of the server of a session."""
        return self._end(self.sessions.events.server, number)

    @property
    def offers(self) -> negotiated.Offers:
        """What the server offered last before each exchange."""
        if self._offers is None:
            self._offers = negotiated.offers(self)
        return self._offers

    @property
    def server_lines(self) -> tuple[np.ndarray, events.Codes]:
        """The positions of all server lines, and their texts, each distinct one once."""
        if self._server_lines is None:
            found = self.sessions.events
            at = np.flatnonzero(found.kind == SERVER)
            self._server_lines = at, events.encoded(events.take(found.text, at))
        return self._server_lines

    @property
    def server_codes(self) -> np.ndarray:
        """For each event the position of its text among the distinct server lines; -1 on all others."""
        if self._server_codes is None:
            at, lines = self.server_lines
            self._server_codes = np.full(len(self.sessions.events), -1, np.int64)
            self._server_codes[at] = events.codes(lines)
        return self._server_codes

    def circumstances(self, number: int) -> frozenset[str]:
        """The circumstances of a session: ``lmtp submission loopback …``."""
        return negotiated.circumstances(int(self.flags[number]), self.client(number), self.server(number))

    def _end(self, column: events.Codes, number: int) -> str | None:
        names = events.values(column)
        codes = events.codes(column)
        start = int(self.sessions.first[number])
        stop = int(self.sessions.first[number + 1]) if number + 1 < len(self.sessions.first) else len(codes)
        for at in range(start, min(stop, start + 8)):
            name = events.text(names, codes[at])
            if name and name != "-":
                return name
        return None


class Assembler:
    """Takes the events of one log in the order of its lines, gives batches of whole dialogs."""

    def __init__(self, format: str, *, content_absent: bool) -> None:
        self.format = format
        self.content_absent = content_absent
        self.by_hand = declaration(format).kind == "capture"
        self.parts: list[Part] = []
        self._open: Events | None = None
        self._fresh: list[Events] = []
        self._waiting = 0
        self._ordinals: dict[str, tuple[int, int]] = {}  # key → (sessions so far, line of the last one)

    def add(self, found: Events, last_line: int, *, least: int = 0) -> Batch | None:
        """Take the events up to a line of the log. There is a batch when as much is new as is open, and at least
        ``least`` events; so the work stays linear in the size of the log."""
        kept = np.flatnonzero((found.kind != NOTE) | _of_a_client(found))
        if len(kept) < len(found):
            found = found.take(kept)
        if len(found):
            self._fresh.append(found)
            self._waiting += len(found)
        if self._waiting < max(least, 1, len(self._open) if self._open is not None else 0):
            return None
        return self._assemble(last_line, final=False)

    def finish(self) -> Batch | None:
        """The end of the log: what is open ends here."""
        return self._assemble(0, final=True)

    def _assemble(self, last_line: int, *, final: bool) -> Batch | None:
        pending = ([self._open] if self._open is not None and len(self._open) else []) + self._fresh
        self._open, self._fresh, self._waiting = None, [], 0
        if not pending:
            return None
        found = Events.concat(pending)
        arrived = sessions.by_key(found)
        found = found.take(arrived)
        divided = sessions.divide(found, content_absent=self.content_absent)
        complete = _completed(divided, last_line, final)
        left = np.flatnonzero((complete == 0)[divided.session])
        # in the order in which they came: a line that was put together bears the number of its first part
        self._open = found.take(left[np.argsort(arrived[left])]).compact() if len(left) else None
        real = np.bincount(divided.session, divided.strong, len(divided.first)) > 0
        wanted = (complete > 0) & real
        if not wanted.any():
            return None
        whole = divided if wanted.all() else _only(divided, wanted)
        return self._batch(whole, complete[wanted])

    def _batch(self, whole: Sessions, complete: np.ndarray) -> Batch:
        whole = _without_later_closes(_from_zero(whole))
        if not self.content_absent:
            whole, owner = _with_inferred(whole)
            complete = complete[owner]
            sessions.put_aside(whole)
        pairs = dialogs.pair(whole, content_absent=self.content_absent)
        done = transactions.transactions(whole, pairs)
        transactions.greeting_refused(whole, pairs, done)
        order = np.lexsort((whole.events.line[whole.first], complete))
        ids = self._names(whole, order)
        hello, flags = negotiated.hellos(pairs), negotiated.flags(whole, pairs, by_hand=self.by_hand)
        return Batch(self.format, tuple(self.parts), whole, pairs, done, ids, order, hello, flags)

    def _names(self, whole: Sessions, order: np.ndarray) -> list[str]:
        names = events.listed(events.values(whole.events.key))
        codes = events.codes(whole.events.key)
        lines = whole.events.line
        ids = [""] * len(order)
        for number in order.tolist():
            key = names[codes[whole.first[number]]]
            line = int(lines[whole.first[number]])
            count, last = self._ordinals.get(key, (0, 0))
            if count and line - last > 5 * SILENT_LINES:
                count = 0
            self._ordinals[key] = (count + 1, line)
            ids[number] = f"{key}#{count + 1}"
        if len(self._ordinals) > 1_000_000:
            horizon = int(lines.max()) - 5 * SILENT_LINES
            self._ordinals = {key: value for key, value in self._ordinals.items() if value[1] >= horizon}
        return ids


#: What the clients for typing by hand print themselves: telnet, ``openssl s_client``, ncat.
_CLIENT_SAYS = (
    r"^(?:Trying .*\.\.\.|Connected to .*|Escape character is .*|Connection closed by foreign host\.?|Connection to host lost\.?"
    r"|CONNECTED\([0-9A-F]+\)|Ncat: .*|Connection to .* succeeded!)$"
)


def _of_a_client(found: Events) -> np.ndarray:
    """Which events are notes that hold the words of such a client; all others are left out of a session."""
    mask = np.zeros(len(found), np.bool_)
    notes = np.flatnonzero((found.kind == NOTE) & (events.lengths(found.text) > 0))
    if len(notes):
        mask[notes] = events.found(events.take(found.text, notes), _CLIENT_SAYS)
    return mask


def _completed(divided: Sessions, last_line: int, final: bool) -> np.ndarray:
    """The line at which each session was complete; 0 for one that is open."""
    found = divided.events
    n = len(divided.first)
    key = events.codes(found.key)[divided.first]
    stops = np.append(divided.first[1:], len(found)) - 1
    complete = np.zeros(n, np.int64)
    followed = np.flatnonzero(key[1:] == key[:-1])
    silent = found.line[stops] + SILENT_LINES
    complete[silent < last_line] = silent[silent < last_line]
    complete[followed] = np.minimum(found.line[divided.first[followed + 1]], silent[followed])
    closed = np.full(n, np.iinfo(np.int64).max)
    at = np.flatnonzero(found.kind == CLOSED)
    np.minimum.at(closed, divided.session[at], found.line[at])
    complete = np.where(closed < np.iinfo(np.int64).max, closed, complete)
    if final:
        complete[complete == 0] = np.iinfo(np.int64).max
    return complete


def _only(divided: Sessions, wanted: np.ndarray) -> Sessions:
    """The sessions that are wanted."""
    taken = _kept(divided, wanted[divided.session])
    taken.session = (np.cumsum(wanted) - 1)[taken.session]
    taken.first = np.searchsorted(taken.session, np.arange(int(wanted.sum())))
    return taken


def _from_zero(whole: Sessions) -> Sessions:
    """Where a log tells how long it waited but not when it began (``*: wait`` in the C:/S: notation), what comes before
    the first wait is at zero."""
    time = whole.events.time
    counted = (time != NO_TIME) & (time < 86_400_000_000)
    if counted.any():
        at = (np.bincount(whole.session[counted], minlength=len(whole.first)) > 0)[whole.session] & (time == NO_TIME)
        whole.events.time = np.where(at, 0, time)
    return whole


def _without_later_closes(whole: Sessions) -> Sessions:
    """A log may say twice that a session was closed; it was complete at the first word."""
    closed = whole.events.kind == CLOSED
    again = closed & (sessions.last_before(closed, whole.first[whole.session]) >= 0)
    return _kept(whole, ~again) if again.any() else whole


def _kept(whole: Sessions, mask: np.ndarray) -> Sessions:
    keep = np.flatnonzero(mask)
    session = whole.session[keep]
    first = np.searchsorted(session, np.arange(len(whole.first)))
    columns = ("code", "goes_on", "verb", "odd", "usual", "content", "strong", "late")
    kept = {name: getattr(whole, name)[keep] for name in columns}
    return Sessions(whole.events.take(keep), session, first, verbs=whole.verbs, **kept)


def _with_inferred(whole: Sessions) -> tuple[Sessions, np.ndarray]:
    """Sessions of which a marked log shows the server's side only get their commands concluded from the replies. A good-bye
    so concluded may show that one session is two, so each comes with the number of the session that it was part of."""
    found, n = whole.events, len(whole.first)
    replies = np.bincount(whole.session[found.kind == SERVER], minlength=n)
    spoken = np.bincount(whole.session[found.kind == CLIENT], minlength=n)
    mute = np.flatnonzero((spoken == 0) & (replies > 2))
    index, texts = np.arange(len(found)), dict[int, str]()
    for number in mute.tolist():
        at = np.flatnonzero((whole.session == number) & (found.kind == SERVER))
        lines = events.listed(events.take(found.text, at))
        if not is_replies_only(lines):
            continue
        texts.update((int(at[position]), command) for position, command in inferred_commands(lines))
    if not texts:
        return whole, np.arange(n)
    places = np.array(sorted(texts))
    index = np.insert(index, places, places)
    inserted = places + np.arange(len(places))
    taken = found.take(index)
    words = events.listed(taken.text)
    for place, at in zip(places.tolist(), inserted.tolist(), strict=True):
        words[at] = texts[place]
    taken.text = events.from_list(words)
    taken.kind = taken.kind.copy()
    taken.flags = taken.flags.copy()
    taken.kind[inserted], taken.flags[inserted] = CLIENT, taken.flags[inserted] | INFERRED
    divided = sessions.divide(taken, content_absent=False)
    return divided, whole.session[index[divided.first]]
