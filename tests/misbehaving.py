"""Servers of loopback that do what no server may do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LIMIT = 10.0  # seconds that nothing of them takes


@contextmanager
def misbehaving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback that does what a function does, for one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT)

        def hold() -> None:
            connection, _ = listener.accept()
            connection.settimeout(LIMIT)
            with connection:
                try:
                    serve(connection)
                except OSError:  # the client has had enough
                    return

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(2 * LIMIT)


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def endless_reply(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"220-and so on\r\n" * 1000)


def endless_line(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"2" * 65536)


def drip(connection: socket.socket) -> None:
    for octet in b"220 mx ESMTP" + b"." * 2000:
        connection.sendall(bytes([octet]))
        time.sleep(0.02)


def closes(connection: socket.socket) -> None:
    connection.sendall(b"220 mx\r\n")
    connection.recv(100)


def closes_in_a_reply(connection: socket.socket) -> None:
    connection.sendall(b"220 mx\r\n")
    connection.recv(100)
    connection.sendall(b"250-mx\r\n250-SI")


def garbage(connection: socket.socket) -> None:
    connection.sendall(bytes(range(256)) * 100)
    connection.recv(100)


def early(connection: socket.socket) -> None:
    connection.sendall(b"220 mx\r\n250 one\r\n250 two\r\n250 three\r\n354 go\r\n250 four\r\n221 bye\r\n")
    connection.recv(100)
    time.sleep(0.2)


def no_tls(connection: socket.socket) -> None:
    connection.sendall(b"220 mx\r\n")
    connection.recv(100)
    connection.sendall(b"220 go ahead\r\nno TLS here at all, whatever you say\r\n")
    connection.recv(1000)


def goes_at_once(connection: socket.socket) -> None:
    connection.sendall(b"220 mx\r\n421 4.3.2 I am going\r\n")


#: All of them.
ALL: tuple[Callable[[socket.socket], None], ...] = (
    silent,
    endless_reply,
    endless_line,
    drip,
    closes,
    closes_in_a_reply,
    garbage,
    early,
    no_tls,
    goes_at_once,
)
