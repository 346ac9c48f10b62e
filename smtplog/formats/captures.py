"""Captures: what a terminal showed, read by a grammar of the whole session.

A capture is cut at session openings; a piece is at most 16 MiB and goes through the peelers and then lark. A piece that
holds replies only (no local echo) is seen as such first, and its commands are concluded from the replies.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np

from smtplog import events
from smtplog.events import CLIENT, CLOSED, CONTENT, NOTE, OPENED, SERVER, Events
from smtplog.formats.clock import Calendar
from smtplog.formats.declaration import Declaration
from smtplog.formats.detection import events_of, labelled
from smtplog.formats.peelers import peel_piece
from smtplog.formats.readers import Reader, block_flags
from smtplog.formats.replies_only import inferred_commands, is_replies_only
from smtplog.grammar import lark
from smtplog.lines import Block

_LARGEST_PIECE = 16 << 20
_SAID = {
    "OPENED": OPENED,
    "CLOSED": CLOSED,
    "GREETING": SERVER,
    "REPLY": SERVER,
    "REFUSAL": SERVER,
    "GO_AHEAD": SERVER,
    "CHALLENGE": SERVER,
    "UNCODED": SERVER,
    "HELLO_LINE": CLIENT,
    "COMMAND": CLIENT,
    "RESPONSE": CLIENT,
}


class CaptureReader(Reader):
    """Reads a capture piece by piece."""

    def __init__(self, declaration: Declaration, *, swapped: bool = False, calendar: Calendar | None = None) -> None:
        super().__init__(declaration, swapped=swapped, calendar=calendar)
        self._parser = lark(declaration.path, ("start",))
        self._terminals = {terminal.name.rpartition("__")[2]: terminal for terminal in self._parser.terminals}
        self._server = re.compile(declaration.head.get("server", r"(?!)"))
        self._lines: list[str] = []
        self._numbers: list[int] = []
        self._marks: list[tuple[int, int]] = []
        self._size = 0
        self.replies_only = False

    def read(self, block: Block) -> Events:
        cuts = np.flatnonzero(events.found(events.strings(block.data, block.offsets), self.declaration.cut))
        edges = [0, *cuts.tolist(), len(block)]
        parts = []
        for i, (start, stop) in enumerate(itertools.pairwise(edges)):
            if i and self._lines:
                parts.append(self._piece())
            self._gather(block, start, stop)
            if self._size > _LARGEST_PIECE:
                parts.append(self._piece())
        return Events.concat(parts) if parts else _events([], [], [], [])

    def finish(self) -> Events | None:
        return self._piece() if self._lines else None

    def _gather(self, block: Block, start: int, stop: int) -> None:
        flags = block_flags(block)
        for i in range(start, stop):
            self._lines.append(block.line(i))
            self._numbers.append(block.first + i)
            self._marks.append((int(flags[i]), int(block.eol[i])))
            self._size += len(self._lines[-1])

    def _piece(self) -> Events:
        lines = [line.replace("\0", "") for line in peel_piece(self.declaration.peel, self._lines)]
        inside = labelled(events.from_list(lines))
        if inside is not None:
            return self._read_inside(inside, lines)
        said = self._replies_only(lines) if is_replies_only(lines) else self._parsed(lines)
        found = self._located(said)
        self._lines, self._numbers, self._marks, self._size = [], [], [], 0
        return found

    def _read_inside(self, declaration: Declaration, lines: list[str]) -> Events:
        """A piece that is a log of another format, as of a program run in the terminal."""
        texts = [line.encode() for line in lines]
        offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int32)
        marks = np.array(self._marks, np.uint8).reshape(-1, 2)
        found = events_of(declaration, Block(b"".join(texts), offsets, marks[:, 1], np.zeros(len(texts), np.uint8), 0))
        found.line = np.array(self._numbers, np.int64)[found.line]
        self._lines, self._numbers, self._marks, self._size = [], [], [], 0
        return found

    def _located(self, said: list[tuple[int, str, int, int]]) -> Events:
        """(kind, text, position of the line in the piece, flags) → events."""
        kinds = [kind for kind, _, _, _ in said]
        at = [position for _, _, position, _ in said]
        found = _events(kinds, [text for _, text, _, _ in said], [self._numbers[i] for i in at], [])
        found.flags = np.array([flags | self._marks[i][0] for (_, _, i, flags) in said], np.uint8)
        found.eol = np.array([self._marks[i][1] for i in at], np.uint8)
        servers = [self._server_of(text) if kind == OPENED else "" for kind, text, _, _ in said]
        found.server = events.encoded(events.from_list(servers))
        return found

    def _server_of(self, text: str) -> str:
        match = self._server.search(text)
        return match[1] if match else ""

    def _replies_only(self, lines: list[str]) -> list[tuple[int, str, int, int]]:
        self.replies_only = True
        return inferred_commands(lines)

    def _parsed(self, lines: list[str]) -> list[tuple[int, str, int, int]]:
        tree = self._parser.parse("\n".join(lines) + "\n")
        said: list[tuple[int, str, int, int]] = []
        for token, rule in _tokens(tree, "start"):
            kind = token.type.rpartition("__")[2]
            position = token.line - 1
            if kind in ("MESSAGE", "MESSAGE_CUT"):
                said += self._message(token.split("\n")[:-1], position, ended=kind == "MESSAGE")
            elif kind == "GLUED":
                at = token.rindex("421")
                said += [(NOTE, token[:at], position, 0), (SERVER, token[at:-1], position, 0)]
            else:
                typed_nothing = kind == "BLANK" and rule == "typed_nothing"
                what = CLIENT if typed_nothing else _SAID.get(kind, NOTE)
                text = "" if what == CLOSED else token[:-1]
                said.append((what, self._closed_by(token) if what == CLOSED else text, position, 0))
        return said

    def _message(self, lines: list[str], position: int, *, ended: bool) -> list[tuple[int, str, int, int]]:
        said = [(CONTENT, line, position + i, 0) for i, line in enumerate(lines)]
        if ended:
            last = lines[-1]
            where = position + len(lines) - 1
            if last.rstrip() == ".":
                said[-1] = (CLIENT, last, where, 0)
            elif self._is("CLOSED", last):
                said[-1] = (CLOSED, self._closed_by(last), where, 0)
            else:  # a time-out or a banner, on its own or after half a line of typing
                at = last.rindex("421") if not self._is("GREETING", last) and "421" in last else 0
                said[-1:] = [(CONTENT, last[:at], where, 0)] * (at > 0) + [(SERVER, last[at:], where, 0)]
        return said

    def _is(self, terminal: str, line: str) -> bool:
        return re.fullmatch(self._terminals[terminal].pattern.to_regexp(), line + "\n") is not None

    @staticmethod
    def _closed_by(line: str) -> str:
        return "client" if line.strip() == "Connection closed." else "server"


def _tokens(tree: Any, rule: str) -> Any:
    for child in tree.children:
        if hasattr(child, "children"):
            yield from _tokens(child, str(child.data).rpartition("__")[2])
        else:
            yield child, rule


def _events(kinds: list[int], texts: list[str], lines: list[int], flags: list[int]) -> Events:
    return Events.build(
        np.array(kinds, np.uint8),
        np.array(lines, np.int64),
        events.from_list(texts),
        flags=np.array(flags or [0] * len(kinds), np.uint8),
    )
