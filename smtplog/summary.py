"""Counts of everything, as a monoid: the summary of two logs is the sum of theirs.

Latency is count, sum of nothing but a logarithmic histogram in 5 % steps: medians do not add up otherwise. Tables of names
keep the top 1,000 and say when they are cut; an example is the first by (source, line).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from smtplog import events, reference, speech
from smtplog.events import NO_TIME
from smtplog.findings import Severity
from smtplog.model import ENDS, OUTCOMES
from smtplog.transactions import DEFERRED, REJECTED
from smtplog.views import moment

if TYPE_CHECKING:
    from smtplog.batches import Batch
    from smtplog.transcript import FileReport

_STEP = np.log(1.05)
_LEAST = 1e-6  # seconds
KEPT = 1000


@dataclass(slots=True)
class Latency:
    """How long replies took: a histogram in 5 % steps and the largest, seconds."""

    buckets: Counter[int] = field(default_factory=Counter)
    largest: float = 0.0

    def add(self, seconds: np.ndarray) -> None:
        if len(seconds):
            steps = np.floor(np.log(np.maximum(seconds, _LEAST) / _LEAST) / _STEP).astype(np.int64)
            for step, count in zip(*np.unique(steps, return_counts=True), strict=True):
                self.buckets[int(step)] += int(count)
            self.largest = max(self.largest, float(seconds.max()))

    def quantile(self, share: float) -> float:
        """The middle of the step in which this share of all replies had come, seconds."""
        due = share * sum(self.buckets.values())
        for step in sorted(self.buckets):
            due -= self.buckets[step]
            if due <= 0:
                middle = _LEAST * float(np.exp((step + 0.5) * _STEP))
                return 0.0 if step == 0 else min(round(middle, 6), self.largest)
        return self.largest

    def to_json(self) -> dict[str, float]:
        return {
            "count": sum(self.buckets.values()),
            "median": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "max": self.largest,
        }


@dataclass(slots=True)
class Example:
    """The first occurrence of a refusal."""

    text: str
    source: str
    line: int


@dataclass(slots=True)
class Summary:
    """What ``analyze`` tells of any number of logs. ``a + b`` is the summary of both."""

    dialogs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    transactions: Counter[str] = field(default_factory=Counter)
    recipients: Counter[str] = field(default_factory=Counter)
    replies: Counter[int] = field(default_factory=Counter)
    refusals: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    examples: dict[tuple[str, int, str], Example] = field(default_factory=dict)
    commands: Counter[str] = field(default_factory=Counter)
    peers: Counter[tuple[str, str]] = field(default_factory=Counter)
    peers_refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    latency: dict[str, Latency] = field(default_factory=dict)
    findings: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    first: int = NO_TIME
    last: int = NO_TIME
    files: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    cut: bool = False  #: a table of names holds the top 1,000 only

    # -- adding

    def add(self, batch: Batch, findings: Mapping[tuple[str, str, Severity], int], *, mask: bool = True) -> None:
        """Count a batch and its findings."""
        done, pairs = batch.transactions, batch.exchanges
        self.dialogs += len(batch)
        _count(self.outcomes, done.session_outcome, OUTCOMES)
        _count(self.ends, done.end, ENDS)
        _count(self.transactions, done.outcome, OUTCOMES)
        for name in ("accepted", "rejected", "deferred"):
            self.recipients[name] += int(getattr(done, name).sum())
        codes = batch.sessions.code[pairs.reply_first]
        for code, count in zip(*np.unique(codes, return_counts=True), strict=True):
            self.replies[int(code)] += int(count)
        names = ["BDAT" if name == "BDAT LAST" else name for name in pairs.verbs]
        spoken = pairs.verb[(pairs.event >= 0) | pairs.inferred]
        for number, count in zip(*np.unique(spoken, return_counts=True), strict=True):
            self.commands[_shown(names[int(number)])] += int(count)
        self._add_refusals(batch, names)
        self._add_peers(batch)
        self._add_times(batch, names)
        for told, count in findings.items():
            self.findings[told] += count

    def _add_refusals(self, batch: Batch, names: list[str]) -> None:
        pairs, sessions = batch.exchanges, batch.sessions
        at = np.flatnonzero(pairs.code >= 400)
        greeting = pairs.greeting[pairs.greeting >= 0]
        greeting = greeting[sessions.code[pairs.reply_first[greeting]] >= 400]
        verbs = np.concatenate([pairs.verb[at], np.full(len(greeting), len(names))])
        replies = np.concatenate([pairs.reply[at], greeting])
        firsts = pairs.reply_first[replies]
        lines = events.encoded(events.take(sessions.events.text, firsts))
        texts = events.listed(events.values(lines))
        groups: dict[tuple[int, int], tuple[int, int]] = {}
        combined = verbs.astype(np.int64) * max(len(texts), 1) + events.codes(lines)
        unique, where, counts = np.unique(combined, return_index=True, return_counts=True)
        for value, index, count in zip(unique.tolist(), where.tolist(), counts.tolist(), strict=True):
            groups[divmod(value, max(len(texts), 1))] = (index, count)
        called = [*names, "CONNECT"]
        for (verb, text), (index, count) in groups.items():
            line = texts[text]
            status = speech.status_of(speech.words_of(line)) or ""
            key = (_shown(called[verb]), speech.code_of(line), status)
            self.refusals[key] += count
            number = int(sessions.events.line[firsts[index]])
            example = Example(line, batch.source_of(number), batch.local(number))
            known = self.examples.get(key)
            if known is None or (example.source, example.line) < (known.source, known.line):
                self.examples[key] = example

    def _add_peers(self, batch: Batch) -> None:
        done, found = batch.transactions, batch.sessions.events
        refused = np.isin(done.session_outcome, (REJECTED, DEFERRED))
        clients, servers = (_address(column, batch.sessions.first) for column in (found.client, found.server))
        peers = [client if client[0] else server for client, server in zip(clients, servers, strict=True)]
        counted = Counter(
            peers
        )  # where a session's client is not named, the log is the client's: the server is the peer
        for peer in counted:
            if peer[0]:
                self.peers[peer] += counted[peer]
        for peer, bad in zip(peers, refused.tolist(), strict=True):
            if bad and peer[0]:
                self.peers_refused[peer] += 1
        self.cut |= _trim(self.peers)

    def _add_times(self, batch: Batch, names: list[str]) -> None:
        found, pairs = batch.sessions.events, batch.exchanges
        known = found.time[found.time != NO_TIME]
        if not len(known):
            return
        first, last = int(known.min()), int(known.max())
        self.first = first if self.first == NO_TIME else min(self.first, first)
        self.last = max(self.last, last)
        at = np.flatnonzero((pairs.event >= 0) & (pairs.reply >= 0) & ~pairs.inferred)
        sent, came = found.time[pairs.event[at]], found.time[pairs.reply_first[pairs.reply[at]]]
        timed = (sent != NO_TIME) & (came != NO_TIME) & (came >= sent)
        seconds, verbs = (came - sent)[timed] / 1e6, pairs.verb[at][timed]
        for number in np.unique(verbs).tolist():
            self.latency.setdefault(_shown(names[number]), Latency()).add(seconds[verbs == number])

    def told(self, files: Iterable[FileReport], skipped: Iterable[tuple[str, str]]) -> None:
        """Take over what became of each file."""
        for report in files:
            row = {name: getattr(report, name) for name in ("source", "format", "confidence", "lines", "dialogs")}
            more = {name: getattr(report, name) for name in ("not_understood", "first_not_understood", "assumed")}
            self.files.append({**row, **more})
        self.skipped += [{"source": source, "reason": reason} for source, reason in skipped]

    def __add__(self, other: Summary) -> Summary:
        total = Summary(self.dialogs + other.dialogs)
        counters = ("outcomes", "ends", "transactions", "recipients", "replies", "refusals", "commands", "peers")
        for name in (*counters, "peers_refused", "findings"):
            getattr(total, name).update(getattr(self, name))
            getattr(total, name).update(getattr(other, name))
        for part in (self, other):
            for key, example in part.examples.items():
                known = total.examples.get(key)
                if known is None or (example.source, example.line) < (known.source, known.line):
                    total.examples[key] = example
            for verb, latency in part.latency.items():
                into = total.latency.setdefault(verb, Latency())
                into.buckets.update(latency.buckets)
                into.largest = max(into.largest, latency.largest)
            total.files += part.files
            total.skipped += part.skipped
        firsts = [part.first for part in (self, other) if part.first != NO_TIME]
        total.first = min(firsts, default=NO_TIME)
        total.last = max(self.last, other.last)
        total.cut = self.cut or other.cut or _trim(total.peers)
        return total

    # -- telling

    def to_json(self) -> dict[str, Any]:
        """The object of ``analyze --output-format json``."""
        return {
            "files": self.files,
            "skipped": self.skipped,
            "span": {"first": _iso(self.first), "last": _iso(self.last)},
            "dialogs": {"count": self.dialogs, "by_outcome": _sorted(self.outcomes), "by_end": _sorted(self.ends)},
            "transactions": {"count": sum(self.transactions.values()), "by_outcome": _sorted(self.transactions)},
            "recipients": {name: self.recipients[name] for name in ("accepted", "rejected", "deferred")},
            "replies": [
                {"code": code, "count": count, "meaning": reference.meaning(code)}
                for code, count in sorted(self.replies.items())
            ],
            "refusals": self._refusals(),
            "commands": _sorted(self.commands),
            "peers": [
                {
                    "address": address,
                    "name": name or None,
                    "dialogs": count,
                    "refused": self.peers_refused[address, name],
                }
                for (address, name), count in _most(self.peers)
            ],
            "latency": {verb: latency.to_json() for verb, latency in sorted(self.latency.items())},
            "findings": [
                {"code": code, "name": name, "severity": severity, "count": count}
                for (code, name, severity), count in sorted(self.findings.items())
            ],
        }

    def _refusals(self) -> list[dict[str, Any]]:
        rows = []
        for key, count in _most(self.refusals)[:KEPT]:
            verb, code, enhanced = key
            example = self.examples[key]
            row = {"verb": verb, "code": code, "enhanced": enhanced or None, "count": count, "example": example.text}
            rows.append({**row, "source": example.source, "line": example.line})
        return rows


def _count(into: Counter[str], numbers: np.ndarray, names: tuple[str, ...]) -> None:
    for number, count in enumerate(np.bincount(numbers, minlength=len(names)).tolist()):
        if count:
            into[names[number]] += count


def _shown(verb: str) -> str:
    """A verb as it may be counted: what is no word of letters is told as one kind, so that tables stay bounded."""
    return (
        verb if len(verb) <= 20 and (verb == "." or verb.replace("-", "").isalnum()) and verb.isascii() else "(other)"
    )


def _address(column: events.Codes, first: np.ndarray) -> list[tuple[str, str]]:
    names = [_parts(name) for name in events.listed(events.values(column))]
    return [names[code] for code in events.codes(column)[first].tolist()]


def _parts(end: str) -> tuple[str, str]:
    """``name[192.0.2.7]:25`` and ``192.0.2.7:50312`` as address and name, the port left out."""
    if "[" in end and not end.startswith("["):
        name, _, rest = end.partition("[")
        return rest.partition("]")[0], "" if name == "unknown" else name
    address, _, port = end.rpartition(":")
    bare = address if address and port.isdigit() and (":" not in address or address.startswith("[")) else end
    return bare.strip("[]"), ""


def _trim(counter: Counter[Any]) -> bool:
    if len(counter) <= 8 * KEPT:
        return False
    for key, _ in _most(counter)[4 * KEPT :]:
        del counter[key]
    return True


def _most(counter: Counter[Any]) -> list[tuple[Any, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


def _sorted(counter: Counter[str]) -> dict[str, int]:
    return dict(_most(counter))


def _iso(time: int) -> str | None:
    at = moment(time)
    return at.isoformat() if at else None
