"""The corpus of real logs beside the repository: ``$SMTPLOG_CORPUS`` or ``../shared/corpus``. Read where it exists, never copied."""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smtplog import formats, read
from smtplog.model import Dialog
from tests.corpus.as_logged import Used, of_dialog, same

FOLDER = Path(os.environ.get("SMTPLOG_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))
SLUGS = {each.slug for each in formats.declarations()}


@dataclass(frozen=True)
class Log:
    """One file of the corpus."""

    path: Path
    slug: str
    truth: Path | None

    @property
    def name(self) -> str:
        return str(self.path.relative_to(FOLDER))


def logs() -> list[Log]:
    """All files of the corpus that have a slug."""
    found = []
    for index in ("INDEX.generated.csv", "INDEX.public.csv"):
        if (FOLDER / index).exists():
            with open(FOLDER / index, encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    truth = FOLDER / row["truth"] if row.get("truth") else None
                    found.append(Log(FOLDER / row["file"], row["slug"], truth))
    return [log for log in found if log.slug and log.path.is_file()]


def _hello(pairs: list[Any]) -> str | None:
    names = [
        command.split()[-1] for command, *_ in pairs if command and command[:4].upper() in ("EHLO", "HELO", "LHLO")
    ]
    return next((name for name in names if name.endswith(".cl.example")), None)


def compared(log: Log, used: Used) -> tuple[int, list[str]]:
    """How many sessions of a log were held against its truth, and where they differ."""
    assert log.truth is not None
    sessions = [s for s in json.loads(log.truth.read_text())["sessions"] if not s.get("truth_unreliable")]
    dialogs = list(read(log.path, show_secrets=True))
    matched = _matched(dialogs, sessions)
    differences = []
    for dialog, truth in matched:
        # inferred commands say their verb only
        difference = same(of_dialog(dialog), [tuple(e) for e in truth["exchanges"]], used, inferred=dialog.replies_only)
        if difference:
            differences.append(f"{log.name}: {truth.get('session', dialog.id)}: {difference}")
    return len(matched), differences


def _matched(dialogs: list[Dialog], sessions: list[dict[str, Any]]) -> list[tuple[Dialog, dict[str, Any]]]:
    """By EHLO name where the sessions have one each, by peer port or in order where they are few."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for session in sessions:
        name = _hello(session["exchanges"])
        if name:
            by_name[name].append(session)
    if len(by_name) > 3:
        found = []
        for dialog in dialogs:
            name = _hello(of_dialog(dialog))
            if name and by_name.get(name):
                found.append((dialog, by_name[name].pop(0)))
        return found
    talking = [dialog for dialog in dialogs if dialog.exchanges or dialog.greeting]
    return list(zip(talking, sessions, strict=False))
