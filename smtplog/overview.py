"""The summary of many sessions, the answer first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from smtplog.model import Dialog
from smtplog.output import SEVERITY, Page, elided, printable, told_files
from smtplog.summary import Summary

if TYPE_CHECKING:
    from smtplog.transcript import FileReport

_COLOURS = {"delivered": "green", "rejected": "red", "deferred": "yellow", "partial": "yellow"}
TOP = 10


def write(page: Page, summary: Summary, few: Sequence[Dialog], files: Sequence[FileReport]) -> None:
    """All tables that have rows."""
    told = summary.to_json()
    _answer(page, told)
    for dialog in few:
        colour = _COLOURS.get(dialog.outcome, "")
        peer = dialog.client or dialog.server or ""
        page.line(
            f"  {page.paint(dialog.outcome.ljust(10), colour)} {printable(dialog.source)}:{dialog.line}  {printable(peer)}  {dialog.end}"
        )
    _counted(page, "Sessions by outcome", told["dialogs"]["by_outcome"])
    _counted(page, "Sessions by end", told["dialogs"]["by_end"])
    _counted(page, "Transactions by outcome", told["transactions"]["by_outcome"])
    _replies(page, told["replies"])
    _refusals(page, told["refusals"])
    _latency(page, told["latency"])
    _peers(page, told["peers"], summary.cut)
    _counted(page, "Commands", told["commands"])
    _findings(page, told["findings"])
    _files(page, files, told["skipped"])


def _answer(page: Page, told: dict[str, Any]) -> None:
    sessions, mails, to = told["dialogs"]["count"], told["transactions"]["count"], told["recipients"]
    page.line(page.paint(f"{sessions:,} sessions, {mails:,} messages tried", "bold"))
    page.line(f"recipients: {to['accepted']:,} accepted, {to['rejected']:,} rejected, {to['deferred']:,} deferred")
    if told["span"]["first"]:
        first, last = (told["span"][name][:19].replace("T", " ") for name in ("first", "last"))
        undated = "  (the log leaves the year out)" if first.startswith(("1972", "1971", "1970")) else ""
        page.line(f"from {first} to {last} UTC{undated}")


def _counted(page: Page, title: str, counts: dict[str, int]) -> None:
    if counts:
        page.heading(title)
        total = sum(counts.values())
        rows = [[f"{n:,}", f"{n / total:.1%}", name] for name, n in list(counts.items())[: TOP + 5]]
        page.table(rows, right=[0, 1], styles=[_COLOURS.get(row[2], "") for row in rows])


def _replies(page: Page, replies: list[dict[str, Any]]) -> None:
    if not replies:
        return
    page.heading("Replies by code")
    most = max(row["count"] for row in replies)
    mark = "█" if page.unicode else "#"
    rows = [
        [str(row["code"]), f"{row['count']:,}", mark * max(round(16 * row["count"] / most), 1), row["meaning"]]
        for row in replies
    ]
    page.table(rows, right=[1], styles=[{"4": "yellow", "5": "red"}.get(row[0][0], "") for row in rows])


def _refusals(page: Page, refusals: list[dict[str, Any]]) -> None:
    if refusals:
        page.heading("Refusals" + (f", the first {TOP} of {len(refusals)}" if len(refusals) > TOP else ""))
        for row in refusals[:TOP]:
            place = f"{printable(row['source'])}:{row['line']}"
            code = f"{row['code']} {row['enhanced'] or ''}".strip()
            page.line(
                f"  {row['count']:>8,}  {row['verb']:<9} {page.paint(code, 'red' if row['code'] >= 500 else 'yellow')}  {place}"
            )
            page.line("            " + page.paint(elided(printable(row["example"]), page.width - 12), "dim"))


def _latency(page: Page, latency: dict[str, dict[str, float]]) -> None:
    if latency:
        page.heading("Slowest steps (seconds)")
        slowest = sorted(latency.items(), key=lambda item: -item[1]["p95"])[:TOP]
        rows = [
            [verb, f"{v['count']:,}", f"{v['median']:.3f}", f"{v['p95']:.3f}", f"{v['max']:.3f}"] for verb, v in slowest
        ]
        page.table([["verb", "count", "median", "95 %", "longest"], *rows], right=[1, 2, 3, 4], styles=["dim"])


def _peers(page: Page, peers: list[dict[str, Any]], cut: bool) -> None:
    if peers:
        page.heading(
            "Peers" + (f", the first {TOP} of {'more than ' if cut else ''}{len(peers):,}" if len(peers) > TOP else "")
        )
        rows = [
            [f"{p['dialogs']:,}", f"{p['refused']:,} refused" if p["refused"] else "", p["address"], p["name"] or ""]
            for p in peers[:TOP]
        ]
        page.table(rows, right=[0, 1])


def _findings(page: Page, findings: list[dict[str, Any]]) -> None:
    if not findings:
        page.heading("No findings")
        return
    page.heading("Findings by rule")
    rows = sorted(findings, key=lambda row: (["error", "warning", "info"].index(row["severity"]), -row["count"]))
    page.table(
        [[f"{r['count']:,}", r["severity"], r["code"], r["name"]] for r in rows],
        right=[0],
        styles=[SEVERITY[r["severity"]] for r in rows],
    )
    page.line("  smtplog validate shows each with its place; smtplog explain CODE its manual")


def _files(page: Page, files: Sequence[FileReport], skipped: list[dict[str, str]]) -> None:
    page.line()
    told_files(page, files)
    if skipped:
        page.line(page.paint(f"{len(skipped)} files skipped, the first: {printable(skipped[0]['reason'])}", "dim"))
