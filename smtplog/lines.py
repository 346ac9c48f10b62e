"""Bytes to lines: any encoding, any line end, block by block in constant memory.

Every CR and LF ends a line: ``\\r\\n`` and ``\\r\\r\\n`` (a cooked terminal) are crlf, a lone CR (RFC 854 sends CR NUL) is cr. So
the text of a block is its bytes without them. Inside, text is UTF-8; a line that is not valid UTF-8 is decoded one to one
by a single-byte code page and flagged, so that its octets can be given back.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

#: What ended a line; the position is the code in :attr:`Block.eol`.
EOLS = ("crlf", "lf", "cr", "none")
CRLF, LF, CR, NONE = range(4)
END_OCTETS = (2, 1, 1, 0)  #: the size of each

#: Bits of :attr:`Block.flags`.
CUT = 1  # longer than 1 MiB, cut there
FALLBACK = 2  # not valid UTF-8
NUL = 4  # NULs at an edge were dropped

DEFAULT_SIZE = 4 << 20
LONGEST = 1 << 20


@dataclass(slots=True)
class Block:
    """Some whole lines: line i is ``data[offsets[i]:offsets[i+1]]``, number ``first + i``."""

    data: bytes  #: UTF-8, without line ends
    offsets: np.ndarray  #: int32, one more than lines
    eol: np.ndarray  #: uint8, index into EOLS
    flags: np.ndarray  #: uint8
    first: int  #: number of the first line, from 1
    raw: bytes | None = None  #: the same lines with their ends, where all are LF or CRLF and nothing was changed

    def __len__(self) -> int:
        return len(self.eol)

    def line(self, i: int) -> str:
        """The text of line i."""
        return self.data[self.offsets[i] : self.offsets[i + 1]].decode("utf-8")

    def shifted(self, lines: int) -> Block:
        """The same lines, numbered this much higher."""
        return Block(self.data, self.offsets, self.eol, self.flags, self.first + lines, self.raw)


def octets(block: Block, i: int, encoding: str = "latin-1") -> bytes:
    """The octets that line i had in the file."""
    return block.line(i).encode(encoding if block.flags[i] & FALLBACK else "utf-8")


def read_blocks(stream: BinaryIO, *, size: int = DEFAULT_SIZE, encoding: str = "latin-1") -> Iterator[Block]:
    """The lines of a stream, read ``size`` octets at a time. Where it is cut changes nothing but the blocks.

    A byte order mark tells UTF-16; ``encoding`` is the one-to-one code page for lines that are not UTF-8.
    """
    first = 1
    for chunk, last in _whole_lines(_decoded(stream, size)):
        block = _block(chunk, first, encoding, last)
        first += len(block)
        if len(block):
            yield block


def _decoded(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """UTF-8 octets; UTF-16 is recognised by its mark."""
    head = b""
    while len(head) < 3 and (more := stream.read(min(size, 3) if size < 3 else size)):
        head += more
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")):
        if head.startswith(mark):
            decoder = codecs.getincrementaldecoder(name)("replace")
            yield decoder.decode(head[2:]).encode("utf-8", "replace")
            while more := stream.read(size):
                yield decoder.decode(more).encode("utf-8", "replace")
            yield decoder.decode(b"", final=True).encode("utf-8", "replace")
            return
    yield head.removeprefix(codecs.BOM_UTF8)
    while more := stream.read(size):
        yield more


def _whole_lines(chunks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Chunks that end at a line end; whether it is the last. A CR at the very end may have an LF to come."""
    pending: list[bytes] = []
    waiting = 0
    for chunk in chunks:
        at = max(chunk.rfind(b"\n") + 1, _last_cr(chunk))
        if at:
            yield b"".join([*pending, chunk[:at]]), False
            pending, waiting = [chunk[at:]], len(chunk) - at
        else:
            pending.append(chunk)
            waiting += len(chunk)
            if waiting > 4 * LONGEST:  # a line without end: it will be cut, so only its head matters
                joined = b"".join(pending)
                tail = joined[-(LONGEST // 64) :] if joined[-1:] == b"\r" else b""
                pending = [joined[: LONGEST + 8], tail]
                waiting = sum(map(len, pending))
    rest = b"".join(pending)
    if rest:
        yield rest, True


def _last_cr(chunk: bytes) -> int:
    """Behind the last CR and its NULs that no LF, CR or NUL can still follow: one with another octet behind it; 0."""
    settled = len(chunk.rstrip(b"\r\0"))
    at = chunk.rfind(b"\r", 0, settled) + 1
    while 0 < at < settled and chunk[at] == 0:
        at += 1
    return at


_END = re.compile(rb"\r+\n|\n|\r\x00*")


def _block(chunk: bytes, first: int, encoding: str, last: bool) -> Block:
    if b"\0" not in chunk and _is_utf8(chunk):
        plain = _plain(chunk, first)
        if plain is not None:
            return plain
    return _careful(chunk, first, encoding)


def _is_utf8(chunk: bytes) -> bool:
    if chunk.isascii():
        return True
    try:
        codecs.utf_8_decode(chunk, "strict", True)
    except UnicodeDecodeError:
        return False
    return True


def _plain(chunk: bytes, first: int) -> Block | None:
    """LF, CRLF and CR lines in UTF-8, by arithmetic on the positions of the ends."""
    octet = np.frombuffer(chunk, np.uint8)
    at = np.flatnonzero(octet == 0x0A)
    returns = chunk.count(b"\r")
    before = np.zeros(len(at), np.bool_)
    if returns:
        inner = at > 0
        before[inner] = octet[at[inner] - 1] == 0x0D
    eol = np.where(before, np.uint8(CRLF), np.uint8(LF))
    raw: bytes | None = chunk
    if int(before.sum()) != returns:
        if b"\r\r" in chunk:
            return None  # CR CR LF
        raw = None
        alone = np.setdiff1d(np.flatnonzero(octet == 0x0D), at[before] - 1, assume_unique=True)
        order = np.argsort(np.concatenate([at, alone]), kind="stable")
        at = np.concatenate([at, alone])[order]
        before = np.concatenate([before, np.zeros(len(alone), np.bool_)])[order]
        eol = np.concatenate([eol, np.full(len(alone), CR, np.uint8)])[order]
    unended = not chunk.endswith((b"\n", b"\r"))
    ends = at - np.arange(len(at)) - np.cumsum(before)
    data = chunk.translate(None, b"\r\n") if returns else chunk.replace(b"\n", b"")
    if unended:
        ends, eol = np.append(ends, len(data)), np.append(eol, np.uint8(NONE))
    offsets = np.zeros(len(ends) + 1, np.int32)
    offsets[1:] = ends
    if len(ends) and int(np.diff(offsets).max()) > LONGEST:
        return None
    return Block(data, offsets, eol, np.zeros(len(ends), np.uint8), first, raw)


def _careful(chunk: bytes, first: int, encoding: str) -> Block:
    """Line by line: odd line ends, NULs, other encodings, lines without measure."""
    texts: list[bytes] = []
    eol: list[int] = []
    flags: list[int] = []
    start = 0
    while start < len(chunk):
        match = _END.search(chunk, start)
        stop, after = match.span() if match else (len(chunk), len(chunk))
        end = chunk[stop:after]
        text, flag = _line(chunk[start:stop], encoding)
        texts.append(text)
        flags.append(flag | (NUL if b"\0" in end else 0))
        eol.append(NONE if not end else LF if end == b"\n" else CRLF if end.endswith(b"\n") else CR)
        start = after
    offsets = np.zeros(len(texts) + 1, np.int32)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return Block(b"".join(texts), offsets, np.array(eol, np.uint8), np.array(flags, np.uint8), first)


def _line(octet: bytes, encoding: str) -> tuple[bytes, int]:
    flag = 0
    stripped = octet.strip(b"\0")
    if len(stripped) < len(octet):
        octet, flag = stripped, NUL
    if not _is_utf8(octet[: LONGEST + 8] if len(octet) > LONGEST + 8 else octet) and not _cut_character(octet):
        octet, flag = octet[:LONGEST].decode(encoding, "replace").encode("utf-8"), flag | FALLBACK
    if len(octet) > LONGEST:
        octet = octet[:LONGEST].decode("utf-8", "ignore").encode("utf-8")
        flag |= CUT
    return octet, flag


def _cut_character(octet: bytes) -> bool:
    """Whether a long line is valid UTF-8 up to where it is cut."""
    if len(octet) <= LONGEST + 8:
        return False
    try:
        codecs.utf_8_decode(octet[: LONGEST + 8], "strict", False)
    except UnicodeDecodeError:
        return False
    return True
