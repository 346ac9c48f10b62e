"""The state machine, visible: every allowed command, every class of reply, where it leads.

All of it is derived from :mod:`smtplog.states` by walking ``after()``; this module knows places on paper only. Two moves
are no command and stand in no table there: the greeting of the server, and the end of the connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

from smtplog import states

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES = (".svg", ".png", ".pdf")


class Edge(NamedTuple):
    """A verb that is legal in a state, the class of its reply (or 421), the state after it."""

    state: str
    verb: str
    reply: str
    next: str


_UNSAID = (
    Edge("connected", "greeting", "2yz", "greeted"),
    Edge("connected", "greeting", "4yz", "connected"),
    Edge("connected", "greeting", "5yz", "connected"),
    Edge("closing", "end of connection", "", "closed"),
)


def edges() -> tuple[Edge, ...]:
    """All moves, by state in the order a session meets them."""
    found = [
        Edge(state, verb, reply, _next(state, states.after(verb, code)))
        for state in states.STATES
        for verb in states.ALLOWED[state]
        for code, reply in _replies(verb)
    ]
    return tuple(sorted((*_UNSAID, *found), key=lambda edge: states.STATES.index(edge.state)))


def _replies(verb: str) -> Iterator[tuple[int, str]]:
    """Codes to try and what they stand for. A 3yz is tried only where the table has one, and then a 2yz likewise."""
    known = {code for name, code in states.AFTER if name == verb}
    done = sorted(known & {2, 3}) or [2]
    for digit in (*done, 4, 5):
        yield digit * 100, f"{digit}yz"
    for code in sorted({421, *known} - set(range(10))):
        yield code, str(code)


def _next(state: str, after: states.After) -> str:
    """The state where ``after`` leads from a state; a hello, once accepted, is in force in all but the first two."""
    session = {
        "hello": state not in ("connected", "greeted"),
        "transaction": state if state in states.TRANSACTION_STATES else "none",
        "auth": state == "auth",
        "closing": state == "closing",
    }
    session |= {name: value for name, value in after._asdict().items() if value is not None and name in session}
    if session["closing"]:
        return "closing"
    if session["auth"]:
        return "auth"
    if session["transaction"] != "none":
        return str(session["transaction"])
    return "ready" if session["hello"] not in (False, "none") else "greeted"


def said(moves: Iterable[Edge]) -> str:
    """Moves in words: ``EHLO, HELO, LHLO 2yz; BDAT LAST 2yz 4yz 5yz``."""
    replies: dict[str, list[str]] = {}
    for edge in moves:
        replies.setdefault("end of text (.)" if edge.verb == "." else edge.verb, []).append(edge.reply)
    verbs: dict[str, list[str]] = {}
    for verb, classes in replies.items():
        told = " ".join(sorted(set(classes)))
        verbs.setdefault("2yz to 5yz" if told == "2yz 3yz 4yz 5yz" else told, []).append(verb)
    return "; ".join(f"{', '.join(names)} {told}".rstrip() for told, names in verbs.items())


def _is_silent(edge: Edge) -> bool:
    """What one sentence tells of all states: a refused command stays, 421 closes."""
    return edge.reply == "421" or (edge.reply in ("4yz", "5yz") and edge.next == edge.state)


def rows() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Each state with its moves: what is said, where it leads."""
    for state in states.STATES:
        moves = [edge for edge in edges() if edge.state == state and not _is_silent(edge)]
        targets = sorted({edge.next for edge in moves}, key=states.STATES.index)
        targets.sort(key=lambda target: target == state)
        yield state, [(said(edge for edge in moves if edge.next == target), target) for target in targets]


def dot() -> str:
    """The machine in the DOT language of Graphviz."""
    lines = ["digraph smtp {", '  rankdir="LR";', '  node [shape="box", style="rounded", fontname="sans-serif"];']
    lines += ['  edge [fontname="sans-serif", fontsize="10"];']
    lines += [f'  "{state}";' for state in states.STATES]
    pairs: dict[tuple[str, str, bool], list[Edge]] = {}
    for edge in edges():
        if edge.reply == "421" or not _is_silent(edge):
            pairs.setdefault((edge.state, edge.next, edge.reply in _CALM), []).append(edge)
    for (state, target, calm), moves in pairs.items():
        text = "421" if {edge.reply for edge in moves} == {"421"} else said(moves).replace("; ", "\\n")
        colour = ', color="gray60", fontcolor="gray40"' if calm else ""
        lines.append(f'  "{state}" -> "{target}" [label="{text}"{colour}];')
    return "\n".join([*lines, "}"])


# -- the drawing

_CALM = ("4yz", "5yz", "421")
#: Frame → the states in it. An arrow from a frame stands for one from each of its states.
FRAMES = {
    "transaction": ("mail", "rcpt", "bdat", "failed"),
    "session": tuple(state for state in states.STATES if state not in ("closing", "closed")),
}


class Arrow(NamedTuple):
    """One arrow of the drawing and the moves it stands for."""

    source: str  #: a state or a frame
    target: str
    calm: bool  #: refused commands and 421
    moves: tuple[Edge, ...]
    besides: tuple[str, ...] = ()  #: states of the frame that it does not stand for


def arrows() -> list[Arrow]:
    """The arrows: what all states of a frame have in common starts at the frame. Loops are none: they stand in the boxes."""
    left = {edge for edge in edges() if edge.next != edge.state}
    found = []
    closing = [edge for edge in left if edge.next == "closing"]
    for calm in (False, True):
        moves = [edge for edge in closing if (edge.reply in _CALM) == calm]
        besides = tuple(state for state in FRAMES["session"] if state not in {edge.state for edge in moves})
        found.append(Arrow("session", "closing", calm, _ordered(moves), besides))
    left -= set(closing)
    inside = [
        {(edge.verb, edge.reply, edge.next) for edge in left if edge.state == state} for state in FRAMES["transaction"]
    ]
    common = {edge for edge in left if edge.state in FRAMES["transaction"] and edge[1:] in set.intersection(*inside)}
    found.append(Arrow("transaction", "ready", False, _ordered(common)))
    pairs: dict[tuple[str, str, bool], list[Edge]] = {}
    for edge in _ordered(left - common):
        pairs.setdefault((edge.state, edge.next, edge.reply in _CALM), []).append(edge)
    return found + [Arrow(*pair, tuple(moves)) for pair, moves in pairs.items()]


def _ordered(moves: Iterable[Edge]) -> tuple[Edge, ...]:
    wanted = set(moves)
    return tuple(edge for edge in edges() if edge in wanted)


SIZE = (15.9, 10.4)
_INK, _GREY, _PALE, _FACE = "#1b3a57", "#7d8388", "#eef4fa", "#ffffff"
#: State → centre, width and height of its box; frame → its left lower corner, width and height. In inches.
BOXES = {
    "connected": (1.75, 9.1, 1.9, 0.8),
    "greeted": (5.2, 9.1, 2.9, 1.0),
    "auth": (9.9, 9.1, 3.4, 1.0),
    "ready": (6.75, 6.55, 11.1, 1.1),
    "mail": (2.45, 4.05, 1.9, 1.0),
    "rcpt": (6.2, 4.05, 1.9, 1.0),
    "data": (10.75, 4.05, 1.9, 1.0),
    "failed": (2.45, 1.55, 1.9, 1.0),
    "bdat": (6.2, 1.55, 1.9, 1.0),
    "closing": (14.95, 6.55, 1.5, 0.8),
    "closed": (14.95, 4.05, 1.5, 0.8),
}
CORNERS = {"session": (0.3, 0.35, 12.4, 9.55), "transaction": (1.1, 0.75, 7.8, 4.1)}
_Point = tuple[float, float]
#: (source, target, calm) → the corners of an arrow, the place of its label, which side of the label is there.
ROUTES: dict[tuple[str, str, bool], tuple[tuple[_Point, ...], _Point, str]] = {
    ("connected", "greeted", False): (((2.7, 9.1), (3.75, 9.1)), (3.22, 9.2), "center"),
    ("greeted", "ready", False): (((4.6, 8.6), (4.6, 7.1)), (4.5, 7.85), "right"),
    ("ready", "greeted", False): (((5.8, 7.1), (5.8, 8.6)), (5.9, 7.85), "left"),
    ("ready", "auth", False): (((8.6, 7.1), (8.6, 8.6)), (8.5, 7.85), "right"),
    ("auth", "ready", False): (((9.2, 8.6), (9.2, 7.1)), (9.3, 7.85), "left"),
    ("auth", "ready", True): (((10.8, 8.6), (10.8, 7.1)), (10.9, 7.85), "left"),
    ("ready", "mail", False): (((1.7, 6.0), (1.7, 4.55)), (1.8, 5.4), "left"),
    ("mail", "rcpt", False): (((3.4, 4.05), (5.25, 4.05)), (4.3, 4.15), "center"),
    ("rcpt", "data", False): (((7.15, 4.05), (9.8, 4.05)), (9.3, 4.15), "center"),
    ("rcpt", "bdat", False): (((6.2, 3.55), (6.2, 2.05)), (6.3, 2.7), "left"),
    ("rcpt", "failed", True): (((5.4, 3.55), (3.4, 1.95)), (4.55, 2.75), "left"),
    ("bdat", "failed", True): (((5.25, 1.5), (3.4, 1.5)), (4.3, 1.25), "center"),
    ("failed", "mail", False): (((2.1, 2.05), (2.1, 3.55)), (2.0, 2.8), "right"),
    ("rcpt", "ready", False): (((6.0, 4.55), (6.0, 6.0)), (5.9, 5.55), "right"),
    ("rcpt", "ready", True): (((6.4, 4.55), (6.4, 6.0)), (6.5, 5.15), "left"),
    ("bdat", "ready", False): (((7.15, 1.8), (8.2, 1.8), (8.2, 6.0)), (8.1, 5.6), "right"),
    ("bdat", "ready", True): (((7.15, 1.3), (8.6, 1.3), (8.6, 6.0)), (8.7, 5.15), "left"),
    ("data", "ready", False): (((10.4, 4.55), (10.4, 6.0)), (10.3, 5.6), "right"),
    ("data", "ready", True): (((10.9, 4.55), (10.9, 6.0)), (11.0, 5.15), "left"),
    ("transaction", "ready", False): (((3.4, 4.85), (3.4, 6.0)), (3.5, 5.4), "left"),
    ("session", "closing", False): (((12.7, 6.75), (14.2, 6.75)), (13.45, 6.85), "center"),
    ("session", "closing", True): (((12.7, 6.35), (14.2, 6.35)), (13.45, 5.9), "center"),
    ("closing", "closed", False): (((14.95, 6.15), (14.95, 4.45)), (14.85, 5.3), "right"),
}
_KEY = (
    ("accepted: 2yz, 3yz", _INK),
    ("refused (4yz, 5yz) and 421", _GREY),
    ("any other refused command stays where it was", _GREY),
)


def plot(ax: Axes | None = None) -> Axes:
    """Draw the machine: states in boxes, what stays in a state inside its box, refused commands and 421 in grey."""
    from matplotlib.figure import Figure

    if ax is None:
        ax = Figure(figsize=SIZE).add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]), aspect="equal")
    ax.axis("off")
    for name, (x, y, width, height) in CORNERS.items():
        _box(ax, x, y, width, height, _PALE if name == "transaction" else "#fafafa", "#c3d3e2", dashed=True)
        ax.text(x + 0.15, y + 0.12, name, color=_GREY, fontsize=9, style="italic")
    for state, moves in rows():
        x, y, width, height = BOXES[state]
        _box(ax, x - width / 2, y - height / 2, width, height, _FACE, _INK)
        loops = [text for text, target in moves if target == state]
        ax.text(x, y + (height / 2 - 0.22 if loops else 0), state, ha="center", va="center", weight="bold", color=_INK)
        for text in loops:
            stays = fill(_glued(f"stays: {text}"), int(width * 15))
            ax.text(x, y - 0.14, stays, ha="center", va="center", fontsize=7.5, color=_GREY, linespacing=1.15)
    for arrow in arrows():
        _arrow(ax, arrow)
    ax.text(0.3, 10.06, "The states of an SMTP session", fontsize=14, weight="bold", color=_INK)
    for i, (text, colour) in enumerate(_KEY):
        y = 1.5 - 0.3 * i
        if i < 2:
            ax.annotate("", (9.75, y), (9.25, y), arrowprops={"arrowstyle": "-|>", "color": colour})
        ax.text(9.85 if i < 2 else 9.25, y, text, fontsize=8, color=colour, va="center")
    return ax


def _box(
    ax: Axes, x: float, y: float, width: float, height: float, face: str, edge: str, *, dashed: bool = False
) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=0.12"
    line = {"linestyle": (0, (4, 3)), "linewidth": 1.0, "zorder": 0} if dashed else {"linewidth": 1.3, "zorder": 3}
    ax.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=face, edgecolor=edge, **line))


def _arrow(ax: Axes, arrow: Arrow) -> None:
    colour = _GREY if arrow.calm else _INK
    points, (x, y), side = ROUTES[arrow.source, arrow.target, arrow.calm]
    ax.plot(*zip(*points[:-1], strict=True), color=colour, linewidth=1.2, zorder=2)
    style: dict[str, Any] = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", points[-1], points[-2], arrowprops=style, zorder=2)
    above = "bottom" if side == "center" else "center"
    ax.text(x, y, label(arrow), color=colour, fontsize=8, ha=side, va=above, linespacing=1.2, zorder=4, gid="label")


def label(arrow: Arrow) -> str:
    """What stands beside an arrow; 421 needs no verbs; the states that an arrow of a frame is not for are named."""
    text = "421" if {edge.reply for edge in arrow.moves} == {"421"} else said(arrow.moves)
    lines = [fill(_glued(part), 24) for part in text.split("; ")]
    if arrow.besides:
        lines.append(fill(f"(not from {', '.join(arrow.besides)})", 20))
    return "\n".join(lines)


def _glued(text: str) -> str:
    """A class of replies stays with its verb when lines are folded."""
    return re.sub(r" (?=[2-5]yz)", "\N{NO-BREAK SPACE}", text)


def save(path: str) -> None:
    """Draw to a ``.svg``, ``.png`` or ``.pdf`` file."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, facecolor="white")
    FigureCanvasAgg(figure)
    plot(figure.add_axes((0, 0, 1, 1)))
    with rc_context({"svg.hashsalt": "smtplog"}):
        figure.savefig(path, dpi=110)
