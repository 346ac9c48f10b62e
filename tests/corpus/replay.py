"""``python -m tests.corpus.replay [SLUG...]``: law 8 on the corpus, by format, as a table."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.corpus.sidecars import entries, folder
from tests.corpus.test_replay import played


def main() -> int:
    """Print the table; exit code 1 where a log is not reproduced."""
    if folder() is None:
        print("no corpus: set SMTPLOG_CORPUS, or put it at ../shared/corpus beside the repository", file=sys.stderr)
        return 2
    files, dialogs, grouped, no_smtp, stand_ins, failed = (Counter[str]() for _ in range(6))
    for entry in entries():
        if entry.slug == "none" or (sys.argv[1:] and entry.slug not in sys.argv[1:]):
            continue
        files[entry.slug] += 1
        with tempfile.TemporaryDirectory() as name:
            try:
                figures = played(entry, Path(name))
            except AssertionError as error:
                failed[entry.slug] += 1
                print(f"{entry.file}: {str(error)[:1500]}", file=sys.stderr, flush=True)
                continue
        dialogs[entry.slug] += figures.dialogs
        grouped[entry.slug] += figures.grouped
        no_smtp[entry.slug] += figures.no_smtp
        stand_ins[entry.slug] += figures.stand_ins
    print(f"{'format':24} {'files':>6} {'failed':>7} {'dialogs':>8} {'grouped':>8} {'no SMTP':>8} {'stand-ins':>10}")
    for slug in [*sorted(files), ""]:
        sums = [each[slug] if slug else each.total() for each in (files, failed, dialogs, grouped, no_smtp, stand_ins)]
        print(f"{slug or 'all':24} {sums[0]:6,} {sums[1]:7,} {sums[2]:8,} {sums[3]:8,} {sums[4]:8,} {sums[5]:10,}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
