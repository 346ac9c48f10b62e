"""The margin of a log that was pasted: what every line begins with, blanks or the mark of a comment or of a quotation."""

from __future__ import annotations

import itertools
import re

import numpy as np

from smtplog.lines import Block

_MARGIN = re.compile(r"[ \t]{0,40}(?:(?:#|//|>|\||;|\*)[ \t]{0,40})?")
_MARKS = " \t#/>|;*"


def margin_of(head: Block) -> str:
    """What all lines begin with that are not empty; empty where there is no such thing."""
    said = [line for line in (head.line(i) for i in range(len(head))) if line.strip(_MARKS)]
    pairs = zip(min(said, default=""), max(said, default=""), strict=False)
    match = _MARGIN.match("".join(one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
    return match[0] if match else ""


def without_margin(block: Block, margin: str) -> Block:
    """The same lines without it; one that does not begin with it stays as it is."""
    mark, bare = margin.encode(), margin.rstrip().encode()
    ends = block.offsets.tolist()
    texts = [bytes(block.data[start:end]) for start, end in itertools.pairwise(ends)]
    texts = [b"" if text == bare else text.removeprefix(mark) for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int32)
    return Block(b"".join(texts), offsets, block.eol, block.flags, block.first)
