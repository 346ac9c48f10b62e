"""The product's own recordings of real servers: by hand from a pipe, and through the proxy. The tap of these tests stays what it
is: a second witness that shares no code with the product."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import smtplog
from smtplog.replay.certificate import ephemeral
from smtplog.replay.proxy import Between, Proxy
from smtplog.replay.wire import Address, for_clients
from tests.real.servers import Server, needed
from tests.real.tap import PATIENCE
from tests.test_record import ENVELOPE, held

SERVERS = ["postfix", "exim", "aiosmtpd"]


@pytest.mark.parametrize("name", SERVERS)
def test_by_hand(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server: Server = request.getfixturevalue(name)
    session = held(server.port, [*ENVELOPE, "QUIT"], starttls=True, hello="client.example.org")
    assert session.code == 0, session.screen
    dialog = session.dialog(tmp_path)
    assert (dialog.outcome, dialog.end) == ("delivered", "quit")
    found = smtplog.read(tmp_path / "session.log").check()
    assert not [each for each in found if each.severity != "info" and each.party == "client"]


@pytest.mark.parametrize("name", SERVERS)
def test_through_the_proxy(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    needed("swaks")
    server: Server = request.getfixturevalue(name)
    log = tmp_path / "sessions.log"
    to = Address("127.0.0.1", server.port)
    between = Between(to, for_clients(insecure=True), ephemeral("localhost")[0], log, timeout=PATIENCE)
    with Proxy(Address("127.0.0.1", 0), between) as proxy:
        words = ["swaks", "--server", "127.0.0.1", "--port", str(proxy.port), "--tls", "--pipeline"]
        words += ["--helo", "client.example.org", "--from", "anna@example.org", "--to", "kate@example.net"]
        ran = subprocess.run(words, capture_output=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stdout.decode()
    (dialog,) = smtplog.read(log)
    assert (dialog.outcome, dialog.end) == ("delivered", "quit")
    assert any(exchange.tls for exchange in dialog.exchanges)
    assert not [each for each in smtplog.read(log).check() if each.severity == "error"]
