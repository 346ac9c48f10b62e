"""explain: every code of the registries and every known text, soft or hard, who acts and what comes next."""

from __future__ import annotations

import contextlib
import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtplog import events, reference, speech
from smtplog.errors import UsageError
from smtplog.explain import Explanation, explain
from smtplog.output import printable
from smtplog.reference import Row
from tests.test_cli import smtplog

#: "Simple Mail Transfer Protocol (SMTP) Enhanced Status Codes Registry" of the IANA (RFC 5248): the last detail of each
#: subject; every number up to it is registered.
REGISTERED = {0: 0, 1: 10, 2: 4, 3: 6, 4: 7, 5: 6, 6: 10, 7: 30}
IANA = tuple(f"X.{subject}.{detail}" for subject, last in REGISTERED.items() for detail in range(last + 1))
#: Codes that say that something went well (RFC 3463 section 3, RFC 3886 section 3.3.4, RFC 6710 section 4.1).
WELL = ("X.1.5", "X.1.9", "X.3.6")

ENHANCED = reference.table("enhanced_status_codes")
TEXTS = reference.table("reply_texts")
CODES = reference.table("reply_codes")
ANSWER = ("kind", "who", "next", "meaning", "source")
SOFT, HARD, DONE = "soft: temporary.", "hard: permanent.", "success: done."
KINDS = {"2": DONE, "3": "go on: intermediate.", "4": SOFT, "5": HARD}


def written(row: Row) -> list[str]:
    """The codes that a row stands for: the classes it has, and both ends of a range."""
    before, _, numbers = row.key.rpartition(".")
    ends = [f"{before}.{number}" for number in numbers.split("-")]
    return [end.replace("X", severity, 1) for end in ends for severity in ("245" if end[0] == "X" else end[0])]


def named(row: Row) -> str:
    return f"{row['provider']}: {row.key}".replace(" ", "-")


def is_sound(explanation: Explanation) -> bool:
    return all(value and value == value.strip() for entry in explanation.entries for value in entry.fields.values())


def test_the_registry_of_the_iana_is_complete() -> None:
    assert len(IANA) == 81
    assert set(IANA) <= {row.key for row in ENHANCED}
    assert all("vendor" not in row.source for row in ENHANCED if row.key in IANA)
    assert all("vendor" in row.source for row in ENHANCED if row.key not in IANA)


def test_no_key_stands_twice() -> None:
    for table in (ENHANCED, CODES):
        assert len({row.key for row in table}) == len(table)
    assert len({(row["provider"], row.key) for row in TEXTS}) >= len(TEXTS) - 4
    assert len({row["regex"] for row in TEXTS}) == len({row["example"] for row in TEXTS}) == len(TEXTS)


@pytest.mark.parametrize("row", ENHANCED, ids=lambda row: row.key)
def test_every_enhanced_code(row: Row) -> None:
    assert row["fault"] in ("client", "server", "operator", "unknown", "none")
    assert (row["fault"] == "none") == (row.key in WELL)
    assert row["description"].endswith(".") and row["advice"].endswith((".", "!"))
    for code in written(row):
        explanation = explain(code)
        (entry,) = explanation.entries
        assert is_sound(explanation)
        assert tuple(entry.fields)[:4] == ANSWER[:4], "the answer comes first"
        assert entry.title == f"Enhanced status code {code}: {row['title']}"
        assert entry.fields["kind"].startswith(KINDS[code[0]])
        assert (entry.fields["who"] == "nobody has to act") == (code[0] == "2" or row["fault"] == "none")


@pytest.mark.parametrize("key", [key for key in IANA if key not in WELL])
def test_soft_and_hard_differ(key: str) -> None:
    soft, hard = (explain(key.replace("X", severity)).entries[0].fields for severity in "45")
    assert soft["kind"] != hard["kind"]
    assert soft["next"] != hard["next"]


@pytest.mark.parametrize(
    ("code", "title"),
    [
        ("5.7.54", "Exchange: unable to relay"),
        ("5.7.606", "banned sending address"),
        ("5.7.649", "banned sending address"),
        ("5.7.650", "unregistered; of its kind"),
        ("5.7.705", "tenant over its threshold"),
        ("5.7.706", "tenant blocked"),
        ("4.7.650", "throttled"),
        ("4.4.316", "connection refused"),
        ("4.7.32", "Gmail: From is not aligned"),
        ("5.7.26", "Multiple authentication checks failed"),
        ("5.9.9", "unregistered; of its kind: Other undefined status"),
    ],
)
def test_a_vendors_own_code_goes_before_the_general_one(code: str, title: str) -> None:
    assert title in explain(code).entries[0].title


@pytest.mark.parametrize("row", CODES, ids=lambda row: row.key)
def test_every_reply_code(row: Row) -> None:
    explanation = explain(row.key)
    (entry,) = explanation.entries
    assert is_sound(explanation)
    assert set(ANSWER) <= set(entry.fields)
    assert entry.fields["kind"].startswith(KINDS[row.key[0]])
    assert row["who"] in ("client", "server", "operator", "nobody", "unknown")
    assert row.key[0] in "23" or entry.fields["who"] != "nobody has to act"
    assert entry.fields["next"].endswith((".", "?"))


@pytest.mark.parametrize("row", TEXTS, ids=named)
def test_every_text_is_recognised_by_its_example(row: Row) -> None:
    explanation = explain(row["example"])
    first, *others = explanation.entries
    assert is_sound(explanation)
    assert first.title == (f"{row['provider']} says: {row.key}" if row["provider"] else f"This text says: {row.key}")
    assert first.fields["next"] == row["next"], "another row of the same name came first"
    assert tuple(first.fields) == ANSWER
    assert first.fields["kind"].startswith(KINDS[row["example"][0]])
    assert sum(entry.title.partition(":")[0].endswith(" says") for entry in explanation.entries) <= 3
    assert others[-1].title.startswith("Reply code ")


@pytest.mark.parametrize("row", TEXTS, ids=named)
def test_every_row_of_the_texts_is_well_formed(row: Row) -> None:
    assert row["example"][0] in row["classes"] and set(row["classes"]) <= set("245")
    assert row["who"] in ("client", "server", "operator", "nobody", "unknown")
    assert row["explanation"].endswith(".") and row["next"].endswith(".")
    assert "(?=" not in row["regex"] and "(?<" not in row["regex"] and "(?!" not in row["regex"]
    assert row["regex"].isascii() and not re.search(r"[*+}]\)[*+{]", row["regex"]), "no repetition of a repetition"
    assert events.found(events.from_list([row["example"]]), row["regex"])[0]


def test_examples_name_nobody() -> None:
    for row in TEXTS:
        for address in re.findall(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", row["example"]):
            assert address.startswith("192.0.2."), row["example"]
        for domain in re.findall(r"[\w.+-]+@([\w.-]+\w)", row["example"]):
            assert domain.endswith("example.org") or domain in ("host", "corp.mail.ru", "rx.t-online.de"), row[
                "example"
            ]


def test_providers_come_before_general_rows() -> None:
    provided = [bool(row["provider"]) for row in TEXTS]
    assert provided == sorted(provided, reverse=True)


@pytest.mark.parametrize("row", TEXTS, ids=named)
def test_texts_are_read_in_linear_time(row: Row) -> None:
    pattern = re.compile(row["regex"])
    for pump in (row["example"], row["example"][:9], re.sub(r"[^a-z ]+", " ", row["regex"][4:60]) or "a"):
        text = (pump * (1 + 65536 // len(pump)))[:65536]
        begun = time.perf_counter()
        sum(1 for _ in pattern.finditer(text))
        assert time.perf_counter() - begun < 2, pump


def test_64_kib_of_anything_are_explained_at_once() -> None:
    for pump in ("relay ", "550-5.7.1 ", "RESOLVER.RST.", "sender domain ", ": 550 ", "5.7.1 ", "\x1b[31m", "5."):
        text = (pump * 65536)[:65536]
        begun = time.perf_counter()
        reference.situations(text)
        for words in (text, "550 " + text):
            with contextlib.suppress(UsageError):
                explain(words)
        assert time.perf_counter() - begun < 5, pump


GMAIL = (
    "550-5.7.26 This mail has been blocked because the sender is",
    "550-5.7.26 unauthenticated. Gmail requires all senders to authenticate with",
    "550 5.7.26 either SPF or DKIM. - gsmtp",
)


@pytest.mark.parametrize("between", [" ", "\n", "\r\n", "  "])
def test_a_reply_of_several_lines_is_one(between: str) -> None:
    first, second, third = explain(between.join(GMAIL)).entries
    assert first.title == "Gmail says: unauthenticated mail"
    assert second.title.startswith("Enhanced status code 5.7.26") and third.title == "Reply code 550"
    assert "next" not in second.fields and "next" not in third.fields, "it is answered once"


@pytest.mark.parametrize(
    ("words", "title", "kind"),
    [
        ("status=bounced (host mx.example.org[192.0.2.1] said: 550 5.1.1 No such user here)", "This text says", HARD),
        ("SMTP error after RCPT TO:<a@example.org>: 450 4.2.0 Greylisted, try later", "This text says: grey", SOFT),
        ("said: 550-5.1.1 The email account that you tried to 550 5.1.1 reach does not exist.", "Gmail says", HARD),
        ("dsn=4.7.1, status=deferred", "Enhanced status code 4.7.1", SOFT),
        ("5.7.1 Unable to relay", "Exchange says: relay refused", HARD),
        ("an unusual rate of unsolicited mail", "Gmail says: unusual rate", "the text alone does not tell"),
        ("550", "Reply code 550", HARD),
        ("550 5.0.0 zzz", "Enhanced status code 5.0.0", HARD),
        ("577 zzz", "Reply code 577", HARD),
        ("454 5.7.54 Unable to relay", "Exchange says: relay refused", SOFT),
    ],
)
def test_a_reply_is_found_where_it_stands(words: str, title: str, kind: str) -> None:
    entry = explain(words).entries[0]
    assert entry.title.startswith(title) and entry.fields["kind"].startswith(kind)


def test_the_code_decides_where_the_enhanced_code_contradicts_it() -> None:
    entries = explain("454 5.7.3 zzz").entries
    assert entries[0].fields["kind"].startswith(SOFT)
    assert "the code decides" in entries[0].fields["careful"]


def test_a_success_is_no_refusal() -> None:
    (entry,) = explain("220 mx.example.org ESMTP no spam, no relaying").entries
    assert entry.title == "Reply code 220"
    assert explain("250 2.0.0 Ok: queued as 4F2A91C0D3").entries[0].title == "This text says: queued"


def test_of_one_provider_one_reading() -> None:
    titles = [entry.title for entry in explain(GMAIL[0] + "; daily user sending limit exceeded").entries]
    assert sum(title.startswith("Gmail says") for title in titles) == 1
    text = "554 5.7.1 blocked using zen.spamhaus.org and b.barracudacentral.org and bl.spamcop.net, relay denied, quota"
    says = [entry.title for entry in explain(text).entries if " says: " in entry.title]
    assert [title.partition(" ")[0] for title in says] == ["Barracuda", "Spamhaus", "SpamCop"]


@pytest.mark.parametrize("words", ["", "²²²", "٣٣٣", "999", "xyzzy", "\x00", "\udcff", "host: 999 no", "1" * 70000])
def test_what_is_none_of_these_is_one_sentence(words: str) -> None:
    with pytest.raises(UsageError) as error:
        explain(words)
    assert str(error.value).isprintable() and len(str(error.value)) < 300


@given(
    st.text(max_size=60), st.sampled_from(["550 ", "550-5.7.1 ", "421-", "250 ", "host said: 550 ", "4.7.1 ", "5.7."])
)
def test_any_text_is_explained_and_safe(text: str, before: str) -> None:
    try:
        explanation = explain(before + text)
    except UsageError as error:
        assert str(error).isprintable()
        return
    for entry in explanation.entries:
        assert all(printable(each) == each for each in (entry.title, *entry.fields.values()))
    assert json.loads(json.dumps(explanation.to_json()))["entries"]


def test_controls_never_reach_the_terminal() -> None:
    for words in ("550 \x1b[31m5.7.1 \u202erelay\x9b", "\x1b]0;owned\x07", "5.7.1\x07", "\u2066MAIL"):
        ran = smtplog("explain", words)
        for stream in (ran.stdout, ran.stderr):
            assert all(printable(line) == line for line in stream.decode().splitlines())
        assert b"Traceback" not in ran.stderr


def test_words_of_the_shell_are_one_reply() -> None:
    ran = smtplog("explain", *" ".join(GMAIL).split())
    lines = ran.stdout.decode().splitlines()
    assert ran.returncode == 0
    assert lines[0] == "Gmail says: unauthenticated mail"
    assert [line.split()[0] for line in lines[1:] if line.startswith("  ") and line[2] != " "][:4] == list(ANSWER[:4])
    told = json.loads(smtplog("explain", "--output-format", "json", *" ".join(GMAIL).split()).stdout)
    assert told["entries"][0]["title"] == lines[0] and speech.code_of(told["words"]) == 550
