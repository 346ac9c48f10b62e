"""data/: every row has its source, every regular expression is linear and fits its example; explain knows them all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtplog import events, reference, states
from smtplog.errors import UsageError
from smtplog.explain import explain

TABLES = sorted(path.stem for path in reference.folder("data").glob("*.csv"))
SEED = [
    "200",
    "211",
    "214",
    "220",
    "221",
    "250",
    "251",
    "354",
    "421",
    "450",
    "451",
    "452",
    "500",
    "501",
    "502",
    "503",
    "504",
    "521",
    "530",
    "550",
    "551",
    "552",
    "553",
    "554",
]


@pytest.mark.parametrize("table", TABLES)
def test_every_row_has_a_source(table: str) -> None:
    rows = reference.table(table)
    assert rows and all(row.source and row.key for row in rows)


def test_expressions_are_re2_and_fit_their_examples() -> None:
    for row in (*reference.table("server_banners"), *reference.table("reply_texts"), *reference.table("other_logs")):
        assert (
            events.found(events.from_list([row.fields.get("example", "")]), row["regex"])[0]
            or "example" not in row.fields
        )


@pytest.mark.parametrize("code", SEED)
def test_the_seed_table_is_explained(code: str) -> None:
    (entry, *_) = explain(code).entries
    assert {"meaning", "kind", "who", "next", "source"} <= set(entry.fields)
    if code in ("200", "521", "530"):
        assert entry.fields["history"]


def test_verbs_of_the_state_table_are_known() -> None:
    for verbs in states.ALLOWED.values():
        for verb in verbs:
            name = verb.removesuffix(" LAST")
            assert name in (".", "AUTH-RESPONSE") or reference.verb(name), name


@pytest.mark.parametrize(
    ("words", "titles"),
    [
        ("550 5.7.1 Unable to relay", ["Reply code 550", "Enhanced status code 5.7.1", "Exchange says: relay"]),
        ("MAIL", ["Command MAIL"]),
        ("NOTIFY=success,failure", ["Parameter NOTIFY"]),
        ("250-SIZE 1000", ["Reply code 250", "EHLO keyword SIZE"]),
        ("AUTH", ["Command AUTH", "EHLO keyword AUTH", "Parameter AUTH"]),
        ("SEQ003", ["SEQ003"]),
        ("rcpt to:<a@b.example> notify=never", ["Command RCPT", "Parameter NOTIFY"]),
        ("577", ["Reply code 577"]),
    ],
)
def test_what_a_person_has_in_hand(words: str, titles: list[str]) -> None:
    entries = [entry.title for entry in explain(words).entries]
    assert [any(entry.startswith(title) for entry in entries) for title in titles] == [True] * len(titles)


@given(st.text(max_size=40))
def test_explain_raises_nothing_but_its_sentence(words: str) -> None:
    try:
        assert explain(words).entries
    except UsageError as error:
        assert str(error).isprintable()
