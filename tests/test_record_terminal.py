"""``smtplog record`` on a real pseudo-terminal: typing, backspace, completion, history, mistakes, STARTTLS, pasting, QUIT."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import smtplog
from smtplog.replay.completing import completions
from smtplog.replay.standing import Standing
from tests.live import LIMIT, PASSWORD, USER, Mailbox, mailbox
from tests.misbehaving import misbehaving
from tests.test_record import MESSAGE

pexpect = pytest.importorskip("pexpect")

UP, TAB, KILL, PASTE = "\x1b[A", "\t", "\x15", "\x1b[200~{}\x1b[201~"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    with mailbox(tmp_path_factory.mktemp("box")) as held:
        yield held


class Terminal:
    """A person at a terminal."""

    def __init__(self, port: int, *words: str, term: str = "xterm") -> None:
        told = {"TERM": term, "NO_COLOR": "1", "PROMPT_TOOLKIT_NO_CPR": "1"}
        environ = {key: value for key, value in os.environ.items() if not key.startswith("SMTPLOG_U")} | told
        command = ["-m", "smtplog", "record", f"127.0.0.1:{port}", *words]
        self.child = pexpect.spawn(
            sys.executable, command, env=environ, timeout=LIMIT, encoding="utf-8", dimensions=(40, 120)
        )
        self.screen = ""

    def sees(self, words: str) -> None:
        self.child.expect_exact(words)
        self.screen += self.child.before + self.child.after

    def types(self, keys: str, then: str) -> None:
        self.sees("C:")
        self.child.send(keys)
        self.sees(then)

    def leaves(self) -> int:
        self.child.expect(pexpect.EOF)
        self.screen += self.child.before
        self.child.close()
        return int(self.child.exitstatus)


@contextmanager
def terminal(port: int, *words: str, term: str = "xterm") -> Iterator[Terminal]:
    held = Terminal(port, *words, term=term)
    try:
        yield held
    finally:
        held.child.close(force=True)


def test_a_session_typed_by_hand(box: Mailbox, tmp_path: Path) -> None:
    box.taken.clear()
    log = tmp_path / "session.log"
    with terminal(box.port, "-o", str(log), "--trust", str(box.trust)) as held:
        held.types("EHLO client.exampel\x7f\x7fle.org\r", "lists what it can do")
        held.types(f"ST{TAB}\r", "TLS is active")
        held.types(f"{UP}{UP}\r", "lists what it can do")
        held.types("AUTH\r", "User")
        held.child.send(f"{USER}\r")
        held.sees("Password")
        held.child.send(f"{PASSWORD}\r")
        held.sees("logged in")
        held.types("MAIL FORM:<anna@example.org>\r", "write: MAIL FROM:<anna@example.org>")
        held.sees("not sent yet")
        held.types(f"{KILL}MAIL FROM:<anna@example.org> SI{TAB}300\r", "the sender is accepted")
        held.types("RCPT TO:<kate@example.net>\r", "the recipient is accepted")
        held.types(PASTE.format("\n".join(["DATA", *MESSAGE, ".", ""])) + "\r", "has taken the message")
        held.types(f"QUI{TAB}\r", "says good-bye")
        assert held.leaves() == 0
    assert PASSWORD not in held.screen and PASSWORD not in log.read_text()
    assert box.taken == ["\r\n".join([*MESSAGE, ""]).encode()]
    (dialog,) = smtplog.read(log)
    assert [each.command for each in dialog.exchanges][:5] == [
        "EHLO client.example.org",
        "STARTTLS",
        "EHLO client.example.org",
        "AUTH PLAIN ********",
        "MAIL FROM:<anna@example.org> SIZE=300",
    ]
    assert (dialog.outcome, dialog.end) == ("delivered", "quit")
    ran = subprocess.run([sys.executable, "-m", "smtplog", "validate", "--fail-on", "warning", str(log)], check=False)
    assert ran.returncode == 0


def goes_while_something_is_typed(connection: socket.socket) -> None:
    connection.sendall(b"220 mx.example.net ESMTP\r\n")
    time.sleep(2.0)
    connection.sendall(b"421 4.4.2 mx.example.net Idle too long \x1b[2J\r\n")


def test_a_server_that_goes_is_heard_while_a_line_is_typed(tmp_path: Path) -> None:
    log = tmp_path / "session.log"
    with misbehaving(goes_while_something_is_typed) as port, terminal(port, "-o", str(log)) as held:
        held.sees("C:")
        held.child.send("EHLO client")
        held.sees("421 4.4.2")
        assert held.leaves() == 0
    assert "^[[2J" in held.screen and "\x1b[2J" not in held.screen
    assert log.read_text().endswith("*: close server\n")


def test_a_secret_typed_behind_auth_is_not_shown(box: Mailbox, tmp_path: Path) -> None:
    secret = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    with terminal(box.port, "--starttls", "--insecure", "-o", str(tmp_path / "log")) as held:
        held.sees("C: EHLO")
        held.sees("C: STARTTLS")
        held.sees("C: EHLO")
        held.sees("lists what it can do")
        held.types(f"AUTH PLAIN {secret}\r", "logged in")
        held.types("\x04", "says good-bye")
        assert held.leaves() == 0
    assert secret not in held.screen and "AUTH PLAIN ***" in held.screen


def test_a_terminal_that_can_do_nothing(box: Mailbox) -> None:
    with terminal(box.port, term="dumb") as held:
        held.types("RCPT TO:<kate@example.net>\r", "not sent yet")
        held.types("\r", "503")
        held.types(":legal\r", "legal here: EHLO")
        held.types("QUIT\r", "says good-bye")
        assert held.leaves() == 0


def test_what_may_come_next_is_offered() -> None:
    standing = Standing()
    standing.answered(b"220 mx\r\n")
    assert completions(standing, "")[:2] == ["EHLO ", "HELO "]
    standing.said("EHLO")
    standing.answered(b"250-mx\r\n250-SIZE 1000\r\n250-DSN\r\n250 AUTH PLAIN LOGIN\r\n")
    assert completions(standing, "m") == ["MAIL FROM:<"]
    assert "STARTTLS" not in completions(standing, "")
    assert completions(standing, "AUTH ") == ["PLAIN", "LOGIN"]
    assert completions(standing, "mail from:<a@example.org> ") == ["SIZE=", "RET=", "ENVID=", "AUTH="]
    assert completions(standing, "MAIL FROM:<a@example.org> RET=HDRS R") == []
    standing.said("MAIL")
    standing.answered(b"250 ok\r\n")
    assert completions(standing, "")[0] == "RCPT TO:<"
    assert completions(standing, "RCPT TO:<b@example.net> N") == ["NOTIFY="]
    assert completions(standing, ":l") == [":legal"]
