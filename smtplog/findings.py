"""Findings, and the one book that every rule registers in.

A finding is a value. A rule is a function that takes a view (:mod:`smtplog.model`) and yields what it saw; its docstring
is its manual and holds its examples. What is true of all rules — acceptance downgrade, precedence, cascade suppression,
reply-shift guard — happens here, once, and nowhere else.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from smtplog.errors import UsageError
from smtplog.model import Dialog, Exchange, Reply
from smtplog.redact import mask, masking, redact
from smtplog.reference import verb
from smtplog.script import excerpt

Severity = Literal["error", "warning", "info"]
Party = Literal["client", "server", "operator", "unknown"]
Scope = Literal["exchange", "dialog", "message"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Hit:
    """What a rule saw, before the common pass makes a finding of it."""

    message: str  #: one sentence, concrete: names the command, the value, what was expected
    line: int | None = None  #: None: the line of the exchange (scope exchange) or of the dialog
    end_line: int | None = None
    exchange: int | None = None  #: index into ``dialog.exchanges`` (scope exchange: filled in)
    severity: Severity | None = None  #: None: the rule's own
    party: Party | None = None
    column: int | None = None  #: of the fault in the command line, from 1
    corrected: str | None = None  #: the command line as it should have been
    advice: str | None = None  #: None: the rule's own
    final: bool = False  #: the severity already weighs the server's answer: no acceptance downgrade


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the book."""

    code: str
    name: str
    severity: Severity
    party: Party
    scope: Scope
    reference: str
    advice: str
    extra: bool  #: off unless asked for
    body: Callable[..., Iterable[Hit]]

    @property
    def family(self) -> str:
        return self.code[:3]

    @property
    def manual(self) -> str:
        """The whole docstring."""
        from inspect import cleandoc

        return cleandoc(self.body.__doc__ or "")


#: code → rule, in the order of registration; filled by importing :mod:`smtplog.rules`.
BOOK: dict[str, Rule] = {}


def rule(
    code: str,
    name: str,
    *,
    severity: Severity,
    party: Party,
    scope: Scope,
    reference: str,
    advice: str,
    extra: bool = False,
) -> Callable[[Callable[..., Iterable[Hit]]], Callable[..., Iterable[Hit]]]:
    """Register a rule. The body is a generator of :class:`Hit`:

    * scope ``exchange``: ``body(exchange: Exchange)``; a function of that exchange alone, so that equal lines are judged once;
    * scope ``dialog``: ``body(dialog: Dialog)``;
    * scope ``message``: ``body(exchange: Exchange)`` for each exchange that has ``content``.
    """

    def register(body: Callable[..., Iterable[Hit]]) -> Callable[..., Iterable[Hit]]:
        if code in BOOK:
            raise ValueError(f"rule {code} stands twice in the book: {BOOK[code].name} and {name}")
        BOOK[code] = Rule(code, name, severity, party, scope, reference, advice, extra, body)
        return body

    return register


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault, hint or outcome, with the place where it stands (design section 5)."""

    source: str
    line: int
    end_line: int
    dialog: str
    code: str
    name: str
    severity: Severity
    party: Party
    confidence: Literal["high", "low"]
    message: str
    excerpt: str
    advice: str
    reference: str
    column: int | None = None
    corrected: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields of ``validate --output-format json``, in their order."""
        names = "source line end_line dialog code name severity party confidence message excerpt advice reference"
        return {name: getattr(self, name) for name in names.split()}


# -- which rules


def book() -> dict[str, Rule]:
    """All rules, those of entry points included."""
    import smtplog.rules

    return smtplog.rules.loaded() if hasattr(smtplog.rules, "loaded") else BOOK


def chosen(
    select: Iterable[str] = (), ignore: Iterable[str] = (), extend: Iterable[str] = (), *, extra: bool = False
) -> tuple[Rule, ...]:
    """The rules that are on: all that are not extra, or those selected by code, family or name."""
    rules = book()
    on = (
        _named(select)
        if (select := tuple(select))
        else {code for code, each in rules.items() if extra or not each.extra}
    )
    on |= _named(extend)
    on -= _named(ignore)
    return tuple(each for code, each in rules.items() if code in on)


def _named(words: Iterable[str]) -> set[str]:
    rules = book()
    found: set[str] = set()
    for word in words:
        hits = {
            code
            for code, each in rules.items()
            if word.upper() in (code, each.family, "ALL") or word.lower() == each.name or word.upper() == "ALL"
        }
        if not hits:
            families = ", ".join(sorted({each.family for each in rules.values()}))
            raise UsageError(
                f"{word!r} is no rule: give a code (SEQ003), a name or a family ({families}); see smtplog rules"
            )
        found |= hits
    return found


# -- the common pass

#: On one line only the first of a pair fires (rules.md, Precedence).
_TELNET = ("TEL001", "TEL002", "TEL003", "TEL006", "TEL007", "TEL008", "SYN020")
PRECEDENCE: tuple[tuple[str, str], ...] = (
    *((winner, loser) for i, winner in enumerate(_TELNET) for loser in _TELNET[i + 1 :]),
    *(
        (winner, loser)
        for winner in _TELNET[:-1]
        for loser in ("SYN001", "SYN002", "SYN003", "SYN004", "SYN005", "SYN007")
    ),
    ("SEQ005", "SEQ002"),
    ("SEQ023", "SEQ002"),
    ("SEQ005", "SEQ003"),
    ("SEQ011", "SEQ001"),
    ("SEQ018", "SEQ003"),
    ("SEQ020", "SEQ003"),
    ("SEQ012", "EXT002"),
    ("SEQ016", "TEL006"),
    ("SEQ016", "TEL007"),
    ("SEQ016", "TEL008"),
    ("SEQ016", "TEL004"),
    ("SYN003", "SYN001"),
    ("SYN003", "SYN022"),
    ("SYN001", "SYN022"),
    ("SYN008", "SYN001"),
    ("SYN016", "SYN015"),
    *((f"DSN00{i}", "SYN015") for i in range(1, 7)),
    ("EXT003", "EXT001"),
    ("EXT003", "EXT002"),
    ("SEC006", "EXT005"),
    ("SEC006", "EXT004"),
    ("EXT005", "EXT004"),
    ("DEL005", "DEL001"),
    ("DEL005", "DEL004"),
    ("DEL006", "DEL001"),
    ("DEL006", "DEL004"),
)
#: After these the replies may be off by one.
_SHIFTING = ("REP004", "REP005", "SEQ010", "TEL004")
#: What an earlier fault makes unavoidable.
_CONSEQUENCES = ("SEQ002", "SEQ003")
#: Families whose exchange rules judge the command line: nothing to say of one that the strict grammar accepts.
_OF_THE_LINE = ("SYN", "TEL")
_DOWNGRADED = ("SEQ", "SYN", "EXT", "DSN")


def check(dialog: Dialog, rules: Iterable[Rule] | None = None, *, show_secrets: bool = False) -> list[Finding]:
    """The findings of one dialog, by line and precedence. Rules see the dialog as it was; what they tell is masked."""
    hits = [(each, hit) for each in (chosen() if rules is None else rules) for hit in _hits(each, dialog)]
    hits.sort(key=lambda pair: (_line(pair[1], dialog), pair[0].code))
    hits = _without_consequences(_without_losers(hits, dialog), dialog)
    shifted = min((_line(hit, dialog) for each, hit in hits if _shifts(each, hit, dialog)), default=None)
    if not hits:
        return []
    shown = dialog if show_secrets else redact(dialog)
    hidden = None if show_secrets else masking(dialog)
    return [_finding(each, hit, dialog, shown, hidden, shifted) for each, hit in hits]


def _shifts(each: Rule, hit: Hit, dialog: Dialog) -> bool:
    refused = each.code != "TEL004" or (hit.exchange is not None and dialog.exchanges[hit.exchange].severity == 5)
    return each.code in _SHIFTING and refused


def _hits(each: Rule, dialog: Dialog) -> Iterable[Hit]:
    if each.scope == "dialog":
        yield from each.body(dialog)
        return
    for i, exchange in enumerate(dialog.exchanges):
        if each.scope == "message":
            if exchange.content is not None:
                yield from (replace(hit, exchange=i) for hit in each.body(exchange))
        elif exchange.odd or each.extra or each.family not in _OF_THE_LINE:
            yield from (replace(hit, exchange=i) for hit in _remembered(each, exchange))


_memo: OrderedDict[tuple[Any, ...], tuple[Hit, ...]] = OrderedDict()
_MEMO_SIZE = 65_536


def _remembered(each: Rule, exchange: Exchange) -> tuple[Hit, ...]:
    """An exchange rule sees one exchange alone: equal lines are judged once. The memo is bounded."""
    if exchange.line is None and exchange.reply is None:
        return ()
    key = (
        each.code,
        exchange.command,
        exchange.verb,
        exchange.state,
        exchange.inferred,
        exchange.eol,
        exchange.reply.raw if exchange.reply else None,
    )
    hits = _memo.get(key)
    if hits is None:
        hits = tuple(_relative(hit, exchange) for hit in each.body(exchange))
        _memo[key] = hits
        if len(_memo) > _MEMO_SIZE:
            _memo.popitem(last=False)
    return tuple(_absolute(hit, exchange) for hit in hits)


def _relative(hit: Hit, exchange: Exchange) -> Hit:
    """The same hit with its lines counted from the first line of its reply."""
    return hit if hit.line is None else replace(hit, line=hit.line - _base(exchange), end_line=None)


def _absolute(hit: Hit, exchange: Exchange) -> Hit:
    return hit if hit.line is None else replace(hit, line=hit.line + _base(exchange))


def _base(exchange: Exchange) -> int:
    reply: Reply | None = exchange.reply
    return reply.line if reply else (exchange.line or 0)


def _line(hit: Hit, dialog: Dialog) -> int:
    if hit.line is not None:
        return hit.line
    if hit.exchange is not None:
        exchange = dialog.exchanges[hit.exchange]
        return exchange.line or (exchange.reply.line if exchange.reply else dialog.line)
    return dialog.line


def _without_losers(hits: list[tuple[Rule, Hit]], dialog: Dialog) -> list[tuple[Rule, Hit]]:
    fired: dict[int, set[str]] = {}
    for each, hit in hits:
        fired.setdefault(_line(hit, dialog), set()).add(each.code)

    def loses(each: Rule, hit: Hit) -> bool:
        here = fired[_line(hit, dialog)]
        return any(loser == each.code and winner in here for winner, loser in PRECEDENCE)

    return [(each, hit) for each, hit in hits if not loses(each, hit)]


def _without_consequences(hits: list[tuple[Rule, Hit]], dialog: Dialog) -> list[tuple[Rule, Hit]]:
    """One fault, one finding: a missing MAIL or recipient is not told again where an earlier refused command, told
    already, is the cause and nothing was accepted since."""
    kept: list[tuple[Rule, Hit]] = []
    for each, hit in hits:
        if hit.exchange is not None:
            if each.code in _CONSEQUENCES and _caused(kept, hit.exchange, dialog):
                continue
            if each.family in ("TEL", "SYN") and _in_refused_text(kept, hit.exchange, dialog):
                continue
        kept.append((each, hit))
    return kept


def _caused(told: list[tuple[Rule, Hit]], index: int, dialog: Dialog) -> bool:
    for each, hit in told:
        if hit.exchange is None or hit.exchange >= index or each.severity == "info":
            continue
        cause = dialog.exchanges[hit.exchange]
        between = dialog.exchanges[hit.exchange + 1 : index]
        if cause.severity >= 4 and not any(
            e.severity in (2, 3) and e.verb not in ("NOOP", "HELP", "VRFY") for e in between
        ):
            return True
    return False


def _in_refused_text(told: list[tuple[Rule, Hit]], index: int, dialog: Dialog) -> bool:
    """Whether a line is one of the text that SEQ016 has told of: no command of SMTP stands between the two."""
    for each, hit in told:
        if each.code == "SEQ016" and hit.exchange is not None and hit.exchange < index:
            between = dialog.exchanges[hit.exchange : index + 1]
            return all(exchange.severity == 5 and verb(exchange.verb) is None for exchange in between)
    return False


def _severity(each: Rule, hit: Hit, dialog: Dialog) -> Severity:
    severity = hit.severity or each.severity
    party = hit.party or each.party
    if hit.final or hit.exchange is None or party != "client" or each.family not in _DOWNGRADED:
        return severity
    if dialog.exchanges[hit.exchange].severity in (2, 3):
        return SEVERITIES[max(SEVERITIES.index(severity) - 1, 0)]
    return severity


def _finding(
    each: Rule, hit: Hit, dialog: Dialog, shown: Dialog, hidden: re.Pattern[str] | None, shifted: int | None
) -> Finding:
    line = _line(hit, dialog)
    end_line = max(hit.end_line or line, line)
    return Finding(
        source=dialog.source,
        line=line,
        end_line=end_line,
        dialog=dialog.id,
        code=each.code,
        name=each.name,
        severity=_severity(each, hit, dialog),
        party=hit.party or each.party,
        confidence="low" if shifted is not None and line > shifted else "high",
        message=mask(hit.message, hidden),
        excerpt=excerpt(shown, line, end_line, hit.column),
        advice=hit.advice or each.advice,
        reference=each.reference,
        column=hit.column,
        corrected=mask(hit.corrected, hidden) if hit.corrected else None,
    )
