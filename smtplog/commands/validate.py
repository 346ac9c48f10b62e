"""Check dialogs against the SMTP state machine and the rule book, as a linter does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smtplog.errors import UsageError
from smtplog.output import (
    Day,
    Grammar,
    InputFormat,
    Output,
    Page,
    Paths,
    ShowSecrets,
    Zone,
    comma,
    finished,
    leave,
    one_of,
    opened,
)

if TYPE_CHECKING:
    from smtplog.baseline import Baseline
    from smtplog.findings import Finding, Rule
    from smtplog.reports.form import End, Form
    from smtplog.settings import Settings

_SELECT = typer.Option(help="Only these rules: codes, families or names, by commas.")
_FORMAT = typer.Option("--output-format", help="text (default), json, jsonl, sarif, github, junit or csv.")
_FAIL_ON = typer.Option(help="Exit with 1 from this severity on: error (default), warning, info, never.")
_CONFIG = typer.Option(help="This configuration, not the nearest smtplog.toml or pyproject.toml.")


def command(
    paths: Paths,
    input_format: InputFormat = None,
    grammar: Grammar = None,
    date: Day = None,
    timezone: Zone = None,
    output_format: Annotated[str | None, _FORMAT] = None,
    output: Output = None,
    show_secrets: ShowSecrets = False,
    select: Annotated[list[str] | None, _SELECT] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="Not these rules.")] = None,
    extend_select: Annotated[list[str] | None, typer.Option(help="These rules too.")] = None,
    all_rules: Annotated[bool, typer.Option("--all", help="The extra rules too.")] = False,
    fail_on: Annotated[str | None, _FAIL_ON] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit with 0 whatever was found.")] = False,
    statistics: Annotated[bool, typer.Option("--statistics", help="Count findings by rule.")] = False,
    config: Annotated[Path | None, _CONFIG] = None,
    isolated: Annotated[bool, typer.Option("--isolated", help="No configuration.")] = False,
    baseline: Annotated[Path | None, typer.Option(help="Hide the known findings of this file.")] = None,
    write_baseline: Annotated[Path | None, typer.Option(help="Write what is found to this file, as known.")] = None,
) -> None:
    """Check dialogs against the SMTP state machine and the rule book. Exit code 1 if a finding is as severe as --fail-on."""
    from smtplog import settings as configuration
    from smtplog.findings import SEVERITIES
    from smtplog.reports import FORMATS

    if config is not None and isolated:
        raise UsageError("--config and --isolated do not go together")
    if statistics and output_format not in (None, "text", "json"):
        raise UsageError(f"--statistics is text or json, not {output_format}")
    settings = configuration.load(config, isolated=isolated).over(
        select=tuple(comma(select)),
        ignore=tuple(comma(ignore)),
        extend_select=tuple(comma(extend_select)),
        all=all_rules or None,
        fail_on=fail_on and one_of(fail_on, *configuration.FAIL_ON, what="severity"),
        output_format=output_format and one_of(output_format, *FORMATS),
        baseline=baseline,
    )
    rules = settings.rules()
    known = _baseline(settings, write_baseline, show_secrets)
    transcript = opened(paths, input_format, grammar, date, timezone, show_secrets)
    page = Page(output)
    form = _form(page, settings, rules, transcript, statistics)
    end = _told(form, _ignoring(transcript.check(rules), settings), known, writing=write_baseline is not None)
    if known is not None:
        if write_baseline is None:
            end.unseen = known.unseen([report.source for report in transcript.files], [each.code for each in rules])
        else:
            known.write()
            end.written = write_baseline
    form.close(end)
    page.close()
    limit = SEVERITIES.index(settings.fail_on) if settings.fail_on in SEVERITIES else len(SEVERITIES)
    failed = any(SEVERITIES.index(severity) >= limit for severity in end.severities)
    leave(finished(transcript, int(failed and not exit_zero)))


def _baseline(settings: Settings, write: Path | None, show_secrets: bool) -> Baseline | None:
    """The baseline to read or, empty, to write: one that is written knows nothing of an old one."""
    from smtplog.baseline import Baseline

    if write is not None:
        if show_secrets:
            raise UsageError("--write-baseline does not go with --show-secrets: a baseline knows masked lines only")
        return Baseline(write)
    return Baseline.read(settings.baseline) if settings.baseline is not None else None


def _form(page: Page, settings: Settings, rules: tuple[Rule, ...], transcript: Any, statistics: bool) -> Form:
    from smtplog.reports import written
    from smtplog.reports.form import Job

    job = Job(page, rules, transcript, settings.fail_on)
    if not statistics:
        return written(settings.output_format, job)
    return written(f"statistics {'json' if settings.output_format == 'json' else 'text'}", job)


def _ignoring(findings: Iterable[Finding], settings: Settings) -> Iterable[Finding]:
    from smtplog.settings import PathIgnores

    ignores = PathIgnores(settings)
    return (finding for finding in findings if not ignores.hides(finding))


def _told(form: Form, findings: Iterable[Finding], known: Baseline | None, *, writing: bool) -> End:
    """Tell what is new; what is known, or now becomes known, is counted only."""
    from smtplog.reports.form import End

    end = End(severities=Counter(), baseline=known.path if known is not None else None)
    for finding in findings:
        if known is not None and writing:
            known.add(finding)
            end.hidden += 1
        elif known is not None and known.is_known(finding):
            end.hidden += 1
        else:
            end.severities[finding.severity] += 1
            form.tell(finding)
    return end
