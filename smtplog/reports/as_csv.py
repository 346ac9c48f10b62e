"""CSV (RFC 4180), one row a finding. A cell that a spreadsheet would take for a formula gets an apostrophe before it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from smtplog.findings import Finding
from smtplog.output import printable
from smtplog.reports.form import Form, Job

COLUMNS = (
    *("source", "line", "end_line", "dialog", "code", "name", "severity", "party", "confidence"),
    *("message", "advice", "reference", "column", "corrected"),
)
_FORMULA = ("=", "+", "-", "@")


class Csv(Form):
    """A header, then the rows."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.page.line(row(COLUMNS))

    def tell(self, finding: Finding) -> None:
        self.page.line(row(getattr(finding, name) for name in COLUMNS))


def row(values: Iterable[object]) -> str:
    """One line of CSV, without its end."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([_cell(value) for value in values])
    return line.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = " ".join(printable(line) for line in value.split("\n"))
    return "'" + text if text.lstrip().startswith(_FORMULA) else text


FORMS = {"csv": Csv}
