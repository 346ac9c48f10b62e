"""The parts of the C:/S: notation that one line alone does not say: raw octets, folded lines, times of their own."""

from __future__ import annotations

import re

import numpy as np

from smtplog import events
from smtplog.events import AS_SENT, CLIENT, FALLBACK, NO_TIME, SERVER, Events
from smtplog.lines import CR, CRLF, LF, NONE

_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_NAMED = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\", b"0": b"\0"}
_RAW_LINE = re.compile(rb"([^\r\n]*)(\r+\n|\n|\r\x00*|$)")


class Unfolder:
    """Turns the events of one block into the events they stand for; keeps the clock for the next."""

    def __init__(self, clock: int) -> None:
        self.clock = clock

    def unfold(self, found: Events, rules: list[str]) -> Events:
        """``rules`` names the rule of each event."""
        texts = events.listed(found.text)
        index: list[int] = []
        words: list[str] = []
        kinds: list[int] = []
        eols: list[int] = []
        flags: list[int] = []
        times: list[int] = []
        last = -1  # the line of the log that the last event ends on
        for i, (rule, text) in enumerate(zip(rules, texts, strict=True)):
            if rule == "clock":
                self.clock = int(found.time[i])
            elif rule == "wait":
                self._wait(text)
            elif rule == "more":
                if index and last == found.line[i] - 1 and kinds[-1] in (CLIENT, SERVER):
                    words[-1] = f"{words[-1]} {text.strip()}"
                    last = int(found.line[i])
            else:
                # C: and S: stand for whole lines, their CRLF implied
                pieces = raw_lines(text) if rule.endswith("_raw") else [(text, CRLF, int(found.flags[i]))]
                for piece, eol, flag in pieces:
                    index.append(i)
                    flags.append(flag)
                    last = int(found.line[i])
                    words.append(piece)
                    kinds.append(int(found.kind[i]))
                    eols.append(eol)
                    times.append(self.clock)
        taken = found.take(np.array(index, np.int64))
        taken.text = events.from_list(words)
        taken.kind = np.array(kinds, np.uint8)
        taken.eol = np.array(eols, np.uint8)
        taken.flags = np.array(flags, np.uint8)
        taken.time = np.array(times, np.int64)
        return taken

    def _wait(self, text: str) -> None:
        if match := re.match(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)s?$", text.strip()):
            start = 0 if self.clock == NO_TIME else self.clock
            self.clock = start + round(float(match[1]) * 1_000_000)


def raw_lines(escaped: str) -> list[tuple[str, int, int]]:
    """The lines that a text with the escapes ``\\r \\n \\t \\0 \\xNN \\\\`` holds, each with the code of its line end and its
    flags. A line that is no UTF-8 is decoded one to one."""
    octets = _ESCAPE.sub(
        lambda m: bytes([int(m[1], 16)]) if m[1] else _NAMED.get(m[2], m[0]), escaped.encode("utf-8", "replace")
    )
    found: list[tuple[str, int, int]] = []
    for match in _RAW_LINE.finditer(octets):
        if match.end() == match.start() and found:
            break
        end = NONE if not match[2] else LF if match[2] == b"\n" else CRLF if match[2].endswith(b"\n") else CR
        try:
            found.append((match[1].decode(), end, AS_SENT))
        except UnicodeDecodeError:
            found.append((match[1].decode("latin-1"), end, AS_SENT | FALLBACK))
    return found
