"""Dialogs sent again to a server: one connection each, one outcome each."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

from smtplog.replay.client import Client
from smtplog.replay.comparison import Outcome, outcome
from smtplog.replay.credentials import Credentials
from smtplog.replay.edits import Edits, edited, secured
from smtplog.replay.matching import Level
from smtplog.replay.recording import Recording
from smtplog.replay.turns import Play
from smtplog.replay.wire import Address, connect


@dataclass(frozen=True, slots=True)
class Again:
    """How dialogs are sent again."""

    to: Address
    tls: ssl.SSLContext
    level: Level = "code"
    on_mismatch: str = "continue"
    speed: float = 0.0  #: of the recorded pauses; 0: none
    most_wait: float = 60.0  #: seconds of the longest pause
    timeout: float | None = None  #: seconds for each answer
    credentials: Credentials | None = None
    deliver: bool = False
    edits: Edits = field(default_factory=Edits)
    show_secrets: bool = False
    implicit_tls: bool = False
    starttls: bool = False


def prepared(plays: list[Play], how: Again) -> list[Play]:
    """The plays with their changes. Raises UsageError before anything is sent."""
    changed = [edited(play, how.edits) for play in plays]
    if not (how.implicit_tls or how.starttls):
        return changed
    return [secured(play, at_once=how.implicit_tls) for play in changed]


def replay(plays: list[Play], how: Again, stream: TextIO | None = None) -> Iterator[Outcome]:
    """Send each play, in order; the new dialogs go to ``stream`` as they happen. Raises UnreachableError."""
    for play in plays:
        wire = connect(how.to, min(how.timeout or 30.0, 30.0))
        wire.tls, wire.timeout = how.tls, how.timeout
        recording = Recording(stream, show_secrets=how.show_secrets) if stream is not None else Recording()
        recording.event(f"connect {wire.here} -> {how.to}")
        client = Client(
            play,
            recording=recording,
            level=how.level,
            on_mismatch=how.on_mismatch,
            speed=how.speed,
            most_wait=how.most_wait,
            credentials=how.credentials,
            deliver=how.deliver,
            as_masked=False,
        )
        wire.run(client.side())
        yield outcome(client, show_secrets=how.show_secrets)
