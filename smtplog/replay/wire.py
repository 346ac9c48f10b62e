"""The wire: sockets and TLS, and the driver that does what a side of a play asks for.

Nothing else in smtplog opens a socket (:mod:`smtplog.replay.listener` and the proxy use this module). Every wait has an end.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from smtplog.errors import SmtplogError, UsageError
from smtplog.replay.acts import Close, Receive, Send, Side, StartTLS, Wait
from smtplog.replay.framing import TroubleError

#: Seconds for a reply, by the command it answers (RFC 5321 section 4.5.3.2).
PATIENCE = {"": 300.0, "DATA": 120.0, ".": 600.0}
_AT_ONCE = 1 << 16
#: What OpenSSL calls the usual failures of a handshake, in words.
_TLS_WORDS = {
    "WRONG_VERSION_NUMBER": "the other side speaks no TLS here; a port that begins in clear wants --starttls",
    "HTTP_REQUEST": "the other side speaks no TLS here; a port that begins in clear wants --starttls",
    "UNEXPECTED_EOF": "the other side closed in the middle of it",
    "reset by peer": "the other side closed in the middle of it",
    "UNKNOWN_CA": "the other side does not trust the certificate",
    "UNSUPPORTED_PROTOCOL": "the other side offers no TLS 1.2 or later",
    "ALERT_PROTOCOL_VERSION": "the other side offers no TLS 1.2 or later",
}
_LINGER = 1.0  # seconds in which the other side may read what was sent last


class UnreachableError(SmtplogError):
    """Nobody answers at the address."""


class LateError(TroubleError):
    """The other side said nothing for too long."""


class HandshakeError(TroubleError):
    """TLS could not be started."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port as the user writes them: ``mx.example.net:25``, ``[::1]:2525``, ``mx.example.net``."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address(words: str, port: int = 25) -> Address:
    """The address that some words name. Raises UsageError."""
    host, colon, number = words.rpartition(":")
    if words.startswith("["):
        host, _, number = words[1:].partition("]")
        colon, number = number[:1], number[1:]
    elif not colon or ":" in host:  # no port, or an IPv6 address without one
        host, number, colon = words, "", ""
    if not host or (colon and not (number.isascii() and number.isdigit() and 0 <= int(number[:6]) < 65536)):
        raise UsageError(f"{words!r} is no address; write HOST:PORT, as in mx.example.net:25 or [::1]:2525")
    return Address(host, int(number) if colon else port)


def this_host() -> str:
    """The name of this machine, for EHLO; an address literal where it has none (RFC 5321 section 4.1.3)."""
    name = socket.getfqdn()
    return name if "." in name or name == "localhost" else "[127.0.0.1]"


def exchanger(domain: str, port: int = 25) -> Address:
    """The mail exchanger of a domain that is tried first (RFC 5321 section 5.1). Raises UnreachableError."""
    try:
        from dns import exception, resolver
    except ImportError:
        raise UsageError(
            "mx: needs dnspython, which is not installed: pip install 'smtplog[mx]', or name the host itself"
        ) from None
    try:
        found = sorted(resolver.resolve(domain, "MX"), key=lambda each: (each.preference, str(each.exchange)))
    except resolver.NoAnswer:
        return Address(domain, port)  # no MX: the domain itself
    except exception.DNSException as error:
        raise UnreachableError(f"the mail exchangers of {domain} cannot be looked up: {error}") from None
    host = str(found[0].exchange).rstrip(".")
    if not host:
        raise UnreachableError(f"{domain} takes no mail: its MX is null (RFC 7505)")
    return Address(host, port)


def resolved(at: Address) -> None:
    """Raises UsageError where no address has this name."""
    try:
        socket.getaddrinfo(at.host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{at} cannot be listened on: {reason}; write an address, as in 127.0.0.1:2525") from None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: every address of its name is one of loopback."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(str(each[4][0]).startswith("127.") or each[4][0] == "::1" for each in found)


def for_clients(*, insecure: bool = False, trusted: str | None = None) -> ssl.SSLContext:
    """TLS as a client speaks it: 1.2 at least, the certificate and its name verified unless ``insecure``."""
    try:
        context = ssl.create_default_context(cafile=trusted)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the certificates in {trusted} cannot be read: {_reason(error)}; they are PEM") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def for_servers(chain: str, key: str | None = None) -> ssl.SSLContext:
    """TLS as a server speaks it, with the certificate in these files. Raises UsageError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(chain, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"the certificate in {chain} cannot be used: {_reason(error)}; it is PEM, and its key is there or in --key"
        ) from None
    return context


def _reason(error: OSError) -> str:
    """What the system, or OpenSSL, says of a file."""
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return str(reason or error.strerror or error)


def connect(to: Address, timeout: float = 30.0) -> Wire:
    """A connection to a server. Raises UnreachableError."""
    try:
        return Wire(socket.create_connection((to.host, to.port), timeout), name=to.host)
    except (OSError, UnicodeError) as error:
        reason = "no answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
        raise UnreachableError(f"{to} cannot be reached: {reason}; check the name, the port and the firewall") from None


@dataclass(slots=True)
class Wire:
    """One end of a connection."""

    socket: socket.socket
    name: str = ""  #: the host that the certificate of the server must name; empty at a server
    tls: ssl.SSLContext | None = None  #: to start TLS with
    timeout: float | None = None  #: seconds for every answer, in place of those of the RFC
    total: float = 3600.0  #: seconds for all of the session
    _begun: float = field(default_factory=time.monotonic)
    _until: float = 0.0
    _heard: bool = False  #: the other side has said something

    @property
    def here(self) -> Address:
        """This end."""
        host, port = self.socket.getsockname()[:2]
        return Address(str(host), int(port))

    @property
    def there(self) -> Address:
        """The other end."""
        host, port = self.socket.getpeername()[:2]
        return Address(str(host), int(port))

    def run(self, side: Side) -> None:
        """Do what a side of a play asks for, to its end, and close."""
        try:
            self.take(side)
        finally:
            self.close()

    def take(self, side: Side) -> None:
        """Do what some acts ask for, to their end. What goes wrong is thrown into them, for them to end in good order."""
        try:
            act = next(side)
            while True:
                try:
                    answer = self._do(act)
                except TroubleError as error:
                    act = side.throw(error)
                else:
                    act = side.send(answer)
        except StopIteration:
            return

    def _do(self, act: object) -> bytes:
        match act:
            case Send(octets):
                self.send(octets)
            case Receive(now=True):
                return self.glance()
            case Receive(command, more):
                if not more:
                    self._until = time.monotonic() + (self.timeout or PATIENCE.get(command, PATIENCE[""]))
                return self.receive(self._until, command)
            case Wait(seconds):
                time.sleep(min(seconds, max(self._left(), 0.0)))
            case StartTLS():
                self.start_tls()
            case Close():
                self.close()
        return b""

    def send(self, octets: bytes) -> None:
        """Send all of it; a side that has gone is found out when its answer is waited for."""
        self.socket.settimeout(max(min(self.timeout or PATIENCE[""], self._left()), 0.01))
        try:
            self.socket.sendall(octets)
        except TimeoutError:
            raise LateError("the other side took nothing of what was sent to it for too long") from None
        except OSError:
            return

    def receive(self, until: float, command: str = "") -> bytes:
        """What came, nothing where the other side closed. Raises LateError."""
        left = min(until - time.monotonic(), self._left())
        if left > 0:
            self.socket.settimeout(left)
            try:
                came = self.socket.recv(_AT_ONCE)
                self._heard = True
                return came
            except TimeoutError:
                left = 0
            except OSError:
                return b""
        what = f"no whole answer to {command}" if command else "nothing whole"
        silent = bool(self.name) and not self._heard and not isinstance(self.socket, ssl.SSLSocket)
        hint = "; a port that takes TLS at once, as 465 does, is silent until then: --tls" if silent else ""
        raise LateError(f"{what} came in time{hint}")

    def glance(self) -> bytes:
        """What has come already, nothing where the other side closed. Raises LateError where nothing has come."""
        self.socket.settimeout(0)
        try:
            return self.socket.recv(_AT_ONCE)
        except (BlockingIOError, ssl.SSLWantReadError):
            raise LateError("nothing came") from None
        except OSError:
            return b""

    @property
    def held(self) -> bool:
        """Whether TLS holds octets that came already."""
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def half_close(self) -> None:
        """Say that nothing more comes; what the other side still says can be heard."""
        with contextlib.suppress(OSError):
            if not isinstance(self.socket, ssl.SSLSocket):
                self.socket.shutdown(socket.SHUT_WR)

    def start_tls(self) -> None:
        """The handshake. Raises HandshakeError."""
        if self.tls is None:
            raise HandshakeError("TLS cannot be started: there is no certificate")
        self.socket.settimeout(max(min(self.timeout or 60.0, self._left()), 0.01))
        try:
            server = not self.name
            self.socket = self.tls.wrap_socket(self.socket, server_side=server, server_hostname=self.name or None)
        except ssl.SSLCertVerificationError as error:
            told = f"the certificate of {self.name} is not trusted: {error.verify_message}; --insecure takes any"
            raise HandshakeError(told) from None
        except TimeoutError:
            raise HandshakeError("the TLS handshake did not end in time") from None
        except (OSError, ValueError) as error:
            reason = str(getattr(error, "reason", None) or error)
            told = next((words for name, words in _TLS_WORDS.items() if name in reason), "")
            raise HandshakeError(f"the TLS handshake failed: {f'{told} ({reason})' if told else reason}") from None

    def hang_up(self) -> None:
        """End the connection while another thread waits for its octets: for that one the other side has closed."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close, and let the other side read to the end what was sent."""
        if self.socket.fileno() < 0:
            return
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
            until = time.monotonic() + _LINGER
            while (left := until - time.monotonic()) > 0:
                self.socket.settimeout(left)
                if not self.socket.recv(_AT_ONCE):
                    break
        self.socket.close()

    def _left(self) -> float:
        """Seconds left for the session."""
        return self._begun + self.total - time.monotonic()


def heard(wires: Sequence[Wire], seconds: float) -> list[Wire]:
    """The connections on which something comes, or that were closed; none where nothing does for so long."""
    held = [wire for wire in wires if wire.held]
    if held:
        return held
    with selectors.DefaultSelector() as selector:
        for wire in wires:
            selector.register(wire.socket, selectors.EVENT_READ, wire)
        return [key.data for key, _ in selector.select(max(seconds, 0.0))]
