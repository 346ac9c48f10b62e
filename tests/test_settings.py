"""The configuration file: where it is found, what it says, what it must not say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smtplog.errors import UsageError
from smtplog.findings import chosen
from smtplog.settings import KEYS, PathIgnores, Settings, load
from tests.conftest import TRANSCRIPTS
from tests.test_cli import smtplog

BAD = TRANSCRIPTS / "bare-dialog" / "seed-backspaces-in-mail.log"


def written(folder: Path, text: str, name: str = "smtplog.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_nearest_file_counts(tmp_path: Path) -> None:
    written(tmp_path, 'fail-on = "info"')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    assert load(start=inner).fail_on == "info"
    written(tmp_path / "a", "[project]\nname = 'x'", "pyproject.toml")
    assert load(start=inner).fail_on == "info", "a pyproject.toml without the table is passed over"
    written(tmp_path / "a", "[tool.smtplog]\nfail-on = 'warning'", "pyproject.toml")
    assert load(start=inner).fail_on == "warning"
    written(tmp_path / "a", "all = true")
    assert load(start=inner).all and load(start=inner).fail_on == "error", "smtplog.toml goes before pyproject.toml"
    assert load(start=inner, isolated=True) == Settings()


def test_every_key(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'select = ["SEQ", "SYN001"]\nignore = ["nested-mail"]\nextend-select = ["TEL"]\nfail-on = "never"\nall = false\n'
        'output-format = "jsonl"\nbaseline = "known.json"\n[per-path-ignores]\n"old/*.log" = ["SYN"]\n',
    )
    told = load(path)
    assert set(KEYS) <= {name.replace("_", "-") for name in Settings.__dataclass_fields__}
    assert told.select == ("SEQ", "SYN001") and told.output_format == "jsonl" and told.fail_on == "never"
    assert told.baseline == tmp_path / "known.json", "relative to the file"
    codes = {each.code for each in told.rules()}
    assert {"SEQ001", "SYN001", "TEL001"} <= codes and not {"SEQ004", "SYN002"} & codes


def test_the_command_line_wins() -> None:
    file = Settings(select=("SEQ",), ignore=("SEQ004",), extend_select=("TEL",), all=True, fail_on="info")
    assert file.over(select=(), ignore=None, all=None) == file
    assert file.over(ignore=("SEQ003",)).ignore == ("SEQ003",)
    assert file.over(select=("SEQ004",)).rules() == chosen(["SEQ004"]), "--select begins anew"
    assert file.over(fail_on="never").fail_on == "never"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('selekt = ["SEQ"]', ["'selekt'", "did you mean select?"]),
        ('colour = "red"', ["'colour'", "there are select, "]),
        ('select = "SEQ"', ["select must be a list of rules", "'SEQ'"]),
        ("select = [1]", ["select must be a list"]),
        ('ignore = ["SEQ999"]', ["ignore: 'SEQ999' is no rule"]),
        ('fail-on = "fatal"', ["fail-on must be one of error, warning, info, never", "'fatal'"]),
        ("fail-on = ['error']", ["fail-on must be one of"]),
        ('all = "yes"', ["all must be true or false"]),
        ("all = 1", ["all must be true or false"]),
        ('output-format = "xml"', ["output-format must be one of text, json"]),
        ("baseline = true", ["baseline must be the path"]),
        ('per-path-ignores = ["SEQ"]', ["per-path-ignores must be a table"]),
        ('[per-path-ignores]\n"*" = "SEQ"', ["per-path-ignores must be a table"]),
        ('[per-path-ignores]\n"*.log" = ["NOPE"]', ["per-path-ignores, *.log: 'NOPE' is no rule"]),
        ("select = ", ["is no TOML"]),
        ("\xff", ["is no TOML"]),
    ],
)
def test_a_wrong_file_is_one_sentence(text: str, words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "smtplog.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as error:
        load(start=tmp_path)
    sentence = str(error.value)
    assert sentence.startswith(str(path)) and "\n" not in sentence
    for word in words:
        assert word in sentence


def test_wrong_pyprojects(tmp_path: Path) -> None:
    path = written(tmp_path, "[tool]\nsmtplog = 3", "pyproject.toml")
    with pytest.raises(UsageError, match=r"tool\.smtplog must be a table"):
        load(start=tmp_path)
    path.write_text("[project]\nname='x'")
    with pytest.raises(UsageError, match=r"holds no table \[tool\.smtplog\]"):
        load(path)
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "missing.toml")


@pytest.mark.parametrize(
    ("glob", "source", "hits"),
    [
        ("*.log", "deep/in/a.log", True),
        ("a?.log", "deep/ab.log", True),
        ("[ab]1.log", "b1.log", True),
        ("[!ab]1.log", "b1.log", False),
        ("old/*.log", "old/a.log", True),
        ("old/*.log", "./old/a.log", True),
        ("old/*.log", "old/b/a.log", False),
        ("old/**", "old/b/a.log", True),
        ("**/old/*.log", "x/y/old/a.log", True),
        ("**/old/*.log", "old/a.log", True),
        ("old/*.log", "new/old/a.log", False),
        ("a.log", "a.log.1", False),
        ("a+b.log", "a+b.log", True),
        ("[", "[", True),
    ],
)
def test_globs(glob: str, source: str, hits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "smtplog.toml"
    ignores = PathIgnores(Settings(per_path_ignores={glob: frozenset({"SEQ001"})}, path=path))
    assert bool(ignores.of(source)) == hits
    assert bool(ignores.of(str(tmp_path / source))) == hits, "by the path relative to the file"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert bool(ignores.of(os.path.join("..", source))) == hits


def test_validate_goes_by_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "old" / "a.log"
    log.parent.mkdir()
    log.write_bytes(BAD.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert smtplog("validate", "old/a.log").returncode == 1
    written(tmp_path, '[per-path-ignores]\n"old/*.log" = ["backspace-in-command"]')
    assert smtplog("validate", "old/a.log").returncode == 0
    assert smtplog("validate", "old/a.log", "--isolated").returncode == 1
    written(tmp_path, 'fail-on = "never"\noutput-format = "github"')
    ran = smtplog("validate", "old/a.log")
    assert ran.returncode == 0 and ran.stdout.startswith(b"::error ")
    assert smtplog("validate", "old/a.log", "--fail-on", "error").returncode == 1
    elsewhere = written(tmp_path / "elsewhere", 'select = ["REP"]', "some.toml")
    assert smtplog("validate", "old/a.log", "--config", str(elsewhere)).stdout.startswith(b"No findings")
    for words in (["--config", "missing.toml"], ["--config", str(elsewhere), "--isolated"], ["--fail-on", "fatal"]):
        ran = smtplog("validate", "old/a.log", *words)
        assert ran.returncode == 2 and ran.stderr.count(b"\n") == 1 and not ran.stdout
