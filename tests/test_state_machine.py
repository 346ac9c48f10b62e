"""The drawing of the state machine holds exactly what the table holds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from typer.testing import CliRunner

from smtplog import states
from smtplog.charts import state_machine
from smtplog.charts.state_machine import FRAMES, arrows, dot, edges, plot, rows
from smtplog.cli import app
from tests.test_cli import smtplog

ALLOWED = [(state, verb) for state, verbs in states.ALLOWED.items() for verb in verbs]


def test_every_state_occurs() -> None:
    assert {edge.state for edge in edges()} | {edge.next for edge in edges()} == set(states.STATES)
    assert [state for state, _ in rows()] == list(states.STATES)


@pytest.mark.parametrize(("state", "verb"), ALLOWED)
def test_every_allowed_command_has_its_edges(state: str, verb: str) -> None:
    replies = {edge.reply for edge in edges() if (edge.state, edge.verb) == (state, verb)}
    assert {"4yz", "5yz", "421"} < replies
    assert replies & {"2yz", "3yz"}


def test_known_moves() -> None:
    moves = {edge[:3]: edge.next for edge in edges()}
    assert moves["ready", "MAIL", "2yz"] == "mail"
    assert moves["ready", "MAIL", "5yz"] == "ready"
    assert moves["ready", "STARTTLS", "2yz"] == "greeted"
    assert moves["rcpt", "DATA", "3yz"] == "data"
    assert ("rcpt", "DATA", "2yz") not in moves
    assert moves["data", ".", "5yz"] == "ready"
    assert moves["bdat", "BDAT", "5yz"] == "failed"
    assert moves["auth", "AUTH-RESPONSE", "3yz"] == "auth"
    assert moves["mail", "NOOP", "421"] == "closing"
    assert moves["greeted", "RSET", "2yz"] == "greeted"


def test_every_move_of_the_table_is_walked() -> None:
    allowed = {verb for _, verb in ALLOWED}
    walked = {(edge.verb, edge.reply) for edge in edges()}
    for verb, code in states.AFTER:
        if verb in allowed:
            assert (verb, f"{code}yz" if code < 10 else str(code)) in walked


def test_the_arrows_stand_for_all_moves_between_states() -> None:
    drawn = [edge for arrow in arrows() for edge in arrow.moves]
    assert len(drawn) == len(set(drawn))
    assert set(drawn) == {edge for edge in edges() if edge.state != edge.next}
    for arrow in arrows():
        if arrow.source in FRAMES:
            assert {edge.state for edge in arrow.moves} | set(arrow.besides) == set(FRAMES[arrow.source])


def test_the_text_has_every_verb() -> None:
    told = smtplog("rules", "--state-machine").stdout.decode()
    assert all(verb in told for _, verb in ALLOWED)
    assert all(re.search(rf"^{state}$", told, re.MULTILINE) for state in states.STATES)


def test_json_is_the_edges(tmp_path: Path) -> None:
    path = tmp_path / "edges.json"
    assert smtplog("rules", "--state-machine", "-o", str(path)).returncode == 0
    assert [tuple(edge.values()) for edge in json.loads(path.read_text())] == [tuple(edge) for edge in edges()]


def test_dot_parses() -> None:
    lines = dot().splitlines()
    assert lines[0] == "digraph smtp {" and lines[-1] == "}"
    node = re.compile(r'  "([a-z]+)";')
    arrow = re.compile(r'  "([a-z]+)" -> "([a-z]+)" \[label="(?:[^"\\]|\\n)*"(?:, [a-z]+="[a-z0-9]+")*\];')
    nodes = [match[1] for line in lines if (match := node.fullmatch(line))]
    pairs = [(match[1], match[2]) for line in lines if (match := arrow.fullmatch(line))]
    assert nodes == list(states.STATES)
    attributes = [line for line in lines[1:-1] if not node.fullmatch(line) and not arrow.fullmatch(line)]
    assert all(re.fullmatch(r"  (rankdir=.*|(node|edge) \[.*\]);", line) for line in attributes)
    assert {(edge.state, edge.next) for edge in edges() if edge.state != edge.next} <= set(pairs)
    for opening, closing in ("{}", "[]", "()"):
        assert dot().count(opening) == dot().count(closing)
    assert dot().count('"') % 2 == 0


@pytest.mark.parametrize("suffix", state_machine.PICTURES)
def test_the_picture_is_made(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"states{suffix}"
    assert CliRunner().invoke(app, ["rules", "--state-machine", "-o", str(path)]).exit_code == 0
    if suffix == ".png":
        pixels = imread(path)[..., :3]
        assert 0.01 < (pixels < 0.6).all(axis=2).mean() < 0.2
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")


def test_nothing_in_the_picture_overlaps() -> None:
    figure = Figure(figsize=state_machine.SIZE)
    axes = plot(figure.add_axes((0, 0, 1, 1)))
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in axes.texts if text.get_text()]
    places = [text.get_window_extent(renderer) for text in texts]
    for i, one in enumerate(places):
        for j, other in enumerate(places[:i]):
            assert not one.overlaps(other), (texts[i].get_text(), texts[j].get_text())
        assert figure.bbox.contains(one.x0, one.y0) and figure.bbox.contains(one.x1, one.y1)
    boxes = [axes.transData.transform_bbox(box) for box in map(_box, state_machine.BOXES.values())]
    for text, extent in zip(texts, places, strict=True):
        for box in boxes:
            inside = box.contains(extent.x0, extent.y0) and box.contains(extent.x1, extent.y1)
            assert inside or not box.overlaps(extent), text.get_text()


def _box(place: tuple[float, float, float, float]):  # type: ignore[no-untyped-def]
    from matplotlib.transforms import Bbox

    x, y, width, height = place
    return Bbox.from_bounds(x - width / 2, y - height / 2, width, height)


def test_wrong_words() -> None:
    ran = smtplog("rules", "--state-machine", "SEQ001")
    assert ran.returncode == 2 and ran.stderr.count(b"\n") == 1
    ran = smtplog("rules", "--state-machine", "-o", "states.doc")
    assert ran.returncode == 2 and b".dot" in ran.stderr
