"""Where a capture is cut: at session openings, and around the log of another format that a program wrote into the terminal."""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass

import numpy as np

from smtplog import events, speech
from smtplog.formats.declaration import Declaration
from smtplog.formats.detection import fits, labelled

_QUOTED = " \t>`"  # what may stand before a line that was pasted


@dataclass(frozen=True, slots=True)
class Piece:
    """Some lines of a capture that are read in one go."""

    start: int
    stop: int
    declaration: Declaration | None = None  #: the format of a log inside the capture
    replies_only: bool = False  #: only the server's side of it was logged


class Cutter:
    """Cuts the lines of a capture. ``opening`` and ``local`` are the regular expressions of the lines at which a session
    begins and of those that nobody said, ``closing`` of those that end a message without its dot."""

    def __init__(self, opening: str, closing: str, local: str) -> None:
        self._opening, self._closing, self._local = opening, closing, local

    def cut(self, lines: list[str]) -> list[Piece]:
        """The pieces, in order; every line is in one of them."""
        bare = [line.lstrip(_QUOTED) for line in lines]
        column = events.from_list(bare)
        opens, closes = events.found(column, self._opening), events.found(column, self._closing)
        text = self._message_text(bare, opens, closes)
        spoken = np.array([speech.code_of(line) > 0 for line in bare], np.bool_)
        marked = labelled(events.from_list(["" if inside else line for line, inside in zip(lines, text, strict=True)]))
        hits = np.zeros(len(lines), np.bool_)
        for _, stands in marked:
            hits |= stands
        found: list[Piece] = []
        start, said = 0, False
        for at in range(len(lines) + 1):
            if at == len(lines) or (opens[at] and not text[at] and said):
                found += self._with_logs(lines, Piece(start, at), marked, spoken & ~text, closes)
                start, said = at, False
            said = said or (at < len(lines) and bool(spoken[at] or hits[at]))
        mine: list[Piece] = []
        for piece in found:
            mine += [piece] if piece.declaration else self._by_sides(lines, bare, piece)
        return [piece for piece in mine if piece.stop > piece.start]

    @staticmethod
    def _message_text(bare: list[str], opens: np.ndarray, closes: np.ndarray) -> np.ndarray:
        """Which lines are message text. A line between 354 and the dot that looks like the opening of another session is text
        where the dot comes before another 354; otherwise the log stops inside the message."""
        dots = [i for i, line in enumerate(bare) if line.rstrip() == "."]
        go_ahead = [i for i, line in enumerate(bare) if line.startswith("354") and speech.code_of(line) == 354]
        lost, ends = np.flatnonzero(closes).tolist(), np.flatnonzero(opens | closes).tolist()
        text = np.zeros(len(bare), np.bool_)
        done = -1
        for start in go_ahead:
            if start <= done:
                continue
            end, later = _next(dots, start), _next(go_ahead, start)
            if end is None or (later is not None and later < end):
                end = _next(ends, start) or start + 1
            else:
                end = min(end, _next(lost, start) or end)
            text[start + 1 : end] = True
            done = end
        return text

    @staticmethod
    def _with_logs(
        lines: list[str],
        piece: Piece,
        marked: list[tuple[Declaration, np.ndarray]],
        spoken: np.ndarray,
        closes: np.ndarray,
    ) -> list[Piece]:
        """A piece, cut around the log of another format inside it: from its first marked line to its last, and what fits its
        grammar before and behind. Where the terminal shows no session beside it, all of the piece is that log."""
        counted = [(int(stands[piece.start : piece.stop].sum()), each, stands) for each, stands in marked]
        count, declaration, stands = max(counted, key=lambda one: one[0], default=(0, None, closes))
        if declaration is None or count < max(declaration.least, 2):
            return [piece]
        at = piece.start + np.flatnonzero(stands[piece.start : piece.stop])
        fitting = fits(declaration, events.from_list(lines[piece.start : piece.stop]))
        first, last = int(at[0]), int(at[-1]) + 1
        while first > piece.start and fitting[first - 1 - piece.start]:
            first -= 1
        while last < piece.stop and fitting[last - piece.start]:
            last += 1
        if not spoken[piece.start : first].any():
            first = piece.start
        if not spoken[last : piece.stop].any():
            last = piece.stop
        return [Piece(piece.start, first), Piece(first, last, declaration), Piece(last, piece.stop)]

    def _by_sides(self, raw: list[str], bare: list[str], piece: Piece) -> list[Piece]:
        """A piece, cut at its greetings into what both sides said and what only the server's side is logged of."""
        lines = bare[piece.start : piece.stop]
        local = events.found(events.from_list(lines), self._local)
        local |= events.found(events.from_list(raw[piece.start : piece.stop]), self._local)
        codes = [speech.code_of(line) for line in lines]
        edges = [i for i, code in enumerate(codes) if code == 220 and _greets(lines, codes, i)] + [len(codes)]
        found: list[Piece] = []
        begun = 0
        for start, stop in itertools.pairwise(edges):
            replies = [i for i in range(start, stop) if codes[i]]
            end = replies[-1] + 1
            if len(replies) > 2 and all(
                codes[i] or (local[i] and not speech.is_command(lines[i])) for i in range(start, end)
            ):
                found += [Piece(piece.start + begun, piece.start + start)]
                found += [Piece(piece.start + start, piece.start + end, replies_only=True)]
                begun = end
        return [*found, Piece(piece.start + begun, piece.stop)]


def _next(places: list[int], at: int) -> int | None:
    """The first of some places, in order, behind this one."""
    later = bisect.bisect_right(places, at)
    return places[later] if later < len(places) else None


def _greets(bare: list[str], codes: list[int], at: int) -> bool:
    """Whether a 220 is a greeting, by its words or the reply before it, and not one to STARTTLS."""
    before = next((i for i in range(at - 1, max(at - 40, -1), -1) if codes[i]), None)
    if before is None:
        return True
    goes_on = bare[before][3:4] == "-"
    return not goes_on and ("SMTP" in bare[at] or codes[before] in (220, 221, 421, 554))
