"""The line editor of a session held by hand: history, completion, secrets that are not shown, several lines pasted at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import fragment_list_to_text
from prompt_toolkit.history import DummyHistory, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput

from smtplog.printable import printable
from smtplog.replay.completing import completions
from smtplog.replay.conversation import Conversation
from smtplog.replay.standing import secret_of

_MOST_LEGAL = 12  # verbs in the line below


class Edited:
    """Lines of a person at a terminal. What the server says meanwhile is heard, and shown above the line."""

    def __init__(self, conversation: Conversation, socket: Callable[[], int], glance: Callable[[], None]) -> None:
        self._conversation, self._socket, self._glance = conversation, socket, glance
        self._left: list[str] = []  # of several lines that were pasted
        options: dict[str, Any] = {"bottom_toolbar": self._below, "complete_while_typing": False}
        history = _History(conversation)
        self._lines: PromptSession[str] = PromptSession(
            history=history,
            completer=_Verbs(conversation),
            key_bindings=_keys(conversation),
            input_processors=[_Hidden(conversation)],
            **options,
        )
        self._answers: PromptSession[str] = PromptSession(history=DummyHistory(), is_password=True, **options)

    def next(self, conversation: Conversation, again: str) -> str:
        """The next line; what was asked about is there to be mended. Raises EOFError, KeyboardInterrupt."""
        if self._left and not again:
            line = self._left.pop(0)
            print(f"C: {printable(conversation.hidden(line))}", flush=True)
            return line
        session = self._answers if conversation.standing.in_auth else self._lines
        try:
            typed = session.prompt("C: ", default=again, pre_run=self._listen)
        except (EOFError, KeyboardInterrupt):
            self._left.clear()
            raise
        first, *rest = typed.removesuffix("\n").split("\n")
        self._left = rest + self._left
        return first

    def more(self) -> bool:
        """Whether lines were pasted behind this one."""
        return bool(self._left)

    def _below(self) -> str:
        standing = self._conversation.standing
        if self._conversation.in_text:
            return "message text; a line with a dot alone ends it"
        legal = standing.legal
        more = ", ..." if len(legal) > _MOST_LEGAL else ""
        return f"{standing.state}{' under TLS' if standing.tls else ''}; legal here: {', '.join(legal[:_MOST_LEGAL])}{more}"

    def _listen(self) -> None:
        """Hear what the server says while a line is typed."""
        loop, at = asyncio.get_running_loop(), self._socket()

        async def show() -> None:
            await run_in_terminal(self._glance)
            if self._conversation.over:
                get_app().exit(exception=EOFError())
            else:
                loop.add_reader(at, heard)

        def heard() -> None:
            loop.remove_reader(at)
            get_app().create_background_task(show())

        if at >= 0:
            loop.add_reader(at, heard)


class _Verbs(Completer):
    """Completes by where the session stands."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if not self._conversation.in_text:
            for word in completions(self._conversation.standing, text):
                yield Completion(word, -len(text.rpartition(" ")[2]))


def _keys(conversation: Conversation) -> KeyBindings:
    """Tab puts the only word in at once; of several it shows the list."""
    keys = KeyBindings()

    @keys.add("tab")
    def complete(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        found = list(_Verbs(conversation).get_completions(buffer.document, CompleteEvent(completion_requested=True)))
        if buffer.complete_state:
            buffer.complete_next()
        elif len(found) == 1:
            buffer.apply_completion(found[0])
        elif found:
            buffer.start_completion(insert_common_part=True)

    return keys


class _History(InMemoryHistory):
    """What was typed, without what gives a secret away; it ends with the session."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__()
        self._conversation = conversation

    def append_string(self, string: str) -> None:
        if not (self._conversation.in_text or self._conversation.standing.is_secret(string) or "\n" in string):
            super().append_string(string)


class _Hidden(Processor):
    """Shows a secret behind AUTH as stars."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        fragments = transformation_input.fragments
        text = fragment_list_to_text(fragments)
        secret = secret_of(text) if self._conversation.standing.is_secret(text) else ""
        if not secret or self._conversation.in_text:
            return Transformation(fragments)
        at = text.rindex(secret)
        return Transformation([("", text[:at] + "*" * len(secret) + text[at + len(secret) :])])
