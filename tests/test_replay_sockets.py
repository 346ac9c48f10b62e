"""The drivers of a play, over real sockets of loopback: TLS, time limits, servers that misbehave."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import smtplog
from smtplog.replay.certificate import ephemeral
from smtplog.replay.client import Client
from smtplog.replay.faults import fault
from smtplog.replay.listener import Conduct, Listener
from smtplog.replay.recording import Recording
from smtplog.replay.turns import Play, play
from smtplog.replay.wire import Address, connect, for_clients
from tests.conftest import DAY, TRANSCRIPTS, samples
from tests.misbehaving import ALL, misbehaving

LIMIT = 10.0  # seconds; no play of these tests takes one
SEED = TRANSCRIPTS / "bare-dialog" / "seed-session.log"


def plays(path: Path) -> list[Play]:
    """The dialogs of a log."""
    return [part for dialog in smtplog.read(path, show_secrets=True, date=DAY) if (part := play(dialog)).turns]


def played(part: Play, port: int, **options: object) -> Client:
    """A client that has played its part against a port of loopback."""
    client = Client(part, recording=Recording(show_secrets=True), **options)  # type: ignore[arg-type]
    wire = connect(Address("127.0.0.1", port), 5.0)
    wire.tls, wire.timeout, wire.total = for_clients(insecure=True), LIMIT, LIMIT
    wire.run(client.side())
    return client


TLS = [path for path in samples() if any(turn.starts_tls for part in plays(path) for turn in part.turns)]


@pytest.mark.parametrize("path", [SEED, *TLS], ids=lambda path: str(path.relative_to(TRANSCRIPTS)))
def test_8_over_sockets(path: Path) -> None:
    parts = plays(path)
    conduct = Conduct(tls=ephemeral("localhost")[0], timeout=LIMIT)
    with Listener(parts, Address("127.0.0.1", 0), conduct) as listening:
        for part in parts:
            client = played(part, listening.port, level="exact")
            assert not client.ended
            assert all(heard.same and not heard.skipped for heard in client.heard), part.dialog.id


@pytest.mark.parametrize("serve", ALL)
def test_a_server_that_misbehaves_is_left_in_time(serve: Callable[[socket.socket], None], tmp_path: Path) -> None:
    log = tmp_path / "new.dialog"
    began = time.monotonic()
    with misbehaving(serve) as port, log.open("w", encoding="utf-8") as stream:
        client = Client(plays(SEED)[0], recording=Recording(stream), on_mismatch="stop")
        wire = connect(Address("127.0.0.1", port), 5.0)
        wire.timeout = 1.0
        wire.run(client.side())
    assert time.monotonic() - began < LIMIT
    assert client.ended or not all(heard.same for heard in client.heard)
    written = log.read_text(encoding="utf-8").splitlines()
    assert written[-1].startswith("*: close")
    assert smtplog.read(log, input_format="cs-dialog").summary() is not None


@pytest.mark.parametrize(
    ("words", "verb", "answer"),
    [
        ("421@RCPT", "RCPT", b"421"),
        ("450@RCPT#1", "RCPT", b"450"),
        ("drop@DATA", "DATA", None),
        ("554@greeting", "", b"554"),
    ],
)
def test_faults_on_purpose(words: str, verb: str, answer: bytes | None) -> None:
    part = plays(SEED)[0]
    with Listener([part], Address("127.0.0.1", 0), Conduct(faults=(fault(words),), timeout=LIMIT)) as listening:
        client = played(part, listening.port, on_mismatch="stop")
    heard = next(each for each in client.heard if each.turn.verb == verb)
    assert not heard.same
    assert heard.reply is None if answer is None else (heard.reply or b"").startswith(answer)
