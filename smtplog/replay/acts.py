"""What a side of a play asks its driver to do. A side is a generator of these; the answer to each is sent into it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True, slots=True)
class Send:
    """Send these octets; answered with nothing."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Receive:
    """Wait for octets; answered with what came, with nothing where the other side closed."""

    command: str = ""  #: the verb whose reply is awaited: some are given more time (RFC 5321 section 4.5.3.2)
    more: bool = False  #: a part of it came: the time for all of it runs already
    now: bool = False  #: do not wait: what has come already; trouble where nothing has


@dataclass(frozen=True, slots=True)
class Wait:
    """Let so many seconds go by; octets that come meanwhile are kept for later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class StartTLS:
    """The TLS handshake, now. Octets that came before it and were not taken are thrown away (RFC 3207 section 6)."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection."""


Act = Send | Receive | Wait | StartTLS | Close
_T = TypeVar("_T")
#: Acts that come to something.
Acts = Generator[Act, bytes, _T]
#: A side of a play. Trouble of the driver is thrown into it.
Side = Acts[None]
