"""Law 8 on real logs: each is played against itself, within a bounded time; of a large one its first and other dialogs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from smtplog import read
from smtplog.model import Dialog
from tests.corpus.sidecars import Entry, entries, folder
from tests.playing import Figures, reproduced

pytestmark = pytest.mark.skipif(
    folder() is None, reason="no corpus: set SMTPLOG_CORPUS, or put it at ../shared/corpus beside the repository"
)

#: Of each file: so many first dialogs, then every so-manieth of the next ones.
_FIRST, _EVERY, _MOST = 20, 25, 1000


def chosen(dialogs: Iterator[Dialog]) -> Iterator[Dialog]:
    """The dialogs of a log that are played."""
    yield from islice(dialogs, _FIRST)
    yield from islice(dialogs, _EVERY - 1, _MOST, _EVERY)


def played(entry: Entry, where: Path) -> Figures:
    """What comes of the dialogs of a file."""
    transcript = read(entry.path, date=entry.day(), show_secrets=True, block_size=entry.block_size())
    return reproduced(chosen(iter(transcript)), where, all_smtp=False)


@pytest.mark.parametrize("entry", [pytest.param(each, id=each.file) for each in entries() if each.slug != "none"])
def test_8_a_real_log_played_against_itself_is_itself(entry: Entry, tmp_path: Path) -> None:
    played(entry, tmp_path)
