"""Events: one line of a log each, in columns.

The only file that touches pyarrow's constructors. pyarrow imports pandas (0.2 s) at the first ``pa.array``, ``to_numpy`` or
Python constant in a kernel, so columns are made from and read through buffers here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: What a line is; the position is the code in :attr:`Events.kind`.
KINDS = ("note", "client", "server", "content", "opened", "closed", "tls", "gap")
NOTE, CLIENT, SERVER, CONTENT, OPENED, CLOSED, TLS, GAP = range(8)

#: Bits of :attr:`Events.flags`.
INFERRED = 1  # a command that the log does not hold
TLS_ACTIVE = 2  # the log marks this line as said under TLS
FALLBACK = 4  # not valid UTF-8; decoded one to one
CUT = 8  # cut at 1 MiB
AS_SENT = 16  # the octets and the line end are those of the wire

NO_TIME = np.iinfo(np.int64).min

Strings = Any  # pa.StringArray; pyarrow has no types
Codes = Any  # pa.DictionaryArray of strings


@dataclass(slots=True)
class Events:
    """Columns of equal length, in the order of the log. ``text key client server`` are Arrow, the others numpy."""

    kind: np.ndarray  #: uint8, see KINDS
    flags: np.ndarray  #: uint8
    eol: np.ndarray  #: uint8, index into :data:`smtplog.lines.EOLS`
    line: np.ndarray  #: int64, from 1, counted through all files of one log
    time: np.ndarray  #: int64, microseconds since 1970 UTC; NO_TIME
    text: Strings
    key: Codes  #: whose session
    client: Codes  #: address of the client, "" where the line does not say
    server: Codes

    def __len__(self) -> int:
        return len(self.kind)

    def take(self, index: np.ndarray) -> Events:
        """The events at these positions."""
        return Events(*(take(getattr(self, f.name), index) for f in fields(self)))

    def compact(self) -> Events:
        """The same events, their columns of codes holding no string that none of them bears."""
        for name in ("key", "client", "server"):
            column = getattr(self, name)
            used, index = np.unique(codes(column), return_inverse=True)
            if len(used) < len(values(column)):
                setattr(self, name, coded(index, take(values(column), used)))
        return self

    @staticmethod
    def concat(parts: Sequence[Events]) -> Events:
        """All events of all parts, in order."""
        if len(parts) == 1:
            return parts[0]
        return Events(*(_concat([getattr(part, f.name) for part in parts]) for f in fields(Events)))

    @staticmethod
    def build(
        kind: np.ndarray,
        line: np.ndarray,
        text: Strings,
        *,
        flags: np.ndarray | None = None,
        eol: np.ndarray | None = None,
        time: np.ndarray | None = None,
        key: Codes = None,
        client: Codes = None,
        server: Codes = None,
    ) -> Events:
        """Events with what is not given left empty."""
        n = len(kind)
        nothing = constant("", n) if key is None or client is None or server is None else None
        return Events(
            kind.astype(np.uint8, copy=False),
            np.zeros(n, np.uint8) if flags is None else flags,
            np.full(n, 1, np.uint8) if eol is None else eol,
            line.astype(np.int64, copy=False),
            np.full(n, NO_TIME, np.int64) if time is None else time,
            text,
            nothing if key is None else key,
            nothing if client is None else client,
            nothing if server is None else server,
        )


def _concat(columns: list[Any]) -> Any:
    if isinstance(columns[0], np.ndarray):
        return np.concatenate(columns)
    if isinstance(columns[0], pa.DictionaryArray):
        return pa.chunked_array(columns).unify_dictionaries().combine_chunks()
    return pa.concat_arrays(columns)


def strings(data: bytes | memoryview, offsets: np.ndarray) -> Strings:
    """A string column over UTF-8 ``data``; string i is ``data[offsets[i]:offsets[i+1]]``."""
    offsets = np.ascontiguousarray(offsets, np.int32)
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))


def from_list(values: Iterable[str]) -> Strings:
    """A string column from Python strings."""
    encoded = [value.encode("utf-8", "replace") for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum(np.fromiter(map(len, encoded), np.int32, len(encoded)), out=offsets[1:])
    return strings(b"".join(encoded), offsets)


def integers(values: np.ndarray) -> Any:
    """An Arrow column over a numpy array, without a copy; masks become booleans."""
    if values.dtype == np.bool_:
        bits = np.packbits(values, bitorder="little")
        return pa.BooleanArray.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def numbers(column: Any) -> np.ndarray:
    """An integer or boolean Arrow column as numpy; null is 0."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_boolean(column.type):
        if column.null_count:
            column = pc.and_kleene(column, pc.is_valid(column))
        bits = np.frombuffer(column.buffers()[1] or b"", np.uint8)
        start = column.offset
        ones = np.unpackbits(bits, count=start + len(column), bitorder="little")[start:].view(np.bool_)
        if column.null_count:
            ones = ones & valid(column)
        return ones
    width = np.dtype(column.type.to_pandas_dtype())
    buffer = column.buffers()[1]
    if buffer is None or not len(column):
        return np.zeros(len(column), width)
    return np.frombuffer(buffer, width, len(column), column.offset * width.itemsize)


def whole_numbers(column: Strings) -> np.ndarray:
    """Strings of at most 18 digits as numbers."""
    return numbers(pc.cast(column, pa.int64()))


def instants(column: Strings) -> np.ndarray | None:
    """Stamps such as 2026-01-11T15:59:51.430Z as microseconds since 1970 UTC; None where a single one is another."""
    kind = pa.timestamp("us", tz="UTC")
    try:
        pc.cast(column.slice(0, 1), kind)  # to be refused once takes no time, once a stamp much
        return numbers(pc.cast(column, kind).view(pa.int64())).copy() if len(column) else None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def valid(column: Any) -> np.ndarray:
    """Which values of a column are not null."""
    bitmap = column.buffers()[0]
    if bitmap is None:
        return np.ones(len(column), np.bool_)
    bits = np.frombuffer(bitmap, np.uint8)
    return np.unpackbits(bits, count=column.offset + len(column), bitorder="little")[column.offset :].view(np.bool_)


def take(column: Any, index: np.ndarray) -> Any:
    """The values at these positions, of a numpy or an Arrow column."""
    if isinstance(column, np.ndarray):
        return column[index]
    if isinstance(column, pa.DictionaryArray):
        return pa.DictionaryArray.from_arrays(integers(numbers(column.indices)[index]), column.dictionary)
    return column.take(integers(np.ascontiguousarray(index, np.int64)))


def lengths(column: Strings) -> np.ndarray:
    """Octets of each string."""
    return numbers(pc.binary_length(column))


def octets(column: Strings) -> tuple[np.ndarray, np.ndarray]:
    """The octets of all strings, one behind the other, and where each begins; one more, where the last one ends."""
    _, offsets, data = column.buffers()
    where = (
        np.frombuffer(offsets, np.int32, len(column) + 1, column.offset * 4) if len(column) else np.zeros(1, np.int32)
    )
    return np.frombuffer(data or b"", np.uint8), where


def found(column: Strings, pattern: str) -> np.ndarray:
    """Which strings a regular expression (RE2) finds something in."""
    return numbers(pc.match_substring_regex(column, pattern=pattern))


def refused_by_re2(pattern: str) -> str | None:
    """Why a regular expression cannot be run over columns; None: it can."""
    try:
        found(from_list([""]), pattern)
    except pa.ArrowInvalid as error:
        return str(error).removeprefix("Invalid regular expression: ").strip()
    return None


def bears(column: Strings, literal: str) -> np.ndarray:
    """Which strings hold this one."""
    return numbers(pc.match_substring(column, pattern=literal))


def replaced_at(column: Strings, at: np.ndarray, words: Strings | list[str]) -> Strings:
    """The column with these strings at these positions."""
    stack = pa.concat_arrays([column, from_list(words) if isinstance(words, list) else words])
    index = np.arange(len(column))
    index[at] = len(column) + np.arange(len(at))
    return take(stack, index)


def ends_with(column: Strings, ending: str) -> np.ndarray:
    """Which strings end with this."""
    return numbers(pc.ends_with(column, pattern=ending))


def extracted(column: Strings, pattern: str) -> tuple[np.ndarray, dict[str, Strings]]:
    """Which strings match, and the named groups of those that do (RE2). A string that does not match gives null in the
    struct but ``''`` in its fields, so the mask is what counts."""
    struct = pc.extract_regex(column, pattern=pattern)
    mask = valid(struct)
    kept = struct if mask.all() else struct.filter(integers(mask))
    return mask, {field.name: pc.struct_field(kept, indices=[i]) for i, field in enumerate(struct.type)}


def masked(column: Strings, *, brief: bool) -> Strings:
    """The strings without what stands between brackets, after a hello and behind SIZE=; ``brief``: of a line with a 2yz code
    what follows the code and its enhanced status code is left out too."""
    once = pc.replace_substring_regex(column, pattern=r"<[^<>]*>|\[[^\[\]]*\]|\([^()]*\)", replacement="<>")
    if brief:
        success = r"^(2[0-9][0-9][ -](?:[245]\.[0-9]+\.[0-9]+)?).*$"
        return pc.replace_substring_regex(once, pattern=success, replacement=r"\1")
    return pc.replace_substring_regex(
        once, pattern=r"^((?i:EHLO|HELO|LHLO)) .*$|( (?i:SIZE)=)[0-9]+", replacement=r"\1\2"
    )


def beginnings(column: Strings) -> Strings:
    """Of strings that begin with 2, the success of SMTP, as much as a code and an enhanced status code can take."""
    return pc.if_else(pc.starts_with(column, pattern="2"), pc.utf8_slice_codeunits(column, 0, 15), column)


def without_figures(column: Strings) -> Strings:
    """Parameters such as ``SIZE=100 BODY=8BITMIME``, values that are whole numbers left out."""
    return pc.replace_substring_regex(column, pattern="=[0-9]+( |$)", replacement=r"=\1")


def rewritten(column: Strings, pattern: str, by: str) -> Strings:
    """The same strings with something else in place of all that a regular expression (RE2) finds."""
    return pc.replace_substring_regex(column, pattern=pattern, replacement=by)


def replaced(column: Strings, what: str, by: str) -> Strings:
    """The same strings with something else in place of a part, wherever it occurs."""
    return pc.replace_substring(column, pattern=what, replacement=by)


def after_last(column: Strings, mark: str) -> Strings:
    """What follows the last occurrence of a mark; the whole string where there is none."""
    parts = pc.split_pattern(column, pattern=mark, max_splits=1, reverse=True)
    return take(parts.values, numbers(parts.offsets)[1:] - 1)


def cells(
    column: Strings, separator: str, names: Sequence[str], wanted: Sequence[str]
) -> tuple[np.ndarray, dict[str, Strings]]:
    """How many parts each string has between separators, counted to behind the last of those wanted, and these by name; a
    part that a string lacks is empty."""
    places = {name: names.index(name) for name in wanted}
    parts = pc.split_pattern(column, pattern=separator, max_splits=max(places.values()) + 1)
    first = numbers(parts.offsets).astype(np.int64)
    width = np.diff(first)
    stack = pa.concat_arrays([parts.values, from_list([""])])
    lacking = len(stack) - 1
    return width, {name: take(stack, np.where(width > i, first[:-1] + i, lacking)) for name, i in places.items()}


def encoded(column: Strings) -> Codes:
    """The same strings, each distinct one held once."""
    if isinstance(column, pa.DictionaryArray):
        return column
    return column.dictionary_encode()


def codes(column: Codes) -> np.ndarray:
    """The position of each value in :func:`values`."""
    return numbers(column.indices)


def values(column: Codes) -> Strings:
    """The distinct strings of a column of codes."""
    return column.dictionary


def constant(value: str, n: int) -> Codes:
    """n times the same string."""
    return pa.DictionaryArray.from_arrays(integers(np.zeros(n, np.int32)), from_list([value]))


def coded(index: np.ndarray, names: Strings) -> Codes:
    """A column of codes from positions in ``names``."""
    return pa.DictionaryArray.from_arrays(integers(np.ascontiguousarray(index, np.int32)), names)


def stripped(column: Strings, characters: str) -> Strings:
    """The strings without these characters at their beginnings."""
    return pc.utf8_ltrim(column, characters=characters)


def joined(*columns: Strings) -> Strings:
    """The strings of some columns, side by side, with a blank between where both say something."""
    side_by_side = pc.utf8_trim(pc.binary_join_element_wise(*columns, from_list([" "])[0]), characters=" ")
    return (
        pc.replace_substring_regex(side_by_side, pattern="  +", replacement=" ") if len(columns) > 2 else side_by_side
    )


def without(column: Strings, pattern: str) -> Strings:
    """The strings without what a regular expression (RE2) finds in them, its groups excepted."""
    kept = "".join(f"\\{number}" for number in range(1, re.compile(pattern).groups + 1))
    return pc.replace_substring_regex(column, pattern=pattern, replacement=kept)


def text(column: Any, i: int) -> str:
    """One string."""
    value: str = column[int(i)].as_py()
    return value


def listed(column: Strings | Codes) -> list[str]:
    """All strings as Python has them. Arrow's own ``to_pylist`` makes an object of its own of each first, which takes five times
    as long."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.DictionaryArray):
        names = listed(values(column))
        return [names[code] for code in codes(column).tolist()]
    data, where = octets(column)
    edges = where.tolist()
    words = data[edges[0] : edges[-1]].tobytes()
    text, start = words.decode(), edges[0]
    if len(text) == len(words):
        return [text[begin - start : end - start] for begin, end in itertools.pairwise(edges)]
    return [words[begin - start : end - start].decode() for begin, end in itertools.pairwise(edges)]
