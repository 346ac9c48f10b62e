"""The servers, started once for all tests that ask for one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real import servers
from tests.real.servers import Server
from tests.real.tap import Certificate


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that other users may enter, unlike pytest's own: servers leave root behind."""
    with tempfile.TemporaryDirectory(prefix="smtplog-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def certificate(open_folder: Path) -> Certificate:
    return servers.certificate(open_folder)


def _own(open_folder: Path, name: str) -> Path:
    folder = open_folder / name
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def postfix(open_folder: Path, certificate: Certificate) -> Iterator[Server]:
    with servers.postfix(_own(open_folder, "postfix"), certificate) as server:
        yield server


@pytest.fixture(scope="session")
def relay(open_folder: Path, certificate: Certificate) -> Iterator[Server]:
    """A Postfix that hands mail on to whoever listens on its port ``onward``."""
    with servers.postfix(_own(open_folder, "relay"), certificate, servers.free_port()) as server:
        yield server


@pytest.fixture(scope="session")
def exim(open_folder: Path, certificate: Certificate) -> Iterator[Server]:
    with servers.exim(_own(open_folder, "exim"), certificate) as server:
        yield server


@pytest.fixture(scope="session")
def aiosmtpd(certificate: Certificate) -> Iterator[Server]:
    with servers.aiosmtpd(certificate) as server:
        yield server


@pytest.fixture(scope="session")
def lmtp() -> Iterator[Server]:
    with servers.lmtp() as server:
        yield server


@pytest.fixture
def own_folder(open_folder: Path) -> Iterator[Path]:
    """A folder for one test that other users may enter."""
    with tempfile.TemporaryDirectory(dir=open_folder, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
