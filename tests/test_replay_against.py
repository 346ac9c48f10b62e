"""Sending a log again: what is sent, what is not, what is told of it."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from hypothesis import given, settings
from hypothesis import strategies as st

import smtplog
from smtplog.cli import main
from smtplog.errors import UsageError
from smtplog.replay import wire
from smtplog.replay.acts import Receive, Send
from smtplog.replay.against import Again, prepared
from smtplog.replay.against import replay as send_again
from smtplog.replay.certificate import ephemeral
from smtplog.replay.client import Client
from smtplog.replay.comparison import Outcome
from smtplog.replay.credentials import Credentials
from smtplog.replay.edits import Edits, edited, edits, recipients
from smtplog.replay.faults import fault
from smtplog.replay.framing import shown
from smtplog.replay.listener import Conduct, Listener
from smtplog.replay.turns import Play, play
from smtplog.replay.wire import Address, for_clients
from smtplog.views import parameters, path
from tests.conftest import TRANSCRIPTS

LIMIT = 10.0  # seconds
SEED = TRANSCRIPTS / "bare-dialog" / "seed-session.log"
PIPELINED = TRANSCRIPTS / "swaks" / "pipelined.log"
SECRET = "correct-horse-battery"


def parts(log: Path) -> list[Play]:
    return [part for dialog in smtplog.read(log, show_secrets=True) if (part := play(dialog)).turns]


def written(tmp_path: Path, text: str, name: str = "log.dialog") -> Path:
    log = tmp_path / name
    log.write_text(text, encoding="utf-8")
    return log


def again(log: Path, port: int, **options: object) -> tuple[Outcome, str]:
    """The outcome of the first dialog of a log against a port of loopback, and the new dialog."""
    how = Again(to=Address("127.0.0.1", port), tls=for_clients(insecure=True), timeout=LIMIT)
    how = replace(how, **{"deliver": True, **options})  # type: ignore[arg-type]
    stream = io.StringIO()
    (outcome,) = send_again(prepared(parts(log)[:1], how), how, stream)
    return outcome, stream.getvalue()


@contextmanager
def stand_in(*faults: str, log: Path = SEED) -> Iterator[int]:
    conduct = Conduct(faults=tuple(fault(each) for each in faults), timeout=LIMIT)
    with Listener(parts(log), Address("127.0.0.1", 0), conduct) as listening:
        yield listening.port


def said(dialog: str) -> list[str]:
    return [line[3:] for line in dialog.splitlines() if line.startswith("C: ")]


# -- after another answer


def test_on_mismatch_continue_stop_and_quit_cleanly() -> None:
    with stand_in("450@RCPT") as port:
        goes_on, dialog = again(SEED, port, on_mismatch="continue")
    assert goes_on.different and not goes_on.same and said(dialog)[-1] == "QUIT"
    with stand_in("450@RCPT") as port:
        stops, dialog = again(SEED, port, on_mismatch="stop")
    assert stops.ended == "another answer to RCPT" and said(dialog)[-1].startswith("RCPT") and "close client" in dialog
    assert [row.result for row in stops.rows][-1] == "not played"
    with stand_in("450@RCPT") as port:
        leaves, dialog = again(SEED, port, on_mismatch="quit-cleanly")
    assert (
        leaves.ended == "another answer to RCPT" and said(dialog)[-2].startswith("RCPT") and said(dialog)[-1] == "QUIT"
    )


def test_a_server_that_leaves_is_another_answer_wherever_it_does() -> None:
    with stand_in("drop@MAIL") as port:
        outcome, _ = again(SEED, port)
    assert not outcome.same and outcome.ended == "the server closed the connection"


def test_text_is_never_sent_without_a_354() -> None:
    for words in ("550@DATA", "250@DATA", "drop@DATA", "421@RCPT"):
        with stand_in(words) as port:
            _, dialog = again(SEED, port, on_mismatch="continue")
        assert "This is a test" not in dialog and "Subject:" not in dialog, words


# -- what is told


@dataclass(frozen=True)
class Ran:
    returncode: object
    stdout: str
    stderr: str


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """smtplog replay, neither its input nor its output a terminal."""

    def run(log: Path, port: int, *words: str) -> Ran:
        monkeypatch.setattr("sys.argv", ["smtplog", "replay", str(log), "--to", f"127.0.0.1:{port}", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return Ran(left.value.code or 0, *capsys.readouterr())

    return run


def test_json(replay: Callable[..., Ran], tmp_path: Path) -> None:
    with stand_in("450@RCPT") as port:
        ran = replay(SEED, port, "--output-format", "json", "-o", str(tmp_path / "new.dialog"))
    (told,) = json.loads(ran.stdout)
    assert ran.returncode == 1 and not told["same"] and told["different"] >= 1
    rows = {row["command"].split(" ")[0]: row for row in told["exchanges"]}
    assert rows["RCPT"]["recorded"]["code"] == 250 and rows["RCPT"]["given"]["code"] == 450
    assert rows["RCPT"]["result"] == "different" and rows["MAIL"]["result"] == "same"
    assert 0 <= rows["MAIL"]["seconds"] < LIMIT
    (new,) = smtplog.read(tmp_path / "new.dialog")
    assert [each.reply.code for each in new.exchanges if each.verb == "RCPT" and each.reply] == [450]


def test_the_verdict_first_then_what_differs_word_for_word(replay: Callable[..., Ran], tmp_path: Path) -> None:
    offers = "S: 250-mx\nS: 250-SIZE 100\nS: 250-VRFY\nS: 250 DSN\n"
    refusal = "no, not here and not now, for a reason that stands at the very end of this line: greylisted"
    text = f"S: 220 mx\nC: EHLO a\n{offers}C: NOOP\nS: 250 yes\nC: QUIT\nS: 221 bye\n"
    served = text.replace("SIZE 100\nS: 250-VRFY\nS: 250 DSN", "DSN\nS: 250 SIZE 200").replace(
        "250 yes", f"450 {refusal}"
    )
    with stand_in(log=written(tmp_path, served, "served.dialog")) as port:
        ran = replay(written(tmp_path, text), port, "--match", "exact")
    lines = [" ".join(line.split()) for line in ran.stdout.splitlines()]
    assert ran.returncode == 1 and lines[1] == "Different: 2 of 4 answers."
    told = [line for line in lines if "250-SIZE" in line or "DSN" in line or "VRFY" in line]
    assert told == ["250-SIZE 100 250 SIZE 200", "≠ 250-VRFY", "250 DSN 250-DSN"]
    assert all(word in ran.stdout.partition("NOOP")[2] for word in refusal.split())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--match", "exact"], "--match goes with --to HOST:PORT"),
        (["--yes"], "--yes goes with --to HOST:PORT"),
        (["--to", "127.0.0.1:1", "--step"], "--step goes without --to HOST:PORT"),
        (["--to", "127.0.0.1:1", "--tls", "--starttls"], "TLS starts once"),
        (["--to", "127.0.0.1:1", "-o", "/dev/full/x"], "/dev/full/x cannot be written"),
        (["--to", "127.0.0.1:1", "-o", str(SEED)], "would be written over"),
        (["--cast", str(SEED)], "would be written over"),
    ],
)
def test_options_that_do_not_fit(
    words: list[str], why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = SEED.read_bytes()
    monkeypatch.setattr("sys.argv", ["smtplog", "replay", str(SEED), *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2 and why in capsys.readouterr().err and SEED.read_bytes() == before


def test_junit(replay: Callable[..., Ran]) -> None:
    with stand_in("450@RCPT") as port:
        ran = replay(SEED, port, "--output-format", "junit")
    (suite,) = ElementTree.fromstring(ran.stdout)
    cases = suite.findall("testcase")
    assert ran.returncode == 1 and int(suite.attrib["tests"]) == len(cases)
    assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure")) >= 1
    assert int(suite.attrib["skipped"]) == len(suite.findall("testcase/skipped"))
    with stand_in() as port:
        assert replay(SEED, port, "--output-format", "junit").returncode == 0


@contextmanager
def speaking(*replies: bytes) -> Iterator[int]:
    """A server that greets and answers each line with these, then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT)

        def hold() -> None:
            connection, _ = listener.accept()
            connection.settimeout(LIMIT)
            with connection, connection.makefile("rb") as lines:
                for reply in replies:
                    connection.sendall(reply)
                    if reply is replies[-1] or not lines.readline():
                        return

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(LIMIT)


@pytest.mark.parametrize("form", ["text", "json", "junit"])
def test_controls_of_the_server_reach_nobody(form: str, replay: Callable[..., Ran]) -> None:
    with speaking(b"220 mx\x1b[2J\x07\r\n", b"250 \x1b]0;pwned\x07\x00\x9b31m]]>\r\n", b"550 \xff\x08\r\n") as port:
        ran = replay(SEED, port, "--output-format", form, "--timeout", "5")
    assert ran.returncode == 1
    assert not any(c in ran.stdout + ran.stderr for c in "\x1b\x07\x00\x08\x9b")
    if form == "junit":
        ElementTree.fromstring(ran.stdout)


def test_what_was_compared_is_told_though_the_server_goes_away(replay: Callable[..., Ran], tmp_path: Path) -> None:
    log = written(tmp_path, "S: 220 mx\nC: QUIT\nS: 221 bye\n*: close\n\nS: 220 mx\nC: QUIT\nS: 221 bye\n*: close\n")
    assert len(parts(log)) == 2
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def once() -> None:
            connection, _ = listener.accept()
            listener.close()
            with connection:
                connection.sendall(b"220 mx\r\n")
                connection.recv(100)
                connection.sendall(b"221 bye\r\n")

        thread = threading.Thread(target=once, daemon=True)
        thread.start()
        ran = replay(log, port, "--output-format", "json")
        thread.join(LIMIT)
    assert ran.returncode == 2 and "cannot be reached" in ran.stderr
    assert [each["same"] for each in json.loads(ran.stdout)] == [True]


# -- safety


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback passes for another host."""
    monkeypatch.setattr(wire, "is_loopback", lambda host: False)


def test_nothing_is_sent_unasked_to_another_host(elsewhere: None, replay: Callable[..., Ran]) -> None:
    ran = replay(SEED, 1)
    assert ran.returncode == 2 and "Nothing was sent" in ran.stderr and "kate@fabrikam.com" in ran.stderr


def test_message_text_goes_to_another_host_with_deliver_only(
    elsewhere: None, replay: Callable[..., Ran], tmp_path: Path
) -> None:
    new = tmp_path / "new.dialog"
    for log in (SEED, PIPELINED, TRANSCRIPTS / "cs-dialog" / "bdat-chunks.log"):
        with stand_in(log=log) as port:
            ran = replay(log, port, "--yes", "-o", str(new))
        lines = said(new.read_text(encoding="utf-8"))
        assert not [line for line in lines if line.startswith(("DATA", "BDAT", "Subject:"))], log
        assert "--deliver only" in ran.stdout
    with stand_in() as port:
        ran = replay(SEED, port, "--yes", "--deliver", "-o", str(new))
    assert ran.returncode == 0 and "DATA" in said(new.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("answer", "code", "told"), [("n", 2, "nothing was sent"), ("y", 0, "The same")])
def test_recipients_are_listed_and_asked_for_on_a_terminal(answer: str, code: int, told: str) -> None:
    pexpect = pytest.importorskip("pexpect")
    pretend = "import sys; from smtplog.replay import wire; wire.is_loopback = lambda host: False; from smtplog.cli import main; main()"
    with stand_in() as port:
        words = ["-c", pretend, "replay", str(SEED), "--to", f"127.0.0.1:{port}"]
        child = pexpect.spawn(sys.executable, words, timeout=LIMIT, encoding="utf-8", dimensions=(40, 200))
        child.expect(r"recipients: kate@fabrikam\.com; no message text is sent")
        child.expect("Send")
        child.sendline(answer)
        child.expect(told)
        child.expect(pexpect.EOF)
        child.wait()
    assert child.exitstatus == code


def test_loopback_is_told_by_every_address_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "localhost": ["127.0.0.1", "::1"],
        "mixed.example": ["127.0.0.1", "192.0.2.1"],
        "far.example": ["192.0.2.1"],
        "mapped.example": ["::ffff:192.0.2.1"],
    }
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *_, **__: [(0, 0, 0, "", (each, 0)) for each in found[host]]
    )
    assert [host for host in found if wire.is_loopback(host)] == ["localhost"]


# -- TLS otherwise than it was recorded

CLEAR = "S: 220 mx\nC: EHLO a\nS: 250 mx\nC: NOOP\nS: 250 ok\nC: QUIT\nS: 221 bye\n"
WITH_STARTTLS = CLEAR.replace("C: NOOP", "C: STARTTLS\nS: 220 go\n*: tls ok\nC: EHLO a\nS: 250 mx\nC: NOOP")
AT_ONCE = "*: tls ok\n" + CLEAR


@pytest.mark.parametrize("recorded", [CLEAR, WITH_STARTTLS, AT_ONCE], ids=["clear", "starttls", "at once"])
@pytest.mark.parametrize("served", [WITH_STARTTLS, AT_ONCE], ids=["starttls", "at once"])
def test_a_log_is_sent_under_tls_however_it_was_recorded(recorded: str, served: str, tmp_path: Path) -> None:
    log, other = written(tmp_path, recorded), written(tmp_path, served, "served.dialog")
    wanted = {"implicit_tls": True} if served == AT_ONCE else {"starttls": True}
    conduct = Conduct(unmatched="state-machine", tls=ephemeral("127.0.0.1")[0], timeout=LIMIT)
    with Listener(parts(other), Address("127.0.0.1", 0), conduct) as listening:
        outcome, new = again(log, listening.port, **wanted)
    assert outcome.same, outcome
    assert new.count("C: STARTTLS") == (served == WITH_STARTTLS)
    assert new.index("tls ok") < new.index("C: NOOP")


def test_nothing_goes_in_clear_where_tls_was_asked_for(tmp_path: Path) -> None:
    log = written(tmp_path, CLEAR)
    with stand_in(log=log) as port:
        outcome, new = again(log, port, starttls=True)
    assert outcome.ended == "TLS was asked for, and the server does not start it" and said(new)[-1] == "STARTTLS"


def test_what_the_log_lacks_is_never_shown_as_recorded(tmp_path: Path) -> None:
    log = written(tmp_path, CLEAR)
    with stand_in("421@EHLO", log=log) as port:
        outcome, new = again(log, port, starttls=True)
    assert "421" in outcome.ended and said(new) == ["EHLO a"]  # nothing is said after it
    told = [(row.command, row.recorded) for row in outcome.rows if row.result == "not played"]
    assert told == [("STARTTLS", None), ("EHLO a", None), ("NOOP", "250 ok"), ("QUIT", "221 bye")]


# -- edits

ADDRESSES = st.from_regex(r"[a-z]{1,8}@[a-z]{1,8}\.(example|net)", fullmatch=True)
COMMANDS = (
    "MAIL FROM:<ann@example.org> SIZE=100 BODY=8BITMIME",
    "MAIL FROM:<> SIZE=1",
    "RCPT TO:<bob@example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.net",
    "rcpt to: carol@example.net",
    "RCPT TO:<@relay.example:dan@example.net>",
)


def envelope(tmp_path: Path) -> Play:
    lines = "".join(f"C: {command}\nS: 250 ok\n" for command in ("EHLO old.example", *COMMANDS))
    text = "C: DATA\nS: 354 go\nC: From: ann@example.org\nC:\nC: RCPT TO:<bob@example.net>\nC: .\nS: 250 ok\n"
    (part,) = parts(written(tmp_path, f"S: 220 mx\n{lines}{text}C: QUIT\nS: 221 bye\n"))
    return part


@settings(max_examples=15)
@given(ADDRESSES, ADDRESSES, ADDRESSES)
def test_only_the_envelope_changes(tmp_path: Path, sender: str, new: str, other: str) -> None:
    part = envelope(tmp_path)
    domain = "@" + other.partition("@")[2]
    maps = [f"recipients=BOB@example.net:{new},@example.net:{domain}"]
    changed = edited(part, edits([f"from={sender}"], maps, "new.example"))
    before, after = ([shown(turn.command) for turn in each.turns] for each in (part, changed))
    assert after[1] == "EHLO new.example"
    assert [path(line) for line in after[2:4]] == [sender, sender]
    assert [path(line) for line in after[4:7]] == [new, f"carol{domain}", f"dan{domain}"]
    assert after[7:] == before[7:] and after[0] == before[0]
    assert after[4].endswith(f" NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;{new}")
    kept = [[{**parameters(line), "ORCPT": None} for line in each] for each in (after, before)]
    assert kept[0] == kept[1]
    assert [turn.said for turn in changed.turns[7:]] == [turn.said for turn in part.turns[7:]]
    assert [turn.reply for turn in changed.turns] == [turn.reply for turn in part.turns]
    assert recipients([changed]) == list(dict.fromkeys([new, f"carol{domain}", f"dan{domain}"]))


@settings(max_examples=10)
@given(ADDRESSES)
def test_set_to_and_star_name_everybody(tmp_path: Path, new: str) -> None:
    part = envelope(tmp_path)
    for changes in (edits([f"to={new}"], [], None), edits([], [f"recipients={new}"], None), edits([], [f"recipients=*:{new}"], None)):  # fmt: skip
        assert recipients([edited(part, changes)]) == [new]


def test_no_edits_change_nothing(tmp_path: Path) -> None:
    part = envelope(tmp_path)
    assert edited(part, Edits()) == part
    assert edited(part, edits([], ["recipients=nobody@example.org:x@example.org"], None)) == part


@pytest.mark.parametrize(
    ("sets", "maps", "ehlo"),
    [
        (["sender=a@example.org"], [], None),
        (["from"], [], None),
        (["to="], [], None),
        (["ehlo="], [], None),
        (["from=a@example.org\r\nRCPT TO:<x@example.org>"], [], None),
        (["to=<a@example.org>"], [], None),
        ([], ["senders=a:b"], None),
        ([], ["recipients=a@example.org:"], None),
        ([], ["recipients="], None),
        ([], ["recipients=:b@example.org"], None),
        ([], [], "new host"),
    ],
)
def test_what_cannot_be_sent_is_refused(sets: list[str], maps: list[str], ehlo: str | None) -> None:
    with pytest.raises(UsageError):
        edits(sets, maps, ehlo)


# -- AUTH

MASKED = """S: 220 mx.example.net ESMTP
C: EHLO client.example.org
S: 250-mx.example.net
S: 250 AUTH PLAIN LOGIN
C: AUTH {}
{}S: 235 2.7.0 Authentication successful
C: MAIL FROM:<ann@example.org>
S: 250 OK
C: QUIT
S: 221 Bye
"""
LOGINS = {
    "plain": MASKED.format("PLAIN ********", ""),
    "plain in two": MASKED.format("PLAIN", "S: 334 \nC: ********\n"),
    "login": MASKED.format("LOGIN", "S: 334 VXNlcm5hbWU6\nC: ********\nS: 334 UGFzc3dvcmQ6\nC: ********\n"),
    "login, the name at once": MASKED.format("LOGIN ********", "S: 334 UGFzc3dvcmQ6\nC: ********\n"),
    "not masked": MASKED.format("PLAIN AGFubmEAb2xkLXNlY3JldA==", ""),
}


@contextmanager
def aiosmtpd(*, lmtp: bool = False) -> Iterator[int]:
    """aiosmtpd on loopback; anna may log in."""

    def check(server: object, session: object, envelope: object, mechanism: str, data: object) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=(data.login, data.password) == (b"anna", SECRET.encode()))

    class Handler:
        async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:
            return "\r\n".join(["250 OK"] * (len(envelope.rcpt_tos) if lmtp else 1))

    class Own(Controller):
        def factory(self) -> SMTP:
            if lmtp:
                return LMTP(self.handler)
            return SMTP(self.handler, authenticator=check, auth_require_tls=False)

    controller = Own(Handler(), hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest.mark.parametrize("way", LOGINS)
def test_masked_secrets_are_those_of_the_environment(
    way: str, replay: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, new = written(tmp_path, LOGINS[way]), tmp_path / "new.dialog"
    monkeypatch.setenv("SMTPLOG_PASSWORD", SECRET)
    with aiosmtpd() as port:
        ran = replay(log, port, "--auth", "anna", "-o", str(new), "--output-format", "json")
    (told,) = json.loads(ran.stdout)
    assert ran.returncode == 0, [(row["command"], row["given"], row["why"]) for row in told["exchanges"]]
    assert all(row["result"] == "same" for row in told["exchanges"])
    secrets = {SECRET, *(Credentials("anna", SECRET).initial(name) or "-" * 9 for name in ("PLAIN", "XOAUTH2"))}
    secrets |= {Credentials("anna", SECRET).answer("LOGIN", "UGFzc3dvcmQ6"), "old-secret", "AGFubmEAb2xkLXNlY3JldA=="}
    everything = ran.stdout + ran.stderr + new.read_text(encoding="utf-8")
    assert not [secret for secret in secrets if secret in everything]


def test_a_masked_secret_is_not_sent_as_it_is_masked(replay: Callable[..., Ran], tmp_path: Path) -> None:
    log, new = written(tmp_path, LOGINS["plain"]), tmp_path / "new.dialog"
    with aiosmtpd() as port:
        ran = replay(log, port, "-o", str(new))
    assert "name a user with --auth" in ran.stdout and "AUTH" not in "".join(said(new.read_text(encoding="utf-8")))


def test_a_server_that_tells_the_secret_is_masked(
    replay: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, new = written(tmp_path, LOGINS["plain"]), tmp_path / "new.dialog"
    monkeypatch.setenv("SMTPLOG_PASSWORD", SECRET)
    echo = f"535 5.7.8 {SECRET} is no password of anna, nor {Credentials('anna', SECRET).initial('PLAIN')}\r\n"
    replies = (b"220 mx\r\n", b"250-mx\r\n250 AUTH PLAIN\r\n", echo.encode(), b"530 no\r\n", b"221 bye\r\n")
    for form in ("text", "json", "junit"):
        with speaking(*replies) as port:
            ran = replay(log, port, "--auth", "anna", "-o", str(new), "--output-format", form)
        everything = ran.stdout + ran.stderr + new.read_text(encoding="utf-8")
        assert ran.returncode == 1 and "535" in everything
        assert SECRET not in everything and "AGFubmE" not in everything


def test_no_password_and_nobody_to_ask(replay: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMTPLOG_PASSWORD", raising=False)
    ran = replay(SEED, 1, "--auth", "anna")
    assert ran.returncode == 2 and "SMTPLOG_PASSWORD" in ran.stderr


# -- LMTP and pipelining


def test_lmtp_one_reply_for_each_recipient(tmp_path: Path) -> None:
    def session(recipients: int, replies: int) -> str:
        rcpt = "".join(f"C: RCPT TO:<r{i}@example.net>\nS: 250 OK\n" for i in range(recipients))
        ends = "S: 250 OK\n" * replies
        return f"S: 220 mx\nC: LHLO c.example\nS: 250 mx\nC: MAIL FROM:<a@example.org>\nS: 250 OK\n{rcpt}C: DATA\nS: 354 go\nC: Subject: x\nC:\nC: .\n{ends}C: QUIT\nS: 221 Bye\n"

    log = written(tmp_path, session(3, 3))
    assert parts(log)[0].lmtp
    with stand_in(log=log) as port:
        outcome, dialog = again(log, port, level="exact")
    assert outcome.same, outcome
    with aiosmtpd(lmtp=True) as port:
        outcome, dialog = again(log, port)
    (now,) = smtplog.read(written(tmp_path, dialog, "new.dialog"))
    assert now.exchanges[0].verb == "LHLO" and now.end == "quit"
    assert outcome.same and [each.recipient for each in now.exchanges if each.verb == "."] == [
        f"r{i}@example.net" for i in range(3)
    ]
    with stand_in("550@RCPT#2", log=log) as port:
        outcome, _ = again(log, port)
    assert [row.result for row in outcome.rows if "RCPT" in row.command] == ["same", "different", "same"]


def test_a_group_is_sent_as_a_group() -> None:
    (part,) = parts(PIPELINED)
    side = Client(part).side()
    replies = iter([turn.reply for turn in part.turns if turn.reply])
    groups: list[int] = [0]
    answer = b""
    act = next(side)
    while not (isinstance(act, Receive) and (answer := next(replies, b"")) == b""):
        if isinstance(act, Send):
            groups[-1] += 1
        elif isinstance(act, Receive) and groups[-1]:
            groups.append(0)
        act = side.send(answer if isinstance(act, Receive) else b"")
    assert max(groups) >= 2 and max(groups) == longest_group(part)


def longest_group(part: Play) -> int:
    longest = length = 0
    for turn in part.turns:
        if turn.said is not None:
            length = length + 1 if turn.pipelined else 1
            longest = max(longest, length)
    return longest


def test_a_log_that_begins_behind_auth_is_sent_with_its_auth(
    replay: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "*: at 2026-10-19T00:00:31+00:00\nC: YW5uYQ==\nS: 334 UGFzc3dvcmQ6\nC: b2xkLXNlY3JldA==\nS: 235 OK\nC: QUIT\nS: 221 Bye\n"
    log = written(tmp_path, text)
    monkeypatch.setenv("SMTPLOG_PASSWORD", SECRET)
    with stand_in(log=log) as port:
        ran = replay(log, port, "--output-format", "json")
    assert ran.returncode == 0, ran.stdout
    assert "YW5uYQ" not in ran.stdout and "b2xk" not in ran.stdout and "old-secret" not in ran.stdout


def test_user_and_password_are_asked_for_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pexpect = pytest.importorskip("pexpect")
    monkeypatch.delenv("SMTPLOG_PASSWORD", raising=False)
    monkeypatch.delenv("SMTPLOG_USER", raising=False)
    log = written(tmp_path, LOGINS["login"])
    with aiosmtpd() as port:
        words = ["-m", "smtplog", "replay", str(log), "--to", f"127.0.0.1:{port}"]
        child = pexpect.spawn(sys.executable, words, timeout=LIMIT, encoding="utf-8", dimensions=(60, 120))
        child.expect("Log in as")
        child.sendline("anna")
        child.expect("Password of anna")
        child.waitnoecho()
        child.sendline(SECRET)
        child.expect(pexpect.EOF)
        child.wait()
    assert child.exitstatus == 0 and "The same: 7 answers" in child.before and SECRET not in child.before
