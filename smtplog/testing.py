"""A pytest plugin: the code under test talks to a recorded SMTP server.

    @pytest.mark.smtp_cassette("newsletter.dialog", upstream="127.0.0.1:2525")
    def test_newsletter(smtp_cassette):
        send_newsletter(smtp_cassette.host, smtp_cassette.port)

A cassette is any log that smtplog reads; a relative path is looked for beside the test. Where it is missing, and an upstream is
named, the session is handed on to that server and recorded. A cassette that was not played as it was recorded fails the test.
Nothing else of smtplog imports this module; pytest finds it by its entry point.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from smtplog.errors import SmtplogError, UsageError
from smtplog.printable import printable

if TYPE_CHECKING:  # every run of pytest imports this module: what is heavy waits until a test wants a cassette
    from smtplog.model import Dialog
    from smtplog.replay.listener import Listener, Session
    from smtplog.replay.proxy import Proxy
    from smtplog.replay.wire import Address

#: When a cassette is recorded: never; when it is missing; always.
MODES = ("none", "once", "all")
_HOST = "127.0.0.1"
_PASSED = pytest.StashKey[bool]()
_MOST_MISSES = 5


@dataclass(kw_only=True)
class Cassette:
    """A recorded server, for the code under test."""

    path: Path
    host: str = _HOST
    port: int = 0
    certificate: bytes = b""  #: PEM, for clients that verify TLS
    recording: bool = False  #: whether the session goes to the upstream and is recorded
    dialogs_recorded: int = 0  #: sessions on the cassette
    _sessions: list[Session] = field(default_factory=list)
    _logs: Path | None = None
    _trouble: list[str] = field(default_factory=list)

    @property
    def sessions(self) -> list[Session]:
        """The sessions that have ended, in the order in which they began."""
        return sorted(self._sessions, key=lambda session: session.number)

    @property
    def dialogs(self) -> list[Dialog]:
        """What was said so far, session by session."""
        from smtplog.transcript import read

        logs = sorted(self._logs.glob("session-*")) if self._logs is not None else []
        return [dialog for log in logs for dialog in read(log, input_format="cs-dialog", show_secrets=True)]

    @property
    def dialog(self) -> Dialog:
        """What was said in the last session."""
        dialogs = self.dialogs
        if not dialogs:
            raise UsageError("nothing was said to the cassette yet")
        return dialogs[-1]

    @property
    def misses(self) -> list[str]:
        """Commands that were not recorded where they came."""
        return [miss.line for session in self.sessions for miss in session.server.misses]

    @property
    def complete(self) -> bool:
        """Whether every session of the cassette was played to its end."""
        whole = all(session.server.complete for session in self._sessions)
        return self.recording or (whole and len(self._sessions) == self.dialogs_recorded)

    def complaints(self) -> list[str]:
        """What was not played as it was recorded, in sentences; to be asked for when the sessions have ended."""
        if self.recording:
            return [f"the upstream: {sentence}" for sentence in self._trouble]
        return [sentence for session in self.sessions for sentence in self._of(session)] + self._number()

    def _of(self, session: Session) -> Iterator[str]:
        server = session.server
        name = f"session {session.number}"
        for miss in server.misses[:_MOST_MISSES]:
            yield f"{name}: {miss.line[:200]!r} was not recorded here; {miss.why}"
        if len(server.misses) > _MOST_MISSES:
            yield f"{name}: and {len(server.misses) - _MOST_MISSES:,} commands more that were not recorded"
        if server.ended:
            yield f"{name}: {server.ended}"
        if not server.complete and not server.misses:
            yield f"{name} ended early; due was {server.due}"

    def _number(self) -> list[str]:
        held = len(self._sessions)
        if held == self.dialogs_recorded:
            return []
        return [f"sessions held: {held}; sessions on the cassette: {self.dialogs_recorded}"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--smtp-cassettes``, for all tests of a run."""
    group = parser.getgroup("smtplog")
    group.addoption("--smtp-cassettes", choices=MODES, help="record SMTP cassettes: none, once (default), all")


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest of the marker."""
    config.addinivalue_line(
        "markers",
        "smtp_cassette(path, upstream=None, mode='once', unmatched='503', match=False, timeout=10, show_secrets=False): "
        "serve this log to the code under test; record it from upstream where it is missing",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Remember whether a test passed: what a failed one said is not recorded."""
    report = yield
    if call.when == "call":
        item.stash[_PASSED] = bool(report.passed)
    return report


@pytest.fixture
def smtp_cassette(request: pytest.FixtureRequest) -> Iterator[Cassette]:
    """A recorded server: ``host``, ``port``, what was said (``dialogs``), what was not recorded (``misses``)."""
    marker = request.node.get_closest_marker("smtp_cassette")
    try:
        wish = _wished(request, marker)
        with ExitStack() as stack:
            cassette = wish.started(stack)
            yield cassette
    except SmtplogError as error:
        raise pytest.fail.Exception(f"smtp_cassette: {printable(str(error))}", pytrace=False) from None
    complaints = cassette.complaints()
    if not request.node.stash.get(_PASSED, False):
        return  # it failed by itself, or was skipped
    if cassette.recording and not complaints:
        complaints = wish.kept(cassette)
    if complaints:
        said = "\n".join(f"  {printable(sentence)}" for sentence in complaints)
        what = "could not be recorded" if cassette.recording else "was not played as it was recorded"
        pytest.fail(f"{cassette.path.name} {what}:\n{said}", pytrace=False)


def _wished(request: pytest.FixtureRequest, marker: pytest.Mark | None) -> _Wish:
    """What the marker asks for. Raises UsageError."""
    args, kwargs = (marker.args, marker.kwargs) if marker else ((), {})
    known = signature(_Wish.of).parameters
    strange = next((name for name in kwargs if name not in known or name == "request"), "")
    if strange or len(args) > 1:
        what = f"{strange}=" if strange else f"a second word, {args[1]!r},"
        names = ", ".join(f"{name}=" for name in known if name not in ("request", "path"))
        raise UsageError(f"{what} means nothing to the marker; it takes a path, and {names}")
    return _Wish.of(request, *args, **kwargs)


@dataclass(frozen=True)
class _Wish:
    """What the marker asks for."""

    path: Path
    folder: Path  #: for the sessions of this test
    upstream: Address | None
    mode: str
    unmatched: str
    match: bool
    timeout: float
    show_secrets: bool

    @classmethod
    def of(
        cls,
        request: pytest.FixtureRequest,
        path: str | os.PathLike[str] | None = None,
        *,
        upstream: str | None = None,
        mode: str = "once",
        unmatched: str = "503",
        match: bool = False,
        timeout: float = 10.0,
        show_secrets: bool = False,
    ) -> _Wish:
        """The wish of a test. Raises UsageError."""
        from smtplog.replay.server import UNMATCHED
        from smtplog.replay.wire import address

        mode = request.config.getoption("smtp_cassettes") or mode
        for word, known in ((mode, MODES), (unmatched, UNMATCHED)):
            if word not in known:
                raise UsageError(f"{word!r} means nothing here; there are {', '.join(known)}")
        name = path or Path("cassettes") / f"{request.node.name.translate(str.maketrans('/[]:', '____'))}.dialog"
        folder = Path(tempfile.mkdtemp(prefix="smtplog-", dir=request.getfixturevalue("tmp_path")))
        server = address(upstream, 25) if upstream else None
        where = request.path.parent / name
        return cls(where, folder, server, mode, unmatched, match, timeout, show_secrets)

    def started(self, stack: ExitStack) -> Cassette:
        """The cassette, played or recorded. Raises SmtplogError."""
        from smtplog.replay.wire import Address

        cassette = Cassette(path=self.path, _logs=self.folder)
        port: Listener | Proxy
        if self.mode == "all" or (self.mode == "once" and not self.path.exists()):
            port = self._proxy(cassette, Address(_HOST, 0))
        else:
            port = self._listener(cassette, Address(_HOST, 0))
        stack.enter_context(port)
        cassette.port = port.port
        return cassette

    def _proxy(self, cassette: Cassette, at: Address) -> Proxy:
        from smtplog.replay.certificate import ephemeral
        from smtplog.replay.proxy import Between, Proxy
        from smtplog.replay.wire import for_clients, is_loopback

        if self.upstream is None:
            raise UsageError(f"{self.path} is missing: name the server that it is recorded from, upstream='HOST:PORT'")
        cassette.recording = True
        tls, cassette.certificate = ephemeral("localhost", _HOST)
        between = Between(
            server=self.upstream,
            to_server=for_clients(insecure=is_loopback(self.upstream.host)),
            to_client=tls,
            output=self.folder,
            timeout=self.timeout,
            show_secrets=self.show_secrets,
        )
        return Proxy(at, between, lambda passed: cassette._trouble.extend(filter(None, [passed.trouble])))

    def _listener(self, cassette: Cassette, at: Address) -> Listener:
        from smtplog.replay.certificate import ephemeral
        from smtplog.replay.listener import Conduct, Listener
        from smtplog.replay.turns import play
        from smtplog.transcript import read

        transcript = read(self.path, show_secrets=True)
        plays = [part for part in map(play, transcript) if part.turns]
        if not plays:
            raise UsageError(next(iter(transcript.errors), f"{self.path} holds no dialog that can be played"))
        cassette.dialogs_recorded = len(plays)
        tls, cassette.certificate = ephemeral("localhost", _HOST)
        conduct = Conduct(
            self.unmatched,
            in_turn=not self.match,
            tls=tls,
            timeout=self.timeout,
            show_secrets=self.show_secrets,
            folder=self.folder,
        )
        return Listener(plays, at, conduct, cassette._sessions.append)

    def kept(self, cassette: Cassette) -> list[str]:
        """Put what was recorded where the cassette belongs; gives what is wrong with it."""
        logs = sorted(self.folder.glob("session-*"))
        if not logs:
            return ["nothing was said: the code under test held no session"]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        whole = self.folder / "cassette"
        whole.write_bytes(b"".join(log.read_bytes() for log in logs))
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        new.write_bytes(whole.read_bytes())
        new.replace(self.path)
        return []
