"""Print the rule book: all rules in a line each, or the manual of some."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from smtplog.output import SEVERITY, Output, OutputFormat, Page, one_of


def command(
    codes: Annotated[list[str] | None, typer.Argument(help="Codes, families or names; none: all.")] = None,
    output_format: OutputFormat = "text",
    output: Output = None,
) -> None:
    """Print the rule book: all rules in a line each, or the manual of those named; markdown prints every manual."""
    from smtplog import findings
    from smtplog.manual import Manual

    one_of(output_format, "text", "json", "markdown")
    rules = findings.chosen(codes or (), extra=True)
    page = Page(output)
    if output_format == "json":
        names = ("code", "name", "severity", "party", "scope", "reference", "advice", "extra", "manual")
        page.line(
            json.dumps([{name: getattr(each, name) for name in names} for each in rules], ensure_ascii=False, indent=1)
        )
    elif output_format == "markdown":
        for each in rules:
            page.line(
                f"## {each.code} {each.name}\n\n*{each.severity}*, fault of the {each.party}"
                f"{', only on request' if each.extra else ''}; {each.reference}\n\n{each.manual}\n"
            )
    elif codes:
        for each in rules:
            page.line(
                page.paint(f"{each.code} {each.name}", "bold")
                + page.paint(f"  {each.severity}", SEVERITY[each.severity])
            )
            page.line()
            page.line(each.manual + "\n")
    else:
        rows = [[each.code, each.severity, each.name, Manual.of(each).summary] for each in rules]
        page.table(rows, styles=["dim" if each.extra else "" for each in rules])
        page.line("\n  smtplog rules CODE prints a manual; dim rules are off unless --all or --select asks for them")
    page.close()
