"""What is wrong with a declaration, by itself: its head, its grammar, its terminals, the names of its rules."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from smtplog import grammar
from smtplog.formats.heads import Flaw, head_flaws, refused_expression
from smtplog.formats.roles import NAMES, SUFFIXES, is_role
from smtplog.formats.terminals import SPOKEN, WORDS

_DEFINED = re.compile(r"^[?!]{0,2}([_A-Za-z][_A-Za-z0-9]*)(?:\{[^}]*\})?(?:\.-?[0-9]+)?[ \t]*:")


def flaws_of(path: str, text: str, *, shown: str) -> Iterator[Flaw]:
    """All that is wrong with the declaration in a file, which is called ``shown``; what follows from another flaw is left
    out."""
    sound = True
    for flaw in head_flaws(text, shown):
        sound = False
        yield flaw
    if not sound or path.endswith(".toml"):
        return
    whole = _kind(text) == "capture"
    names = grammar.rule_names(text)
    if not whole:
        strange = list(_strange_names(text, shown))
        yield from strange
        names = tuple(name for name in names if is_role(name))
        if not names:
            if not strange:
                yield _nothing_said(shown)
            return
    refused = grammar.refusal(path, ("start",) if whole else names, whole=whole)
    if refused is not None:
        yield _refused(refused, text, shown)
        return
    yield from _terminals(path, ("start",) if whole else names, text, shown)
    if whole:
        yield from _of_capture(path, text, shown)
    else:
        yield from _of_lines(path, names, text, shown)


def _kind(text: str) -> str:
    match = re.search(r"^//:\s*kind\s*=\s*[\"'](\w+)", text, re.MULTILINE)
    return match[1] if match else ""


def line_of(name: str, text: str, *, last: bool = False) -> int | None:
    """Where a grammar defines a rule or a terminal, first or last, or names it."""
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if not line.startswith("//")]
    lines = lines[::-1] if last else lines
    for pattern in (
        rf"(?:%(?:override|extend)[ \t]+)?[?!]{{0,2}}{re.escape(name)}(?:\.-?[0-9]+)?[ \t]*:",
        rf".*\b{re.escape(name)}\b",
    ):
        for number, line in lines:
            if re.match(pattern, line):
                return number
    return None


def _strange_names(text: str, shown: str) -> Iterator[Flaw]:
    for number, line in enumerate(text.splitlines(), 1):
        match = _DEFINED.match(line)
        if match and not is_role(match[1]) and match[1] != match[1].upper():
            yield Flaw(
                f"the rule `{match[1]}` has a name that means nothing",
                shown,
                number,
                "the name of a rule says what its lines are; parts of lines are terminals, in capitals",
                _meant(match[1]),
            )


def _meant(name: str) -> str:
    """What the author of a rule with a strange name may have had in mind."""
    if is_role(name.lower()):
        return f"write it in small letters: {name.lower()}"
    if name.upper() in grammar.FIELDS:
        return f"write it in capitals, {name.upper()}, there and where it is used"
    heads = [each for each in NAMES if name.startswith(each)]
    if heads:
        return f"behind {heads[-1]} may stand _{', _'.join(SUFFIXES)}"
    first, _, rest = name.partition("_")
    near = difflib.get_close_matches(first.lower(), NAMES, 1, 0.7) or difflib.get_close_matches(name, NAMES, 1, 0.7)
    if not near:
        return f"the names are {', '.join(NAMES)}"
    whole = f"{near[0]}_{rest}" if rest else near[0]
    return f"call it {whole if is_role(whole) else near[0]}"


def _nothing_said(shown: str) -> Flaw:
    return Flaw(
        "no rule is there",
        shown,
        None,
        "the rules say what the lines of the log are",
        'write at least client: "> " TEXT and server: "< " TEXT, with what stands before the words in this log',
    )


def _refused(refused: grammar.Refusal, text: str, shown: str) -> Flaw:
    line = refused.line or (
        line_of(refused.name, text, last="more than once" in refused.what) if refused.name else None
    )
    do = "mend that place; a literal stands between double quotes, an expression between slashes, both on one line"
    if "used but not defined" in refused.what and refused.name:
        defined = re.findall(r"^[_A-Za-z][_A-Za-z0-9]*(?=[.0-9 \t]*:)", text, re.MULTILINE)
        near = difflib.get_close_matches(refused.name, defined, 1)
        do = f"write {near[0]}" if near else f"define it: {refused.name}: /…/"
    elif "more than once" in refused.what:
        do = "put its alternatives behind one name, with | between them"
    elif "imports" in refused.what:
        do = "import from .syslog, .capture, or a grammar beside this one"
    return Flaw(
        f"lark does not take the grammar: {refused.what}",
        shown,
        line,
        'the rules behind the head are a grammar in lark\'s notation: rule: TERMINAL "literal" | …, TERMINAL: /expression/',
        do,
    )


def _terminals(path: str, names: tuple[str, ...], text: str, shown: str) -> Iterator[Flaw]:
    for name, pattern in grammar.named_terminals(path, names):
        refused = refused_expression(pattern)
        if refused is not None:
            yield Flaw(
                f"the terminal `{name}` does not do: {refused}",
                shown,
                line_of(name, text),
                "logs are hostile, so expressions are run by RE2, in linear time: it has no look-around and no references back",
                "say it with classes such as [A-Za-z], (?:groups) and repetitions, or tell the lines apart by rules of their own",
            )


def defined(text: str) -> list[str]:
    """The rules and terminals that a grammar text defines, or defines anew, in its order."""
    found = (_DEFINED.match(re.sub(r"^%(?:override|extend)[ \t]+", "", line)) for line in text.splitlines())
    return list(dict.fromkeys(match[1] for match in found if match))


def _of_capture(path: str, text: str, shown: str) -> Iterator[Flaw]:
    used = {name.rpartition("__")[2] for name, _ in grammar.terminals(grammar.lark(path, ("start",)))}
    for name in defined(text):
        near = difflib.get_close_matches(name, WORDS, 1, 0.75)
        if name in used and name not in WORDS and near:
            yield Flaw(
                f"the terminal `{name}` has a name that means nothing",
                shown,
                line_of(name, text),
                "the name of a terminal says what the lines of a session are that it reads; any other makes them notes",
                f"call it {near[0]}, there and where it is used",
            )
    if not used & SPOKEN:
        yield Flaw(
            "no terminal tells what client or server said",
            shown,
            None,
            "a dialog is made of such lines",
            "begin with %import .capture (start, …) as smtplog/grammars/telnet-unix.lark does, and %override what differs",
        )


def _of_lines(path: str, names: tuple[str, ...], text: str, shown: str) -> Iterator[Flaw]:
    nested = dict(grammar.rules_inside(path, names))
    for rule, inner in nested.items():
        what = "repeats or groups something" if inner.startswith("__") else f"uses the rule `{inner}`"
        yield Flaw(
            f"the rule `{rule}` {what}",
            shown,
            line_of(rule, text),
            "the grammar is that of one line, read as one regular expression: a rule is a row of terminals and literals",
            "make that part a terminal, in capitals; * and + stand in terminals only",
        )
    if not any(name.split("_")[0] in ("client", "server", "said") for name in names):
        yield Flaw(
            "no rule tells what client or server said",
            shown,
            None,
            "a dialog is made of such lines",
            'write client: "> " TEXT and server: "< " TEXT, with what stands before the words in this log',
        )
    for name, _ in grammar.named_terminals(path, names):
        if name.startswith("_") or name.split("_")[0] in grammar.FIELDS:
            continue
        near = difflib.get_close_matches(re.sub("[0-9]+$", "", name), grammar.FIELDS, 1, 0.75)
        if near:
            yield Flaw(
                f"the terminal `{name}` is no field",
                shown,
                line_of(name, text),
                f"fields are {', '.join(grammar.FIELDS)}, each with an ending behind an underscore where there are several; "
                "what other terminals read is dropped",
                f"call it {near[0]} or {near[0]}_…; begin its name with _ if it is to be dropped",
            )
