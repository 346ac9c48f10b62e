"""The suite reads everything in blocks of 997 octets, so that no test rests on where a block ends."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("SMTPLOG_BLOCK_SIZE", "997")

settings.register_profile(
    "smtplog",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("smtplog")

#: The day of the samples whose stamps say no year or no date.
DAY = date(2026, 12, 31)
TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"


def samples() -> list[Path]:
    """All shipped logs."""
    return sorted(TRANSCRIPTS.glob("*/*.log"))


def one_of_each() -> list[Path]:
    """One shipped log of each format."""
    return list({path.parent.name: path for path in samples()}.values())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side (``-n``), the tests against real servers stay together: these are started once."""
    for item in items:
        if item.path.parent.name == "real":
            item.add_marker(pytest.mark.xdist_group("real"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-dialogs", action="store_true", help="write transcripts/<format>/<story>.dialog anew")
    parser.addoption("--update-expressions", action="store_true", help="write smtplog/grammars/command.re2 anew")


@pytest.fixture
def update_dialogs(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-dialogs"))
