"""Real servers on loopback: Postfix, Exim and aiosmtpd, each with a configuration of its own in a folder of its own.

They take mail for anybody and throw it away. ``anna`` may log in with ``secret``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.real.tap import PATIENCE, Certificate

USER, PASSWORD = "anna", "secret"
#: Where ``.ci/run`` unpacks Exim beside Postfix: Debian lets only one of them be installed.
EXIM = "/usr/local/lib/exim-for-tests/usr/sbin/exim4"


@dataclass(frozen=True)
class Server:
    """A server that listens on loopback."""

    name: str
    port: int
    log: Path | None = None  #: what it writes itself, where that is a log smtplog reads
    onward: int = 0  #: the port it hands all mail on to; 0: it throws mail away

    def logged(self, since: int, ending: str) -> bytes:
        """What it has written since then, when a line of it holds these words."""
        assert self.log is not None
        until = time.monotonic() + PATIENCE
        while True:
            written = self.log.read_bytes()[since:]
            lines = written[: written.rfind(b"\n") + 1]
            if ending.encode() in lines:
                return lines
            assert time.monotonic() < until, f"{ending!r} is not in the log:\n{written.decode()[-2000:]}"
            time.sleep(0.02)


def needed(*programs: str) -> None:
    """Skip the test where one of these is not installed."""
    for program in programs:
        if shutil.which(program) is None and not os.access(program, os.X_OK):
            pytest.skip(f"{program} is not installed; .ci/run installs it")


def as_root() -> None:
    """Skip the test for anybody else: a mail server changes users."""
    if os.geteuid() != 0:
        pytest.skip("a mail server of its own must be started by root")


def certificate(folder: Path) -> Certificate:
    """A self-signed certificate for the servers of the tests."""
    needed("openssl")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    subject = ["-subj", "/CN=mx.example.net", "-addext", "subjectAltName=DNS:mx.example.net,IP:127.0.0.1"]
    files = ["-out", str(made.chain), "-keyout", str(made.key)]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    made.key.chmod(0o644)  # Exim reads it when it is root no more
    return made


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


# -- Postfix

POSTFIX = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
myhostname = mx.example.net
mydestination =
default_transport = {transport}
relay_transport = {transport}
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_tls_security_level = may
smtpd_tls_cert_file = {certificate.chain}
smtpd_tls_key_file = {certificate.key}
smtp_tls_security_level = may
smtpd_sasl_auth_enable = yes
smtpd_tls_auth_only = yes
cyrus_sasl_config_path = {folder}/conf/sasl
"""
POSTFIX_SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd -v
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp -v
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""
SASL = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
mech_list: PLAIN LOGIN
sasldb_path: {folder}/conf/sasl/users
"""


@contextmanager
def postfix(folder: Path, certificate: Certificate, onward: int = 0) -> Iterator[Server]:
    """Postfix with ``smtpd -v`` and ``smtp -v``. It throws mail away, or hands it on to a port of loopback."""
    needed("postfix", "saslpasswd2")
    as_root()
    port = free_port()
    for name in ("conf", "conf/sasl", "queue", "data"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    transport = f"smtp:[127.0.0.1]:{onward}" if onward else "discard"
    words = {"folder": folder, "certificate": certificate, "transport": transport, "port": port}
    (folder / "conf/main.cf").write_text(POSTFIX.format(**words))
    (folder / "conf/master.cf").write_text(POSTFIX_SERVICES.format(**words))
    (folder / "conf/sasl/smtpd.conf").write_text(SASL.format(**words))
    users = folder / "conf/sasl/users"
    account = ["saslpasswd2", "-p", "-c", "-f", str(users), "-u", "mx.example.net", USER]
    subprocess.run(account, check=True, input=PASSWORD.encode(), capture_output=True)
    shutil.chown(users, "postfix")
    started = ["postfix", "-c", str(folder / "conf")]
    subprocess.run([*started, "start"], check=True, capture_output=True)
    try:
        _listening(port)
        server = Server("postfix", port, folder / "maillog", onward)
        server.logged(0, "]: disconnect from")
        yield server
    finally:
        subprocess.run([*started, "stop"], check=True, capture_output=True)


# -- Exim

EXIM_CONFIGURATION = """\
exim_path = {exim}
primary_hostname = mx.example.net
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
never_users =
keep_environment =
add_environment = PATH=/usr/bin:/bin
rfc1413_query_timeout = 0s
tls_advertise_hosts = *
tls_certificate = {certificate.chain}
tls_privatekey = {certificate.key}
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}
acl_smtp_rcpt = accept
acl_smtp_data = accept
begin routers
onward:
  driver = manualroute
  condition = ${{if >{{{onward}}}{{0}}}}
  route_list = * 127.0.0.1
  self = send
  transport = onward
nowhere:
  driver = accept
  transport = nowhere
begin transports
onward:
  driver = smtp
  port = {onward}
  allow_localhost
nowhere:
  driver = appendfile
  file = /dev/null
  user = Debian-exim
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if and{{{{eq{{$auth1}}{{{user}}}}}{{eq{{$auth2}}{{{password}}}}}}}}}
  server_set_id = $auth1
"""


def exim_configuration(folder: Path, certificate: Certificate, onward: int = 0) -> tuple[str, Path]:
    """The program and a configuration of it: throws mail away, or hands it on to a port of loopback."""
    exim = next((found for name in ("exim4", "exim") if (found := shutil.which(name))), EXIM)
    needed(exim)
    as_root()
    spool = folder / "spool"
    spool.mkdir()
    try:
        pwd.getpwnam("Debian-exim")
    except KeyError:
        pytest.skip("there is no user Debian-exim; .ci/run adds it")
    for each in (folder, spool):
        shutil.chown(each, "Debian-exim", "Debian-exim")
    words = {"exim": exim, "folder": folder, "certificate": certificate, "onward": onward}
    text = EXIM_CONFIGURATION.format(**words, user=USER, password=PASSWORD)
    path = folder / "exim.conf"
    path.write_text(text)
    return exim, path


@contextmanager
def exim(folder: Path, certificate: Certificate) -> Iterator[Server]:
    """Exim."""
    program, configuration = exim_configuration(folder, certificate)
    port = free_port()
    command = [program, "-C", str(configuration), "-bdf", "-oX", f"127.0.0.1.{port}"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            _listening(port)
            yield Server("exim", port)
        finally:
            running.terminate()


# -- aiosmtpd


class _Sink:
    """Takes everything."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        count = (
            len(envelope.rcpt_tos) if isinstance(server, LMTP) else 1
        )  # aiosmtpd itself gives one (RFC 2033 section 4.2)
        return "\r\n".join(["250 2.0.0 Message accepted for delivery"] * count)


def _known(server: SMTP, session: Session, envelope: Envelope, mechanism: str, said: object) -> AuthResult:
    known = isinstance(said, LoginPassword) and (said.login, said.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=known)


class _Lmtp(Controller):
    def factory(self) -> LMTP:
        return LMTP(self.handler, enable_SMTPUTF8=True, hostname="mx.example.net")


@contextmanager
def aiosmtpd(certificate: Certificate) -> Iterator[Server]:
    """aiosmtpd."""
    tls = {"tls_context": certificate.for_servers(), "auth_require_tls": True, "authenticator": _known}
    controller = Controller(
        _Sink(), "127.0.0.1", free_port(), server_hostname="mx.example.net", enable_SMTPUTF8=True, **tls
    )
    controller.start()
    try:
        yield Server("aiosmtpd", controller.port)
    finally:
        controller.stop()


@contextmanager
def lmtp() -> Iterator[Server]:
    """An LMTP server: aiosmtpd's."""
    controller = _Lmtp(_Sink(), "127.0.0.1", free_port())
    controller.start()
    try:
        yield Server("lmtp", controller.port)
    finally:
        controller.stop()


def _listening(port: int) -> None:
    """Wait until somebody listens, without a word to him."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"nobody listens on port {port}")
