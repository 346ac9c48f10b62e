"""For eyes: place, severity and rule, the sentence, the lines of the dialog with a marker under the fault, what to do."""

from __future__ import annotations

from collections.abc import Sequence

from smtplog.findings import Finding
from smtplog.output import SEVERITY, Page, printable
from smtplog.reports.form import End, Form

_EDGE = "    | "


class Text(Form):
    """One paragraph a finding, and a closing line."""

    def tell(self, finding: Finding) -> None:
        page, colour = self.page, SEVERITY[finding.severity]
        place = page.paint(f"{printable(finding.source)}:{finding.line}:", "bold")
        sure = "" if finding.confidence == "high" else " (low confidence: replies may be off by one)"
        page.line(f"{place} {page.paint(f'{finding.severity} {finding.code}', colour)} {finding.name}{sure}")
        page.wrapped(finding.message, 2)
        excerpt = finding.excerpt.split("\n") if finding.excerpt else []
        lines = windowed(in_cells(excerpt), page.width - len(_EDGE))
        for line, under in zip(lines, [*lines[1:], ""], strict=True):
            style = colour if is_marker(line) else "" if is_marker(under) else "dim"
            page.line(page.paint(_EDGE, "dim") + page.paint(line, style))
        if finding.corrected:
            page.line(f"  = write: {printable(finding.corrected)}")
        page.wrapped(f"{finding.party}: {finding.advice}", 4, "  = ")
        page.line()

    def close(self, end: End) -> None:
        closing(self.page, end, len(self.job.transcript.files))


def closing(page: Page, end: End, files: int) -> None:
    """The last lines."""
    logs = _number(files, "log")
    if end.written:
        page.line(
            f"{_number(end.hidden, 'finding')} in {logs} written to {printable(str(end.written))}: known from now on"
        )
        return
    page.line(counted(end, logs) if files else "Nothing was read.")
    if end.hidden:
        page.line(f"{_number(end.hidden, 'known finding')} hidden by baseline")
    if end.unseen:
        were = "entry of the baseline was" if end.unseen == 1 else "entries of the baseline were"
        page.line(f"{end.unseen:,} {were} not seen any more; --write-baseline writes it anew")


def counted(end: End, logs: str) -> str:
    """``1 error, 2 warnings in 3 logs``."""
    kinds = [(n, name) for name in ("error", "warning", "info") if (n := end.severities[name])]
    if not kinds:
        return f"No {'new ' if end.hidden else ''}findings in {logs}."
    counts = ", ".join(f"{n:,} info" if name == "info" else _number(n, name) for n, name in kinds)
    return f"{counts} in {logs}"


def _number(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' if n != 1 else ''}"


def is_marker(line: str) -> bool:
    """Whether a line of an excerpt is the marker under the fault."""
    return "^" in line and not line.strip(" ^")


def in_cells(lines: Sequence[str]) -> list[list[str]]:
    """The lines of an excerpt as a terminal shows them, one item a cell: a wide character takes two, one that joins the one
    before it none. The marker stays under what it marks."""
    shown: list[list[str]] = []
    for i, line in enumerate(lines):
        if i and is_marker(line):
            first, length = line.find("^"), line.count("^")
            before, marked = lines[i - 1][:first], lines[i - 1][first : first + length]
            shown.append([" "] * len(_cells(before)) + ["^"] * max(len(_cells(marked)), 1))
        else:
            shown.append(_cells(line))
    return shown


def _cells(line: str) -> list[str]:
    text = printable(line)
    if text.isascii():
        return list(text)
    from rich.cells import cell_len

    cells: list[str] = []
    for character in text:
        width = cell_len(character)
        if width or not cells:
            cells += [character, *[""] * (width - 1)]
        else:
            cells[-1] += character
    return cells


def windowed(lines: Sequence[Sequence[str]], width: int) -> list[str]:
    """The lines of an excerpt (:func:`in_cells`) cut to a width; the faulty one around its marker, so that the marker stays in
    sight."""
    shown = []
    for i, line in enumerate(lines):
        under = lines[i + 1] if i + 1 < len(lines) else ""
        fault, mark = (lines[i - 1], line) if i and is_marker("".join(line)) else (line, under)
        at = "".join(mark).find("^") if is_marker("".join(mark)) else 0
        start = 0 if at < width - 8 else max(min(at - width // 3, len(fault) - width), 0)
        shown.append(_cut(line, start, width))
    return shown


def _cut(line: Sequence[str], start: int, width: int) -> str:
    cells = list(line[start : start + width])
    if is_marker("".join(line)):
        return "".join(cells)
    if start:
        cells[:3] = "..."
    if start + width < len(line):
        cells[-3:] = "..."
    return "".join(cell or "" for cell in cells)


FORMS = {"text": Text}
