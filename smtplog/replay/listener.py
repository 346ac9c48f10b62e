"""Listens on a port and gives each connection its own stand-in server, in a thread of its own."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Self

from smtplog.errors import UsageError
from smtplog.replay.faults import Fault, Faults
from smtplog.replay.recording import Recording
from smtplog.replay.server import Server
from smtplog.replay.turns import Play
from smtplog.replay.wire import Address, Wire

#: So many sessions are held at once; further ones wait to be accepted.
MOST_SESSIONS = 500
_GRACE = 0.5  # seconds in which sessions may end by themselves once nobody listens any more


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a stand-in server behaves."""

    unmatched: str = "503"
    timing: float = 0.0  #: of the recorded delays; 0 none
    in_turn: bool = True  #: the k-th connection gets the k-th dialog; else the client's commands choose
    faults: tuple[Fault, ...] = ()
    tls: ssl.SSLContext | None = None
    timeout: float = 300.0  #: seconds for each command (RFC 5321 section 4.5.3.2.7)
    show_secrets: bool = False
    folder: Path | None = None  #: where each session is recorded


@dataclass(slots=True)
class Session:
    """One connection that was served."""

    number: int  #: from 1
    peer: str
    server: Server


class _Nowhere(io.StringIO):
    """Keeps nothing of what is written to it."""

    def write(self, text: str) -> int:
        """Let it go."""
        return len(text)


class Port(ABC):
    """A port that is listened on; each connection has a thread. ``with Listener(...) as listening: … listening.port``."""

    def __init__(self, at: Address, patience: float) -> None:
        self.sessions = 0  #: that have ended
        self._patience = patience  # seconds that the end waits for each session that is held
        self._numbers = count(1)
        self._room = threading.BoundedSemaphore(MOST_SESSIONS)
        self._held: set[threading.Thread] = set()
        self._lock = threading.Lock()
        family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
        try:
            self._socket = socket.create_server((at.host, at.port), family=family, backlog=512)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            hint = "ports below 1024 are for root" if error.errno == errno.EACCES else "choose another port"
            raise UsageError(f"{at} cannot be listened on: {reason}; {hint}") from None
        self.host, self.port = at.host, int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._listen, name="smtplog listener", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more, and wait for the sessions that are held."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        if self._thread.is_alive():
            self._thread.join()
        until = time.monotonic() + _GRACE
        for thread in list(self._held):
            thread.join(max(until - time.monotonic(), 0.0))
        self._hang_up()
        for thread in list(self._held):
            thread.join(self._patience)

    def _hang_up(self) -> None:  # noqa: B027 (not every port has to)
        """End the sessions that are still held."""

    def _listen(self) -> None:
        for number in self._numbers:
            self._room.acquire()
            try:
                connection, peer = self._socket.accept()
            except OSError:  # closed
                self._room.release()
                return
            name = str(Address(str(peer[0]), int(peer[1])))
            thread = threading.Thread(target=self._hold, args=(connection, number, name), daemon=True)
            with self._lock:
                self._held.add(thread)
            thread.start()

    def _hold(self, connection: socket.socket, number: int, peer: str) -> None:
        try:
            self._session(connection, number, peer)
        finally:
            connection.close()
            with self._lock:
                self._held.discard(threading.current_thread())
            self._room.release()

    @abstractmethod
    def _session(self, connection: socket.socket, number: int, peer: str) -> None:
        """Hold one session, in a thread of its own."""


class Listener(Port):
    """A stand-in server on a port."""

    def __init__(
        self,
        plays: Sequence[Play],
        at: Address,
        conduct: Conduct,
        told: Callable[[Session], None] = lambda session: None,
    ) -> None:
        self.plays, self.conduct, self.told = list(plays), conduct, told
        self._wires: dict[int, Wire] = {}
        super().__init__(at, conduct.timeout)

    def _hang_up(self) -> None:
        with self._lock:
            for wire in self._wires.values():
                wire.hang_up()

    def _session(self, connection: socket.socket, number: int, peer: str) -> None:
        with self._recording(number, peer) as recording:
            server = self._server(number, recording)
            wire = Wire(connection, tls=self.conduct.tls, timeout=self.conduct.timeout)
            with self._lock:
                self._wires[number] = wire
            try:
                wire.run(server.side())
            finally:
                with self._lock:
                    del self._wires[number]
        with self._lock:
            self.sessions += 1
            self.told(Session(number, peer, server))

    def _server(self, number: int, recording: Recording) -> Server:
        start = (number - 1) % len(self.plays)
        plays = [self.plays[start]] if self.conduct.in_turn else self.plays
        conduct = self.conduct
        return Server(
            plays,
            recording,
            unmatched=conduct.unmatched,
            timing=conduct.timing,
            fault=Faults(conduct.faults),
            tls=conduct.tls is not None,
        )

    @contextlib.contextmanager
    def _recording(self, number: int, peer: str) -> Iterator[Recording]:
        if self.conduct.folder is None:
            yield Recording(_Nowhere(), show_secrets=self.conduct.show_secrets)
            return
        path = self.conduct.folder / f"session-{number:04}.dialog"
        with path.open("w", encoding="utf-8") as stream:
            recording = Recording(stream, show_secrets=self.conduct.show_secrets)
            recording.event(f"connect {peer} -> {Address(self.host, self.port)}")
            yield recording
