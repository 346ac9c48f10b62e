"""A real server on loopback for sessions that are held live: aiosmtpd with STARTTLS, AUTH and a mailbox."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from smtplog.replay.certificate import ephemeral

USER, PASSWORD = "anna", "opensesame"
LIMIT = 15.0  # seconds; no session of these tests takes one


@dataclass
class Mailbox:
    """The server: where it listens, what it took, the certificate to trust."""

    port: int = 0
    trust: Path = Path()
    taken: list[bytes] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.taken.append(envelope.original_content)
        return "250 2.0.0 Ok: queued as 4TtXyz"


def _authenticated(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right)


@contextmanager
def mailbox(folder: Path) -> Iterator[Mailbox]:
    """A server for as long as it is wanted."""
    tls, chain = ephemeral("localhost", "127.0.0.1")
    box = Mailbox(trust=folder / "trusted.pem")
    box.trust.write_bytes(chain)

    class Listening(Controller):
        def factory(self) -> SMTP:
            return SMTP(box, hostname="mx.example.net", tls_context=tls, authenticator=_authenticated, timeout=LIMIT)

    with socket.create_server(("127.0.0.1", 0)) as free:
        box.port = free.getsockname()[1]
    controller = Listening(box, hostname="127.0.0.1", port=box.port)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
