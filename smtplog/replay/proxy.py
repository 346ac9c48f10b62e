"""A recording proxy: stands between a real client and a real server, hands everything on, and keeps each session as a log."""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from smtplog.errors import SmtplogError, UsageError
from smtplog.replay.framing import TroubleError
from smtplog.replay.listener import Port
from smtplog.replay.recording import Recording
from smtplog.replay.relay import BothTLS, End, Relay
from smtplog.replay.wire import Address, LateError, Wire, connect, heard

_GLANCE = 0.5  # seconds until it is seen that the proxy is to end
#: Said in place of a server that cannot be reached (RFC 5321 section 3.8).
_NOBODY = b"421 4.4.1 The server behind this proxy cannot be reached\r\n"
_FAREWELL = 2.0  # seconds in which the server may still answer a client that has gone


@dataclass(frozen=True, slots=True)
class Between:
    """How the proxy stands between."""

    server: Address
    to_server: ssl.SSLContext  #: verifies the server
    to_client: ssl.SSLContext  #: with the proxy's own certificate
    output: Path  #: a folder, a file a session; or a file to which each is appended
    kind: type[Recording] = Recording
    implicit_tls: bool = False  #: TLS from the first octet, with both
    timeout: float = 300.0  #: seconds in which somebody must say something whole
    total: float = 3600.0  #: seconds for a session
    show_secrets: bool = False


@dataclass(frozen=True, slots=True)
class Passed:
    """One session that went through."""

    number: int  #: from 1
    client: str
    answers: int  #: commands that were answered
    trouble: str  #: what ended it; empty where nothing did


class Proxy(Port):
    """The proxy on its port."""

    def __init__(self, at: Address, between: Between, told: Callable[[Passed], None] = lambda passed: None) -> None:
        self.between, self.told = between, told
        self._ending = False
        super().__init__(at, between.timeout)

    def close(self) -> None:
        """Listen no more, and end the sessions in which nobody says anything."""
        self._ending = True
        super().close()

    def _session(self, connection: socket.socket, number: int, peer: str) -> None:
        with self._recording(number) as recording:
            relay = Relay(recording)
            client = Wire(connection, tls=self.between.to_client, timeout=self.between.timeout)
            trouble = ""
            try:
                recording.event(f"connect {peer} -> {self.between.server}")
                trouble = self._between(client, relay)
            finally:
                client.close()
        with self._lock:
            self.sessions += 1
            self.told(Passed(number, peer, relay.answers, trouble))

    def _between(self, client: Wire, relay: Relay) -> str:
        """One session; gives what went wrong."""
        between = self.between
        try:
            server = connect(between.server, min(between.timeout, 30.0))
        except SmtplogError as error:
            if not between.implicit_tls:  # a client that waits for TLS understands no reply
                relay.recording.server(_NOBODY)
                with contextlib.suppress(TroubleError):
                    client.send(_NOBODY)
            relay.recording.event("close server")
            return str(error)
        server.tls, server.timeout = between.to_server, between.timeout
        try:
            if between.implicit_tls:
                self._secure(client, server, relay, b"")
            who, trouble = f" {self._passed(client, server, relay)}", ""
        except TroubleError as error:
            who, trouble = "", str(error)
        finally:
            server.close()
        relay.rest()
        relay.recording.event(f"close{who}")
        return trouble

    def _passed(self, client: Wire, server: Wire, relay: Relay) -> str:
        """Hand on until one side closes; gives which."""
        ends: dict[End, Wire] = {"client": client, "server": server}
        gone = ""
        until, quiet = (time.monotonic() + seconds for seconds in (self.between.total, self.between.timeout))
        while (left := min(until, quiet) - time.monotonic()) > 0:
            ready = heard([server] if gone else [client, server], min(left, _GLANCE))
            if self._ending and not ready:
                return "client"
            for name, wire in ends.items():
                if not any(each is wire for each in ready):
                    continue
                try:
                    came = wire.glance()
                except LateError:  # TLS had but words for itself
                    continue
                if came and self._take(name, came, ends, relay):
                    quiet = time.monotonic() + self.between.timeout
                elif came:
                    continue
                elif name == "server" or not relay.standing.waiting:
                    return gone or name
                else:
                    server.half_close()
                    gone, until = name, time.monotonic() + _FAREWELL
        return gone or "timeout"

    def _take(self, name: End, came: bytes, ends: dict[End, Wire], relay: Relay) -> bool:
        """Hand on what one end said; whether something of it was whole."""
        whole = False
        for step in relay.take(name, came):
            whole = True
            if isinstance(step, BothTLS):
                self._secure(ends["client"], ends["server"], relay, step.reply)
                break
            ends[step.to].send(step.octets)
        return whole

    def _secure(self, client: Wire, server: Wire, relay: Relay, reply: bytes) -> None:
        """TLS with both, the server's first: the client hears of it when it stands."""
        try:
            server.start_tls()
            if reply:
                client.send(reply)
            client.start_tls()
        except TroubleError:
            relay.recording.event("tls failed")
            raise
        relay.secured()

    @contextlib.contextmanager
    def _recording(self, number: int) -> Iterator[Recording]:
        between = self.between
        if between.output.is_dir():
            with (between.output / f"session-{number:04}.log").open("w", encoding="utf-8") as stream:
                yield between.kind(stream, show_secrets=between.show_secrets)
            return
        with tempfile.TemporaryFile("w+", encoding="utf-8") as kept:
            try:
                yield between.kind(kept, show_secrets=between.show_secrets)
            finally:
                kept.seek(0)
                with self._lock, between.output.open("a", encoding="utf-8") as stream:
                    for line in kept:
                        stream.write(line)


def checked(output: Path) -> Path:
    """Where sessions are kept, if they can be. Raises UsageError."""
    try:
        if not output.is_dir():
            output.open("a", encoding="utf-8").close()
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    return output
