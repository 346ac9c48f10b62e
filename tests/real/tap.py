"""A recording tap: a loopback proxy between a real client and a real server.

It writes down every line before it hands it on, so what it recorded is what was said, in the order in which it was said. It
ends TLS on both sides itself, so that it sees what is said under it.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from smtplog.script import escaped
from tests.corpus.as_logged import Said

#: Seconds that a session of a test may take.
PATIENCE = 20.0


@dataclass(frozen=True)
class Certificate:
    """Where a self-signed certificate and its key are."""

    chain: Path
    key: Path

    def for_servers(self) -> ssl.SSLContext:
        """TLS as a server speaks it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


def for_clients() -> ssl.SSLContext:
    """TLS as a client speaks it that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@dataclass
class Recording:
    """One session: its lines in the C:/S: notation, and what was said, paired as it happened."""

    lines: list[str] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    at: datetime | None = None
    _waiting: deque[int] = field(default_factory=deque)  #: commands without a reply so far
    _reply: list[bytes] = field(default_factory=list)  #: the lines of a reply that is not whole yet
    _verb: bytes = b""  #: of the last command
    _text: bool = False  #: between 354 and the dot
    _chunk: int = 0  #: octets of a BDAT chunk still to come
    _accepted: int = 0  #: recipients of the transaction
    _lmtp: bool = False

    def note(self, words: str) -> None:
        """An event."""
        self._clock()
        self.lines.append(f"*: {words}")

    def client(self, octets: bytes) -> bytes:
        """Record the whole lines; what is left waits for its end."""
        while octets:
            if self._chunk:
                line, octets = self._piece(octets)
                if not line:
                    break
                self._line("C", line)
                continue
            line, end, rest = octets.partition(b"\n")
            if not end:
                break
            octets = rest
            self._line("C", line + end)
            if not self._text:
                self._command(line.removesuffix(b"\r"))
            elif line == b".\r":
                self._text = False
                for _ in range(self._accepted if self._lmtp else 1):
                    self._ask(".")
        return octets

    def server(self, octets: bytes) -> bytes:
        """Record the whole lines; what is left waits for its end."""
        while octets:
            line, end, rest = octets.partition(b"\n")
            if not end:
                break
            octets = rest
            self._line("S", line + end)
            self._reply.append(line.removesuffix(b"\r"))
            if line[3:4] != b"-":
                self._answer()
        return octets

    @property
    def starts_tls(self) -> bool:
        """Whether the last reply was a yes to STARTTLS."""
        return bool(self.said) and (self.said[-1][0] or "").upper() == "STARTTLS" and self.said[-1][1] == 220

    def notation(self) -> str:
        """The session as a file of the format ``cs-dialog``."""
        return "\n".join(self.lines) + "\n"

    def _piece(self, octets: bytes) -> tuple[bytes, bytes]:
        """A line of a chunk, which may end in mid-line; nothing where there is none yet."""
        end = octets.find(b"\n", 0, self._chunk) + 1 or (self._chunk if len(octets) >= self._chunk else 0)
        self._chunk -= end
        return octets[:end], octets[end:]

    def _command(self, line: bytes) -> None:
        words = line.split()
        self._verb = words[0].upper() if words else b""
        self._ask(line.decode("utf-8", "surrogateescape"))
        self._lmtp |= self._verb == b"LHLO"
        if self._verb == b"MAIL":
            self._accepted = 0
        if self._verb == b"BDAT":
            self._chunk = int(words[1])

    def _ask(self, command: str) -> None:
        self._waiting.append(len(self.said))
        self.said.append((command, None, None))

    def _answer(self) -> None:
        code = int(self._reply[0][:3])
        text = "\n".join(line[4:].decode("utf-8", "surrogateescape") for line in self._reply)
        self._reply = []
        if not self._waiting:
            self.said.append((None, code, text))
            return
        at = self._waiting.popleft()
        command = self.said[at][0]
        self.said[at] = (command, code, text)
        verb = (command or "").upper().split(" ")[0]
        self._text |= verb == "DATA" and code == 354
        self._accepted += verb == "RCPT" and code // 100 == 2

    def _line(self, side: str, octets: bytes) -> None:
        self._clock()
        text, end = octets.removesuffix(b"\n").removesuffix(b"\r"), octets.endswith(b"\r\n")
        said = text.decode("utf-8", "backslashreplace") if (utf8 := _is_utf8(text)) else text.decode("latin-1")
        if utf8 and end and said == said.strip() and said.isprintable() and "{" not in said:
            self.lines.append(f"{side}: {said}" if said else f"{side}:")
        else:
            ending = "\\r\\n" if end else "\\n" if octets.endswith(b"\n") else ""
            self.lines.append(f"{side}!: {escaped(said)}{ending}")

    def _clock(self) -> None:
        now = datetime.now(UTC)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        if now != self.at:
            self.at = now
            self.lines.append(f"*: at {now.isoformat()}")


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


class Tap:
    """Listens on a port and passes every connection on to the server."""

    def __init__(self, server: int, certificate: Certificate, port: int = 0) -> None:
        self.server = server
        self.certificate = certificate
        self.recordings: list[Recording] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Tap:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def recorded(self, count: int = 1) -> list[Recording]:
        """The sessions so far, when as many have ended."""
        until = time.monotonic() + PATIENCE
        while len(self.recordings) < count or not all(each.ended.is_set() for each in self.recordings):
            assert time.monotonic() < until, f"{len(self.recordings)} of {count} sessions were held: {self.recordings}"
            time.sleep(0.01)
        return self.recordings

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            recording = Recording()
            self.recordings.append(recording)
            threading.Thread(target=self._hold, args=(client, recording), daemon=True).start()

    def _hold(self, client: socket.socket, recording: Recording) -> None:
        sockets = {"client": client, "server": socket.create_connection(("127.0.0.1", self.server), PATIENCE)}
        try:
            ends = [f"127.0.0.1:{each.getpeername()[1]}" for each in sockets.values()]
            recording.note(f"connect {ends[0]} -> {ends[1]}")
            recording.note(f"close {_pass_on(sockets, recording, self.certificate)}")
        finally:
            for each in sockets.values():
                each.close()
            recording.ended.set()


def _pass_on(sockets: dict[str, socket.socket], recording: Recording, certificate: Certificate) -> str:
    """Hand lines on until one side closes; says which."""
    left = {"client": b"", "server": b""}
    while heard := _heard(sockets):
        for name in heard:
            data = _received(sockets[name])
            if data is None:
                continue
            if not data:
                return name
            take = recording.client if name == "client" else recording.server
            left[name] = take(left[name] + data)
            sockets["server" if name == "client" else "client"].sendall(data)
            if name == "server" and recording.starts_tls:
                sockets["server"] = for_clients().wrap_socket(sockets["server"])
                sockets["client"] = certificate.for_servers().wrap_socket(sockets["client"], server_side=True)
                recording.note("tls ok")
                break
    return "timeout"


def _heard(sockets: dict[str, socket.socket]) -> list[str]:
    """Who has something to say: what TLS holds already, else what comes."""
    held = [name for name, each in sockets.items() if isinstance(each, ssl.SSLSocket) and each.pending()]
    if held:
        return held
    ready, _, _ = select.select(list(sockets.values()), [], [], PATIENCE)
    return [name for name, each in sockets.items() if each in ready]


def _received(end: socket.socket) -> bytes | None:
    """What has come: nothing where it was closed, None where TLS had but words for itself."""
    end.settimeout(0)
    try:
        return end.recv(65536)
    except ssl.SSLWantReadError:
        return None
    except (ConnectionError, ssl.SSLError):
        return b""
    finally:
        end.settimeout(PATIENCE)
