"""``python -m tests.corpus.by_eye [SLUG...]``: what a person would object to in how the real logs are read.

A reader that knows nothing of formats looks at words only: a reply begins with three digits, a command with a verb. Where
smtplog says otherwise, or leaves a line out that has such a word behind whatever mark, it is a disagreement.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from smtplog import read
from smtplog.model import Dialog
from tests.corpus.sidecars import Entry, entries, folder

#: A reply by eye: a code of RFC 5321 and its separator, at the beginning of what was said.
_REPLY = re.compile(r"[2-5][0-5][0-9](?:[ -]|$)")
#: A command by eye: words that no reply begins with.
_COMMAND = re.compile(r"(?:(?:EHLO|HELO|LHLO) \S|MAIL FROM:|RCPT TO:|(?:DATA|QUIT|RSET|STARTTLS)\s*$)", re.IGNORECASE)
#: So the server says itself that a line of text went to it as a command (after a refused DATA).
_NOT_UNDERSTOOD = (500, 501, 502, 503)
#: What the marks of a log say and nobody would guess: the line is the client's, however it looks.
EXPLAINED = {
    (
        "public/exim-stdout/2014",
        228,
    ): "a slip in the script of Exim's test client: it did send 220, and the log says so",
}
#: The same somewhere in a line of the log, behind a mark or between quotes.
_SOMEWHERE = re.compile(r"(?:^|[^\w.-])((?:EHLO|HELO|LHLO) [\w\[]|(?:MAIL FROM|RCPT TO):\s?<)", re.IGNORECASE)


@dataclass(frozen=True)
class Objection:
    """One line that is read otherwise than by eye."""

    line: int
    what: str


def objections(entry: Entry, dialogs: list[Dialog]) -> Iterator[Objection]:
    """The lines of a log that were taken for what they do not look like."""
    for dialog in dialogs:
        for exchange in dialog.exchanges:
            command = exchange.command or ""
            not_understood = exchange.reply is not None and exchange.reply.code in _NOT_UNDERSTOOD
            explained = (entry.file, exchange.line) in EXPLAINED
            if (
                _REPLY.match(command)
                and not explained
                and exchange.verb not in (".", "AUTH-RESPONSE")
                and not not_understood
            ):
                yield Objection(exchange.line or 0, f"a reply counted as a command: {command[:80]!r}")
            for text in exchange.reply.raw if exchange.reply else ():
                if _COMMAND.match(text):
                    yield Objection(
                        exchange.reply.line if exchange.reply else 0, f"a command in a reply: {text[:80]!r}"
                    )


def unread(entry: Entry, dialogs: list[Dialog]) -> list[int]:
    """The lines of a log with a command by eye that stand in no exchange, reply or message text."""
    known: set[int] = set()
    for dialog in dialogs:
        for exchange in dialog.exchanges:
            known.add(exchange.line or 0)
            if exchange.reply:
                known.update(range(exchange.reply.line, exchange.reply.end_line + 1))
            if exchange.content:
                known.update(range(exchange.content.line, exchange.content.line + len(exchange.content.lines) + 1))
        known.update(event.line for event in dialog.events)
    lines = entry.log().lines
    return [number for number, line in enumerate(lines, 1) if _SOMEWHERE.search(line) and number not in known]


def main() -> int:
    if folder() is None:
        print("no corpus: set SMTPLOG_CORPUS, or put it at ../shared/corpus beside the repository", file=sys.stderr)
        return 2
    files, sessions, exchanges, objected, left = (Counter[str]() for _ in range(5))
    told: list[str] = []
    for entry in entries():
        if entry.slug == "none" or (sys.argv[1:] and entry.slug not in sys.argv[1:]):
            continue
        dialogs = list(read(entry.path, date=entry.day(), show_secrets=True))
        files[entry.slug] += 1
        sessions[entry.slug] += len(dialogs)
        exchanges[entry.slug] += sum(len(dialog.exchanges) for dialog in dialogs)
        found = list(objections(entry, dialogs))
        objected[entry.slug] += len(found)
        told += [f"{entry.slug}: {entry.file}:{each.line}: {each.what}" for each in found]
        missing = [] if entry.slug == "pcap" else unread(entry, dialogs)  # a capture has no lines of its own
        left[entry.slug] += len(missing)
        if missing:
            shown = entry.log().lines[missing[0] - 1][:100].encode("ascii", "backslashreplace").decode()
            told.append(f"{entry.slug}: {entry.file}:{missing[0]}: {len(missing)} commands by eye not read: {shown}")
    row = "{:<20}{:>7}{:>10}{:>11}{:>15}{:>10}"
    print(row.format("format", "files", "sessions", "exchanges", "disagreements", "unread"))
    for slug in sorted(files):
        print(row.format(slug, files[slug], sessions[slug], exchanges[slug], objected[slug], left[slug]))
    print("\n".join(["", *told]))
    return bool(objected.total())


if __name__ == "__main__":
    sys.exit(main())
