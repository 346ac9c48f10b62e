"""The stamps of a log as microseconds since 1970 UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import numpy as np

from smtplog import events
from smtplog.events import NO_TIME, Strings

_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
_ISO = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]{1,9}))?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
)
_SYSLOG = re.compile(r"([A-Z][a-z]{2}) ([ 0-9][0-9]) ([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(stamps: Strings, latest: date | None) -> np.ndarray:
    """The time of each stamp; NO_TIME where there is none or it cannot be read.

    A stamp without a zone is taken as UTC. One without a year (RFC 3164) takes the year in which it is not after
    ``latest``, the day of the log; without that day it takes 1970, so that differences are right, and
    :func:`has_year` says so.
    """
    fast = _iso_utc(stamps)
    if fast is not None:
        return fast
    column = events.encoded(stamps)
    times = [_microseconds(stamp, latest) for stamp in events.listed(events.values(column))]
    return np.array(times or [NO_TIME], np.int64)[events.codes(column)]


def _iso_utc(stamps: Strings) -> np.ndarray | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(stamps.type) or not len(stamps):
        return None
    try:
        return events.numbers(pc.cast(stamps, pa.timestamp("us", tz="UTC")).view(pa.int64())).copy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None  # other stamps than 2026-01-11T15:59:51.430Z: read one by one


def _microseconds(stamp: str, latest: date | None) -> int:
    try:
        if match := _ISO.search(stamp):
            year, month, day, hour, minute, second = map(int, match.groups()[:6])
            fraction = int((match[7] or "0").ljust(6, "0")[:6])
            at = datetime(year, month, day, hour, minute, second, fraction, UTC)
            return _since_epoch(at) - _offset(match[8])
        if match := _SYSLOG.search(stamp):
            month, day = _MONTHS[match[1]], int(match[2])
            fraction = int((match[6] or "0").ljust(6, "0")[:6])
            year = _year(month, day, latest)
            at = datetime(year, month, day, int(match[3]), int(match[4]), int(match[5]), fraction, UTC)
            return _since_epoch(at)
    except (ValueError, KeyError):
        return NO_TIME  # 31 February, a month of another language: the line keeps its words, not its time
    return NO_TIME


def _year(month: int, day: int, latest: date | None) -> int:
    if latest is None:
        return 1972  # a leap year, so that 29 February is a day
    later = (month, day) > ((latest.month, latest.day + 1) if latest.day < 31 else (latest.month + 1, 1))
    return latest.year - later


def _since_epoch(at: datetime) -> int:
    delta = at - _EPOCH
    return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


def _offset(zone: str | None) -> int:
    if zone is None or zone == "Z":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[-2:])
    return (-minutes if zone[0] == "-" else minutes) * 60_000_000
