"""The C:/S: notation (RFC 5321 appendix D): what ``show`` prints, what the format ``cs-dialog`` reads back.

``C: `` and ``S: `` are lines, their line ends implied. ``C!: `` and ``S!: `` hold raw octets with the escapes ``\\r \\n \\t \\\\ \\xNN``
and no implied line end. ``C?: `` is a command that the log does not hold. ``*: `` is an event: ``connect [client -> server]``,
``close [client|server|timeout]``, ``tls ok|active|failed``, ``gap …``, ``at <ISO time>`` (the time of the lines that follow).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate

from smtplog.model import Dialog, Exchange, Reply

#: What stands for something else in this notation: what a document says between the lines.
_DIRECTION = re.compile(r"<[^<>]*(?:connection|TLS|SSL)[^<>]*>|\.{3,}|\[\.{3}[^\[\]]*\]|…")
_ENDS = {"crlf": "\\r\\n", "lf": "\\n", "cr": "\\r", "none": ""}


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """One line of the notation and where it stands in the log."""

    text: str
    line: int  #: of the log; 0 where the log holds none
    time: datetime | None = None
    exchange: int | None = None  #: index of the exchange whose command or reply it is


def script(dialog: Dialog) -> list[ScriptLine]:
    """The lines of a dialog in the order of the log."""
    crlf = any(exchange.eol == "crlf" for exchange in dialog.exchanges)
    found: list[
        tuple[tuple[float, float, int], ScriptLine]
    ] = []  # by line; those of one line of the log as they were said
    if dialog.greeting:
        found += [((each.line, -1, 1), each) for each in _reply(dialog.greeting, None)]
    at = 0.0
    for i, exchange in enumerate(dialog.exchanges):
        lines = list(_exchange(exchange, i, crlf, at))
        if i and _further(dialog.exchanges[i - 1], exchange):
            lines = [(key, line) for key, line in lines if line.text.startswith("S")]
        at = max((line for (line, _), each in lines if not each.text.startswith("S")), default=at)
        found += [((line, i, side), each) for (line, side), each in lines]
    for event in dialog.events:
        text = _event(event.kind, event.text, dialog)
        if text:
            place = -2 if event.kind == "opened" else event.before - 0.5
            found.append(((event.line, place, 2), ScriptLine(text, event.line, event.time)))
    found.sort(key=lambda item: item[0])
    return [line for _, line in found]


def _further(before: Exchange, exchange: Exchange) -> bool:
    """Whether this is a further reply to the same end of data, as LMTP gives one a recipient (RFC 2033 section 4.2)."""
    return before.recipient is not None and exchange.recipient is not None and before.line == exchange.line is not None


def _exchange(
    exchange: Exchange, index: int, crlf: bool, after: float
) -> Iterator[tuple[tuple[float, int], ScriptLine]]:
    reply = exchange.reply
    if exchange.command is not None:
        at = exchange.line if exchange.line is not None else after
        if exchange.line is None and reply is not None:
            at = max(reply.line - 0.5, min(after, reply.line))  # a row of a log may hold more than one exchange
        if exchange.inferred:
            text = f"C?: {exchange.command}".rstrip(" ") if exchange.command else "C?:"
        else:
            text = _said("C", exchange.command, exchange.eol, crlf)
        if exchange.verb == "." and exchange.line is None and exchange.content is not None:
            at = max(at, exchange.content.numbers[-1] + 0.5)
        said = [((at, 0), ScriptLine(text, exchange.line or 0, exchange.time, index))]
        text_lines = [((at, 0), each) for each in _content(exchange, index, crlf)]
        if exchange.verb == "DATA" and exchange.content is not None:  # the text was never ended
            text_lines = [((exchange.content.line, 0), each) for _, each in text_lines]
        yield from text_lines + said if exchange.verb == "." else said + text_lines
    if reply is not None:
        for each in _reply(reply, index):
            yield (each.line, 1), each


def _content(exchange: Exchange, index: int, crlf: bool) -> Iterator[ScriptLine]:
    content = exchange.content
    if content is not None:
        for line, eol, number in zip(content.lines, content.eol, content.numbers, strict=True):
            yield ScriptLine(_said("C", line, eol, crlf), number, None, index)


def _reply(reply: Reply, index: int | None) -> list[ScriptLine]:
    spread = reply.end_line - reply.line == len(reply.raw) - 1
    return [
        ScriptLine(_said("S", raw, "crlf", True), reply.line + i if spread else reply.line, reply.time, index)
        for i, raw in enumerate(reply.raw)
    ]


def _said(side: str, text: str, eol: str, crlf: bool) -> str:
    odd_end = crlf and eol in ("lf", "cr")
    plain = text == text.strip(" \t") and "{" not in text and all(32 <= ord(c) != 127 for c in text)
    if odd_end or not plain or _DIRECTION.fullmatch(text):
        return f"{side}!: {escaped(text)}{_ENDS[eol] if odd_end else _ENDS['crlf']}"
    return f"{side}: {text}" if text else f"{side}:"


def notation(side: str, octets: bytes) -> str:
    """A line of the wire, its end included, as a line of this notation; octets that are no UTF-8 as ``\\xNN``."""
    text, end = octets.removesuffix(b"\n").removesuffix(b"\r"), octets[len(octets.rstrip(b"\r\n")) :]
    try:
        said = text.decode()
    except UnicodeDecodeError:
        said = text.decode("latin-1")
        spelled = "".join(c if c.isascii() else f"\\x{ord(c):02x}" for c in escaped(said))
        return f"{side}!: {spelled}{end.decode().encode('unicode_escape').decode()}"
    if end == b"\r\n":
        return _said(side, said, "crlf", True)
    return f"{side}!: {escaped(said)}{end.decode().encode('unicode_escape').decode()}"


def escaped(text: str) -> str:
    """A line with the escapes of ``C!:``."""
    named = {"\r": "\\r", "\n": "\\n", "\t": "\\t", "\\": "\\\\"}
    edges = {0, len(text) - 1}
    return "".join(
        named.get(c)
        or (f"\\x{ord(c):02x}" if ord(c) < 32 or ord(c) == 127 or c == "{" or (c == " " and i in edges) else c)
        for i, c in enumerate(text)
    )


def _event(kind: str, text: str, dialog: Dialog) -> str:
    if kind == "opened":
        ends = f" {dialog.client or '-'} -> {dialog.server or '-'}" if dialog.client or dialog.server else ""
        return f"*: connect{ends}"
    if kind == "closed":
        return f"*: close {text}".rstrip()
    if kind == "tls":
        return f"*: tls {text or 'ok'}"
    if kind == "gap":
        return f"*: gap {text}".rstrip()
    return ""


def show(dialog: Dialog) -> str:
    """A dialog in the C:/S: notation, times where they change."""
    lines: list[str] = []
    now: datetime | None = None
    for each in script(dialog):
        if each.time is not None and each.time != now:
            now = each.time
            lines.append(f"*: at {now.isoformat()}")
        lines.append(each.text)
    return "\n".join(lines) + "\n"


class Excerpts:
    """The lines of a dialog around places of its log, a marker under the fault."""

    def __init__(self, dialog: Dialog) -> None:
        self._all = script(dialog)
        self._said = [each for each in self._all if not each.text.startswith("*: connect")]
        self._opened = {each.line for each in self._all if each.text.startswith("*: connect")}
        self._reached = {
            id(lines): list(accumulate((each.line for each in lines), max)) for lines in (self._all, self._said)
        }

    def at(self, line: int, column: int | None = None) -> str:
        """Two lines before, the faulty one with the marker under it, and what belongs to the same exchange, five lines at most."""
        lines = self._all if line in self._opened else self._said
        if not lines:
            return ""
        at = min(bisect_left(self._reached[id(lines)], line), len(lines) - 1)
        near = range(at, min(at + _MORE + 1, len(lines)))
        exchange = lines[at].exchange
        same = [i for i in near if exchange is not None and lines[i].exchange == exchange]
        shown: list[str] = []
        for i in range(max(at - 2, 0), max([at, *same]) + 1):
            if i == at:
                shown += _marked(lines[i].text, column)
            else:
                shown.append(_cut(lines[i].text))
        return "\n".join(shown)


_MORE = 5  # lines after the faulty one
_WIDTH = 160  # characters of a line in an excerpt
_SPELLED = re.compile(r"\\x[0-9a-f]{2}|\\.|.", re.DOTALL)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 3] + "..."


def _marked(text: str, column: int | None) -> tuple[str, str]:
    """A line and the marker under the fault: under the column of the command line, however that is spelled, or under all of
    it. A long line is cut around the fault."""
    start = text.find(": ") + 2
    if column is None:
        return _cut(text), " " * start + "^" * min(max(len(text) - start, 1), 100)
    at = start + column - 1
    if text[:start].endswith("!: "):
        at = start + sum(len(spelled) for spelled in _SPELLED.findall(text[start:])[: column - 1])
    if at > _WIDTH - 10:
        cut = at - _WIDTH // 2
        text, at = f"{text[:start]}...{text[cut:]}", start + 3 + at - cut
    return _cut(text), " " * at + "^"
