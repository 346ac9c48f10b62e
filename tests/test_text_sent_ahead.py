"""Message text that a client sent without waiting for the 354."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest

from smtplog import read

FOLDER = tempfile.TemporaryDirectory()
AHEAD = "S: 220 mx ESMTP\nC: EHLO a.example.org\nS: 250 PIPELINING\nC: MAIL FROM:<a@example.org>\nC: RCPT TO:<b@example.net>\n"


@pytest.mark.parametrize(
    "rest, verbs, text",
    [
        ("C: DATA\nC: QUIT\nC: .\nC: QUIT\nS: 250 Ok\nS: 250 Ok\nS: 354 Go\nS: 250 Ok\nS: 221 Bye\n", [".", "QUIT"], ["QUIT"]),
        ("C: DATA\nC: .\nS: 250 Ok\nS: 250 Ok\nS: 354 Go\nS: 250 Ok\nC: QUIT\nS: 221 Bye\n", [".", "QUIT"], []),
        ("C: DATA\nC: one\nS: 250 Ok\nS: 250 Ok\nS: 354 Go\nC: two\nC: .\nS: 250 Ok\nC: QUIT\nS: 221 Bye\n", [".", "QUIT"], ["one", "two"]),
        ("C: DATA\nC: one\nC: .\nS: 250 Ok\nS: 250 Ok\nS: 354 Go\nC: QUIT\nS: 250 Ok\nS: 221 Bye\n", [".", "QUIT"], ["one"]),
        ("C: DATA\nC: QUIT\nS: 250 Ok\nS: 550 No\nS: 554 No recipients\nS: 221 Bye\n", ["QUIT"], None),
    ],
)  # fmt: skip
def test_text_that_did_not_wait_for_the_354(rest: str, verbs: list[str], text: list[str] | None) -> None:
    path = Path(FOLDER.name) / "log.dialog"
    path.write_text(AHEAD + rest, encoding="utf-8")
    (dialog,) = read(path)
    assert [exchange.verb for exchange in dialog.exchanges][:4] == ["EHLO", "MAIL", "RCPT", "DATA"]
    assert [exchange.verb for exchange in dialog.exchanges][4:] == verbs
    assert all(exchange.reply for exchange in dialog.exchanges)
    content = next((exchange.content for exchange in dialog.exchanges if exchange.verb == "."), None)
    assert list(content.lines if content else []) == (text or [])


def test_a_client_that_says_nothing_but_data_takes_linear_time() -> None:
    path = Path(FOLDER.name) / "log.dialog"
    path.write_text(
        "S: 220 mx\nC: EHLO a\nS: 250 mx\n" + "C: DATA\n" * 20_000 + "S: 503 No\nS: 503 No\n", encoding="utf-8"
    )
    began = time.process_time()
    (dialog,) = read(path)
    assert len(dialog.exchanges) == 20_001
    assert time.process_time() - began < 10
