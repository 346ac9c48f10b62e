"""What a stamp of a log says: year, month, day, clock and zone, each where it says it.

Stamps of one shape (the same but for their digits) have their fields at the same octets. So one stamp of each shape is read by
a regular expression, and the digits of all the others are added up column by column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from smtplog import events
from smtplog.events import NO_TIME, Strings

DAY = 86_400_000_000  #: microseconds
UNSAID = NO_TIME  #: in ``offset``: the stamp names no zone
_LONGEST = 100  # octets; what is longer is no stamp
_SHAPES = 64  # shapes of one length that are read at once; the others one by one, in the same way

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
#: Hours east of UTC. RFC 5322 section 4.3, and the names that date(1) prints in Europe and Japan; any other says nothing.
_ZONES = {"z": 0, "utc": 0, "gmt": 0, "ut": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6}
_ZONES |= {"pst": -8, "pdt": -7, "wet": 0, "west": 1, "cet": 1, "cest": 2, "eet": 2, "eest": 3, "msk": 3, "jst": 9}

_CLOCK = r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,:](?P<fraction>[0-9]{1,9}))?)?"
_HALF = r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?"
_ZONE = r"(?:[ ]?(?:(?P<east>[+-])(?P<zone_hour>[0-9]{2})(?::?(?P<zone_minute>[0-9]{2}))?|(?P<zone>[A-Za-z]{1,5})))?"
_MONTH = r"(?P<month_name>[A-Z][a-z]{2})[a-z]{0,6}"
_FORMS = tuple(
    re.compile(rf"(?:^|(?<=[^0-9A-Za-z:.])){form}[\])>\"', ]*$")
    for form in (
        # 2026-01-05T10:11:12.345+01:00, 2026-01-05 10:11:12,345, 2026/01/05 10:11:12, 2026-07-23_20:55:43.53880
        rf"(?P<year>[0-9]{{4}})(?P<mark>[-/.])(?P<month>[0-9]{{1,2}})(?P=mark)(?P<day>[0-9]{{1,2}})[T _,]+{_CLOCK}{_HALF}{_ZONE}",
        # 20260105T101112Z, 20260105.101112.345
        rf"(?P<year>[0-9]{{4}})(?P<month>[0-9]{{2}})(?P<day>[0-9]{{2}})[T _.-]?(?P<hour>[0-9]{{2}}):?(?P<minute>[0-9]{{2}}):?(?P<second>[0-9]{{2}})(?:[.,](?P<fraction>[0-9]{{1,9}}))?{_ZONE}",
        # 05/Jan/2026:10:11:12 +0100, 16/Mar/2026 18:24:42, 05 Jan 2026 22:01:42 +0200 with or without its day of the week
        rf"(?P<day>[0-9]{{1,2}})[-/ ]{_MONTH}[-/ ](?P<year>[0-9]{{4}})[: T]+{_CLOCK}{_HALF}{_ZONE}",
        # Nov 12 19:35:38, Jan  5 2026 02:37:22.12, Jan 5, 2026 10:11:12 AM, Mon Jan  5 02:37:22 CET 2026
        rf"{_MONTH} {{1,2}}(?P<day>[0-9]{{1,2}}),?(?: (?P<year>[0-9]{{4}}),?)? {_CLOCK}{_HALF}{_ZONE}",
        rf"{_MONTH} {{1,2}}(?P<day>[0-9]{{1,2}}) {_CLOCK}{_ZONE} (?P<year>[0-9]{{4}})",
        # 01/05/26 10:11:12, 1/5/2026 11:44:31 AM: the month first
        rf"(?P<month>[0-9]{{1,2}})/(?P<day>[0-9]{{1,2}})/(?P<year>[0-9]{{4}}|[0-9]{{2}}),? {_CLOCK}{_HALF}{_ZONE}",
        # 05.01.2026 10:11:12: the day first
        rf"(?P<day>[0-9]{{1,2}})\.(?P<month>[0-9]{{1,2}})\.(?P<year>[0-9]{{4}}|[0-9]{{2}}),? {_CLOCK}{_HALF}{_ZONE}",
        # 1767607872, 1767607872.123456, and in milli-, micro- and nanoseconds
        r"(?P<epoch>[0-9]{10})(?:\.(?P<fraction>[0-9]{1,9})|(?P<more>(?:[0-9][0-9][0-9]){1,3}))?",
    )
)
#: A time of day stands alone: behind a date that nothing here knows it would be taken for another day.
_ALONE = re.compile(rf"[\[(<]*{_CLOCK}{_HALF}{_ZONE}[\])>, ]*$")
_TAI64N = re.compile(rb"@?([0-9a-f]{24})$")
_TAI64_ORIGIN = (1 << 62) + 10  # the label of 1970 UTC; leap seconds are left out, as tai64nlocal does


@dataclass(slots=True)
class Faces:
    """What each stamp says."""

    year: np.ndarray  #: int64; 0 where the stamp leaves it out
    month: np.ndarray  #: 1 … 12; 0 where the stamp is a time of day
    day: np.ndarray
    clock: np.ndarray  #: microseconds since midnight; NO_TIME for what is no stamp
    offset: np.ndarray  #: microseconds east of UTC; UNSAID


def faces(stamps: Strings) -> Faces:
    """Read a column of stamps."""
    data, offsets = events.octets(stamps)
    starts, sizes = offsets[:-1], np.diff(offsets)
    found = Faces(*(np.full(len(sizes), NO_TIME if name in ("clock", "offset") else 0) for name in _names()))
    for size in np.unique(sizes).tolist():
        if 0 < size <= _LONGEST:
            at = np.flatnonzero(sizes == size)
            _of_one_length(np.lib.stride_tricks.sliding_window_view(data, size)[starts[at]], at, found)
    return found


def days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Days since 1970; NO_TIME where there is no such day."""
    months = (year - 1970) * 12 + month - 1
    first, after = (part.astype("M8[M]").astype("M8[D]").astype(np.int64) for part in (months, months + 1))
    there = (month >= 1) & (month <= 12) & (day >= 1) & (day <= after - first) & (year > 0)
    return np.where(there, first + day - 1, NO_TIME)


def _names() -> tuple[str, ...]:
    return tuple(each.name for each in fields(Faces))


def _of_one_length(rows: np.ndarray, at: np.ndarray, found: Faces) -> None:
    """Stamps of one length, a row of octets each."""
    for mine, label in _alike(rows):
        part = _of_one_shape(rows[mine]) if label is None else _tai(rows[mine][:, label:])
        for name in _names() if part is not None else ():
            getattr(found, name)[at[mine]] = getattr(part, name)


def _alike(rows: np.ndarray) -> Iterator[tuple[np.ndarray, int | None]]:
    """Which rows are of one shape, and where their TAI64N label begins if they are such."""
    shapes = np.where((rows - np.uint8(48)) < 10, np.uint8(48), rows)
    left = np.arange(len(rows))
    for _ in range(_SHAPES):
        if not len(left):
            return
        first = rows[left[0]]
        tai = _TAI64N.search(first.tobytes())
        if tai is None:
            same = (shapes[left] == shapes[left[0]]).all(axis=1)
        else:
            same = (_nibbles(rows[left][:, tai.start(1) :]) < 16).all(axis=1)
            same &= (rows[left][:, : tai.start(1)] == first[: tai.start(1)]).all(axis=1)
        yield left[same], None if tai is None else tai.start(1)
        left = left[~same]
    for i in left.tolist():
        tai = _TAI64N.search(rows[i].tobytes())
        yield np.array([i]), None if tai is None else tai.start(1)


def _of_one_shape(rows: np.ndarray) -> Faces | None:
    """Stamps that are the same but for their digits."""
    text = rows[0].tobytes().decode("latin-1")
    match = next((match for form in _FORMS if (match := form.search(text))), None) or _ALONE.match(text)
    if match is None:
        return None
    known = match.re.groupindex
    nothing = np.zeros(len(rows), np.int64)

    def number(name: str) -> np.ndarray:
        if name not in known or match[name] is None:
            return nothing
        value: np.ndarray = nothing
        for column in range(*match.span(name)):
            value = value * 10 + (rows[:, column] - np.uint8(48))
        return value

    def word(name: str) -> str:
        return (match[name] or "").lower() if name in known else ""

    def below_one(name: str) -> np.ndarray:
        """The digits behind a second's point as microseconds."""
        places = len(word(name))
        return number(name) * int(10 ** max(6 - places, 0)) // int(10 ** max(places - 6, 0))

    if "epoch" in known:
        return _since_1970(number("epoch") * 1_000_000 + below_one("fraction") + below_one("more"))
    month = number("month") + (_MONTHS.index(word("month_name")) + 1 if word("month_name") in _MONTHS else 0)
    year: np.ndarray = number("year")
    if len(word("year")) == 2:
        year = year + np.where(year < 70, 2000, 1900)
    hour, minute, second = number("hour"), number("minute"), number("second")
    good = (hour < 24) & (minute < 60) & (second <= 60)
    if word("half"):
        good &= (hour >= 1) & (hour <= 12)
        hour = hour % 12 + (12 if word("half") == "p" else 0)
    if "day" in known:
        there = days(year if word("year") else nothing + 1972, month, number("day"))
        good &= there != NO_TIME
    clock = ((hour * 60 + minute) * 60 + second) * 1_000_000 + below_one("fraction")
    return Faces(year, month, number("day"), np.where(good, clock, NO_TIME), _offset(number, word) + nothing)


def _offset(number: Callable[[str], np.ndarray], word: Callable[[str], str]) -> np.ndarray | int:
    """Microseconds east of UTC."""
    if word("east"):
        minutes = number("zone_hour") * 60 + number("zone_minute")
        return (minutes if word("east") == "+" else -minutes) * 60_000_000
    return _ZONES[word("zone")] * 3_600_000_000 if word("zone") in _ZONES else UNSAID


def _since_1970(microseconds: np.ndarray) -> Faces:
    ones = np.ones(len(microseconds), np.int64)
    return Faces(ones * 1970, ones, ones, microseconds, ones * 0)


def _nibbles(rows: np.ndarray) -> np.ndarray:
    """The values of hexadecimal digits; 255 for what is none."""
    values = np.full(256, 255, np.uint8)
    for value, digit in enumerate(b"0123456789abcdef"):
        values[digit] = value
    return values[rows]


def _tai(rows: np.ndarray) -> Faces:
    """TAI64N labels: 16 hexadecimal digits of seconds, 8 of nanoseconds (D. J. Bernstein, libtai)."""
    nibbles = _nibbles(rows).astype(np.int64)
    seconds, nanoseconds = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    for column in range(16):
        seconds = seconds * 16 + nibbles[:, column]
    for column in range(16, 24):
        nanoseconds = nanoseconds * 16 + nibbles[:, column]
    seconds -= _TAI64_ORIGIN
    good = (seconds >= 0) & (seconds < 1 << 38)
    found = _since_1970(seconds * good * 1_000_000 + nanoseconds // 1000)
    found.clock = np.where(good, found.clock, NO_TIME)
    return found
