"""When two replies count as the same: the ladder, and what is volatile in an exact comparison."""

from __future__ import annotations

import time
from datetime import datetime
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtplog import reference
from smtplog.replay.matching import LEVELS, Level, masked, same_command, same_reply

LABELS = st.from_regex(r"[a-z][a-z0-9-]{0,10}[a-z0-9]", fullmatch=True)
HOSTS = st.builds(lambda labels, top: ".".join([*labels, top]), st.lists(LABELS, min_size=1, max_size=4), st.sampled_from(["net", "example", "co.uk", "xn--p1ai"]))  # fmt: skip
DATES = st.datetimes(datetime(1970, 1, 1))
ADDRESSES = st.ip_addresses().map(lambda ip: str(ip) if ip.version == 4 else f"IPv6:{ip}")
NUMBERS = st.integers(0, 10**12).map(str)
IDS = st.one_of(
    st.from_regex(r"[0-9A-F]{5}[0-9][A-F][0-9A-F]{4}", fullmatch=True),  # Postfix
    st.from_regex(r"[0-9A-Za-z]{3}[0-9][a-z][0-9A-Za-z]-[0-9]{6}-[0-9A-Za-z]{2}", fullmatch=True),  # Exim
    st.from_regex(r"[0-9a-f]{7}[0-9]-[0-9a-f]{3}a-4[0-9a-f]{3}-[0-9a-f]{12}", fullmatch=True),  # a UUID
)
FORMS = (
    "%a, %d %b %Y %H:%M:%S +0100",
    "%a, %-d %b %Y %H:%M:%S -0700 (PDT)",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%a %b %d %H:%M:%S %Y",
    "%d %b %Y %H:%M",
    "%Y-%m-%dT%H:%M:%S.123Z",
    "%Y-%m-%d %H:%M:%S",
    "%H:%M:%S",
)
#: Replies of servers; what is in braces differs from session to session.
REPLIES = (
    "220 {host} ESMTP Postfix (Debian/GNU)\r\n",
    "220 {host} Microsoft ESMTP MAIL Service ready at {date}\r\n",
    "220 {host} ESMTP Exim 4.96 {date}\r\n",
    "220 {host} ESMTP Sendmail 8.17.1/8.17.1; {date}\r\n",
    "250-{host} Hello {host} [{address}], pleased to meet you\r\n250-SIZE {number}\r\n250-8BITMIME\r\n250 HELP\r\n",
    "250 2.0.0 Ok: queued as {id}\r\n",
    "250 OK id={id}\r\n",
    "250 2.6.0 <{id}@{host}> [InternalId={number}, Hostname={host}] Queued mail for delivery\r\n",
    "250 2.0.0 {id} Message accepted for delivery\r\n",
    "250 ok {number} qp {number}\r\n",
    "250 Accepted message {id} ({number} bytes in {number} ms)\r\n",
    "450 4.7.1 Client host rejected: cannot find your hostname, [{address}]\r\n",
    "550 5.1.1 <{id}@{host}>: Recipient address rejected: User unknown\r\n",
    "550-[{address}] is blocked, see http://{host}/\r\n550 try again after {date}\r\n",
    "221 {host} closing connection at {date}.\r\n",
    "421 {host}: too many connections from [{address}]: wait {number}s\r\n",
)


@st.composite
def filled(draw: st.DrawFn, reply: str, form: str) -> bytes:
    """A reply as some server sends it on some day."""
    parts = {"host": HOSTS, "address": ADDRESSES, "number": NUMBERS, "id": IDS, "date": DATES.map(lambda day: day.strftime(form))}  # fmt: skip
    for name, values in parts.items():
        while f"{{{name}}}" in reply:
            reply = reply.replace(f"{{{name}}}", draw(values), 1)
    return reply.encode()


@given(st.data(), st.sampled_from(REPLIES), st.sampled_from(FORMS))
def test_what_is_volatile_makes_no_difference(data: st.DataObject, reply: str, form: str) -> None:
    one, other = data.draw(filled(reply, form)), data.draw(filled(reply, form))
    assert same_reply(one, other, "exact")


@given(st.data())
def test_other_words_do(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(FORMS))
    one, other = data.draw(st.lists(st.sampled_from(REPLIES), min_size=2, max_size=2, unique=True))
    assert not same_reply(data.draw(filled(one, form)), data.draw(filled(other, form)), "exact")


KEYWORDS = [row.key for row in (*reference.table("smtp_extensions"), *reference.table("auth_mechanisms"))]


def test_keywords_of_ehlo_and_mechanisms_are_not_volatile() -> None:
    for one, other in combinations(KEYWORDS, 2):
        alike = one.upper() == other.upper()
        assert alike or not same_reply(f"250 {one}\r\n".encode(), f"250 {other}\r\n".encode(), "exact"), (one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("550 invalid mailbox", "550 invalid domain"),
        ("550 user id unknown", "550 user id expired"),
        ("250 paid", "250 said"),
        ("220 mx.example.net ESMTP Exim 4.96", "220 mx.example.net ESMTP Exim 4.97"),
        ("250 AUTH CRAM-MD5", "250 AUTH SCRAM-SHA-256"),
        ("550 5.1.1 no", "550 5.1.2 no"),
        ("250-mx\r\n250 DSN", "250-mx\r\n250-DSN\r\n250 SIZE"),
        ("451 try at noon", "451 try at night"),
    ],
)
def test_what_is_not_volatile(one: str, other: str) -> None:
    assert not same_reply(f"{one}\r\n".encode(), f"{other}\r\n".encode(), "exact")


TEXTS = st.text(st.sampled_from("aZ09.:-@<>[]()=/ ;,+_é\t"), max_size=60)


@given(TEXTS)
def test_masking_twice_is_masking_once(text: str) -> None:
    assert masked(masked(text)) == masked(text)


@pytest.mark.parametrize(
    "pump",
    ["a-", "a.", "1.", "1:", "a1", "Mon, ", "1 Jan ", "<a@", "::", "id=", "2026-01-01T", "9" * 9, " ", "IPv6:", "é.", "12:00 "],
)  # fmt: skip
def test_masking_takes_linear_time(pump: str) -> None:
    text = pump * ((1 << 18) // len(pump)) + "!"
    began = time.process_time()
    masked(text)
    assert time.process_time() - began < 3


CODES = st.sampled_from([220, 250, 251, 354, 421, 450, 451, 550, 554])
STATUSES = st.sampled_from(["", "2.1.0 ", "4.7.1 ", "5.1.1 ", "5.7.1 "])
WORDS = st.sampled_from(["Ok", "no", "User unknown"])


@given(st.tuples(CODES, STATUSES, WORDS), st.tuples(CODES, STATUSES, WORDS))
def test_the_ladder_goes_from_strict_to_loose(one: tuple[int, str, str], other: tuple[int, str, str]) -> None:
    replies = ["{} {}{}\r\n".format(*each).encode() for each in (one, other)]
    levels: list[Level] = ["exact", "enhanced", "code", "class"]
    assert tuple(levels) == LEVELS
    same = [same_reply(replies[0], replies[1], level) for level in levels]
    assert same == sorted(same), "what is the same is the same on every looser level"
    assert same[2] == (one[0] == other[0]) and same[3] == (one[0] // 100 == other[0] // 100)
    assert all(same_reply(replies[0], replies[0], level) for level in levels)


@given(st.binary(max_size=80), st.binary(max_size=80), st.sampled_from(["exact", "enhanced", "code", "class"]))
def test_any_octets_are_compared(one: bytes, other: bytes, level: Level) -> None:
    assert same_reply(one, one, level)
    assert same_reply(one, other, level) == same_reply(other, one, level)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("MAIL FROM:<a@example.org> SIZE=10", "mail from:<A@example.org>", True),
        ("RCPT TO:<a@example.org>", "RCPT TO:<b@example.org>", False),
        ("EHLO one.example", "EHLO two.example", True),
        ("AUTH PLAIN AGE=", "AUTH plain", True),
        ("AUTH PLAIN", "AUTH LOGIN", False),
        ("VRFY ann", "VRFY bob", False),
        ("QUIT", "RSET", False),
    ],
)
def test_commands(one: str, other: str, same: bool) -> None:
    assert same_command(one, other) is same
