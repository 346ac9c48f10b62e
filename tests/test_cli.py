"""The command line: outputs, exit codes, wrong input."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from smtplog.output import printable
from tests.conftest import TRANSCRIPTS, one_of_each

SEED = str(TRANSCRIPTS / "bare-dialog" / "seed-session.log")


def smtplog(*words: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "smtplog", *words], capture_output=True, input=stdin, check=False)


def wrong_inputs(folder: Path) -> dict[str, str]:
    """A name for each way to be wrong → what the user names."""
    (folder / "empty").write_bytes(b"")
    (folder / "picture").write_bytes(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8)
    (folder / "noise").write_bytes(bytes(range(256)) * 40)
    (folder / "table.csv").write_text("name,price\napple,3\npear,250\n")
    (folder / "cut.gz").write_bytes(gzip.compress(Path(SEED).read_bytes() * 50)[:-40])
    (folder / "nothing").mkdir()
    names = ["missing", "empty", "picture", "noise", "table.csv", "cut.gz", "nothing", "no*match"]
    return {name: str(folder / name) for name in names}


@pytest.mark.parametrize("kind", ["missing", "empty", "picture", "noise", "table.csv", "cut.gz", "nothing", "no*match"])
@pytest.mark.parametrize("command", ["analyze", "validate", "show", "chart"])
def test_wrong_input_is_one_sentence(command: str, kind: str, tmp_path: Path) -> None:
    ran = smtplog(command, wrong_inputs(tmp_path)[kind], SEED)
    assert ran.returncode == 2
    assert ran.stderr.count(b"\n") == 1 and ran.stderr.startswith(b"smtplog: ")
    assert b"Traceback" not in ran.stderr
    assert ran.stdout, "the other file of the call is still read"


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read every file")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "locked"
    path.write_text("220 mx\n")
    path.chmod(0)
    ran = smtplog("analyze", str(path))
    assert ran.returncode == 2 and b"permission" in ran.stderr


def test_files_met_in_a_directory_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(Path(SEED).read_bytes())
    (tmp_path / "readme").write_text("nothing of interest\n")
    ran = smtplog("analyze", "--output-format", "json", str(tmp_path))
    told = json.loads(ran.stdout)
    assert ran.returncode == 0
    assert [row["source"] for row in told["skipped"]] == [str(tmp_path / "readme")]
    assert told["dialogs"]["count"] == 1


def test_exit_codes_of_validate() -> None:
    bad = str(TRANSCRIPTS / "bare-dialog" / "seed-backspaces-in-mail.log")
    assert smtplog("validate", SEED).returncode == 0
    assert smtplog("validate", bad).returncode == 1
    assert smtplog("validate", bad, "--fail-on", "never").returncode == 0
    assert smtplog("validate", bad, "--ignore", "TEL").returncode == 0
    assert smtplog("validate", bad, "--select", "nonsense").returncode == 2
    assert smtplog("validate", bad, "missing").returncode == 2
    found = json.loads(smtplog("validate", bad, "--output-format", "json").stdout)
    assert [row["code"] for row in found] == ["TEL001"]
    keys = "source line end_line dialog code name severity party confidence message excerpt advice reference"
    assert list(found[0]) == keys.split()


def test_standard_input() -> None:
    ran = smtplog("analyze", "-", stdin=Path(SEED).read_bytes())
    assert ran.returncode == 0 and "The message was accepted" in ran.stdout.decode()


@pytest.mark.parametrize("words", [["nonsense"], ["analyze"], ["analyze", "--nonsense", SEED], ["explain", "xyzzy"]])
def test_bad_usage(words: list[str]) -> None:
    ran = smtplog(*words)
    assert ran.returncode == 2 and b"Traceback" not in ran.stderr


def test_a_closed_pipe_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "smtplog", "show", *map(str, one_of_each())],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.wait() == 0
        assert process.stderr.read() == b""


def test_show_jsonl_has_the_shape() -> None:
    ran = smtplog("show", "--output-format", "jsonl", SEED)
    (line,) = ran.stdout.splitlines()
    dialog = json.loads(line)
    keys = (
        "dialog source format line end_line started ended client server server_software greeting exchanges transactions"
    )
    assert list(dialog) == [*keys.split(), "outcome", "end", "findings"]
    keys = "line time command verb argument inferred state tls transaction recipient reply latency"
    assert list(dialog["exchanges"][0]) == keys.split()
    (transaction,) = dialog["transactions"]
    assert transaction["content"] == {"lines": 3, "bytes": 54, "subject": "Test from Contoso"}
    assert transaction["recipients"] == [
        {"address": "kate@fabrikam.com", "accepted": True, "code": 250, "enhanced": "2.1.5"}
    ]


def test_analyze_json_has_the_keys() -> None:
    told = json.loads(smtplog("analyze", "--output-format", "json", *map(str, one_of_each())).stdout)
    keys = "files skipped span dialogs transactions recipients replies refusals commands peers latency findings"
    assert list(told) == keys.split()
    assert told["dialogs"]["count"] == sum(row["dialogs"] for row in told["files"])


def test_controls_never_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(
        b"220 mx \x1b]0;owned\x07 \x1b[31m\xe2\x80\xae\r\nEHLO \x1b[2J\r\n250 \x9b31m\r\nQUIT\r\n221 \x1b[0m\r\n"
    )
    for command in ("analyze", "validate", "show", "formats"):
        ran = smtplog(command, str(path))
        for stream in (ran.stdout, ran.stderr):
            assert all(printable(line) == line for line in stream.decode().splitlines())


def test_the_screen_in_the_readme_is_what_is_printed() -> None:
    repository = Path(__file__).parent.parent
    screen = (repository / "README.md").read_text(encoding="utf-8").split("```text\n$ smtplog ")[1].split("```")[0]
    words, _, printed = screen.partition("\n")
    command, path = words.split()
    told = smtplog(command, str(repository / path)).stdout.decode()
    assert told.replace(f"{repository}/", "").rstrip() == printed.rstrip()


SECRETS = ("AHVzZXIAc2VjcmV0cGFzcw==", "secretpass", "dXNlcm5hbWU=", "c2VjcmV0cGFzcw==")


@pytest.mark.parametrize("words", [["analyze"], ["show"], ["show", "--output-format", "jsonl"], ["validate", "--all"]])
def test_9_no_output_holds_a_secret(words: list[str], tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(
        "S: 220 mx.example.net ESMTP\nC: EHLO x.example.org\nS: 250-mx\nS: 250 AUTH PLAIN LOGIN\n"
        f"C: AUTH PLAIN {SECRETS[0]}\nS: 535 5.7.8 no: {SECRETS[1]}\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: {SECRETS[2]}\n"
        f"S: 334 UGFzc3dvcmQ6\nC: {SECRETS[3]}\nS: 235 Ok\nC: NOOP {SECRETS[1]}\nS: 250 Ok\n*: gap {SECRETS[3]}\n"
        f"C: AUTH PLAIN user:{SECRETS[1]}\nS: 503 no\nC: QUIT\nS: 221 Bye\n"
    )
    ran = smtplog(*words, str(path))
    told = (ran.stdout + ran.stderr).decode()
    assert ran.stdout
    for secret in (SECRETS[0], SECRETS[1], SECRETS[3]):
        assert secret not in told
    assert SECRETS[0] in smtplog("show", "--show-secrets", str(path)).stdout.decode()


@pytest.mark.parametrize(
    "below",
    [
        ["> AUTH PLAIN {}", "[235] 'Authentication successful'"],
        ["AUTH PLAIN {} was what I sent"],
        ["x AUTH LOGIN", "x 334 UGFzc3dvcmQ6", "> {}", "x 235 Ok"],
    ],
)
def test_9_nor_one_of_another_log_that_was_pasted_below(below: list[str], tmp_path: Path) -> None:
    path = tmp_path / "log"
    lines = ["Trying 192.0.2.25...", "Connected to mx.example.net.", "220 mx.example.net ESMTP", "EHLO x", "250 mx"]
    path.write_text("\n".join([*lines, *(line.format(SECRETS[0]) for line in below)]) + "\n")
    told = smtplog("show", str(path)).stdout.decode()
    assert "********" in told
    assert SECRETS[0] not in told
