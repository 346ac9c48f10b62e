"""Sessions held by hand and kept: from a pipe, with a real server; servers that misbehave; what a line would be blamed for."""

from __future__ import annotations

import base64
import io
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import smtplog
from smtplog.console import Console, Shown
from smtplog.errors import UsageError
from smtplog.model import Dialog
from smtplog.output import Page
from smtplog.replay.conversation import Conversation, nobody
from smtplog.replay.credentials import Credentials
from smtplog.replay.recording import Recording, TelnetLog
from smtplog.replay.so_far import SoFar
from smtplog.replay.standing import Standing
from smtplog.replay.wire import Address, connect, for_clients
from tests.live import LIMIT, PASSWORD, USER, Mailbox, mailbox
from tests.misbehaving import ALL, early, misbehaving, no_tls

MESSAGE = [
    "From: <anna@example.org>",
    "Date: Wed, 25 Nov 2026 20:00:00 +0000",
    "Message-ID: <1@client.example.org>",
    "Subject: dots",
    "",
    ".hidden at once",
    "..twice",
    "end",
]
ENVELOPE = ["MAIL FROM:<anna@example.org>", "RCPT TO:<kate@example.net>", "DATA", *MESSAGE, "."]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    with mailbox(tmp_path_factory.mktemp("box")) as held:
        yield held


@dataclass
class Script:
    """Lines that are all there from the beginning."""

    left: list[str]
    asked: list[str] = field(default_factory=list)

    def next(self, conversation: Conversation, again: str) -> str:
        self.asked += [again] if again else []
        if not self.left:
            raise EOFError
        return self.left.pop(0) or again

    def more(self) -> bool:
        return bool(self.left)


@dataclass
class Held:
    """A session that was held: its log, what was shown, the exit code."""

    log: str
    screen: str
    code: int
    conversation: Conversation
    script: Script

    def dialog(self, folder: Path, name: str = "cs-dialog") -> Dialog:
        path = folder / "session.log"
        path.write_text(self.log, encoding="utf-8")
        (found,) = smtplog.read(path, input_format=name)
        return found


def held(
    port: int,
    lines: list[str],
    *,
    terminal: bool = False,
    careful: bool = False,
    kind: type[Recording] = Recording,
    user: Callable[[], Credentials] = lambda: Credentials(USER, PASSWORD),
    timeout: float = LIMIT,
    **begin: object,
) -> Held:
    """Hold a session with a port of loopback, as ``smtplog record`` does."""
    wire = connect(Address("127.0.0.1", port), 5.0)
    wire.tls, wire.timeout, wire.total = for_clients(insecure=True), timeout, 2 * LIMIT
    log, screen, page = io.StringIO(), io.StringIO(), Page()
    page.stream, page.colour = screen, False
    shown = Shown(page, terminal, terminal)
    conversation = Conversation(recording=kind(log), screen=shown, user=user, in_clear=True)
    conversation.recording.event(f"connect {wire.here} -> {wire.there}")
    script = Script(list(lines))
    console = Console(conversation, shown, script, wire.take, careful)
    try:
        code = console.hold(conversation.begin(**begin))  # type: ignore[arg-type]
    finally:
        wire.close()
    return Held(log.getvalue(), screen.getvalue(), code, conversation, script)


@pytest.mark.parametrize(("kind", "name"), [(Recording, "cs-dialog"), (TelnetLog, "telnet-unix")])
def test_a_session_is_kept_as_it_was(box: Mailbox, kind: type[Recording], name: str, tmp_path: Path) -> None:
    box.taken.clear()
    lines = ["AUTH", *ENVELOPE, "QUIT"]
    session = held(box.port, lines, kind=kind, starttls=True, hello="client.example.org")
    assert session.code == 0
    assert box.taken == ["\r\n".join([*MESSAGE, ""]).encode()]
    dialog = session.dialog(tmp_path, name)
    verbs = [exchange.verb for exchange in dialog.exchanges]
    assert verbs == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", ".", "QUIT"]
    assert dialog.exchanges[3].tls and dialog.exchanges[4].authenticated
    assert (dialog.outcome, dialog.end) == ("delivered", "quit")
    assert dialog.exchanges[7].content is not None
    assert dialog.exchanges[7].content.lines[5:7] == ("..hidden at once", "...twice")
    assert not [each for each in smtplog.read(tmp_path / "session.log").check() if each.severity != "info"]
    secret = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    for shown in (session.log, session.screen):
        assert PASSWORD not in shown and secret not in shown


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_auth_is_helped_with(box: Mailbox, mechanism: str) -> None:
    lines = ["EHLO client.example.org", "STARTTLS", "EHLO client.example.org", f":auth {mechanism}", "QUIT"]
    session = held(box.port, lines, terminal=True)
    assert session.conversation.standing.authenticated
    assert "C: AUTH" in session.screen and "********" in session.screen and PASSWORD not in session.screen
    masked = held(box.port, [*lines[:3], f"AUTH {mechanism} ********", "QUIT"])
    assert masked.conversation.standing.authenticated


def test_a_log_in_by_hand_is_masked_wherever_it_is_said_again(box: Mailbox) -> None:
    encoded = [base64.b64encode(word.encode()).decode() for word in (USER, PASSWORD)]
    lines = ["EHLO client.example.org", "STARTTLS", "EHLO client.example.org", "AUTH LOGIN", *encoded, "QUIT"]
    session = held(box.port, [*lines[:-1], f"NOOP {PASSWORD}", "QUIT"])
    assert session.conversation.standing.authenticated
    assert PASSWORD not in session.log and encoded[1] not in session.log and "NOOP ********" in session.log


@pytest.mark.parametrize("terminal", [False, True])
def test_answers_to_an_auth_that_failed_are_masked(box: Mailbox, terminal: bool) -> None:
    answer = base64.b64encode(PASSWORD.encode()).decode()
    lines = ["EHLO client.example.org", "AUTH LOGIN"]  # TLS is asked for first
    with_faults = [*lines, f"AUTH PLAIN {PASSWORD}!", "", answer, "", "QUIT"]
    session = held(box.port, with_faults, terminal=terminal)
    for shown in (session.log, session.screen):
        assert answer not in shown and PASSWORD not in shown
    standing = Standing()
    standing.said("AUTH")
    assert standing.is_secret(answer) and not standing.is_secret("QUIT") and not standing.is_secret("MAIL FROM:<>")


def test_no_password_is_sent_in_clear_by_the_helper(box: Mailbox) -> None:
    conversation = Conversation(screen=Shown(Page(), False, False), user=nobody)
    with pytest.raises(UsageError, match="TLS is not active"):
        conversation.meant(":auth PLAIN")
    conversation.standing.tls = True
    with pytest.raises(UsageError, match="SMTPLOG_USER"):
        conversation.meant(":auth PLAIN")
    with pytest.raises(UsageError, match="cannot be answered"):
        conversation.meant(":auth KERBEROS_V4")


def test_a_fault_is_shown_before_the_line_is_sent_and_asked_about_once(box: Mailbox) -> None:
    wrong, right = "MAIL FORM:<anna@example.org>", "MAIL FROM:<anna@example.org>"
    session = held(
        box.port, ["EHLO client.example.org", wrong, right, "RCPT TO:kate@example.net", "", "QUIT"], terminal=True
    )
    assert session.script.asked == [wrong, "RCPT TO:kate@example.net"]
    assert "SYN003" in session.screen and f"write: {right}" in session.screen
    assert wrong not in session.log and "C: RCPT TO:kate@example.net" in session.log  # Enter sends it as it is
    assert "the sender is accepted" in session.screen


def test_careful_stops_before_the_fault(box: Mailbox) -> None:
    session = held(box.port, ["EHLO client.example.org", "MAIL FROM:anna@example.org", "QUIT"], careful=True)
    assert session.code == 1 and "MAIL" not in session.log and "C: QUIT" in session.log


def test_text_whose_data_was_refused_is_not_sent_as_commands(box: Mailbox) -> None:
    session = held(
        box.port, ["EHLO client.example.org", "DATA", "RSET", "MAIL FROM:<x@example.org>", ".", "NOOP", "QUIT"]
    )
    assert session.code == 2 and session.conversation.unsent == 3
    assert "C: RSET" not in session.log and "C: NOOP" in session.log


def test_answers_whose_auth_was_refused_are_not_sent_as_commands(box: Mailbox) -> None:
    answer = base64.b64encode(PASSWORD.encode()).decode()
    session = held(
        box.port, ["EHLO client.example.org", "AUTH LOGIN", answer, answer, "QUIT"]
    )  # TLS is asked for first
    assert session.conversation.unsent == 2 and answer not in session.log and "C: QUIT" in session.log


def test_input_that_ends_within_text_delivers_nothing(box: Mailbox) -> None:
    box.taken.clear()
    session = held(box.port, ["EHLO client.example.org", *ENVELOPE[:-1]])
    assert session.code == 2 and not box.taken and session.log.endswith("*: close client\n")


def chunks(connection: socket.socket) -> None:
    """A server that takes chunks, of LMTP."""
    connection.sendall(b"220 mx.example.net LMTP\r\n")
    seen = b""
    answers = {b"LHLO": b"250-mx.example.net\r\n250 CHUNKING\r\n", b"QUIT": b"221 2.0.0 Bye\r\n"}
    while came := connection.recv(4096):
        seen += came
        while b"\r\n" in seen:
            line, _, seen = seen.partition(b"\r\n")
            words = line.split()
            if words[0] == b"BDAT":
                while len(seen) < int(words[1]):
                    seen += connection.recv(4096)
                seen = seen[int(words[1]) :]
                last = words[-1] == b"LAST"
                connection.sendall(b"250 2.0.0 Ok\r\n" * (2 if last else 1))
            else:
                connection.sendall(answers.get(words[0], b"250 2.0.0 Ok\r\n"))
            if words[0] == b"QUIT":
                return


def test_chunks_and_lmtp(tmp_path: Path) -> None:
    lines = [
        "LHLO client.example.org",
        "MAIL FROM:<a@example.org>",
        "RCPT TO:<b@example.net>",
        "RCPT TO:<c@example.net>",
    ]
    with misbehaving(chunks) as port:
        session = held(port, [*lines, "BDAT 12", "Subject: hi", "BDAT 6 LAST", "hello", "QUIT"])
    dialog = session.dialog(tmp_path)
    assert session.code == 0 and not session.conversation.unsent
    assert [exchange.verb for exchange in dialog.exchanges].count("BDAT") >= 2 and dialog.end == "quit"


@pytest.mark.parametrize("serve", ALL)
def test_a_server_that_misbehaves_is_left_in_time(serve: Callable[[socket.socket], None], tmp_path: Path) -> None:
    began = time.monotonic()
    with misbehaving(serve) as port:
        first = "STARTTLS" if serve is no_tls else "EHLO client.example.org"
        session = held(port, [first, *ENVELOPE, "QUIT"], timeout=1.0)
    assert time.monotonic() - began < LIMIT
    assert session.code == 2 or serve is early
    assert session.log.splitlines()[-1].startswith("*: close")
    assert smtplog.read(_written(session.log, tmp_path), input_format="cs-dialog").summary() is not None
    assert all(c.isprintable() or c == "\n" for c in session.screen)


def _written(log: str, folder: Path) -> Path:
    path = folder / "new.log"
    path.write_text(log, encoding="utf-8")
    return path


def test_what_a_reply_brings_to_light_is_told_once() -> None:
    so_far = SoFar()
    for side, words in (("S", "220 mx.example.net ESMTP"), ("C", "EHLO a.example.org"), ("S", "250 mx.example.net")):
        (so_far.recording.server if side == "S" else so_far.recording.client)(f"{words}\r\n".encode())
    assert not so_far.before(b"MAIL FROM:<a@example.org>\r\n", "MAIL")
    (finding,) = so_far.before(b"MAIL FROM:a@example.org\r\n", "MAIL")
    assert finding.code == "SYN001" and "refused" not in finding.message
    so_far.recording.client(b"MAIL FROM:a@example.org\r\n")
    so_far.recording.server(b"250 2.1.0 Ok\r\n")
    assert not so_far.after()
    so_far.recording.client(b"RCPT TO:<b@example.net>\r\n")
    so_far.recording.server(b"354 go\r\n")
    assert [each.party for each in so_far.after()] == ["server"]
    assert not so_far.after()


def test_from_a_pipe(box: Mailbox, tmp_path: Path) -> None:
    log = tmp_path / "session.log"
    words = [sys.executable, "-m", "smtplog", "record", f"127.0.0.1:{box.port}", "-o", str(log), "--starttls"]
    words += ["--trust", str(box.trust), "--ehlo", "client.example.org"]
    lines = "\n".join([*ENVELOPE, "RCPT TO:kate@example.net", "QUIT", ""]).encode()
    ran = subprocess.run(words, input=lines, capture_output=True, timeout=4 * LIMIT, check=False)
    assert ran.returncode == 0, ran.stderr
    replies = ran.stdout.decode().splitlines()
    assert (
        replies[0].startswith("220 ")
        and replies[-1].startswith("221 ")
        and len(replies) == len([line for line in log.read_text().splitlines() if line.startswith("S: ")])
    )
    assert b"SYN001" in ran.stderr and b"Traceback" not in ran.stderr
    assert b"EHLO comes next" not in ran.stderr  # nobody has to say it


def test_nobody_there_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    words = [sys.executable, "-m", "smtplog", "record", f"127.0.0.1:{port}", "-o", str(tmp_path / "no.log")]
    ran = subprocess.run(words, input=b"QUIT\n", capture_output=True, timeout=4 * LIMIT, check=False)
    assert ran.returncode == 2 and ran.stderr.count(b"\n") == 1 and not (tmp_path / "no.log").exists()
