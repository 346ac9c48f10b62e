"""Every real log of a format that is read: no crash, its own format, and every exchange as it was said."""

from __future__ import annotations

import pytest

from smtplog import read
from tests.corpus.sidecars import Entry, entries, folder, verdicts

pytestmark = pytest.mark.skipif(
    folder() is None, reason="no corpus: set SMTPLOG_CORPUS, or put it at ../shared/corpus beside the repository"
)

WITH_DIALOGS = [entry for entry in entries() if entry.slug != "none"]
WITHOUT = [entry for entry in entries() if entry.slug == "none"]
WITH_TRUTH = [entry for entry in WITH_DIALOGS if entry.truth]


def _id(entry: Entry) -> str:
    return entry.file


@pytest.mark.parametrize("entry", WITH_DIALOGS, ids=_id)
def test_recognised_or_refused_in_one_sentence(entry: Entry) -> None:
    """Excerpts from documents may lack every mark of their format; detection of all formats is another issue."""
    transcript = read(entry.path, date=entry.day())
    list(transcript)
    assert len(transcript.files) + len(transcript.errors) == 1


@pytest.mark.parametrize("entry", WITH_TRUTH, ids=_id)
def test_read_as_its_own_format(entry: Entry) -> None:
    transcript = read(entry.path, date=entry.day())
    summary = transcript.summary()
    assert not transcript.errors
    assert [report.format for report in transcript.files] == [entry.slug]
    assert summary.dialogs


@pytest.mark.parametrize("entry", WITH_DIALOGS, ids=_id)
def test_no_crash_with_its_format_named(entry: Entry) -> None:
    transcript = read(entry.path, input_format=entry.slug)
    transcript.summary()
    assert all(error for error in transcript.errors)


@pytest.mark.parametrize("entry", WITH_TRUTH, ids=_id)
def test_every_exchange_is_as_it_was_said(entry: Entry) -> None:
    dialogs = list(read(entry.path, input_format=entry.slug, date=entry.day(), show_secrets=True))
    wrong = [verdict for verdict in verdicts(entry, dialogs) if not verdict.comparison.equal]
    assert not wrong, "\n".join(
        f"{each.session or 'no session'}, line {each.line}: {each.comparison.difference}" for each in wrong
    )


@pytest.mark.parametrize("entry", WITHOUT, ids=_id)
def test_what_holds_no_dialog_is_not_claimed(entry: Entry) -> None:
    transcript = read(entry.path)
    assert not list(transcript) or not transcript.files
