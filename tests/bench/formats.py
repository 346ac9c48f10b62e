"""``python -m tests.bench.formats [SLUG...]``: lines a second for every labelled format, beside csv.reader in the same run.

Labelled means that each line says who speaks (kinds ``lines`` and ``delimited``). The log is the format's longest sample,
written again and again until there are enough lines; reading means everything up to paired exchanges. Each runs twice, and the
second run counts.
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


def _timed(run: Callable[[], None]) -> float:
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> int:
    missed = []
    print(f"{'format':<22}{'lines':>9}{'lines/s':>12}{'csv.reader':>13}{'share':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for declaration in formats.declarations():
            slug = declaration.slug
            if declaration.kind == "capture" or (sys.argv[1:] and slug not in sys.argv[1:]):
                continue
            path, count = log_of(slug, Path(folder))
            ours, plain = _timed(lambda path=path, slug=slug: _read(path, slug)), _timed(lambda path=path: _rows(path))
            speed = count / ours
            missed += [slug] if speed < LEAST else []
            mark = "" if speed >= LEAST else "  below the bar"
            print(f"{slug:<22}{count:>9,}{speed:>12,.0f}{count / plain:>13,.0f}{plain / ours:>8.2f}{mark}", flush=True)
            path.unlink()
    print(f"\n{len(missed)} below {LEAST:,} lines/s{': ' + ', '.join(missed) if missed else ''}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
