"""Stamps: every form is read as what it says, a column as its stamps one by one, and what is left out is assumed aloud."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtplog import events, read
from smtplog.errors import UsageError
from smtplog.events import NO_TIME
from smtplog.formats.clock import Calendar, Clock, calendar_of, zone_named
from tests.test_cli import smtplog

DAY = date(2026, 11, 23)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def clock(zone: str | None = None, day: date | None = DAY) -> Clock:
    return Clock("local", Calendar(zone_named(zone) if zone else None, day, "--date"))


def times(stamps: list[str], of: Clock | None = None) -> list[datetime | None]:
    told = (of or clock()).microseconds(events.from_list(stamps)).tolist()
    return [None if time == NO_TIME else EPOCH + timedelta(microseconds=time) for time in told]


def tai(at: datetime) -> str:
    since = at - EPOCH
    return f"@{(1 << 62) + 10 + since.days * 86400 + since.seconds:016x}{since.microseconds * 1000:08x}"


def noon(at: datetime) -> str:
    return f"{at.hour % 12 or 12}:{at:%M:%S %p}"


#: How a stamp is written → the step that it keeps, and whether it says its zone.
FORMS = {
    "iso": (lambda at: f"{at:%Y-%m-%dT%H:%M:%S.%f}", 1, False),
    "iso with a comma": (lambda at: f"{at:%Y-%m-%d %H:%M:%S},{at.microsecond // 1000:03}", 1000, False),
    "iso zulu": (lambda at: f"{at:%Y-%m-%dT%H:%M:%SZ}", 10**6, True),
    "iso nanoseconds": (lambda at: f"{at:%Y-%m-%dT%H:%M:%S.%f}789Z", 1, True),
    "iso +0100": (lambda at: f"{at.astimezone(timezone(timedelta(hours=1))):%Y-%m-%dT%H:%M:%S.%f%z}", 1, True),
    "iso -03:30": (lambda at: f"{at.astimezone(timezone(-timedelta(hours=3.5))):%Y-%m-%d %H:%M:%S-03:30}", 10**6, True),
    "iso +02": (lambda at: f"{at.astimezone(timezone(timedelta(hours=2))):%Y-%m-%dT%H:%M:%S+02}", 10**6, True),
    "basic": (lambda at: f"{at:%Y%m%dT%H%M%SZ}", 10**6, True),
    "basic with dots": (lambda at: f"{at:%Y%m%d.%H%M%S}.{at.microsecond // 1000:03}", 1000, False),
    "slashes": (lambda at: f"{at:%Y/%m/%d %H:%M:%S}", 10**6, False),
    "dots": (lambda at: f"{at:%Y.%m.%d %H:%M:%S}", 10**6, False),
    "svlogd": (lambda at: f"{at:%Y-%m-%d_%H:%M:%S.%f}", 1, False),
    "kerio": (lambda at: f"[{at:%d/%b/%Y %H:%M:%S}]", 10**6, False),
    "apache": (lambda at: f"{at:%d/%b/%Y:%H:%M:%S} +0000", 10**6, True),
    "rfc 5322": (lambda at: f"{at:%a, %d %b %Y %H:%M:%S} -0000", 10**6, True),
    "ctime": (lambda at: f"{at:%a %b} {at.day:2} {at:%H:%M:%S %Y}", 10**6, False),
    "date(1)": (lambda at: f"{at:%a %b} {at.day:2} {at:%H:%M:%S} UTC {at:%Y}", 10**6, True),
    "script": (lambda at: f"{at:%a %d %b %Y} {noon(at)} UTC", 10**6, True),
    "us, two figures": (lambda at: f"{at:%m/%d/%y %H:%M:%S}", 10**6, False),
    "us, noon": (lambda at: f"{at.month}/{at.day}/{at.year} {noon(at)}", 10**6, False),
    "java": (lambda at: f"{at:%b} {at.day}, {at.year} {noon(at)}", 10**6, False),
    "german": (lambda at: f"{at:%d.%m.%Y %H:%M:%S}", 10**6, False),
    "epoch": (lambda at: f"{at.timestamp():.0f}", 10**6, True),
    "epoch, point": (lambda at: f"{int(at.timestamp())}.{at.microsecond:06}", 1, True),
    "epoch ms": (lambda at: f"{int(at.timestamp())}{at.microsecond // 1000:03}", 1000, True),
    "epoch ns": (lambda at: f"{int(at.timestamp())}{at.microsecond:06}000", 1, True),
    "tai64n": (tai, 1, True),
    "syslog": (lambda at: f"{at:%b} {at.day:2} {at:%H:%M:%S}", 10**6, False),
    "behind another": (lambda at: f"2020-02-02T02:02:02Z mx1 {at:%b} {at.day:2} {at:%H:%M:%S.%f}", 1, False),
    "time of day": (lambda at: f"{at:%H:%M:%S.%f}", 1, False),
}
UNDATED = {"syslog": timedelta(days=360), "behind another": timedelta(days=360), "time of day": timedelta(0)}
moments = st.datetimes(datetime(2001, 9, 10), datetime(2069, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=12)
@given(st.lists(moments, min_size=1, max_size=20), st.data())
def test_every_form_says_its_time(form: str, ats: list[datetime], data: st.DataObject) -> None:
    written, step, _ = FORMS[form]
    if form in UNDATED:
        back = st.timedeltas(timedelta(0), UNDATED[form])
        start = datetime(2026, 11, 23, 8, tzinfo=UTC)
        ats = [start - data.draw(back) + timedelta(microseconds=data.draw(st.integers(0, 10**9))) for _ in ats]
    ats = [EPOCH + (at - EPOCH) // timedelta(microseconds=step) * timedelta(microseconds=step) for at in ats]
    assert times([written(at) for at in ats]) == ats


@pytest.mark.parametrize("form", [form for form in FORMS if form != "time of day"])
@settings(max_examples=8)
@given(moments)
def test_a_zone_is_the_users_where_the_stamp_names_none(form: str, at: datetime) -> None:
    written, step, zoned = FORMS[form]
    if form in UNDATED:
        at = at.replace(year=2026, month=5)
    at = EPOCH + (at - EPOCH) // timedelta(microseconds=step) * timedelta(microseconds=step)
    of = clock("+02:00")
    assert times([written(at)], of) == [at if zoned else at - timedelta(hours=2)]
    assert not of.assumed, "what the user says is not assumed"
    of = clock()
    times([written(at)], of)
    assert bool(of.assumed) != zoned


STAMPS = st.one_of(
    st.builds(lambda form, at: FORMS[form][0](at), st.sampled_from(sorted(FORMS)), moments),
    st.from_regex(r"[0-9]{1,4}[-/ ][0-9A-Za-z]{1,3}[-/ ][0-9]{1,4}[T ][0-9]{1,2}:[0-9]{2}(:[0-9]{2})?", fullmatch=True),
    st.text(max_size=40),
)


@given(st.lists(STAMPS, max_size=30), st.integers(0, 30))
def test_a_column_is_read_as_its_stamps_in_turn(stamps: list[str], cut: int) -> None:
    whole, turns, halves = clock("Europe/Berlin"), clock("Europe/Berlin"), clock("Europe/Berlin")
    told = times(stamps, whole)
    assert told == [time for stamp in stamps for time in times([stamp], turns)]
    assert told == times(stamps[:cut], halves) + times(stamps[cut:], halves)
    assert whole.assumed == turns.assumed == halves.assumed


WRONG = [
    "",
    "250",
    "Ene  5 10:11:12",
    "2026-02-31 10:11:12",
    "2026-01-05 24:11:12",
    "0000-01-05 10:11:12",
    "13:00:00 PM",
]
WRONG += ["99/99/99 10:11:12", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "@ffffffffffffffffffffffff"]


@pytest.mark.parametrize("stamp", WRONG)
def test_what_is_no_stamp_has_no_time(stamp: str) -> None:
    assert times([stamp]) == [None]


@pytest.mark.parametrize(
    ("day", "stamp", "year"),
    [
        (date(2026, 1, 3), "Dec 31 23:59:59", 2025),
        (date(2026, 1, 3), "Jan  3 23:59:59", 2026),
        (date(2026, 1, 3), "Jan  4 00:00:01", 2026),  # it is tomorrow in the log's zone
        (date(2026, 1, 3), "Jan  5 00:00:01", 2025),
        (date(2025, 12, 31), "Jan  1 00:00:01", 2026),
        (date(2026, 11, 23), "Feb 29 12:00:00", 2024),
        (None, "Feb 29 12:00:00", 1972),
    ],
)
def test_the_year_is_the_last_that_is_not_after_the_day_of_the_log(day: date | None, stamp: str, year: int) -> None:
    (time,) = times([stamp], clock(day=day))
    assert time is not None and time.year == year


def test_a_clock_passes_midnight() -> None:
    stamps = [
        "22:00:00.5",
        "23:59:59.9",
        "00:00:00.1",
        "23:59:59.95",
        "00:00:00.2",
        "00:30:00",
        "00:10:00",
        "22:00:00",
        "09:00:00",
    ]
    days = [23, 23, 24, 23, 24, 24, 24, 24, 25]
    assert [time and time.day for time in times(stamps)] == days


def test_the_hour_that_the_clock_shows_twice() -> None:
    stamps = [
        f"2026-10-25 {clock}"
        for clock in ("01:59:59", "02:00:01", "02:59:59", "02:59:58", "02:00:02", "02:58:00", "03:00:00")
    ]
    hours = [(23, 59), (0, 0), (0, 59), (0, 59), (1, 0), (1, 58), (2, 0)]
    of = clock("Europe/Berlin")
    assert [(time.hour, time.minute) for each in stamps for time in times([each], of) if time] == hours


def test_zones_by_name_and_offset() -> None:
    assert zone_named("+0530").utcoffset(None) == zone_named("UTC+5:30").utcoffset(None) == timedelta(hours=5.5)
    assert str(zone_named("europe/berlin")) == "Europe/Berlin"
    for wrong, near in {"Berlin": "Europe/Berlin", "Europe/Berln": "Europe/Berlin", "+25:00": "", "": ""}.items():
        with pytest.raises(UsageError, match=near or "Europe/Berlin"):
            zone_named(wrong)


def test_the_day_of_a_file(tmp_path: Path) -> None:
    dated, plain = tmp_path / "2026.01.05-smtpLog.log", tmp_path / "20269999.log"
    for path in (dated, plain):
        path.write_text("x")
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert calendar_of(str(dated), None, None) == Calendar(None, date(2026, 1, 5), "the name of the file")
    assert calendar_of(str(plain), None, None) == Calendar(None, date(2023, 11, 14), "the time stamp of the file")
    assert calendar_of(str(dated), None, DAY) == Calendar(None, DAY, "--date")
    assert calendar_of("-", None, None) == Calendar()


LOG = """Nov 12 19:35:38 mx1 postfix/smtpd[22986]: connect from unknown[198.51.100.7]
Nov 12 19:35:38 mx1 postfix/smtpd[22986]: > unknown[198.51.100.7]: 220 mx.example.net ESMTP
Nov 12 19:35:38 mx1 postfix/smtpd[22986]: < unknown[198.51.100.7]: QUIT
Nov 12 19:35:40 mx1 postfix/smtpd[22986]: > unknown[198.51.100.7]: 221 Bye
"""


def test_what_was_assumed_is_said(tmp_path: Path) -> None:
    path = tmp_path / "maillog"
    path.write_text(LOG)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    (dialog,) = read(path)
    assert dialog.started == datetime(2022, 11, 12, 19, 35, 38, tzinfo=UTC) or dialog.started == datetime(
        2023, 11, 12, 19, 35, 38, tzinfo=UTC
    )
    ran = smtplog("analyze", "--output-format", "json", str(path))
    (row,) = json.loads(ran.stdout)["files"]
    assert ["zone" in row["assumed"][0], "2023-11-14" in row["assumed"][1]] == [True, True]
    ran = smtplog(
        "analyze", "--output-format", "json", str(path), "--timezone", "America/New_York", "--date", "2026-11-30"
    )
    told = json.loads(ran.stdout)
    assert told["files"][0]["assumed"] == []
    assert told["span"]["first"] == "2026-11-13T00:35:38+00:00"
    text = smtplog("analyze", str(path)).stdout.decode()
    assert "--timezone" in text and "2023-11-14" in text
    wrong = smtplog("analyze", str(path), "--timezone", "Mars")
    assert wrong.returncode == 2 and wrong.stderr.count(b"\n") == 1
