"""Lines that no rule reads: counted, told with their place, kept as notes for who asks."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from smtplog import formats, read
from smtplog.lines import read_blocks
from tests.conftest import samples
from tests.test_cli import smtplog

SWAKS = "=== Trying mx:25...\n<-  220 mx\nhello\n -> QUIT\n\n<-  221 Bye\nworld\n"
EXCHANGE = """#Log-type: SMTP Receive Protocol Log
#Fields: date-time,connector-id,session-id,sequence-number,local-endpoint,remote-endpoint,event,data,context
2026-01-11T15:59:53.909Z,C,08DE000000000001,0,192.0.2.1:25,198.51.100.7:56026,>,220 mx,
2026-01-11T15:59:53.909Z,C,08DE000000000001,1,192.0.2.1:25,198.51.100.7:56026,?,what,
2026-01-11T15:59:53.909Z,C,08DE000000000001,2,192.0.2.1:25,198.51.100.7:56026,<,QUIT,
{}2026-01-11T15:59:53.909Z,C,08DE000000000001,3,192.0.2.1:25,198.51.100.7:56026,>,221 bye,
"""
TELNET = """It was like this:
$ telnet mx.example.net 25
Trying 192.0.2.25...
Connected to mx.example.net.
220 mx.example.net ESMTP
QUIT
221 bye
Connection closed by foreign host.
And that was all.
"""
INSIDE = (
    f"$ swaks --to b@example.net\n{SWAKS.replace('world', '=== Connection closed with remote host.')}$ exit\nlogout\n"
)
UNDATED = """203.0.113.5     [1A2B] 23:59:58 Connected, local IP=192.0.2.1
203.0.113.5     [1A2B] 23:59:58 >>> 220 mx.example.net ESMTP
203.0.113.5     [1A2B] 23:59:58 <<< QUIT
203.0.113.5     [1A2B] 00:00:01 >>> 221 bye
"""
LOGS = {
    "capture": ("telnet-unix", TELNET, 2, 1),
    "capture around a log": ("telnet-unix", INSIDE, 2, 4),
    "lines": ("swaks", SWAKS, 2, 3),
    "delimited": ("exchange", EXCHANGE.format(""), 1, 4),
    "delimited, line by line": ("exchange", EXCHANGE.format("gibberish\n"), 2, 4),
}


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.parametrize("size", [1, 61, 1 << 20])
def test_they_are_counted(kind: str, size: int, tmp_path: Path) -> None:
    slug, text, count, first = LOGS[kind]
    (tmp_path / "log").write_text(text)
    log = read(tmp_path / "log", input_format=slug, block_size=size)
    assert len(list(log)) == 1
    assert (log.files[0].not_understood, log.files[0].first_not_understood) == (count, first)


@pytest.mark.parametrize("kind", LOGS)
def test_they_are_told(kind: str, tmp_path: Path) -> None:
    slug, text, count, first = LOGS[kind]
    path = tmp_path / "log"
    path.write_text(text)
    words = f"{count} line{'s' if count > 1 else ''} not understood, first at line {first}"
    ran = smtplog("analyze", "--input-format", slug, str(path))
    assert words in ran.stdout.decode(), "in the note on one session"
    path.write_text(text + text)
    ran = smtplog("analyze", "--input-format", slug, str(path))
    assert f"{2 * count} lines not understood, first at line {first}" in ran.stdout.decode(), "in the overview"
    ran = smtplog("analyze", "--input-format", slug, "--output-format", "json", str(path))
    (row,) = json.loads(ran.stdout)["files"]
    assert (row["not_understood"], row["first_not_understood"]) == (2 * count, first)


def test_each_file_of_a_rotated_log_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_text(EXCHANGE.format(""))
    (tmp_path / "log").write_text(EXCHANGE.format("gibberish\n"))
    log = read(tmp_path / "log.1", tmp_path / "log", input_format="exchange")
    list(log)
    assert [(each.not_understood, each.first_not_understood) for each in log.files] == [(1, 4), (2, 4)]


@pytest.mark.parametrize("kind", LOGS)
def test_they_are_notes_for_who_asks(kind: str, tmp_path: Path) -> None:
    slug, text, _, first = LOGS[kind]
    (tmp_path / "log").write_text(text)
    plain, noted = (read(tmp_path / "log", input_format=slug, notes=notes).events for notes in (False, True))
    said = noted[noted["kind"] != "note"]
    assert len(plain) == len(said) and list(plain.columns) == list(noted.columns)
    notes = noted[noted["kind"] == "note"]
    assert notes["dialog"].isna().all() and first in notes["line"].tolist()
    lines = text.splitlines()
    for line, words in zip(notes["line"], notes["text"], strict=True):
        assert words in lines[line - 1]


@pytest.mark.parametrize("log", samples(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_line_is_lost(log: Path) -> None:
    """With notes, a line of a log is in an event, or was put together with one that is."""
    declaration = formats.declaration(log.parent.name)
    reader = formats.reader(declaration)
    reader.notes = True
    with open(log, "rb") as stream:
        (block,) = read_blocks(stream, size=1 << 22)
    found = [part for part in (reader.read(block), reader.finish()) if part is not None]
    told = {line for part in found for line in part.line.tolist()}
    for number in set(range(1, len(block) + 1)) - told:
        assert declaration.kind == "lines" and reader.fits(block)[number - 1].any()


def test_notes_hold_no_secret(tmp_path: Path) -> None:
    text = "<-  220 mx\n -> AUTH PLAIN AHVzZXIAc2VjcmV0cGFzcw==\n<-  235 ok\n -> QUIT\n<-  221 bye\n"
    text += "he said secretpass\nAUTH LOGIN b3RoZXJwYXNz\nand AHVzZXIAc2VjcmV0cGFzcw== again\n"
    (tmp_path / "log").write_text(text)
    masked, shown = (read(tmp_path / "log", notes=True, show_secrets=show).events for show in (False, True))
    told = " ".join(masked["text"])
    assert masked["text"].tolist()[-3:] == ["he said ********", "AUTH LOGIN ********", "and ******** again"]
    for secret in ("secretpass", "AHVzZXIAc2VjcmV0cGFzcw", "b3RoZXJwYXNz"):
        assert secret not in told and secret in " ".join(shown["text"])


def test_a_log_inside_a_capture_has_the_calendar(tmp_path: Path) -> None:
    """Its stamps are read as they would be by themselves, and what was assumed of them is told."""
    (tmp_path / "log").write_text(f"$ cat log\n{UNDATED}$ telnet mx 25\nTrying 192.0.2.25...\n220 mx\nQUIT\n221 bye\n")
    log = read(tmp_path / "log", input_format="telnet-unix", date=date(2026, 3, 1), timezone="+01:00")
    assert [dialog.started for dialog in log] == [datetime(2026, 3, 1, 22, 59, 58, tzinfo=UTC), None]
    assert log.files[0].assumed == []
    log = read(tmp_path / "log", input_format="telnet-unix", date=date(2026, 3, 1))
    list(log)
    assert log.files[0].assumed == ["the log names no time zone: UTC is assumed, --timezone names another"]
