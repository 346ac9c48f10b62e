"""Which format a file is, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from smtplog import events, speech
from smtplog.events import CLIENT, SERVER, Events, Strings
from smtplog.formats.declaration import Declaration, declarations
from smtplog.formats.readers import column_of
from smtplog.lines import Block

#: The least score that makes a format the answer.
ENOUGH = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """One format, how well it fits the head of a file (0 … 1), and why."""

    slug: str
    score: float
    reason: str


def detect(head: Block) -> list[Candidate]:
    """All formats that fit the head of a file at all, best first.

    A signature that is found counts a half; the rest is the share of the lines that bear it or look like a dialog.
    The bare dialog has no signature of its own and is tried where no other is found.
    """
    lines = column_of(head)
    said = int((events.lengths(lines) > 0).sum())
    found = []
    for declaration in declarations():
        if not declaration.fallback and said:
            hits = events.found(lines, declaration.signature)
            if int(hits.sum()) >= declaration.least and (declaration.kind != "capture" or _session(lines)):
                found.append(_candidate(declaration, hits, said, head))
    if not any(candidate.score >= ENOUGH for candidate in found) and said:
        found += [_bare(declaration, head) for declaration in declarations() if declaration.fallback]
    return sorted((each for each in found if each.score > 0), key=lambda each: (-each.score, each.slug))


def _session(lines: Strings) -> bool:
    """Whether a capture holds a reply at all, or says why there is none: Telnet speaks to other servers too."""
    stripped = events.stripped(lines, " \t>`")
    replies = speech.replies(stripped).code
    refused = events.found(lines, r"(?i)unable to connect|connection refused|could not open connection")
    return bool((replies > 0).any() or refused.any())


def _candidate(declaration: Declaration, hits: np.ndarray, said: int, head: Block) -> Candidate:
    count, first = int(hits.sum()), head.first + int(np.flatnonzero(hits)[0])
    score = 0.5 + 0.5 * count / said
    if declaration.kind == "capture":
        score = max(score, 0.9)  # the words of the program stand once a session
    times = "once" if count == 1 else f"{count} times"
    return Candidate(declaration.slug, round(score, 3), f"its signature stands {times}, first on line {first}")


def _bare(declaration: Declaration, head: Block) -> Candidate:
    """The share of lines that are replies, commands of RFC 5321, or message text between 354 and a dot."""
    from smtplog.formats.peelers import peel_piece

    limit = min(len(head), 2000)
    lines = peel_piece(declaration.peel, [head.line(i) for i in range(limit)])
    replies, commands, text, strange, in_message, codes = 0, 0, 0, 0, False, set()
    for line in lines:
        code = 0 if line[4:6] == "  " else speech.code_of(line)  # a count in a column is no reply
        if in_message:
            text += 1
            in_message = line.rstrip() != "."
        elif code:
            replies += 1
            codes.add(code)
            in_message = code == 354
        elif speech.is_command(line):
            commands += 1
        elif line.strip():
            strange += 1
    if text and in_message and not commands:  # replies only: what looked like text were replies
        text_lines = [line for line in lines if speech.code_of(line)]
        replies, text = len(text_lines), 0
    known = replies + commands
    share = (known + text) / max(known + text + strange, 1)
    opened = bool(codes & {220, 554, 421}) or (commands and replies)
    enough = opened and ((replies and commands) or replies >= 3) and 250 in codes and share >= 0.6 and known >= 3
    if not enough and not (
        commands >= 1 and replies >= 1 and {220, 354, 250, 334, 235} & codes and share >= 0.9 and known >= 3
    ):
        return Candidate(declaration.slug, 0.0, "too few lines are replies or commands")
    reason = f"no other format fits, and {share:.0%} of the lines are replies, commands or message text"
    return Candidate(declaration.slug, round(0.5 + 0.4 * share, 3), reason)


def sides_swapped(found: Events) -> bool:
    """Whether the payloads say that the two sides of a log are the other way round: the lines of the client's mark look
    like replies more often than those of the server's."""
    shares = []
    for kind in (CLIENT, SERVER):
        at = np.flatnonzero(found.kind == kind)
        shares.append(float((speech.replies(events.take(found.text, at)).code > 0).mean()) if len(at) else -1.0)
    client, server = shares
    return client > 0.5 and client > server
