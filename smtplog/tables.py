"""Typed DataFrames of dialogs, for Jupyter. The first place where pandas is imported.

Times are ``datetime64[us, UTC]`` (NaT where the log has none), durations float64 seconds, counts Int64, words string or category.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd

from smtplog import events, states
from smtplog.findings import SEVERITIES, Finding
from smtplog.model import ENDS, OUTCOMES, Dialog
from smtplog.views import moment

if TYPE_CHECKING:
    from smtplog.summary import Summary
    from smtplog.transcript import Notes

_TIME = "datetime64[us, UTC]"
_DIALOGS = {
    "dialog": "string",
    "source": "string",
    "format": "category",
    "line": "Int64",
    "end_line": "Int64",
    "started": _TIME,
    "ended": _TIME,
    "client": "string",
    "server": "string",
    "server_software": "string",
    "exchanges": "Int64",
    "transactions": "Int64",
    "outcome": pd.CategoricalDtype(list(OUTCOMES)),
    "end": pd.CategoricalDtype(list(ENDS)),
}
_EXCHANGES = {
    "dialog": "string",
    "source": "string",
    "line": "Int64",
    "time": _TIME,
    "command": "string",
    "verb": "category",
    "argument": "string",
    "inferred": "bool",
    "pipelined": "bool",
    "state": pd.CategoricalDtype(list(states.STATES)),
    "tls": "bool",
    "transaction": "Int64",
    "code": "Int64",
    "enhanced": "string",
    "text": "string",
    "reply_line": "Int64",
    "latency": "float64",
}
_TRANSACTIONS = {
    "dialog": "string",
    "source": "string",
    "line": "Int64",
    "mail_from": "string",
    "recipients": "Int64",
    "accepted": "Int64",
    "outcome": pd.CategoricalDtype(list(OUTCOMES)),
    "code": "Int64",
    "enhanced": "string",
    "queue_id": "string",
    "message_id": "string",
    "subject": "string",
    "octets": "Int64",
    "notify": "string",
    "ret": "string",
    "envid": "string",
}
_FINDINGS = {
    "source": "string",
    "line": "Int64",
    "end_line": "Int64",
    "dialog": "string",
    "code": "category",
    "name": "category",
    "severity": pd.CategoricalDtype(list(SEVERITIES), ordered=True),
    "party": "category",
    "confidence": "category",
    "message": "string",
    "advice": "string",
    "reference": "string",
}
_EVENTS = {"dialog": "string", "source": "string", "line": "Int64", "time": _TIME, "kind": "category", "text": "string"}


def _frame(rows: Iterable[Mapping[str, Any]], types: dict[str, Any]) -> pd.DataFrame:
    listed = list(rows)
    columns = {}
    for name, dtype in types.items():
        values = [row[name] for row in listed]
        if dtype == _TIME:
            columns[name] = pd.Series(pd.to_datetime(pd.Series(values, dtype="object"), utc=True), name=name).astype(
                dtype
            )
        else:
            columns[name] = pd.Series(values, dtype=dtype, name=name)
    return pd.DataFrame(columns)


def dialogs_frame(dialogs: Iterable[Dialog]) -> pd.DataFrame:
    """One row a dialog.

    ``dialog`` string id · ``source`` string file · ``format`` category · ``line end_line`` Int64 lines of the file ·
    ``started ended`` time · ``client server server_software`` string · ``exchanges transactions`` Int64 counts ·
    ``outcome`` category (delivered rejected deferred partial aborted unknown) · ``end`` category (quit closed-by-server
    closed-by-client timeout truncated).
    """
    return _frame(
        (
            {
                **{
                    name: getattr(each, name)
                    for name in _DIALOGS
                    if name not in ("dialog", "exchanges", "transactions")
                },
                "dialog": each.id,
                "exchanges": len(each.exchanges),
                "transactions": len(each.transactions),
            }
            for each in dialogs
        ),
        _DIALOGS,
    )


def exchanges_frame(dialogs: Iterable[Dialog]) -> pd.DataFrame:
    """One row a command and its reply.

    ``dialog source`` string · ``line`` Int64 of the command (NA: not in the log) · ``time`` time · ``command argument``
    string · ``verb`` category · ``inferred pipelined tls`` bool · ``state`` category, before the command · ``transaction`` Int64,
    counted in the dialog from 0 · ``code`` Int64 · ``enhanced text`` string · ``reply_line`` Int64 · ``latency`` float64 seconds.
    """

    def rows() -> Iterator[dict[str, Any]]:
        for dialog in dialogs:
            for each in dialog.exchanges:
                reply = each.reply
                names = (
                    "line",
                    "time",
                    "command",
                    "verb",
                    "argument",
                    "inferred",
                    "pipelined",
                    "state",
                    "tls",
                    "transaction",
                    "latency",
                )
                yield {
                    "dialog": dialog.id,
                    "source": dialog.source,
                    **{name: getattr(each, name) for name in names},
                    "code": reply.code if reply else None,
                    "enhanced": reply.enhanced if reply else None,
                    "text": "\n".join(reply.text) if reply else None,
                    "reply_line": reply.line if reply else None,
                }

    return _frame(rows(), _EXCHANGES)


def transactions_frame(dialogs: Iterable[Dialog]) -> pd.DataFrame:
    """One row a transaction (MAIL … end of data).

    ``dialog source`` string · ``line`` Int64 of MAIL · ``mail_from`` string · ``recipients accepted`` Int64 counts · ``outcome``
    category · ``code`` Int64 and ``enhanced`` string of the reply that decided · ``queue_id message_id subject`` string · ``octets``
    Int64 size of the text as the log shows it · ``notify ret envid`` string, the DSN parameters (RFC 3461).
    """

    def rows() -> Iterator[dict[str, Any]]:
        for dialog in dialogs:
            for each in dialog.transactions:
                notify = {to.parameters["NOTIFY"] or "" for to in each.recipients if "NOTIFY" in to.parameters}
                names = ("line", "mail_from", "outcome", "code", "enhanced", "queue_id", "message_id", "subject")
                yield {
                    "dialog": dialog.id,
                    "source": dialog.source,
                    **{name: getattr(each, name) for name in names},
                    "recipients": len(each.recipients),
                    "accepted": sum(to.accepted for to in each.recipients),
                    "octets": each.content.octets if each.content else None,
                    "notify": ";".join(sorted(notify)) if notify else None,
                    "ret": each.parameters.get("RET"),
                    "envid": each.parameters.get("ENVID"),
                }

    return _frame(rows(), _TRANSACTIONS)


def findings_frame(findings: Iterable[Finding]) -> pd.DataFrame:
    """One row a finding.

    ``source dialog message advice reference`` string · ``line end_line`` Int64 · ``code name party confidence`` category ·
    ``severity`` ordered category (info < warning < error).
    """
    return _frame(({name: getattr(each, name) for name in _FINDINGS} for each in findings), _FINDINGS)


def events_frame(dialogs: Iterable[Dialog], notes: Iterable[Notes] = ()) -> pd.DataFrame:
    """One row a thing that was said or happened: every command, reply line, opening, close, TLS event and gap; behind them
    the notes, lines that are part of no dialog.

    ``dialog source text`` string · ``line`` Int64 · ``time`` time · ``kind`` category (client server opened closed tls gap
    note).
    """
    from smtplog.script import script

    def rows() -> Iterator[dict[str, Any]]:
        kinds = {"C": "client", "S": "server"}
        words = {"connect": "opened", "close": "closed", "tls": "tls", "gap": "gap"}
        for dialog in dialogs:
            for each in script(dialog):
                mark, _, text = each.text.partition(": ")
                kind = kinds.get(mark[0]) or words.get(text.split(" ")[0], "note")
                line = each.line or None
                yield {
                    "dialog": dialog.id,
                    "source": dialog.source,
                    "line": line,
                    "time": each.time,
                    "kind": kind,
                    "text": text,
                }
        for some in notes:
            texts = events.listed(some.text)
            for number, time, text in zip(some.line.tolist(), some.time.tolist(), texts, strict=True):
                row = {"dialog": None, "source": some.source, "line": number, "time": moment(time)}
                yield {**row, "kind": "note", "text": text}

    return _frame(rows(), _EVENTS)


def overview_html(summary: Summary) -> str:
    """A summary as a small HTML table, for a notebook; nothing of a log is markup."""
    told = summary.to_json()
    rows = [
        ("sessions", f"{told['dialogs']['count']:,}", _counts(told["dialogs"]["by_outcome"])),
        ("messages", f"{told['transactions']['count']:,}", _counts(told["transactions"]["by_outcome"])),
        ("recipients", f"{sum(told['recipients'].values()):,}", _counts(told["recipients"])),
        (
            "replies",
            f"{sum(r['count'] for r in told['replies']):,}",
            ", ".join(f"{r['code']}: {r['count']:,}" for r in told["replies"]),
        ),
        (
            "findings",
            f"{sum(f['count'] for f in told['findings']):,}",
            ", ".join(f"{f['code']}: {f['count']:,}" for f in told["findings"]),
        ),
    ]
    body = "".join(
        f"<tr><th>{escape(a)}</th><td>{escape(b)}</td><td style='text-align:left'>{escape(c)}</td></tr>"
        for a, b, c in rows
    )
    return f"<table>{body}</table>"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in counts.items() if count)
