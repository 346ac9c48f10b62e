"""The head of a declaration: what it must say, what it may say, and what is wrong with one."""

from __future__ import annotations

import difflib
import re
import tomllib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from smtplog import events, grammar
from smtplog.events import KINDS
from smtplog.formats.peelers import known_peelers


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with a declaration, in the parts of a good message."""

    what: str
    path: str
    line: int | None  #: of the declaration, or of the log; None: it stands nowhere
    why: str
    do: str

    @property
    def where(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class _Key:
    wrong: Callable[[Any], str | None]  #: what is wrong with a value
    says: str
    example: str
    required: bool = False


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value.strip() else "it is no text"


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "it is neither true nor false"


def _regex(value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return "it is no regular expression"
    refused = events.refused_by_re2(value)
    if refused is not None:
        return f"RE2 cannot read it: {refused}"
    return "it is found in an empty line, so in any" if events.found(events.from_list([""]), value).any() else None


def refused_expression(pattern: str) -> str | None:
    """Why a regular expression does not do; None: it does. RE2 runs it over columns and Python over single lines, so both must
    read it, and as the same."""
    refused = events.refused_by_re2(pattern)
    if refused is not None:
        return f"RE2 cannot read it: {refused}"
    parser: Any = import_module("re._parser")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            parser.parse(pattern)  # re.compile warns of what it remembers no second time
    except (re.error, Warning, OverflowError, RecursionError) as error:
        return f"Python cannot read it: {error}"
    return None


def _regex_of_both(value: Any) -> str | None:
    return _regex(value) or refused_expression(value)


def _number(least: int, most: int) -> Callable[[Any], str | None]:
    def wrong(value: Any) -> str | None:
        good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return None if good else f"it is no number from {least} to {most}"

    return wrong


def _word(*known: str) -> Callable[[Any], str | None]:
    return lambda value: None if value in known else f"it is none of {', '.join(known)}"


def _words(value: Any) -> str | None:
    good = isinstance(value, list) and value and all(isinstance(each, str) for each in value)
    return None if good else "it is no list of names"


def _peel(value: Any) -> str | None:
    known = known_peelers()
    strange = [each for each in value if each not in known] if isinstance(value, list) else [value]
    return f"{strange[0]!r} is none of {', '.join(known)}" if strange else None


def _table(*names: str, of: tuple[str, ...] = (), needed: tuple[str, ...] = ()) -> Callable[[Any], str | None]:
    """A table of texts: with these names alone, some of them needed, each text one of some words."""

    def wrong(value: Any) -> str | None:
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            return "it is no table of texts"
        for name, each in value.items():
            if names and name not in names:
                return f"{name!r} is none of {', '.join(names)}"
            if of and each not in of:
                return f"{each!r} is none of {', '.join(of)}"
        lacking = [name for name in needed if name not in value]
        return f"{lacking[0]!r} is not in it" if lacking else None

    return wrong


def _context(value: Any) -> str | None:
    wrong = _table("tls", "tls_failed")(value)
    refused = next((text for text in map(_regex, value.values()) if text), None) if wrong is None else None
    return wrong or refused


def _character(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 1


def _separators(value: Any) -> str | None:
    several = isinstance(value, list) and value and all(_character(each) for each in value)
    return None if several or _character(value) else "it is no single character, nor a list of such"


_ROLES = ("time", "key", "event", "text", "context", "here", "there", "verb", "answer")


def _columns(value: Any) -> str | None:
    if not isinstance(value, dict) or not all(isinstance(each, str) or _words(each) is None for each in value.values()):
        return "it is no table of texts and lists of texts"
    return _table(*_ROLES, needed=("key", "event", "text"))(dict.fromkeys(value, ""))


_OF_EXCHANGE: dict[str, Callable[[Any], str | None]] = {
    "blank": lambda value: None if _character(value) else "it is no single character",
    "nothing": _text,
    "argument": _text,
    "whole": _flag,
    "alone": _words,
    "verbs": _table(),
    "message": _text,
    "last": _text,
    "answers": _table(),
}


def _exchange(value: Any) -> str | None:
    wrong = _table(*_OF_EXCHANGE)(dict.fromkeys(value, "")) if isinstance(value, dict) else "it is no table"
    if wrong is not None:
        return wrong
    told = ((name, _OF_EXCHANGE[name](each)) for name, each in value.items())
    return next((f"in `{name}` {flaw}" for name, flaw in told if flaw), None)


_KINDS = ("lines", "capture", "delimited")
_EVERY = {
    "title": _Key(_text, "what the format is, in the words of a list", '"The debug log of acme-mail"', True),
    "kind": _Key(
        _word(*_KINDS),
        "whether the grammar is that of one line (lines) or of a session (capture), or there is a mapping of columns "
        "(delimited)",
        '"lines"',
        True,
    ),
    "role": _Key(
        _word("absolute", "logger", "vote"),
        "whether the marks mean client and server (absolute), what the program that writes sent and received (logger), or "
        "what their words show (vote)",
        '"absolute"',
        True,
    ),
    "content": _Key(
        _word("absent", "marked"),
        "whether the text of a message is absent from the log or marked in it",
        '"marked"',
        True,
    ),
    "signature": _Key(
        _regex, "by which lines a file is recognised: a regular expression", "'^acme-mail\\[[0-9]+\\]: '", True
    ),
    "written": _Key(_text, "where the log is written", '"/var/log/acme-mail.log"', True),
    "enable": _Key(_text, "how a user switches it on", '"acme-mail --debug"', True),
    "sample": _Key(_text, "one line of it", '"acme-mail[42]: sent EHLO ws.example.org"', True),
    "tier": _Key(_number(1, 3), "how common it is, from 1", "3"),
    "least": _Key(_number(1, 1000), "how many lines must bear the signature", "2"),
    "zone": _Key(_word("UTC", "local"), "the zone of stamps that name none", '"UTC"'),
    "fallback": _Key(_flag, "whether it is tried only where no other signature is found", "true"),
    "certain": _Key(_flag, "whether its signature alone is proof, dialog or not", "true"),
    "noise": _Key(_flag, "whether most lines of the log are no dialog", "true"),
    "rotated": _Key(_flag, "whether a log may go on in another file", "false"),
    "peel": _Key(_peel, "what is taken off before the grammar sees the log", '["escapes"]'),
    "before": _Key(_words, "formats that give way to this one", '["generic-arrows"]'),
    "reference": _Key(_text, "where the format is described", '"RFC 5321"'),
}
_OF_KIND = {
    "lines": {
        "record": _Key(_regex_of_both, "what begins a record, for lines that hold several", "'[0-9]{2}:[0-9]{2} '"),
        "breaks": _Key(_text, "what stands for a line end inside a line", '"[nl]"'),
        "tail": _Key(_regex, "what the program puts behind the words of a line", "' state=[0-9]+$'"),
    },
    "capture": {
        "server": _Key(
            _regex_of_both, "where the address of the server stands in the opening line", "'Trying ([^ ]+)'"
        ),
        "client": _Key(_regex_of_both, "where the address of the client stands", "'as if from host ([^ ]+)'"),
        "aside": _Key(_regex_of_both, "lines that are no part of the dialog wherever they stand", "'^LOG: '"),
    },
    "delimited": {
        "separator": _Key(
            _separators,
            "what stands between columns, or a list of what may stand there",
            '","',
            True,
        ),
        "quote": _Key(
            lambda value: None if value == "" or _character(value) else "it is no single character",
            "what a column is put in that holds the separator; empty: nothing",
            '""',
        ),
        "row": _Key(
            _regex_of_both,
            "what a row begins with, in a log without quotes; its groups are the columns, if it has some",
            "'[0-9]{4}-[0-9]{2}-[0-9]{2} '",
        ),
        "comment": _Key(_text, "what a line begins with that is no row", '"#"', True),
        "fields": _Key(_text, "what the line begins with that names the columns", '"#Fields: "', True),
        "columns": _Key(_words, "the columns where no line names them", '["time", "session", "event", "data"]', True),
        "column": _Key(
            _columns,
            "which column, or columns, is the key of the session, the event, the text, and the time, context, here, there, "
            "verb, answer",
            '{ key = "session", event = "event", text = "data" }',
            True,
        ),
        "event": _Key(
            _table(of=("sent", "received", "exchange", *KINDS)),
            "what the words of the event column mean; an empty one stands for all others",
            '{ ">" = "sent" }',
            True,
        ),
        "side": _Key(
            _table(of=("client", "server")),
            "which side the program is on, by the beginning of a line of the head",
            '{ "#Type: receive" = "server" }',
        ),
        "context": _Key(
            _context,
            "notes that are events all the same, tls and tls_failed, by a regular expression over the context",
            "{ tls = '^TLS .* succeeded' }",
        ),
        "exchange": _Key(
            _exchange,
            "how a row that holds a command and its reply tells them",
            '{ blank = "+", last = "QUIT" }',
        ),
    },
}


def head_of(text: str, *, delimited: bool) -> tuple[str, list[int]]:
    """The TOML head in a grammar's text, and the number of each of its lines there."""
    lines = list(enumerate(text.removeprefix("\ufeff").splitlines(), 1))
    mine = [(number, line if delimited else line[3:]) for number, line in lines if delimited or line.startswith("//:")]
    return "\n".join(line for _, line in mine), [number for number, _ in mine]


@cache
def capture_defaults() -> dict[str, Any]:
    """What the head of a capture leaves out, from that of ``capture.lark``."""
    return tomllib.loads(head_of(grammar.text("capture"), delimited=False)[0])


def head_flaws(text: str, path: str) -> Iterator[Flaw]:
    """All that is wrong with the head of a declaration."""
    delimited = path.endswith(".toml")
    head, numbers = head_of(text, delimited=delimited)
    if not head.strip():
        yield Flaw(
            "there is no head",
            path,
            1,
            "the head says what the log is and how it is recognised; without it a grammar is only a part of others",
            f"begin the file with lines such as //: title = {_EVERY['title'].example}",
        )
        return
    try:
        said = tomllib.loads(head)
    except tomllib.TOMLDecodeError as error:
        yield _not_toml(str(error), numbers, path)
        return
    mark = "" if delimited else "//: "
    kind = said.get("kind")
    known = _EVERY | (_OF_KIND[kind] if kind in _KINDS else {})
    near = {name: difflib.get_close_matches(name, known, 1) for name in said if name not in known}
    misspelled = {each for names in near.values() for each in names}
    implied = capture_defaults() if kind == "capture" else {}
    for name, key in known.items():
        if name not in said and key.required and name not in misspelled and name not in implied:
            yield Flaw(
                f"the head does not say `{name}`",
                path,
                1,
                f"it is {key.says}",
                f"add the line {mark}{name} = {key.example}",
            )
    for name, value in said.items():
        line = _line_of(name, head, numbers)
        if name not in known:
            yield _unknown(name, near[name], kind, path, line)
        elif (wrong := known[name].wrong(value)) is not None:
            yield Flaw(
                f"`{name}` has a value that does not do: {wrong}",
                path,
                line,
                f"it is {known[name].says}",
                f"write for example {mark}{name} = {known[name].example}",
            )
    if kind == "delimited" and _words(said.get("columns")) is None and _columns(said.get("column")) is None:
        for role, name in ((role, name) for role, names in said["column"].items() for name in _each(names)):
            if name not in said["columns"]:
                yield Flaw(
                    f"the column {name!r}, which is the {role}, is none of `columns`",
                    path,
                    _line_of("column", head, numbers),
                    "where no line of the log names the columns, those of the head hold",
                    f"write one of {', '.join(said['columns'])}",
                )
        if "exchange" in (*said, *_values(said.get("event"))) and "verb" not in said["column"]:
            yield Flaw(
                "no column is the verb",
                path,
                _line_of("column", head, numbers),
                "a row that holds an exchange has the verb of its command in a column of its own",
                "say in `column` which is the verb",
            )
    if kind in _KINDS and (kind == "delimited") != delimited:
        yield Flaw(
            f"kind {kind!r} in a file that ends in {'.toml' if delimited else '.lark'}",
            path,
            _line_of("kind", head, numbers),
            "a mapping of columns is TOML and needs no grammar; the other kinds are grammars",
            f"call the file {'.lark' if delimited else '.toml'}, or change the kind",
        )


def _values(table: Any) -> list[Any]:
    return list(table.values()) if isinstance(table, dict) else []


def _each(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def _not_toml(error: str, numbers: list[int], path: str) -> Flaw:
    what, _, place = error.partition(" (at ")
    match = re.match(r"line ([0-9]+), column ([0-9]+)", place)
    line = numbers[min(int(match[1]), len(numbers)) - 1] if match else numbers[-1]
    return Flaw(
        f"the head is no TOML: {what[:1].lower()}{what[1:]}",
        path,
        line,
        "the head is read as TOML, each of its lines behind //:",
        "put texts between quotes, regular expressions between single ones ('…'), and close lists and quotes on their line",
    )


def _unknown(name: str, near: list[str], kind: Any, path: str, line: int | None) -> Flaw:
    others = [each for each, keys in _OF_KIND.items() if name in keys]
    why = f"it belongs to kind {others[0]!r}, and this is {kind!r}" if others else "nothing reads it"
    return Flaw(
        f"the head says `{name}`, which means nothing",
        path,
        line,
        why,
        f"write `{near[0]}`" if near else "leave it out",
    )


def _line_of(name: str, head: str, numbers: list[int]) -> int | None:
    for number, line in zip(numbers, head.split("\n"), strict=True):
        if re.match(rf'\s*(?:{re.escape(name)}\s*[=.]|\[{re.escape(name)}\]|"{re.escape(name)}"\s*=)', line):
            return number
    return numbers[0] if numbers else None
