"""Explain a reply code, an enhanced status code, a reply line, a verb, a keyword, a parameter or a rule."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from smtplog.output import Output, OutputFormat, Page, one_of

_COLOURS = {"soft": "yellow", "hard": "red", "success": "green"}


def command(
    words: Annotated[list[str], typer.Argument(help="550, 5.7.1, a whole reply line, MAIL, SIZE, NOTIFY, SEQ003 …")],
    output_format: OutputFormat = "text",
    output: Output = None,
) -> None:
    """Explain what a person has in hand: a code, a reply line, a verb, an EHLO keyword, a parameter, a mechanism, a rule, an
    event of Suricata or Zeek."""
    from smtplog.explain import explain

    one_of(output_format, "text", "json")
    page = Page(output)
    explanation = explain(" ".join(words))
    if output_format == "json":
        page.line(json.dumps(explanation.to_json(), ensure_ascii=False, indent=1))
    else:
        for i, entry in enumerate(explanation.entries):
            if i:
                page.line()
            page.line(page.paint(entry.title, "bold", _COLOURS.get(entry.fields.get("kind", "").partition(":")[0], "")))
            wide = max((len(name) for name in entry.fields), default=0)
            for name, value in entry.fields.items():
                page.wrapped(value, wide + 4, f"  {name.ljust(wide)}  ")
            for line in entry.manual.splitlines():
                page.line(f"  {line}")
    page.close()
