"""List the log formats, say which one a file is and why, or check a declaration of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smtplog.output import Output, OutputFormat, Page, elided, leave, one_of, printable

if TYPE_CHECKING:
    from smtplog.authoring import Verdict
    from smtplog.formats import Declaration

_TIERS = {1: "everyday", 2: "common", 3: "seldom met"}
_PATHS = typer.Argument(help="Files to recognise; none: list all formats. With --check: samples of the log.")
_CHECK = typer.Option("--check", help="A declaration of your own, my.lark: say what is wrong with it.")


def command(
    paths: Annotated[list[str] | None, _PATHS] = None,
    check: Annotated[Path | None, _CHECK] = None,
    output_format: OutputFormat = "text",
    output: Output = None,
) -> None:
    """List the log formats with where each is written and how it is switched on; with files, say which format each is and why.

    --check my.lark sample.log: say what is wrong with a declaration of your own and what it reads. Exit code 1 if something is.
    """
    one_of(output_format, "text", "json")
    page = Page(output)
    if check is not None:
        code = _check(page, check, paths or [], output_format)
    else:
        code = _recognise(page, paths, output_format) if paths else _list(page, output_format)
    page.close()
    leave(code)


def _list(page: Page, output_format: str) -> int:
    from smtplog import formats

    every = sorted(formats.declarations(), key=lambda each: (each.tier, each.slug))
    if output_format == "json":
        names = ("slug", "title", "kind", "tier", "written", "enable", "sample")
        page.line(
            json.dumps([{name: getattr(each, name) for name in names} for each in every], ensure_ascii=False, indent=1)
        )
        return 0
    tier = 0
    for each in every:
        if each.tier != tier:
            tier = each.tier
            page.heading(f"Tier {tier}: {_TIERS[tier]}")
        page.line()
        _told(page, each)
    page.line()
    page.wrapped(
        "smtplog formats FILE says which one a file is; --input-format NAME names it; --grammar my.lark brings your own."
    )
    return 0


def _told(page: Page, each: Declaration) -> None:
    page.wrapped(each.title, 2, page.paint(each.slug, "bold") + "  ")
    for label, text in (("written", each.written), ("switch on", each.enable)):
        page.wrapped(text, 14, f"  {label:<10}  ")
    page.line(f"  {'sample':<10}  " + page.paint(elided(printable(each.sample), page.width - 14), "cyan"))


def _check(page: Page, path: Path, samples: list[str], output_format: str) -> int:
    from smtplog import authoring

    verdict = authoring.check(path, samples)
    if output_format == "json":
        page.line(json.dumps(verdict.to_json(), ensure_ascii=False, indent=1))
    else:
        _verdict(page, verdict)
    return 1 if verdict.flaws else 0


def _verdict(page: Page, verdict: Verdict) -> None:
    for flaw in verdict.flaws:
        page.wrapped(flaw.what, 2, page.paint(printable(f"{flaw.where}: "), "bold"))
        page.wrapped(flaw.why, 7, "  why: ")
        page.wrapped(flaw.do, 7, "  do:  ")
        page.line()
    if verdict.rules and verdict.samples:
        rows = [[each.name, f"{each.count:,}", each.first] for each in verdict.rules]
        page.table([["rule", "lines", "first"], *rows], right=[1], styles=["dim"])
        page.line()
    for each in verdict.samples:
        counted = {"line": each.lines, "session": each.sessions, "command": each.exchanges, "reply": each.replies}
        page.wrapped(", ".join(_many(what, count) for what, count in counted.items()), 2, f"{printable(each.source)}: ")
        if each.recognised:
            page.wrapped(f"recognised as {each.recognised}", 2, "  ")
    count = len(verdict.flaws)
    if count:
        page.line(page.paint(f"{printable(verdict.path)}: {_many('flaw', count)}", "red", "bold"))
    elif verdict.samples:
        page.line(page.paint(f"{printable(verdict.path)}: all is well", "green", "bold"))
        page.wrapped(f"smtplog show --grammar {verdict.path} {verdict.samples[0].source} shows what was read", 2, "  ")
    else:
        page.line(page.paint(f"{printable(verdict.path)}: all is well by itself", "green", "bold"))
        page.wrapped("Name samples of the log behind it to have them read with it.", 2, "  ")


def _many(what: str, count: int) -> str:
    several = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{count:,} {what if count == 1 else several}"


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
