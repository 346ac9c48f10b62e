"""Known findings that do not count: written once, hidden from then on, so that only new ones are told.

A baseline is JSON: ``{"version": 1, "findings": [{"source", "code", "name", "fingerprint", "count"}, …]}``, sorted. A
fingerprint is a hash of the rule, the log's path and the faulty line in C:/S: notation: no line number, no time and
nothing of the log in clear. Paths are relative to the baseline file. ``count`` equal findings are hidden, one more is new.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

from smtplog.errors import UsageError
from smtplog.findings import Finding

VERSION = 1


class Key(NamedTuple):
    """What makes two findings the same one."""

    source: str
    code: str
    fingerprint: str


def fingerprint(finding: Finding, source: str) -> str:
    """20 hexadecimal digits that stay the same where lines move; ``source`` is the log's path as the baseline has it."""
    text = "\0".join((finding.code, source, faulty_line(finding)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def faulty_line(finding: Finding) -> str:
    """The line of the excerpt over the marker, white space joined; the message where there is no excerpt."""
    before = ""
    for line in finding.excerpt.split("\n"):
        if "^" in line and not line.strip(" ^"):
            return " ".join(before.split())
        before = line
    return " ".join((before or finding.message).split())


class Baseline:
    """The known findings of a file, and those of the logs being read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: Counter[Key] = Counter()
        self.seen: Counter[Key] = Counter()
        self._names: dict[str, str] = {}
        self._sources: dict[str, str] = {}

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """A baseline from its file; UsageError, one sentence, where that is none."""
        try:
            told: Any = json.loads(path.read_bytes())
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}; --write-baseline writes a baseline") from None
        except (ValueError, RecursionError):
            raise UsageError(f"{path} is no baseline: it is not JSON; --write-baseline writes one") from None
        version = told.get("version") if isinstance(told, dict) else None
        if version != VERSION or not isinstance(told.get("findings"), list):
            raise UsageError(f"{path} is no baseline of version {VERSION}; --write-baseline writes one anew")
        found = cls(path)
        for i, entry in enumerate(told["findings"], 1):
            if not _is_entry(entry):
                raise UsageError(f"{path} is a damaged baseline: entry {i}; --write-baseline writes it anew")
            found.known[Key(entry["source"], entry["code"], entry["fingerprint"])] += entry["count"]
        return found

    def is_known(self, finding: Finding) -> bool:
        """Whether a finding is one of the known; each entry hides as many as it counts."""
        key = self._key(finding)
        if self.seen[key] >= self.known[key]:
            return False
        self.seen[key] += 1
        return True

    def add(self, finding: Finding) -> None:
        """One more known finding, for :meth:`write`."""
        self._names[finding.code] = finding.name
        self.known[self._key(finding)] += 1

    def unseen(self, sources: Collection[str], codes: Collection[str]) -> int:
        """How many known findings of these logs and rules did not come again."""
        read = {self.place(source) for source in sources}
        return sum(
            count - self.seen[key] for key, count in self.known.items() if key.source in read and key.code in codes
        )

    def write(self) -> None:
        """Write the file, in one piece."""
        entries = [
            {
                "source": key.source,
                "code": key.code,
                "name": self._names.get(key.code, ""),
                "fingerprint": key.fingerprint,
                "count": count,
            }
            for key, count in sorted(self.known.items())
        ]
        beside = self.path.with_name(self.path.name + ".new")
        try:
            beside.write_text(json.dumps({"version": VERSION, "findings": entries}, indent=1) + "\n", encoding="utf-8")
            os.replace(beside, self.path)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from None

    def place(self, source: str) -> str:
        """A log's path relative to the baseline file, with forward slashes; ``-`` is standard input."""
        place = self._sources.get(source)
        if place is None:
            place = source
            if source != "-":
                try:
                    place = os.path.relpath(source, self.path.absolute().parent)
                except ValueError:  # another drive
                    place = os.path.abspath(source)
            self._sources[source] = place = place.replace(os.sep, "/")
        return place

    def _key(self, finding: Finding) -> Key:
        source = self.place(finding.source)
        return Key(source, finding.code, fingerprint(finding, source))


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(name), str) for name in Key._fields)
        and type(entry.get("count")) is int
        and entry["count"] > 0
    )
