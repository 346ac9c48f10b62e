"""The DataFrames: the same columns and types for any log, and for none."""

from __future__ import annotations

import pytest

from smtplog import read, tables
from smtplog.charts import replies_by_code
from tests.conftest import one_of_each

FRAMES = ("dialogs", "exchanges", "transactions", "findings", "events")


@pytest.mark.parametrize("name", FRAMES)
def test_types_do_not_depend_on_the_log(name: str) -> None:
    empty = getattr(tables, f"{name}_frame")([])
    for path in one_of_each():
        frame = getattr(read(path, block_size=1 << 20), name)
        assert list(frame.columns) == list(empty.columns)
        for column in frame.columns:
            if str(frame[column].dtype) != "category":
                assert frame[column].dtype == empty[column].dtype


def test_the_frames_agree_with_the_summary() -> None:
    log = read(*one_of_each(), block_size=1 << 20)
    told = log.summary().to_json()
    assert len(log.dialogs) == told["dialogs"]["count"]
    assert len(log.transactions) == told["transactions"]["count"]
    assert log.exchanges["command"].notna().sum() == sum(told["commands"].values())
    assert len(log.findings) == sum(row["count"] for row in told["findings"])


def test_the_chart_has_a_bar_and_a_label_for_each_code() -> None:
    replies = [{"code": 250, "count": 5000, "meaning": "done"}, {"code": 550, "count": 2, "meaning": "refused"}]
    axes = replies_by_code.plot(replies)
    assert [bar.get_width() for bar in axes.patches] == [2, 5000]
    labels = [text.get_text() for text in axes.texts]
    assert any("5,000" in label and "done" in label for label in labels)
    assert axes.get_xscale() == "log"
