"""The stamps of a log as microseconds since 1970 UTC, and what had to be assumed for it.

A stamp that names no zone is in the zone that the format fixes, else in the user's (``--timezone``), else in UTC. One without a
year takes the year in which it is not after the day of the log. One without a date is on the day of the log, and on the next
one after each midnight. The day of a log is the user's (``--date``), else the one in the name of its file, else that of the
file's own time stamp. Without any, years are 1972: differences are right, and so is 29 February.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from pathlib import Path

import numpy as np

from smtplog import events
from smtplog.errors import UsageError
from smtplog.events import NO_TIME, Strings
from smtplog.formats.stamps import DAY, UNSAID, days, faces

_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])([0-9]{1,2})(?::?([0-9]{2}))?$")
_IN_NAME = re.compile(r"(?<![0-9])((?:19|20)[0-9]{2})([-_.]?)([01][0-9])\2([0-3][0-9])(?![0-9])")
_QUARTER = 900_000_000  # zones change at whole quarters of an hour
_MIDNIGHT = 2 * 3_600_000_000  # a clock that falls back by more has passed midnight; summer time ends by one hour
_DISORDER = 60_000_000  # lines of several processes are that much out of order at most
_EPOCH = datetime(1970, 1, 1)
_EARLIEST, _LATEST = ((day - _EPOCH).days * DAY for day in (datetime(1, 1, 1), datetime(9999, 12, 31)))


@dataclass(frozen=True, slots=True)
class Calendar:
    """What is known of the times of a log beside its stamps."""

    zone: tzinfo | None = None  #: the user's
    day: date | None = None
    origin: str = ""  #: what tells the day


def calendar_of(path: str, zone: tzinfo | None, day: date | None) -> Calendar:
    """The calendar of a file; the user's day goes before its own."""
    if day is not None:
        return Calendar(zone, day, "--date")
    if match := _IN_NAME.search(os.path.basename(path)):
        try:
            return Calendar(zone, date(int(match[1]), int(match[3]), int(match[4])), "the name of the file")
        except ValueError:
            pass  # digits that are no date
    try:
        changed = datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
    except (OSError, ValueError, OverflowError):
        return Calendar(zone)  # standard input has none
    return Calendar(zone, changed.date(), "the time stamp of the file")


def zone_named(name: str) -> tzinfo:
    """``Europe/Berlin``, ``UTC``, ``+02:00``; UsageError says what is near."""
    from zoneinfo import ZoneInfo, available_timezones

    if match := _OFFSET.match(name):
        minutes = int(match[2]) * 60 + int(match[3] or 0)
        if minutes < 24 * 60 and int(match[3] or 0) < 60:
            return timezone(timedelta(minutes=minutes if match[1] == "+" else -minutes))
    known = {each.lower(): each for each in available_timezones()}
    if name.lower() in known:
        return ZoneInfo(known[name.lower()])
    towns = {each.rpartition("/")[2]: each for each in known}
    near = [*difflib.get_close_matches(name.lower(), known, 1), *difflib.get_close_matches(name.lower(), towns, 1)]
    meant = next((known[towns.get(each, each)] for each in near), "Europe/Berlin")
    raise UsageError(f"{name!r} is no time zone; write a name such as {meant} or an offset such as +02:00")


class Clock:
    """Reads the stamps of one log, block by block."""

    def __init__(self, zone: str, calendar: Calendar) -> None:
        """``zone`` is that of the declaration: ``UTC``, or ``local`` for what the log does not say."""
        self.calendar = calendar
        self._fixed = zone == "UTC"
        self._zone = UTC if self._fixed or calendar.zone is None else calendar.zone
        self._last = -1  # the last time of day without a date
        self._today = self._first_day()
        self._fall: tuple[int, int, bool] = (
            0,
            0,
            False,
        )  # the day on which summer time ends, its latest clock, whether over
        self._unsaid: set[str] = set()

    def begin(self, calendar: Calendar) -> None:
        """The log goes on in another file, of a later day perhaps."""
        self.calendar = calendar
        if self._first_day() > self._today:
            self._today, self._last = self._first_day(), -1

    def _first_day(self) -> int:
        return (self.calendar.day or date(1972, 1, 1)).toordinal() - _EPOCH.toordinal()

    @property
    def assumed(self) -> list[str]:
        """What the stamps leave out, and what was taken for it, in sentences."""
        told = []
        day, origin = self.calendar.day, self.calendar.origin
        if "zone" in self._unsaid and self.calendar.zone is None:
            told.append("the log names no time zone: UTC is assumed, --timezone names another")
        if day is None and self._unsaid & {"year", "date"}:
            what = "date" if "date" in self._unsaid else "year"
            told.append(f"the log leaves the {what} out: only differences of its times count, --date names its day")
        elif origin != "--date" and "date" in self._unsaid:
            told.append(
                f"the log leaves the date out: it is assumed to begin on {day}, by {origin}; --date names another day"
            )
        elif origin != "--date" and "year" in self._unsaid:
            told.append(
                f"the log leaves the year out: it is assumed to end by {day}, by {origin}; --date names another day"
            )
        return told

    def microseconds(self, stamps: Strings) -> np.ndarray:
        """The time of each stamp; NO_TIME where there is none or it cannot be read."""
        whole = events.instants(stamps)
        if whole is not None:
            return _told(whole)
        column = events.encoded(stamps)
        said, where = faces(events.values(column)), events.codes(column)
        if not len(where):
            return np.zeros(0, np.int64)
        year, dated = said.year, said.month > 0
        if (dated & (year == 0)).any():
            year = np.where(dated & (year == 0), self._years(said.month, said.day), year)
            self._unsaid.add("year")
        date_of = days(year, said.month, said.day)
        read = (said.clock != NO_TIME) & (~dated | (date_of != NO_TIME))
        face = np.where(read, np.where(dated, date_of, 0) * DAY + said.clock, NO_TIME)[where]
        undated = (read & ~dated)[where]
        if undated.any():
            face[undated] = self._dated(face[undated])
            self._unsaid.add("date")
        unzoned = (read & (said.offset == UNSAID))[where]
        offset = np.where(read & (said.offset != UNSAID), said.offset, 0)[where]
        if unzoned.any() and not self._fixed:
            self._unsaid.add("zone")
            offset[unzoned] = self._offsets(face[unzoned])
        return np.where(read[where], _told(face - offset), NO_TIME)

    def _years(self, month: np.ndarray, day: np.ndarray) -> np.ndarray:
        """The year of each day of a year: the last in which it is there and not after the day of the log. The day after is
        let pass: the log may be of a zone in which it is tomorrow, or go on past midnight."""
        latest = self.calendar.day
        if latest is None:
            return np.full(len(month), 1972)
        year = np.zeros(len(month), np.int64)
        for candidate in range(latest.year + 1, latest.year - 9, -1):  # 29 February may be eight years off
            at = days(np.full(len(month), candidate), month, day)
            year[(year == 0) & (at != NO_TIME) & (at <= self._first_day() + 1)] = candidate
        return year

    def _dated(self, clock: np.ndarray) -> np.ndarray:
        """Times of day, in the order of the log, each on its day."""
        before = np.append(clock[:1] if self._last < 0 else self._last, clock[:-1])
        change = clock - before
        passed = (change < -_MIDNIGHT).astype(np.int64) - (change > DAY - _DISORDER)
        today = self._today + np.cumsum(passed)
        self._last, self._today = int(clock[-1]), int(today[-1])
        return today * DAY + clock

    def _offsets(self, face: np.ndarray) -> np.ndarray:
        """How far the log's zone is east of UTC at each time that its clock showed."""
        quarters, where = np.unique(face // _QUARTER, return_inverse=True)
        shown = [_EPOCH + timedelta(microseconds=int(quarter) * _QUARTER) for quarter in quarters.tolist()]
        first, second = (
            np.array([_east(self._zone, each.replace(fold=fold)) for each in shown], np.int64)[where] for fold in (0, 1)
        )
        twice = np.flatnonzero(first > second)
        if len(twice):
            over = self._second_time(face[twice])
            first[twice[over]] = second[twice[over]]
        return first

    def _second_time(self, face: np.ndarray) -> np.ndarray:
        """Which times of the hour that the clock shows twice are those after it was put back: those from where it fell on."""
        over = np.zeros(len(face), np.bool_)
        for day in np.unique(face // DAY).tolist():
            at = np.flatnonzero(face // DAY == day)
            last, latest, fell = self._fall if self._fall[0] == day else (day, int(face[at[0]]), False)
            highest = np.maximum.accumulate(np.append(latest, face[at]))[1:]
            over[at] = np.maximum.accumulate(np.append(fell, highest - face[at] > 10 * _DISORDER))[1:]
            self._fall = (last, int(highest[-1]), bool(over[at[-1]]))
        return over


def _told(time: np.ndarray) -> np.ndarray:
    """Times of the years 1 to 9999, which is what the rest of the program can write."""
    return np.where((time >= _EARLIEST) & (time < _LATEST), time, NO_TIME)


def _east(zone: tzinfo, shown: datetime) -> int:
    """Microseconds."""
    offset = zone.utcoffset(shown)
    return 0 if offset is None else (offset.days * 86400 + offset.seconds) * 1_000_000
