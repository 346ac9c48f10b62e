"""Chunks of the wire whose size stands on the line above them: so many octets follow, whatever they look like.

A program that shows what it read writes a line end behind each chunk, so a chunk that ends with a line is followed by an empty
line, and one that ends in mid-line goes on in the next chunk of its side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from smtplog import events
from smtplog.events import FALLBACK, Events, Strings
from smtplog.formats.roles import Role
from smtplog.lines import CRLF, END_OCTETS


class Sizes:
    """Which lines of one log a size covers, block by block."""

    def __init__(self, roles: Sequence[Role], side: np.ndarray) -> None:
        """``side`` is the kind of the lines below each heading. Where a log has other forms too, their sessions open without the
        suffix ``sized``, and what looks like a size is octets in hexadecimal digits. One role is new: of a line that need not
        end where the log's line ends."""
        rules = [role.rule for role in roles]
        self.part = Role("said_part")
        self._said = [number for number, rule in enumerate(rules) if rule == "said"]
        self._heading = [role.heading >= 0 and role.has("sized") for role in roles]
        self._opened = [role.name == "opened" for role in roles]
        self._sized = [role.has("sized") for role in roles]
        self._octets = [
            rules.index(octets) if head and (octets := f"{role.words[1]}_hex_part") in rules else -1
            for role, head in zip(roles, self._heading, strict=True)
        ]
        self._side = side
        self._last = len(rules)  # the position of the new role
        self._on = True
        self._due = 0  # octets of the chunk that are still to come
        self._lost = False  # the log was written again with LF for CRLF
        self._seen = False  # whether a chunk was seen, which tells that

    def covered(self, found: Events, rule: np.ndarray, lines: Strings) -> tuple[Events, np.ndarray]:
        """The lines of a block: those that a size covers are said, what stands between the chunks is gone."""
        texts, ends, roles = events.listed(lines), found.eol.tolist(), rule.tolist()
        odd = ((found.flags & FALLBACK) > 0).tolist()
        sizes = events.lengths(lines).tolist()
        keep, changed = np.ones(len(rule), np.bool_), dict[int, str]()
        for i, size in enumerate(sizes):
            role = roles[i]
            if self._due <= 0:
                keep[i] = role not in self._said
                if self._opened[role]:
                    self._on = self._sized[role]
                elif self._heading[role] and self._on:
                    self._due = int(texts[i])
                elif self._heading[role] and self._octets[role] >= 0:
                    roles[i], found.kind[i] = self._octets[role], self._side[role]
                continue
            size = len(texts[i]) if odd[i] else size  # decoded one to one
            if not self._seen:
                self._seen = True
                self._lost = ends[i] != CRLF and self._due - size not in (0, 1)
            self._due -= size + (2 if self._lost else END_OCTETS[ends[i]])
            if role not in self._said:
                changed[i] = texts[i]
            roles[i] = self._said[0]
            if self._due < 0 or (ends[i] != CRLF and not self._lost):  # in mid-line; or a bare LF
                between = self._due == -1 and ends[i] == CRLF  # CR and LF
                roles[i] = self._last
                changed[i] = texts[i] + ("\r" if between else "" if self._due < 0 else "\n")
        if changed:
            found.text = events.replaced_at(found.text, np.array(list(changed)), list(changed.values()))
        at = np.flatnonzero(keep)
        return (found if keep.all() else found.take(at)), np.array(roles, np.int16)[at]
