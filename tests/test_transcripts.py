"""Drop in a log and its dialog, and they are a test: show(read(log)) == dialog."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from smtplog import formats, read
from smtplog.lines import read_blocks
from smtplog.script import show
from tests.conftest import DAY, samples

IDS = [f"{path.parent.name}/{path.stem}" for path in samples()]


@pytest.mark.parametrize("log", samples(), ids=IDS)
def test_show_gives_the_dialog(log: Path, update_dialogs: bool) -> None:
    transcript = read(log, date=DAY)
    shown = "\n".join(show(dialog) for dialog in transcript)
    golden = log.with_suffix(".dialog")
    if update_dialogs:
        assert _every_line_once(log), "a line of the log is lost or told twice: not written"
        golden.write_text(shown, encoding="utf-8", newline="\n")
    assert golden.exists(), (
        f"{golden.name} is missing; write it with: python -m pytest tests/test_transcripts.py --update-dialogs"
    )
    assert shown == golden.read_text(encoding="utf-8")
    assert not transcript.errors


@pytest.mark.parametrize("log", samples(), ids=IDS)
def test_claimed_by_its_own_format_alone(log: Path) -> None:
    with open(log, "rb") as stream:
        (head,) = read_blocks(stream, size=1 << 22)
    candidates = formats.detect(head)
    assert candidates[0].slug == log.parent.name
    assert sum(candidate.score == candidates[0].score for candidate in candidates) == 1


@pytest.mark.parametrize("log", samples(), ids=IDS)
def test_every_line_is_in_one_event(log: Path) -> None:
    assert _every_line_once(log)


def _every_line_once(log: Path) -> bool:
    """Lines read by a capture or delimited reader stand in exactly one event, blank or not; a line format leaves the lines
    that its grammar does not know out of the events and counts them."""
    declaration = formats.declaration(log.parent.name)
    reader = formats.reader(declaration)
    with open(log, "rb") as stream:
        (block,) = read_blocks(stream, size=1 << 22)
    parts = [found for found in (reader.read(block), reader.finish()) if found is not None]
    lines = np.concatenate([part.line for part in parts])
    if declaration.kind == "lines":
        return len(set(lines.tolist())) + reader.not_understood <= len(block) and set(lines.tolist()) <= set(
            range(1, len(block) + 1)
        )
    once = set(range(1, len(block) + 1)) == set(lines.tolist())
    return once
