"""JUnit XML, as test reports of CI systems read it: a log is a suite, a finding a case.

Findings that ``--fail-on`` names are failures, lesser ones are cases that passed with something to say. A log without a
finding is a suite with one case that passed, a log that could not be read one with an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from xml.sax.saxutils import escape, quoteattr

from smtplog.findings import SEVERITIES, Finding
from smtplog.output import printable
from smtplog.reports.form import End, Form, Job, lines_of, place

_IN_MEMORY = 1 << 22


class Junit(Form):
    """Suites one after the other; the cases of the open suite wait in a file, as their number stands before them."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.page.line('<?xml version="1.0" encoding="UTF-8"?>')
        self.page.line('<testsuites name="smtplog">')
        self._cases = SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="utf-8")
        self._source: str | None = None
        self._count = self._failures = 0
        self._told: set[str] = set()
        self._limit = SEVERITIES.index(job.fail_on) if job.fail_on in SEVERITIES else len(SEVERITIES)

    def tell(self, finding: Finding) -> None:
        if finding.source != self._source:
            self._suite()
            self._source = finding.source
        failed = SEVERITIES.index(finding.severity) >= self._limit
        self._count += 1
        self._failures += failed
        self._cases.writelines(line + "\n" for line in _case(finding, failed))

    def _suite(self) -> None:
        """Write the open suite."""
        if self._source is not None:
            self._told.add(self._source)
            self._begin(self._source, self._count, self._failures, 0)
            self._cases.seek(0)
            for line in self._cases:
                self.page.line(line.rstrip("\n"))
            self.page.line(" </testsuite>")
        self._cases.seek(0)
        self._cases.truncate()
        self._count = self._failures = 0

    def _begin(self, source: str, tests: int, failures: int, errors: int) -> None:
        self.page.line(
            f' <testsuite name={attribute(place(source))} tests="{tests}" failures="{failures}" errors="{errors}" skipped="0">'
        )

    def close(self, end: End) -> None:
        self._suite()
        errors = list(self.job.transcript.errors)
        for report in self.job.transcript.files:
            if report.source not in self._told and not report.error:
                self._begin(report.source, 1, 0, 0)
                self.page.line(f'  <testcase classname={attribute(place(report.source))} name="no findings"/>')
                self.page.line(" </testsuite>")
        if errors:
            self._begin("not read", len(errors), 0, len(errors))
            for sentence in errors:
                self.page.line('  <testcase classname="smtplog" name="read">')
                self.page.line(f"   <error message={attribute(sentence)}/>")
                self.page.line("  </testcase>")
            self.page.line(" </testsuite>")
        self.page.line("</testsuites>")
        self._cases.close()


def _case(finding: Finding, failed: bool) -> Iterator[str]:
    file = attribute(place(finding.source))
    name = attribute(f"{finding.code} {finding.name}, line {finding.line}")
    yield f'  <testcase classname={file} name={name} file={file} line="{finding.line}">'
    said = [finding.excerpt, f"{finding.party}: {finding.advice}", finding.reference]
    if finding.corrected:
        said.insert(1, f"write: {finding.corrected}")
    if failed:
        kind = attribute(f"{finding.severity} {finding.code}")
        yield f"   <failure type={kind} message={attribute(finding.message)}>{content(*said)}</failure>"
    else:
        yield f"   <system-out>{content(f'{finding.severity}: {finding.message}', *said)}</system-out>"
    yield "  </testcase>"


def content(*texts: str) -> str:
    """Character data: only characters of XML 1.0, and in US-ASCII, so that no encoding can spoil it."""
    return _ascii(escape("\n".join(lines_of(text) for text in texts)))


def attribute(text: str) -> str:
    """A quoted attribute."""
    return _ascii(quoteattr(printable(text)))


def _ascii(text: str) -> str:
    return text.encode("ascii", "xmlcharrefreplace").decode()


FORMS = {"junit": Junit}
