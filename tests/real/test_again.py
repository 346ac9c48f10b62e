"""Replay among real programs: what was recorded against a server is sent again to it and to others; real clients are served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from smtplog import read
from smtplog.replay.against import Again, prepared
from smtplog.replay.against import replay as send_again
from smtplog.replay.comparison import Outcome
from smtplog.replay.credentials import Credentials
from smtplog.replay.listener import Conduct, Listener, Session
from smtplog.replay.probe import Plan, Probe, message
from smtplog.replay.recording import Recording
from smtplog.replay.turns import Play, play
from smtplog.replay.wire import Address, connect, for_clients
from tests.real.clients import CLIENTS, Client
from tests.real.mails import MAILS, Mail
from tests.real.servers import PASSWORD, USER, Server
from tests.real.tap import PATIENCE, Certificate, Tap

SERVERS = ("postfix", "exim", "aiosmtpd")
WHO = ("ann@example.org", ("bob@example.net", "carol@example.net"))
PLAIN = Plan(
    *WHO, "client.example.org", message=message(*WHO, "Test", "One\n.two", "Thu, 1 Jan 2026 00:00:00 +0000", "1@x")
)
LOGIN = Credentials(USER, PASSWORD)


def probed(server: Server, plan: Plan, log: Path) -> Play:
    """What a probe of a server records, as a play."""
    with log.open("w", encoding="utf-8") as stream:
        probe = Probe(recording=Recording(stream, show_secrets=True), plan=plan)
        wire = connect(Address("127.0.0.1", server.port), PATIENCE)
        wire.tls, wire.timeout = for_clients(insecure=True), PATIENCE
        wire.run(probe.side())
    assert not probe.refused and not probe.ended, log.read_text(encoding="utf-8")
    (dialog,) = read(log, show_secrets=True)
    return play(dialog)


def again(part: Play, server: Server, log: Path) -> Outcome:
    """A play against a server."""
    how = Again(
        to=Address("127.0.0.1", server.port),
        tls=for_clients(insecure=True),
        timeout=PATIENCE,
        deliver=True,
        credentials=LOGIN,
    )
    with log.open("w", encoding="utf-8") as stream:
        (outcome,) = send_again(prepared([part], how), how, stream)
    return outcome


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Server:
    """The server that the test names."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def other(request: pytest.FixtureRequest) -> Server:
    """The other server that the test names."""
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("way", ["plain", "starttls", "starttls and auth"])
@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_a_server_answers_again_as_it_answered(server: Server, way: str, own_folder: Path) -> None:
    login = LOGIN if "auth" in way else None
    plan = replace(PLAIN, deliver=True, starttls="starttls" in way, credentials=login)
    part = probed(server, plan, own_folder / "probe.dialog")
    since = server.log.stat().st_size if server.log else 0
    outcome = again(part, server, own_folder / "again.dialog")
    assert outcome.same and outcome.compared == len(part.turns), outcome
    if server.log is not None:  # the server's own log tells of the same commands, codes and texts
        path = own_folder / "maillog"
        path.write_bytes(server.logged(since, "]: disconnect from"))
        (logged,) = read(path, input_format="postfix-verbose", show_secrets=True)
        (sent,) = read(own_folder / "again.dialog", show_secrets=True)
        codes = [(each.verb, each.reply.code) for each in sent.exchanges if each.reply]
        assert [(each.verb, each.reply.code) for each in logged.exchanges if each.reply] == codes


@pytest.mark.parametrize(
    ("server", "other"), [(one, two) for one in SERVERS for two in SERVERS if one != two], indirect=True
)
def test_another_server_differs_where_it_does(server: Server, other: Server, own_folder: Path) -> None:
    part = probed(server, replace(PLAIN, deliver=True, starttls=True, credentials=LOGIN), own_folder / "probe.dialog")
    outcome = again(part, other, own_folder / "again.dialog")
    (now,) = read(own_folder / "again.dialog", show_secrets=True)
    codes = [each.reply.code for each in now.exchanges if each.reply]
    recorded = [each.reply.code for each in part.dialog.exchanges if each.reply]
    assert outcome.different == sum(one != two for one, two in zip(recorded, codes, strict=True))
    assert outcome.compared == len(part.turns)


CASES = [
    pytest.param(client, mail, id=f"{client.name}: {mail.name}")
    for client in CLIENTS
    for mail in MAILS
    if mail.wishes <= client.wishes - {"dsn"} and len(mail.recipients) <= client.recipients
]


@pytest.mark.parametrize(("client", "mail"), CASES)
def test_a_real_client_is_served_as_by_the_real_server(
    client: Client, mail: Mail, aiosmtpd: Server, certificate: Certificate, own_folder: Path
) -> None:
    with Tap(aiosmtpd.port, certificate) as tap:
        client.deliver(tap.port, mail, own_folder, certificate)
        (recording,) = tap.recorded()
    log = own_folder / "recorded.dialog"
    log.write_text(recording.notation(), encoding="utf-8")
    parts = [play(dialog) for dialog in read(log, show_secrets=True)]
    served: list[Session] = []
    conduct = Conduct(tls=certificate.for_servers(), timeout=PATIENCE)
    folder = own_folder / "again"
    folder.mkdir(mode=0o755)
    with Listener(parts, Address("127.0.0.1", 0), conduct, served.append) as listening:
        client.deliver(listening.port, mail, folder, certificate)
    (session,) = served
    assert session.server.complete and not session.server.misses
