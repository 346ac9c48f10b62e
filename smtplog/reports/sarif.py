"""SARIF 2.1.0 (OASIS standard), written piece by piece: the rules that were on, the results, the invocation.

Results have no ``fixes``: a log is a record, and a tool that writes the corrected command into it would falsify it. The
corrected line stands in the properties of the result.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

from smtplog import __version__
from smtplog.baseline import faulty_line, fingerprint
from smtplog.findings import Finding, Rule
from smtplog.output import printable
from smtplog.reports.book import capital, manual_of, markdown
from smtplog.reports.form import End, Form, Job, Listed, dumps, lines_of, log_column, place

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {"error": "error", "warning": "warning", "info": "note"}
_RFC = re.compile(r"RFC (\d+)(?: (?:section )?(\d+(?:\.\d+)*))?")


class Sarif(Form):
    """One run."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._index = {each.code: i for i, each in enumerate(job.rules)}
        self._seen: Counter[str] = Counter()
        line = self.page.line
        line(f'{{\n"$schema": "{SCHEMA}",\n"version": "2.1.0",\n"runs": [\n{{')
        line(f'"tool": {{"driver": {{"name": "smtplog", "semanticVersion": "{__version__}", "rules": [')
        rules = Listed(self.page)
        for each in job.rules:
            rules.add(descriptor(each))
        rules.end()
        line(']}},\n"columnKind": "unicodeCodePoints",\n"results": [')
        self._results = Listed(self.page)

    def tell(self, finding: Finding) -> None:
        print_ = fingerprint(finding, place(finding.source))
        self._seen[print_] += 1
        self._results.add(
            {
                "ruleId": finding.code,
                "ruleIndex": self._index.get(finding.code, -1),
                "level": LEVELS[finding.severity],
                "message": {"text": plain(f"{finding.message} {finding.advice}")},
                "locations": [{"physicalLocation": physical_location(finding, self.job)}],
                "partialFingerprints": {"smtplogFinding/v1": f"{print_}:{self._seen[print_]}"},
                "properties": properties(finding),
            }
        )

    def close(self, end: End) -> None:
        self._results.end()
        errors = self.job.transcript.errors
        told: dict[str, Any] = {"executionSuccessful": not errors}
        if errors:
            told["toolExecutionNotifications"] = [
                {"level": "error", "message": {"text": plain(sentence)}} for sentence in errors
            ]
        self.page.line(f'],\n"invocations": [{dumps(told, self.page)}]\n}}\n]\n}}')


def descriptor(rule: Rule) -> dict[str, Any]:
    """A ``reportingDescriptor``: the rule and its manual."""
    manual = manual_of(rule)
    told: dict[str, Any] = {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": manual.summary or rule.name},
        "fullDescription": {"text": capital(manual.why or manual.summary or rule.name)},
        "help": {"text": rule.manual or rule.advice, "markdown": markdown(rule, heading="")},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {"tags": ["smtp", rule.family], "party": rule.party, "reference": rule.reference},
    }
    if found := _RFC.search(rule.reference):
        section = f"#section-{found[2]}" if found[2] else ""
        told["helpUri"] = f"https://www.rfc-editor.org/rfc/rfc{found[1]}{section}"
    return told


def physical_location(finding: Finding, job: Job) -> dict[str, Any]:
    """Where a finding stands; the snippet shows the faulty line without its mark, the whole excerpt as rendered."""
    first = max(finding.line, 1)
    region: dict[str, Any] = {"startLine": first, "endLine": max(finding.end_line, first)}
    if (column := log_column(finding, job)) and region["endLine"] == first:
        region["startColumn"] = column
    if finding.excerpt:
        line = re.sub(r"^[CS*][!?]?: ?", "", faulty_line(finding))
        region["snippet"] = {"text": printable(line), "rendered": {"text": lines_of(finding.excerpt)}}
    return {"artifactLocation": {"uri": uri(finding.source)}, "region": region}


def properties(finding: Finding) -> dict[str, Any]:
    """What of a finding SARIF has no place for."""
    names = ("dialog", "party", "confidence", "advice", "reference", "corrected")
    found = {name: getattr(finding, name) for name in names}
    return {name: printable(value) for name, value in found.items() if value}


def uri(source: str) -> str:
    """A path as a URI reference: relative where it lies below the working directory."""
    path = place(source)
    if os.path.isabs(path):
        return Path(path).as_uri()
    return quote(path, safe="/", errors="surrogateescape")


def plain(text: str) -> str:
    """A plain text message in which nothing of a log becomes a link (SARIF 3.11.6)."""
    return re.sub(r"\](?=\()", r"\\]", printable(text))


FORMS = {"sarif": Sarif}
