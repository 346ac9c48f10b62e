"""Frames shown as time goes by, with the keys of a person: space pauses, Enter goes on at once, q quits."""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Protocol

from smtplog.replay.terminal import Frame

_STEP = "Enter shows the next exchange, q quits"
_PAUSED = "paused: space goes on, q quits"
#: What arrow and function keys send; none of them means anything here.
_SEQUENCE = re.compile(r"\x1b(?:\[[0-9;?]*[@-~]|O.|.)?", re.DOTALL)


class Keys(Protocol):
    """Where keys come from."""

    def wait(self, seconds: float | None) -> str:
        """A key; nothing where none came in so many seconds. None: as long as it takes."""


class NoKeys:
    """Nobody can press a key: time goes by."""

    def wait(self, seconds: float | None) -> str:
        """Nothing, so many seconds later."""
        time.sleep(seconds or 0.0)
        return ""


@dataclass(slots=True)
class Keyboard:
    """The keys of a terminal, one by one and not echoed. Leaving puts the terminal back, whatever ends the play."""

    terminal: int  #: its file descriptor
    _typed: str = ""
    _before: list[Any] = field(default_factory=list)
    _handlers: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> Keyboard:
        import termios

        self._before = termios.tcgetattr(self.terminal)
        for number, handler in ((signal.SIGTERM, _ended), (signal.SIGHUP, _ended), (signal.SIGTSTP, self._stopped)):
            self._handlers[number] = signal.signal(number, handler)
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def wait(self, seconds: float | None) -> str:
        """The next key; ``q`` where the terminal has gone."""
        while not self._typed:
            if not select.select([self.terminal], [], [], seconds)[0]:
                return ""
            try:
                came = os.read(self.terminal, 1024)
            except OSError:
                came = b""
            if not came:
                return "q"
            self._typed = _SEQUENCE.sub("", came.decode("latin-1"))
        key, self._typed = self._typed[0], self._typed[1:]
        return key

    def _listen(self) -> None:
        import termios
        import tty

        tty.setcbreak(self.terminal, termios.TCSANOW)

    def _restore(self) -> None:
        import termios

        termios.tcsetattr(self.terminal, termios.TCSANOW, self._before)

    def _stopped(self, number: int, _: FrameType | None) -> None:
        """Ctrl-Z: the shell has its terminal as it was; back again, the keys are ours."""
        self._restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, self._stopped)
        self._listen()


def _ended(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


@dataclass(slots=True)
class Screen:
    """Shows frames."""

    tell: Callable[[Frame], None]
    aside: Callable[[str], None]  #: shows a line that is taken away by the next call
    keys: Keys
    step: bool = False  #: each exchange waits for a key
    clock: Callable[[], float] = time.monotonic

    def show(self, frames: Iterable[Frame]) -> bool:
        """Show them all; False where the person quit before the end."""
        for frame in frames:
            if not self._wait(frame):
                return False
            self.tell(frame)
        return True

    def _wait(self, frame: Frame) -> bool:
        if self.step and frame.begins:
            return self._asked(_STEP, " \r\n")
        due = self.clock() + frame.pause
        while True:
            left = max(due - self.clock(), 0.0)
            key = self.keys.wait(left)
            if key in ("q", "Q"):
                return False
            if (not key and due <= self.clock()) or key in ("\r", "\n") or (key == " " and self.step):
                return True
            if key == " ":
                began = self.clock()
                if not self._asked(_PAUSED, " \r\n"):
                    return False
                due += self.clock() - began

    def _asked(self, what: str, on: str) -> bool:
        """Say what is waited for until one of these keys is pressed; False for q."""
        self.aside(what)
        try:
            while True:
                key = self.keys.wait(None)
                if key and key in on:
                    return True
                if key in ("q", "Q"):
                    return False
        finally:
            self.aside("")
