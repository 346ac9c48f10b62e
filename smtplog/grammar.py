"""One grammar, two readers: lark's tables for captures and tests, regular expressions of the same terminals for columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

#: Terminals that are fields of an event; a suffix after an underscore tells two shapes of one field apart.
FIELDS = ("KEY", "TIME", "CLIENT", "SERVER", "TEXT")


@dataclass(frozen=True, slots=True)
class Shape:
    """One expansion of a rule of a line grammar, as a regular expression over whole lines."""

    rule: str  #: ``client``, ``closed_by_server`` …
    pattern: str  #: RE2, with a named group for each field
    literal: str  #: the longest string that every such line holds
    priority: int


@cache
def lark(slug: str, starts: tuple[str, ...]) -> Any:
    """The parser of a grammar: LALR with the contextual lexer, all tokens kept."""
    from lark import Lark

    return Lark.open(
        f"{_folder()}/{slug}.lark",
        start=list(starts),
        parser="lalr",
        lexer="contextual",
        keep_all_tokens=True,
        maybe_placeholders=False,
    )


def _folder() -> str:
    from importlib.resources import files

    return str(files("smtplog") / "grammars")


def rule_names(text: str) -> tuple[str, ...]:
    """The rules that a grammar text defines, in its order."""
    return tuple(dict.fromkeys(re.findall(r"^([a-z][a-z_]*)(?:\.[0-9]+)?:", text, re.MULTILINE)))


def shapes(slug: str, names: tuple[str, ...]) -> tuple[Shape, ...]:
    """The expansions of these rules as regular expressions, the more specific ones first. No parser is built for it."""
    load_grammar: Any = import_module("lark.load_grammar").load_grammar
    with open(f"{_folder()}/{slug}.lark", encoding="utf-8") as file:
        grammar, _ = load_grammar(file.read(), f"{slug}.lark", [_folder()], True)
    defined, rules, _ = grammar.compile(list(names), set())
    terminals = {terminal.name: terminal for terminal in defined}
    found = [
        _shape(name, [terminals[symbol.name] for symbol in rule.expansion])
        for name in names
        for rule in rules
        if rule.origin.name == name
    ]
    return tuple(sorted(found, key=lambda shape: -shape.priority))


def _shape(name: str, terminals: list[Any]) -> Shape:
    parts, literals, seen = [], [""], set()
    for terminal in terminals:
        pattern = terminal.pattern.to_regexp()
        field = terminal.name.split("_")[0]
        if type(terminal.pattern).__name__ == "PatternStr":
            literals.append(terminal.pattern.value)
        if field in FIELDS and field not in seen:
            seen.add(field)
            parts.append(f"(?P<{field}>{pattern})")
        else:
            parts.append(f"(?:{pattern})")
    priority = sum(terminal.priority for terminal in terminals)
    return Shape(name, "^" + "".join(parts) + "$", max(literals, key=len), priority)


def terminals(parser: Any) -> Iterator[tuple[str, str]]:
    """Name and regular expression of every terminal."""
    for terminal in parser.terminals:
        yield terminal.name, terminal.pattern.to_regexp()
