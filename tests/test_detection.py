"""What holds no dialog is claimed by no format: source code, prose, tables, other logs, mail."""

from __future__ import annotations

import itertools
import json
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtplog import events, formats, read, reference
from smtplog.grammar import needed
from smtplog.lines import read_blocks
from smtplog.model import Dialog
from tests.conftest import samples

REPOSITORY = Path(__file__).parent.parent
STDLIB = Path(sysconfig.get_paths()["stdlib"])
#: Every eleventh module of the standard library, and those about mail and sockets, which speak of SMTP.
MODULES = sorted(STDLIB.glob("*.py"))[::11] + [
    STDLIB / f"{name}.py" for name in ("smtplib", "poplib", "imaplib", "ftplib")
]
OURS = [*sorted((REPOSITORY / "data").glob("*.csv")), *sorted(REPOSITORY.glob("*.toml")), REPOSITORY / "LICENSE"]

WORDS = st.sampled_from(
    [
        "the",
        "mail",
        "server",
        "said",
        "250",
        "220",
        "354",
        "ok",
        "and",
        "then",
        "QUIT",
        "data",
        "from",
        "to",
        "rcpt",
        "EHLO",
        "connection",
        "closed",
        "550",
        "error",
        ">",
        "<",
        "->",
        "<-",
        "S:",
        "C:",
        "send",
        "reply",
        "received",
        "sent",
        "INFO",
        "DEBUG",
        "2026-01-05",
        "10:11:12",
        "[42]",
        "(127.0.0.1)",
        "http://example.org/",
        "*",
        "=",
        "{",
        "}",
    ]
)


def claimed(path: Path) -> str:
    """The format that claims a file; empty where none does."""
    transcript = read(path)
    list(transcript)
    return transcript.files[0].format if transcript.files else ""


@pytest.mark.parametrize("path", [path for path in MODULES + OURS if path.exists()], ids=lambda path: path.name)
def test_source_code_and_tables_are_not_claimed(path: Path) -> None:
    assert not claimed(path)


@given(st.lists(st.lists(WORDS, min_size=5, max_size=12).map(" ".join), min_size=3, max_size=30))
def test_prose_about_mail_is_not_claimed(tmp_path_factory: pytest.TempPathFactory, lines: list[str]) -> None:
    """Sentences of the words of SMTP, none of which begins with a code or a verb."""
    path = tmp_path_factory.mktemp("prose") / "text"
    path.write_text("\n".join(f"He wrote: {line}." for line in lines), encoding="utf-8")
    assert not claimed(path)


@given(st.lists(st.integers(0, 99_999), min_size=4, max_size=60))
def test_a_column_of_numbers_is_not_claimed(tmp_path_factory: pytest.TempPathFactory, numbers: list[int]) -> None:
    path = tmp_path_factory.mktemp("numbers") / "table"
    path.write_text("\n".join(["V1", *map(str, numbers), "END"]), encoding="utf-8")
    assert not claimed(path)


def test_a_message_catalogue_is_not_claimed(tmp_path: Path) -> None:
    """Words of Telnet and of SMTP between pages of NUL octets: a binary file."""
    path = tmp_path / "words.mo"
    words = b"Trying %s...\n\0Connected to %s.\n\0Escape character is %s\n\0Connection refused\0220 ok\n\0"
    path.write_bytes(b"\xde\x12\x04\x95" + bytes(8192) + words * 400)
    assert not claimed(path)


ACCESS = '192.0.2.7 - - [05/Jan/2026:10:11:12 +0100] "GET /smtp/250 HTTP/1.1" 250 354 "-" "Mozilla/5.0"\n'
POSTFIX = "Jan  5 10:11:12 mx postfix/smtpd[123]: 4F2A: client=mail.example.org[192.0.2.7]\n"
REJECT = "Jan  5 10:11:12 mx postfix/smtpd[123]: NOQUEUE: reject: RCPT from x[192.0.2.7]: 550 5.1.1 <b@example.net>: unknown\n"
EXIM = "2026-01-05 10:11:12 1tUQ2f-0001 <= a@example.org H=mail [192.0.2.7] P=esmtps S=250 id=1@example.org\n"
MAIL = """From a@example.org Mon Jan  5 10:11:12 2026
Received: from mail.example.org by mx.example.net with ESMTP id 250 for <b@example.net>
From: a@example.org
To: b@example.net
Subject: 250 reasons

220 people came, 354 stayed.
> 250 is what you wrote
QUIT is what they said.
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("access.log", ACCESS * 40),
        ("maillog", (POSTFIX + REJECT) * 40),
        ("mainlog", EXIM * 40),
        ("mailbox", MAIL * 20),
        ("rows.json", "\n".join(json.dumps({"code": 250, "verb": "RCPT", "text": f"{n} ok"}) for n in range(60))),
        ("rows.csv", "time,code,verb\n" + "2026-01-05T10:11:12Z,250,MAIL FROM:<a@example.org>\n" * 60),
        ("diff.patch", "--- a/x\n+++ b/x\n@@ -1,4 +1,4 @@\n" + "> 250 lines\n< 220 lines\n---\n" * 30),
    ],
)
def test_other_files_of_a_mail_server_are_not_claimed(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert not claimed(path)


GOING_BEFORE = [path for path in samples() if formats.declaration(path.parent.name).before]


@pytest.mark.parametrize("log", GOING_BEFORE, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_format_that_goes_before_another_is_as_sure(log: Path) -> None:
    """Its log is no less surely recognised than it would be as the other one."""
    with open(log, "rb") as stream:
        (block,) = read_blocks(stream, size=1 << 22)
    first = formats.detect(block)[0]
    assert first.slug == log.parent.name
    others = [each for each in map(formats.declaration, formats.declaration(first.slug).before) if not each.fallback]
    for other in others:
        assert all(first.score >= each.score for each in formats.detect(block, [other]))


PASTED = {path.parent.name: path for path in samples() if path.stem != "connection-refused"}
LINE_FORMATS = [each.slug for each in formats.declarations() if each.kind == "lines" and not each.fallback]


@pytest.mark.parametrize("slug", [slug for slug in LINE_FORMATS if slug in PASTED])
@pytest.mark.parametrize("margin", ["# ", " " * 7])
def test_a_log_that_was_pasted_is_recognised(slug: str, margin: str, tmp_path: Path) -> None:
    """What every line begins with, in a comment or a manual, is no part of it: the same dialogs are read."""
    data = PASTED[slug].read_bytes()
    pasted = tmp_path / "log"
    pasted.write_bytes(b"".join(margin.encode() + line for line in data.splitlines(keepends=True)))
    if margin.strip():
        assert claimed(pasted) == slug
    same, named = (read(path, input_format=slug, show_secrets=True) for path in (PASTED[slug], pasted))
    assert [_said(dialog) for dialog in named] == [_said(dialog) for dialog in same]


@pytest.mark.parametrize("row", reference.table("other_logs"), ids=lambda row: row.key)
def test_a_log_without_a_dialog_is_named(row: reference.Row, tmp_path: Path) -> None:
    """A delivery log holds none: the error says which log it is, and how to have the dialog logged."""
    path = tmp_path / "log"
    path.write_text(f"{row['example']}\n" * 3)
    log = read(path)
    assert not list(log)
    assert [row.key in error and row["next"] in error for error in log.errors] == [True]


COLLECTORS = {
    "syslog": b"Nov 12 19:35:01 mx1 mail-app[123]: ",
    "journal": b"2026-11-12T19:35:01+0100 mx1 mail-app[123]: ",
    "rfc5424": b"<22>1 2026-11-12T19:35:01.123456+01:00 mx1 mail-app 123 - - ",
    "docker": b"2026-11-12T19:35:01.123456789Z ",
    "compose": b"mail-app-1  | ",
    "kubernetes": b"2026-11-12T19:35:01.123456789Z stdout F ",
    "json-file": b"",
}
COLLECTED = ("aiosmtpd", "exchange", "mailhog", "msmtp", "postfix-verbose", "python-smtplib", "stalwart", "swaks")


@pytest.mark.parametrize("slug", COLLECTED)
def test_a_log_that_went_through_a_collector_is_recognised(slug: str, tmp_path: Path) -> None:
    """What syslog, the journal, docker or Kubernetes write before each line is no part of a log: the same dialogs are read."""
    same = [_said(dialog) for dialog in read(PASTED[slug], show_secrets=True)]
    for name, before in COLLECTORS.items():
        collected = tmp_path / name
        lines = [line for line in PASTED[slug].read_bytes().splitlines(keepends=True) if line.strip()]
        if name == "json-file":
            objects = [{"log": line.decode("utf-8", "replace"), "stream": "stdout"} for line in lines]
            lines = [json.dumps(each, separators=(",", ":")).encode() + b"\n" for each in objects]
        collected.write_bytes(b"".join(before + line for line in lines))
        log = read(collected, show_secrets=True)
        assert (name, [_said(dialog) for dialog in log]) == (name, same)
        assert log.files[0].format == slug


def _said(dialog: Dialog) -> list[object]:
    return [(each.command, each.reply and (each.reply.code, each.reply.text)) for each in dialog.exchanges]


def test_where_a_signature_stands_a_string_stands_that_it_needs() -> None:
    for declaration in formats.declarations():
        strings = needed(declaration.signature)
        for path in (REPOSITORY / "transcripts" / declaration.slug).glob("*.log"):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            hits = events.found(events.from_list(lines), declaration.signature)
            for line in itertools.compress(lines, hits.tolist()):
                assert not strings or any(each in line for each in strings), (declaration.slug, line)


@pytest.mark.parametrize(
    ("pattern", "strings"),
    [
        (r"^a{2}bcd[0-9]+: $", ("bcd",)),
        (r"^(?:rx|tx more)>: |^Trying ", (">: ", "Trying ")),
        (r"^(?:abc)?de|f*gh", ("de", "gh")),
        (r"(?i)^abc", ()),
        (r"^abc|^[0-9]", ()),
        (r"^\x{FEFF}abc", ()),  # RE2 alone reads it
    ],
)
def test_strings_that_an_expression_needs(pattern: str, strings: tuple[str, ...]) -> None:
    assert needed(pattern) == strings
