"""The recording proxy: between real clients and a real server, through STARTTLS and AUTH; with ends that misbehave."""

from __future__ import annotations

import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

import smtplog
from smtplog.model import Dialog
from smtplog.replay.certificate import ephemeral
from smtplog.replay.proxy import Between, Passed, Proxy
from smtplog.replay.recording import Recording
from smtplog.replay.relay import BothTLS, End, Relay
from smtplog.replay.turns import play
from smtplog.replay.wire import Address, for_clients
from tests.conftest import DAY, TRANSCRIPTS, samples
from tests.live import LIMIT, PASSWORD, USER, Mailbox, mailbox
from tests.misbehaving import ALL, misbehaving, no_tls

TEXT = b"From: <anna@example.org>\r\nDate: Wed, 25 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@example.org>\r\nSubject: x\r\n\r\n.\r\n..dots\r\nend\r\n"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mailbox]:
    with mailbox(tmp_path_factory.mktemp("box")) as held:
        yield held


def between(server: int, output: Path, timeout: float = LIMIT) -> Between:
    return Between(
        Address("127.0.0.1", server), for_clients(insecure=True), ephemeral("localhost")[0], output, timeout=timeout
    )


def any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def dialogs(*paths: Path) -> list[Dialog]:
    return list(smtplog.read(*paths, input_format="cs-dialog"))


def mail(port: int) -> None:
    """A mail as Python sends it, logged in under TLS."""
    with smtplib.SMTP("127.0.0.1", port, "client.example.org", timeout=LIMIT) as client:
        client.starttls(context=any_certificate())
        client.login(USER, PASSWORD)
        client.sendmail("anna@example.org", ["kate@example.net", "max@example.net"], TEXT)


def test_many_sessions_through_tls_go_to_a_file_each(box: Mailbox, tmp_path: Path) -> None:
    box.taken.clear()
    told: list[Passed] = []
    with (
        Proxy(Address("127.0.0.1", 0), between(box.port, tmp_path), told.append) as proxy,
        ThreadPoolExecutor(8) as pool,
    ):
        list(pool.map(lambda _: mail(proxy.port), range(8)))
    assert [each.trouble for each in told] == [""] * 8
    assert box.taken == [TEXT] * 8
    logs = sorted(tmp_path.glob("session-*.log"))
    assert len(logs) == 8
    for dialog in dialogs(*logs):
        assert (dialog.outcome, dialog.end) == ("delivered", "quit")
        verbs = [exchange.verb for exchange in dialog.exchanges]
        assert verbs == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "RCPT", "DATA", ".", "QUIT"]
        assert dialog.exchanges[3].tls and dialog.exchanges[3].command == "AUTH PLAIN ********"
        assert dialog.exchanges[8].content is not None and dialog.exchanges[8].content.lines[-3:] == (
            "..",
            "...dots",
            "end",
        )
    found = smtplog.read(*logs).check()
    assert not [each for each in found if each.severity != "info" and each.party == "client"]


def test_sessions_are_appended_to_one_file(box: Mailbox, tmp_path: Path) -> None:
    log = tmp_path / "sessions.log"
    with Proxy(Address("127.0.0.1", 0), between(box.port, log)) as proxy, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: mail(proxy.port), range(4)))
    assert [dialog.outcome for dialog in dialogs(log)] == ["delivered"] * 4
    assert PASSWORD not in log.read_text()


def test_the_command_between_swaks_and_the_server(box: Mailbox, tmp_path: Path) -> None:
    if shutil.which("swaks") is None:
        pytest.skip("swaks is not installed; .ci/run installs it")
    log = tmp_path / "sessions.log"
    words = [
        sys.executable,
        "-m",
        "smtplog",
        "record",
        f"127.0.0.1:{box.port}",
        "--proxy",
        "127.0.0.1:0",
        "-o",
        str(log),
    ]
    words += ["--trust", str(box.trust), "--sessions", "1"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        port = proxy.stdout.readline().split(" to ")[0].rpartition(":")[2]
        swaks = ["swaks", "--server", "127.0.0.1", "--port", port, "--tls", "--helo", "client.example.org"]
        swaks += ["--from", "anna@example.org", "--to", "kate@example.net", "--auth", "LOGIN"]
        ran = subprocess.run(
            [*swaks, "--auth-user", USER, "--auth-password", PASSWORD], capture_output=True, timeout=LIMIT, check=False
        )
        assert ran.returncode == 0, ran.stdout
        assert proxy.wait(LIMIT) == 0
    (dialog,) = dialogs(log)
    assert (dialog.outcome, dialog.end) == ("delivered", "quit")
    assert any(exchange.authenticated for exchange in dialog.exchanges) and PASSWORD not in log.read_text()


def talked(port: int, said: bytes) -> bytes:
    """Say something and hear what comes until the other side has had enough."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
        try:
            client.sendall(said)
            while came := client.recv(65536):
                heard += came
        except ConnectionError:  # it may reset
            return heard
    return heard


@pytest.mark.parametrize("serve", ALL)
def test_a_server_that_misbehaves_ends_in_time(serve: Callable[[socket.socket], None], tmp_path: Path) -> None:
    began, told = time.monotonic(), []
    log = tmp_path / "sessions.log"
    with misbehaving(serve) as port, Proxy(Address("127.0.0.1", 0), between(port, log, 1.0), told.append) as proxy:
        talked(proxy.port, b"STARTTLS\r\n" if serve is no_tls else b"EHLO client.example.org\r\n")
    assert time.monotonic() - began < LIMIT and len(told) == 1
    assert log.read_text().splitlines()[-1].startswith("*: close")


def test_tls_from_the_first_octet(tmp_path: Path) -> None:
    tls = ephemeral("localhost")[0]

    def serve(connection: socket.socket) -> None:
        with tls.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(b"220 mx.example.net ESMTP\r\n")
            while secured.recv(100):
                secured.sendall(b"221 2.0.0 Bye\r\n")

    with misbehaving(serve) as port:
        how = replace(between(port, tmp_path / "log"), implicit_tls=True)
        with Proxy(Address("127.0.0.1", 0), how) as proxy:
            client = smtplib.SMTP_SSL("127.0.0.1", proxy.port, context=any_certificate(), timeout=LIMIT)
            assert client.quit()[0] == 221
    (dialog,) = dialogs(tmp_path / "log")
    assert dialog.end == "quit" and dialog.exchanges[0].tls


def test_nobody_behind_the_proxy_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    told: list[Passed] = []
    with Proxy(Address("127.0.0.1", 0), between(port, tmp_path / "log"), told.append) as proxy:
        assert talked(proxy.port, b"QUIT\r\n").startswith(b"421 4.4.1 ")
    assert "cannot be reached" in told[0].trouble


@pytest.mark.parametrize("path", samples()[::5], ids=lambda path: str(path.relative_to(TRANSCRIPTS)))
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_what_goes_through_is_unchanged_and_written_as_it_was(path: Path, size: int, tmp_path: Path) -> None:
    for dialog in smtplog.read(path, show_secrets=True, date=DAY):
        turns = play(dialog).turns
        if dialog.end != "quit" or not all(turn.awaited for turn in turns):
            continue  # a log that lacks something
        log = tmp_path / "relayed.dialog"
        with log.open("w", encoding="utf-8") as stream:
            relay = Relay(Recording(stream, show_secrets=True))
            for turn in turns:
                for end, octets in (("client", turn.said), ("server", turn.reply)):
                    assert passed(relay, end, octets or b"", size) == (octets or b"")
        (again,) = dialogs(log)
        assert [each.verb for each in again.exchanges if each.command is not None and not each.recipient] == [
            turn.verb
            for turn in turns
            if turn.said is not None and not (turn.verb == "." and dialog.exchanges[turn.exchange or 0].recipient)
        ]


def passed(relay: Relay, end: End, octets: bytes, size: int) -> bytes:
    """What comes out at the other end."""
    out = b""
    for start in range(0, len(octets), size):
        for step in relay.take(end, octets[start : start + size]):
            if isinstance(step, BothTLS):
                out += step.reply
                relay.secured()
            else:
                out += step.octets
    return out
