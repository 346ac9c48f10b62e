"""Playing to the terminal: frames, the screen with its keys, the recording."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from unicodedata import category

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import smtplog
from smtplog import judging, redact, script
from smtplog.cli import main
from smtplog.model import Dialog
from smtplog.printable import printable
from smtplog.replay import terminal
from smtplog.replay.screen import Screen
from smtplog.replay.terminal import Frame, Line, Pace
from tests.conftest import DAY, TRANSCRIPTS, one_of_each

SLIPS = TRANSCRIPTS / "bare-dialog" / "seed-backspaces-in-mail.log"
LOGIN = TRANSCRIPTS / "swaks" / "auth-login.log"
LIMIT = 20  # seconds

PACES = st.builds(Pace, st.floats(1e-6, 1000), st.floats(0, 1e5))


@cache
def dialogs() -> tuple[Dialog, ...]:
    """The dialogs of one log of every fourth format."""
    return tuple(each for path in one_of_each()[::4] for each in smtplog.read(path, show_secrets=True, date=DAY))


def played(dialog: Dialog, pace: Pace = Pace()) -> list[Frame]:  # noqa: B008
    return list(terminal.frames(redact.redact(dialog), judging.check(dialog), pace))


def at_times(dialog: Dialog, seconds: list[float | None]) -> Dialog:
    """A dialog whose exchanges and replies happen at other times, in any order."""
    start = datetime(2026, 12, 31, tzinfo=UTC)
    times = iter([None if each is None else start + timedelta(seconds=each) for each in seconds])

    def exchanged() -> Iterator[smtplog.model.Exchange]:
        for each in dialog.exchanges:
            reply = each.reply and replace(each.reply, time=next(times, None))
            yield replace(each, time=next(times, None), reply=reply)

    return replace(dialog, exchanges=tuple(exchanged()))


@settings(max_examples=30)
@given(st.data(), PACES, st.lists(st.none() | st.floats(0, 1e6), max_size=40))
def test_frames_are_the_lines_of_show_and_no_pause_is_too_long(
    data: st.DataObject, pace: Pace, seconds: list[float | None]
) -> None:
    dialog = data.draw(st.sampled_from(dialogs()))
    dialog = at_times(dialog, seconds) if seconds else dialog
    found = played(dialog, pace)
    lines = [printable(line) for line in script.show(redact.redact(dialog)).split("\n")[:-1]]
    of_log = [line.text for frame in found for line in frame.lines if line.of_log]
    assert of_log == [line for line in lines if not line.startswith("*: at ")]
    assert all(0 <= frame.pause <= pace.most_wait for frame in found)
    told = [line for frame in found for line in frame.lines if not line.of_log]
    for finding in judging.check(dialog):
        assert any(finding.code in line.lead and line.text == printable(finding.message) for line in told)


@given(PACES)
def test_a_pace_keeps_the_order_of_pauses(pace: Pace) -> None:
    pauses = [pace.of(seconds) for seconds in (-1.0, 0.0, 0.001, 1.0, 59.0, 1e9)]
    assert pauses == sorted(pauses) and pauses[0] == 0


def test_pauses_are_the_recorded_ones() -> None:
    dialog = next(iter(smtplog.read(SLIPS)))
    marks: list[float | None] = [float(i * i) for i in range(2 * len(dialog.exchanges))]
    timed = at_times(dialog, marks)
    pauses = [frame.pause for frame in played(timed, Pace(2.0, 1e9)) if frame.at is not None]
    whole = sum(pauses)
    assert whole == pytest.approx((marks[-1] or 0) / 2)
    assert any(frame.pause for frame in played(dialog)), "a log without times is played at a gentle pace"


HOSTILE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=40)


@settings(max_examples=20)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_nothing_of_a_log_drives_the_terminal(tmp_path: Path, name: str, command: str, text: str) -> None:
    said = f"220 mx\x1b[2J {name}\r\nEHLO a\x9b31m{command}\r\n500 \u202e{text}\x07\r\nQUIT\r\n221 bye\x1b]0;x\x07\r\n"
    log = tmp_path / "log"
    log.write_bytes(said.encode())
    for dialog in smtplog.read(log, input_format="bare-dialog"):
        for frame in played(dialog):
            for line in frame.lines:
                assert harmless(line.text) and harmless(line.lead)
            assert all(harmless(each) for each in terminal.shown(frame, plain, 80))


def harmless(text: str) -> bool:
    """No controls, no overrides of direction, no line ends of Unicode."""
    return not any(category(c).startswith("C") or category(c) in ("Zl", "Zp") for c in text)


def plain(text: str, *_: str) -> str:
    return text


def test_secrets_are_masked() -> None:
    for dialog in dialogs():
        secrets = redact.secrets(dialog)
        told = "\n".join(line for frame in played(dialog) for line in terminal.shown(frame, plain, 1000))
        assert not [secret for secret in secrets if secret in told], dialog.source


@dataclass(frozen=True)
class Ran:
    returncode: object
    stdout: str
    stderr: str


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """smtplog replay, neither its input nor its output a terminal."""

    def run(*words: str) -> Ran:
        monkeypatch.setattr("sys.argv", ["smtplog", "replay", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return Ran(left.value.code or 0, *capsys.readouterr())

    return run


def test_into_a_pipe_at_once_and_plain(replay: Callable[..., Ran]) -> None:
    ran = replay(str(SLIPS), str(LOGIN), "--speed", "0.0001", "--max-wait", "1m", "--step")
    assert ran.returncode == 0 and not ran.stderr
    assert "\x1b" not in ran.stdout and "error TEL001" in ran.stdout and "the sender is accepted" in ran.stdout
    assert ran.stdout.index("S: 500 5.3.3") < ran.stdout.index("error TEL001") < ran.stdout.index("S: 250 2.1.0")


@pytest.mark.parametrize("words", [["--cast", "play.cast"], ["--cast", "play.cast", "--speed", "50"]])
def test_a_recording_is_asciinema_2(words: list[str], tmp_path: Path, replay: Callable[..., Ran]) -> None:
    path = tmp_path / words[1]
    ran = replay(str(SLIPS), str(LOGIN), "--cast", str(path), *words[2:])
    assert ran.returncode == 0, ran.stderr
    header, *events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert header["version"] == 2 and header["width"] > 0 and header["height"] > 0
    assert all(kind == "o" and isinstance(text, str) for _, kind, text in events)
    times = [at for at, _, _ in events]
    assert times == sorted(times) and times[0] == 0
    assert max(b - a for a, b in pairwise(times)) <= 2.0001
    assert (times[-1] < 5) == ("--speed" in words)
    shown = "".join(text for _, _, text in events)
    assert "\r\n" in shown and "ZGVtbw" not in shown
    for secret in redact.secrets(next(iter(smtplog.read(LOGIN, show_secrets=True)))):
        assert secret not in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--deliver"], "--deliver goes with --to"),
        (["--set", "from=a@example.org"], "--set goes with --to"),
        (["--cast", "x", "--to", "127.0.0.1:1"], "--cast goes without --to"),
        (["--step", "--to", "127.0.0.1:1"], "--step goes without --to"),
        (["--max-wait", "soon"], "is no time"),
        (["--max-wait", "nan"], "--max-wait"),
        (["--speed", "0"], "--speed"),
        (["--output-format", "json"], "without --to"),
        (["--dialog", "nobody#1"], "no dialog 'nobody#1'"),
        (["--cast", "no/such/folder/x.cast"], "cannot be written"),
    ],
)
def test_wrong_words_are_one_sentence(words: list[str], said: str, replay: Callable[..., Ran]) -> None:
    ran = replay(str(SLIPS), *words)
    assert ran.returncode == 2 and said in ran.stderr and ran.stderr.count("\n") == 1


# -- the screen


class Typist:
    """Keys pressed at times of a clock that nobody waits for."""

    def __init__(self, keys: list[tuple[float, str]]) -> None:
        self.now = 0.0
        self.keys = keys

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float | None) -> str:
        at, key = self.keys[0] if self.keys else (float("inf"), "q")
        if seconds is not None and at > self.now + seconds:
            self.now += seconds
            return ""
        assert at < float("inf") or not self.keys
        self.now = max(self.now, at) if self.keys else self.now
        self.keys = self.keys[1:]
        return key


def shown_at(keys: list[tuple[float, str]], pauses: list[float], *, step: bool = False) -> list[float]:
    """When each frame was shown."""
    typist, times, asides = Typist(keys), [], []
    frames = [Frame(pause, (Line(str(i)),), begins=True) for i, pause in enumerate(pauses)]
    screen = Screen(lambda frame: times.append(typist.now), asides.append, typist, step, typist.clock)
    screen.show(frames)
    assert not asides or asides[-1] == "", "what was said beside the play is taken away"
    return times


@given(st.lists(st.floats(0, 100), max_size=10))
def test_frames_are_shown_in_their_time(pauses: list[float]) -> None:
    total, want = 0.0, []
    for pause in pauses:
        want.append(total := total + pause)
    assert shown_at([], pauses) == pytest.approx(want)


def test_space_pauses_enter_goes_on_q_quits() -> None:
    assert shown_at([(1, " "), (11, " ")], [2, 2]) == pytest.approx([12, 14])
    assert shown_at([(1, "\n")], [5, 2]) == pytest.approx([1, 3])
    assert shown_at([(3, "q")], [2, 2, 2]) == pytest.approx([2])
    assert shown_at([(1, " "), (2, "q")], [3]) == []
    assert shown_at([(1, " "), (2, "\n"), (3, "x"), (4, "Q")], [0, 0, 0], step=True) == pytest.approx([1, 2])


def pressed(*words: str) -> object:
    """smtplog replay on a pseudo-terminal."""
    pexpect = pytest.importorskip("pexpect")
    arguments = ["-m", "smtplog", "replay", *words]
    child = pexpect.spawn(sys.executable, arguments, timeout=LIMIT, encoding="utf-8", dimensions=(40, 100))
    child.before_play = termios.tcgetattr(child.child_fd)
    return child


def left(child: object) -> int | None:
    """The exit code; the terminal is as it was."""
    pexpect = pytest.importorskip("pexpect")
    child.expect(pexpect.EOF)  # type: ignore[attr-defined]
    child.wait()  # type: ignore[attr-defined]
    return child.exitstatus  # type: ignore[attr-defined]


def echoes(child: object) -> bool:
    return bool(termios.tcgetattr(child.child_fd)[3] & termios.ECHO)  # type: ignore[attr-defined]


def test_keys_on_a_terminal() -> None:
    child = pressed(str(SLIPS), "--max-wait", "0.3")
    child.expect("space pauses")  # type: ignore[attr-defined]
    child.expect("220 mail1")  # type: ignore[attr-defined]
    assert not echoes(child)
    child.send(" ")  # type: ignore[attr-defined]
    child.expect("paused: space goes on")  # type: ignore[attr-defined]
    child.send("\x1b[A ")  # type: ignore[attr-defined]
    child.expect("TEL001")  # type: ignore[attr-defined]
    child.send("q")  # type: ignore[attr-defined]
    assert left(child) == 0
    assert "221 2.0.0" not in child.before  # type: ignore[attr-defined]


def test_step_by_step_on_a_terminal() -> None:
    child = pressed(str(SLIPS), "--step", "--max-wait", "0")
    for words in ("EHLO contoso", "TEL001", "2.1.0 Sender", "2.1.5 Recipient", "354 Start", "Queued", "221 2.0.0"):
        child.expect("Enter shows the next")  # type: ignore[attr-defined]
        time.sleep(0.05)
        child.send("\r" if words != "354 Start" else " ")  # type: ignore[attr-defined]
        child.expect(words)  # type: ignore[attr-defined]
    child.expect("The message was accepted")  # type: ignore[attr-defined]
    assert left(child) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_terminal_is_put_back_whatever_ends_the_play(number: signal.Signals, tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    child = pexpect.spawn("/bin/sh", timeout=LIMIT, encoding="utf-8", env={**os.environ, "PS1": "$ "})
    child.expect(r"\$ ")
    before = termios.tcgetattr(child.child_fd)
    child.sendline(f"{sys.executable} -m smtplog replay {SLIPS} --speed 0.01 --max-wait 60; echo left $?")
    child.expect("# #1")
    assert not echoes(child)
    os.kill(int(subprocess.check_output(["pgrep", "-P", str(child.pid)]).split()[0]), number)
    child.expect(f"left {128 + number}")
    child.expect(r"\$ ")
    assert termios.tcgetattr(child.child_fd) == before
    child.close()
