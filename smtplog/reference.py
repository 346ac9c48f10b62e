"""Look-ups in ``data/``: reply codes, enhanced status codes, extensions, verbs, parameters, mechanisms, banners.

A checkout has ``data/`` and ``transcripts/`` beside the package; a wheel carries them inside it.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from smtplog.errors import SmtplogError

_HERE = Path(__file__).resolve().parent

CLASSES = {
    2: "done: the server has done what was asked",
    3: "go on: the server waits for more",
    4: "refused for now: the same may work later",
    5: "refused for good: do not repeat it as it is",
}
_PLACES = {
    "0": "syntax",
    "1": "information",
    "2": "connection",
    "3": "security",
    "4": "unspecified",
    "5": "mail system",
}


@cache
def folder(name: str) -> Path:
    """The folder ``data`` or ``transcripts``, wherever smtplog was installed from."""
    for place in (_HERE / f"_{name}", _HERE.parent / name):
        if place.is_dir():
            return place
    raise SmtplogError(f"the folder {name} of smtplog is missing; install smtplog again")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table of ``data/``; ``key`` is its first column, every column is an item."""

    table: str
    fields: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.fields[column]

    @property
    def key(self) -> str:
        return next(iter(self.fields.values()))

    @property
    def source(self) -> str:
        """RFC and section, or where else the row is from."""
        return self.fields["source"]


@cache
def table(name: str) -> tuple[Row, ...]:
    """All rows of one table: ``reply_codes``, ``smtp_extensions`` …"""
    with open(folder("data") / f"{name}.csv", encoding="utf-8", newline="") as file:
        return tuple(Row(name, row) for row in csv.DictReader(file))


@cache
def _index(name: str) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in table(name):
        found.setdefault(row.key.upper(), row)
    return found


def reply_code(code: int) -> Row | None:
    """A reply code (RFC 5321 section 4.2)."""
    return _index("reply_codes").get(str(code))


def meaning(code: int) -> str:
    """What a reply code means, in a few words; an unlisted one is judged by its first digits (section 4.3.2)."""
    row = reply_code(code)
    if row is not None:
        return row["meaning"]
    if code // 100 not in CLASSES:
        return "no reply code of SMTP"
    return f"unlisted; {CLASSES[code // 100]} ({_PLACES.get(str(code)[1], 'unspecified')})"


@cache
def _ranges() -> tuple[tuple[str, range, Row], ...]:
    """The rows of ``5.7.606-649`` and the like: what is before the number, the numbers, the row."""
    found = []
    for row in table("enhanced_status_codes"):
        before, _, numbers = row.key.rpartition(".")
        first, hyphen, last = numbers.partition("-")
        if hyphen:
            found.append((before, range(int(first), int(last) + 1), row))
    return tuple(found)


def enhanced(code: str) -> Row | None:
    """An enhanced status code (RFC 3463); an unknown detail gives its subject, an unknown subject its class.

    A vendor's own code, written in full or as a range of numbers, goes before the general ``X`` row.
    """
    _, _, rest = code.partition(".")
    subject, _, detail = rest.partition(".")
    rows = _index("enhanced_status_codes")
    if code in rows:
        return rows[code]
    for before, numbers, row in _ranges():
        if code == f"{before}.{detail}" and detail.isascii() and detail.isdigit() and int(detail) in numbers:
            return row
    for key in (f"X.{subject}.{detail}", f"X.{subject}.0", "X.0.0"):
        if key in rows:
            return rows[key]
    return None


def extension(keyword: str) -> Row | None:
    """An EHLO keyword."""
    return _index("smtp_extensions").get(keyword.upper())


def verb(name: str) -> Row | None:
    """A command verb."""
    return _index("command_verbs").get(name.upper())


def verbs() -> tuple[str, ...]:
    """All verbs that are known."""
    return tuple(_index("command_verbs"))


def parameter(name: str) -> tuple[Row, ...]:
    """A parameter of MAIL or RCPT, once for each command that has it."""
    return tuple(row for row in table("mail_parameters") if row.key.upper() == name.upper())


def mechanism(name: str) -> Row | None:
    """A SASL mechanism."""
    return _index("auth_mechanisms").get(name.upper())


def peer_event(name: str) -> Row | None:
    """What Suricata or Zeek calls a fault, by its name there; ``smtp.`` before those of Suricata makes no difference."""
    return _index("peer_events").get(name.upper().removeprefix("SMTP."))


@cache
def _banners() -> tuple[tuple[re.Pattern[str], str], ...]:
    rows = [row for row in table("server_banners") if row["where"] == "greeting"]
    return tuple((re.compile(row["regex"]), row["software"]) for row in rows)


def software(greeting: str) -> str | None:
    """The server software that the text of a greeting names."""
    greeting = greeting[:512]
    found = [(match.start(), name) for pattern, name in _banners() if (match := pattern.search(greeting))]
    return found[0][1] if found else None


@cache
def _texts() -> tuple[tuple[re.Pattern[str], Row], ...]:
    return tuple((re.compile(row["regex"]), row) for row in table("reply_texts"))


def other_log(lines: list[str]) -> Row | None:
    """The log of ``data/other_logs.csv`` that most of these lines are of: it is about mail and holds no dialog. None where a
    tenth of them or less is of one."""
    said = [line[:2048] for line in lines if line.strip()]
    rows = [(re.compile(row["regex"]), row) for row in table("other_logs")]
    counts = [sum(form.search(line) is not None for line in said) for form, _ in rows]
    most = max(range(len(rows)), key=counts.__getitem__)
    headed = rows[most][0].pattern.startswith("^#")  # it stands once, above the rows
    return rows[most][1] if counts[most] > (0 if headed else len(said) / 10) else None


#: An enhanced status code inside a text: what a continuation line begins with, once the lines are joined.
_REPEATED = re.compile(r" [245]\.[0-9]{1,3}\.[0-9]{1,3} ")


def situations(words: str, severity: int = 0) -> tuple[Row, ...]:
    """The well-known situations that the text of a reply describes, the first named in ``data/reply_texts.csv`` first.

    Severity is the first digit of the reply code; without it every row may fit.
    """
    words = _REPEATED.sub(" ", words[:2048])
    return tuple(
        row for pattern, row in _texts() if (not severity or str(severity) in row["classes"]) and pattern.search(words)
    )
