"""Law 8: the player as a server against the player as a client reproduces the dialog."""

from __future__ import annotations

from pathlib import Path

import pytest

import smtplog
from smtplog.model import Dialog
from smtplog.replay.acts import Close, Receive, Send, Side, StartTLS
from smtplog.replay.client import Client
from smtplog.replay.recording import Recording
from smtplog.replay.server import Server
from smtplog.replay.turns import Turn, play
from tests.conftest import DAY, TRANSCRIPTS, samples

PACKETS = ("whole", "line", "byte")


def cut(octets: bytes, how: str) -> list[bytes]:
    """Octets in packets."""
    if how == "line":
        return octets.splitlines(keepends=True)
    return [octets[i : i + 1] for i in range(len(octets))] if how == "byte" else [octets]


class Wire:
    """Two sides of a play joined: what one sends the other receives, in packets."""

    def __init__(self, client: Side, server: Side, how: str) -> None:
        self.sides = {"client": client, "server": server}
        self.how = how
        self.sent: dict[str, list[bytes]] = {"client": [], "server": []}
        self.acts = {name: next(side, None) for name, side in self.sides.items()}
        self.closed = {"client": False, "server": False}

    def run(self) -> None:
        """Let both act until both are done; neither may wait for ever."""
        while any(self.acts.values()):
            moved = self.step("client"), self.step("server")
            assert any(moved), f"both wait: {self.acts}"

    def step(self, name: str) -> bool:
        """One act of one side, where it can be done."""
        act, other = self.acts[name], "server" if name == "client" else "client"
        answer = b""
        match act:
            case None:
                return False
            case Send(octets):
                self.sent[other] += cut(octets, self.how)
            case Receive():
                if not self.sent[name] and not self.closed[other]:
                    return False
                answer = self.sent[name].pop(0) if self.sent[name] else b""
            case StartTLS():
                if (
                    not isinstance(self.acts[other], StartTLS)
                    and not self.closed[other]
                    and self.acts[other] is not None
                ):
                    return False
                self.sent = {"client": [], "server": []}
                if isinstance(self.acts[other], StartTLS):
                    self._go(other, b"")
            case Close():
                self.closed[name] = True
        self._go(name, answer)
        return True

    def _go(self, name: str, answer: bytes) -> None:
        try:
            self.acts[name] = self.sides[name].send(answer)
        except StopIteration:
            self.acts[name] = None
            self.closed[name] = True


Said = tuple[str | None, int | None, tuple[str, ...] | None]


def said(dialog: Dialog, turns: list[Turn]) -> list[Said]:
    """Commands, codes and texts of a dialog, what is a stand-in in the play left out."""
    found: list[Said] = []
    for exchange, turn in zip(dialog.exchanges, turns, strict=True):
        command = None if turn.made_up & {"command", "secret"} else exchange.command
        reply = exchange.reply if "reply" not in turn.made_up else None
        if turn.exchange is not None:
            found.append((command, reply.code if reply else None, reply.text if reply else None))
    return found


def texts(dialog: Dialog, turns: list[Turn]) -> list[list[str]]:
    """The message texts of a dialog, stand-ins left out."""
    held = [each.content for each, turn in zip(dialog.exchanges, turns, strict=True) if "text" not in turn.made_up]
    return [list(content.lines) for content in held if content is not None]


@pytest.mark.parametrize("path", samples(), ids=lambda path: str(path.relative_to(TRANSCRIPTS)))
def test_8_a_dialog_played_against_itself_is_the_dialog(path: Path, tmp_path: Path) -> None:
    for number, dialog in enumerate(smtplog.read(path, show_secrets=True, date=DAY)):
        part = play(dialog)
        for how in PACKETS:
            logs = [tmp_path / f"{number}-{how}-{side}.dialog" for side in ("client", "server")]
            with logs[0].open("w", encoding="utf-8") as one, logs[1].open("w", encoding="utf-8") as other:
                client = Client(part, recording=Recording(one, show_secrets=True), level="exact")
                server = Server([part], Recording(other, show_secrets=True))
                Wire(client.side(), server.side(), how).run()
            assert not server.misses and server.complete, (dialog.id, how)
            assert all(heard.same and not heard.skipped for heard in client.heard), (dialog.id, how)
            turns = [each for each in part.turns if each.verb or each.exchange is not None]
            turns = [each for each in turns if each.awaited or each.verb != "."]  # an unended text is part of its DATA
            recorded = [each for each in turns if each.exchange is not None]
            for log in logs if part.turns else ():
                again = list(smtplog.read(log, input_format="cs-dialog", show_secrets=True))
                assert len(again) == 1
                assert said(again[0], turns) == said(dialog, recorded)
                assert texts(again[0], turns) == texts(dialog, recorded)
