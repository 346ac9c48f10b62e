"""Print the dialogs of logs in the C:/S: notation, or as JSON."""

from __future__ import annotations

from typing import Annotated

import typer

from smtplog.output import (
    Day,
    Grammar,
    InputFormat,
    Output,
    OutputFormat,
    Page,
    Paths,
    ShowSecrets,
    Zone,
    finished,
    leave,
    one_of,
    opened,
    printable,
)


def command(
    paths: Paths,
    input_format: InputFormat = None,
    grammar: Grammar = None,
    date: Day = None,
    timezone: Zone = None,
    output_format: OutputFormat = "text",
    output: Output = None,
    show_secrets: ShowSecrets = False,
    dialog: Annotated[str | None, typer.Option("--dialog", help="Only the dialog with this id.")] = None,
) -> None:
    """Print the dialogs of logs in the C:/S: notation (text), or as JSON (json, jsonl: one dialog a line)."""
    import json

    from smtplog import findings, script
    from smtplog.jsonview import dialog_to_json

    one_of(output_format, "text", "json", "jsonl")
    transcript = opened(paths, input_format, grammar, date, timezone, show_secrets)
    page = Page(output)
    rules = findings.chosen()
    objects, first = [], True
    for each, found in (pair for batch in transcript.batches() for pair in transcript.checked(batch, None, rules)):
        if dialog is not None and each.id != dialog:
            continue
        if output_format == "text":
            if not first:
                page.line()
            page.line(page.paint(f"# {printable(each.id)}  {printable(each.source)}:{each.line}", "dim"))
            for line in script.show(each).split("\n")[:-1]:
                page.line(page.paint(printable(line), "blue" if line.startswith("C") else ""))
        elif output_format == "jsonl":
            page.line(json.dumps(dialog_to_json(each, found), ensure_ascii=False))
        else:
            objects.append(dialog_to_json(each, found))
        first = False
    if output_format == "json":
        page.line(json.dumps(objects, ensure_ascii=False, indent=1))
    page.close()
    leave(finished(transcript))
