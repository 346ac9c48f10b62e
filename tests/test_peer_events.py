"""Every event of Suricata and Zeek is told by a rule here, or the table says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtplog import reference
from smtplog.explain import explain
from smtplog.findings import book
from smtplog.reports.book import chapters
from tests.test_rules import findings

EVENTS = reference.table("peer_events")

OPEN = "S: 220 mx.example.net ESMTP\nC: EHLO c.example.org\n"
HELLO = f"{OPEN}S: 250-mx.example.net\nS: 250-CHUNKING\nS: 250-STARTTLS\nS: 250 SIZE 1000000\n"
MAIL = f"{HELLO}C: MAIL FROM:<a@example.org>\nS: 250 Ok\n"
RCPT = f"{MAIL}C: RCPT TO:<b@example.net>\nS: 250 Ok\n"
TEXT = f"{RCPT}C: DATA\nS: 354 Go ahead\nC: From: a@example.org\nC: Date: Mon, 1 Jan 2024 00:00:00 +0000\nC:\n"
LONG = "x" * 600
PIPELINED = "S: 250-mx.example.net\nS: 250 PIPELINING\n"

#: Event → dialogs; each rule of its row is raised by one of them.
DIALOGS: dict[str, tuple[str, ...]] = {
    "invalid_reply": (f"{OPEN}S: 4.7.0 later\n",),
    "unable_to_match_reply_with_request": (f"{HELLO}S: 250 Ok\nC: NOOP\nS: 250 Ok\n",),
    "max_command_line_len_exceeded": (f"{HELLO}C: VRFY {LONG}\nS: 500 Line too long\n",),
    "max_reply_line_len_exceeded": (f"{HELLO}C: NOOP\nS: 250 {LONG}\n",),
    "invalid_pipelined_sequence": (
        f"{OPEN}{PIPELINED}C: EHLO c.example.org\nC: MAIL FROM:<a@example.org>\n{PIPELINED}S: 250 Ok\n",
        f"{HELLO}C: NOOP\nC: NOOP\nS: 250 Ok\nS: 250 Ok\n",
    ),
    "bdat_chunk_len_exceeded": (f"{RCPT}C!: BDAT 5 LAST\\r\\nHello world\\r\\n\nS: 250 Ok\n",),
    "invalid_bdat": (f"{RCPT}C: BDAT\nS: 501 5.5.4 no\n",),
    "no_server_welcome_message": (f"S: 250 mx.example.net\n{OPEN[27:]}S: 250 mx.example.net\n",),
    "tls_rejected": (f"{HELLO}C: STARTTLS\nS: 502 5.5.1 no\n",),
    "data_command_rejected": (f"{RCPT}C: DATA\nS: 554 5.7.1 no\n", f"{MAIL}C: DATA\nS: 503 5.5.1 no\n"),
    "failed_protocol_change": (
        f"{HELLO}C: STARTTLS\nS: 220 go\n*: tls failed\nC: MAIL FROM:<a@example.org>\nS: 250 Ok\n",
    ),
    "mime_long_line": (f"{TEXT}C: {LONG}{LONG}\nC: .\nS: 250 Ok\n",),
    "duplicate_fields": (
        f"{MAIL}C: MAIL FROM:<b@example.org>\nS: 503 no\n",
        f"{HELLO}C: EHLO c.example.org\nS: 250 mx.example.net\n",
    ),
    "truncated_line": (f"{HELLO}C: VRFY {LONG}\nS: 500 no\n", f"{HELLO}C: NOOP\nS: 250 {LONG}\n"),
    "line does not end with CRLF": (f"{TEXT}C!: Hello\\nx\\r\\n\nC: .\nS: 250 Ok\n",),
    "bare CR or LF in line": (
        f"{TEXT}C!: Hello\\rx\\r\\n\nC: .\nS: 250 Ok\n",
        f"{TEXT}C!: Hello\\nx\\r\\n\nC: .\nS: 250 Ok\n",
    ),
    "out of order": (
        "S: 220 mx.example.net ESMTP\nC: MAIL FROM:<a@example.org>\nS: 503 hello first\n",
        f"{HELLO}C: RCPT TO:<b@example.net>\nS: 503 no\n",
        f"{MAIL}C: DATA\nS: 503 no\n",
    ),
    "unknown command": (f"{HELLO}C: FROB x\nS: 500 what\n", f"{HELLO}C: RCTP TO:<b@example.net>\nS: 500 what\n"),
    "reply code out of range": (f"{HELLO}C: NOOP\nS: 650 Ok\n",),
    "reply code does not match the continuing reply": (f"{OPEN}S: 250-mx.example.net\nS: 220 SIZE\n",),
    "unexpected command": (
        f"{HELLO}C: RCPT TO:<b@example.net>\nS: 503 no\n",
        f"{MAIL}C: DATA\nS: 503 no\n",
        f"{MAIL}C: MAIL FROM:<b@example.org>\nS: 503 no\n",
    ),
    "unexpected reply": (f"{HELLO}C: NOOP\nS: 354 go\n", f"{HELLO}S: 250 Ok\nC: NOOP\nS: 250 Ok\n"),
    "smtp_mail_transaction_invalid": (
        f"{HELLO}C: RCPT TO:<b@example.net>\nS: 503 no\n",
        f"{MAIL}C: DATA\nS: 503 no\n",
    ),
    "smtp_nested_mail_transaction": (f"{MAIL}C: MAIL FROM:<b@example.org>\nS: 503 no\n",),
    "smtp_unmatched_end_of_data": (f"{HELLO}C: .\nS: 500 what\n",),
    "smtp_excessive_pending_cmds": (f"{HELLO}C: NOOP\nC: NOOP\nC: NOOP\n*: close server\n",),
    "smtp_missing_bdat_last_chunk": (f"{RCPT}C: BDAT 5\nC: Hello\nS: 250 Ok\nC: MAIL FROM:<x@example.org>\nS: 503 no\n",),
    "smtp_bdat_undelivered_at_done": (f"{RCPT}C: BDAT 500 LAST\nC: Hello\n*: close client\n",),
    "smtp_invalid_bdat_command": (f"{RCPT}C: BDAT\nS: 501 5.5.4 no\n",),
    "smtp_bdat_chunk_overflow": (f"{RCPT}C!: BDAT 5 LAST\\r\\nHello world\\r\\n\nS: 250 Ok\n",),
    "smtp_bdat_negative_len": (f"{RCPT}C: BDAT -5 LAST\nS: 501 5.5.4 no\n",),
    "smtp_bdat_line_cr_only": (f"{RCPT}C!: BDAT 12 LAST\\r\\nHello\\rworld\\r\nS: 250 Ok\n",),
    "smtp_bdat_line_lf_only": (f"{RCPT}C!: BDAT 12 LAST\\r\\nHello\\nworld\\n\nS: 250 Ok\n",),
    "smtp_too_many_rcptto_addresses": (f"{MAIL}C: RCPT TO:<b@example.net>\nS: 552 too many recipients\n",),
    "smtp_max_path_length_exceeded": (f"{HELLO}C: MAIL FROM:<{'x' * 60}@{'y' * 60}.{LONG[:180]}.example.org>\nS: 501 no\n",),
}  # fmt: skip


def test_all_of_suricata_and_zeek_stand_in_the_table() -> None:
    by_tool = [row["tool"] for row in EVENTS]
    assert {tool: by_tool.count(tool) for tool in set(by_tool)} == {
        "Suricata": 23,
        "Zeek smtp_unexpected": 10,
        "Zeek weird": 19,
    }
    assert len({row.key for row in EVENTS}) == len(EVENTS)


@pytest.mark.parametrize("row", EVENTS, ids=lambda row: row.key)
def test_a_rule_tells_of_it_or_the_table_says_why_not(row: reference.Row, tmp_path: Path) -> None:
    codes = set(row["rules"].split())
    assert codes <= book().keys()
    assert codes or row["note"].endswith(".")
    told = {finding.code for dialog in DIALOGS.get(row.key, ()) for finding in findings(dialog, tmp_path)}
    assert codes <= told


@pytest.mark.parametrize("row", EVENTS, ids=lambda row: row.key)
@pytest.mark.parametrize("before", ["", "smtp."])
def test_explain_finds_it(row: reference.Row, before: str) -> None:
    first, *rules = explain(before + row.key.upper()).entries
    assert first.title == f"{row['tool']}: {row.key}"
    assert [entry.title[:6] for entry in rules] == row["rules"].split()


def test_the_table_stands_in_the_manual() -> None:
    *_, table = chapters(list(book().values()))
    lines = table.splitlines()
    assert len(lines) == len(EVENTS) + 2
    assert all(line.count(" | ") == 3 for line in lines[2:])
