"""The laws of the design as properties: strategies start from the shipped samples and break them."""

from __future__ import annotations

import io
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lark.exceptions import LarkError

from smtplog import dialogs, events, findings, formats, grammar, judging, read
from smtplog.formats.captures import CaptureReader
from smtplog.formats.flaws import defined
from smtplog.formats.peelers import cut_records, peel_lines
from smtplog.lines import EOLS, octets, read_blocks
from smtplog.model import Dialog
from smtplog.script import show
from smtplog.summary import Summary
from smtplog.transcript import _chained
from tests.conftest import samples

SAMPLES = {f"{path.parent.name}/{path.stem}": path.read_bytes() for path in samples()}
FOLDER = tempfile.TemporaryDirectory()
SLUGS = sorted({name.split("/")[0] for name in SAMPLES})


@st.composite
def broken(draw: st.DrawFn) -> tuple[str, bytes]:
    """A sample with some lines dropped, swapped, doubled or cut, other line ends, NULs, octets that are no UTF-8."""
    name = draw(st.sampled_from(sorted(SAMPLES)))
    lines = SAMPLES[name].splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(lines) - 1, 0)))
        damage = draw(st.sampled_from(["drop", "swap", "double", "truncate", "end", "nul", "octet"]))
        if not lines:
            break
        if damage == "drop":
            del lines[at]
        elif damage == "swap":
            lines[at], lines[at - 1] = lines[at - 1], lines[at]
        elif damage == "double":
            lines.insert(at, lines[at])
        elif damage == "truncate":
            lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
        elif damage == "end":
            lines[at] = lines[at].rstrip(b"\r\n") + draw(st.sampled_from([b"\n", b"\r\n", b"\r", b"\r\r\n", b"\r\0"]))
        elif damage == "nul":
            lines[at] = lines[at][:3] + b"\0" + lines[at][3:]
        else:
            lines[at] = (
                lines[at][:5]
                + draw(st.sampled_from([b"\xff\xfb\x1f", b"\xe9", b"\x1b[A", b"\x08", b"\x80"]))
                + lines[at][5:]
            )
    return name.split("/")[0], b"".join(lines)


def told(data: bytes, slug: str, **options: Any) -> tuple[list[Dialog], dict[str, Any]]:
    """Dialogs and summary of a log."""
    path = Path(FOLDER.name) / "log"
    path.write_bytes(data)
    transcript = read(path, input_format=slug, **options)
    return list(transcript), transcript.summary(findings.chosen(extra=True)).to_json()


def core(dialog: Dialog) -> tuple[Any, ...]:
    """What a dialog is, wherever it stands."""

    def reply(each: Any) -> Any:
        return each and (each.code, each.enhanced, each.text, each.raw, each.time)

    return (
        reply(dialog.greeting),
        [
            (
                e.command,
                e.verb,
                e.argument,
                e.inferred,
                e.state,
                e.tls,
                e.authenticated,
                e.transaction,
                e.recipient,
                reply(e.reply),
                e.latency,
                e.pipelined,
                e.content and e.content.lines,
            )
            for e in dialog.exchanges
        ],
        [
            (
                t.mail_from,
                t.parameters,
                t.recipients,
                t.outcome,
                t.code,
                t.enhanced,
                t.queue_id,
                t.message_id,
                t.subject,
            )
            for t in dialog.transactions
        ],
        [(e.kind, e.text, e.before) for e in dialog.events if e.kind != "note"],
        dialog.outcome,
        dialog.end,
    )


@given(broken())
def test_1_reading_never_raises(sample: tuple[str, bytes]) -> None:
    slug, data = sample
    told(data, slug)


@given(st.binary(max_size=300), st.sampled_from(SLUGS))
def test_1_on_any_bytes(data: bytes, slug: str) -> None:
    told(b"220 mx\r\n" + data, slug)


@given(broken())
def test_2_a_memo_changes_nothing_but_time(sample: tuple[str, bytes]) -> None:
    slug, data = sample
    first = told(data, slug)
    judging._memo.clear()
    assert told(data, slug) == first


LINE_FORMATS = [each.slug for each in formats.declarations() if each.kind == "lines"]


@pytest.mark.parametrize("slug", LINE_FORMATS)
def test_3_the_compiled_reader_and_lark_agree(slug: str) -> None:
    declaration = formats.declaration(slug)
    names = grammar.rule_names(declaration.grammar)
    shapes = grammar.shapes(slug, names)
    parser = grammar.lark(slug, names)
    lines = [
        line
        for name, data in SAMPLES.items()
        if name.startswith(slug + "/")
        for line in re.split("\r+\n|\n|\r\0*", data.decode("utf-8", "replace"))
    ]
    if declaration.record:
        column, none = events.from_list(lines), np.zeros(len(lines), np.uint8)
        lines = events.listed(cut_records(declaration.record, column, np.arange(len(lines)), none, none)[0])
    lines += [line[:cut] for line in lines[:60] for cut in (3, 9, 30)] + [
        line.replace(": ", ":", 1) for line in lines[:60]
    ]
    column, none = events.from_list(lines), np.zeros(len(lines), np.uint8)
    lines = events.listed(peel_lines(declaration.peel, column, np.arange(len(lines)), none, none)[0])
    lines = [line for line in dict.fromkeys(lines) if line]
    column = events.from_list(lines)
    seen: dict[int, tuple[str, dict[str, str]]] = {}
    for shape in shapes:
        mask, fields = events.extracted(column, shape.pattern)
        values = {name: events.listed(field) for name, field in fields.items()}
        for i, at in enumerate(np.flatnonzero(mask).tolist()):
            seen.setdefault(at, (shape.rule, {name: value[i] for name, value in values.items()}))
    reached = set()
    for at, line in enumerate(lines):
        says = None
        for name in names:
            try:
                tree = parser.parse(line, start=name)
            except LarkError:
                continue
            found: dict[str, str] = {}
            for token in tree.children:
                field = token.type.split("_")[0]
                if field in grammar.FIELDS and field not in found:
                    found[field] = str(token)
            if says is None or seen.get(at, ("",))[0] == name:
                says = (name, found)
        assert (says is None) == (at not in seen), line
        if says is not None:
            assert seen[at] == says, line
            reached.add(says[0])
    assert reached == set(names), f"no sample reaches {set(names) - reached}"


def test_10_samples_reach_all_of_the_grammars_of_captures() -> None:
    """What all captures share is reached by a sample of any of them, what one says otherwise by its own."""
    shared, reached = set[str](), set[str]()
    for slug in (each.slug for each in formats.declarations() if each.kind == "capture"):
        reader = CaptureReader(formats.declaration(slug))
        reader.reached = {}
        for name in (name for name in SAMPLES if name.split("/")[0] == slug):
            for block in read_blocks(io.BytesIO(SAMPLES[name])):
                reader.read(block)
        reader.finish()
        own = reader.names & set(defined(formats.declaration(slug).grammar))
        assert own <= set(reader.reached), f"no sample of {slug} reaches {own - set(reader.reached)}"
        reached |= set(reader.reached)
        shared |= set() if own else reader.names
    assert shared <= reached, f"no sample reaches {shared - reached}"


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_4_blocks_of_any_size_tell_the_same(name: str) -> None:
    slug, data = name.split("/")[0], SAMPLES[name]
    whole = told(data, slug, block_size=1 << 22)
    assert told(data, slug, block_size=1 if len(data) < 4096 else 41) == whole  # 1: every line is a block
    assert told(data, slug, block_size=61) == whole


@settings(max_examples=30)
@given(broken(), st.integers(1, 200))
def test_4_on_broken_logs(sample: tuple[str, bytes], size: int) -> None:
    slug, data = sample
    assert told(data, slug, block_size=size) == told(data, slug, block_size=1 << 22)


@pytest.mark.parametrize(
    "name", [name for name in sorted(SAMPLES) if name.startswith(("exchange/", "postfix-verbose/"))]
)
def test_4_rotated_files_tell_the_same(name: str, tmp_path: Path) -> None:
    slug, data = name.split("/")[0], SAMPLES[name]
    lines = data.splitlines(keepends=True)
    whole = [core(dialog) for dialog in told(data, slug)[0]]
    head = [line for line in lines[:6] if line.lstrip(b"\xef\xbb\xbf").startswith(b"#")]
    for cut in range(len(head) + 1, len(lines), 5):
        (tmp_path / "a.log.1").write_bytes(b"".join(lines[:cut]))
        (tmp_path / "a.log").write_bytes(b"".join(lines[cut:]))
        transcript = read(tmp_path / "a.log.1", tmp_path / "a.log", input_format=slug)
        assert [core(dialog) for dialog in transcript] == whole


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_5_what_show_prints_reads_as_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(SAMPLES[name])
    for dialog in read(path, input_format=name.split("/")[0], show_secrets=True):
        again = tmp_path / "again.dialog"
        again.write_text(show(dialog), encoding="utf-8", newline="\n")
        (back,) = read(again, input_format="cs-dialog", show_secrets=True)
        assert core(back) == core(dialog)


@given(broken(), broken())
def test_6_summaries_add_up(one: tuple[str, bytes], other: tuple[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for number, (slug, data) in enumerate((one, other)):
            path = Path(folder) / f"{number}.log"
            path.write_bytes(data)
            parts.append((read(path, input_format=slug).summary(), path, slug))
        (a, _, _), (b, _, _) = parts
        total = a + b
        assert total.dialogs == a.dialogs + b.dialogs
        assert (a + b).to_json() == (b + a).to_json() | {"files": total.files, "skipped": total.skipped}
        assert (Summary() + a).to_json() == a.to_json()
        # whole dialogs add up; where a log goes on in the next file, a session that is open at its end does, too
        if one[0] == other[0] and not _chained(formats.declaration(one[0])):
            assert read(parts[0][1], parts[1][1], input_format=one[0]).summary().to_json() == total.to_json()


def test_11_every_terminal_is_re2() -> None:
    for slug in (each.slug for each in formats.declarations() if each.kind != "delimited"):
        declaration = formats.declaration(slug)
        starts = ("start",) if declaration.kind == "capture" else grammar.rule_names(declaration.grammar)
        for _, pattern in grammar.terminals(grammar.lark(slug, starts)):
            events.found(events.from_list(["x"]), pattern)


PUMPS = ("a", "0", " ", ".", "a.", "1:", "<a", '"', "220-", "\\r", "\t|", "[a]")


@pytest.mark.parametrize("slug", [each.slug for each in formats.declarations() if each.kind != "delimited"])
def test_11_terminals_take_linear_time(slug: str) -> None:
    """On 64 KiB of anything a terminal that backtracks would need minutes, a linear one a few milliseconds."""
    declaration = formats.declaration(slug)
    starts = ("start",) if declaration.kind == "capture" else grammar.rule_names(declaration.grammar)
    for name, pattern in grammar.terminals(grammar.lark(slug, starts)):
        compiled = re.compile(pattern, re.ASCII)
        for pump in PUMPS:
            start = time.process_time()
            compiled.match((pump * (65536 // len(pump))) + "\x00")
            assert time.process_time() - start < 2, f"{slug}: {name} backtracks on {pump!r}"


ENDS = st.lists(st.sampled_from([b"a", b"\xc3\xa4", b"\r", b"\n", b"\r\n", b"\0"]), max_size=20).map(b"".join)


@given(st.binary(max_size=60) | ENDS, st.integers(1, 9))
def test_lines_are_the_same_however_they_are_read(data: bytes, size: int) -> None:
    def lines(of: int) -> list[tuple[str, int, int]]:
        found = []
        for block in read_blocks(io.BytesIO(data), size=of):
            assert block.first == len(found) + 1
            found += [(block.line(i), int(block.eol[i]), int(block.flags[i])) for i in range(len(block))]
        return found

    assert lines(size) == lines(1 << 16)


@given(st.lists(st.tuples(st.binary(max_size=12), st.sampled_from([b"\n", b"\r\n"])), max_size=8))
def test_octets_come_back(parts: list[tuple[bytes, bytes]]) -> None:
    parts = [(text.translate(None, b"\r\n\0"), end) for text, end in parts]
    data = b"".join(text + end for text, end in parts)
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return
    blocks = list(read_blocks(io.BytesIO(data)))
    back = [(octets(block, i), EOLS[block.eol[i]]) for block in blocks for i in range(len(block))]
    assert back == [(text, "lf" if end == b"\n" else "crlf") for text, end in parts]


def test_exchanges_are_made_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the pairing by one that raises, and no log can be read any more."""

    def gone(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(dialogs, "pair", gone)
    for name, data in SAMPLES.items():
        with pytest.raises(ZeroDivisionError):
            told(data, name.split("/")[0])
