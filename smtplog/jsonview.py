"""Dialogs as JSON: one object a dialog, the shape that scripts rely on (README, Outputs)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from smtplog.findings import Finding
from smtplog.model import Content, Dialog, Exchange, Reply, Transaction


def dialog_to_json(dialog: Dialog, findings: Iterable[Finding] = ()) -> dict[str, Any]:
    """One dialog with its exchanges, transactions and findings."""
    rotated = {"sources": list(dialog.sources)} if len(dialog.sources) > 1 else {}
    return {
        "dialog": dialog.id,
        "source": dialog.source,
        **rotated,
        "format": dialog.format,
        "line": dialog.line,
        "end_line": dialog.end_line,
        "started": _iso(dialog.started),
        "ended": _iso(dialog.ended),
        "client": dialog.client,
        "server": dialog.server,
        "server_software": dialog.server_software,
        "greeting": _reply(dialog.greeting),
        "exchanges": [_exchange(exchange) for exchange in dialog.exchanges],
        "transactions": [_transaction(each) for each in dialog.transactions],
        "outcome": dialog.outcome,
        "end": dialog.end,
        "findings": [finding.to_json() for finding in findings],
    }


def _iso(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _reply(reply: Reply | None) -> dict[str, Any] | None:
    if reply is None:
        return None
    return {
        "code": reply.code,
        "enhanced": reply.enhanced,
        "text": list(reply.text),
        "line": reply.line,
        "time": _iso(reply.time),
    }


def _exchange(exchange: Exchange) -> dict[str, Any]:
    return {
        "line": exchange.line,
        "time": _iso(exchange.time),
        "command": exchange.command,
        "verb": exchange.verb,
        "argument": exchange.argument,
        "inferred": exchange.inferred,
        "state": exchange.state,
        "tls": exchange.tls,
        "transaction": exchange.transaction,
        "recipient": exchange.recipient,
        "reply": _reply(exchange.reply),
        "latency": exchange.latency,
    }


def _transaction(each: Transaction) -> dict[str, Any]:
    return {
        "mail_from": each.mail_from,
        "recipients": [
            {"address": to.address, "accepted": to.accepted, "code": to.code, "enhanced": to.enhanced}
            for to in each.recipients
        ],
        "content": _content(each.content, each.subject),
        "outcome": each.outcome,
        "code": each.code,
        "enhanced": each.enhanced,
        "queue_id": each.queue_id,
        "message_id": each.message_id,
    }


def _content(content: Content | None, subject: str | None) -> dict[str, Any] | None:
    if content is None:
        return None
    return {"lines": len(content.lines), "bytes": content.octets, "subject": subject}
