"""Law 8: the player as a server against the player as a client reproduces the dialog."""

from __future__ import annotations

from pathlib import Path

import pytest

import smtplog
from tests.conftest import DAY, TRANSCRIPTS, samples
from tests.playing import reproduced


@pytest.mark.parametrize("path", samples(), ids=lambda path: str(path.relative_to(TRANSCRIPTS)))
def test_8_a_dialog_played_against_itself_is_the_dialog(path: Path, tmp_path: Path) -> None:
    reproduced(smtplog.read(path, show_secrets=True, date=DAY), tmp_path)
