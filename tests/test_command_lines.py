"""Command lines, right and broken, in a session where the verb may stand: each broken one has one finding, at its column."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from smtplog import read
from smtplog.findings import chosen
from smtplog.script import escaped
from smtplog.speech import split

#: ``command_lines.csv``: the line, the rule that its fault belongs to (empty: it is right), severity, column.
ROWS = list(csv.DictReader((Path(__file__).parent / "command_lines.csv").open(encoding="utf-8", newline="")))
KEYWORDS = [
    "SIZE 1000000",
    "8BITMIME",
    "BINARYMIME",
    "CHUNKING",
    "DSN",
    "SMTPUTF8",
    "AUTH PLAIN",
    "DELIVERBY",
    "FUTURERELEASE",
    "MT-PRIORITY",
    "REQUIRETLS",
    "NO-SOLICITING",
    "MTRK",
    "CHECKPOINT",
    "CONPERM",
    "CONNEG",
    "RRVS",
    "XVERP",
    "ETRN",
    "ATRN",
    "STARTTLS",
    "XCLIENT NAME",
    "EXPN",
    "HELP",
    "X-LOCAL",
    "X",
]
ANSWERS = {"QUIT": "221 Bye", "AUTH": "334 ", "EHLO": "250 mx", "HELO": "250 mx", "LHLO": "250 mx"}
SYNTAX = chosen(["SYN", "DSN", "EXT", "TEL", "SEQ"], ["SYN006"])


def session(line: str, reply: str) -> str:
    verb = split(line.lstrip())[0]
    said = ["S: 220 mx.example.net ESMTP"]
    if verb not in ("EHLO", "HELO", "LHLO"):
        said += [
            "C: EHLO client.example.org",
            "S: 250-mx.example.net",
            *(f"S: 250-{word}" for word in KEYWORDS),
            "S: 250 X",
        ]
    if verb.startswith("RCPT") or verb == "BDAT":
        said += ["C: MAIL FROM:<a@example.org>", "S: 250 Ok"]
    if verb == "BDAT":
        said += ["C: RCPT TO:<c@example.net>", "S: 250 Ok"]
    return "\n".join([*said, f"C!: {escaped(line)}\\r\\n", f"S: {reply}", ""])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["line"][:60].encode("unicode_escape").decode())
def test_the_verdict(row: dict[str, str], tmp_path: Path) -> None:
    line, code = row["line"], row["code"]
    if not code:
        reply = ANSWERS.get(split(line)[0], "250 Ok")
    else:  # what is worth a warning only is accepted, unless the rule itself warns of what is refused
        accepted = row["severity"] != "error" and code not in ("SYN019", "SYN021")
        reply = "250 Ok" if accepted else "500 no" if code == "SYN020" else "501 no"
    path = tmp_path / "a.dialog"
    path.write_text(session(line, reply), encoding="utf-8")
    found = list(read(path, input_format="cs-dialog").check(SYNTAX))
    told = [
        (each.code, each.severity, str(each.column)) for each in found if each.code != "SEQ024"
    ]  # LHLO is no fault here
    assert told == ([(code, row["severity"], row["column"])] if code else [])
    assert all(each.corrected != line for each in found)


def test_every_rule_has_its_lines() -> None:
    assert {row["code"] for row in ROWS} >= {f"SYN{n:03}" for n in range(1, 25) if n != 6}
