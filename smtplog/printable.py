"""Texts of others as a terminal may see them."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """A text of a log as a terminal may see it: controls in caret or \\x notation, no bidirectional overrides."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(c) for c in text)


def _visible(c: str) -> str:
    number = ord(c)
    if c == "\t":
        return " "
    if number < 32:
        return "^" + chr(number + 64)
    if number == 127:
        return "^?"
    if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"
    return c
