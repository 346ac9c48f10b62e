"""What stands before every line of a log that is none of its own: the margin of a paste (blanks, the mark of a comment or of a
quotation), or what a collector of logs writes before each line (syslog, the journal, docker, Kubernetes; ts, cat -n)."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass

import numpy as np

from smtplog.lines import Block

_MARGIN = re.compile(r"[ \t]{0,40}(?:(?:#|//|>|\||;|\*)[ \t]{0,40})?")
_MARKS = " \t#/>|;*"

_ISO = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?(?:Z|[+-][0-9]{2}:?[0-9]{2})"
_BSD = r"[A-Z][a-z]{2} [ 0-9][0-9](?: [0-9]{4})? [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?"
_CLOCK = r"(?:[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}[T ])?[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?"
_TAG = r"[A-Za-z][^ :\[\]]{0,60}"  # the program; it begins with no digit, as a clock does
_THEN = "(?: |$)"
_OBJECT = "docker's json-file"  # docker's driver that keeps each line in an object
#: The collectors, and what each writes before a line. A blank at the end may be lost where the line is empty.
_COLLECTORS = {
    name: re.compile(form.encode())
    for name, form in {
        "syslog": rf"(?:<[0-9]{{1,3}}>)?(?:{_BSD}|{_ISO}) [^ :]{{1,100}} {_TAG}(?:\[[0-9]{{1,10}}\])?:{_THEN}",
        "syslog (RFC 5424)": rf"<[0-9]{{1,3}}>1 (?:{_ISO}|-)(?: [^ ]{{1,100}}){{4}} (?:-|(?:\[[^\]]{{0,400}}\])+){_THEN}",
        "docker compose": rf"[A-Za-z][A-Za-z0-9_.-]{{0,60}} *\|{_THEN}",
        "docker compose with stamps": rf"[A-Za-z][A-Za-z0-9_.-]{{0,60}} *\| {_ISO}{_THEN}",
        "Kubernetes": rf"(?:\[pod/[^ \]]{{1,200}}\] )?{_ISO} (?:stdout|stderr) [FP]{_THEN}",
        "kubectl": rf"\[pod/[^ \]]{{1,200}}\]{_THEN}",
        "docker": rf"{_ISO}{_THEN}",
        "a clock": rf"(?:\[(?:{_BSD}|{_CLOCK})\]:?|(?:{_BSD}|{_CLOCK}):?){_THEN}",
        "a counter of lines": r" {0,8}[0-9]{1,7}(?:\t|: ?|\| ?)",
        _OBJECT: r'\{"log":"(?:[^"\\]|\\.)*"',
    }.items()
}
#: The share of the lines that bear what a collector writes: beside them stands what was added by hand, or by the collector.
_MOST = 0.9


@dataclass(frozen=True, slots=True)
class Margin:
    """What the lines of a log begin with that is none of its own."""

    text: bytes = b""  #: the same before every line
    collector: str = ""  #: or the name of the collector that wrote something else before each

    def __bool__(self) -> bool:
        return bool(self.text or self.collector)

    @property
    def certain(self) -> bool:
        """Whether no log has this of its own."""
        return self.collector == _OBJECT

    @property
    def words(self) -> str:
        """As an explanation says it."""
        if self.collector:
            return f"what {self.collector} writes before each line"
        return f"{self.text.decode().strip()} at the beginning of each line" if self.text.strip() else "blanks"


#: The lines begin with nothing else.
NO_MARGIN = Margin()


def margin_of(head: Block) -> Margin:
    """What all lines begin with that are not empty; NO_MARGIN where there is no such thing."""
    said = [line for line in (head.line(i) for i in range(len(head))) if line.strip(_MARKS)]
    pairs = zip(min(said, default=""), max(said, default=""), strict=False)
    match = _MARGIN.match("".join(one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
    return Margin(match[0].encode()) if match else NO_MARGIN


def collected_by(head: Block) -> list[Margin]:
    """The collectors that most lines may have gone through: a stamp may be theirs or that of the log."""
    said = [text for text in _texts(head) if text.strip()]
    some = [(name, form) for name, form in _COLLECTORS.items() if any(form.match(text) for text in said[:8])]
    counts = {name: sum(form.match(text) is not None for text in said) for name, form in some}
    return [Margin(collector=name) for name, count in counts.items() if count >= _MOST * len(said)]


def without_margin(block: Block, margin: Margin) -> Block:
    """The same lines without it; one that does not begin with it stays as it is."""
    if margin.collector == _OBJECT:
        texts = [_kept(text) for text in _texts(block)]
    elif margin.collector:
        form = _COLLECTORS[margin.collector]
        texts = [text[match.end() :] if (match := form.match(text)) else text for text in _texts(block)]
    else:
        bare = margin.text.rstrip()
        texts = [b"" if text == bare else text.removeprefix(margin.text) for text in _texts(block)]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int32)
    return Block(b"".join(texts), offsets, block.eol, block.flags, block.first)


def _texts(block: Block) -> list[bytes]:
    return [bytes(block.data[start:end]) for start, end in itertools.pairwise(block.offsets.tolist())]


def _kept(text: bytes) -> bytes:
    """The line that an object of docker's keeps; what is no such object stays as it is."""
    try:
        told = json.loads(text)["log"] if text.startswith(b'{"log":"') else None
    except (ValueError, KeyError, RecursionError):
        return text
    if not isinstance(told, str):
        return text
    return told.rstrip("\r\n").replace("\n", " ").encode("utf-8", "replace")
