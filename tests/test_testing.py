"""The pytest plugin, in runs of pytest of their own, with smtplib as the code under test."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import smtplog
import smtplog.replay.listener
import smtplog.replay.proxy
import smtplog.testing
from smtplog.replay.certificate import ephemeral
from tests.live import Mailbox, mailbox

pytest_plugins = ["pytester"]

CASSETTE = """\
S: 220 mx.example.net ESMTP
C: EHLO app.example.org
S: 250-mx.example.net
S: 250 SIZE 1000000
C: MAIL FROM:<app@example.org> SIZE=20
S: 250 2.1.0 Ok
C: RCPT TO:<bob@example.net>
S: 250 2.1.5 Ok
C: DATA
S: 354 Go on
C: Subject: Hello
C:
C: Hi
C: .
S: 250 2.0.0 Ok: queued as 4Ttq
C: QUIT
S: 221 2.0.0 Bye
"""
TEST = """
import smtplib, pytest

@pytest.mark.smtp_cassette("mail.dialog"{more})
def test_mail(smtp_cassette):
    with smtplib.SMTP(smtp_cassette.host, smtp_cassette.port, "app.example.org", timeout=10) as client:
        {before}
        client.sendmail("app@example.org", ["{to}"], "Subject: Hello\\r\\n\\r\\nHi\\r\\n")
    {after}
"""


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """What pytest within pytest would load a second time, and cryptography does not bear."""
    ephemeral("localhost")


@pytest.fixture
def run(pytester: pytest.Pytester, request: pytest.FixtureRequest) -> Iterator[object]:
    """Run a test of the code under test."""
    plugin = [] if request.config.pluginmanager.hasplugin("smtplog") else ["-p", "smtplog.testing"]

    def go(
        *words: str, to: str = "bob@example.net", more: str = "", before: str = "pass", after: str = "pass"
    ) -> pytest.RunResult:
        pytester.makepyfile(TEST.format(to=to, more=more, before=before, after=after))
        return pytester.runpytest_inprocess(*plugin, "-p", "no:cacheprovider", *words)

    return go  # type: ignore[return-value]


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Mailbox]:
    with mailbox(tmp_path) as box:
        yield box


def written(pytester: pytest.Pytester, text: str = CASSETTE) -> Path:
    path = pytester.path / "mail.dialog"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_cassette_is_played_and_tells_what_was_said(pytester: pytest.Pytester, run) -> None:  # type: ignore[no-untyped-def]
    written(pytester)
    after = (
        "dialog = smtp_cassette.dialog; assert dialog.transactions[0].recipients[0].address == 'bob@example.net'; "
        "assert dialog.outcome == 'delivered' and smtp_cassette.complete and not smtp_cassette.misses"
    )
    run("--strict-markers", after=after).assert_outcomes(passed=1)


def test_another_command_fails_the_test_and_names_the_nearest(pytester: pytest.Pytester, run) -> None:  # type: ignore[no-untyped-def]
    written(pytester)
    before = "client.ehlo(); client.mail('app@example.org'); client.rcpt('carol@example.net'); client.rset(); return"
    result = run(before=before)
    result.assert_outcomes(passed=1, errors=1)
    text = result.stdout.str()
    assert "mail.dialog was not played as it was recorded" in text
    assert "'rcpt TO:<carol@example.net>' was not recorded here; nearest is RCPT TO:<bob@example.net> (line 7)" in text
    assert "the address differs, recorded bob@example.net, here carol@example.net" in text
    assert "the log has no RSET; due was RCPT TO:<bob@example.net> (line 7)" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CASSETTE + "*: close\n" + CASSETTE, "sessions held: 1; sessions on the cassette: 2"),
        (CASSETTE.replace("C: QUIT", "C: NOOP\nS: 250 Ok\nC: QUIT"), "due was NOOP (line 16)"),
        ("nothing of SMTP\n", "mail.dialog"),
    ],
)
def test_what_was_not_played_is_told(pytester: pytest.Pytester, run, text: str, words: str) -> None:  # type: ignore[no-untyped-def]
    written(pytester, text)
    result = run()
    assert result.ret == 1
    assert words in result.stdout.str()


def test_a_missing_cassette_is_recorded_once_and_played_then(
    pytester: pytest.Pytester,
    run,  # type: ignore[no-untyped-def]
    upstream: Mailbox,
) -> None:
    more = f", upstream='127.0.0.1:{upstream.port}'"
    run(more=more, after="assert smtp_cassette.recording").assert_outcomes(passed=1)
    path = pytester.path / "mail.dialog"
    (dialog,) = smtplog.read(path)
    assert dialog.outcome == "delivered" and len(upstream.taken) == 1
    kept = path.read_bytes()
    run(more=more, after="assert not smtp_cassette.recording").assert_outcomes(passed=1)
    run("--smtp-cassettes=none", more=more).assert_outcomes(passed=1)
    assert len(upstream.taken) == 1 and path.read_bytes() == kept
    run("--smtp-cassettes=all", more=more).assert_outcomes(passed=1)
    assert len(upstream.taken) == 2


def test_starttls_and_auth_are_recorded_without_the_secret_and_played(
    pytester: pytest.Pytester,
    run,  # type: ignore[no-untyped-def]
    upstream: Mailbox,
) -> None:
    more = f", upstream='127.0.0.1:{upstream.port}'"
    before = "import ssl; tls = ssl.create_default_context(cadata=smtp_cassette.certificate.decode()); " + (
        "client._host = 'localhost'; client.starttls(context=tls); client.login('anna', 'opensesame')"
    )
    run(more=more, before=before).assert_outcomes(passed=1)
    text = (pytester.path / "mail.dialog").read_text(encoding="utf-8")
    assert "*: tls ok" in text and "opensesame" not in text and "AG9wZW5zZXNhbWU" not in text
    run("--smtp-cassettes=none", before=before).assert_outcomes(passed=1)
    assert len(upstream.taken) == 1


def test_a_failed_test_records_nothing(pytester: pytest.Pytester, run, upstream: Mailbox) -> None:  # type: ignore[no-untyped-def]
    run(more=f", upstream='127.0.0.1:{upstream.port}'", after="assert False").assert_outcomes(failed=1)
    assert not (pytester.path / "mail.dialog").exists()


@pytest.mark.parametrize(
    ("words", "more", "told"),
    [
        ((), "", "is missing: name the server that it is recorded from"),
        (("--smtp-cassettes=none",), ", upstream='127.0.0.1:9'", "mail.dialog"),
        ((), ", mode='sometimes'", "'sometimes' means nothing here; there are none, once, all"),
        ((), ", upsteam='mx:25'", "upsteam= means nothing to the marker; it takes a path, and upstream=, mode="),
        ((), ", upstream='here:there'", "'here:there' is no address"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, words: tuple[str, ...], more: str, told: str) -> None:  # type: ignore[no-untyped-def]
    result = run(*words, more=more)
    result.assert_outcomes(errors=1)
    assert told in result.stdout.str() and "Traceback" not in result.stdout.str()


def test_pytest_pays_for_it_only_where_it_is_used() -> None:
    code = "import sys, smtplog.testing; assert not {'numpy', 'pyarrow', 'cryptography', 'smtplog.replay.wire'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
