"""Say what happened in logs: the steps of one session, or the summary of many."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from smtplog.output import (
    Day,
    Grammar,
    InputFormat,
    Output,
    OutputFormat,
    Page,
    Paths,
    Progress,
    ShowSecrets,
    Zone,
    finished,
    leave,
    one_of,
    opened,
)

if TYPE_CHECKING:
    from smtplog.findings import Finding
    from smtplog.model import Dialog

#: So many dialogs are told one by one beside the summary.
FEW = 5


def command(
    paths: Paths,
    input_format: InputFormat = None,
    grammar: Grammar = None,
    date: Day = None,
    timezone: Zone = None,
    output_format: OutputFormat = "text",
    output: Output = None,
    show_secrets: ShowSecrets = False,
) -> None:
    """Say what happened: of one session each step with its verdict, what went wrong and what to do; of many the summary."""
    from smtplog import findings, judging
    from smtplog.summary import Summary

    one_of(output_format, "text", "json")
    transcript = opened(paths, input_format, grammar, date, timezone, show_secrets)
    page = Page(output)
    rules = findings.chosen()
    total = Summary()
    few: list[tuple[Dialog, list[Finding]]] = []
    progress = Progress()
    for batch in transcript.batches():
        progress.tell(f"{total.dialogs:,} sessions, {sum(report.lines for report in transcript.files):,} lines")
        total.add(batch, judging.tally(batch, rules), mask=not show_secrets)
        if output_format == "text" and len(few) <= FEW:
            few += list(transcript.checked(batch, batch.order.tolist()[: FEW + 1 - len(few)], rules))
    progress.clear()
    total.told(transcript.files, transcript.skipped)
    if output_format == "json":
        page.line(json.dumps(total.to_json(), ensure_ascii=False, indent=1))
    elif total.dialogs == 1:
        from smtplog.note import write

        write(page, few[0][0], few[0][1], transcript.files)
    elif total.dialogs:
        from smtplog.overview import write as overview

        overview(page, total, [dialog for dialog, _ in few] if len(few) <= FEW else [], transcript.files)
    elif transcript.files:
        page.line("No dialog: the logs were read and hold no SMTP session.")
    page.close()
    leave(finished(transcript))
