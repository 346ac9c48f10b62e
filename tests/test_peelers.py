"""What is taken off a log before its grammar sees it."""

from __future__ import annotations

import html

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smtplog import events
from smtplog.formats.peelers import cut_records, peel_lines
from smtplog.lines import LF, NONE

TEXT = st.text(alphabet="abc <>&'\"=/", max_size=20)


def columns(lines: list[str]) -> tuple[events.Strings, np.ndarray, np.ndarray, np.ndarray]:
    n = len(lines)
    return events.from_list(lines), np.arange(1, n + 1), np.zeros(n, np.uint8), np.full(n, LF, np.uint8)


@given(st.lists(TEXT, min_size=1, max_size=5))
def test_a_page_gives_back_what_was_put_in_it(texts: list[str]) -> None:
    page, *rest = columns([html.escape(f"x{text}") + "<br />" for text in texts])
    assert events.listed(peel_lines(("browser",), page, *rest)[0]) == [f"x{text}" for text in texts]


@given(TEXT.map(lambda text: f"<p>{text}<br>"))
def test_a_line_of_html_is_no_page(line: str) -> None:
    assert events.listed(peel_lines(("browser",), *columns([line]))[0]) == [line]


@given(st.lists(st.lists(st.integers(10, 99), min_size=1, max_size=4), max_size=6))
def test_every_record_is_a_line(records: list[list[int]]) -> None:
    lines = [" ".join(f"[{number}] said {number}" for number in line) for line in records]
    pieces, numbers, _, eol = cut_records(r"\[[0-9]+\] ", *columns(lines))
    assert events.listed(pieces) == [f"[{number}] said {number}" for line in records for number in line]
    assert numbers.tolist() == [i for i, line in enumerate(records, 1) for _ in line]
    assert eol.tolist() == [end for line in records for end in [NONE] * (len(line) - 1) + [LF]]
