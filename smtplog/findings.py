"""Findings, and the one book that every rule registers in.

A finding is a value. A rule is a function that takes a view (:mod:`smtplog.model`) and yields what it saw; its docstring
is its manual and holds its examples. What is true of all rules happens in :mod:`smtplog.judging`, once, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Literal

from smtplog.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from smtplog.batches import Batch

Severity = Literal["error", "warning", "info"]
Party = Literal["client", "server", "operator", "unknown"]
Scope = Literal["exchange", "dialog", "message"]
#: A mask over the sessions, or over the exchanges, of a batch.
Marks = Callable[["Batch"], "np.ndarray"]
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
    advice: str | Callable[[], str | None] | None = None  #: None: the rule's own; a function is asked when it is shown
    final: bool = False  #: the severity already weighs the server's answer: no acceptance downgrade
    once: bool | str = False  #: told once a dialog, at the first place; a word: once for each such word


@dataclass(frozen=True, slots=True, eq=False)
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
    sessions: Marks | None = None  #: which sessions of a batch are worth a look
    rows: Marks | None = None  #: which exchanges of a batch are worth a look
    tokens: bool = False  #: looks at verbs, codes and events only, so that dialogs of one shape are judged once

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
    sessions: Marks | None = None,
    rows: Marks | None = None,
    tokens: bool = False,
) -> Callable[[Callable[..., Iterable[Hit]]], Callable[..., Iterable[Hit]]]:
    """Register a rule. The body is a generator of :class:`Hit`:

    * scope ``exchange``: ``body(exchange: Exchange)``; a function of that exchange alone, so that equal lines are judged once;
    * scope ``dialog``: ``body(dialog: Dialog)``;
    * scope ``message``: ``body(exchange: Exchange)`` for each exchange that has ``content``.

    ``sessions`` or ``rows`` (scope ``exchange`` only) say over the columns of a batch (:mod:`smtplog.suspects`) where the rule
    can have something to say at all; nothing else is ever shown to it. Without either it sees every dialog. ``tokens`` (scope
    ``dialog``) promises that the body decides by verbs, states, codes and events, never by words or times.
    """

    def register(body: Callable[..., Iterable[Hit]]) -> Callable[..., Iterable[Hit]]:
        if code in BOOK:
            raise ValueError(f"rule {code} stands twice in the book: {BOOK[code].name} and {name}")
        told = body if _is_own(body) else _guarded(code, body)
        BOOK[code] = Rule(code, name, severity, party, scope, reference, advice, extra, told, sessions, rows, tokens)
        return body

    return register


def _is_own(body: Callable[..., Any]) -> bool:
    return body.__module__.startswith("smtplog.")


def _guarded(code: str, body: Callable[..., Iterable[Hit]]) -> Callable[..., Iterable[Hit]]:
    """A rule of another distribution: what goes wrong in it is said in a sentence that names it."""

    @wraps(body)
    def guarded(view: Any) -> list[Hit]:
        try:
            hits = list(body(view))
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
        else:
            if all(isinstance(hit, Hit) for hit in hits):
                return hits
            what = "it gave something that is no Hit"
        raise UsageError(f"rule {code} of {body.__module__} failed: {what}; update it, or use --ignore {code}")

    return guarded


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
    from smtplog import rules

    rules.load()
    return BOOK


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
