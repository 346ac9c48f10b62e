"""From hits to findings: what is true of all rules, in one pass.

Acceptance downgrade, precedence, cascade suppression and reply-shift guard happen here and nowhere else. The same bodies
judge one dialog (:func:`check`) and a batch (:func:`tally`): of a batch only those dialogs become views that a rule has
marked over the columns, and of the others only those exchanges, equal ones once.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from smtplog.batches import Batch
from smtplog.consequences import readable, without_consequences
from smtplog.findings import SEVERITIES, Finding, Hit, Marks, Rule, Severity, chosen
from smtplog.model import Dialog, Exchange
from smtplog.redact import mask, masking, redact
from smtplog.script import Excerpts
from smtplog.suspects import Cell, disorder, distinct, shapes

#: On one line only the first of a pair fires (rules.md, Precedence).
_TELNET = ("TEL001", "TEL002", "TEL003", "TEL006", "TEL007", "TEL008", "SYN020")
_SLIPS = ("SYN001", "SYN002", "SYN003", "SYN004", "SYN005", "SYN007")
PRECEDENCE: dict[str, frozenset[str]] = {}  #: rule → those it gives way to


def _precedes(winners: str, losers: str) -> None:
    for loser in losers.split():
        PRECEDENCE[loser] = PRECEDENCE.get(loser, frozenset()) | frozenset(winners.split())


for _i, _winner in enumerate(_TELNET):
    _precedes(_winner, " ".join(_TELNET[_i + 1 :]))
_precedes(" ".join(_TELNET[:-1]), " ".join(_SLIPS))
_precedes("TEL001 TEL002 TEL003", "EXT001 EXT003 SYN015")
_precedes("SEQ005 SEQ023", "SEQ002")
_precedes("SEQ005 SEQ018 SEQ020", "SEQ003")
_precedes("SEQ011", "SEQ001")
_precedes("SEQ012", "EXT002")
_precedes("SEQ016", "TEL006 TEL007 TEL008 TEL004")
_precedes("SEQ015", "TEL011 SYN024 DEL007")
_precedes("TEL011", "SYN024 DEL007")
_precedes(" ".join(_TELNET), "SYN017 SYN018 SYN024")
_precedes("SYN003", "SYN001 SYN022")
_precedes("SYN003 SYN008 SYN015 SYN016 SYN022", "EXT001 EXT003 EXT006 EXT008 EXT013")
_precedes("SYN018", "SYN019")
_precedes("SYN021", "EXT002 SEQ004")
_precedes("SYN008", "SYN001")
_precedes("SYN001", "SYN022")
_precedes("SYN016", "SYN015")
_precedes("DSN001 DSN002 DSN003 DSN004 DSN005 DSN006", "SYN015")
_precedes("EXT003", "EXT001 EXT002")
_precedes("SEC006", "EXT005 EXT004")
_precedes("EXT005", "EXT004")
_precedes("SEC012", "TEL001 TEL002 TEL003 TEL004 TEL006 TEL007 TEL008 SYN017 SYN018 SYN020")
_precedes("DEL006", "DEL005")
_precedes("DEL005 DEL006", "DEL001 DEL004")
_precedes("DEL010 TIM007", "SEQ009")
_precedes("TEL005", "DAT008")
_precedes("DAT005", "DAT004")
_precedes("TEL004", "DAT003")
_precedes("DSN001 DSN002 DSN003 DSN004", "EXT009")
_precedes("DAT009", "SEQ009")
_precedes("TIM002", "DEL009 SEQ001 EXT004")
_precedes("SEQ003 SEQ017", "EXT012")
_precedes("SEQ022", "SEQ024")
_precedes("SEC001", "SEC007")
_precedes("EXT001", "DSN005")
#: What was meant by a line with such bytes in it, nobody knows.
_precedes("TEL001 TEL002 TEL003", "EXT001 EXT003 EXT006 DSN001 DSN002 DSN003 DSN004 DSN005")

#: rule → those that tell its whole story already, wherever in the dialog they stand.
_EXPLAINED = {
    "SEQ008": {"SEQ009", "DEL010", "TIM003", "DAT009"},
    "DEL009": {"TIM002"},
    "DAT002": {"DAT005"},
    "DAT003": {"DAT005"},
    "SEC005": {"SEC007"},
    "SEQ010": {"DAT005", "DAT009"},
    "SEQ007": {"TEL009", "SEQ009", "DEL010", "TIM007", "DAT009"},
    "TIM003": {"TEL009", "DAT009"},
}
#: After these the replies may be off by one.
_SHIFTING = ("REP004", "REP005", "SEQ010", "TEL004")
#: Families whose exchange rules judge the command line: nothing to say of one that the strict grammar accepts.
_OF_THE_LINE = ("SYN", "TEL")
_DOWNGRADED = ("SEQ", "SYN", "EXT", "DSN")


@dataclass(frozen=True, slots=True)
class Judged:
    """A hit that stands."""

    rule: Rule
    hit: Hit
    line: int
    severity: Severity
    confidence: Literal["high", "low"]


def check(dialog: Dialog, rules: Iterable[Rule] | None = None, *, show_secrets: bool = False) -> list[Finding]:
    """The findings of one dialog, by line and precedence. Rules see the dialog as it was; what they tell is masked."""
    judged = judge(dialog, tuple(rules) if rules is not None else chosen())
    if not judged:
        return []
    shown = dialog if show_secrets else redact(dialog)
    hidden = None if show_secrets else masking(dialog)
    excerpts = Excerpts(shown)
    return [_finding(each, dialog, excerpts, hidden) for each in judged]


def judge(dialog: Dialog, rules: tuple[Rule, ...]) -> list[Judged]:
    """The hits of one dialog that stand, by line."""
    hits = readable(_hits(dialog, rules), dialog)
    if not hits:
        return []
    hits.sort(key=lambda pair: (_line(pair[1], dialog), pair[0].code))
    hits = _unexplained(without_consequences(_without_losers(_first_only(hits), dialog), dialog))
    shifted = min((_line(hit, dialog) for each, hit in hits if _shifts(each, hit, dialog)), default=None)
    return [_judged(each, hit, dialog, shifted) for each, hit in hits]


def tally(batch: Batch, rules: tuple[Rule, ...]) -> Counter[tuple[str, str, Severity]]:
    """How many findings a batch has: (code, name, severity) → count."""
    found: Counter[tuple[str, str, Severity]] = Counter()
    marked = marks(batch, rules)
    shaped = _by_shape(batch, marked)
    marked.any[[number for numbers, _ in shaped for number in numbers]] = False
    for dialog, wanted in _suspects(batch, marked):
        found.update((each.rule.code, each.rule.name, each.severity) for each in judge(dialog, wanted))
    for numbers, said in shaped:
        for what in said:
            found[what] += len(numbers)
    places: dict[tuple[str, bool | str], list[tuple[int, Rule, Severity]]] = {}
    for members, hits in _by_kind(batch, rules, ~marked.any):
        for each, severity, once in hits:
            if once:
                places.setdefault((each.code, once), []).extend((row, each, severity) for row in members.tolist())
            else:
                found[each.code, each.name, severity] += len(members)
    for group in places.values():
        told: set[int] = set()
        for row, each, severity in sorted(group, key=lambda place: place[0]):
            session = int(batch.exchanges.session[row])
            if session not in told:
                told.add(session)
                found[each.code, each.name, severity] += 1
    return found


#: shape of a dialog and the rules that look at it → what they say.
_shapes: dict[tuple[int, tuple[Rule, ...]], tuple[tuple[str, str, Severity], ...]] = {}


def _by_shape(batch: Batch, marked: Marked) -> list[tuple[list[int], tuple[tuple[str, str, Severity], ...]]]:
    """The dialogs that only rules of tokens must look at, shape by shape, with what these say of each."""
    if len(_shapes) > _MEMO_SIZE:
        _shapes.clear()
    by_shape: dict[tuple[int, tuple[Rule, ...]], list[int]] = {}
    numbers = np.flatnonzero(marked.any)
    by_row = {number: tuple(each for each in marked.rules(number) if each.rows is None) for number in numbers.tolist()}
    numbers = numbers[[all(each.tokens for each in by_row[number]) for number in numbers.tolist()]]
    for number, shape in zip(numbers.tolist(), shapes(batch, numbers).tolist(), strict=True):
        by_shape.setdefault((shape, by_row[number]), []).append(number)
    new = {members[0]: key for key, members in by_shape.items() if key not in _shapes}
    for dialog, key in zip(batch.dialogs(new), new.values(), strict=True):
        _shapes[key] = tuple((each.rule.code, each.rule.name, each.severity) for each in judge(dialog, key[1]))
    return [(members, _shapes[key]) for key, members in by_shape.items()]


def findings(batch: Batch, rules: tuple[Rule, ...], *, show_secrets: bool) -> Iterator[Finding]:
    """The findings in a batch, dialog by dialog in the order in which they were complete."""
    marked = marks(batch, rules)
    for members, hits in _by_kind(batch, rules, ~marked.any):
        if hits:
            marked.any[batch.exchanges.session[members]] = True
    for dialog, wanted in _suspects(batch, marked):
        yield from check(dialog, wanted, show_secrets=show_secrets)


@dataclass(slots=True)
class Marked:
    """Which sessions of a batch must be looked at as dialogs, and by which rules."""

    any: np.ndarray  #: bool, a session: by some rule
    groups: list[tuple[np.ndarray | None, tuple[Rule, ...]]]  #: a mask, or None for all sessions, and its rules

    def rules(self, session: int) -> tuple[Rule, ...]:
        """The rules that have something to say of a session."""
        return _joined(tuple(rules for mask, rules in self.groups if mask is None or mask[session]))


@lru_cache(1024)
def _joined(groups: tuple[tuple[Rule, ...], ...]) -> tuple[Rule, ...]:
    return tuple(sorted((each for group in groups for each in group), key=lambda each: each.code))


def _suspects(batch: Batch, marked: Marked) -> Iterator[tuple[Dialog, tuple[Rule, ...]]]:
    """The marked dialogs in the order in which they were complete, each with the rules that must look at it."""
    numbers = batch.order[marked.any[batch.order]].tolist()
    for number, dialog in zip(numbers, batch.dialogs(numbers), strict=True):
        yield dialog, marked.rules(number)


def marks(batch: Batch, rules: tuple[Rule, ...]) -> Marked:
    """The sessions of a batch that must be looked at as dialogs. Rules that look at single exchanges mark none, but say
    what they have to say of those that others mark."""
    by_mark: dict[Marks | None, list[Rule]] = {}
    for each in rules:
        by_mark.setdefault(each.sessions if each.rows is None else None, []).append(each)
    n = len(batch.sessions.first)
    found = Marked(np.zeros(n, np.bool_), [])
    for mark, group in by_mark.items():
        mask = mark(batch) if mark is not None else None
        found.groups.append((mask, tuple(group)))
        found.any |= any(each.rows is None for each in group) if mask is None else mask
    return found


#: kind of exchange → rules that have something to say of it, with severity and whether once a dialog; for one set of rules.
_kinds: dict[int, tuple[tuple[Rule, Severity, bool | str], ...]] = {}
_kinds_of: tuple[Rule, ...] = ()


def _by_kind(
    batch: Batch, rules: tuple[Rule, ...], among: np.ndarray
) -> Iterator[tuple[np.ndarray, tuple[tuple[Rule, Severity, bool | str], ...]]]:
    """The exchanges that rules have something to say of, kind by kind, in sessions where nothing else is marked."""
    global _kinds_of
    by_row = tuple(each for each in rules if each.rows is not None)
    if by_row != _kinds_of or len(_kinds) > _MEMO_SIZE:
        _kinds.clear()
        _kinds_of = by_row
    numbers, members = distinct(batch, rows(batch, by_row, among))
    new = [i for i, number in enumerate(numbers.tolist()) if number not in _kinds]
    examples = np.array([members[i][0] for i in new], np.int64)
    for i, exchange in zip(new, batch.views(examples) if new else [], strict=True):
        hits = _standing(exchange, by_row)
        _kinds[int(numbers[i])] = tuple((each, _severity(each, hit, exchange), hit.once) for each, hit in hits)
    for number, each in zip(numbers.tolist(), members, strict=True):
        yield each, _kinds[number]


def rows(batch: Batch, rules: tuple[Rule, ...], among: np.ndarray) -> np.ndarray:
    """The exchanges that must be looked at in sessions where nothing else is."""
    wanted = np.zeros(len(batch.exchanges.session), np.bool_)
    for mark in dict.fromkeys(each.rows for each in rules if each.rows is not None):
        wanted |= mark(batch)
    return np.flatnonzero(wanted & among[batch.exchanges.session])


# -- hits


def _hits(dialog: Dialog, rules: tuple[Rule, ...]) -> list[tuple[Rule, Hit]]:
    hits: list[tuple[Rule, Hit]] = []
    of_exchange = tuple(each for each in rules if each.scope == "exchange")
    for i, exchange in enumerate(dialog.exchanges):
        hits += [(each, replace(hit, exchange=i)) for each, hit in _remembered(exchange, of_exchange)]
    for each in rules:
        if each.scope == "dialog":
            hits += [(each, hit) for hit in each.body(dialog)]
        elif each.scope == "message":
            hits += [
                (each, replace(hit, exchange=i))
                for i, exchange in enumerate(dialog.exchanges)
                if exchange.content is not None
                for hit in each.body(exchange)
            ]
    return hits


_memo: OrderedDict[tuple[Any, ...], tuple[Any, tuple[tuple[Rule, Hit], ...]]] = OrderedDict()
_MEMO_SIZE = 16_384


@lru_cache(4096)
def _applicable(rules: tuple[Rule, ...], verb: str, code: int, odd: bool) -> tuple[Rule, ...]:
    """The exchange rules that can have something to say of a verb with this reply code. Those that judge a command line as
    such have nothing to say of one that the strict grammar accepts."""
    return tuple(
        each
        for each in rules
        if (not isinstance(each.rows, Cell) or each.rows.holds(verb, code))
        and (odd or each.family not in _OF_THE_LINE or each.extra or each.sessions is not disorder)
    )


def _remembered(exchange: Exchange, rules: tuple[Rule, ...]) -> tuple[tuple[Rule, Hit], ...]:
    """The hits of the exchange rules. These see one exchange alone: equal ones are judged once. The memo is bounded."""
    reply = exchange.reply
    if exchange.line is None and reply is None:
        return ()
    rules = _applicable(rules, exchange.verb, reply.code if reply else 0, exchange.odd)
    if not rules:
        return ()
    key = (
        id(rules),
        exchange.command,
        exchange.verb,
        exchange.state,
        exchange.inferred,
        exchange.eol,
        exchange.tls,
        exchange.authenticated,
        exchange.odd,
        exchange.hello,
        exchange.decides,
        exchange.profiles,
        id(exchange.extensions),
        (reply.raw, reply.end_line - reply.line) if reply else None,  # its lines may stand apart in the log
    )
    remembered = _memo.get(key)
    if remembered is None:
        hits = tuple((each, _relative(hit, exchange)) for each in rules for hit in each.body(exchange))
        remembered = _memo[key] = ((rules, exchange.extensions), hits)  # kept, so that their ids stay their own
        if len(_memo) > _MEMO_SIZE:
            _memo.popitem(last=False)
    return tuple((each, _absolute(hit, exchange)) for each, hit in remembered[1])


def _relative(hit: Hit, exchange: Exchange) -> Hit:
    """The same hit with its lines counted from the first line of its reply."""
    return hit if hit.line is None else replace(hit, line=hit.line - _base(exchange), end_line=None)


def _absolute(hit: Hit, exchange: Exchange) -> Hit:
    return hit if hit.line is None else replace(hit, line=hit.line + _base(exchange))


def _base(exchange: Exchange) -> int:
    return exchange.reply.line if exchange.reply else (exchange.line or 0)


def _standing(exchange: Exchange, rules: tuple[Rule, ...]) -> list[tuple[Rule, Hit]]:
    """The hits of an exchange in a dialog without any other."""
    hits = _remembered(exchange, rules)
    fired: dict[int | None, set[str]] = {}
    for each, hit in hits:
        fired.setdefault(hit.line, set()).add(each.code)
    return [(each, hit) for each, hit in hits if not PRECEDENCE.get(each.code, frozenset()) & fired[hit.line]]


def _line(hit: Hit, dialog: Dialog) -> int:
    if hit.line is not None:
        return hit.line
    if hit.exchange is not None:
        exchange = dialog.exchanges[hit.exchange]
        return exchange.line or (exchange.reply.line if exchange.reply else dialog.line)
    return dialog.line


# -- which of them stand


def _shifts(each: Rule, hit: Hit, dialog: Dialog) -> bool:
    refused = each.code != "TEL004" or (hit.exchange is not None and dialog.exchanges[hit.exchange].severity == 5)
    return each.code in _SHIFTING and refused


def _first_only(hits: list[tuple[Rule, Hit]]) -> list[tuple[Rule, Hit]]:
    told: set[tuple[str, bool | str]] = set()
    kept = []
    for each, hit in hits:
        if not (hit.once and (each.code, hit.once) in told):
            kept.append((each, hit))
        told.add((each.code, hit.once))
    return kept


def _unexplained(hits: list[tuple[Rule, Hit]]) -> list[tuple[Rule, Hit]]:
    fired = {each.code for each, _ in hits}
    return [(each, hit) for each, hit in hits if not _EXPLAINED.get(each.code, set()) & fired]


def _without_losers(hits: list[tuple[Rule, Hit]], dialog: Dialog) -> list[tuple[Rule, Hit]]:
    fired: dict[int, set[str]] = {}
    for each, hit in hits:
        fired.setdefault(_line(hit, dialog), set()).add(each.code)
    return [(each, hit) for each, hit in hits if not PRECEDENCE.get(each.code, frozenset()) & fired[_line(hit, dialog)]]


def _severity(each: Rule, hit: Hit, exchange: Exchange | None) -> Severity:
    """The acceptance downgrade: one step less where the server took the very command that the client is blamed for."""
    severity = hit.severity or each.severity
    party = hit.party or each.party
    if hit.final or exchange is None or party != "client" or each.family not in _DOWNGRADED:
        return severity
    return SEVERITIES[max(SEVERITIES.index(severity) - 1, 0)] if exchange.severity in (2, 3) else severity


def _judged(each: Rule, hit: Hit, dialog: Dialog, shifted: int | None) -> Judged:
    line = _line(hit, dialog)
    severity = _severity(each, hit, None if hit.exchange is None else dialog.exchanges[hit.exchange])
    return Judged(each, hit, line, severity, "low" if shifted is not None and line > shifted else "high")


def _finding(judged: Judged, dialog: Dialog, excerpts: Excerpts, hidden: re.Pattern[str] | None) -> Finding:
    each, hit, line = judged.rule, judged.hit, judged.line
    end_line = max(hit.end_line or line, line)
    return Finding(
        source=dialog.source,
        line=line,
        end_line=end_line,
        dialog=dialog.id,
        code=each.code,
        name=each.name,
        severity=judged.severity,
        party=hit.party or each.party,
        confidence=judged.confidence,
        message=mask(hit.message, hidden),
        excerpt=excerpts.at(line, hit.column),
        advice=(hit.advice() if callable(hit.advice) else hit.advice) or each.advice,
        reference=each.reference,
        column=hit.column,
        corrected=mask(hit.corrected, hidden) if hit.corrected else None,
    )
