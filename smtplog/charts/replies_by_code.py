"""Replies by code: bars grouped by class, labelled with meaning and count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: First digit → colour (safe for the colour-blind) and what the class says (RFC 5321 section 4.2.1).
CLASSES = {
    2: ("#009E73", "2yz done"),
    3: ("#56B4E9", "3yz go on"),
    4: ("#E69F00", "4yz try later"),
    5: ("#D55E00", "5yz refused"),
}
_OTHER = ("#999999", "no class of SMTP")
_WIDEST = 64


def plot(replies: Sequence[dict[str, Any]], ax: Axes | None = None) -> Axes:
    """Draw rows of ``code count meaning`` (``Summary.to_json()["replies"]``) as horizontal bars, 2yz at the top.

    Counts that differ by more than a thousand times are drawn on a logarithmic axis.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = sorted(replies, key=lambda row: row["code"], reverse=True)
    if ax is None:
        ax = Figure(figsize=(9, max(1.6 + 0.36 * len(rows), 2.4)), layout="constrained").subplots()
    counts = [row["count"] for row in rows]
    colours = [CLASSES.get(row["code"] // 100, _OTHER)[0] for row in rows]
    bars = ax.barh([f"{row['code']}" for row in rows], counts, color=colours, height=0.7)
    wide = bool(counts) and max(counts) > 1000 * min(counts)
    if wide:
        ax.set_xscale("log")
    ax.bar_label(bars, labels=[f"{row['count']:,}  {_short(row['meaning'])}" for row in rows], padding=4, fontsize=9)
    most = max(counts, default=1)
    ax.set_xlim(0.5 if wide else 0, most**2.2 if wide else most * 2.1)
    ax.set_title("Replies by code", loc="left", fontweight="bold")
    ax.set_xlabel("replies" + (" (logarithmic)" if wide else ""))
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    present = [digit for digit in CLASSES if any(row["code"] // 100 == digit for row in rows)]
    if present:
        patches = [Patch(color=CLASSES[digit][0], label=CLASSES[digit][1]) for digit in present]
        ax.legend(handles=patches, loc="lower right", frameon=False, fontsize=9)
    return ax


def _short(words: str) -> str:
    return words if len(words) <= _WIDEST else words[: _WIDEST - 1] + "…"


def save(replies: Sequence[dict[str, Any]], path: str) -> None:
    """Draw to a ``.png``, ``.svg`` or ``.pdf`` file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, max(1.6 + 0.36 * len(replies), 2.4)), layout="constrained")
    FigureCanvasAgg(figure)
    plot(replies, figure.subplots())
    figure.savefig(path, dpi=144)
