"""Rules of message text: what octets say, how long lines are, what the server took for commands."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from smtplog import read
from smtplog.findings import BOOK, book, chosen
from smtplog.formats.assembly import unescaped, wire_lines
from smtplog.judging import check
from smtplog.lines import END_OCTETS

book()
FOLDER = tempfile.TemporaryDirectory()
OPEN = "S: 220 mx.example.net ESMTP ready\nC: EHLO client.example.org\nS: 250-mx.example.net\nS: 250 CHUNKING\n"
OPEN += "C: MAIL FROM:<a@example.org>\nS: 250 Ok\nC: RCPT TO:<b@example.net>\nS: 250 Ok\n"
DATA = OPEN + "C: DATA\nS: 354 Go ahead\n"
HEADER = "C: From: a@example.org\nC: Date: Mon, 1 Jan 2024 00:00:00 +0000\nC:\n"
RAW = r"C!: From: a@example.org\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\n"
END = "C: .\nS: 250 Ok\n"
SMUGGLED = r"MAIL FROM:<c@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nboo\r\n.\r\n"


def told(text: str) -> list[tuple[str, str, str]]:
    """Code, severity and party of each finding."""
    path = Path(FOLDER.name) / "log.dialog"
    path.write_text(text, encoding="utf-8")
    return [(each.code, each.severity, each.party) for each in read(path).check(BOOK.values())]


def codes(text: str) -> list[str]:
    return [code for code, _, _ in told(text)]


def escaped(octets: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in octets)


@given(st.binary(max_size=200))
def test_raw_octets_are_all_kept(octets: bytes) -> None:
    """The lines of ``C!:`` and their ends are as long as what was sent; CRs before CRLF and NULs behind CR belong to an end."""
    kept = octets.replace(b"\r\0", b"\r")
    while b"\r\r\n" in kept or b"\r\0" in kept:
        kept = kept.replace(b"\r\r\n", b"\r\n").replace(b"\r\0", b"\r")
    total = 0
    for text, end, flags in wire_lines(unescaped(escaped(kept))):
        total += len(text.encode("latin-1" if flags & 4 else "utf-8")) + END_OCTETS[end]
    assert total == len(kept)


PIECES = [
    "a: b",
    "From: x",
    "Date : y",
    " folded",
    "\t",
    "",
    "text",
    ": z",
    ".x",
    "..",
    "é",
    "x" * 999,
    "Received: q",
    ". ",
]


@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6), min_size=1, max_size=4), st.booleans())
def test_the_marks_pass_over_no_fault(messages: list[list[str]], limited: bool) -> None:
    """What the rules see of the sessions that the marks leave is what they would see of all."""
    dialog = DATA.replace("S: 250-mx.example.net", "S: 250-mx.example.net\nS: 250-SIZE 40") if limited else DATA
    path = Path(FOLDER.name) / "many.dialog"
    texts = ("".join(f"C: {line}\n" for line in lines) for lines in messages)
    path.write_text(
        "".join(f"*: connect\n{dialog}{text}{END}C: QUIT\nS: 221 Bye\n" for text in texts), encoding="utf-8"
    )
    rules = chosen(("DAT", "TEL005", "EXT006"))
    log = read(path)
    assert list(log.check(rules)) == [each for dialog in log for each in check(dialog, rules)]


TEXT = st.binary(min_size=1, max_size=60).map(lambda octets: b"a" + octets.translate(None, b"\r\n\0") + b"\r\n")


@given(st.lists(TEXT, min_size=1, max_size=5), st.integers(-3, 3))
def test_chunks_are_counted_in_octets(lines: list[bytes], wrong: int) -> None:
    octets = b"".join(lines)
    assume(len(octets) + wrong > 0)  # behind an empty last chunk a line is a command of its own
    text = f"{OPEN}C: BDAT {len(octets) + wrong} LAST\nC!: {escaped(octets)}\nS: 250 Ok\nC: QUIT\nS: 221 Bye\n"
    assert ("DAT009" in codes(text)) == (wrong != 0)


@given(st.lists(TEXT, max_size=5), st.sampled_from([b"\n", b"\r", b"\r\n"]))
def test_line_ends_are_judged_where_they_are_known(lines: list[bytes], end: bytes) -> None:
    octets = b"".join([*lines, b"last" + end, b"x\r\n.\r\n"])
    found = codes(f"{DATA}C!: {escaped(octets)}\nS: 250 Ok\n")
    assert ("DAT002" in found) == (end == b"\n")
    assert ("DAT003" in found) == (end == b"\r")


@given(st.lists(TEXT, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_a_text_capture_tells_no_line_ends(lines: list[bytes], end: str) -> None:
    text = DATA + HEADER + "".join(f"C: {line[:-2].decode('latin-1')}\n" for line in lines) + END
    path = Path(FOLDER.name) / "log.txt"
    said = "".join(line[3:] + end for line in text.splitlines())
    path.write_text(said + "221 Bye\n", encoding="utf-8", newline="")
    for each in read(path, input_format="bare-dialog").check(BOOK.values()):
        assert each.code not in ("DAT002", "DAT003", "DAT005")


@pytest.mark.parametrize("dot", [r"\n.\n", r"\n.\r\n", r"\r.\r", r"\r\n.\n", r"\r\n.\r", r"\r.\r\n", r"\r\n\x00.\r\n"])
def test_every_false_end_is_seen(dot: str) -> None:
    assert ("DAT005", "error", "client") in told(f"{DATA}{RAW}hi{dot}{SMUGGLED}\nS: 250 Ok\n")
    assert ("DAT005", "warning", "client") in told(rf"{DATA}{RAW}hi{dot}there\r\n.\r\n" + "\nS: 250 Ok\n")
    assert "DAT005" not in codes(rf"{DATA}{RAW}hi\r\n..\r\nthere\r\n.\r\n" + "\nS: 250 Ok\n")


RAW_HI = DATA + RAW + r"hi"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # a server that took the false end: it answers too often, or right there
        (
            RAW_HI + r"\n.\n" + SMUGGLED + "\n" + "S: 250 Ok\n" * 3 + "S: 354 Go ahead\nS: 250 Ok\n",
            [("DAT005", "error", "server")],
        ),
        (
            RAW_HI + r"\n.\r\n" + "\nS: 250 Ok\nC: the rest\nS: 500 no\nC: .\nS: 500 no\n",
            [("DAT005", "warning", "server")],
        ),
        # a client that sends LF everywhere means its dot as an end
        (
            DATA + r"C!: From: a@example.org\nDate: x\n\nhi\n.\n" + "\nS: 250 Ok\n" + r"C!: QUIT\n" + "\nS: 221 Bye\n",
            [("DAT002", "warning", "client")],
        ),
        (
            RAW_HI + r"\nthere\r\n.\r\n" + "\nS: 451 See smtplf.html\n",
            [("DAT002", "error", "client"), ("DEL002", "info", "server")],
        ),
        # text that was read as commands, pipelined or not; slips after a message are slips
        (
            DATA + HEADER + "C: one\nC: .\nC: two words\nC: three\nC: .\nS: 250 Ok\n" + "S: 500 no\n" * 3,
            [("DAT004", "warning", "client")],
        ),
        (DATA + HEADER + "C: one\n" + END + "C: exit\nS: 500 no\n", [("TEL008", "warning", "client")]),
        (DATA + HEADER + "C: .one\nC: ..two\n" + END, [("DAT004", "info", "client")]),
        (DATA + HEADER + "C: ...\n" + END, []),
        (DATA + HEADER + "C: {x*998}\nC: ..{x*997}\n" + END, []),
        (DATA + HEADER + "C: {word *250}\n" + END, [("DAT001", "warning", "client")]),
        (DATA + RAW + r"\xe9{\xe9*997}\r\n.\r\n" + "\nS: 250 Ok\n", [("DAT006", "warning", "client")]),
        # one chunk too short, one too long, each as far as the log can tell
        (OPEN + "C: BDAT 70 LAST\nC: hello\nS: 250 Ok\n", []),
        (OPEN + "C: BDAT 70 LAST\nS: 250 Ok\n", []),
        (OPEN + "C: BDAT 5 LAST\nC: Subject: x\nS: 250 Ok\nS: 500 no\n", [("DAT009", "error", "client")]),
        (OPEN + "C: BDAT 5 LAST\nS: 250 Ok\nC: Subject: x\nS: 500 no\n", [("DAT009", "error", "client")]),
        (
            OPEN + "C: BDAT 5 LAST\nS: 250 Ok\nC: MIAL FROM:<a@example.org>\nS: 500 no\n",
            [("TEL007", "error", "client")],
        ),
        (OPEN + "C: BDAT 12 LAST\nC: Subject: x\nC: more\nS: 250 Ok\nS: 500 no\n", [("DAT009", "error", "client")]),
        (DATA + "C: {Received: from x by y*25}\n" + HEADER + END, [("DAT010", "info", "operator")]),
        (DATA + "C: {Received: from x by y*24}\n" + HEADER + "C: Received: x\n" + END, []),
    ],
)
def test_one_fault_one_finding(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert told(text) == expected


@pytest.mark.parametrize(
    ("hello", "more", "parameter", "code", "severity"),
    [
        ("EHLO", "", "", 250, "warning"),
        ("HELO", "", "", 250, "warning"),
        ("EHLO", "S: 250-8BITMIME\n", "", 250, "info"),
        ("EHLO", "S: 250-8BITMIME\n", "", 554, "warning"),
        ("EHLO", "S: 250-8BITMIME\n", " BODY=7BIT", 250, "info"),
        ("EHLO", "S: 250-8BITMIME\n", " BODY=8BITMIME", 250, None),
        ("EHLO", "S: 250-8BITMIME\nS: 250-SMTPUTF8\n", " SMTPUTF8", 250, None),
    ],
)
def test_eight_bits_are_announced(hello: str, more: str, parameter: str, code: int, severity: str | None) -> None:
    text = DATA.replace("EHLO", hello).replace("org>", f"org>{parameter}").replace("S: 250 CH", f"{more}S: 250 CH")
    found = dict(each[:2] for each in told(f"{text}{HEADER}C: café\nC: .\nS: {code} what\n"))
    assert found.get("DAT006") == severity


def test_a_tab_that_the_log_shows_as_a_dot_is_none() -> None:
    assert "DAT004" not in codes(DATA + "C: Received: from x\nC: .by y\n" + HEADER + "C: hi\n" + END)


@pytest.mark.parametrize(("code", "lines"), [(354, 3), (300, 3), (334, None), (250, None)])
def test_message_text_follows_a_3yz_to_data(code: int, lines: int | None) -> None:
    """By its first digit, as a client goes (RFC 5321 section 4.3.2); 334 asks for an answer."""
    path = Path(FOLDER.name) / "log.dialog"
    path.write_text(f"{OPEN}C: DATA\nS: {code} Go\n{HEADER}{END}C: QUIT\nS: 221 Bye\n", encoding="utf-8")
    (dialog,) = read(path)
    content = [exchange.content for exchange in dialog.exchanges if exchange.verb == "."]
    assert [each and len(each.lines) for each in content] == ([lines] if lines else [])
    assert ([each.verb for each in dialog.exchanges][3:] == ["DATA", ".", "QUIT"]) == (lines is not None)
