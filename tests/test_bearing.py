"""Which lines a shape is tried on: those that hold all of its strings, found in whatever way costs least."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from smtplog import events
from smtplog.formats.readers import Bearing

WORDS = st.text("ab> é", max_size=6)


@given(
    st.lists(WORDS, min_size=1, max_size=60),
    st.lists(st.text("ab> é", min_size=1, max_size=3), max_size=3),
    st.integers(1, 20),
)
def test_those_that_hold_all_of_the_strings(lines: list[str], literals: list[str], often: int) -> None:
    lines = lines[:1] * 40 * (often - 1) + lines  # some strings are seldom, some in nearly all lines
    at = np.arange(len(lines))
    column = events.take(events.from_list(["ab", *lines]), at + 1)  # its octets do not begin the buffer
    found = Bearing(column).those(at, tuple(literals)).tolist()
    holding = [i for i, line in enumerate(lines) if all(each in line for each in literals)]
    assert set(holding) <= set(found)  # a string that nearly all lines hold leaves the others in
    if len(literals) == 1 and len(found) < len(lines):
        assert found == holding
