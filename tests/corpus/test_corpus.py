"""Every real log: its own format, every exchange as it was said, nothing that a person would object to."""

from __future__ import annotations

import pytest

from smtplog import read
from tests.corpus.by_eye import objections
from tests.corpus.sidecars import Entry, entries, folder, verdicts

pytestmark = pytest.mark.skipif(
    folder() is None, reason="no corpus: set SMTPLOG_CORPUS, or put it at ../shared/corpus beside the repository"
)

WITH_DIALOGS = [entry for entry in entries() if entry.slug != "none"]
WITHOUT = [entry for entry in entries() if entry.slug == "none"]


def _id(entry: Entry) -> str:
    return entry.file


@pytest.mark.parametrize("entry", WITH_DIALOGS, ids=_id)
def test_a_real_log_is_read_right(entry: Entry) -> None:
    """One reading, so that the large ones are read once."""
    transcript = read(entry.path, date=entry.day(), show_secrets=True, block_size=entry.block_size())
    dialogs = list(transcript)
    assert len(transcript.files) + len(transcript.errors) == 1
    if entry.truth:  # an excerpt from a document may lack every mark of its format
        found = [report.format for report in transcript.files]
        assert len(found) == 1 and found[0] in entry.slugs, (found, transcript.errors)
        wrong = [verdict for verdict in verdicts(entry, dialogs) if not verdict.comparison.equal]
        assert not wrong, "\n".join(
            f"{each.session or 'no session'}, line {each.line}: {each.comparison.difference}" for each in wrong
        )
    objected = list(objections(entry, dialogs))
    assert not objected, "\n".join(f"line {each.line}: {each.what}" for each in objected)


@pytest.mark.parametrize("entry", WITHOUT, ids=_id)
def test_what_holds_no_dialog_is_not_claimed(entry: Entry) -> None:
    transcript = read(entry.path, block_size=entry.block_size())
    assert not list(transcript) or not transcript.files
