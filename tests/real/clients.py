"""Real clients: each delivers a mail to a port of loopback, and says which mails it can deliver as they are meant."""

from __future__ import annotations

import smtplib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.real.mails import Mail
from tests.real.servers import PASSWORD, USER, exim_configuration, needed
from tests.real.tap import PATIENCE, Certificate, for_clients

HELLO = "client.example.org"
#: Where a client may keep its files, and the certificate for its own configuration.
Deliver = Callable[[int, Mail, Path, Certificate], None]


@dataclass(frozen=True)
class Client:
    """A program that delivers mail."""

    name: str
    deliver: Deliver
    wishes: frozenset[str]  #: those of a mail that it can fulfil
    recipients: int = 100  #: of one mail, at most


def _run(command: list[str], text: bytes = b"") -> None:
    done = subprocess.run(command, input=text, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout.decode()[-2000:]} {done.stderr.decode()[-2000:]}"


def _mechanism(mail: Mail) -> str | None:
    return next((wish.removeprefix("auth-") for wish in mail.wishes if wish.startswith("auth-")), None)


def _swaks(port: int, mail: Mail, folder: Path, certificate: Certificate, *words: str) -> None:
    needed("swaks")
    (folder / "mail").write_bytes(mail.text.replace(b"\r\n", b"\n"))
    command = ["swaks", "--server", f"127.0.0.1:{port}", "--helo", HELLO, "--from", mail.sender or "<>", *words]
    command += ["--to", ",".join(mail.recipients), "--data", f"@{folder / 'mail'}"]
    command += ["--tls"] if "tls" in mail.wishes else []
    command += ["--pipeline"] if "pipelined" in mail.wishes else []
    if mechanism := _mechanism(mail):
        command += ["--auth", mechanism.upper(), "--auth-user", USER, "--auth-password", PASSWORD]
    _run(command)


def _swaks_lmtp(port: int, mail: Mail, folder: Path, certificate: Certificate) -> None:
    _swaks(port, mail, folder, certificate, "--protocol", "LMTP")


def smtplib_delivers(
    port: int, mail: Mail, folder: Path, certificate: Certificate, kind: type[smtplib.SMTP] = smtplib.SMTP
) -> None:
    of_mail = ["BODY=8BITMIME"] if "8bit" in mail.wishes else []
    of_mail += ["SMTPUTF8"] if "utf8" in mail.wishes else []
    of_mail += ["RET=HDRS", "ENVID=QQ314159"] if "dsn" in mail.wishes else []
    of_recipient = ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;bert@example.net"] if "dsn" in mail.wishes else []
    with kind("127.0.0.1", port, HELLO, timeout=PATIENCE) as connection:
        if "tls" in mail.wishes:
            connection.starttls(context=for_clients())
        if mechanism := _mechanism(mail):
            connection.ehlo()
            connection.user, connection.password = USER, PASSWORD
            connection.auth(mechanism, getattr(connection, f"auth_{mechanism}"))
        refused = connection.sendmail(mail.sender, mail.recipients, mail.text, of_mail, of_recipient)
        assert not refused


def _smtplib_lmtp(port: int, mail: Mail, folder: Path, certificate: Certificate) -> None:
    smtplib_delivers(port, mail, folder, certificate, smtplib.LMTP)


def _msmtp(port: int, mail: Mail, folder: Path, certificate: Certificate, *words: str) -> None:
    needed("msmtp")
    command = ["msmtp", "--file=/dev/null", "--host=127.0.0.1", f"--port={port}", f"--domain={HELLO}", *words]
    command += [f"--from={mail.sender}", "--tls-certcheck=off", f"--tls={'on' if 'tls' in mail.wishes else 'off'}"]
    command += ["--dsn-notify=success,failure", "--dsn-return=headers"] if "dsn" in mail.wishes else []
    if mechanism := _mechanism(mail):
        command += [f"--auth={mechanism}", f"--user={USER}", f"--passwordeval=echo {PASSWORD}"]
    _run([*command, "--", *mail.recipients], mail.text.replace(b"\r\n", b"\n"))


def _msmtp_lmtp(port: int, mail: Mail, folder: Path, certificate: Certificate) -> None:
    _msmtp(port, mail, folder, certificate, "--protocol=lmtp")


def _curl(port: int, mail: Mail, folder: Path, certificate: Certificate) -> None:
    needed("curl")
    (folder / "mail").write_bytes(mail.text)
    command = ["curl", "--silent", "--show-error", f"smtp://127.0.0.1:{port}/{HELLO}", "--mail-from", mail.sender]
    for recipient in mail.recipients:
        command += ["--mail-rcpt", recipient]
    command += ["--ssl-reqd", "--insecure"] if "tls" in mail.wishes else []
    if mechanism := _mechanism(mail):
        command += ["--user", f"{USER}:{PASSWORD}", "--login-options", f"AUTH={mechanism.upper()}"]
    _run([*command, "--upload-file", str(folder / "mail")])


def _exim(port: int, mail: Mail, folder: Path, certificate: Certificate) -> None:
    """Exim on its own delivers at once; it takes TLS, pipelining and chunking wherever they are offered."""
    program, configuration = exim_configuration(folder, certificate, port)
    command = [program, "-C", str(configuration), "-odi", "-f", mail.sender or "<>"]
    _run([*command, "-i", "--", *mail.recipients], mail.text.replace(b"\r\n", b"\n"))


_ALL = frozenset(["8bit", "utf8", "dsn", "tls", "auth-plain", "auth-login", "pipelined", "quoted"])

CLIENTS = (
    Client("swaks", _swaks, _ALL - {"8bit", "utf8", "dsn"}),
    Client("smtplib", smtplib_delivers, _ALL - {"pipelined"}),
    Client("msmtp", _msmtp, _ALL - {"8bit", "utf8", "quoted"}),
    Client("curl", _curl, _ALL - {"8bit", "utf8", "dsn", "pipelined"}),
    Client("exim", _exim, _ALL - {"8bit", "utf8", "dsn", "auth-plain", "auth-login"}),
)
LMTP_CLIENTS = (
    Client("swaks", _swaks_lmtp, _ALL - {"8bit", "utf8", "dsn"}),
    Client(
        "smtplib", _smtplib_lmtp, frozenset({"8bit", "utf8", "quoted"}), recipients=1
    ),  # it reads one reply to the final dot
    Client("msmtp", _msmtp_lmtp, frozenset()),
)
#: Mail handed to a Postfix that hands it on, by smtplib: it takes TLS and pipelining wherever they are offered.
POSTFIX = Client("postfix", smtplib_delivers, _ALL - {"auth-plain", "auth-login"})
