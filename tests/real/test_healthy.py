"""No false alarm: what real clients say to real servers when all is well gives no error and no warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from smtplog import read
from smtplog.findings import SEVERITIES, Finding, Severity
from tests.corpus.as_logged import Context, Log, compare
from tests.corpus.sidecars import said
from tests.real.clients import CLIENTS, LMTP_CLIENTS, POSTFIX, Client, smtplib_delivers
from tests.real.mails import MAILS, Mail
from tests.real.servers import Server
from tests.real.tap import Certificate, Recording, Tap

BLOCK = 1 << 20  #: how blocks are cut is no subject of these tests
PAIRS = [(client, server) for client in CLIENTS for server in ("postfix", "exim", "aiosmtpd")]
PAIRS += [(client, "lmtp") for client in LMTP_CLIENTS]


def sendable(client: Client, server: str) -> list[Mail]:
    """The mails that a client can deliver to a server as they are meant."""
    lacking = {"aiosmtpd": {"dsn"}, "lmtp": {"dsn", "tls"}}.get(server, set())
    possible = client.wishes - lacking
    return [mail for mail in MAILS if mail.wishes <= possible and len(mail.recipients) <= client.recipients]


def alarms(findings: list[Finding], least: Severity) -> list[str]:
    """Those of this severity or a worse one, in words."""
    worse = SEVERITIES[SEVERITIES.index(least) :]
    return [f"{each.code} {each.message}\n{each.excerpt}" for each in findings if each.severity in worse]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Server:
    """The server that the test names."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize(
    ("client", "server", "mail"),
    [
        pytest.param(client, server, mail, id=f"{client.name} to {server}: {mail.name}")
        for client, server in PAIRS
        for mail in sendable(client, server)
    ],
    indirect=["server"],
)
def test_what_is_healthy_gives_no_alarm(
    client: Client, server: Server, mail: Mail, certificate: Certificate, own_folder: Path
) -> None:
    since = server.log.stat().st_size if server.log else 0
    with Tap(server.port, certificate) as tap:
        client.deliver(tap.port, mail, own_folder, certificate)
        (recording,) = tap.recorded()
    read_as_recorded(recording, own_folder)
    if server.log:
        logged_as_recorded(server.logged(since, "]: disconnect from"), "server", recording, own_folder)


@pytest.mark.parametrize(
    ("server", "mail"),
    [
        pytest.param(server, mail, id=f"postfix to {server}: {mail.name}")
        for server in ("postfix", "exim", "aiosmtpd")
        for mail in sendable(POSTFIX, server)
    ],
    indirect=["server"],
)
def test_what_postfix_delivers_gives_no_alarm(
    relay: Server, server: Server, mail: Mail, certificate: Certificate, own_folder: Path
) -> None:
    assert relay.log is not None
    since = relay.log.stat().st_size
    with Tap(server.port, certificate, relay.onward) as tap:
        smtplib_delivers(relay.port, mail, own_folder, certificate)
        (recording,) = tap.recorded()
    read_as_recorded(recording, own_folder)
    logged = relay.logged(since, ": removed\n").splitlines(keepends=True)
    log = b"".join(line for line in logged if b"postfix/smtp[" in line)
    logged_as_recorded(log, "client", recording, own_folder)


def read_as_recorded(recording: Recording, folder: Path) -> None:
    """The dialog that smtplog reads is the one that was held, and nothing of it is blamed."""
    path = folder / "recorded.dialog"
    path.write_text(recording.notation(), encoding="utf-8")
    transcript = read(path, show_secrets=True, block_size=BLOCK)
    (dialog,) = transcript
    assert transcript.files[0].format == "cs-dialog"
    assert said(dialog) == recording.said
    assert dialog.outcome == "delivered"
    told = [each for each in transcript.check() if each.code != "SEC002"]
    assert not alarms(told, "warning"), "SEC002 is of the recording, not of the mail: it holds the password in clear"


def logged_as_recorded(log: bytes, written_by: str, recording: Recording, folder: Path) -> None:
    """The dialog of Postfix's own log is the one that was held, but for what such a log leaves out."""
    path = folder / "maillog"
    path.write_bytes(log)
    transcript = read(path, show_secrets=True, block_size=BLOCK)
    (dialog,) = transcript
    assert transcript.files[0].format == "postfix-verbose"
    lines = tuple(log.decode("utf-8", "surrogateescape").splitlines())
    compared = compare(said(dialog), recording.said, Context(Log(lines, written_by, True), said(dialog)))
    assert compared.equal, compared.difference
    assert dialog.outcome == "delivered"
    assert not alarms(list(transcript.check()), "error")
