"""JSON: a list of findings, or one finding a line."""

from __future__ import annotations

from smtplog.findings import Finding
from smtplog.reports.form import End, Form, Job, Listed, dumps


class Json(Form):
    """A list of objects, the fields of :meth:`Finding.to_json`."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.page.line("[")
        self._list = Listed(self.page)

    def tell(self, finding: Finding) -> None:
        self._list.add(finding.to_json())

    def close(self, end: End) -> None:
        self._list.end()
        self.page.line("]")


class JsonLines(Form):
    """One object a line."""

    def tell(self, finding: Finding) -> None:
        self.page.line(dumps(finding.to_json(), self.page))


FORMS = {"json": Json, "jsonl": JsonLines}
