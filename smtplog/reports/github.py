"""Workflow commands of GitHub Actions, which turn findings into annotations."""

from __future__ import annotations

from smtplog.findings import Finding
from smtplog.output import printable
from smtplog.reports.form import Form, log_column, place

LEVELS = {"error": "error", "warning": "warning", "info": "notice"}


class Github(Form):
    """``::error file=…,line=…,endLine=…,col=…,title=…::message``, one line a finding."""

    def tell(self, finding: Finding) -> None:
        properties: dict[str, object] = {
            "file": printable(place(finding.source)),
            "line": finding.line,
            "endLine": finding.end_line,
            "title": f"{finding.code} {finding.name}",
        }
        if column := log_column(finding, self.job):
            properties["col"] = column
        said = [finding.message, f"{finding.party}: {finding.advice}"]
        if finding.corrected:
            said.append(f"write: {finding.corrected}")
        told = ",".join(f"{name}={escaped_property(str(value))}" for name, value in properties.items())
        text = "\n".join(printable(line) for line in said)
        self.page.line(f"::{LEVELS[finding.severity]} {told}::{escaped(text)}")


def escaped(text: str) -> str:
    """A message, as GitHub's toolkit escapes it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escaped_property(text: str) -> str:
    """The value of a property."""
    return escaped(text).replace(":", "%3A").replace(",", "%2C")


FORMS = {"github": Github}
