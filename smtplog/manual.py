"""A rule's manual: its docstring, taken apart.

The form is fixed: one line that says what is wrong, then headings with prose or, after two colons, an indented dialog
in C:/S: notation. ``explain``, ``rules`` and the tests read manuals through this module, never the docstring itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import dedent
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smtplog.findings import Rule

_HEADING = re.compile(r"(Why it matters|Flagged|Fine|What to do|Servers|Reference)(::?)(?: +(.*))?")


@dataclass(frozen=True, slots=True)
class Manual:
    """What the docstring of a rule says."""

    summary: str  #: one line: what is wrong
    why: str
    flagged: tuple[str, ...]  #: dialogs in C:/S: notation that must give the rule's code
    fine: tuple[str, ...]  #: dialogs that must not
    advice: str
    servers: str  #: how the common servers behave
    reference: str

    @classmethod
    def of(cls, rule: Rule) -> Manual:
        """The manual of a rule. What it does not say itself (what to do, reference) is taken from the rule."""
        parts = _parts(rule.manual)
        prose = {heading: " ".join(" ".join(texts).split()) for heading, texts in parts.items()}
        return cls(
            summary=prose[""],
            why=prose.get("Why it matters", ""),
            flagged=tuple(parts.get("Flagged", ())),
            fine=tuple(parts.get("Fine", ())),
            advice=prose.get("What to do") or rule.advice,
            servers=prose.get("Servers", ""),
            reference=prose.get("Reference") or rule.reference,
        )


def _parts(docstring: str) -> dict[str, list[str]]:
    """Heading → the texts under it, in order; the summary stands under ``""``."""
    parts: dict[str, list[list[str]]] = {"": [[]]}
    current, is_dialog = parts[""][0], False
    for line in docstring.splitlines():
        match = _HEADING.fullmatch(line)
        if match:
            current, is_dialog = [match[3] or ""], match[2] == "::"
            parts.setdefault(match[1], []).append(current)
        elif is_dialog and line and not line.startswith(" "):
            raise ValueError(f"a dialog must be indented, and a heading be one that is known: {line!r}")
        else:
            current.append(line)
    return {heading: [dedent("\n".join(text)).strip("\n") for text in texts] for heading, texts in parts.items()}
