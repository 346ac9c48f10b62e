"""Reading the declarations: the TOML head of each grammar, without building any grammar."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from smtplog import grammar
from smtplog.errors import UsageError
from smtplog.formats.flaws import flaws_of
from smtplog.formats.heads import capture_defaults, head_of


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
    noise: bool  #: most lines of the log are no dialog: those that the grammar does not know are not counted
    rotated: bool  #: a log may go on in another file; a mail or a run in a terminal does not
    fallback: bool  #: tried only where no other signature is found
    certain: bool  #: its signature alone is proof, though the head of the file may hold no dialog yet
    before: tuple[str, ...]  #: formats that give way to this one, as their marks are its, too
    head: dict[str, Any]  #: the whole head
    grammar: str


#: The declarations that the user named, by their slugs.
_own: dict[str, Declaration] = {}
#: The texts of the files that were read as declarations.
_texts: dict[str, str] = {}


@cache
def declarations() -> tuple[Declaration, ...]:
    """All formats that a file may be of, by slug: those of the package, then those of entry points."""
    folder = files("smtplog") / "grammars"
    found = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        slug, _, suffix = entry.name.rpartition(".")
        if suffix in ("lark", "toml"):
            text = entry.read_text(encoding="utf-8")
            head = _head(text, suffix)
            if "kind" in head:
                found[slug] = _declaration(slug, slug, head, text)
    for point in entry_points(group="smtplog.formats"):
        for more in _brought(point):
            if more.slug in found:
                raise _refused(point, f"there is a format {more.slug!r} already")
            found[more.slug] = more
    return tuple(found.values())


def declaration(slug: str) -> Declaration:
    """One format by its name; UsageError names the known ones."""
    for known in (*declarations(), *_own.values()):
        if known.slug == slug:
            return known
    names = ", ".join(known.slug for known in declarations())
    raise UsageError(f"there is no log format {slug!r}; the formats are {names}")


def own_declaration(path: str | Path) -> Declaration:
    """The declaration in a file of the user's, called by the file's name. UsageError says what is wrong with it first."""
    where = os.path.abspath(path)
    text = read_grammar(path)
    for flaw in flaws_of(where, text, shown=str(path)):
        raise UsageError(f"{flaw.where}: {flaw.what}; {flaw.do} (smtplog formats --check {path} says all)")
    stem, _, suffix = os.path.basename(where).rpartition(".")
    slug = stem if all(known.slug != stem for known in declarations()) else f"{stem}.{suffix}"
    _own[slug] = _declaration(slug, where, _head(text, suffix), text)
    return _own[slug]


def read_grammar(path: str | Path) -> str:
    """The text of a declaration; UsageError where there is none. What was built of an earlier text is forgotten."""
    if not str(path).endswith((".lark", ".toml")):
        raise UsageError(f"{path} is no grammar by its name; call it .lark, or .toml if it maps columns")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no UTF-8; save it as such") from None
    where = os.path.abspath(path)
    if _texts.get(where, text) != text:
        grammar.forget()
    _texts[where] = text
    return text


def _brought(point: EntryPoint) -> Iterator[Declaration]:
    """The declarations of another distribution: those in the package that its entry point names."""
    try:
        folder = Path(str(files(point.load())))
        paths = sorted(path for path in folder.iterdir() if path.suffix in (".lark", ".toml"))
    except (Exception, SystemExit) as error:
        raise _refused(point, f"{type(error).__name__}: {error}") from error
    for path in paths:
        text = read_grammar(path)
        if path.suffix == ".lark" and not head_of(text, delimited=False)[0]:
            continue  # a part of others
        for flaw in flaws_of(str(path), text, shown=path.name):
            raise _refused(point, f"{flaw.where}: {flaw.what}")
        yield _declaration(path.stem, str(path), _head(text, path.suffix[1:]), text)


def _refused(point: EntryPoint, why: str) -> UsageError:
    name = point.dist.name if point.dist else point.value
    return UsageError(
        f"the log formats of {name} ({point.value}) cannot be loaded: {why}; update it or remove it with pip uninstall {name}"
    )


def _head(text: str, suffix: str) -> dict[str, Any]:
    head = tomllib.loads(head_of(text, delimited=suffix == "toml")[0])
    return capture_defaults() | head if head.get("kind") == "capture" else head


def _declaration(slug: str, path: str, head: dict[str, Any], text: str) -> Declaration:
    return Declaration(
        slug=slug,
        path=path,
        title=head["title"],
        kind=head["kind"],
        tier=head.get("tier", 3),
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
        noise=head.get("noise", False),
        rotated=head.get("rotated", True),
        fallback=head.get("fallback", False),
        certain=head.get("certain", False),
        before=tuple(head.get("before", ())),
        head=head,
        grammar=text,
    )
