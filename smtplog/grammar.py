"""One grammar, two readers: lark's tables for captures and tests, regular expressions of the same terminals for columns."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from os.path import isabs
from typing import Any

from smtplog.errors import StoppedError

#: Terminals that are fields of an event (PEER: part of the key, of neither side by name); a suffix after an underscore tells two shapes of one field apart.
FIELDS = ("KEY", "PEER", "TIME", "CLIENT", "SERVER", "TEXT")


@dataclass(frozen=True, slots=True)
class Shape:
    """One expansion of a rule of a line grammar, as a regular expression over whole lines."""

    rule: str  #: ``client``, ``closed_by_server`` …
    pattern: str  #: RE2, with a named group for each field
    literals: tuple[str, ...]  #: strings that every such line holds, the longest first
    priority: int


@cache
def lark(grammar: str, starts: tuple[str, ...]) -> Any:
    """The parser of a grammar: LALR with the contextual lexer, all tokens kept."""
    from lark import Lark

    return Lark(
        text(grammar),
        source_path=_path(grammar),
        import_paths=[_folder()],
        start=list(starts),
        parser="lalr",
        lexer="contextual",
        keep_all_tokens=True,
        maybe_placeholders=False,
    )


def _folder() -> str:
    from importlib.resources import files

    return str(files("smtplog") / "grammars")


def _path(name: str) -> str:
    """A file of the folder of grammars by its name (a grammar without its ending), or the user's by its whole path."""
    return name if isabs(name) else f"{_folder()}/{name if '.' in name else name + '.lark'}"


def text(name: str) -> str:
    """The text of such a file."""
    with open(_path(name), encoding="utf-8-sig") as file:
        return file.read()


def words(slug: str) -> dict[str, str]:
    """What the terminals of a grammar are called, from its lines ``//= TERMINAL: words``."""
    return dict(re.findall(r"^//= (\w+): (.+)$", text(slug), re.MULTILINE))


def _loaded(name: str) -> Any:
    load_grammar: Any = import_module("lark.load_grammar").load_grammar
    return load_grammar(text(name), _path(name), [_folder()], True)[0]


@dataclass(frozen=True, slots=True)
class Read:
    """How far a parser came with a text."""

    tokens: tuple[Any, ...]  #: all that were read
    stop: int | None  #: where it could not go on, from 0; None: it read the whole text
    due: frozenset[str]  #: the terminals that it would have taken there, ``$END`` among them


def read(parser: Any, text: str, start: str) -> Read:
    """Read a text with a parser of :func:`lark` as far as it goes."""
    exceptions: Any = import_module("lark.exceptions")
    reading = parser.parse_interactive(text, start)
    tokens: list[Any] = []
    try:
        for token in reading.iter_parse():
            tokens.append(token)
        reading.feed_eof()
    except exceptions.UnexpectedCharacters as error:
        stop = error.pos_in_stream
    except exceptions.UnexpectedToken as error:
        stop = len(text) if error.token.type == "$END" else error.token.start_pos
    else:
        return Read(tuple(tokens), None, frozenset())
    return Read(tuple(tokens), stop, frozenset(reading.accepts()))


def whole(parser: Any, text: str, path: str) -> Any:
    """The tree of a whole session; StoppedError where the grammar in this file cannot go on."""
    exceptions: Any = import_module("lark.exceptions")
    try:
        return parser.parse(text)
    except exceptions.UnexpectedInput:
        how = read(parser, text, "start")
    names = (_TEXT_ENDS if each == "$END" else each.rpartition("__")[2] for each in sorted(how.due))
    stop = min(len(text) - 1, how.stop or 0)
    raise StoppedError(text.count("\n", 0, stop) + 1, tuple(dict.fromkeys(names)), path)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why lark does not take a grammar."""

    what: str
    line: int | None
    name: str | None = None  #: the rule or terminal that it is about


def refusal(path: str, names: tuple[str, ...], *, whole: bool) -> Refusal | None:
    """Why a grammar in a file cannot be built; None: it can. ``whole``: as the parser of a session, which begins with the
    first of these rules; else for :func:`shapes`."""
    exceptions: Any = import_module("lark.exceptions")
    try:
        with warnings.catch_warnings():  # what Python warns of in an expression is told as a flaw of it
            warnings.simplefilter("ignore")
            if whole:
                lark(path, names[:1])
            else:
                _loaded(path).compile(list(names), set())
    except exceptions.UnexpectedToken as error:
        due = ", ".join(sorted(_SIGNS[each] for each in error.expected if each in _SIGNS))
        return Refusal(f"{str(error.token)!r} was not due there" + (f"; due was {due}" if due else ""), error.line)
    except FileNotFoundError as error:
        return Refusal(
            f"it imports {str(error.filename)!r}, and there is no such grammar", None, str(error.filename)[:-5]
        )
    except RecursionError:
        return Refusal("what it imports goes round in a circle, or it is nested too deep", None)
    except (exceptions.LarkError, AssertionError, ValueError) as error:
        return _refusal(str(getattr(error, "orig_exc", error)))
    return None


_TEXT_ENDS = "the end of the log"
#: What lark calls the signs of its own grammar.
_SIGNS = {"_COLON": "a colon", "_NL": "the end of the line", "RULE": "a rule", "TERMINAL": "a terminal"}


def _refusal(error: str) -> Refusal:
    """The words of lark, without the picture of the line."""
    first = error.strip().splitlines()[0] if error.strip() else "lark says no more"
    if "SyntaxError(" in first:
        first = "a literal holds a backslash that stands for nothing"
    place = re.search(r",? at line ([0-9]+),? column [0-9]+", first)
    what = (first[: place.start()] if place else first).strip(" :")
    name = re.search(r"'(?:NonTerminal\()?'?([A-Za-z_0-9]+)'?\)?'|\(\'([A-Za-z_0-9]+)\'\)", first)
    name = name or re.search(r"(?:nonexisting (?:terminal|rule)|compile token|Terminal) ([A-Za-z_0-9]+)", first)
    told = what.replace("Rule '", "'", 1) if "used but not defined" in what else what
    return Refusal(
        told[:1].lower() + told[1:],
        int(place[1]) if place else None,
        next(filter(None, name.groups())).rpartition("__")[2] if name else None,
    )


def forget() -> None:
    """Grammars may have changed: they are read anew."""
    lark.cache_clear()
    shapes.cache_clear()


def rules_inside(path: str, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """(rule, what it uses) for each rule among these that uses another one, or repeats something."""
    _, rules, _ = _loaded(path).compile(list(names), set())
    return [
        (name, symbol.name)
        for name in names
        for rule in rules
        if rule.origin.name == name
        for symbol in rule.expansion
        if not symbol.is_term
    ]


def named_terminals(path: str, names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Name and regular expression of every terminal that these rules use, literals left out."""
    defined, rules, _ = _loaded(path).compile(list(names), set())
    used = {symbol.name for rule in rules for symbol in rule.expansion}
    return [
        (each.name, each.pattern.to_regexp())
        for each in defined
        if each.name in used and type(each.pattern).__name__ == "PatternRE"
    ]


def rule_names(text: str) -> tuple[str, ...]:
    """The rules that a grammar text defines, in its order."""
    return tuple(dict.fromkeys(re.findall(r"^([a-z][a-z0-9_]*)(?:\.[0-9]+)?:", text, re.MULTILINE)))


@cache
def shapes(grammar: str, names: tuple[str, ...]) -> tuple[Shape, ...]:
    """The expansions of these rules as regular expressions, the more specific ones first. No parser is built for it."""
    defined, rules, _ = _loaded(grammar).compile(list(names), set())
    terminals = {terminal.name: terminal for terminal in defined}
    found = [
        _shape(name, [terminals[symbol.name] for symbol in rule.expansion])
        for name in names
        for rule in rules
        if rule.origin.name == name
    ]
    return tuple(sorted(found, key=lambda shape: -shape.priority))


def _shape(name: str, terminals: list[Any]) -> Shape:
    parts, literals, seen = [], set(), set()
    for terminal in terminals:
        pattern = terminal.pattern.to_regexp()
        field = terminal.name.split("_")[0]
        literals.add(_held(terminal.pattern))
        if field in FIELDS and field not in seen:
            seen.add(field)
            parts.append(f"(?P<{field}>{pattern})")
        else:
            parts.append(f"(?:{pattern})")
    priority = sum(terminal.priority for terminal in terminals)
    longest_first = sorted(literals - {""}, key=lambda each: (-len(each), each))
    return Shape(name, "^" + "".join(parts) + "$", tuple(longest_first), priority)


def _held(pattern: Any) -> str:
    """The longest string that stands in whatever a terminal matches."""
    if pattern.flags:
        return ""
    if type(pattern).__name__ == "PatternStr":
        return str(pattern.value)
    parser: Any = import_module("re._parser")
    runs = [""]
    for operator, argument in parser.parse(pattern.value):
        if str(operator) == "LITERAL":
            runs[-1] += chr(argument)
        else:
            runs.append("")
    return max(runs, key=len)


@cache
def needed(pattern: str) -> tuple[str, ...]:
    """Strings one of which stands in whatever a regular expression finds; none where nothing of the kind is known. To look for
    them costs next to nothing, and to compile an expression is most of the work on a small text."""
    parser: Any = import_module("re._parser")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parsed = parser.parse(pattern)
    except (re.error, OverflowError, RecursionError):
        return ()  # RE2 reads more than Python
    return () if parsed.state.flags & re.IGNORECASE else _needed(parsed)


def _needed(parsed: Any) -> tuple[str, ...]:
    """The same for an expression as Python reads it: of its parts that must stand there, the one with the longest strings."""
    parts: list[tuple[str, ...]] = []
    run = ""
    for operator, argument in parsed:
        name = str(operator)
        if name == "LITERAL":
            run += chr(argument)
            continue
        parts, run = [*parts, (run,)], ""
        if name == "SUBPATTERN" and not argument[1] & re.IGNORECASE:
            parts.append(_needed(argument[3]))
        elif name in ("MAX_REPEAT", "MIN_REPEAT") and argument[0]:
            parts.append(_needed(argument[2]))
        elif name == "BRANCH":
            ways = [_needed(way) for way in argument[1]]
            parts.append(tuple(dict.fromkeys(each for way in ways for each in way)) if all(ways) else ())
    best = max([*parts, (run,)], key=lambda part: min(map(len, part), default=0))
    return best if all(best) else ()


def terminals(parser: Any) -> Iterator[tuple[str, str]]:
    """Name and regular expression of every terminal."""
    for terminal in parser.terminals:
        yield terminal.name, terminal.pattern.to_regexp()


def expression(slug: str, start: str) -> str:
    """All that a rule accepts as one regular expression (RE2) without groups, for a grammar in which no rule calls itself.

    Where an alternative begins with a word (``"SIZE"i``) and another one with a terminal that fits this word too, the word
    goes first, as it does in the lexer of lark.
    """
    grammar = _loaded(slug)
    defined, rules, _ = grammar.compile([start], set())
    patterns = {terminal.name: terminal.pattern for terminal in defined}
    expansions: dict[str, list[list[Any]]] = {}
    for rule in rules:
        expansions.setdefault(rule.origin.name, []).append(list(rule.expansion))

    @cache
    def body(name: str) -> str:
        mine = [tuple(symbols) for symbols in expansions[name]]
        again = any(symbols and symbols[0].name == name for symbols in mine)  # how lark writes a repetition
        text = choice(tuple(symbols for symbols in mine if not (symbols and symbols[0].name == name)))
        return f"(?:{text})+" if again else text

    def choice(ways: tuple[tuple[Any, ...], ...]) -> str:
        """One of several sequences; what they have in common at their beginning is written once."""
        words = frozenset(value for symbols in ways if symbols and (value := word(symbols[0])) is not None)
        rest: dict[Any, list[tuple[Any, ...]]] = {}
        for symbols in ways:
            if symbols:
                rest.setdefault(symbols[0], []).append(symbols[1:])
        texts = [one(first, words) + (choice(tuple(more)) if any(more) else "") for first, more in rest.items()]
        if len(texts) == 1 and () not in ways:
            return texts[0]
        return "(?:" + "|".join(texts) + ")" + ("?" if () in ways else "")

    def word(symbol: Any) -> str | None:
        pattern: Any = patterns[symbol.name] if symbol.is_term else None
        return pattern.value.lower() if type(pattern).__name__ == "PatternStr" else None

    def one(symbol: Any, words: frozenset[str]) -> str:
        if not symbol.is_term:
            return body(symbol.name)
        text: str = patterns[symbol.name].to_regexp()
        fitting = {value for value in words if re.fullmatch(text, value)} if word(symbol) is None else set()
        return f"(?:{_without(text, fitting) if fitting else text})"

    return f"^{body(start)}$"


def _without(pattern: str, words: set[str]) -> str:
    """A pattern ``[first][more]*`` without these words, in any case of their letters."""
    shape = re.fullmatch(r"(\[[^\]]+\])(\[[^\]]+\])\*", pattern)
    if shape is None:
        raise ValueError(
            f"{pattern} is not of the form [first][more]*, so that the words {sorted(words)} cannot be left out"
        )
    more = shape[2]

    def after(begun: str, following: str) -> str:
        """What may follow the beginning of a word."""
        letters = sorted({word[len(begun)] for word in words if word.startswith(begun) and len(word) > len(begun)})
        others = "".join(
            chr(c) for c in range(33, 127) if re.match(following, chr(c)) and chr(c).lower() not in letters
        )
        ways = [f"[{letter.upper()}{letter}]{after(begun + letter, more)}" for letter in letters]
        ways.append(f"[{re.escape(others)}]{more}*")
        return "(?:" + "|".join(ways) + ")" + ("" if not begun or begun in words else "?")

    return after("", shape[1])
