"""Which format a file is, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from smtplog import events, speech
from smtplog.events import CLIENT, CLOSED, SERVER, Events, Strings
from smtplog.formats.declaration import Declaration, declarations
from smtplog.formats.margins import NO_MARGIN, Margin, collected_by, margin_of, without_margin
from smtplog.formats.readers import column_of, reader
from smtplog.grammar import needed, rule_names, shapes
from smtplog.lines import Block

#: The least score that makes a format the answer.
ENOUGH = 0.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """One format, how well it fits the head of a file (0 … 1), and why."""

    slug: str
    score: float
    reason: str
    margin: Margin = NO_MARGIN  #: what the lines begin with that is none of the format's


def detect(head: Block, among: Sequence[Declaration] | None = None) -> list[Candidate]:
    """All formats (``among``: of these) that fit the head of a file at all, best first.

    A signature that is found counts a half; the rest is the share of the lines that bear it or look like a dialog. Whatever
    bears the marks of a format and holds no dialog is not claimed. Formats without a signature of their own (generic arrows,
    the bare dialog) are tried where no other is found; before that, what every line begins with is taken off: logs are pasted
    into documents, and go through syslog, the journal and the collectors of containers.
    """
    known = declarations() if among is None else among
    margins = {margin: without_margin(head, margin) for margin in (margin_of(head), *collected_by(head)) if margin}
    for margin, inside in margins.items():
        if margin.certain:
            return [replace(each, margin=margin) for each in detect(inside, among)]
    found: list[Candidate] = []
    for formats, text, margin in _attempts(known, head, margins):
        found += _fitting(formats, text, margin)
        if _sure(found):
            break
    found = _given_way([each for each in found if each.score > 0], known)
    found.sort(key=lambda each: (-each.score, each.slug))
    best = next((each for each in known if found and each.slug == found[0].slug), None)
    if best is not None and best.kind == "lines" and not found[0].margin:
        for margin, inside in margins.items():
            if fits(best, column_of(head)).sum() < fits(best, column_of(inside)).sum():
                found[0] = replace(found[0], margin=margin, reason=f"{found[0].reason}, behind {margin.words}")
                break
    return found


def _attempts(
    known: Sequence[Declaration], head: Block, margins: dict[Margin, Block]
) -> Iterator[tuple[list[Declaration], Block, Margin]]:
    """What is tried until a format is found: the formats with a signature, with nothing taken off and behind each margin; then
    the others, and captures behind a margin."""
    signed = [each for each in known if not each.fallback]
    yield signed, head, NO_MARGIN
    for margin, inside in margins.items():
        yield [each for each in signed if each.kind != "capture"], inside, margin
    yield [each for each in known if each.fallback], head, NO_MARGIN
    for margin, inside in margins.items():
        yield [each for each in known if each.fallback or each.kind == "capture"], inside, margin


def _sure(found: list[Candidate]) -> bool:
    return any(candidate.score >= ENOUGH for candidate in found)


def _fitting(known: Sequence[Declaration], head: Block, margin: Margin = NO_MARGIN) -> list[Candidate]:
    lines = column_of(head)
    said = int((events.lengths(lines) > 0).sum())
    found = [each for each in (_candidate(each, lines, said, head) for each in known) if each] if said else []
    if margin:
        found = [replace(each, margin=margin, reason=f"{each.reason}, behind {margin.words}") for each in found]
    return found


def margin_before(declaration: Declaration, head: Block) -> Margin:
    """What stands before each line of a log of this format, where that hides its signature."""
    found = detect(head, [declaration])
    return found[0].margin if found else NO_MARGIN


def _given_way(found: list[Candidate], known: Iterable[Declaration]) -> list[Candidate]:
    """A format whose marks are those of another, and some more, goes before that one, and is as sure."""
    best = {each.slug: each.score for each in found}
    for each in known:
        for slug in each.before if best.get(each.slug, 0.0) >= ENOUGH else ():
            if slug in best:
                best[each.slug] = max(best[each.slug], best[slug])
                best[slug] = min(best[slug], round(best[each.slug] - 0.001, 3))
    return [replace(each, score=best[each.slug]) for each in found]


def _candidate(declaration: Declaration, lines: Strings, said: int, head: Block) -> Candidate | None:
    """How well a format fits; None where its signature does not stand often enough."""
    if declaration.fallback and declaration.kind == "capture":
        return _bare(declaration, head)
    if not _may_bear(declaration, head.data):
        return None
    hits = events.found(lines, declaration.signature)
    count = int(hits.sum())
    if count < declaration.least:
        return None
    score = 0.5 + 0.5 * count / said
    if declaration.kind == "capture":
        if not _session(lines):
            return None
        # The words of the program stand once a session; what ran in a terminal stands below the words of the terminal.
        above = int((events.lengths(lines)[: int(np.flatnonzero(hits)[0])] > 0).sum())
        score = 0.9 + 0.1 * (1 - above / said)
    elif declaration.certain:
        score = 1.0
    elif declaration.kind == "lines" and not _speaks(declaration, head):
        return Candidate(declaration.slug, 0.0, "its marks are there, but no dialog behind them")
    first, times = head.first + int(np.flatnonzero(hits)[0]), "once" if count == 1 else f"{count} times"
    return Candidate(declaration.slug, round(score, 3), f"its signature stands {times}, first on line {first}")


def _may_bear(declaration: Declaration, text: bytes) -> bool:
    """Whether the strings stand in a text without which the signature of a format cannot."""
    strings = needed(declaration.signature)
    return not strings or any(each.encode() in text for each in strings)


def _speaks(declaration: Declaration, head: Block) -> bool:
    """Whether what a format's marks stand before is a dialog: one side's lines are replies, the other's are none, and one
    of them is a command; or nothing was said, and the log tells that a connection failed. Three digits and no more are
    a number, if nothing else speaks."""
    found = events_of(declaration, head)
    shares, commands, numbers = {}, False, True
    for kind in (CLIENT, SERVER):
        texts = events.encoded(events.take(found.text, np.flatnonzero(found.kind == kind)))
        if len(texts):
            codes = speech.replies(events.values(texts)).code
            replies = (codes >= 200) & (codes < 600)
            shares[kind] = float(replies[events.codes(texts)].mean())
            numbers &= not (replies & (events.lengths(events.values(texts)) > 4)).any()
            commands |= any(speech.is_command(line) for line in events.listed(events.values(texts))[:2000])
    if not shares:
        return bool((found.kind == CLOSED).any())
    if len(shares) < 2 and (declaration.fallback or (numbers and not commands)):
        return False  # one mark alone is that of a quotation, or of anything
    least = min(shares.values()) if len(shares) == 2 else 0.0
    return max(shares.values(), default=0.0) >= 0.4 > least or (len(shares) == 1 and commands)


def events_of(declaration: Declaration, head: Block) -> Events:
    """The events in the head of a file, read as this format."""
    fresh = reader(declaration)
    parts = [part for part in (fresh.read(head), fresh.finish()) if part is not None]
    return Events.concat(parts)


def labelled(lines: Strings) -> list[tuple[Declaration, np.ndarray]]:
    """The formats of one-line grammars whose signature stands among these lines, and where, for a log inside a capture."""
    known = [each for each in declarations() if each.kind == "lines" and not each.fallback]
    data, where = events.octets(lines)
    text = data[where[0] : where[-1]].tobytes()
    known = [each for each in known if _may_bear(each, text)]
    stands = [(each, events.found(lines, each.signature)) for each in known]
    return [(each, found) for each, found in stands if found.any()]


def fits(declaration: Declaration, lines: Strings) -> np.ndarray:
    """Which lines the grammar of a one-line format accepts."""
    found = np.zeros(len(lines), np.bool_)
    for shape in shapes(declaration.path, rule_names(declaration.grammar)):
        found |= events.found(lines, shape.pattern)
    return found


def _session(lines: Strings) -> bool:
    """Whether a capture holds a reply at all, or says why there is none: Telnet speaks to other servers too."""
    stripped = events.stripped(lines, " \t>`")
    replies = speech.replies(stripped).code
    refused = events.found(lines, r"(?i)unable to connect|connection refused|could not open connection")
    return bool((replies > 0).any() or refused.any())


def _bare(declaration: Declaration, head: Block) -> Candidate:
    """The share of lines that are replies, commands of RFC 5321, or message text between 354 and a dot."""
    from smtplog.formats.peelers import ASIDE, peel_piece

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
        elif line.strip() and not line.startswith(ASIDE):
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


def turned(declaration: Declaration, head: Block) -> bool:
    """Whether client and server change places in a log of this format: where the marks themselves do not say, by its words."""
    voted = declaration.role == "vote" or declaration.kind == "delimited"
    return voted and sides_swapped(events_of(declaration, head))


def sides_swapped(found: Events) -> bool:
    """Whether the payloads say that the two sides of a log are the other way round: the lines of the client's mark look
    like replies more often than those of the server's."""
    shares = []
    for kind in (CLIENT, SERVER):
        at = np.flatnonzero(found.kind == kind)
        shares.append(float((speech.replies(events.take(found.text, at)).code > 0).mean()) if len(at) else -1.0)
    client, server = shares
    return client >= 0.4 and client > server
