"""What an EHLO reply offered, where the log tells less of it than was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_rules import findings


@pytest.mark.parametrize(
    ("reply", "known"),
    [
        ("250 mx.example.net", True),
        ("250 help.example.net", True),
        ("250 mx.example.net SIZE 1000 HELP", True),
        ("250 HELP", False),
        ("250 SIZE 35882577", False),
        ("250 8bitmime", False),
        ("250", False),
    ],
)
def test_a_last_line_alone_offers_nobody_knows_what(reply: str, known: bool, tmp_path: Path) -> None:
    text = f"S: 220 mx.example.net ESMTP\nC: EHLO ws.example.org\nS: {reply}\nC: STARTTLS\nS: 220 Go ahead\n"
    assert any(each.code == "EXT002" for each in findings(text, tmp_path)) is known
