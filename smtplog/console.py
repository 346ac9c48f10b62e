"""A session held from a terminal or from a pipe: what is typed goes out, what comes is shown and explained."""

from __future__ import annotations

import os
import select
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from smtplog import speech
from smtplog.errors import SmtplogError
from smtplog.explain import explain
from smtplog.findings import SEVERITIES, Finding
from smtplog.model import Reply
from smtplog.output import SEVERITY, Page, printable
from smtplog.replay.acts import Side
from smtplog.replay.conversation import Conversation
from smtplog.replay.credentials import prompt_of
from smtplog.steps import in_words, refusal

#: From this severity on a line is asked about once more, or held back.
_ASKED = SEVERITIES.index("warning")
_HELP = (
    ("AUTH, or :auth MECHANISM", "log in; the password from SMTPLOG_PASSWORD, or asked for, and never shown"),
    (":legal", "the commands that may come now"),
    (":explain WORDS", "a code, a reply, a verb, a keyword"),
    (":close", "close without QUIT"),
    ("Ctrl-D", "say QUIT and leave; in message text: close, so that nothing is delivered"),
)


class Lines(Protocol):
    """Where lines come from."""

    def next(self, conversation: Conversation, again: str) -> str:
        """The next line; ``again``: one that was just asked about. Raises EOFError at the end."""

    def more(self) -> bool:
        """Whether lines wait already that were written before the reply to this one."""


@dataclass(slots=True)
class Shown:
    """The screen: on a terminal the session in the C:/S: notation with what it means; in a pipe the replies alone."""

    page: Page
    terminal: bool
    explained: bool

    def said(self, line: str) -> None:
        """A line that the program sent itself."""
        if self.terminal:
            self._line(self.page.paint(f"C: {printable(line)}", "blue"))

    def heard(self, reply: str, verb: str) -> None:
        """A reply, and what it means."""
        lines = reply.splitlines()
        for line in lines:
            self.page.line(f"S: {printable(line)}" if self.terminal else printable(line))
        if self.explained:
            self._explain(lines, verb)
        self.page.flush()

    def noted(self, sentence: str) -> None:
        """What happened beside the words."""
        if self.terminal:
            self._line(self.page.paint(f"-- {printable(sentence)}", "dim"))
        else:
            complain(sentence)

    def found(self, findings: Sequence[Finding], line: str | None = None) -> None:
        """What is wrong with a line that is not sent yet, or what a reply has brought to light."""
        if not self.terminal:
            for each in findings:
                words = f"{printable(line)}: " if line is not None else ""
                complain(f"{words}{each.severity} {each.code} {each.name}: {each.message}")
            return
        column = next((each.column for each in findings if each.column), None)
        if line is not None and column is not None and printable(line) == line:
            self._line(self.page.paint(" " * (column + 2) + "^", SEVERITY[findings[0].severity]))
        for each in findings:
            head = self.page.paint(f"{each.severity} {each.code}", SEVERITY[each.severity])
            self.page.line(f"   {head} {each.name}")
            self.page.wrapped(each.message, 3)
            if each.corrected:
                self.page.line(f"   = write: {printable(each.corrected)}")
        self.page.flush()

    def _explain(self, lines: Sequence[str], verb: str) -> None:
        code, words = speech.code_of(lines[0]), [speech.words_of(line) for line in lines]
        if not code:
            self.page.wrapped("this is no reply of SMTP", 3)
            return
        status = speech.status_in(words)
        given = Reply(code, status, tuple(words), 0, 0, None, tuple(lines))
        told, advice = refusal(given) if code // 100 in (4, 5) else ("", "")
        told = told or in_words(given, verb.removesuffix(" LAST"))
        asked = prompt_of(words[0]).strip("\0 ") if code == 334 and words[0] else ""
        colour = {4: "yellow", 5: "red"}.get(code // 100, "green")
        for line in textwrap.wrap(printable(f"{told}: {asked}" if asked else told), self.page.width - 3):
            self._line(self.page.paint(f"   {line}", colour))
        if advice:
            self.page.wrapped(advice, 3)

    def _line(self, text: str) -> None:
        self.page.line(text)
        self.page.flush()


def complain(sentence: str) -> None:
    """One sentence on standard error."""
    print(f"smtplog: {printable(sentence)}", file=sys.stderr, flush=True)


@dataclass(slots=True)
class Piped:
    """Lines of standard input that is no terminal."""

    _octets: bytes = b""
    _ended: bool = False

    def next(self, conversation: Conversation, again: str) -> str:
        """The next line; its end may be LF or CRLF."""
        while b"\n" not in self._octets and not self._ended:
            came = os.read(0, 1 << 16)
            self._ended = not came
            self._octets += came
        if not self._octets:
            raise EOFError
        line, _, self._octets = self._octets.partition(b"\n")
        return line.removesuffix(b"\r").decode("utf-8", "surrogateescape")

    def more(self) -> bool:
        """Whether more was written already; at the end of a script too."""
        return bool(self._octets) or self._ended or bool(select.select([0], [], [], 0)[0])


@dataclass(slots=True)
class Typed:
    """Lines typed at a terminal that can do no more than that."""

    def next(self, conversation: Conversation, again: str) -> str:
        """The next line; answers to AUTH are not shown. Enter alone sends what was asked about."""
        if conversation.standing.in_auth:
            from getpass import getpass

            return getpass("C: ")
        return input("C: ") or again

    def more(self) -> bool:
        """Whether lines were pasted behind this one."""
        return bool(select.select([0], [], [], 0)[0])


@dataclass(slots=True)
class Console:
    """Holds a session."""

    conversation: Conversation
    shown: Shown
    lines: Lines
    take: Callable[[Side], None]  #: does what acts ask for
    careful: bool = False  #: a line with a fault is not sent, and the session ends
    held_back: bool = False
    _interrupted: bool = field(default=False)

    def hold(self, begin: Side) -> int:
        """The session, from its beginning to its end; the exit code."""
        conversation = self.conversation
        try:
            self._take(begin)
            again = ""
            while not conversation.over and not self.held_back:
                try:
                    line = self.lines.next(conversation, again)
                except EOFError:
                    self._ended_within_text()
                    break
                except KeyboardInterrupt:
                    if self._interrupted:
                        raise
                    self._interrupted, again = True, ""
                    self.shown.noted("Ctrl-D says QUIT and leaves; Ctrl-C again closes at once")
                    continue
                self._interrupted = False
                again = self._line(line, again)
            self._take(conversation.leave())
        except KeyboardInterrupt:
            self.take(conversation.abandon())
            return 130
        return self._code()

    def _ended_within_text(self) -> None:
        if self.conversation.in_text and not self.conversation.over:
            self.conversation.ended = (
                "it ended in the middle of message text: closed without the dot, nothing is delivered"
            )

    def _code(self) -> int:
        conversation = self.conversation
        if conversation.ended:
            complain(conversation.ended)
        if not self.shown.terminal and conversation.over:
            while self.lines.more():
                try:
                    self.lines.next(conversation, "")
                except EOFError:
                    break
                conversation.unsent += not self.held_back
        if conversation.unsent:
            what = "1 line was not sent: what it belongs" if conversation.unsent == 1 else ""
            what = what or f"{conversation.unsent:,} lines were not sent: what they belong"
            complain(f"{what} to was refused, or the session was over")
        return 2 if conversation.ended or (conversation.unsent and not self.shown.terminal) else int(self.held_back)

    def _line(self, line: str, again: str) -> str:
        """One line; gives it back where it must be asked about once more."""
        conversation = self.conversation
        if line.startswith(":") and not conversation.in_text and not line.startswith(":auth"):
            self._local(line)
            return ""
        try:
            meant = conversation.meant(line)
        except SmtplogError as error:
            self.shown.noted(str(error))
            conversation.unsent += not self.shown.terminal
            return ""
        if line != again or not again:
            found = conversation.before(meant)
            if found:
                self.shown.found(found, conversation.hidden(line) if meant == line else None)
            asked = any(SEVERITIES.index(each.severity) >= _ASKED for each in found)
            if asked and self.careful:
                self.held_back = True
                self.shown.noted("the line was not sent")
                return ""
            if asked and self.shown.terminal and line:
                self.shown.noted("not sent yet: Enter sends it as it is")
                return line
        if meant != line:
            self.shown.said(conversation.hidden(meant))
        self._take(conversation.typed(meant, pasted=self.lines.more()))
        return ""

    def _take(self, side: Side) -> None:
        self.take(side)
        found = self.conversation.so_far.after() if not self.conversation.in_text else []
        if found:
            self.shown.found(found)

    def _local(self, line: str) -> None:
        """A word for the program itself."""
        word, _, rest = line[1:].partition(" ")
        page = self.shown.page
        if word == "legal":
            page.wrapped(f"legal here: {', '.join(self.conversation.standing.legal) or 'nothing'}", 3)
        elif word == "explain" and rest.strip():
            try:
                for entry in explain(rest).entries:
                    page.line(page.paint(f"   {printable(entry.title)}", "bold"))
                    for name, value in entry.fields.items():
                        page.wrapped(f"{name}: {value}", 5)
            except SmtplogError as error:
                self.shown.noted(str(error))
        elif word == "close":
            self.take(self.conversation.abandon())
        else:
            page.table(_HELP)
        page.flush()
