"""Rows of a delimited log that hold a whole exchange: a command, and the reply to it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from smtplog import events, speech
from smtplog.events import CLIENT, CLOSED, INFERRED, SERVER, Events, Strings

_PATHS = re.compile(r"(<[^<>]*>)")


class RowExchanges:
    """Turns rows into the lines of the wire that they stand for, by the table ``exchange`` of a declaration:

    * ``blank``: what stands for a blank in the words, paths excepted; ``nothing``: what stands for no words
    * ``argument``: what an argument begins with; other words of that column are none
    * ``whole``: the text is the whole command; the verb stands where there is none
    * ``alone``: verbs without an argument, whatever the column holds
    * ``verbs``: what the log calls a verb otherwise; ``""``: no command (a greeting)
    * ``message``: the verb of the row that holds the reply to a message, of which DATA and 354 are left out
    * ``last``: the verb after which the connection is closed
    * ``answers``: what the log calls a code otherwise
    """

    def __init__(self, table: dict[str, Any]) -> None:
        self._blank: str = table.get("blank", "")
        self._nothing: str = table.get("nothing", "")
        self._argument: str = table.get("argument", "")
        self._whole: bool = table.get("whole", False)
        self._alone = frozenset(table.get("alone", ()))
        self._verbs: dict[str, str] = table.get("verbs", {})
        self._message: str = table.get("message", "")
        self._last: str = table.get("last", "")
        self._answers: dict[str, str] = table.get("answers", {})

    def words(self, kind: np.ndarray, fields: dict[str, Any]) -> Strings:
        """What the rows say that one side speaks in."""
        text = self._plain(fields["text"])
        said = np.flatnonzero(kind == CLIENT)
        return events.replaced_at(text, said, self._commands(fields, said, every=True)) if len(said) else text

    def told(self, found: Events, whole: np.ndarray, fields: dict[str, Any]) -> Events:
        """The rows that hold an exchange as a command and a reply each; the others as they are."""
        at = np.flatnonzero(whole)
        command = self._commands(fields, at, every=False)
        answer = (
            _whole(_renamed(events.take(fields["answer"], at), self._answers))
            if "answer" in fields
            else _same("", len(at))
        )
        taken = speech.replies(answer).code // 100 == 2
        silent = _are(answer, self._nothing) | (events.lengths(answer) == 0)
        lines = [  # of each exchange: which rows have it, what side says it, and how it is known
            (events.lengths(command) > 0, CLIENT, command, 0),
            (_are(command, self._message) & taken, SERVER, _same("354", len(at)), INFERRED),
            (~silent, SERVER, answer, 0),
            (_are(command, self._last), CLOSED, _same("", len(at)), 0),
        ]
        has = [np.flatnonzero(has) for has, *_ in lines]
        parts = [found.take(np.flatnonzero(~whole)), *(found.take(at[each]) for each in has)]
        for part, which, (_, kind, text, flags) in zip(parts[1:], has, lines, strict=True):
            part.kind = np.full(len(part), kind, np.uint8)
            part.text = events.take(text, which)
            part.flags = part.flags | np.uint8(flags)
        return Events.concat(parts).take(np.argsort(np.concatenate([part.line for part in parts]), kind="stable"))

    def _commands(self, fields: dict[str, Any], at: np.ndarray, *, every: bool) -> Strings:
        """The commands in these rows; ``every``: all words are an argument, whatever they begin with."""
        verb = _renamed(events.take(fields["verb"], at), self._verbs)
        text = _renamed(events.take(fields["text"], at), {self._nothing: ""})
        if self._whole:
            without = np.flatnonzero(events.lengths(text) == 0)
            return events.replaced_at(text, without, events.take(verb, without))
        alone = _are(verb, *self._alone)
        if not every:
            alone |= ~events.found(text, f"^{re.escape(self._argument)}")
        text = events.replaced_at(text, np.flatnonzero(alone), _same("", int(alone.sum())))
        return events.joined(verb, events.stripped(self._plain(text), " "))

    def _plain(self, text: Strings) -> Strings:
        """Words with their blanks; in a path what looks like one is none (RFC 5321 section 4.1.2)."""
        if not self._blank:
            return text
        paths = np.flatnonzero(events.found(text, f"<[^<>]*{re.escape(self._blank)}[^<>]*>"))
        kept = [
            "".join(part if part[:1] == "<" else part.replace(self._blank, " ") for part in _PATHS.split(each))
            for each in events.listed(events.take(text, paths))
        ]
        return events.replaced_at(events.replaced(text, self._blank, " "), paths, kept)


def _whole(replies: Strings) -> Strings:
    """Replies of which none goes on, whatever follows its code: all of it stands in the row."""
    at = np.flatnonzero(speech.replies(replies).goes_on)
    return events.replaced_at(replies, at, events.rewritten(events.take(replies, at), "^([0-9]+)-", r"\1 "))


def _are(column: Strings, *words: str) -> np.ndarray:
    """Which strings are one of these words; none is the empty one."""
    known = "|".join(re.escape(word) for word in words if word)
    return events.found(column, f"^(?:{known})$") if known else np.zeros(len(column), np.bool_)


def _renamed(column: Strings, names: dict[str, str]) -> Strings:
    """The strings, those that are called otherwise by their names."""
    for name, other in names.items():
        at = np.flatnonzero(_are(column, name))
        column = events.replaced_at(column, at, _same(other, len(at))) if len(at) else column
    return column


def _same(word: str, n: int) -> Strings:
    return events.take(events.from_list([word]), np.zeros(n, np.int64))
