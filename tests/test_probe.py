"""``smtplog probe`` against stand-in servers of loopback."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import smtplog
from smtplog.cli import app
from smtplog.errors import SmtplogError, UsageError
from smtplog.replay.certificate import ephemeral
from smtplog.replay.credentials import PASSWORD
from smtplog.replay.faults import fault
from smtplog.replay.listener import Conduct, Listener
from smtplog.replay.turns import play
from smtplog.replay.wire import Address
from tests.conftest import TRANSCRIPTS

SEED = TRANSCRIPTS / "bare-dialog" / "seed-session.log"
WHO = ["--mail-from", "chris@contoso.com", "--rcpt-to", "kate@fabrikam.com", "--ehlo", "contoso.com"]
Serve = Callable[..., int]
FULL = """\
S: 220 mx.example.net ESMTP
C: EHLO a
S: 250-mx.example.net
S: 250-STARTTLS
S: 250-DSN
S: 250 AUTH PLAIN LOGIN
C: QUIT
S: 221 Bye
"""


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serve]:
    """Starts stand-in servers, gives their ports, ends them."""
    running = []

    def serve(text: str | None = None, *faults: str) -> int:
        path = SEED
        if text is not None:
            path = tmp_path / f"{len(running)}.dialog"
            path.write_text(text, encoding="utf-8")
        parts = [play(dialog) for dialog in smtplog.read(path, show_secrets=True)]
        tls = ephemeral("127.0.0.1")[0]
        conduct = Conduct(unmatched="state-machine", faults=tuple(map(fault, faults)), timeout=5.0, tls=tls)
        running.append(Listener(parts, Address("127.0.0.1", 0), conduct).__enter__())
        return running[-1].port

    yield serve
    for each in running:
        each.close()


def probe(*words: str) -> tuple[int, dict[str, Any]]:
    """The exit code and what it tells as JSON."""
    ran = CliRunner().invoke(app, ["probe", *words, "--output-format", "json", "--timeout", "3"])
    if isinstance(ran.exception, SmtplogError):
        raise ran.exception
    return ran.exit_code, json.loads(ran.stdout)


def said(told: dict[str, Any]) -> list[tuple[str, int]]:
    """Commands and codes."""
    dialog = told["dialog"]
    assert isinstance(dialog, dict)
    return [(each["verb"], each["reply"]["code"]) for each in dialog["exchanges"]]


def test_it_stops_before_the_message(serving: Serve, tmp_path: Path) -> None:
    log = tmp_path / "new.dialog"
    code, told = probe(f"127.0.0.1:{serving()}", *WHO, "--notify", "success,failure", "-o", str(log))
    assert code == 0
    assert said(told) == [("EHLO", 250), ("MAIL", 250), ("RCPT", 250), ("RSET", 250), ("QUIT", 221)]
    assert "RCPT TO:<kate@fabrikam.com> NOTIFY=success,failure" in log.read_text(encoding="utf-8")
    assert not [each for each in smtplog.read(log).check() if each.severity == "error"]


def test_it_delivers_when_asked(serving: Serve) -> None:
    words = ["--deliver", "--subject", "Hello", "--body", "One\n.two\n"]
    code, told = probe(f"127.0.0.1:{serving()}", *WHO, *words)
    assert code == 0
    assert said(told)[-3:] == [("DATA", 354), (".", 250), ("QUIT", 221)]
    assert told["dialog"]["transactions"][0]["content"]["subject"] == "Hello"
    assert told["dialog"]["outcome"] == "delivered"


def test_starttls_and_auth(serving: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(PASSWORD, "tanstaaf1")
    port, log = serving(FULL), tmp_path / "new.dialog"
    words = ["--starttls", "--insecure", "--auth", "tim", "-o", str(log)]
    code, told = probe(f"127.0.0.1:{port}", *WHO, *words)
    assert code == 0
    verbs = [verb for verb, _ in said(told)]
    assert verbs == ["EHLO", "STARTTLS", "EHLO", "AUTH", "MAIL", "RCPT", "RSET", "QUIT"]
    assert "dGFuc3RhYWYx" not in log.read_text(encoding="utf-8") + json.dumps(told)
    assert "AUTH PLAIN ********" in log.read_text(encoding="utf-8")


def test_no_password_without_tls(serving: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "tanstaaf1")
    code, told = probe(f"127.0.0.1:{serving(FULL)}", *WHO, "--auth", "tim")
    assert code == 1
    assert [verb for verb, _ in said(told)] == ["EHLO", "QUIT"]
    assert "under TLS only" in told["stopped"]


def test_a_certificate_that_nobody_knows_ends_it(serving: Serve) -> None:
    code, told = probe(f"127.0.0.1:{serving(FULL)}", *WHO, "--starttls")
    assert code == 1 and "is not trusted" in str(told["ended"])


@pytest.mark.parametrize(
    ("words", "faults", "why"),
    [
        (["--starttls"], [], "is not trusted"),
        (["--tls"], [], "speaks no TLS"),
        (["--starttls"], ["502@EHLO"], "does not offer STARTTLS"),
        ([], ["554@greeting"], "554 5.0.0 A fault on purpose"),
        ([], ["drop@MAIL"], "without an answer"),
    ],
)
def test_what_stopped_it_went_wrong(serving: Serve, words: list[str], faults: list[str], why: str) -> None:
    ran = CliRunner().invoke(app, ["probe", f"127.0.0.1:{serving(FULL, *faults)}", *WHO, *words, "--timeout", "3"])
    told = " ".join(ran.stdout.split())
    assert ran.exit_code == 1 and "Nothing went wrong" not in told
    assert why in told


@pytest.mark.parametrize(
    ("words", "last"),
    [("550@RCPT", ("RCPT", 550)), ("451@MAIL", ("MAIL", 451)), ("502@EHLO#1", ("EHLO", 502))],
)
def test_refusals(serving: Serve, words: str, last: tuple[str, int]) -> None:
    code, told = probe(f"127.0.0.1:{serving(None, words)}", *WHO)
    assert code == 1 and last in said(told)
    assert said(told)[-1] == ("QUIT", 221)


@pytest.mark.parametrize("words", ["drop@RCPT", "421@MAIL", "drop@greeting"])
def test_a_server_that_closes(serving: Serve, words: str) -> None:
    code, told = probe(f"127.0.0.1:{serving(None, words)}", *WHO)
    assert code == 1 and told["refused"] == 1


def test_compare_shows_what_differs(serving: Serve) -> None:
    one, other = serving(), serving(None, "550@RCPT")
    ran = CliRunner().invoke(app, ["probe", f"127.0.0.1:{one}", *WHO, "--compare", f"127.0.0.1:{other}"])
    (line,) = [each for each in ran.stdout.splitlines() if "Recipient RCPT" in each]
    assert line.split()[-4:] == ["250", "2.1.5", "550", "5.0.0"]
    ran = CliRunner().invoke(app, ["probe", f"127.0.0.1:{one}", *WHO, "--compare", f"127.0.0.1:{one}"])
    assert "Both answered alike" in ran.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["--mail-from", "a\r\nRSET", "--rcpt-to", "b@x.example"],
        ["--mail-from", "a@x.example", "--rcpt-to", "b@x.example> NOTIFY=never"],
        ["--mail-from", "a@x.example", "--rcpt-to", "b@x.example", "--notify", "sometimes"],
        ["--mail-from", "a@x.example", "--rcpt-to", "b@x.example", "--starttls", "--tls"],
    ],
)
def test_what_cannot_be_sent_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        probe("127.0.0.1:1", *words)
