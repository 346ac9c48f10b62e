"""The doctor's note on one session: who talked to whom, each step with its verdict, what went wrong and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from smtplog.model import Dialog, Exchange, Reply
from smtplog.output import SEVERITY, Page, elided, printable, told_files
from smtplog.steps import in_words, name_of, outcome, refusal

if TYPE_CHECKING:
    from smtplog.findings import Finding
    from smtplog.transcript import FileReport


def write(
    page: Page, dialog: Dialog, findings: Sequence[Finding], files: Sequence[FileReport], stopped: str = ""
) -> None:
    """The whole note; ``stopped``: what ended the session that is no fault of a line in it."""
    _answer(page, dialog)
    _steps(page, dialog)
    _reported(page, dialog)
    _trouble(page, dialog, findings, stopped)
    _reading(page, dialog, files)


def _answer(page: Page, dialog: Dialog) -> None:
    words, colour = outcome(dialog)
    page.line(page.paint(printable(words), colour, "bold"))
    hello = next((e.argument for e in dialog.exchanges if e.verb in ("EHLO", "HELO", "LHLO") and e.argument), "")
    name = dialog.greeting.text[0].split(" ")[0] if dialog.greeting and dialog.greeting.text[0] else ""
    client = " ".join(part for part in (hello, f"[{dialog.client}]" if dialog.client else "") if part) or "a client"
    at = f"[{dialog.server}]" if dialog.server and dialog.server != name else ""
    server = " ".join(part for part in (name, at) if part) or "a server"
    software = f", which runs {dialog.server_software}" if dialog.server_software else ""
    when = f", {dialog.started:%Y-%m-%d %H:%M:%S} UTC" if dialog.started and dialog.started.year > 1972 else ""
    page.wrapped(f"{client} talked to {server}{software}{when}.")


def _steps(page: Page, dialog: Dialog) -> None:
    rows, styles = [], []
    if dialog.greeting:
        rows.append(_row(page, "Connect", "Connect", "", dialog.greeting, None))
        styles.append(_style(dialog.greeting.severity))
    for exchange in dialog.exchanges:
        rows.append(_exchange(page, exchange))
        styles.append(_style(exchange.severity, exchange))
    if not any(row[4] for row in rows):
        rows = [[*row[:4], row[5]] for row in rows]
    if rows:
        page.heading("Steps")
    page.table(rows, styles=styles)


def _style(severity: int, exchange: Exchange | None = None) -> str:
    if exchange is not None and exchange.reply is None:
        return "yellow" if exchange.verb != "QUIT" else "dim"
    return {4: "yellow", 5: "red"}.get(severity, "")


def _exchange(page: Page, exchange: Exchange) -> list[str]:
    sent = exchange.command or ""
    if exchange.verb == "." and exchange.content:
        lines = len(exchange.content.lines)
        sent = f"{lines} line{'s' if lines != 1 else ''}, {exchange.content.octets} octets"
    if exchange.inferred:
        sent = f"({sent or 'an answer'})"
    return _row(page, name_of(exchange), exchange.verb, sent, exchange.reply, exchange.latency)


def _row(page: Page, step: str, verb: str, sent: str, reply: Reply | None, latency: float | None) -> list[str]:
    marks = {True: "✓", False: "✗"} if page.unicode else {True: "ok", False: "NO"}
    waits = "…" if page.unicode else "?"
    mark = waits if reply is None else marks[reply.severity in (2, 3)]
    took = "" if latency is None else f"{latency:.1f} s" if latency >= 0.1 else f"{latency * 1000:.0f} ms"
    return [mark, step, elided(printable(sent), 30), _code(reply), took, in_words(reply, verb)]


def _code(reply: Reply | None) -> str:
    return "" if reply is None else f"{reply.code:03} {reply.enhanced or ''}".strip()


def _reported(page: Page, dialog: Dialog) -> None:
    for number, each in enumerate(dialog.transactions, 1):
        if number == 1:
            page.heading("Message" if len(dialog.transactions) == 1 else "Messages")
        to = ", ".join(
            r.address + ("" if r.accepted else f" (refused, {r.code})" if r.code else " (no reply)")
            for r in each.recipients
        )
        unsaid = "(not in the log)"
        sender = "<> (a bounce)" if each.mail_from == "" and not dialog.replies_only else each.mail_from or unsaid
        page.wrapped(f"from {sender} to {to.strip(', ') or unsaid}: {each.outcome}", 4, "  ")
        asked = {name: value for r in each.recipients for name, value in r.parameters.items()} | each.parameters
        details = [
            f"subject {each.subject!r}" if each.subject else "",
            f"message id {each.message_id}" if each.message_id else "",
        ]
        details += [f"{name}={value}" if value is not None else name for name, value in asked.items()]
        if any(details):
            page.wrapped(", ".join(part for part in details if part), 4)


def _trouble(page: Page, dialog: Dialog, findings: Sequence[Finding], stopped: str) -> None:
    refused = [e for e in dialog.exchanges if e.severity >= 4]
    told = [finding for finding in findings if finding.severity != "info"] or list(findings)
    turned_away = dialog.greeting is not None and dialog.greeting.severity >= 4
    if not (findings or refused or turned_away or stopped) and dialog.end != "truncated":
        page.heading("Nothing went wrong")
        page.line("  Every command was in order and every reply a success.")
        return
    if findings or stopped:
        page.heading("What went wrong")
    if stopped:
        page.wrapped(stopped, 4, "  " + ("• " if page.unicode else "- "))
    for finding in findings:
        colour = SEVERITY[finding.severity]
        page.wrapped(f"line {finding.line}: {finding.message}", 4, "  " + ("• " if page.unicode else "- "))
        fault = (
            f"fault of the {finding.party}"
            if finding.party != "unknown"
            else "whose fault it is, the log does not tell"
        )
        page.line("    " + page.paint(f"{finding.severity} {finding.code}", colour) + f" {finding.name}, {fault}")
        if finding.corrected:
            page.wrapped(f"write: {finding.corrected}", 6, "    ")
        page.wrapped(f"do: {finding.advice}", 8, "    ")
    explained = {finding.line for finding in told}
    plain = [e for e in refused if (e.line or 0) not in explained]
    if plain or turned_away:
        page.heading("What the server refused")
        if dialog.greeting is not None and turned_away:
            _refusal(page, "the connection", dialog.greeting)
        for exchange in plain:
            if exchange.reply:
                _refusal(page, exchange.command or "a command that the log does not hold", exchange.reply)
    if dialog.end == "truncated":
        page.heading("The log is cut")
        inside = dialog.exchanges and dialog.exchanges[-1].verb == "DATA" and dialog.exchanges[-1].severity == 3
        where = "inside the message, before the final dot: what became of it, the log cannot say" if inside else "there"
        page.wrapped(
            f"It stops after line {dialog.end_line}{', ' + where if inside else ', before a QUIT or a close'}.", 2
        )


def _refusal(page: Page, command: str, reply: Reply) -> None:
    page.wrapped(f"line {reply.line}: {command}: {reply.raw[0]}", 4, "  " + ("• " if page.unicode else "- "))
    meaning, advice = refusal(reply)
    if meaning:
        page.wrapped(meaning, 4)
        page.wrapped(f"do: {advice}", 8, "    ")


def _reading(page: Page, dialog: Dialog, files: Sequence[FileReport]) -> None:
    page.line()
    told_files(page, files)
    if dialog.replies_only:
        page.wrapped(
            "The log holds the server's side only: the commands, in parentheses, are concluded from the replies. "
            "To have them in the log, switch local echo on before you connect: set localecho in Windows Telnet."
        )
