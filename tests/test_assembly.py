"""Lines of a log put together: what the suffixes of rules mean, on lines that only differ in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtplog import read
from smtplog.formats.assembly import unescaped, unglued

ESCAPED = st.binary(max_size=40)


@given(ESCAPED)
def test_a_python_literal_gives_back_its_octets(octets: bytes) -> None:
    assert unescaped(repr(octets)[2:-1]) == octets


@pytest.mark.parametrize(
    ("literal", "octets"),
    [
        (r"\#{x} \"y\" \e", b'#{x} "y" \x1b'),  # Ruby's String#dump
        (r"\a\b\t\n\v\f\r", bytes(range(7, 14))),
        (r"\u00e9\u{1F600}", "é😀".encode()),
        (r"http:\/\/example.org\/", b"http://example.org/"),  # JSON as PHP writes it
        (r"C:\q", rb"C:\q"),  # no escape at all: it stays
    ],
)
def test_literals_of_other_languages(literal: str, octets: bytes) -> None:
    assert unescaped(literal) == octets


WORDS = st.text(alphabet="abcXYZ .:[]@<>", min_size=1, max_size=20).map(str.strip).filter(bool)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("250-a250-SIZE 1250 OK", ["250-a", "250-SIZE 1", "250 OK"]),
        ("250-a 250-SIZE 35882577250-8BITMIME 250 HELP", ["250-a", "250-SIZE 35882577", "250-8BITMIME", "250 HELP"]),
        ("250-a<CRLF>250-b<CRLF>250 c<CRLF>", ["250-a", "250-b", "250 c"]),
        (r"220-a\r\n220 b\r\n", ["220-a", "220 b"]),
        ("354 End data with <CRLF>.<CRLF><CRLF>", ["354 End data with <CRLF>.<CRLF>"]),
        ("250-cut off", ["250-cut off"]),
        ("550 250-250 is no code here", ["550 250-250 is no code here"]),
        ("Subject: x<CRLF><CRLF>hello <CRLF>", ["Subject: x", "", "hello "]),
    ],
)
def test_glued_lines(text: str, lines: list[str]) -> None:
    assert unglued(text) == lines


@given(st.lists(WORDS, min_size=2, max_size=6), st.sampled_from(["", " ", "<CRLF>", "<EOL>", r"\r\n"]))
def test_glued_lines_come_apart(words: list[str], glue: str) -> None:
    lines = [*(f"250-{word}" for word in words[:-1]), f"250 {words[-1]}"]
    assert unglued(glue.join(lines)) == lines


@pytest.mark.parametrize("size", [1, 1 << 22])
def test_a_line_stands_where_it_is_complete(tmp_path: Path, size: int) -> None:
    """Also where its dialog is carried from one block to the next: RCPT begins before the reply to MAIL and ends behind it."""
    said = [
        ("\t", "220 mx.example.net ESMTP\r\n"),
        ("", "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@exam"),
        ("\t", "250 Ok\r\n"),
        ("", "ple.net>\r\n"),
        ("\t", "550 No such user\r\n"),
    ]
    chunks = "".join(f"{mark}{len(octets)}\n{octets}\n" for mark, octets in said)
    log = tmp_path / "log"
    log.write_text(f"Follow: tcp,ascii\n{chunks}", encoding="utf-8", newline="\n")
    (dialog,) = read(log, input_format="tshark-follow", block_size=size)
    assert [each.command for each in dialog.exchanges] == ["MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>"]
    assert not any(each.pipelined for each in dialog.exchanges)


@pytest.mark.parametrize("size", [1, 1 << 22])
def test_an_address_without_a_key_is_not_handed_on(tmp_path: Path, size: int) -> None:
    """The lines of a session have the addresses of the line with its key; those that another line says are its own."""
    words = [
        "Session 0021; child 0001",
        "Attempting SMTP connection to 203.0.113.5:25",
        "<-- 220 mx1.example.com ESMTP",
        "--> EHLO ws.example.org",
        "<-- 250 mx1.example.com",
        "SMTP session terminated (Bytes in/out: 300/1200)",
        "<-- 220 mx.example.net ESMTP",
        "--> EHLO ws.example.org",
        "<-- 250 mx.example.net",
    ]
    log = tmp_path / "log"
    log.write_text("".join(f"Mon 2026-01-05 10:11:12.{i:03}: 05: {each}\n" for i, each in enumerate(words)))
    told = [each.server for each in read(log, input_format="mdaemon", block_size=size)]
    assert told == ["203.0.113.5:25", None]
