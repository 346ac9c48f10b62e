"""Views: a :class:`smtplog.model.Dialog` of the columns, made when somebody asks for one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from smtplog import events, model, negotiated, reference, speech, states
from smtplog.dialogs import END_OF_DATA
from smtplog.events import CLIENT, CONTENT, FALLBACK, KINDS, NO_TIME, OPENED, SERVER
from smtplog.lines import EOLS

if TYPE_CHECKING:
    from smtplog.batches import Batch

_AT_ONCE = 256
_NO_KEYWORDS: Mapping[str, str] = MappingProxyType({})  # HELO offers none
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Queue ids in the reply to the end of data, by server software.
_QUEUE_IDS = (
    re.compile(r"queued as ([0-9A-Za-z]+)"),  # Postfix
    re.compile(r"^OK id=([0-9A-Za-z-]+)"),  # Exim
    re.compile(r"InternalId=([0-9]+)"),  # Exchange
    re.compile(r"^([0-9A-Za-z]{8,}) Message accepted for delivery"),  # sendmail
    re.compile(r"^OK +[0-9]+ ([0-9a-z.-]+) - gsmtp"),  # Gmail
    re.compile(r"^ok [0-9]+ qp ([0-9]+)"),  # qmail
    re.compile(r"[Mm]essage (?:queued|accepted)[^0-9A-Za-z]+([0-9A-Fa-f]{8,})"),
)
_MESSAGE_ID = re.compile(r"(<[^<> @]{1,200}@[^<> ]{1,200}>)")
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^ ]*))?")


def dialogs(batch: Batch, numbers: Iterable[int]) -> Iterator[model.Dialog]:
    """The views of some sessions of a batch, a few hundred prepared at once."""
    for some in _batched(numbers):
        spans = [np.arange(*np.searchsorted(batch.exchanges.session, [n, n + 1]).tolist()) for n in some]
        greetings = batch.exchanges.greeting[np.array(some)]
        said = _Exchanges(batch, np.concatenate(spans), greetings[greetings >= 0])
        every = said.views()
        at = 0
        for number, rows in zip(some, spans, strict=True):
            yield _View(batch, number, rows, every[at : at + len(rows)], said.replies).dialog()
            at += len(rows)


def _batched(numbers: Iterable[int]) -> Iterator[list[int]]:
    waiting = iter(numbers)
    while some := list(islice(waiting, _AT_ONCE)):
        yield some


def moment(time: int) -> datetime | None:
    """A time of the columns as a datetime in UTC."""
    return None if time == NO_TIME else _EPOCH + timedelta(microseconds=int(time))


def exchanges(batch: Batch, rows: np.ndarray) -> list[model.Exchange]:
    """Views of some exchanges of any sessions, without message text and LMTP recipient."""
    return _Exchanges(batch, rows, np.zeros(0, np.int64)).views()


class _Exchanges:
    """Some exchanges of a batch, in the order of their rows, and some replies more."""

    def __init__(self, batch: Batch, rows: np.ndarray, more: np.ndarray) -> None:
        self.batch, self.rows, self.pairs, self.sessions = batch, rows, batch.exchanges, batch.sessions
        wanted = np.unique(np.concatenate([self.pairs.reply[rows], self._hello_replies(rows), more]))
        self.lines_of = self._reply_lines(wanted[wanted >= 0])
        commands = self.pairs.event[rows]
        parts = [np.array(at, np.int64) for at in self.lines_of.values()]
        at = np.unique(np.concatenate([commands[commands >= 0], *parts])).astype(np.int64)
        found = self.sessions.events
        self.texts = dict(zip(at.tolist(), events.listed(events.take(found.text, at)), strict=True))
        self.lines = dict(zip(at.tolist(), found.line[at].tolist(), strict=True))
        self.times = dict(zip(at.tolist(), found.time[at].tolist(), strict=True))
        self.replies = {number: self._reply(at) for number, at in self.lines_of.items()}
        self.circumstances: dict[int, frozenset[str]] = {}

    def _hello_replies(self, rows: np.ndarray) -> np.ndarray:
        hello = self.batch.hello[rows]
        return self.pairs.reply[hello[hello >= 0]]

    def _reply_lines(self, numbers: np.ndarray) -> dict[int, list[int]]:
        """Positions of the lines of each reply: the server lines up to the next reply of its session."""
        pairs, sessions = self.pairs, self.sessions
        stops = np.append(pairs.reply_first[1:], len(sessions.events))
        ends = np.append(sessions.first[1:], len(sessions.events))[pairs.reply_session]
        stops = np.minimum(stops, ends)
        kinds = sessions.events.kind
        found = {}
        for number, start, stop in zip(
            numbers.tolist(), pairs.reply_first[numbers].tolist(), stops[numbers].tolist(), strict=True
        ):
            at = range(start, stop) if stop - start == 1 else np.flatnonzero(kinds[start:stop] == SERVER) + start
            found[number] = [int(each) for each in at]
        return found

    def _reply(self, at: list[int]) -> model.Reply:
        raw = tuple(self.texts[i] for i in at)
        words = tuple(speech.words_of(line) for line in raw)
        status = speech.status_in(words)
        code = speech.code_of(raw[0])
        line, last = self.batch.local(self.lines[at[0]]), self.batch.local(self.lines[at[-1]])
        return model.Reply(
            code, status if code // 100 != 3 else None, words, line, last, moment(self.times[at[0]]), raw
        )

    def views(self) -> list[model.Exchange]:
        pairs, rows, every = self.pairs, self.rows, self.batch.transactions
        events_of = pairs.event[rows]
        flags = zip(
            *(column[rows].tolist() for column in (pairs.inferred, pairs.pipelined, pairs.tls, pairs.authenticated)),
            strict=True,
        )
        member = every.of_exchange[rows]
        first = np.searchsorted(every.session, pairs.session[rows])
        decided = every.decided[np.maximum(member, 0)] == rows if len(every.decided) else np.zeros(len(rows), np.bool_)
        outcome = np.where(
            decided & (member >= 0), every.outcome[np.maximum(member, 0)] if len(every.outcome) else 0, -1
        )
        return [
            self._view(*each)
            for each in zip(
                rows.tolist(),
                events_of.tolist(),
                [pairs.verbs[i] for i in pairs.verb[rows].tolist()],
                flags,
                np.where(member >= 0, member - first, -1).tolist(),
                outcome.tolist(),
                strict=True,
            )
        ]

    def _view(
        self, row: int, event: int, verb: str, flags: tuple[bool, bool, bool, bool], member: int, outcome: int
    ) -> model.Exchange:
        pairs = self.pairs
        inferred, pipelined, tls, authenticated = flags
        command = self.texts[event] if event >= 0 else None
        if event < 0 and inferred:
            command = END_OF_DATA if verb == END_OF_DATA else "********"
        reply = self.replies.get(int(pairs.reply[row]))
        sent = moment(self.times[event]) if event >= 0 and not inferred else None
        answered = reply.time if reply else None
        hello, extensions = self._hello(row)
        return model.Exchange(
            line=None if event < 0 or inferred else self.batch.local(self.lines[event]),
            time=sent,
            command=command,
            verb="BDAT" if verb == "BDAT LAST" else verb,
            argument=speech.split(command)[1] if command and verb not in (".", "AUTH-RESPONSE") else "",
            inferred=inferred,
            state=states.STATES[int(pairs.state[row])],
            tls=tls,
            authenticated=authenticated,
            transaction=None if member < 0 else member,
            recipient=None,
            reply=reply,
            latency=(answered - sent).total_seconds() if sent and answered and answered >= sent else None,
            pipelined=pipelined,
            odd=bool(self.sessions.odd[event]) if event >= 0 else False,
            eol=EOLS[int(self.sessions.events.eol[event])] if event >= 0 else "none",
            content=None,
            extensions=extensions,
            hello=hello,
            profiles=self._circumstances(int(pairs.session[row])),
            decides=None if outcome < 0 else model.OUTCOMES[outcome],
        )

    def _circumstances(self, session: int) -> frozenset[str]:
        if session not in self.circumstances:
            self.circumstances[session] = self.batch.circumstances(session)
        return self.circumstances[session]

    def _hello(self, row: int) -> tuple[str, Mapping[str, str] | None]:
        """The hello in force before an exchange and the keywords that its reply offered."""
        at = int(self.batch.hello[row])
        if at < 0:
            return "", None
        reply = self.replies.get(int(self.pairs.reply[at]))
        verb = self.pairs.verbs[int(self.pairs.verb[at])]
        if reply is None or verb == "HELO":
            return verb, None if reply is None else _NO_KEYWORDS
        return verb, None if negotiated.is_cut(reply.text) else negotiated.keywords(reply.text)


class _View:
    """One session of a batch."""

    def __init__(
        self,
        batch: Batch,
        number: int,
        rows: np.ndarray,
        said: list[model.Exchange],
        replies: dict[int, model.Reply],
    ) -> None:
        self.batch, self.number, self.rows, self.said, self.replies = batch, number, rows, said, replies
        sessions = batch.sessions
        self.events, self.sessions, self.pairs = sessions.events, sessions, batch.exchanges
        self.start = int(sessions.first[number])
        self.stop = int(sessions.first[number + 1]) if number + 1 < len(sessions.first) else len(sessions.events)
        span = slice(self.start, self.stop)
        self.texts = events.listed(self.events.text[self.start : self.stop])
        self.kinds = self.events.kind[span].tolist()
        self.lines = self.events.line[span].tolist()
        self.times = self.events.time[span].tolist()
        self.is_content = self.sessions.content[span].tolist()

    def dialog(self) -> model.Dialog:
        batch, number = self.batch, self.number
        greeting = self.replies.get(int(self.pairs.greeting[number]))
        exchanges = self._with_recipients(self._with_content(list(self.said)))
        transactions = self._transactions(exchanges)
        times = [time for time in self.times if time != NO_TIME]
        software = reference.software(" ".join(greeting.text)) if greeting else None
        heard = any(exchange.command is not None and not exchange.inferred for exchange in exchanges)
        return model.Dialog(
            id=batch.ids[number],
            source=batch.source_of(self.lines[0]),
            format=batch.format,
            line=batch.local(self.lines[0]),
            end_line=batch.local(self.lines[-1]),
            started=moment(min(times)) if times else None,
            ended=moment(max(times)) if times else None,
            client=batch.client(number),
            server=batch.server(number),
            server_software=software,
            greeting=greeting,
            exchanges=tuple(exchanges),
            transactions=tuple(transactions),
            events=tuple(self._events()),
            outcome=model.OUTCOMES[int(batch.transactions.session_outcome[number])],
            end=model.ENDS[int(batch.transactions.end[number])],
            profiles=batch.circumstances(number),
            replies_only=bool(exchanges) and not heard,
            sources=batch.sources_of(self.lines[0], self.lines[-1]),
        )

    def _with_content(self, exchanges: list[model.Exchange]) -> list[model.Exchange]:
        """Hang message text on its end of data, on its BDAT, or on DATA where it never ended."""
        from bisect import bisect_left
        from dataclasses import replace

        places = [float(self.pairs.place[row]) - self.start for row in self.rows]
        runs: dict[int, list[int]] = {}  # number of exchanges before it → the lines of one text
        for i in range(len(self.kinds)):
            if self.is_content[i] or self.kinds[i] == CONTENT:
                runs.setdefault(bisect_left(places, i), []).append(i)
        for after, run in runs.items():
            owner = after if after < len(exchanges) and exchanges[after].verb == END_OF_DATA else after - 1
            if owner >= 0:
                exchanges[owner] = replace(exchanges[owner], content=self._text(run))
        return exchanges

    def _text(self, run: list[int]) -> model.Content:
        """The message text on these events of the session."""
        at = self.start + np.array(run, np.int64)
        ends, one_to_one = self.events.eol[at].tolist(), (self.events.flags[at] & FALLBACK > 0).tolist()
        lines = tuple(self.texts[i] for i in run)
        return model.Content(
            lines,
            tuple(EOLS[end] for end in ends),
            tuple(self.batch.local(self.lines[i]) for i in run),
            tuple(len(line) if each else len(line.encode()) for line, each in zip(lines, one_to_one, strict=True)),
        )

    def _with_recipients(self, exchanges: list[model.Exchange]) -> list[model.Exchange]:
        """LMTP: the k-th reply to the end of data is about the k-th accepted recipient."""
        from dataclasses import replace

        if not any(exchange.verb == "LHLO" for exchange in exchanges):
            return exchanges
        accepted: list[str] = []
        due: list[str] = []
        for i, exchange in enumerate(exchanges):
            if exchange.verb == "RCPT" and exchange.severity == 2:
                accepted.append(path(exchange.argument))
            elif exchange.verb == END_OF_DATA:
                due = due if i and exchanges[i - 1].verb == END_OF_DATA else accepted
                exchanges[i] = replace(exchange, recipient=due[0] if due else None)
                due = due[1:]
                accepted = []
        return exchanges

    def _events(self) -> list[model.Event]:
        import bisect

        places = [float(self.pairs.place[row]) - self.start for row in self.rows]
        found = []
        for at, kind in enumerate(self.kinds):
            again = kind == OPENED and at > 0 and self.kinds[at - 1] == OPENED
            if kind not in (CLIENT, SERVER, CONTENT) and not again:
                before = bisect.bisect_left(places, at)
                line, time = self.batch.local(self.lines[at]), moment(self.times[at])
                text = "" if kind == OPENED else self.texts[at]
                found.append(model.Event(KINDS[kind], text, line, time, before))
            if kind == OPENED and self.texts[at]:  # what the client said as it connected
                place = self.batch.local(self.lines[at]), moment(self.times[at]), bisect.bisect_left(places, at)
                found.append(model.Event("note", self.texts[at], *place))
        return found

    def _transactions(self, exchanges: list[model.Exchange]) -> list[model.Transaction]:
        all_of_them = self.batch.transactions
        low, high = np.searchsorted(all_of_them.session, [self.number, self.number + 1]).tolist()
        return [self._transaction(t, [e for e in exchanges if e.transaction == t - low]) for t in range(low, high)]

    def _transaction(self, number: int, members: list[model.Exchange]) -> model.Transaction:
        every = self.batch.transactions
        decided = int(every.decided[number])
        reply = self.replies.get(int(self.pairs.reply[decided])) if decided >= 0 else None
        mail = next((e for e in members if e.verb == "MAIL"), None)
        content = _content([e.content for e in members if e.content])
        subject, message_id = _header(content, "subject"), _header(content, "message-id")
        outcome = model.OUTCOMES[int(every.outcome[number])]
        words = " ".join(reply.text) if reply else ""
        done = outcome in ("delivered", "partial")
        return model.Transaction(
            mail_from=path(mail.argument) if mail else None,
            parameters=parameters(mail.argument) if mail else {},
            recipients=tuple(_recipient(e) for e in members if e.verb == "RCPT"),
            content=content,
            subject=subject,
            outcome=outcome,
            code=reply.code if reply else None,
            enhanced=reply.enhanced if reply else None,
            queue_id=queue_id(words) if done else None,
            message_id=message_id or (_message_id(words) if done else None),
            line=members[0].line if members else None,
        )


def _recipient(exchange: model.Exchange) -> model.Recipient:
    reply = exchange.reply
    return model.Recipient(
        path(exchange.argument),
        exchange.severity == 2,
        reply.code if reply else None,
        reply.enhanced if reply else None,
        parameters(exchange.argument),
    )


def path(argument: str) -> str:
    """The address of ``FROM:<a@b> …`` or ``TO: a@b …``, without brackets and source route."""
    rest = argument.partition(":")[2].strip()
    address = rest[1:].partition(">")[0] if rest.startswith("<") else rest.partition(" ")[0]
    if address.startswith("@") and ":" in address:
        address = address.partition(":")[2]
    return address


def parameters(argument: str) -> dict[str, str | None]:
    """The ESMTP parameters behind a path, keyword in upper case."""
    rest = argument.partition(":")[2].strip()
    rest = rest.partition(">")[2] if rest.startswith("<") else rest.partition(" ")[2]
    return {match[1].upper(): match[2] for match in _PARAMETER.finditer(rest)}


def queue_id(words: str) -> str | None:
    """The queue id that the text of a reply to the end of data gives."""
    words = words.removeprefix(speech.status_of(words) or "").strip()
    return next((match[1] for pattern in _QUEUE_IDS if (match := pattern.search(words))), None)


def _message_id(words: str) -> str | None:
    match = _MESSAGE_ID.search(words)
    return match[1] if match else None


def _content(parts: list[model.Content]) -> model.Content | None:
    if not parts:
        return None
    if len(parts) == 1:
        return parts[0]
    columns = ("lines", "eol", "numbers", "sizes")
    return model.Content(*(tuple(each for part in parts for each in getattr(part, name)) for name in columns))


def _header(content: model.Content | None, name: str) -> str | None:
    """A header field of the message text, folded lines joined (RFC 5322 section 2.2.3)."""
    value: str | None = None
    for line in content.lines if content else ():
        if value is not None and line[:1] in (" ", "\t"):
            value = f"{value} {line.strip()}"
        elif value is not None or not line.strip():
            break
        elif line.lower().startswith(name + ":"):
            value = line.partition(":")[2].strip()
    return value
