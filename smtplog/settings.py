"""What a project says once for all: ``smtplog.toml``, or ``[tool.smtplog]`` in ``pyproject.toml``.

The nearest one counts, searched from the working directory upwards, as ruff does. The command line wins: an option there
replaces the key of the same name, and ``--select`` begins anew, so that ``select ignore extend-select all`` of the file
are forgotten. ``per-path-ignores`` always holds.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from smtplog.errors import UsageError
from smtplog.findings import Finding, Rule, chosen
from smtplog.reports import FORMATS

NAMES = ("smtplog.toml", "pyproject.toml")
FAIL_ON = ("error", "warning", "info", "never")

_WORDS = 'a list of rules: codes, families or names, such as ["SEQ", "SYN001"]'
#: key → what it must be, as a sentence goes on.
KEYS = {
    "select": _WORDS,
    "ignore": _WORDS,
    "extend-select": _WORDS,
    "fail-on": f"one of {', '.join(FAIL_ON)}",
    "all": "true or false",
    "output-format": f"one of {', '.join(FORMATS)}",
    "baseline": "the path of a baseline file",
    "per-path-ignores": 'a table of globs, each with its list of rules, such as {"old/*.log" = ["SYN"]}',
}


@dataclass(frozen=True)
class Settings:
    """What ``validate`` goes by: the keys of the file, those of the command line over them."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    extend_select: tuple[str, ...] = ()
    fail_on: str = "error"
    all: bool = False
    output_format: str = "text"
    baseline: Path | None = None
    per_path_ignores: Mapping[str, frozenset[str]] = field(default_factory=dict)  #: glob → rule codes
    path: Path | None = None  #: the file; None where there is none

    def over(self, **options: Any) -> Settings:
        """These settings with what the command line says; None and ``()`` say nothing."""
        said = {name: value for name, value in options.items() if value is not None and value != ()}
        kept = replace(self, ignore=(), extend_select=(), all=False) if "select" in said else self
        return replace(kept, **said)

    def rules(self) -> tuple[Rule, ...]:
        """The rules that are on."""
        return chosen(self.select, self.ignore, self.extend_select, extra=self.all)


class PathIgnores:
    """Which rules are off for which logs. A source is matched once."""

    def __init__(self, settings: Settings) -> None:
        self._globs = [(_pattern(glob), "/" in glob, codes) for glob, codes in settings.per_path_ignores.items()]
        self._home = os.path.abspath(settings.path.parent) if settings.path else os.getcwd()
        self._codes: dict[str, frozenset[str]] = {}

    def hides(self, finding: Finding) -> bool:
        """Whether the rule of a finding is off for its log."""
        if not self._globs:
            return False
        codes = self._codes.get(finding.source)
        if codes is None:
            codes = self._codes[finding.source] = self.of(finding.source)
        return finding.code in codes

    def of(self, source: str) -> frozenset[str]:
        """The codes that are off for a log, by its path as given and relative to the file."""
        given = os.path.normpath(source)
        whole = os.path.abspath(source)
        paths = {given, whole}
        if whole.startswith(self._home.rstrip(os.sep) + os.sep):
            paths.add(os.path.relpath(whole, self._home))
        slashed = {path.replace(os.sep, "/") for path in paths}
        last = {whole.replace(os.sep, "/").rpartition("/")[2]}
        hits = (
            codes
            for glob, has_slash, codes in self._globs
            if any(glob.fullmatch(path) for path in (slashed if has_slash else last))
        )
        return frozenset().union(*hits)


_GLOB = re.compile(r"(\*\*/|/\*\*$|\*\*|\*|\?|\[!?[^]/]+\])")
_WILD = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _pattern(glob: str) -> re.Pattern[str]:
    """``*``, ``?`` and ``[a-z]`` stay within a name, ``**`` goes over folders; a glob without ``/`` is of the name alone."""
    parts = _GLOB.split(glob.replace("\\", "/").removeprefix("./"))
    regex = ""
    for i, part in enumerate(parts):
        if i % 2 and part.startswith("["):
            inside = part[1:-1].replace("\\", r"\\").replace("^", r"\^")
            regex += f"[{'^' + inside[1:] if inside.startswith('!') else inside}]"
        else:
            regex += _WILD[part] if i % 2 else re.escape(part)
    try:
        return re.compile(regex, re.DOTALL)
    except re.error:
        return re.compile(re.escape(glob))


def load(config: Path | None = None, *, isolated: bool = False, start: Path | None = None) -> Settings:
    """The settings of a file, of the nearest one, or (``isolated``, or none there) those of nobody.

    Raises UsageError, one sentence: a file that cannot be read, an unknown key, a value of the wrong type.
    """
    if config is not None:
        table = _table(config, named=True)
        return _settings(config, table if table is not None else {})
    if not isolated:
        for folder in (home := Path(start or os.getcwd()).absolute(), *home.parents):
            for name in NAMES:
                table = _table(folder / name, named=False)
                if table is not None:
                    return _settings(folder / name, table)
    return Settings()


def _table(path: Path, *, named: bool) -> Any:
    """The table of a file; None where there is no such file or, in a ``pyproject.toml``, no such table."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        if named:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None
        return None
    project = path.name == "pyproject.toml"
    try:
        told: Any = tomllib.loads(raw.decode("utf-8"))
    except ValueError as error:
        if project and not named and b"smtplog" not in raw:
            return None
        raise UsageError(f"{path} is no TOML: {error}") from None
    if not project:
        return told
    tools = told.get("tool", {})
    table = tools.get("smtplog") if isinstance(tools, dict) else None
    if named and table is None:
        raise UsageError(f"{path} holds no table [tool.smtplog]")
    return table


def _settings(path: Path, table: Any) -> Settings:
    if not isinstance(table, dict):
        raise UsageError(f"{path}: tool.smtplog must be a table")
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key not in KEYS:
            near = get_close_matches(key, KEYS, 1)
            meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(KEYS)}"
            raise UsageError(f"{path}: there is no key {key!r}; {meant}")
        found[key.replace("-", "_")] = _value(path, key, value)
    assert found.keys() <= {each.name for each in fields(Settings)}
    return Settings(**found, path=path)


def _value(path: Path, key: str, value: Any) -> Any:
    """A value as :class:`Settings` holds it."""
    wrong = UsageError(f"{path}: {key} must be {KEYS[key]}, not {value!r}")
    if key in ("select", "ignore", "extend-select"):
        if not _are_words(value):
            raise wrong
        _codes(path, key, value)
        return tuple(value)
    if key == "per-path-ignores":
        if not isinstance(value, dict) or not all(_are_words(words) for words in value.values()):
            raise wrong
        return {glob: _codes(path, f"{key}, {glob}", words) for glob, words in value.items()}
    if key == "baseline":
        if not isinstance(value, str) or not value:
            raise wrong
        return path.parent / value
    known = {"fail-on": FAIL_ON, "output-format": FORMATS, "all": (True, False)}[key]
    if not isinstance(value, bool if key == "all" else str) or value not in known:
        raise wrong
    return value


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _codes(path: Path, key: str, words: Iterable[str]) -> frozenset[str]:
    """The codes that words stand for; a word that names no rule is an error of the file."""
    try:
        return frozenset(each.code for each in chosen(words, extra=True)) if words else frozenset()
    except UsageError as error:
        raise UsageError(f"{path}: {key}: {error}") from None
