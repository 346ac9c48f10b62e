"""For the author of a log format: what is wrong with a declaration, held against samples of the log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from smtplog import formats, grammar
from smtplog.errors import StoppedError, UsageError, listed
from smtplog.formats.captures import CaptureReader
from smtplog.formats.flaws import defined, flaws_of, line_of
from smtplog.formats.heads import Flaw
from smtplog.formats.readers import LineReader
from smtplog.grammar import Shape
from smtplog.lines import Block, read_blocks
from smtplog.sources import Source, open_source
from smtplog.transcript import head_of, read


@dataclass(slots=True)
class Sample:
    """How a declaration reads one log."""

    source: str
    lines: int = 0
    not_understood: int = 0
    first_not_understood: int | None = None
    sessions: int = 0
    exchanges: int = 0
    replies: int = 0
    first_said: int | None = None  #: the line on which the first session begins
    recognised: str = ""  #: as which format, and why


@dataclass(slots=True)
class Rule:
    """A rule of a grammar of lines, and the lines that it read; of a capture's grammar a rule or a terminal."""

    name: str
    line: int | None  #: of the grammar
    count: int = 0
    first: str = ""  #: log:line


@dataclass(slots=True)
class Verdict:
    """What ``smtplog formats --check`` has to say."""

    path: str
    kind: str = ""
    flaws: list[Flaw] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The object of ``--output-format json``."""
        return {
            "grammar": self.path,
            "well": not self.flaws,
            "flaws": [asdict(each) for each in self.flaws],
            "samples": [asdict(each) for each in self.samples],
            "rules": [asdict(each) for each in self.rules],
        }


def check(path: str | Path, samples: Iterable[str | Path]) -> Verdict:
    """Look at a declaration, then at what it makes of the samples. UsageError and UnreadableError for what cannot be read."""
    sources = [str(each) for each in samples]
    grammar.forget()  # a grammar that it imports may have changed
    text = formats.read_grammar(path)
    verdict = Verdict(str(path), flaws=list(flaws_of(str(Path(path).absolute()), text, shown=str(path))))
    if verdict.flaws:
        return verdict  # what it makes of a log would follow from them
    declaration = formats.own_declaration(path)
    verdict.kind = declaration.kind
    reader = formats.reader(declaration)
    if isinstance(reader, LineReader):
        names = dict.fromkeys(shape.rule for shape in reader.shapes)
        verdict.rules = sorted((Rule(name, line_of(name, text)) for name in names), key=lambda each: each.line or 0)
    elif isinstance(reader, CaptureReader):
        names = dict.fromkeys(name for name in defined(text) if name in reader.names)
        verdict.rules = [Rule(name, line_of(name, text)) for name in names]
    twice: dict[tuple[str, str], tuple[int, str]] = {}
    for each in sources:
        blocks = _blocks(each)
        if isinstance(reader, LineReader):
            _reached(reader, blocks, each, verdict.rules, twice)
        elif isinstance(reader, CaptureReader):
            try:
                _reached_in_sessions(declaration, blocks, each, verdict.rules)
            except StoppedError as error:
                verdict.flaws.append(_stopped(error, each))
                continue
        told = _sample(declaration, each)
        verdict.samples.append(told)
        verdict.flaws += [
            *_recognition(declaration, blocks, told),
            *_sides(declaration, blocks[0], told),
            *_reading(told),
        ]
    verdict.flaws += _ambiguous(verdict, twice)
    if verdict.samples:
        verdict.flaws += [_not_reached(each, verdict.path) for each in verdict.rules if not each.count]
    return verdict


def _blocks(sample: str) -> list[Block]:
    """The head of a sample, then all of it."""
    source = Source(sample, True)
    if Path(sample).is_dir():
        raise UsageError(f"{sample} is a directory; name the samples one by one")
    with open_source(source) as stream:
        head, blocks = head_of(read_blocks(stream), source)
        return [head, *blocks]


def _sample(declaration: formats.Declaration, sample: str) -> Sample:
    log = read(sample, grammar=declaration.path, show_secrets=True)
    told = Sample(sample)
    for dialog in log:
        told.sessions += 1
        told.first_said = min(told.first_said or dialog.line, dialog.line)
        told.exchanges += sum(each.command is not None for each in dialog.exchanges)
        told.replies += sum(each.reply is not None for each in dialog.exchanges) + (dialog.greeting is not None)
    for sentence in log.errors:
        raise UsageError(sentence)
    (report,) = log.files
    told.lines, told.not_understood = report.lines, report.not_understood
    told.first_not_understood = report.first_not_understood
    return told


def _reached(
    reader: LineReader,
    blocks: list[Block],
    sample: str,
    rules: list[Rule],
    twice: dict[tuple[str, str], tuple[int, str]],
) -> None:
    """Count the lines of each rule, and those that two rules would take."""
    by_name = {each.name: each for each in rules}
    numbers = np.array([rules.index(by_name[shape.rule]) for shape in reader.shapes])
    for block in blocks[1:]:
        fitting = reader.fits(block)
        taken = np.where(fitting.any(axis=1), numbers[fitting.argmax(axis=1)], -1)
        for number, rule in enumerate(rules):
            at = np.flatnonzero(taken == number)
            rule.count += len(at)
            rule.first = rule.first or (f"{sample}:{block.first + int(at[0])}" if len(at) else "")
        for one, other in _equals(reader.shapes):
            at = np.flatnonzero(fitting[:, one] & fitting[:, other])
            if len(at):
                pair = (reader.shapes[one].rule, reader.shapes[other].rule)
                count, first = twice.get(pair, (0, f"{sample}:{block.first + int(at[0])}"))
                twice[pair] = (count + len(at), first)


def _reached_in_sessions(declaration: formats.Declaration, blocks: list[Block], sample: str, rules: list[Rule]) -> None:
    """Count where each rule and each terminal of a capture's grammar begins to read."""
    reader = CaptureReader(declaration)
    reader.reached = {}
    for block in blocks[1:]:
        reader.read(block)
    reader.finish()
    for rule in rules:
        lines = reader.reached.get(rule.name, [])
        rule.count += len(lines)
        rule.first = rule.first or (f"{sample}:{min(lines)}" if lines else "")


def _stopped(error: StoppedError, sample: str) -> Flaw:
    return Flaw(
        "the grammar cannot read this line",
        sample,
        error.line,
        f"what may stand there is {listed(error.due)}, and it is none of these; such a log is not read at all",
        "write a rule or a terminal for it, or import start from .capture, which takes any line",
    )


def _equals(shapes: Sequence[Shape]) -> Iterator[tuple[int, int]]:
    """Pairs of shapes of different rules between which no priority decides."""
    for (one, first), (other, second) in combinations(enumerate(shapes), 2):
        if first.rule != second.rule and first.priority == second.priority:
            yield one, other


def _ambiguous(verdict: Verdict, twice: dict[tuple[str, str], tuple[int, str]]) -> Iterator[Flaw]:
    lines = {each.name: each.line for each in verdict.rules}
    for (one, other), (count, first) in twice.items():
        sample, _, number = first.rpartition(":")
        more = f", and {count - 1} more" if count > 1 else ""
        yield Flaw(
            f"the rules `{one}` and `{other}` both fit this line{more}",
            sample,
            int(number),
            f"which of them reads it, those of lines {lines[one]} and {lines[other]} of the grammar do not say",
            "make a terminal of one of them narrower, or give the one that goes first a priority: NAME.2: /…/",
        )


def _not_reached(rule: Rule, path: str) -> Flaw:
    return Flaw(
        f"no sample reaches the {'terminal' if rule.name.isupper() else 'rule'} `{rule.name}`",
        path,
        rule.line,
        "what no log shows has not been tried",
        "add a sample that holds such a line, or leave the rule out",
    )


def _recognition(declaration: formats.Declaration, blocks: list[Block], told: Sample) -> Iterator[Flaw]:
    """Whether the sample would be recognised unasked."""
    head = blocks[0]
    others = [each for each in formats.declarations() if each.slug != declaration.slug.rpartition(".")[0]]
    candidates = formats.detect(head, (*others, declaration))
    mine = next((each for each in candidates if each.slug == declaration.slug), None)
    rival = next((each for each in candidates if each.slug != declaration.slug), None)
    if mine is None:
        alone = formats.detect(head, (declaration,))
        yield _unsigned(declaration, told.source, rival if alone else None, bool(_bearing(declaration, head)))
    elif rival is not None and rival.score >= mine.score:
        yield _rivalled(told.source, rival, mine)
    else:
        told.recognised = f"{mine.slug}, {mine.score:.0%} sure: {mine.reason}"


def _bearing(declaration: formats.Declaration, head: Block) -> int:
    from smtplog import events
    from smtplog.formats.readers import column_of

    return int(events.found(column_of(head), declaration.signature).sum())


def _unsigned(declaration: formats.Declaration, sample: str, rival: formats.Candidate | None, there: bool) -> Flaw:
    if there and declaration.least <= 1:
        return Flaw(
            "the signature stands in the sample, but what the rules read there is no dialog",
            sample,
            1,
            "a format is recognised where the lines of one side are replies and those of the other are not",
            "see that the rules client and server are not the wrong way round and that TEXT begins where the words begin",
        )
    return Flaw(
        f"the signature is {'too rare' if there else 'not found'} in the sample",
        sample,
        1,
        "without it no log of this kind is recognised unasked"
        + (f"; this one is taken for {rival.slug}" if rival else ""),
        "write a regular expression (RE2) that every such log bears in many lines, such as what stands before the words",
    )


def _rivalled(sample: str, rival: formats.Candidate, mine: formats.Candidate) -> Flaw:
    return Flaw(
        f"the sample is taken for {rival.slug}",
        sample,
        1,
        f"that fits by {rival.score:.0%} ({rival.reason}), this format by {mine.score:.0%} ({mine.reason})",
        "let the signature be found in more lines of the log, at best in all that hold something said",
    )


def _sides(declaration: formats.Declaration, head: Block, told: Sample) -> Iterator[Flaw]:
    if (
        declaration.kind == "lines"
        and declaration.role != "vote"
        and formats.sides_swapped(formats.events_of(declaration, head))
    ):
        yield Flaw(
            "the words of the client look like replies",
            told.source,
            told.first_said,
            "replies begin with three figures, commands do not: the two sides are the wrong way round",
            'change the names of the rules client and server, or let the words of each log decide: role = "vote"',
        )


def _reading(told: Sample) -> Iterator[Flaw]:
    if told.not_understood:
        many = told.not_understood > 1
        yield Flaw(
            f"{told.not_understood:,} lines are not understood, this is the first"
            if many
            else "this line is not understood",
            told.source,
            told.first_not_understood,
            "what no rule reads is a note: it is part of no dialog",
            "write a rule for it (note: … if it is no part of the dialog), or noise = true if most lines of such logs are none",
        )
    if not told.sessions:
        yield Flaw(
            "no session is in the sample",
            told.source,
            1,
            "no line was read as words of a client or a server",
            "see that the rules client and server have the marks of this log, with the blanks between them",
        )
    elif not told.replies or not told.exchanges:
        side = "command" if not told.exchanges else "reply"
        yield Flaw(
            f"no {side} is in the sample",
            told.source,
            1,
            f"a dialog has two sides, and no line was read as a {side}",
            f"see that the rule {'client' if side == 'command' else 'server'} has the mark of this log, or take another sample",
        )
