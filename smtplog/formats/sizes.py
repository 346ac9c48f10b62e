"""Chunks of the wire whose size stands on the line above them: so many octets follow, whatever they look like.

A program that shows what it read writes a line end behind each chunk, so a chunk that ends with a line is followed by an empty
line, and one that ends in mid-line goes on in the next chunk of its side.
"""

from __future__ import annotations

import numpy as np

from smtplog import events
from smtplog.events import FALLBACK, Events, Strings
from smtplog.lines import CRLF, END_OCTETS


class Sizes:
    """Which lines of one log a size covers, block by block."""

    def __init__(self, heading: np.ndarray, said: np.ndarray, part: int) -> None:
        """Which roles have a size as their text; which are those of a whole line below it; and the role of one that need not
        end where its line ends."""
        self._heading, self._is_said, self._part = heading, said, part
        self._said = int(np.flatnonzero(said)[0])
        self._due = 0  # octets of the chunk that are still to come
        self._lost = False  # the log was written again with LF for CRLF
        self._seen = False  # whether a chunk was seen, which tells that

    def covered(self, found: Events, rule: np.ndarray, lines: Strings) -> tuple[Events, np.ndarray]:
        """The lines of a block: those that a size covers are said, what stands between the chunks is gone."""
        texts, ends, roles = events.listed(lines), found.eol.tolist(), rule.tolist()
        odd = (found.flags & FALLBACK) > 0
        sizes = events.lengths(lines)
        if odd.any():  # decoded one to one
            sizes = np.array([len(text) if each else size for text, each, size in zip(texts, odd, sizes, strict=True)])
        sized, keep = sizes.tolist(), np.ones(len(rule), np.bool_)
        changed: dict[int, str] = {}
        opens, said = self._heading[rule].tolist(), self._is_said[rule].tolist()
        for i, size in enumerate(sized):
            if self._due <= 0:
                if opens[i]:
                    self._due = int(texts[i])
                else:
                    keep[i] = not said[i]
                continue
            if not self._seen:
                self._seen = True
                self._lost = ends[i] != CRLF and self._due - size not in (0, 1)
            end = 2 if self._lost else END_OCTETS[ends[i]]
            self._due -= size + end
            if not said[i]:
                changed[i] = texts[i]
            roles[i] = self._said
            if self._due < 0 or (ends[i] != CRLF and not self._lost):  # in mid-line; or a bare LF
                roles[i] = self._part
                changed[i] = texts[i] if self._due < 0 else texts[i] + "\n"
        if changed:
            found.text = events.replaced_at(found.text, np.array(list(changed)), list(changed.values()))
        at = np.flatnonzero(keep)
        return (found if keep.all() else found.take(at)), np.array(roles, np.int16)[at]
