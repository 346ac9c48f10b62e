"""``python -m tests.bench.run``: what it takes, held against the bars.

Whole processes, the contenders in turns, medians, all in one run; peak memory is the largest resident set of each process.
Each runs twice in its turn and the second run counts: a virtual machine gives free memory back to its host within a second, and
the first process to fill it again pays for that. read_csv, which fills most, is then three times as slow as it is, which would
flatter smtplog. The first runs are printed as "cold".
Logs come from :mod:`tests.bench.generate` and go to a temporary folder outside the repository, or to ``--folder``, where they
are kept and used again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

#: What smtplog is held against. Each reads the file named by its only argument.
PYARROW = """
import sys
from pyarrow import csv
def header(row):  # its # lines, at the head and in mid-file, are no rows
    if not row.text.startswith("#"):
        raise SystemExit("not a row of nine columns: " + row.text)
    return "skip"
csv.read_csv(sys.argv[1], csv.ReadOptions(skip_rows=4), csv.ParseOptions(invalid_row_handler=header))
"""
CSV_READER = """
import csv, sys
n = 0
with open(sys.argv[1], encoding="utf-8", newline="") as file:
    for row in csv.reader(file):
        n += 1
print(n)
"""
IMPORTS = "import typer, lark, pyarrow"
#: As it is installed: Python keeps what it compiled, whatever the shell of this run says.
KEPT = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
#: What analyze does, and the same with no rule in force.
JUDGED = """
import sys, smtplog
from smtplog.findings import chosen
chosen()
smtplog.read(sys.argv[1]).summary({rules})
"""

#: Load of the machine above which others are at work. It slows a contender that fills memory (read_csv) more than smtplog, so
#: that a ratio measured then flatters.
BUSY = 0.5

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Contender:
    """A command, and what its runs took."""

    command: list[str]
    cold: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)  #: octets

    def turn(self) -> None:
        """Run it cold, then as it counts."""
        self.cold.append(self._run())
        self.seconds.append(self._run())

    def _run(self) -> float:
        """Run it once, from the repository, its output thrown away: seconds."""
        start = time.perf_counter()
        process = subprocess.Popen(self.command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, env=KEPT)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(self.command)[:200]} ended with {process.returncode}")
        self.peaks.append(usage.ru_maxrss * 1024)
        return took

    @property
    def took(self) -> float:
        return median(self.seconds)

    @property
    def spread(self) -> str:
        return f"{min(self.seconds):.2f}–{max(self.seconds):.2f}"

    @property
    def peak(self) -> float:
        return median(self.peaks)


@dataclass
class Bar:
    """One line of the table."""

    what: str
    bar: str
    measured: str
    reached: bool | None = None  #: None: no bar, only a figure


def main() -> int:
    """Generate, measure, print; 1 if a bar is missed."""
    asked = _asked()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="smtplog-bench-") as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        bars = _measured(asked, folder)
    width = max(len(bar.what) for bar in bars)
    print(f"\nload of the machine before {load:.1f}, {os.cpu_count()} cores", end="")
    print(": busy before it began, so the figures mean little" if load > BUSY else "")
    print(f"\n{'':<{width}}  {'bar':>9}  {'measured':>24}  reached")
    for bar in bars:
        reached = "" if bar.reached is None else "yes" if bar.reached else "NO"
        print(f"{bar.what:<{width}}  {bar.bar:>9}  {bar.measured:>24}  {reached}")
    return any(bar.reached is False for bar in bars)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.run", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small logs: shows that it works, the figures mean little")
    parser.add_argument(
        "--runs", type=int, default=5, help="of each contender on the large logs (default: %(default)s)"
    )
    parser.add_argument("--lines", type=int, help="of the Exchange log (default: 1,500,000)")
    parser.add_argument("--bytes", type=int, help="of the Postfix log (default: 500,000,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep the logs here, and use those that are there")
    asked = parser.parse_args()
    asked.lines = asked.lines or (50_000 if asked.quick else 1_500_000)
    asked.bytes = asked.bytes or (20_000_000 if asked.quick else 500_000_000)
    return asked


def _generated(asked: argparse.Namespace, folder: Path, kind: str, size: int) -> Path:
    """A log, written by a process of its own: the memory of this one would count in those that it starts."""
    path = folder / f"{kind}-{size}-{asked.seed}.log"
    if not path.exists():
        unfinished = path.with_suffix(".part")
        size_of = "--lines" if kind == "exchange" else "--bytes"  # a Telnet log has one size
        options = [f"--{kind}", str(unfinished), size_of, str(size), "--seed", str(asked.seed)]
        subprocess.run([sys.executable, "-m", "tests.bench.generate", *options], cwd=REPOSITORY, check=True)
        unfinished.rename(path)
    return path


def _analyze(path: Path) -> Contender:
    """smtplog as it is installed beside this Python, else from the repository."""
    script = Path(sys.executable).with_name("smtplog")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "smtplog"]
    return Contender([*program, "analyze", str(path)])


def _python(code: str, *paths: Path) -> Contender:
    return Contender([sys.executable, "-c", code, *map(str, paths)])


def _in_turns(runs: int, *contenders: Contender) -> None:
    for _ in range(runs):
        for contender in contenders:
            contender.turn()


def _measured(asked: argparse.Namespace, folder: Path) -> list[Bar]:
    exchange = _generated(asked, folder, "exchange", asked.lines)
    postfix = _generated(asked, folder, "postfix", asked.bytes)
    tenth = _generated(asked, folder, "postfix", asked.bytes // 10)
    telnet = _generated(asked, folder, "telnet", 0)

    columns, ours = _python(PYARROW, exchange), _analyze(exchange)
    rows, verbose = _python(CSV_READER, postfix), _analyze(postfix)
    imports, small = _python(IMPORTS), _analyze(telnet)
    less = _analyze(tenth)
    unjudged, judged, strictly = (
        _python(JUDGED.format(rules=rules), exchange) for rules in ("()", "chosen()", "chosen(extra=True)")
    )
    _in_turns(asked.runs, columns, ours, rows, verbose, less, unjudged, judged, strictly)
    _in_turns(4 * asked.runs, imports, small)

    megabytes = postfix.stat().st_size / 1e6
    speed = rows.took / verbose.took
    growth = verbose.peak / less.peak - 1
    for name, contender in (
        *(("read_csv, Exchange", columns), ("analyze, Exchange", ours), ("csv.reader, Postfix", rows)),
        *(("analyze, Postfix", verbose), ("imports", imports), ("analyze, Telnet", small)),
    ):
        cold = f"cold {median(contender.cold):.2f} s"
        print(
            f"{name:<20} median {contender.took:6.2f} s, {contender.spread} s in {len(contender.seconds)} runs; {cold}"
        )
    return [
        *_against("Exchange: analyze / pyarrow.csv.read_csv", ours, columns, 4.0),
        Bar(
            "Postfix -v: analyze / csv.reader loop, MB/s",
            "≥ 0.5",
            f"{speed:.2f} ({megabytes / verbose.took:.0f} / {megabytes / rows.took:.0f} MB/s)",
            speed >= 0.5,
        ),
        *_against("Exchange: the rules that are on / no rules", judged, unjudged, 1.25),
        *_against("Exchange: all rules / no rules", strictly, unjudged, 1.25),
        *_against("Telnet, 40 lines: analyze / import typer, lark, pyarrow", small, imports, 1.6),
        _memory(f"peak memory, Exchange {exchange.stat().st_size / 1e6:.0f} MB: analyze / read_csv", ours, columns),
        _memory(f"peak memory, Postfix {megabytes:.0f} MB: analyze / csv.reader", verbose, rows),
        _memory("peak memory, Telnet: analyze / imports", small, imports),
        Bar(
            f"peak memory, Postfix {megabytes:.0f} MB over {tenth.stat().st_size / 1e6:.0f} MB",
            "≤ +10 %",
            f"{growth:+.1%} ({verbose.peak / 1e6:.0f} / {less.peak / 1e6:.0f} MB)",
            growth <= 0.10,
        ),
    ]


def _against(what: str, ours: Contender, other: Contender, most: float) -> list[Bar]:
    share = ours.took / other.took
    return [Bar(what, f"≤ {most} ×", f"{share:.2f} × ({ours.took:.3f} / {other.took:.3f} s)", share <= most)]


def _memory(what: str, ours: Contender, other: Contender) -> Bar:
    return Bar(what, "", f"{ours.peak / 1e6:.0f} / {other.peak / 1e6:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
