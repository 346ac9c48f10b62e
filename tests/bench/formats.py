"""``python -m tests.bench.formats [SLUG...]``: lines a second for every labelled format, beside csv.reader in the same run.

Labelled means that each line says who speaks (kinds ``lines`` and ``delimited``). The log is the format's longest sample,
written again and again until there are enough lines; reading means everything up to paired exchanges. Each runs twice, and the
second run counts. On a machine that others use too the wall clock counts their work as well: the lines a second of processor
time, that of all threads, say what it would be alone.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from smtplog import formats, read

LEAST = 200_000  # lines a second
LINES = 300_000
TRANSCRIPTS = Path(__file__).resolve().parents[2] / "transcripts"


def log_of(slug: str, folder: Path) -> tuple[Path, int]:
    """A log of this format, and how many lines it has."""
    longest = max(
        (path.read_bytes() for path in (TRANSCRIPTS / slug).glob("*.log")), key=lambda data: data.count(b"\n")
    )
    lines = longest.splitlines(keepends=True)
    if not lines[-1].endswith(b"\n"):
        lines[-1] += b"\n"
    header = [line for line in lines if line.startswith(b"#")]  # of a delimited log: once
    rows = [line for line in lines if not line.startswith(b"#")]
    times = -(-LINES // len(rows))
    path = folder / f"{slug}.log"
    path.write_bytes(b"".join(header) + b"".join(rows) * times)
    return path, len(header) + len(rows) * times


def _read(path: Path, slug: str) -> None:
    for _ in read(path, input_format=slug, block_size=4 << 20).batches():
        pass


def _rows(path: Path) -> None:
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        for _ in csv.reader((line.replace("\0", "") for line in file), quoting=csv.QUOTE_NONE):
            pass


def _timed(run: Callable[[], None]) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    run()
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> int:
    missed = []
    columns = f"{'lines/s':>12}{'csv.reader':>13}{'share':>8}"
    print(f"{'':<31}{'by the clock':^33}  {'by processor time':^33}")
    print(f"{'format':<22}{'lines':>9}{columns}  {columns}")
    with tempfile.TemporaryDirectory() as folder:
        for declaration in formats.declarations():
            slug = declaration.slug
            if declaration.kind == "capture" or (sys.argv[1:] and slug not in sys.argv[1:]):
                continue
            path, count = log_of(slug, Path(folder))
            ours = _timed(lambda path=path, slug=slug: _read(path, slug))
            plain = _timed(lambda path=path: _rows(path))
            figures = (
                f"{count / mine:>12,.0f}{count / its:>13,.0f}{its / mine:>8.2f}"
                for mine, its in zip(ours, plain, strict=True)
            )
            missed += [slug] if count / ours[0] < LEAST else []
            mark = "" if count / ours[0] >= LEAST else "  below the bar"
            print(f"{slug:<22}{count:>9,}{'  '.join(figures)}{mark}", flush=True)
            path.unlink()
    print(f"\n{len(missed)} below {LEAST:,} lines/s{': ' + ', '.join(missed) if missed else ''}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
