"""How often each rule has something to say."""

from __future__ import annotations

from collections import Counter

from smtplog.findings import Finding
from smtplog.reports.form import End, Form, Job, dumps
from smtplog.reports.text import closing


class Statistics(Form):
    """A table, the most frequent first, and the closing line."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.found: Counter[tuple[str, str, str]] = Counter()

    def tell(self, finding: Finding) -> None:
        self.found[finding.code, finding.name, finding.severity] += 1

    def close(self, end: End) -> None:
        rows = [[f"{n:,}", code, severity, name] for (code, name, severity), n in self.found.most_common()]
        self.page.table(rows, right=[0])
        closing(self.page, end, len(self.job.transcript.files))


class JsonStatistics(Statistics):
    """A list of ``code name severity count``."""

    def close(self, end: End) -> None:
        rows = [
            {"code": code, "name": name, "severity": severity, "count": count}
            for (code, name, severity), count in self.found.most_common()
        ]
        self.page.line(dumps(rows, self.page, indent=1))


FORMS = {"statistics text": Statistics, "statistics json": JsonStatistics}
