"""Reading the declarations: the TOML head of each grammar, without building any grammar."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from smtplog.errors import UsageError


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the head of a grammar says of a log format."""

    slug: str
    path: str  #: of the file; the slug for a grammar of the package
    title: str
    kind: str  #: ``lines`` (the grammar of one line), ``capture`` (of a whole session), ``delimited`` (columns)
    tier: int
    role: str  #: ``absolute``; ``logger``: sent and received by the program that writes; ``vote``: the payloads decide
    content: str  #: message text is ``absent`` from the log or ``marked`` in it
    signature: str  #: a regular expression over the lines of the head of a file
    written: str  #: where the log is written
    enable: str  #: how a user switches it on
    sample: str
    least: int  #: how many lines must bear the signature
    zone: str  #: ``UTC`` or ``local`` where stamps name none
    peel: tuple[str, ...]
    record: str  #: lines: what begins a record, a regular expression; a line that holds several is cut before each
    breaks: str  #: lines: what stands for a line end inside a line, such as ``[nl]``
    tail: str  #: lines: what the program puts behind the words of a line, a regular expression; all but its groups is taken off
    cut: str  #: capture: a line that begins a session
    noise: bool  #: most lines of the log are no dialog: those that the grammar does not know are not counted
    rotated: bool  #: a log may go on in another file; a mail or a run in a terminal does not
    fallback: bool  #: tried only where no other signature is found
    before: tuple[str, ...]  #: formats that give way to this one, as their marks are its, too
    head: dict[str, Any]  #: the whole head
    grammar: str


@cache
def declarations() -> tuple[Declaration, ...]:
    """All formats of the package, by slug."""
    folder = files("smtplog") / "grammars"
    found = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        slug, _, suffix = entry.name.rpartition(".")
        if suffix in ("lark", "toml"):
            text = entry.read_text(encoding="utf-8")
            head = tomllib.loads(_head(text) if suffix == "lark" else text)
            if "kind" in head:
                found.append(_declaration(slug, head, text))
    return tuple(found)


def declaration(slug: str) -> Declaration:
    """One format by its name; UsageError names the known ones."""
    for known in declarations():
        if known.slug == slug:
            return known
    names = ", ".join(known.slug for known in declarations())
    raise UsageError(f"there is no log format {slug!r}; the formats are {names}")


def _head(text: str) -> str:
    return "\n".join(line[3:] for line in text.splitlines() if line.startswith("//:"))


def _declaration(slug: str, head: dict[str, Any], text: str) -> Declaration:
    return Declaration(
        slug=slug,
        path=slug,
        title=head["title"],
        kind=head["kind"],
        tier=head["tier"],
        role=head["role"],
        content=head["content"],
        signature=head["signature"],
        written=head["written"],
        enable=head["enable"],
        sample=head["sample"],
        least=head.get("least", 1),
        zone=head.get("zone", "local"),
        peel=tuple(head.get("peel", ())),
        record=head.get("record", ""),
        breaks=head.get("breaks", ""),
        tail=head.get("tail", ""),
        cut=head.get("cut", ""),
        noise=head.get("noise", False),
        rotated=head.get("rotated", True),
        fallback=head.get("fallback", False),
        before=tuple(head.get("before", ())),
        head=head,
        grammar=text,
    )
