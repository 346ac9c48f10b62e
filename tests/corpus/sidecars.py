"""The corpus beside the repository: its index, its truths, and which dialog is which session."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from smtplog import events, formats
from smtplog.model import Dialog
from tests.corpus.as_logged import Comparison, Context, Log, Said, compare

#: The formats that are read; a file of another format is no business of these tests.
SLUGS = tuple(declaration.slug for declaration in formats.declarations())

#: Who holds the pen. A terminal shows what both said; on the wire, what TLS seals is seen by nobody.
WRITERS = {
    "postfix-verbose": "server",
    "exchange": "server",
    "haraka": "server",
    "aiosmtpd": "server",
    "exim-debug": "server",
    "sendmail-X": "server",
    "sendmail-syslog": "server",
    "opensmtpd-trace": "server",
    "sendmail-verbose": "client",
    "smtp-server": "server",
    "pcap": "wire",
    **dict.fromkeys(
        ("swaks", "curl-v", "curl-trace", "msmtp", "python-smtplib", "perl-net-cmd", "ruby-net-smtp", "mutt"), "client"
    ),
}

#: What stands in a log of these programs when they delivered and answered nobody.
DELIVERING = {
    "postfix-verbose": r"postfix\S*/(?:smtp|lmtp)\[[0-9]+\]: > ",
    "exim-debug": r"(?m)^(?:[0-9]+ )?  SMTP>> EHLO ",
    "sendmail-X": r"\A(?:[0-9]+ <<< .*\n)*[0-9]+ === CONNECT ",
}


def folder() -> Path | None:
    """Where the corpus is: the environment variable SMTPLOG_CORPUS, else ``../shared/corpus`` beside the repository."""
    named = os.environ.get("SMTPLOG_CORPUS")
    place = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "corpus"
    return place if (place / "INDEX.generated.csv").exists() else None


@dataclass(frozen=True)
class Entry:
    """One row of an index."""

    file: str
    slug: str
    truth: str
    notes: str
    root: Path

    @property
    def path(self) -> Path:
        return self.root / self.file

    def sessions(self) -> list[dict[str, Any]]:
        """The sessions of the sidecar that can be scored, in the order in which they began."""
        if not self.truth:
            return []
        return [session for session in self._all_sessions() if not session.get("truth_unreliable")]

    def unreliable(self) -> list[str]:
        """The names of those that cannot."""
        return [str(session["session"]) for session in self._all_sessions() if session.get("truth_unreliable")]

    def _all_sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(_unpacked(self.root / self.truth))["sessions"]
        return found

    def day(self) -> date | None:
        """The day of the log, for stamps without a year."""
        starts = [session["start"] for session in self.sessions() if session.get("start")]
        return datetime.fromtimestamp(max(starts), UTC).date() if starts else None

    @property
    def slugs(self) -> tuple[str, ...]:
        """What it may be taken for. A capture in which no line bears the mark of the program that wrote it is one of a program
        whose mark stands there, or else a bare dialog; what nobody knows the program of may have arrows."""
        captures = [each for each in formats.declarations() if each.kind == "capture" and not each.fallback]
        if self.slug == "bare-dialog":
            return (self.slug, "generic-arrows")
        if self.slug not in {each.slug for each in captures}:
            return (self.slug,)
        lines = events.from_list([line.encode("utf-8", "replace").decode() for line in self.log().lines])
        marked = tuple(each.slug for each in captures if events.found(lines, each.signature).any())
        return (self.slug,) if self.slug in marked else marked or ("bare-dialog",)

    def block_size(self) -> int:
        """Octets a block: small, so that blocks end anywhere, but not ten thousand of a large log."""
        return max(997, len(_unpacked(self.path)) // 300)

    def log(self) -> Log:
        """The raw lines."""
        text = _unpacked(self.path).decode("utf-8", "surrogateescape")
        postfix = self.slug == "postfix-verbose"
        delivering = self.slug in DELIVERING and re.search(DELIVERING[self.slug], text)
        writer = "client" if delivering else WRITERS.get(self.slug, "terminal")
        return Log(tuple(line.rstrip("\r") for line in text.split("\n")), writer, postfix)


def _unpacked(path: Path) -> bytes:
    octets = path.read_bytes()
    return gzip.decompress(octets) if path.suffix == ".gz" else octets


def entries() -> list[Entry]:
    """All files of both indexes that bear one of these slugs, or ``none``: no dialog."""
    root = folder()
    if root is None:
        return []
    found = []
    for index in ("INDEX.generated.csv", "INDEX.public.csv"):
        with open(root / index, encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                if row["slug"] in (*SLUGS, "none"):
                    found.append(Entry(row["file"], row["slug"], row.get("truth", ""), row["notes"], root))
    return found


def said(dialog: Dialog) -> list[Said]:
    """A dialog in the words of a sidecar."""
    greeting = dialog.greeting
    out: list[Said] = [(None, greeting.code, "\n".join(greeting.text))] if greeting else []
    for exchange in dialog.exchanges:
        reply = exchange.reply
        out.append((exchange.command, reply.code, "\n".join(reply.text)) if reply else (exchange.command, None, None))
    return out


@dataclass(frozen=True)
class Verdict:
    """One session of a sidecar, or one dialog that is in no sidecar (``session`` empty)."""

    session: str
    exchanges: int
    comparison: Comparison
    line: int


def verdicts(entry: Entry, dialogs: Sequence[Dialog]) -> Iterator[Verdict]:
    """Compare every session of a truth with its dialog."""
    sessions = entry.sessions()
    if not sessions:
        return
    log = entry.log()
    left = [dialog for dialog in dialogs if not _elsewhere(dialog, sessions)]
    left.sort(key=lambda dialog: dialog.line)

    def judged(session: dict[str, Any], dialog: Dialog) -> Comparison:
        context = Context(log, words[id(dialog)], str(session.get("client", "")), len(session.get("bodies", ())))
        return compare(context.dialog, [_said(each) for each in session["exchanges"]], context)

    def best(session: dict[str, Any], possible: list[Dialog]) -> tuple[Dialog, Comparison] | None:
        """The first dialog that is equal, as it stands if there is one; else the first."""
        truth = [_said(each) for each in session["exchanges"]]
        possible = sorted(possible, key=lambda dialog: words[id(dialog)] != truth)
        pairs = ((dialog, judged(session, dialog)) for dialog in possible)
        first = next(pairs, None)
        if first is None or first[1].equal:
            return first
        return next((pair for pair in pairs if pair[1].equal), first)

    words = {id(dialog): said(dialog) for dialog in left}
    called = _by_name(left)
    missing = Comparison(False, difference="no dialog of this session was read")
    chosen: dict[int, tuple[Dialog, Comparison]] = {}
    for named in (True, False):
        for at, session in enumerate(sessions):
            if at not in chosen:
                free = called.get(f"{session['session']}.cl.example", []) if named else _by_place(session, left)
                possible = [each for each in free if any(each is one for one in left)] if named else free
                found = best(session, possible)
                if found is not None:
                    chosen[at] = found
                    left = [each for each in left if each is not found[0]]
    for at, session in enumerate(sessions):
        dialog, comparison = chosen.get(at, (None, missing))
        yield Verdict(str(session["session"]), len(session["exchanges"]), comparison, dialog.line if dialog else 0)
    unreliable = {id(dialog) for name in entry.unreliable() for dialog in called.get(f"{name}.cl.example", [])}
    left = [dialog for dialog in left if id(dialog) not in unreliable]
    # no recorder sees a connection that is refused
    for dialog in filter(said, left) if "more truth in" not in entry.notes else ():
        difference = f"a dialog that was never held: {said(dialog)[:3]!r}"
        yield Verdict("", 0, Comparison(False, difference=difference), dialog.line)


def _said(exchange: list[Any]) -> Said:
    command, code, text = exchange
    return command, code, text


def _elsewhere(dialog: Dialog, sessions: list[dict[str, Any]]) -> bool:
    """Whether a dialog was held with another server than the recorded ones, such as the next one on a message's way."""
    here = {str(text).split()[0] for session in sessions for _, code, text in session["exchanges"][:1] if code and text}
    greeting = dialog.greeting
    if greeting is None or greeting.code != 220:
        return False
    return bool(here) and greeting.text[0].split()[:1] not in [[name] for name in here]


def _by_name(dialogs: Sequence[Dialog]) -> dict[str, list[Dialog]]:
    """The dialogs in whose EHLO a session names itself (``s0001.cl.example`` is session ``s0001``), by that name."""
    found: dict[str, list[Dialog]] = {}
    for dialog in dialogs:
        commands = ((exchange.command or "").lower() for exchange in dialog.exchanges)
        names = {command.rpartition("lo ")[2] for command in commands if "lo " in command}
        for name in names:
            found.setdefault(name, []).append(dialog)
    return found


def _by_place(session: dict[str, Any], left: list[Dialog]) -> list[Dialog]:
    """Without such a name: the dialogs of the same address (and port, where the log has it) that name no session, begun within
    two seconds, if the log has times; in logs without addresses, all of them, in order, for connections that are open at once
    were taken up in any."""
    address, _, port = str(session.get("client", "")).rpartition(":")
    nameless = [dialog for dialog in left if not _named(dialog)]
    if isinstance(session["session"], int):
        return sorted(filter(said, left), key=lambda dialog: dialog.line)[:1]
    if not any(dialog.client for dialog in left):
        return nameless
    ends = (f"[{address}]", f"[{address}]:{port}")
    peers = [
        dialog
        for dialog in nameless
        if (dialog.client or "").endswith(ends) or (dialog.client or "-") in (address, f"{address}:{port}")
    ]
    start = datetime.fromtimestamp(session["start"], UTC)
    return [dialog for dialog in peers if not dialog.started or abs((dialog.started - start).total_seconds()) <= 2]


def _named(dialog: Dialog) -> bool:
    return any(".cl.example" in (exchange.command or "").lower() for exchange in dialog.exchanges)
