"""Captures: what a terminal showed, read by a grammar of the whole session.

A capture is cut at session openings (:mod:`smtplog.formats.pieces`); a piece goes through the peelers and then lark. A piece
that holds replies only (no local echo) is seen as such first, and a log of another format inside it is read as such.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from smtplog import events, speech
from smtplog.errors import StoppedError
from smtplog.events import CLIENT, CLOSED, CONTENT, NOTE, OPENED, SERVER, TLS, Events
from smtplog.formats.clock import Calendar, Clock
from smtplog.formats.declaration import Declaration
from smtplog.formats.detection import fits, turned
from smtplog.formats.peelers import ASIDE, LINE_BY_LINE, peel_piece
from smtplog.formats.pieces import Cutter, Piece
from smtplog.formats.readers import Reader, block_flags, reader
from smtplog.formats.terminals import ENDED, SAID
from smtplog.grammar import lark, whole
from smtplog.lines import Block

_LARGEST = 16 << 20  # octets that are gathered before they are cut into pieces
_NO_LINE = r"^\n"  # fits no line
_BEGINS = "220 "  # what begins a session, put before an excerpt from the middle of one


class CaptureReader(Reader):
    """Reads a capture piece by piece."""

    def __init__(self, declaration: Declaration, *, swapped: bool = False, calendar: Calendar | None = None) -> None:
        super().__init__(declaration, swapped=swapped, calendar=calendar)
        self._parser = lark(declaration.path, ("start",))
        self._terminals = {terminal.name.rpartition("__")[2]: terminal for terminal in self._parser.terminals}
        self._server = re.compile(declaration.head["server"])
        self._client = re.compile(declaration.head["client"])
        self._aside = re.compile(declaration.head["aside"])
        local = [
            self._whole(name) for name in ("OPENED", "CLOSED", "LOST", "TLS_ON", "SHELL", "HEADER", "LOCAL", "BLANK")
        ]
        self._local = "|".join(local)
        self._begins = re.compile(self._whole("OPENED", "TLS_ON", "GREETING", "HELLO_LINE"))
        self._cutter = Cutter(self._whole("OPENED", "SHELL"), self._whole("LOST", "HEADER"), self._local)
        self._lines: list[str] = []
        self._numbers: list[int] = []
        self._marks: list[tuple[int, int]] = []
        self._size = 0
        self._inside: dict[str, Clock] = {}  # of the logs of other formats inside
        self.replies_only = False
        self.reached: dict[str, list[int]] | None = (
            None  #: rule or terminal → where it began to read, if that is wanted
        )

    @property
    def names(self) -> set[str]:
        """The rules and terminals that a tree may hold."""
        rules = (rule for rule in self._parser.rules if not (rule.options.expand1 or rule.origin.name.startswith("_")))
        return {*self._terminals, *(rule.origin.name.rpartition("__")[2] for rule in rules)}

    @property
    def assumed(self) -> list[str]:
        return list(dict.fromkeys(told for clock in self._inside.values() for told in clock.assumed))

    def _whole(self, *terminals: str) -> str:
        """The regular expression of lines that are one of these terminals; a grammar may do without them."""
        there = (self._terminals[name].pattern.to_regexp() for name in terminals if name in self._terminals)
        return "|".join(f"^(?:{_without_end(pattern)})$" for pattern in there) or _NO_LINE

    def read(self, block: Block) -> Events:
        flags = block_flags(block)
        parts = []
        for i in range(len(block)):
            if self._size > _LARGEST:
                parts.append(self._flushed())
            self._lines.append(block.line(i))
            self._numbers.append(block.first + i)
            self._marks.append((int(flags[i]), int(block.eol[i])))
            self._size += len(self._lines[-1])
        return Events.concat(parts) if parts else _events([], [], [], [])

    def finish(self) -> Events | None:
        return self._flushed() if self._lines else None

    def _flushed(self) -> Events:
        """The events of all lines that were gathered."""
        lines = peel_piece([name for name in self.declaration.peel if name in LINE_BY_LINE], self._lines)
        parts = [self._piece(piece, lines[piece.start : piece.stop]) for piece in self._cutter.cut(lines)]
        self._lines, self._numbers, self._marks, self._size = [], [], [], 0
        return Events.concat(parts)

    def _piece(self, piece: Piece, lines: list[str]) -> Events:
        if piece.declaration is not None:
            return self._read_inside(piece.declaration, lines, piece.start)
        lines = [line.replace("\0", "") for line in lines]
        lines = peel_piece([name for name in self.declaration.peel if name not in LINE_BY_LINE], lines)
        lines = [ASIDE + line if self._aside.search(line) else line for line in lines]
        if piece.replies_only:
            self.replies_only = True
            said = self._replies(lines)
        else:
            said = self._parsed(lines, self._numbers[piece.start])
        return self._located(said, lines, piece.start)

    def _read_inside(self, declaration: Declaration, lines: list[str], start: int) -> Events:
        """A piece that is a log of another format, as of a program run in the terminal."""
        column = events.from_list(lines)
        terminal = events.found(column, self._local) & ~fits(
            declaration, column
        )  # a shell's prompt is none of its lines
        texts = [b"" if mark else line.encode() for line, mark in zip(lines, terminal.tolist(), strict=True)]
        offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int32)
        marks = np.array(self._marks[start : start + len(lines)], np.uint8).reshape(-1, 2)
        first = self._numbers[start]
        block = Block(b"".join(texts), offsets, marks[:, 1], np.zeros(len(texts), np.uint8), first)
        inside = reader(declaration, swapped=turned(declaration, block), calendar=self.clock.calendar)
        inside.clock = self._inside.setdefault(declaration.slug, inside.clock)
        found = Events.concat([part for part in (inside.read(block), inside.finish()) if part is not None])
        found.flags = found.flags | marks[found.line - first, 0]
        self._counted(inside.not_understood, inside.first_not_understood)
        rest = np.setdiff1d(first + np.arange(len(lines)), found.line)
        notes = _events([NOTE] * len(rest), [lines[i] for i in (rest - first).tolist()], rest.tolist(), [])
        both = Events.concat([found, notes])
        return both.take(np.argsort(both.line, kind="stable"))

    def _located(self, said: list[tuple[int, str, int, int]], lines: list[str], start: int) -> Events:
        """(kind, text, position of the line in the piece, flags) → events."""
        at = [start + position for _, _, position, _ in said]
        texts = [text.replace(ASIDE, "") for _, text, _, _ in said]
        found = _events([kind for kind, _, _, _ in said], texts, [self._numbers[i] for i in at], [])
        found.flags = np.array([flags | self._marks[i][0] for i, (*_, flags) in zip(at, said, strict=True)], np.uint8)
        found.eol = np.array([self._marks[i][1] for i in at], np.uint8)
        for name, pattern in (("server", self._server), ("client", self._client)):
            names = [_named(pattern, lines[i]) if kind in (OPENED, TLS) else "" for kind, _, i, _ in said]
            setattr(found, name, events.encoded(events.from_list(names)))
        return found

    @staticmethod
    def _replies(lines: list[str]) -> list[tuple[int, str, int, int]]:
        """The server's side alone; its commands are concluded where sessions are made."""
        return [(SERVER if speech.code_of(line) else NOTE, line, i, 0) for i, line in enumerate(lines)]

    def _parsed(self, lines: list[str], first: int) -> list[tuple[int, str, int, int]]:
        at = self._in_mid_session(lines)
        put = [*lines[:at], _BEGINS, *lines[at:]] if at is not None else lines
        try:
            tree = whole(self._parser, "\n".join(put) + "\n", self.declaration.path)
        except StoppedError as error:
            error.line += first - 1
            raise
        said: list[tuple[int, str, int, int]] = []
        strange: list[int] = []
        begun: list[str] = []
        for token, rule in _reading(tree):
            if token is None:
                begun.append(rule)
                continue
            kind = token.type.rpartition("__")[2]
            position = token.line - 1
            if at is not None and position >= at:
                position -= 1
                if position < at:  # the line that was put there
                    begun.clear()
                    continue
            if self.reached is not None:
                for name in (*begun, kind):
                    self.reached.setdefault(name, []).append(first + position)
            begun.clear()
            lines = token.removesuffix("\n").split("\n")
            if kind == "CHATTER":
                strange += [first + position + i for i, line in enumerate(lines) if line.strip()]
            said += self._told(kind, rule, lines, position)
        self._strange(np.array([] if self.declaration.noise else strange, np.int64))
        return _openings(said)

    def _in_mid_session(self, lines: list[str]) -> int | None:
        """Where the words of a piece begin that does not hold the beginning of its session: an excerpt was cut out of it.
        None where it holds one, or where it is no dialog."""
        if not self._begins.match(_BEGINS) or any(self._begins.match(line) for line in lines):
            return None
        told = [i for i, line in enumerate(lines) if speech.code_of(line) or speech.is_command(line)]
        replies = sum(speech.code_of(lines[i]) > 0 for i in told)
        within = sum(1 for line in lines[told[0] :] if line.strip()) if told else 0
        return told[0] if 0 < replies < len(told) and len(told) >= max(3, within / 4) else None

    def _told(self, kind: str, rule: str, lines: list[str], position: int) -> list[tuple[int, str, int, int]]:
        """What the lines of a token say."""
        if kind in ("MESSAGE", "MESSAGE_CUT"):
            return self._message(lines, position, ended=kind == "MESSAGE")
        if kind == "NOT_SENT":
            kinds = [CLOSED if line == "DONE" else NOTE for line in lines]
            texts = ["client" if line == "DONE" else line for line in lines]
        elif kind == "GLUED" and (at := lines[0].rfind("421")) >= 0:
            return [(NOTE, lines[0][:at], position, 0), (SERVER, lines[0][at:], position, 0)]
        else:
            what = CLIENT if kind == "BLANK" and rule == "typed_nothing" else SAID.get(kind, NOTE)
            kinds = [what] * len(lines)
            texts = [self._closed_by(line) if what == CLOSED else line for line in lines]
        return [(what, text, position + i, 0) for i, (what, text) in enumerate(zip(kinds, texts, strict=True))]

    def _message(self, lines: list[str], position: int, *, ended: bool) -> list[tuple[int, str, int, int]]:
        said = [(NOTE if line.startswith(ASIDE) else CONTENT, line, position + i, 0) for i, line in enumerate(lines)]
        if ended:
            last = lines[-1]
            where = position + len(lines) - 1
            if last.rstrip() == ".":
                said[-1] = (CLIENT, last, where, 0)
            elif self._is("LOST", last):
                said[-1] = (CLOSED, self._closed_by(last), where, 0)
            elif self._is("HEADER", last):
                said[-1] = (ENDED, last, where, 0)
            else:  # a time-out or a banner, on its own or after half a line of typing
                at = last.rindex("421") if not self._is("GREETING", last) and "421" in last else 0
                said[-1:] = [(CONTENT, last[:at], where, 0)] * (at > 0) + [(SERVER, last[at:], where, 0)]
        return said

    def _is(self, terminal: str, line: str) -> bool:
        known = self._terminals.get(terminal)
        return known is not None and re.fullmatch(known.pattern.to_regexp(), line + "\n") is not None

    @staticmethod
    def _closed_by(line: str) -> str:
        mine = line.startswith(("Connection closed.", "DONE", "read:errno")) or "renegotiat" in line
        return "client" if mine and "foreign" not in line else "server"


def _openings(said: list[tuple[int, str, int, int]]) -> list[tuple[int, str, int, int]]:
    """One opening and one mark of TLS a session, however many lines tell of them."""
    found: list[tuple[int, str, int, int]] = []
    opened = tls = False
    for kind, text, position, flags in said:
        last = found[-1][0] if found else NOTE
        if kind == OPENED and opened and last != OPENED:
            kind = NOTE
        elif kind == OPENED:
            tls = tls and opened
        elif kind == TLS:
            if not (opened or tls):
                found.append((OPENED, text, position, flags))
                opened = True
            kind, text = (NOTE, text) if tls else (TLS, "active")
            tls = True
        elif kind == ENDED:
            kind, opened, tls = NOTE, False, False
        elif kind in (CLIENT, SERVER, CLOSED):
            opened = False
            tls = tls and kind != CLOSED
        opened = opened or kind == OPENED
        found.append((kind, text, position, flags))
    return found


def _without_end(pattern: str) -> str:
    """The regular expression of a line without its line feed, which may be escaped."""
    return pattern.removesuffix("\n").removesuffix("\\")


def _named(pattern: re.Pattern[str], text: str) -> str:
    """What the first group that took part found."""
    match = pattern.search(text)
    return next((group for group in match.groups() if group), "") if match else ""


def _reading(tree: Any) -> Iterator[tuple[Any, str]]:
    """The tokens of a tree in their order, each with the rule it stands in; (None, rule) where a rule begins."""
    stack = [(tree, "")]
    while stack:
        node, rule = stack.pop()
        if hasattr(node, "children"):
            rule = str(node.data).rpartition("__")[2]
            yield None, rule
            stack += [(child, rule) for child in reversed(node.children)]
        else:
            yield node, rule


def _events(kinds: list[int], texts: list[str], lines: list[int], flags: list[int]) -> Events:
    return Events.build(
        np.array(kinds, np.uint8),
        np.array(lines, np.int64),
        events.from_list(texts),
        flags=np.array(flags or [0] * len(kinds), np.uint8),
    )
