"""``validate`` as a linter: its forms, its baseline, the rules of others."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import smtplog as package
from smtplog import read
from smtplog.cli import app
from smtplog.findings import Finding, book
from smtplog.output import printable
from smtplog.reports import FORMATS
from smtplog.reports import book as chapters
from smtplog.reports.sarif import plain, uri
from smtplog.reports.text import in_cells, is_marker, windowed
from smtplog.script import Excerpts, escaped
from tests.conftest import TRANSCRIPTS, samples
from tests.sarif import SCHEMA
from tests.test_cli import smtplog

BAD = str(TRANSCRIPTS / "bare-dialog" / "seed-backspaces-in-mail.log")
#: Logs of some formats: each costs its own detection.
FEW = [path for path in samples() if path.parent.name in ("bare-dialog", "telnet-unix", "exchange", "swaks")]
SEED = str(TRANSCRIPTS / "bare-dialog" / "seed-session.log")
MANY = [str(path) for path in FEW]

HOSTILE = (
    b"S: 220 mx ]]></failure> <script>\x1b]0;owned\x07 \x9b31m\r\nC: EHLO =cmd|'/C'!A0,[click](http://example.org/)\r\nS: 250 mx\r\n"
    b'C: MAIL FORM:<"a,b:c"@example.org>%0A::error::x\r\nS: 500 \xe2\x80\xae\xef\xbf\xbe\xff\xfe no\r\n'
    b"C: @SUM(1+1)\x08\x08 \x00 \xed\xa0\x80\r\nS: 500 no\r\nC: -2+3\r\nS: 500 no\r\nC: RCPT TO:<a@example.org\r\nS: 250 \x1b[2J\r\n"
    b"S: 12\x00\xe2\x80\xa9 \xf3\xa0\x80\x81\r\nC: QUIT\r\nS: 221 Bye\r\n"
)


def validate(*words: str) -> Any:
    """``smtplog validate`` in this process; nothing of a configuration above the tests counts."""
    isolated = [] if "--config" in words else ["--isolated"]
    return CliRunner().invoke(app, ["validate", *isolated, *words], catch_exceptions=False)


@pytest.fixture
def hostile(tmp_path: Path) -> str:
    path = tmp_path / "=a,b:c%[x] é.log"
    path.write_bytes(HOSTILE)
    return str(path)


def plain_findings(*logs: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(validate(*logs, "--output-format", "json").stdout)
    return found


# -- the forms


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_of_a_log_is_unescaped(form: str, hostile: str) -> None:
    told = validate(hostile, "--all", "--output-format", form).stdout
    assert told.count("\n") > 3
    for line in told.splitlines():
        assert printable(line) == line


@pytest.mark.parametrize("form", FORMATS)
def test_logs_without_findings(form: str, tmp_path: Path) -> None:
    ran = validate(SEED, "--select", "TEL", "--output-format", form)
    assert ran.exit_code == 0
    if form in ("json", "sarif"):
        json.loads(ran.stdout)
    if form == "junit":
        (suite,) = ElementTree.fromstring(ran.stdout)
        assert suite.attrib["failures"] == "0" and [case.tag for case in suite] == ["testcase"]
    assert form not in ("jsonl", "github") or not ran.stdout


@pytest.mark.parametrize("form", FORMATS)
def test_no_form_holds_a_secret(form: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    secrets = ("AHVzZXIAc2VjcmV0cGFzcw==", "secretpass", "c2VjcmV0cGFzcw==")
    path.write_text(
        "S: 220 mx\nC: EHLO x.example.org\nS: 250-mx\nS: 250 AUTH PLAIN LOGIN\n"
        f"C: AUTH PLAIN {secrets[0]}\nS: 535 no: {secrets[1]}\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dXNlcm5hbWU=\n"
        f"S: 334 UGFzc3dvcmQ6\nC: {secrets[2]}\nS: 235 Ok\nC: AUTH PLAIN {secrets[0]}\nS: 503 no\nC: NOPE {secrets[1]}\n"
    )
    known = tmp_path / "known.json"
    told = validate(str(path), "--all", "--output-format", form).stdout
    validate(str(path), "--all", "--write-baseline", str(known))
    assert "SEQ014" in told
    for secret in secrets:
        assert secret not in told and secret not in known.read_text()


def test_json_and_jsonl_are_the_same_findings(hostile: str) -> None:
    rows = [json.loads(line) for line in validate(hostile, "--output-format", "jsonl").stdout.splitlines()]
    assert rows == plain_findings(hostile)
    (first, *_) = package.read(hostile).check()
    assert rows[0] == first.to_json()


@pytest.mark.parametrize("logs", [MANY, [], ["hostile"], ["missing"]], ids=["samples", "clean", "hostile", "missing"])
def test_sarif_is_valid(logs: list[str], hostile: str) -> None:
    names = [hostile if name == "hostile" else name for name in logs] or [SEED]
    ran = smtplog("validate", "--isolated", "--output-format", "sarif", *names)
    told = json.loads(ran.stdout)
    jsonschema.Draft7Validator(SCHEMA).validate(told)
    (run,) = told["runs"]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    prints = [(r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], *r["partialFingerprints"].values()) for r in run["results"]]  # fmt: skip
    assert len(prints) == len(set(prints))
    assert run["invocations"][0]["executionSuccessful"] == (logs != ["missing"])
    if names[0] != "missing":
        expected = [(row["code"], max(row["line"], 1)) for row in plain_findings(*names)]
        lines = [r["locations"][0]["physicalLocation"]["region"]["startLine"] for r in run["results"]]
        assert expected == list(zip((r["ruleId"] for r in run["results"]), lines, strict=True))


def test_sarif_columns_only_where_they_are_those_of_the_log(tmp_path: Path) -> None:
    def columns(log: str) -> list[int | None]:
        (run,) = json.loads(validate(log, "--output-format", "sarif").stdout)["runs"]
        return [r["locations"][0]["physicalLocation"]["region"].get("startColumn") for r in run["results"]]

    told = [finding.column for finding in package.read(BAD).check()]
    assert columns(BAD) == told and any(told)
    marked = tmp_path / "marked"
    marked.write_text("S: 220 mx\nC: EHLO x.example.org\nS: 250 mx\nC: MAIL FROM: a@example.org\nS: 501 no\n")
    assert columns(str(marked)) and set(columns(str(marked))) == {None}


def test_uris_and_plain_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert uri("./a b/ä:%.log") == "a%20b/%C3%A4%3A%25.log"
    assert uri(str(tmp_path / "in" / "a.log")) == "in/a.log"
    assert uri(str(tmp_path.parent / "a b.log")).startswith("file:///") and uri("x\udcff") == "x%FF"
    assert plain("[x](http://e) [1]") == r"[x\](http://e) [1]"


def test_github(hostile: str) -> None:
    lines = validate(hostile, "--all", "--output-format", "github").stdout.splitlines()
    assert len(lines) == len(json.loads(validate(hostile, "--all", "--output-format", "json").stdout))
    shape = re.compile(r"::(error|warning|notice) ((?:[a-zA-Z]+=[^,:\r\n]*,?)+)::([^\r\n]+)")
    for line in lines:
        match = shape.fullmatch(line)
        assert match, line
        properties = dict(pair.split("=", 1) for pair in match[2].split(","))
        assert set(properties) - {"col"} == {"file", "line", "endLine", "title"}
        assert properties["file"].endswith("=a%2Cb%3Ac%25[x] é.log")
    assert any("%250A" in line for line in lines), "what looks like an escape in a log is none"


@pytest.mark.parametrize("fail_on", ["error", "info", "never"])
def test_junit(fail_on: str, hostile: str) -> None:
    ran = smtplog("validate", "--isolated", "--fail-on", fail_on, "--output-format", "junit", hostile, *MANY, "missing")
    suites = ElementTree.fromstring(ran.stdout)
    counts = {"error": 0, "failure": 0, "testcase": 0}
    for suite in suites:
        cases = suite.findall("testcase")
        assert int(suite.attrib["tests"]) == len(cases) > 0
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        assert int(suite.attrib["errors"]) == len(suite.findall("testcase/error"))
        for tag in counts:
            counts[tag] += len(list(suite.iter(tag)))
    found = plain_findings(hostile, *MANY)
    failing = {"error": ("error",), "info": ("error", "warning", "info"), "never": ()}[fail_on]
    assert counts["failure"] == sum(row["severity"] in failing for row in found)
    assert counts["error"] == 1 and ran.returncode == 2
    clean = len(MANY) + 1 - len({row["source"] for row in found})
    assert counts["testcase"] == len(found) + clean + 1


def test_csv(hostile: str) -> None:
    told = validate(hostile, *MANY, "--output-format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(told)))
    found = plain_findings(hostile, *MANY)
    assert [(row["code"], row["line"]) for row in rows] == [(row["code"], str(row["line"])) for row in found]
    cells = [cell for row in rows for cell in row.values()]
    assert not any(cell.lstrip().startswith(("=", "+", "-", "@")) for cell in cells)
    assert "corrected" in rows[0] and "excerpt" not in rows[0]


def test_text_has_the_corrected_line() -> None:
    log = str(TRANSCRIPTS / "bare-dialog" / "plink-raw.log")
    told = validate(log).stdout.splitlines()
    at = told.index("  = write: MAIL FROM:<jo@example.org>")
    assert told[at + 1].startswith("  = client: ")


def test_statistics() -> None:
    told = validate(*MANY, "--statistics").stdout
    assert re.search(r"^ +\d+  TEL001  error +backspace-in-command$", told, re.MULTILINE)
    rows = json.loads(validate(*MANY, "--statistics", "--output-format", "json").stdout)
    assert sum(row["count"] for row in rows) == len(plain_findings(*MANY))
    assert [row["count"] for row in rows] == sorted((row["count"] for row in rows), reverse=True)
    assert smtplog("validate", BAD, "--statistics", "--output-format", "sarif").returncode == 2


@pytest.mark.parametrize("column", [1, 40, 90, 150])
def test_a_long_line_is_cut_around_its_marker(column: int) -> None:
    line = "C: " + "".join(chr(65 + i % 26) for i in range(157))
    marker = " " * (column + 2) + "^"
    before, shown, mark = windowed(in_cells(["S: 250 ok", line, marker]), 60)
    assert before == "S: 250 ok" and len(shown) <= 60 and is_marker(mark)
    assert shown[mark.index("^")] == line[column + 2]


@given(
    text=st.text(st.sampled_from("abc<>:= \t\x1b\x00\\{é工e\u0301\u202e"), min_size=1, max_size=300),
    at=st.floats(0, 1, exclude_max=True),
    width=st.integers(40, 160),
)
def test_the_marker_is_under_the_fault(
    text: str, at: float, width: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However the command line is spelled, cut and wide: the excerpt marks the character at the column, the terminal too."""
    command, column = "NOOP " + text, 5 + int(at * len(text)) + 1
    path = tmp_path_factory.mktemp("marker") / "a.dialog"
    path.write_text(f"S: 220 mx\nC!: {escaped(command)}\\r\\n\nS: 500 no\n", encoding="utf-8")
    (dialog,) = read(path, input_format="cs-dialog")
    assert dialog.exchanges[0].command == command
    fault = command[column - 1]
    _, shown, mark, _ = Excerpts(dialog).at(2, column).split("\n")
    assert len(shown) <= 160 and shown.startswith("C")
    spelled = fault if shown[2] == " " else escaped("a" + fault + "a")[1:-1]
    under = shown[mark.index("^") :]
    assert under.startswith((spelled, escaped(fault)))
    line, below = in_cells([shown, mark])
    assert below.index("^") == len(in_cells([shown[: mark.index("^")]])[0])
    seen, marked = windowed([line, below], width)
    cells = in_cells([seen])[0]
    assert len(cells) <= width and marked.index("^") < width
    if fault.isascii():
        assert cells[marked.index("^")].startswith(under[0])


# -- what is chosen, what is said by the exit code


def test_select_may_be_repeated() -> None:
    both = {row["code"] for row in json.loads(validate(*MANY, "--output-format", "json", "--select", "TEL001,SYN001").stdout)}  # fmt: skip
    words = ["--select", "TEL001", "--select", "missing-angle-brackets"]
    assert {row["code"] for row in json.loads(validate(*MANY, "--output-format", "json", *words).stdout)} == both
    assert both == {"TEL001", "SYN001"}
    assert validate(BAD, "--ignore", "SYN", "--ignore", "TEL").exit_code == 0


def test_exit_zero() -> None:
    assert validate(BAD).exit_code == 1
    assert validate(BAD, "--exit-zero").exit_code == 0
    assert smtplog("validate", "missing", "--exit-zero").returncode == 2


# -- the baseline


def test_a_baseline_hides_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log, known = tmp_path / "a.log", tmp_path / "known.json"
    log.write_bytes(Path(BAD).read_bytes())
    ran = validate("a.log", "--write-baseline", "known.json")
    assert ran.exit_code == 0 and ran.stdout.endswith("1 finding in 1 log written to known.json: known from now on\n")
    first = known.read_bytes()
    ran = validate("a.log", "--baseline", "known.json")
    assert ran.exit_code == 0
    assert ran.stdout == "No new findings in 1 log.\n1 known finding hidden by baseline\n"
    log.write_bytes(b"\r\n\r\n" + log.read_bytes())
    assert validate(str(log), "--baseline", "known.json").exit_code == 0, "lines may move, the path may be absolute"
    assert validate("a.log", "--write-baseline", "known.json").exit_code == 0
    assert known.read_bytes() == first
    log.write_bytes(log.read_bytes() + Path(BAD).read_bytes())
    ran = validate("a.log", "--baseline", "known.json")
    assert ran.exit_code == 1 and "1 error in 1 log\n1 known finding hidden" in ran.stdout, "one more is new"


def test_what_is_mended_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_bytes(Path(BAD).read_bytes())
    validate("a.log", "b.log", "--write-baseline", "known.json")
    (tmp_path / "a.log").write_bytes(Path(SEED).read_bytes())
    told = validate("a.log", "b.log", "--baseline", "known.json").stdout
    assert "1 known finding hidden by baseline\n1 entry of the baseline was not seen any more" in told
    assert "not seen" not in validate("b.log", "--baseline", "known.json").stdout, "a.log was not looked at"
    assert "not seen" not in validate("a.log", "--baseline", "known.json", "--select", "SEQ").stdout


def test_a_baseline_tells_nothing(tmp_path: Path) -> None:
    known = tmp_path / "known.json"
    validate(*MANY, "--write-baseline", str(known))
    told = json.loads(known.read_text())
    assert told["version"] == 1
    entries = told["findings"]
    assert entries == sorted(entries, key=lambda entry: (entry["source"], entry["code"], entry["fingerprint"]))
    assert all(set(entry) == {"source", "code", "name", "fingerprint", "count"} for entry in entries)
    assert "example" not in known.read_text() and "@" not in known.read_text()
    assert sum(entry["count"] for entry in entries) == len(plain_findings(*MANY))
    assert smtplog("validate", BAD, "--show-secrets", "--write-baseline", str(known)).returncode == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"version": 2, "findings": []}',
        '{"version": 1}',
        '{"version": 1, "findings": [1]}',
        '{"version": 1, "findings": [{"source": "a", "code": "b", "fingerprint": "c", "count": 0}]}',
        '{"version": 1, "findings": [{"source": "a", "code": "b", "fingerprint": "c", "count": true}]}',
        "\xff",
        "[" * 100_000,
        None,
    ],
    ids=str,
)
def test_a_bad_baseline_is_one_sentence(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    ran = smtplog("validate", BAD, "--baseline", str(path))
    assert ran.returncode == 2 and not ran.stdout
    assert ran.stderr.count(b"\n") == 1 and b"--write-baseline" in ran.stderr and b"Traceback" not in ran.stderr


# -- rules of others

ACME = '''
from smtplog.findings import Hit, rule

@rule("ACME001", "acme-hello", severity="warning", party="client", scope="exchange", reference="house rules", advice="Do.")
def acme_hello(exchange):
    """The hello is one of ours."""
    if exchange.verb == "EHLO":
        yield Hit("An EHLO was seen.")
'''


def installed(folder: Path, source: str) -> dict[str, str]:
    """A distribution ``acme-rules`` in a folder, and the environment in which it is installed."""
    (folder / "acme_rules.py").write_text(source)
    metadata = folder / "acme_rules-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-rules\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[smtplog.rules]\nacme = acme_rules\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


def with_plugin(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smtplog", *words]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, check=False)


def test_rules_of_others(tmp_path: Path) -> None:
    environment = installed(tmp_path, ACME)
    ran = with_plugin(environment, "validate", "--isolated", "--select", "ACME001", "--output-format", "jsonl", SEED)
    assert [json.loads(line)["code"] for line in ran.stdout.splitlines()] == ["ACME001"], ran.stderr
    assert "ACME001" in with_plugin(environment, "rules").stdout
    assert "### ACME001 acme-hello" in with_plugin(environment, "rules", "--output-format", "markdown").stdout
    told = json.loads(with_plugin(environment, "validate", "--isolated", "--output-format", "sarif", SEED).stdout)
    jsonschema.Draft7Validator(SCHEMA).validate(told)


@pytest.mark.parametrize(
    "source", ["import nonsense_of_acme", "1 / 0", "raise SystemExit(3)", ACME.replace("ACME001", "SEQ001")]
)
def test_a_broken_plugin_is_one_sentence(source: str, tmp_path: Path) -> None:
    environment = installed(tmp_path, source)
    for words in (["validate", "--isolated", SEED], ["rules"]):
        ran = with_plugin(environment, *words)
        assert ran.returncode == 2 and not ran.stdout
        assert ran.stderr.count("\n") == 1 and "acme-rules" in ran.stderr and "Traceback" not in ran.stderr


@pytest.mark.parametrize("said", ['raise KeyError("no \\x1b[31m")', "yield 5", "return 5"])
def test_a_rule_that_fails_is_one_sentence(said: str, tmp_path: Path) -> None:
    environment = installed(tmp_path, re.sub(r"\n    if .*", lambda _: f"\n    {said}\n", ACME, flags=re.DOTALL))
    for command in ("validate", "analyze"):
        ran = with_plugin(environment, command, *(["--isolated"] if command == "validate" else []), SEED)
        assert ran.returncode == 2 and "ACME001 of acme_rules failed" in ran.stderr
        assert ran.stderr.count("\n") == 1 and "Traceback" not in ran.stderr and "\x1b" not in ran.stderr
    assert "ACME001" not in with_plugin(environment, "validate", "--isolated", "--ignore", "ACME001", SEED).stderr


# -- the rule book as Markdown


def test_the_markdown_book_links_to_every_rule() -> None:
    told = smtplog("rules", "--output-format", "markdown").stdout.decode()
    headings = re.findall(r"^#{2,3} (.+)$", told, re.MULTILINE)
    links = re.findall(r"^ *- \[([^\]]+)\]\(#([^)]+)\)", told, re.MULTILINE)
    assert sorted(text for text, _ in links) == sorted(headings)
    assert all(chapters.anchor(text) == target for text, target in links)
    assert {heading.split()[0] for heading in headings} >= set(book())
    fences = re.findall(r"^```(.*)$", told, re.MULTILINE)
    assert fences[::2] == ["smtp"] * (len(fences) // 2) and set(fences[1::2]) == {""}
    for dialog in re.findall(r"^```smtp\n(.*?)^```$", told, re.MULTILINE | re.DOTALL):
        assert re.match(r"[CS*][!?]?:", dialog)
    assert chapters.prose("<a> `<b>` *c*") == r"\<a\> `<b>` \*c\*"


def test_the_fields_of_a_finding_are_all_told() -> None:
    from smtplog.reports.as_csv import COLUMNS

    assert {*COLUMNS, "excerpt"} <= set(Finding.__dataclass_fields__)


@pytest.mark.parametrize("seen", ["", "*: tls active\n"])
def test_octets_after_starttls_are_no_lines(seen: str, tmp_path: Path) -> None:
    """A recording at the wire has TLS as if it were lines; there is nothing to say of them, unless the log says that TLS is
    decrypted."""
    text = (
        "S: 220 mx.example.net ESMTP ready\nC: EHLO client.example.org\nS: 250-mx.example.net\nS: 250 STARTTLS\n"
        "C: STARTTLS\nS: 220 2.0.0 Ready to start TLS\n" + seen + "C: \x80\x2e\x01\x03\x08Q\nC: \x08\x05x\n"
        "S: 500 5.5.2 What?\n"
    )
    path = tmp_path / "wire.dialog"
    path.write_text(text, encoding="utf-8", newline="")
    found = {each.code for each in read(path, input_format="cs-dialog").check()}
    assert ("TEL001" in found or "TEL002" in found) == bool(seen)
    assert bool(found) == bool(seen)
