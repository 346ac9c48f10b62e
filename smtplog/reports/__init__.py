"""The written forms of findings: one module a form, each with a class that tells findings as they come.

Nothing is collected: a form holds what it needs of one log at most, so that a log may be larger than memory.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtplog.reports.form import Form, Job

#: The values of ``validate --output-format``, each the name of a module here (``json`` and ``jsonl`` share one).
FORMATS = ("text", "json", "jsonl", "sarif", "github", "junit", "csv")
_HOMES = {
    **{"json": "as_json", "jsonl": "as_json", "csv": "as_csv"},
    **{"statistics text": "statistics", "statistics json": "statistics"},
}


def written(name: str, job: Job) -> Form:
    """The form of this name, ready to be told findings."""
    module = import_module(f"{__name__}.{_HOMES.get(name, name)}")
    made: Form = module.FORMS[name](job)
    return made
