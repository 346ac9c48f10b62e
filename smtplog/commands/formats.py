"""List the log formats, or say which one a file is and why."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from smtplog.output import Output, OutputFormat, Page, leave, one_of, printable


def command(
    paths: Annotated[list[str] | None, typer.Argument(help="Files to recognise; none: list all formats.")] = None,
    output_format: OutputFormat = "text",
    output: Output = None,
) -> None:
    """List the log formats with where each is written and how it is switched on; with files, say which format each is and why."""
    one_of(output_format, "text", "json")
    page = Page(output)
    code = _recognise(page, paths, output_format) if paths else _list(page, output_format)
    page.close()
    leave(code)


def _list(page: Page, output_format: str) -> int:
    from smtplog import formats

    every = formats.declarations()
    if output_format == "json":
        names = ("slug", "title", "kind", "tier", "written", "enable", "sample")
        page.line(
            json.dumps([{name: getattr(each, name) for name in names} for each in every], ensure_ascii=False, indent=1)
        )
        return 0
    for each in every:
        page.line(f"{page.paint(each.slug, 'bold')}  {each.title}")
        page.wrapped(each.written, 13, "  written    ")
        page.wrapped(each.enable, 13, "  switch on  ")
        page.line("  looks like " + page.paint(printable(each.sample)[: page.width - 13], "dim"))
        page.line()
    return 0


def _recognise(page: Page, paths: list[str], output_format: str) -> int:
    from smtplog import formats
    from smtplog.errors import SmtplogError
    from smtplog.lines import read_blocks
    from smtplog.sources import find, open_source
    from smtplog.transcript import head_of

    code, told = 0, []
    for source in find(paths):
        try:
            with open_source(source) as stream:
                head, _ = head_of(read_blocks(stream), source)
        except SmtplogError as error:
            typer.echo(f"smtplog: {printable(str(error))}", err=True)
            code = 2 if source.named else code
            continue
        candidates = formats.detect(head)
        chosen = candidates[0] if candidates and candidates[0].score >= formats.ENOUGH else None
        code = code if chosen or not source.named else 2
        rows = [{"format": each.slug, "score": each.score, "reason": each.reason} for each in candidates]
        told.append({"source": source.path, "format": chosen.slug if chosen else None, "candidates": rows})
        if output_format == "text":
            page.line(f"{page.paint(printable(source.path), 'bold')}: {chosen.slug if chosen else 'no known format'}")
            page.table([[f"{each.score:.2f}", each.slug, each.reason] for each in candidates[:5]])
    if output_format == "json":
        page.line(json.dumps(told, ensure_ascii=False, indent=1))
    return code
