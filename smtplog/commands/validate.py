"""Check dialogs against the SMTP state machine and the rule book, as a linter does."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import typer

from smtplog.output import (
    SEVERITY,
    Day,
    InputFormat,
    Output,
    OutputFormat,
    Page,
    Paths,
    ShowSecrets,
    comma,
    finished,
    leave,
    one_of,
    opened,
    printable,
)


def command(
    paths: Paths,
    input_format: InputFormat = None,
    date: Day = None,
    output_format: OutputFormat = "text",
    output: Output = None,
    show_secrets: ShowSecrets = False,
    select: Annotated[str | None, typer.Option(help="Only these rules: codes, families or names, by commas.")] = None,
    ignore: Annotated[str | None, typer.Option(help="Not these rules.")] = None,
    extend_select: Annotated[str | None, typer.Option(help="These rules too.")] = None,
    all_rules: Annotated[bool, typer.Option("--all", help="The extra rules too.")] = False,
    fail_on: Annotated[
        str, typer.Option(help="Exit with 1 from this severity on: error, warning, info, never.")
    ] = "error",
    statistics: Annotated[bool, typer.Option("--statistics", help="Count findings by rule.")] = False,
) -> None:
    """Check dialogs against the SMTP state machine and the rule book. Exit code 1 if a finding is as severe as --fail-on."""
    from smtplog import findings

    one_of(output_format, "text", "json", "jsonl")
    one_of(fail_on, "error", "warning", "info", "never")
    rules = findings.chosen(comma(select), comma(ignore), comma(extend_select), extra=all_rules)
    transcript = opened(paths, input_format, date, show_secrets)
    page = Page(output)
    found: Counter[str] = Counter()
    severities: Counter[str] = Counter()
    told: list[dict[str, Any]] = []
    for finding in transcript.check(rules):
        severities[finding.severity] += 1
        found[f"{finding.code} {finding.name}"] += 1
        _tell(page, finding, output_format, statistics, told)
    _close(page, output_format, statistics, told, found, severities, len(transcript.files))
    limit = findings.SEVERITIES.index(fail_on) if fail_on != "never" else 9
    worst = max((findings.SEVERITIES.index(name) for name in severities), default=-1)
    leave(finished(transcript, int(worst >= limit)))


def _tell(page: Page, finding: Any, output_format: str, statistics: bool, told: list[dict[str, Any]]) -> None:
    import json

    if output_format == "jsonl":
        page.line(json.dumps(finding.to_json(), ensure_ascii=False))
    elif output_format == "json":
        told.append(finding.to_json())
    elif not statistics:
        place = f"{printable(finding.source)}:{finding.line}:"
        sure = "" if finding.confidence == "high" else " (low confidence: replies may be off by one)"
        colour = SEVERITY[finding.severity]
        page.line(
            f"{page.paint(place, 'bold')} {page.paint(f'{finding.severity} {finding.code}', colour)} {finding.name}{sure}"
        )
        page.wrapped(finding.message, 2)
        for line in finding.excerpt.splitlines():
            page.line(page.paint("    | " + printable(line), colour if not line.strip(" ^") else "dim"))
        page.wrapped(f"{finding.party}: {finding.advice}", 4, "  = ")
        page.line()


def _close(
    page: Page,
    output_format: str,
    statistics: bool,
    told: list[dict[str, Any]],
    found: Counter[str],
    severities: Counter[str],
    files: int,
) -> None:
    import json

    if output_format == "json":
        page.line(json.dumps(told, ensure_ascii=False, indent=1))
    elif output_format == "text":
        if statistics:
            page.table([[str(count), name] for name, count in found.most_common()], right=[0])
        kinds = [(severities["error"], "error"), (severities["warning"], "warning"), (severities["info"], "info")]
        counts = ", ".join(f"{n:,} {name}{'s' if n != 1 and name != 'info' else ''}" for n, name in kinds if n)
        logs = f"{files:,} log{'s' if files != 1 else ''}"
        page.line(f"{counts} in {logs}" if counts else f"No findings in {logs}." if files else "Nothing was read.")
    page.close()
