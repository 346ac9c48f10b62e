"""``python -m tests.corpus [SLUG...]``: how well the real logs are read, as a table."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field

from smtplog import read
from tests.corpus import as_logged
from tests.corpus.sidecars import SLUGS, Entry, Verdict, entries, folder, verdicts


@dataclass
class Tally:
    """What one format came to."""

    files: int = 0
    detected: int = 0
    sessions: int = 0
    exchanges: int = 0
    as_they_stand: int = 0
    by_rule: int = 0


@dataclass
class Report:
    """What all of them came to."""

    tallies: dict[str, Tally] = field(default_factory=lambda: {slug: Tally() for slug in SLUGS})
    sessions_by_rule: Counter[str] = field(default_factory=Counter)
    exchanges_by_rule: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    misplaced: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)
    claimed: list[str] = field(default_factory=list)
    without_dialog: int = 0

    def add(self, entry: Entry) -> None:
        """Read one file; whatever happens goes into the report."""
        transcript = read(entry.path, date=entry.day(), show_secrets=True)
        try:
            dialogs = list(transcript)
            transcript.summary()
        except Exception as error:  # the report is about these
            self.crashed.append(f"{entry.slug}: {entry.file}: {type(error).__name__}: {error}")
            return
        found = transcript.files[0].format if transcript.files else ""
        if entry.slug == "none":
            self.without_dialog += 1
            if dialogs:
                self.claimed.append(f"{entry.file}: claimed as {found}: {_head(entry, dialogs[0].line)}")
            return
        tally = self.tallies[entry.slug]
        tally.files += 1
        tally.detected += found in entry.slugs
        if found not in entry.slugs:
            why = "" if found else "".join(transcript.errors)
            told = f"{entry.slug}: {entry.file}: taken for {found or 'nothing'} {why}"
            self.misplaced.append(f"{told}\n{_head(entry, 1)}")
            dialogs = list(read(entry.path, input_format=entry.slug, date=entry.day(), show_secrets=True))
        for verdict in verdicts(entry, dialogs):
            self._judge(entry, tally, verdict)

    def _judge(self, entry: Entry, tally: Tally, verdict: Verdict) -> None:
        tally.sessions += bool(verdict.session)
        tally.exchanges += verdict.exchanges
        used = verdict.comparison.rules_used
        if not verdict.comparison.equal:
            name = verdict.session or "a dialog of no session"
            told = f"{entry.slug}: {entry.file}: {name}, line {verdict.line}: {verdict.comparison.difference}"
            self.wrong.append(f"{told}\n{_head(entry, verdict.line)}")
        elif used:
            tally.by_rule += 1
            self.sessions_by_rule.update(used.keys())
            self.exchanges_by_rule.update(used)
        else:
            tally.as_they_stand += 1

    def write(self) -> None:
        """Print it."""
        row = "{:<16}{:>6}{:>10}{:>10}{:>11}{:>15}{:>10}{:>10}"
        print(row.format("format", "files", "detected", "sessions", "exchanges", "as they stand", "by rules", "wrong"))
        for slug, tally in self.tallies.items():
            wrong = tally.sessions - tally.as_they_stand - tally.by_rule
            values = (tally.files, tally.detected, tally.sessions, tally.exchanges, tally.as_they_stand, tally.by_rule)
            print(row.format(slug, *values, wrong))
        print(f"\nno dialog: {self.without_dialog} files, {len(self.claimed)} claimed; crashes: {len(self.crashed)}")
        print(f"\n{'rule':<28}{'sessions':>9}{'exchanges':>11}  reason")
        for each in as_logged.RULES:
            name = each.__name__
            reason = " ".join((each.__doc__ or "").split())
            print(f"{name:<28}{self.sessions_by_rule[name]:>9}{self.exchanges_by_rule[name]:>11}  {reason}")
        for title in ("crashed", "wrong", "misplaced", "claimed"):
            lines = getattr(self, title)
            if lines:
                print(f"\n{title} ({len(lines)})\n" + "\n".join(sorted(lines)))


def _head(entry: Entry, line: int, count: int = 8) -> str:
    """Some lines of a log from there on, indented."""
    lines = entry.log().lines[max(line - 1, 0) :][:count]
    return "\n".join("    | " + each[:150].encode("ascii", "backslashreplace").decode() for each in lines)


def main() -> int:
    if folder() is None:
        print("no corpus: set SMTPLOG_CORPUS, or put it at ../shared/corpus beside the repository", file=sys.stderr)
        return 2
    report = Report()
    for entry in entries():
        if entry.slug in (sys.argv[1:] or (*SLUGS, "none")):
            report.add(entry)
    report.write()
    return bool(report.wrong or report.misplaced or report.claimed or report.crashed)


if __name__ == "__main__":
    sys.exit(main())
