"""Lines of a log put together: what the suffixes of rules mean, on lines that only differ in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtplog.formats.assembly import unescaped

ESCAPED = st.binary(max_size=40)


@given(ESCAPED)
def test_a_python_literal_gives_back_its_octets(octets: bytes) -> None:
    assert unescaped(repr(octets)[2:-1]) == octets


@pytest.mark.parametrize(
    ("literal", "octets"),
    [
        (r"\#{x} \"y\" \e", b'#{x} "y" \x1b'),  # Ruby's String#dump
        (r"\a\b\t\n\v\f\r", bytes(range(7, 14))),
        (r"\u00e9\u{1F600}", "é😀".encode()),
        (r"http:\/\/example.org\/", b"http://example.org/"),  # JSON as PHP writes it
        (r"C:\q", rb"C:\q"),  # no escape at all: it stays
    ],
)
def test_literals_of_other_languages(literal: str, octets: bytes) -> None:
    assert unescaped(literal) == octets
