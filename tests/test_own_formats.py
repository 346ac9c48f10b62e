"""A log format of one's own: --grammar, entry points, and what the author of a declaration is told."""

from __future__ import annotations

import json
import os
import re
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtplog import formats, grammar, read
from smtplog.authoring import check
from smtplog.errors import UsageError
from smtplog.formats.flaws import flaws_of
from smtplog.formats.roles import NAMES, SUFFIXES, is_role
from smtplog.grammar import rule_names
from smtplog.output import printable
from tests.conftest import TRANSCRIPTS
from tests.test_cli import SEED, smtplog
from tests.test_validate import with_plugin

HEAD = """\
//: title = "The debug log of acme-mail"
//: kind = "lines"
//: role = "absolute"
//: content = "marked"
//: signature = '^[0-9]{2}:[0-9]{2}:[0-9]{2} acme\\[[0-9]+\\] (?:sent|got) '
//: written = "the file that acme.ini names"
//: enable = "acme-mail --debug"
//: sample = "10:11:12 acme[42] sent EHLO ws.example.org"
"""
RULES = """\
client: TIME " acme[" KEY "] sent " TEXT
server: TIME " acme[" KEY "] got " TEXT
closed: TIME " acme[" KEY "] hung up"
note: TIME " acme[" KEY "] thought " TEXT
TIME: /[0-9:]{8}/
KEY: /[0-9]+/
TEXT: /.+/
"""
LOG = """\
10:11:12 acme[42] got 220 mx.example.net ESMTP
10:11:12 acme[42] sent EHLO ws.example.org
10:11:13 acme[7] got 220 mx.example.net ESMTP
10:11:13 acme[42] got 250 mx.example.net
10:11:13 acme[42] thought of a secret
10:11:14 acme[42] sent QUIT
10:11:14 acme[42] got 221 Bye
10:11:14 acme[42] hung up
10:11:15 acme[7] sent QUIT
10:11:15 acme[7] got 221 Bye
10:11:15 acme[7] hung up
"""


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    (tmp_path / "acme.lark").write_text(HEAD + "\n" + RULES)
    (tmp_path / "acme.log").write_text(LOG)
    return tmp_path / "acme.lark"


# -- reading with it


def test_a_grammar_of_ones_own_reads_a_log(acme: Path) -> None:
    log = read(acme.with_suffix(".log"), grammar=acme, date=date(2026, 11, 23), timezone="+01:00")
    told = [(each.id, each.format, [exchange.command for exchange in each.exchanges], each.end) for each in log]
    assert told == [("42#1", "acme", ["EHLO ws.example.org", "QUIT"], "quit"), ("7#1", "acme", ["QUIT"], "quit")]
    assert next(iter(log)).started == datetime(2026, 11, 23, 9, 11, 12, tzinfo=UTC)
    assert log.files[0].not_understood == 0


@pytest.mark.parametrize("command", ["analyze", "show", "validate", "chart"])
def test_every_reading_command_takes_it(command: str, acme: Path) -> None:
    with_it = smtplog(command, "--grammar", str(acme), str(acme.with_suffix(".log")))
    assert with_it.returncode == 0 and with_it.stdout and not with_it.stderr
    without = smtplog(command, str(acme.with_suffix(".log")))
    assert without.returncode == 2 and without.stderr.count(b"\n") == 1


def test_a_file_may_be_called_like_a_format(acme: Path, tmp_path: Path) -> None:
    mine = tmp_path / "swaks.lark"
    mine.write_text(acme.read_text())
    assert [each.format for each in read(acme.with_suffix(".log"), grammar=mine)] == ["swaks.lark"] * 2
    assert formats.declaration("swaks").title != formats.declaration("swaks.lark").title


def test_what_is_mended_is_read_anew(acme: Path) -> None:
    log = read(acme.with_suffix(".log"), grammar=acme)
    assert len(list(log)) == 2
    acme.write_text(acme.read_text().replace(' got "', ' had "'))
    assert [exchange.reply for dialog in log for exchange in dialog.exchanges if exchange.reply] == []
    acme.write_text(acme.read_text().replace("client:", "cleint:"))
    with pytest.raises(UsageError, match="cleint"):
        list(log)


@pytest.mark.parametrize("name", ["missing.lark", "acme.txt", "folder.lark", "latin.lark"])
def test_no_grammar_is_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "acme.txt").write_text(HEAD + RULES)
    (tmp_path / "folder.lark").mkdir()
    (tmp_path / "latin.lark").write_bytes(b'//: title = "\xe9"\n')
    for words in (["show", "--grammar", str(tmp_path / name), SEED], ["formats", "--check", str(tmp_path / name)]):
        ran = smtplog(*words)
        assert ran.returncode == 2 and ran.stderr.count(b"\n") == 1 and name.encode() in ran.stderr


def test_grammar_and_name_do_not_go_together(acme: Path) -> None:
    ran = smtplog("show", "--grammar", str(acme), "--input-format", "swaks", SEED)
    assert ran.returncode == 2 and ran.stderr.count(b"\n") == 1


# -- entry points


def installed(folder: Path, files: dict[str, str], value: str = "acme_formats") -> dict[str, str]:
    """The environment in which a distribution with an entry point is installed."""
    package = folder / "acme_formats"
    package.mkdir()
    for name, text in {"__init__.py": "", **files}.items():
        (package / name).write_text(text)
    metadata = folder / "acme_formats-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-formats\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[smtplog.formats]\nacme = {value}\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


def test_formats_of_others_are_recognised(tmp_path: Path) -> None:
    parts = RULES.replace("TEXT: /.+/\n", "%import .parts (TEXT)\n")
    environment = installed(tmp_path, {"acme.lark": HEAD + parts, "parts.lark": "TEXT: /.+/\n", "read.me": "x"})
    (tmp_path / "log").write_text(LOG)
    ran = with_plugin(environment, "analyze", "--output-format", "json", str(tmp_path / "log"))
    (row,) = json.loads(ran.stdout)["files"]
    assert (row["format"], row["dialogs"]) == ("acme", 2)
    assert with_plugin(environment, "show", "--input-format", "acme", str(tmp_path / "log")).returncode == 0
    assert "acme-mail --debug" in with_plugin(environment, "formats").stdout
    assert with_plugin(environment, "validate", "--isolated", "--all", "--fail-on", "never", SEED).returncode == 0


BROKEN = {
    "no such module": ({}, "nonsense_of_acme"),
    "no TOML": ({"acme.lark": HEAD.replace('mail"', "mail") + RULES}, "acme_formats"),
    "no grammar": ({"acme.lark": HEAD + "client: TEXT\n"}, "acme_formats"),
    "no RE2": ({"acme.lark": HEAD + RULES.replace("/.+/", "/(?=x).+/")}, "acme_formats"),
    "a name that is taken": ({"swaks.lark": HEAD + RULES}, "acme_formats"),
    "no package": ({"one.py": ""}, "acme_formats.one:nothing"),
    "raises": ({"one.py": "raise SystemExit(3)"}, "acme_formats.one"),
}


@pytest.mark.parametrize("way", BROKEN)
def test_a_broken_plugin_is_one_sentence(way: str, tmp_path: Path) -> None:
    files, value = BROKEN[way]
    environment = installed(tmp_path, files, value)
    for words in (["analyze", SEED], ["show", str(Path(SEED).parent)], ["formats"]):
        ran = with_plugin(environment, *words)
        assert (ran.returncode, ran.stdout) == (2, "") and "acme-formats" in ran.stderr and ran.stderr.count("\n") == 1


# -- what an author is told

#: What is done to the declaration → what is said of it, and at which line of it.
FAULTS = {
    "a head that is no TOML": (HEAD, HEAD.replace('mail"\n', "mail\n", 1), "no TOML", 1),
    "no head": (HEAD, "", "no head", 1),
    "a missing key": ('//: role = "absolute"\n', "", "`role`", 1),
    "a misspelled key": ("//: role", "//: rule", "`rule`", 3),
    "a strange value": ('"absolute"', '"server"', "`role`", 3),
    "a number as text": ("//: written", '//: least = "2"\n//: written', "`least`", 6),
    "a key of another kind": ("//: written", "//: aside = '^x'\n//: written", "`aside`", 6),
    "an unknown peeler": ("//: written", '//: peel = ["skin"]\n//: written', "'skin'", 6),
    "a signature that RE2 cannot read": ("'^[0-9]{2}:", "'^(?=x)[0-9]{2}:", "`signature`", 5),
    "a signature of any line": ("(?:sent|got) '", "(?:sent|got) |'", "`signature`", 5),
    "no colon": ("server: TIME", "server TIME", "does not take", 11),
    "an open quote": ('] sent " TEXT', "] sent TEXT", "does not take", 10),
    "an undefined terminal": ("sent \" TEXT", "sent \" TEXTS", "'TEXTS'", 10),
    "a rule twice": ("note:", "client:", "'client'", 13),
    "a terminal twice": ("KEY: /[0-9]+/", "TEXT: /[0-9]+/\nKEY: /[0-9]/", "'TEXT'", 17),
    "an unknown import": ("KEY: /[0-9]+/", "%import .nowhere (KEY)", "'nowhere.lark'", 15),
    "look-around": ("TEXT: /.+/", "TEXT: /(?!x).+/", "`TEXT`", 16),
    "a reference back": ("TEXT: /.+/", r"TEXT: /(.)\1+/", "`TEXT`", 16),
    "no expression": ("TEXT: /.+/", "TEXT: /(.+/", "`TEXT`", 16),
    "a misspelled rule": ("client:", "cleint:", "`cleint`", 10),
    "an unknown ending": ("closed:", "closed_by_cat:", "`closed_by_cat`", 12),
    "a rule with a figure": ("client:", "client2:", "`client2`", 10),
    "a rule in capitals": ("client:", "Client:", "`Client`", 10),
    "a terminal in small letters": ("TEXT", "text", "`text`", 16),
    "rules within rules": ("sent \" TEXT", "sent \" TEXT*", "`client`", 10),
    "a rule that calls itself": ("sent \" TEXT", "sent \" client", "`client`", 10),
    "nobody speaks": (RULES, 'note: TEXT\nTEXT: /.+/\n', "client or server", None),
    "no rules": (RULES, "", "no rule", None),
    "a field that is none": ("KEY", "KEYS", "`KEYS`", 15),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_author_is_told(fault: str, acme: Path) -> None:
    old, new, words, line = FAULTS[fault]
    text = HEAD + "\n" + RULES
    assert old in text
    acme.write_text(text.replace(old, new))
    verdict = check(acme, [])
    flaw = verdict.flaws[0]
    assert words in flaw.what and (flaw.path, flaw.line) == (str(acme), line)
    assert flaw.why and flaw.do
    with pytest.raises(UsageError, match=r"--check"):
        read(acme.with_suffix(".log"), grammar=acme)
    ran = smtplog("formats", "--check", str(acme), str(acme.with_suffix(".log")))
    assert ran.returncode == 1 and not ran.stderr
    for part in (flaw.where, "why:", "do:"):
        assert part in ran.stdout.decode()


#: The same for a mapping of columns.
FAULTS_OF_COLUMNS = {
    "a column that is none": ('"time", "direction"', '"time", "inout"', "'direction'"),
    "a strange separator": ('["\\t"]', '["tab"]', "`separator`"),
    "a strange quote": ('quote = ""', 'quote = "xx"', "`quote`"),
    "a row of any line": ('row = "[0-9]{2}/[0-9]{2}/[0-9]{2} "', 'row = "[0-9]*"', "`row`"),
    "a role without a column": ('verb = "verb"\n', "", "the verb"),
    "no column for the key": ('key = ["socket", "address", "direction"]\n', "", "`column`"),
    "columns that are no names": ('["socket", "address", "direction"]', "[3]", "`column`"),
    "a word of an exchange that means nothing": ("whole = true", "hole = true", "`exchange`"),
}


@pytest.mark.parametrize("fault", FAULTS_OF_COLUMNS)
def test_the_author_of_columns_is_told(fault: str, acme: Path) -> None:
    old, new, words = FAULTS_OF_COLUMNS[fault]
    text, mine = formats.declaration("mailenable").grammar, acme.with_suffix(".toml")
    assert old in text
    mine.write_text(text.replace(old, new))
    flaw = check(mine, []).flaws[0]
    assert words in flaw.what and flaw.line and flaw.why and flaw.do
    with pytest.raises(UsageError, match=r"--check"):
        read(TRANSCRIPTS / "mailenable" / "inbound.log", grammar=mine)


def test_a_row_may_begin_as_the_columns_are_called(acme: Path) -> None:
    mine, log = acme.with_suffix(".toml"), acme.with_suffix(".csv")
    mine.write_text("\n".join((
        'title = "Acme"', 'kind = "delimited"', 'role = "absolute"', 'content = "absent"', "signature = '^session'",
        'written = "here"', 'enable = "now"', 'sample = "session-1,C,QUIT"', 'separator = ","', 'comment = "#"',
        'fields = "#Fields: "', 'columns = ["session", "side", "words"]',
        'column = { key = "session", event = "side", text = "words" }', 'event = { C = "client", S = "server" }',
    )))  # fmt: skip
    log.write_text("session,side,words\nsession-1,S,220 mx.example.com\nsession-1,C,QUIT\nsession-1,S,221 bye\n")
    (dialog,) = read(log, grammar=mine)
    assert dialog.greeting is not None and [exchange.verb for exchange in dialog.exchanges] == ["QUIT"]


#: What is done to the declaration or the log → what is said, and where.
MISREADINGS = {
    "a line that two rules fit": ("note: TIME \" acme[\" KEY \"] thought \"", "note: TIME \" acme[\" KEY \"] \"", "both fit", "acme.log:1"),
    "a rule that no sample reaches": ("note:", 'tls: TIME " acme[" KEY "] ciphered"\nnote:', "`tls`", "acme.lark:13"),
    "lines not understood": ("got 220", "had 220", "2 lines", "acme.log:1"),
    "too rare": ("//: written", "//: least = 900\n//: written", "too rare", "acme.log:1"),
    "sides": ('] sent " TEXT\nserver: TIME " acme[" KEY "] got "', '] got " TEXT\nserver: TIME " acme[" KEY "] sent "', "look like replies", "acme.log:1"),
}  # fmt: skip


@pytest.mark.parametrize("way", MISREADINGS)
def test_the_author_is_told_what_a_sample_shows(way: str, acme: Path) -> None:
    old, new, words, where = MISREADINGS[way]
    text, log = HEAD + "\n" + RULES, acme.with_suffix(".log")
    assert old in text or old in LOG
    acme.write_text(text.replace(old, new))
    log.write_text(LOG.replace(old, new))
    flaws = {flaw.where.removeprefix(f"{acme.parent}{os.sep}"): flaw for flaw in check(acme, [log]).flaws}
    assert where in flaws, flaws
    assert words in flaws[where].what and flaws[where].why and flaws[where].do


def test_a_signature_that_is_nowhere(acme: Path) -> None:
    acme.write_text(acme.read_text().replace("(?:sent|got) '", "said '"))
    (flaw,) = check(acme, [acme.with_suffix(".log")]).flaws
    assert "not found" in flaw.what


def test_a_sample_without_a_session(acme: Path) -> None:
    acme.with_suffix(".log").write_text("10:11:13 acme[42] thought of a secret\n")
    assert any("no session" in flaw.what for flaw in check(acme, [acme.with_suffix(".log")]).flaws)


def test_a_log_of_another_format(acme: Path) -> None:
    log = TRANSCRIPTS / "swaks" / "recipients.log"
    acme.write_text(HEAD.replace("'^[0-9]{2}:[0-9]{2}:[0-9]{2} acme\\[[0-9]+\\] (?:sent|got) '", "' -> QUIT'")
                    + '\nclient: " -> " TEXT\nserver: "<-  " TEXT\nnote: "===" TEXT\nTEXT: /.+/\n')  # fmt: skip
    flaws = check(acme, [log]).flaws
    assert any("taken for swaks" in flaw.what for flaw in flaws)


def test_all_is_well(acme: Path) -> None:
    log = str(acme.with_suffix(".log"))
    ran = smtplog("formats", "--check", str(acme), log)
    assert ran.returncode == 0 and "all is well" in ran.stdout.decode()
    told = json.loads(smtplog("formats", "--check", str(acme), log, "--output-format", "json").stdout)
    assert told["well"] and told["flaws"] == []
    (sample,) = told["samples"]
    assert (sample["lines"], sample["sessions"], sample["exchanges"], sample["replies"]) == (11, 2, 3, 5)
    assert {each["name"]: each["count"] for each in told["rules"]} == {"client": 3, "server": 5, "closed": 2, "note": 1}
    assert smtplog("formats", "--check", str(acme), "missing").returncode == 2


def test_no_sample_is_shown(acme: Path) -> None:
    """What a log says is never quoted: an author's sample may hold a password."""
    acme.with_suffix(".log").write_text(LOG + "secretpass\nAUTH PLAIN c2VjcmV0cGFzcw==\n")
    ran = smtplog("formats", "--check", str(acme), str(acme.with_suffix(".log")))
    assert (
        b"2 lines are not understood" in b" ".join(ran.stdout.split())
        and b"secretpass" not in ran.stdout
        and b"c2VjcmV" not in ran.stdout
    )


# -- captures

CAPTURE = """\
//: title = "What acme-terminal shows"
//: kind = "capture"
//: signature = '^acme-terminal ready'
//: written = "the window; copied"
//: enable = "acme-terminal mx.example.net"
//: sample = "acme-terminal ready"

%import .capture (start, OPENED, LOCAL)
%override OPENED.9: /acme-terminal reaches [^\\n]*\\n/
%override LOCAL.8: /acme-terminal ready\\n/
"""
SHOWN = "acme-terminal ready\nacme-terminal reaches mx\n220 mx\nQUIT\n221 bye\n"
WHOLE = """
start: (GREETING | REPLY | COMMAND)*
GREETING.3: /220 [^\\n]*\\n/
REPLY.2: /[2-5][0-9]{2}[ -][^\\n]*\\n/
COMMAND: /[A-Z]{4}[^\\n]*\\n/
"""


@pytest.fixture
def terminal(tmp_path: Path) -> Path:
    (tmp_path / "acme.lark").write_text(CAPTURE)
    (tmp_path / "acme.log").write_text(SHOWN)
    return tmp_path / "acme.lark"


def test_a_capture_of_ones_own_is_read_and_checked(terminal: Path) -> None:
    log = terminal.with_suffix(".log")
    (dialog,) = read(log, grammar=terminal)
    assert [exchange.command for exchange in dialog.exchanges] == ["QUIT"] and dialog.greeting is not None
    verdict = check(terminal, [log])
    assert not verdict.flaws and [(each.name, each.line, each.count) for each in verdict.rules] == [
        ("OPENED", 9, 1),
        ("LOCAL", 10, 1),
    ]
    terminal.write_text(CAPTURE.replace("reaches", "attains"))
    flaws = {flaw.what: flaw.where for flaw in check(terminal, [log]).flaws}
    assert flaws["no sample reaches the terminal `OPENED`"] == f"{terminal}:9"


def test_a_whole_grammar_of_a_session_needs_no_terminal_that_it_does_not_use(terminal: Path) -> None:
    terminal.write_text(CAPTURE[: CAPTURE.index("%import")] + WHOLE)
    log = terminal.with_suffix(".log")
    log.write_text("220 mx\nQUIT\n221 bye\n")
    (dialog,) = read(log, grammar=terminal)
    assert [(exchange.command, exchange.reply is not None) for exchange in dialog.exchanges] == [("QUIT", True)]


def test_a_line_that_the_grammar_of_a_session_cannot_read(terminal: Path) -> None:
    """It says where it stops, and other logs are read all the same."""
    terminal.write_text(CAPTURE[: CAPTURE.index("%import")] + WHOLE)
    log, good = terminal.with_suffix(".log"), terminal.with_suffix(".txt")
    log.write_text("220 mx\nQUIT\n!? secretpass\n221 bye\n")
    good.write_text("220 mx\nQUIT\n221 bye\n")
    both = read(log, good, grammar=terminal)
    assert len(list(both)) == 1
    (sentence,) = both.errors
    assert sentence.startswith(f"{log}:3: ") and "REPLY" in sentence and "secretpass" not in sentence
    (flaw,) = check(terminal, [log]).flaws
    assert flaw.where == f"{log}:3" and "COMMAND" in flaw.why and flaw.do
    ran = smtplog("analyze", "--grammar", str(terminal), str(log))
    assert (ran.returncode, ran.stderr.count(b"\n")) == (2, 1)


#: What is done to the grammar of a session → what is said of it, and at which line of it.
FAULTS_OF_CAPTURES = {
    "an unknown import": ("%import .capture", "%import .nowhere", "'nowhere.lark'", 8),
    "a name that is not there": ("(start, OPENED", "(start, OPEN", "OPENED", 9),
    "nothing to override": ("%override LOCAL", "%override LOCALE", "LOCALE", 10),
    "no start": ("%import .capture (start, OPENED, LOCAL)", "", "nonexisting terminal OPENED", 9),
    "no beginning": (CAPTURE[CAPTURE.index("%import"):], "session: REPLY\nREPLY: /250\\n/", "start", None),
    "two readings": (CAPTURE[CAPTURE.index("%import"):], "start: a | b\na: REPLY\nb: REPLY\nREPLY: /250\\n/", "collision", None),
    "look-around": ("ready\\n/", "ready(?!x)\\n/", "`LOCAL`", 10),
    "another language": ("ready\\n/", "[[:alpha:]]+\\n/", "`LOCAL`", 10),
    "no expression": ("ready\\n/", "(ready\\n/", "LOCAL", 10),
    "in a circle": ("%import .capture (start, OPENED, LOCAL)", "%import .acme (start, OPENED, LOCAL)", "circle", None),
    "a head that Python cannot read": ("//: written", "//: aside = '(?<x>a)'\n//: written", "`aside`", 4),
    "nobody speaks": (CAPTURE[CAPTURE.index("%import"):], "start: LOCAL*\nLOCAL: /[^\\n]*\\n/", "client or server", None),
    "a misspelled terminal": (CAPTURE[CAPTURE.index("%import"):], WHOLE.replace("REPLY", "REPLYS"), "`REPLYS`", 11),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS_OF_CAPTURES)
def test_the_author_of_a_capture_is_told(fault: str, terminal: Path) -> None:
    old, new, words, line = FAULTS_OF_CAPTURES[fault]
    assert old in CAPTURE
    terminal.write_text(CAPTURE.replace(old, new))
    flaw = check(terminal, [terminal.with_suffix(".log")]).flaws[0]
    assert words in flaw.what and (flaw.path, flaw.line) == (str(terminal), line), flaw
    assert flaw.why and flaw.do and "\n" not in flaw.what
    with pytest.raises(UsageError, match=r"--check"):
        read(terminal.with_suffix(".log"), grammar=terminal)


LINES = st.tuples(
    st.integers(0, 60), st.integers(0, 90), st.sampled_from([*'|()*+/"[]{}~.%\\?!:_^ A', "", "(?=x)", "\n"])
)
GRAMMARS = [CAPTURE, CAPTURE[: CAPTURE.index("%import")] + WHOLE, HEAD + RULES, grammar.text("javamail")]


@settings(max_examples=150)
@given(st.sampled_from(GRAMMARS), st.lists(LINES, min_size=1, max_size=3))
def test_no_grammar_raises_anything_but_a_sentence(text: str, changes: list[tuple[int, int, str]]) -> None:
    """Whatever is put in, taken out or broken off, an author gets flaws and a reader one sentence."""
    lines = text.splitlines()
    for line, place, what in changes:
        old = lines[line % len(lines)]
        at = place % (len(old) + 1)
        lines[line % len(lines)] = old[:at] + what + old[at + place % 2 :]
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder) / "acme.lark", Path(folder) / "acme.log"
        path.write_text("\n".join(lines) + "\n")
        log.write_text(SHOWN + LOG)
        for flaw in check(path, [log]).flaws:
            assert flaw.what and flaw.why and flaw.do and "\n" not in flaw.what + flaw.why + flaw.do
        try:
            transcript = read(log, grammar=path)
            list(transcript)
        except UsageError as error:
            assert "\n" not in str(error)
        else:
            assert all("\n" not in sentence for sentence in transcript.errors)


# -- the page that teaches it


def blocks(language: str) -> list[str]:
    """What CONTRIBUTING.md shows of it in the section on log formats."""
    page = (TRANSCRIPTS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = page.split("## A log format\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def test_the_page_on_formats_can_be_followed(tmp_path: Path) -> None:
    """Its declaration and its log, written down as they stand, and its commands, typed as they stand."""
    (declaration,), (log,), (commands,) = blocks("lark"), blocks("text"), blocks("sh")
    (tmp_path / "emailrelay.lark").write_text(declaration)
    (tmp_path / "sample.log").write_text(log)
    words = [
        [str(tmp_path / word) if word.endswith((".lark", ".log")) else word for word in line.split()[1:]]
        for line in commands.splitlines()
    ]
    checked, shown = (smtplog(*each) for each in words)
    assert checked.returncode == 0 and b"all is well" in checked.stdout
    assert shown.returncode == 0 and b"C: .\nS: 250 OK\nC: QUIT" in shown.stdout
    ran = smtplog("analyze", *words[1][1:])
    assert ran.returncode == 0 and not ran.stderr and b"not understood" not in ran.stdout


def test_the_page_shows_what_is_shipped() -> None:
    assert blocks("lark") == [formats.declaration("emailrelay").grammar]
    assert blocks("text") == [(TRANSCRIPTS / "emailrelay" / "server-no-time.log").read_text()]


def test_the_page_names_the_rules_that_there_are() -> None:
    page = (TRANSCRIPTS.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## A log format\n")[1]
    rows = page.split("| --- | --- |\n")[1].split("\n\n")[0]
    named = re.findall(r"`([a-z_]+)`", "\n".join(row.split("|")[1] for row in rows.splitlines()))
    assert len(named) > 10 and all(is_role(name) for name in named)


# -- what is shipped


@pytest.mark.parametrize("slug", [each.slug for each in formats.declarations()])
def test_shipped_declarations_have_no_flaw(slug: str) -> None:
    declaration = formats.declaration(slug)
    name = f"{slug}.{'toml' if declaration.kind == 'delimited' else 'lark'}"
    assert [flaw.what for flaw in flaws_of(name, declaration.grammar, shown=name)] == []
    assert declaration.sample.strip() and 1 <= declaration.tier <= 3


def test_the_vocabulary() -> None:
    used = {name for each in formats.declarations() if each.kind == "lines" for name in rule_names(each.grammar)}
    assert {name for name in used if not is_role(name)} == set()
    assert is_role("client_tls_raw") and is_role("closed_by_server") and is_role("heading_client_whole")
    assert not is_role("client_") and not is_role("clients") and not is_role("closed_by") and not is_role("heading")
    assert len(set(NAMES)) == len(NAMES) and len(set(SUFFIXES)) == len(SUFFIXES)


def test_the_list_of_formats() -> None:
    told = json.loads(smtplog("formats", "--output-format", "json").stdout)
    every = formats.declarations()
    assert [row["slug"] for row in told] == [
        each.slug for each in sorted(every, key=lambda each: (each.tier, each.slug))
    ]
    assert all(row[name] for row in told for name in ("title", "kind", "tier", "written", "enable", "sample"))
    text = smtplog("formats").stdout.decode()
    for each in every:
        assert each.slug in text and printable(each.sample[:40].strip()) in text
    assert max(map(len, text.splitlines())) <= 100
