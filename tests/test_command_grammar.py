"""The grammar of command lines: one declaration, two readers that agree, and what they say of a broken line."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.lark import from_lark

from smtplog import events, grammar, reference, syntax

PARSER = grammar.lark("command", ("command", "obsolete"))
COMPILED = Path(syntax.__file__).parent / "grammars" / "command.re2"
LINES = from_lark(PARSER, start="command")


def strict(line: str) -> bool:
    return bool(syntax.strict(events.from_list([line]))[0])


def parsed(line: str) -> bool:
    return grammar.read(PARSER, line, "command").stop is None


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A line of the grammar with some characters dropped, doubled, swapped or put in."""
    line = draw(LINES)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(line)))
        damage = draw(st.sampled_from(["drop", "double", "swap", "put", "cut"]))
        if damage == "drop":
            line = line[:at] + line[at + 1 :]
        elif damage == "double":
            line = line[:at] + line[at : at + 1] + line[at:]
        elif damage == "swap":
            line = line[:at] + line[at + 1 : at + 2] + line[at : at + 1] + line[at + 2 :]
        elif damage == "put":
            line = line[:at] + draw(st.sampled_from([*' <>@.,:;=+"\\-[]()_0aZ\t', "é"])) + line[at:]
        else:
            line = line[:at]
    return line


def test_the_expressions_are_those_of_the_grammar(request: pytest.FixtureRequest) -> None:
    made = "".join(f"{name} {grammar.expression('command', name)}\n" for name in ("usual", "command"))
    if request.config.getoption("--update-expressions"):
        COMPILED.write_text(made, encoding="utf-8")
    assert COMPILED.read_text(encoding="utf-8") == made, "run this test with --update-expressions"


@given(LINES | mutated())
def test_the_readers_agree(line: str) -> None:
    assert strict(line) == parsed(line), line


@given(from_lark(PARSER, start="command").filter(parsed))
def test_a_line_of_the_grammar_has_no_fault(line: str) -> None:
    assert strict(line) and syntax.fault(line) is None


@given(mutated() | st.text(max_size=60))
def test_a_fault_has_its_place(line: str) -> None:
    """Any line: no exception, a column inside it, and the beginning up to there is all right."""
    found = syntax.fault(line)
    assert found is not None or not line.isascii() or strict(" ".join(line.split())) or "<@" in line or '"' in line
    if found:
        assert 1 <= found.column <= len(line) + 1
        assert found.expected and "__ANON" not in found.expected
        assert not found.found or line[found.column - 1] == found.found or not line.isascii() or found.found == " "


def test_every_terminal_has_a_name() -> None:
    regular = {each.name for each in PARSER.terminals if type(each.pattern).__name__ == "PatternRE"}
    assert set(grammar.words("command")) == regular | {"SP", "DBLQUOTE"}


@pytest.mark.parametrize("row", reference.table("mail_parameters"), ids=lambda row: f"{row['command']} {row.key}")
def test_every_parameter_of_the_registry(row: reference.Row) -> None:
    """The examples of the registry are right; a value where none may be, or none where one must be, is not."""
    for verb in row["command"].split(";"):
        if verb not in ("MAIL", "RCPT"):
            continue
        path = "MAIL FROM:<a@example.org>" if verb == "MAIL" else "RCPT TO:<a@example.org>"
        assert syntax.fault(f"{path} {row['example']}") is None
        found = syntax.fault(f"{path} {row.key}=" if row["value"] == "required" else f"{path} {row.key}==")
        assert found and found.part == "parameter" and found.parameter == row.key.upper()


VALUES = [row for row in reference.table("mail_parameters") if row["value_regex"] and row["value"] == "required"]


@given(st.data(), st.sampled_from(VALUES))
def test_values_are_those_of_the_registry(data: st.DataObject, row: reference.Row) -> None:
    """What the grammar takes, the registry takes; the grammar knows more of times, limits and signs."""
    path = "MAIL FROM:<a@example.org>" if "MAIL" in row["command"] else "RCPT TO:<a@example.org>"
    value = data.draw(st.from_regex(row["value_regex"], fullmatch=True) | st.text(st.characters(max_codepoint=126)))
    if syntax.fault(f"{path} {row.key}={value}") is None and value.isprintable() and " " not in value:
        assert re.match(row["value_regex"], value)


@pytest.mark.parametrize(
    "pump",
    ["MAIL FROM:<", "a.", "a@", '"', "\\", "<>", " SIZE=1", "RCPT TO:<a@b> ", ":", "+2B", "=", "[IPv6:", "1.", "-"],
)
def test_time_stays_linear(pump: str) -> None:
    for head in ("", "MAIL FROM:<", "RCPT TO:<a@b.example> ORCPT=rfc822;", "EHLO "):
        line = (head + pump * 65536)[:65536]
        begun = time.perf_counter()
        syntax.fault(line)
        strict(line)
        assert time.perf_counter() - begun < 2
