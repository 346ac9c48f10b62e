"""Print the rule book, all rules in a line each or the manual of some; or draw the state machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smtplog.errors import UsageError
from smtplog.output import SEVERITY, Output, Page, one_of

if TYPE_CHECKING:
    from smtplog.findings import Rule

_FORMAT = typer.Option("--output-format", help="text, json or markdown.")
_MACHINE = typer.Option("--state-machine", help="The states of a session; -o: .svg, .png, .pdf or .dot.")


def command(
    codes: Annotated[list[str] | None, typer.Argument(help="Codes, families or names; none: all.")] = None,
    output_format: Annotated[str, _FORMAT] = "text",
    output: Output = None,
    state_machine: Annotated[bool, _MACHINE] = False,
) -> None:
    """Print the rule book: all rules in a line each, or the manual of those named; markdown prints every manual.

    With --state-machine: the states of a session and what leads from each to which.
    """
    if state_machine:
        if codes:
            raise UsageError("--state-machine takes no rules: it is one drawing of the whole machine")
        _machine(one_of(output_format, "text", "json"), output)
        return
    from smtplog import findings
    from smtplog.reports.book import chapters
    from smtplog.reports.form import dumps

    one_of(output_format, "text", "json", "markdown")
    rules = findings.chosen(codes or (), extra=True)
    page = Page(output)
    if output_format == "json":
        names = ("code", "name", "severity", "party", "scope", "reference", "advice", "extra", "manual")
        page.line(dumps([{name: getattr(each, name) for name in names} for each in rules], page, indent=1))
    elif output_format == "markdown":
        for i, paragraph in enumerate(chapters(rules)):
            page.line(f"\n{paragraph}" if i else paragraph)
    elif codes:
        _manuals(page, rules)
    else:
        _book(page, rules)
    page.close()


def _manuals(page: Page, rules: Sequence[Rule]) -> None:
    for each in rules:
        severity = page.paint(each.severity, SEVERITY[each.severity])
        page.line(f"{page.paint(f'{each.code} {each.name}', 'bold')}  {severity}")
        page.line()
        page.line(each.manual + "\n")


def _book(page: Page, rules: Sequence[Rule]) -> None:
    from smtplog.reports.book import manual_of

    rules = sorted(rules, key=lambda each: each.code)
    rows = [[each.code, each.severity, each.name, manual_of(each).summary] for each in rules]
    page.table(rows, styles=["dim" if each.extra else "" for each in rules])
    page.line("\n  smtplog rules CODE prints a manual; dim rules are off unless --all or --select asks for them")


def _machine(output_format: str, output: Path | None) -> None:
    """The state machine: a picture or DOT by the suffix of the file, else text or JSON."""
    from smtplog.charts import state_machine
    from smtplog.reports.form import dumps

    suffix = output.suffix.lower() if output is not None else ""
    if suffix in state_machine.PICTURES:
        try:
            state_machine.save(str(output))
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {error.strerror}") from None
        return
    known = (*state_machine.PICTURES, ".dot", ".txt", ".json")
    if output is not None and suffix not in known:
        raise UsageError(f"{output} is nothing that can be drawn; name a file that ends in {', '.join(known)}")
    page = Page(output)
    if suffix == ".dot":
        page.line(state_machine.dot())
    elif output_format == "json" or suffix == ".json":
        page.line(dumps([each._asdict() for each in state_machine.edges()], page, indent=1))
    else:
        _table(page)
    page.close()


def _table(page: Page) -> None:
    """A paragraph a state: what is legal there and where each leads."""
    from smtplog.charts.state_machine import rows

    arrow = "→" if page.unicode else "->"
    for state, moves in rows():
        page.line(page.paint(state, "bold"))
        for said, target in moves:
            where = "stays" if target == state else f"{arrow} {target}"
            page.wrapped(said, 15, f"  {where:<13}")
    page.line()
    page.wrapped(
        "2yz to 5yz are classes of replies (RFC 5321 section 4.2.1). A refused command, 4yz or 5yz, stays where it was but "
        "for those named above. 421 leads to closing, whatever the command was.",
        2,
    )
