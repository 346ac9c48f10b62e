"""The stand-in server: what was not recorded, faults on purpose, many clients, clients that misbehave, its end."""

from __future__ import annotations

import io
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tracemalloc
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import smtplog
from smtplog import states
from smtplog.cli import app
from smtplog.errors import UsageError
from smtplog.replay import server as serving
from smtplog.replay.acts import Act, Close, Receive, Send
from smtplog.replay.faults import Faults, fault
from smtplog.replay.framing import Framing, code_of
from smtplog.replay.listener import Conduct, Listener
from smtplog.replay.recording import Recording
from smtplog.replay.server import Server
from smtplog.replay.turns import Play, play
from smtplog.replay.wire import Address
from tests.crowd import SEED, crowd

LIMIT = 10.0
LOG = """\
S: 220 mx.example.net ESMTP
C: EHLO a.example.org
S: 250-mx.example.net
S: 250 AUTH PLAIN LOGIN
C: MAIL FROM:<ann@example.org>
S: 250 2.1.0 Ok
C: RCPT TO:<bob@example.net>
S: 250 2.1.5 Ok
C: RCPT TO:<nobody@example.net>
S: 550 5.1.1 No such user
C: DATA
S: 354 Go on
C: Hello
C: .
S: 250 2.0.0 Ok: queued as 4Ttq
C: QUIT
S: 221 2.0.0 Bye
"""
HELLO = b"EHLO a.example.org\r\n"
TO_DATA = (HELLO, b"MAIL FROM:<ann@example.org>\r\n", b"RCPT TO:<bob@example.net>\r\n")
TO_TEXT = (*TO_DATA, b"RCPT TO:<nobody@example.net>\r\n", b"DATA\r\n")


@cache
def parts(*texts: str) -> list[Play]:
    """Dialogs in C:/S: notation, as plays."""
    with tempfile.TemporaryDirectory() as name:
        for number, text in enumerate(texts):
            (Path(name) / f"{number}.dialog").write_text(text, encoding="utf-8")
        return [play(dialog) for dialog in smtplog.read(name, show_secrets=True)]


class Talk:
    """A client by hand, without any socket."""

    def __init__(self, server: Server) -> None:
        self.server, self.closed, self._heard = server, False, b""
        self._side = server.side()
        self._act: Act | None = next(self._side)
        self._go()

    def _go(self) -> None:
        while self._act is not None and not isinstance(self._act, Receive):
            self._heard += self._act.octets if isinstance(self._act, Send) else b""
            self.closed = self.closed or isinstance(self._act, Close)
            self._answer(b"")

    def _answer(self, octets: bytes) -> None:
        try:
            self._act = self._side.send(octets)
        except StopIteration:
            self._act = None

    def say(self, octets: bytes) -> bytes:
        """Say it; what is answered."""
        self._heard = b""
        if self._act is not None:
            self._answer(octets)
            self._go()
        return self._heard


@pytest.mark.parametrize(
    ("policy", "said", "answer"),
    [
        ("503", b"RCPT TO:<eve@example.net>\r\n", b"503 5.5.1 Not recorded here\r\n"),
        ("503", b"QUIT\r\n", b"221 2.0.0 Bye\r\n"),
        ("nearest", b"RCPT TO:<nobodi@example.net>\r\n", b"550 5.1.1 No such user\r\n"),
        ("nearest", b"VRFY eve\r\n", b"503 5.5.1 Not recorded here\r\n"),
        ("close", b"RCPT TO:<eve@example.net>\r\n", b""),
        ("state-machine", b"RCPT TO:<eve@example.net>\r\n", b"250 2.1.5 Recipient ok\r\n"),
        ("state-machine", b"DATA\r\n", b"503 5.5.1 Bad sequence of commands\r\n"),
        ("state-machine", b"XYZZY\r\n", b"500 5.5.2 Command not recognized\r\n"),
    ],
)
def test_what_was_not_recorded_is_answered_by_the_policy(policy: str, said: bytes, answer: bytes) -> None:
    talk = Talk(Server(parts(LOG), unmatched=policy))
    for line in TO_DATA[:2]:
        talk.say(line)
    assert talk.say(said) == answer
    assert talk.closed == (policy == "close" or said == b"QUIT\r\n")
    assert [miss.line.encode() + b"\r\n" for miss in talk.server.misses] == [said]


_LINES = st.sampled_from(
    [verb for verbs in states.ALLOWED.values() for verb in verbs if verb not in (".", "AUTH-RESPONSE", "STARTTLS")]
    + ["AUTH LOGIN", "AUTH PLAIN AGEAYg==", "dXNlcg==", "nonsense"]
)


@given(st.lists(_LINES, max_size=12))
def test_a_state_machine_answers_as_the_table_allows(verbs: list[str]) -> None:
    """Judged by what smtplog reads of the recording: its walk, not the server's."""
    log = io.StringIO()
    talk = Talk(Server(parts(LOG), Recording(log, stamps=False, show_secrets=True), unmatched="state-machine"))
    for verb in verbs:
        line = {"MAIL": "MAIL FROM:<x@example.org>", "RCPT": "RCPT TO:<y@example.org>"}.get(verb, verb)
        line = {"BDAT": "BDAT 2", "BDAT LAST": "BDAT 2 LAST"}.get(verb, line)
        if verb in (*states.HELLO, "VRFY", "EXPN", "ETRN"):
            line += " z.example.org"
        chunk = b"x\n" if verb.startswith("BDAT") and talk.server.standing.state != "auth" else b""
        reply = talk.say(line.encode() + b"\r\n" + chunk)
        if reply:
            assert Framing(bytearray(reply)).reply() == reply and code_of(reply)
        if code_of(reply) == 354:
            assert code_of(talk.say(b"text\r\n.\r\n")) == 250
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "log.dialog"
        path.write_text(log.getvalue(), encoding="utf-8")
        (dialog,) = smtplog.read(path, input_format="cs-dialog", show_secrets=True)
    for exchange in dialog.exchanges:
        if exchange.reply is None:
            continue
        verb = "BDAT LAST" if exchange.verb == "BDAT" and exchange.argument.endswith("LAST") else exchange.verb
        refused = exchange.reply.code in (500, 503)
        assert refused != (verb in states.ALLOWED[exchange.state]), (
            exchange.command,
            exchange.state,
            exchange.reply.raw,
        )


@pytest.mark.parametrize(("words", "answer", "closed"), [("drop@text", b"", True), ("421@text", b"421", True)])
def test_a_fault_comes_in_the_middle_of_the_text(words: str, answer: bytes, closed: bool) -> None:
    talk = Talk(Server(parts(LOG), fault=Faults((fault(words),))))
    for line in TO_TEXT:
        talk.say(line)
    assert not talk.closed
    assert talk.say(b"Hel")[:3] == answer
    assert talk.closed == closed


LMTP = """\
S: 220 mx LMTP
C: LHLO a
S: 250 mx
C: MAIL FROM:<ann@example.org>
S: 250 ok
C: RCPT TO:<bob@example.net>
S: 250 ok
C: RCPT TO:<carol@example.net>
S: 250 ok
C: DATA
S: 354 go
C: Hello
C: .
S: 250 bob has it
S: 452 carol is full
C: QUIT
S: 221 bye
"""


@pytest.mark.parametrize(
    ("words", "more", "codes"),
    [
        (None, 0, ["250", "452"]),
        ("550@RCPT#2", 0, ["250"]),
        ("451@.", 0, ["451", "451"]),
        ("silence@.", 0, []),
        (None, 1, ["250", "452", "250"]),
    ],
)
def test_each_recipient_that_was_accepted_has_one_reply(words: str | None, more: int, codes: list[str]) -> None:
    faults = Faults((fault(words),) if words else ())
    talk = Talk(Server(parts(LMTP), unmatched="state-machine", fault=faults))
    lines = [line[3:].encode() + b"\r\n" for line in LMTP.splitlines() if line.startswith("C: ")]
    lines[4:4] = [b"RCPT TO:<dan@example.net>\r\n"] * more
    for line in lines[:-2]:
        talk.say(line)
    assert [line[:3].decode() for line in talk.say(lines[-2]).splitlines()] == codes
    assert words == "silence@." or talk.say(lines[-1]).startswith(b"221")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--fault", "421@RCTP"], "did you mean RCPT?"),
        (["--fault", "999@RCPT"], "is no fault"),
        (["--listen", "nobody.invalid:25"], "cannot be listened on"),
        (["--listen", "0.0.0.0:25"], "is not loopback"),
        (["--certificate", "missing.pem"], "cannot be used: No such file or directory"),
        (["--sessions", "-1"], "--sessions 0 or more"),
    ],
)
def test_words_that_mean_nothing(words: list[str], why: str) -> None:
    ran = CliRunner().invoke(app, ["serve", str(SEED), *words])
    assert isinstance(ran.exception, UsageError) and why in str(ran.exception)


def test_the_commands_choose_the_dialog() -> None:
    other = LOG.replace("bob@example.net", "carol@example.net").replace("250 2.1.5 Ok", "252 2.1.5 Perhaps")
    talk = Talk(Server(parts(LOG, other)))
    for line in TO_DATA[:2]:
        talk.say(line)
    assert talk.say(b"RCPT TO:<carol@example.net>\r\n") == b"252 2.1.5 Perhaps\r\n"
    assert not talk.server.misses


@pytest.mark.parametrize(
    ("before", "octets"),
    [
        ((), b"x" * 65536),
        (TO_TEXT, b"never an end of it\r\n" * 3000),
        (TO_TEXT, b"x" * 65536),
        ((HELLO,), b"BDAT 2000000\r\n" + b"x" * 65536),
        ((HELLO,), b"BDAT 9999999999\r\n"),
        ((), random.Random(7).randbytes(65536)),
    ],
    ids=["line", "text", "line of text", "chunk", "announced", "garbage"],
)
def test_a_client_that_never_ends_is_left_within_limits(
    before: tuple[bytes, ...], octets: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MOST_TEXT", 2 << 20)
    talk = Talk(Server(parts(LOG), Recording(open("/dev/null", "w")), unmatched="state-machine"))
    for line in before:
        talk.say(line)
    tracemalloc.start()
    for _ in range(200):
        talk.say(octets)
        if talk.closed:
            break
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 << 20
    one_after_the_other = octets.startswith(b"BDAT 2000000\r\n")  # each within its limit: memory is what counts
    assert (talk.closed and talk.server.ended) or one_after_the_other


def test_an_idle_client_is_dropped_in_time() -> None:
    with Listener(parts(LOG), Address("127.0.0.1", 0), Conduct(timeout=0.3)) as listening:
        with socket.create_connection(("127.0.0.1", listening.port), LIMIT) as idle:
            begun = time.monotonic()
            while idle.recv(1000):
                pass
        assert time.monotonic() - begun < 3


def test_many_at_once_and_one_after_the_other() -> None:
    for wanted, toll in zip((200, 200), crowd(200, 200), strict=True):
        assert toll.right == wanted
        assert toll.sockets <= 0
        assert toll.octets < 1 << 20


def _serve(*words: str) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "smtplog", "serve", str(SEED), "--listen", "127.0.0.1:0", *words]
    served = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert served.stdout is not None
    first = served.stdout.readline()
    return served, int(first.split(";")[0].rpartition(":")[2])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_it_ends_calmly_though_a_client_is_there(number: signal.Signals, code: int, tmp_path: Path) -> None:
    served, port = _serve("--record", str(tmp_path / "kept"))
    with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
        assert client.recv(1000).startswith(b"220")
        served.send_signal(number)
        _, told = served.communicate(timeout=LIMIT)
    assert served.returncode == code and not told
    assert "S: 220" in (tmp_path / "kept" / "session-0001.dialog").read_text(encoding="utf-8")


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [
            sys.executable,
            "-m",
            "smtplog",
            "serve",
            str(SEED),
            "--listen",
            f"127.0.0.1:{taken.getsockname()[1]}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT * 3, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "cannot be listened on: Address already in use; choose" in done.stderr
