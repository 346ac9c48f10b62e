"""Many sessions against a stand-in server: at once and one after the other. ``python -m tests.crowd`` holds the full number."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import smtplog
from smtplog.replay.client import Client
from smtplog.replay.listener import Conduct, Listener, Session
from smtplog.replay.turns import Play, play
from smtplog.replay.wire import Address, connect

LIMIT = 30.0  # seconds for any answer
SEED = Path(__file__).parents[1] / "transcripts" / "bare-dialog" / "seed-session.log"


@dataclass(frozen=True)
class Toll:
    """What sessions leave behind."""

    right: int  #: sessions in which every answer was the recorded one, as both sides saw it
    sockets: int  #: file descriptors more than before
    octets: int  #: of memory more than before
    seconds: float


def descriptors() -> int:
    """Open files of this process."""
    return len(os.listdir("/proc/self/fd"))


def one(part: Play, port: int) -> bool:
    """A whole session; whether all was answered as recorded."""
    client = Client(part, level="exact")
    wire = connect(Address("127.0.0.1", port), LIMIT)
    wire.timeout = LIMIT
    wire.run(client.side())
    return not client.ended and all(heard.same and not heard.skipped for heard in client.heard)


def crowd(parallel: int, sequence: int) -> tuple[Toll, Toll]:
    """So many sessions at once, so many one after the other."""
    (part,) = map(play, smtplog.read(SEED, show_secrets=True))
    served: list[bool] = []
    others = threading.active_count()  # of whoever runs this

    def told(session: Session) -> None:
        served.append(session.server.complete and not session.server.misses and not session.server.ended)

    with Listener([part], Address("127.0.0.1", 0), Conduct(timeout=LIMIT), told) as listening:
        one(part, listening.port)  # what is loaded once is loaded now
        settled(listening, 1, others)
        return (
            _toll(lambda: _at_once(part, listening, parallel), served, listening, others),
            _toll(lambda: [one(part, listening.port) for _ in range(sequence)], served, listening, others),
        )


def settled(listening: Listener, sessions: int, others: int) -> None:
    """Wait until so many sessions have ended and their threads, too."""
    until = time.monotonic() + LIMIT
    while listening.sessions < sessions or threading.active_count() > others + 1:
        assert time.monotonic() < until, (listening.sessions, threading.active_count())
        time.sleep(0.01)


def _at_once(part: Play, listening: Listener, count: int) -> list[bool]:
    right: list[bool] = []
    together = threading.Barrier(count)

    def hold() -> None:
        with socket.create_connection(("127.0.0.1", listening.port), LIMIT):  # all are held before one speaks
            together.wait(LIMIT)
            right.append(one(part, listening.port))

    threads = [threading.Thread(target=hold) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    return right


def _toll(hold: Callable[[], list[bool]], served: list[bool], listening: Listener, others: int) -> Toll:
    before, sockets, begun, sessions = len(served), descriptors(), time.monotonic(), listening.sessions
    gc.collect()
    tracemalloc.start()
    right = hold()
    settled(listening, sessions + len(right), others)
    gc.collect()
    octets = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    both = min(sum(right), sum(served[before:]))
    return Toll(both, descriptors() - sockets, octets, time.monotonic() - begun)


def main() -> int:
    """200 at once, 2,000 in sequence; exit code 1 where one is not right or leaves something behind."""
    worst = 0
    for name, wanted, toll in zip(("at once", "in sequence"), (200, 2000), crowd(200, 2000), strict=True):
        print(
            f"{wanted:,} {name}: {toll.right:,} right in {toll.seconds:.1f} s; left behind: {toll.sockets} sockets, {toll.octets:,} octets"
        )
        worst |= toll.right != wanted or toll.sockets > 0 or toll.octets > 1 << 20
    return int(worst)


if __name__ == "__main__":
    sys.exit(main())
