"""From the user's words to readable files: directories, globs, standard input, compression."""

from __future__ import annotations

import bz2
import glob
import gzip
import io
import lzma
import os
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from smtplog import dumps, packets
from smtplog.errors import UnreadableError

_ROTATED = re.compile(r"^(.*?)(?:[.-]([0-9]{1,10}))?((?:\.(?:gz|bz2|xz|zst))?)$")
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_BINARIES = {
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG\r\n": "a PNG picture",
    b"GIF8": "a GIF picture",
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
    b"SQLite format": "a database",
}


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read. ``named``: by the user, so that its failure is an error and not a skip."""

    path: str
    named: bool


def find(paths: Iterable[str | Path]) -> Iterator[Source]:
    """The files that some words of the user mean: a file, a directory and all below it, a glob, ``-``.

    Raises UnreadableError for a word that means nothing.
    """
    for path in map(str, paths):
        if path == "-" or os.path.isfile(path) or _special(path):
            yield Source(path, True)
        elif os.path.isdir(path):
            yield from _below(path)
        elif any(character in path for character in "*?["):
            yield from _matching(path)
        else:
            raise UnreadableError(f"{path} does not exist; check the name and the folder ({os.getcwd()})")


def _special(path: str) -> bool:
    return os.path.exists(path) and not os.path.isdir(path)


def _below(folder: str) -> Iterator[Source]:
    found = [
        os.path.join(here, name)
        for here, folders, names in os.walk(folder)
        for name in names
        if not name.startswith(".") and folders.sort() is None
    ]
    found = [path for path in found if "/." not in path.removeprefix(folder).replace(os.sep, "/")]
    if not found:
        raise UnreadableError(f"{folder} is a directory without files; name the directory that holds the logs")
    yield from (Source(path, False) for path in sorted(found, key=_age))


def _matching(pattern: str) -> Iterator[Source]:
    found = [path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]
    if not found:
        raise UnreadableError(f"{pattern} matches no file; check the pattern and the folder ({os.getcwd()})")
    yield from (Source(path, False) for path in sorted(found, key=_age))


def _age(path: str) -> tuple[str, str, int, str]:
    """Rotated logs of one name oldest first: ``maillog.2.gz maillog.1 maillog``."""
    folder, name = os.path.split(path)
    match = _ROTATED.match(name)
    stem, number = (match[1], match[2]) if match else (name, None)
    if number and len(number) < 6:
        return folder, stem, -int(number), name
    return folder, stem, 0 if number else 1, name


def open_source(source: Source) -> BinaryIO:
    """A file as a stream of octets, unpacked if its first octets say that it is packed."""
    try:
        raw = sys.stdin.buffer if source.path == "-" else open(source.path, "rb")
    except PermissionError:
        raise UnreadableError(f"{source.path} may not be read: permission denied; run as a user who may") from None
    except OSError as error:
        raise UnreadableError(f"{source.path} cannot be opened: {error.strerror}") from None
    stream = cast(BinaryIO, raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(cast(Any, raw)))
    try:
        head = cast(Any, stream).peek(8)[:8]
    except OSError as error:
        raise UnreadableError(f"{source.path} cannot be read: {error.strerror}") from None
    packed = next((name for magic, name in _PACKED.items() if head.startswith(magic)), None)
    stream = _buffered(_Guarded(_unpacked(stream, packed), source.path, packed or "file"))
    head = cast(Any, stream).peek(1 << 16)
    captured = packets.is_capture(head[:12])
    if captured or dumps.is_dump(head):
        from smtplog.streams import PacketLog

        found = packets.segments(stream, source.path) if captured else dumps.segments(stream)
        return _buffered(_Guarded(PacketLog(found, source.path), source.path, "packet capture"))
    return stream


def _buffered(stream: io.RawIOBase) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(stream, 1 << 16))


def _unpacked(stream: BinaryIO, packed: str | None) -> Any:
    if packed == "gzip":
        return gzip.GzipFile(fileobj=stream)
    if packed == "bzip2":
        return bz2.BZ2File(stream)
    if packed == "xz":
        return lzma.LZMAFile(stream)
    if packed == "zstd":
        import pyarrow as pa

        return pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")
    return stream


class _Guarded(io.RawIOBase):
    """A stream whose damage is one sentence. What was unpacked before the damage has been delivered by then."""

    def __init__(self, stream: Any, path: str, packed: str) -> None:
        self._stream, self._path, self._packed = stream, path, packed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read1(len(buffer)) if hasattr(self._stream, "read1") else self._stream.read(len(buffer))
        except EOFError:
            raise UnreadableError(f"{self._path}: the {self._packed} data ends early; fetch the file again") from None
        except (OSError, lzma.LZMAError, ValueError, zlib.error) as error:
            raise UnreadableError(
                f"{self._path}: the {self._packed} data is damaged ({error}); fetch the file again"
            ) from None
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            if self._path != "-":
                self._stream.close()
            super().close()


def looks_binary(head: bytes) -> str | None:
    """Why the head of a file is no text; None if it is. A log may hold some ESC, NUL and IAC octets."""
    for magic, what in _BINARIES.items():
        if head.startswith(magic):
            return f"it is {what}"
    sample = head[:65536]
    odd = sum(count for octet, count in _counted(sample) if octet < 32 and octet not in b"\t\n\r\x08\x1b\x0c")
    if sample and odd > len(sample) * 0.3:
        return "too many of its octets are control characters"
    pages = (sample[at : at + 4096] for at in range(0, len(sample), 4096))
    return "more than half of a page of it are NUL octets" if any(page.count(0) > 2048 for page in pages) else None


def _counted(sample: bytes) -> list[tuple[int, int]]:
    import numpy as np

    return list(enumerate(np.bincount(np.frombuffer(sample, np.uint8), minlength=32)[:32].tolist()))
