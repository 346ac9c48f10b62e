"""Law 8: a dialog played as a client against itself as a server, without any socket, is the dialog."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import smtplog
from smtplog.model import Dialog
from smtplog.replay.acts import Close, Receive, Send, Side, StartTLS
from smtplog.replay.client import Client
from smtplog.replay.framing import Framing, code_of
from smtplog.replay.recording import Recording
from smtplog.replay.server import Server
from smtplog.replay.turns import Play, Turn, play

PACKETS = ("whole", "line", "byte")
#: What is sent at once and longer than this goes byte by byte at its two ends only; between them in packets that end anywhere.
_BYTEWISE = 4096
_ANYWHERE = 61


def cut(octets: bytes, how: str) -> list[bytes]:
    """Octets in packets."""
    if how == "line":
        return octets.splitlines(keepends=True)
    if how == "whole":
        return [octets]
    if len(octets) > 3 * _BYTEWISE:
        middle = octets[_BYTEWISE:-_BYTEWISE]
        pieces = [middle[i : i + _ANYWHERE] for i in range(0, len(middle), _ANYWHERE)]
        return [*cut(octets[:_BYTEWISE], how), *pieces, *cut(octets[-_BYTEWISE:], how)]
    return [octets[i : i + 1] for i in range(len(octets))]


class Wire:
    """Two sides of a play joined: what one sends the other receives, in packets."""

    def __init__(self, client: Side, server: Side, how: str) -> None:
        self.sides = {"client": client, "server": server}
        self.how = how
        self.sent: dict[str, deque[bytes]] = {"client": deque(), "server": deque()}
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
                answer = self.sent[name].popleft() if self.sent[name] else b""
            case StartTLS():
                if (
                    not isinstance(self.acts[other], StartTLS)
                    and not self.closed[other]
                    and self.acts[other] is not None
                ):
                    return False
                self.sent = {"client": deque(), "server": deque()}
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


def _noon() -> datetime:
    return datetime(2026, 1, 1, 12, tzinfo=UTC)


def played(part: Play, how: str) -> tuple[str, str]:
    """What each side writes down of a play, which must be played to its end as it was recorded."""
    logs = [io.StringIO() for _ in range(2)]
    client_log, server_log = (Recording(log, show_secrets=True, clock=_noon) for log in logs)
    if part.turns[0].exchange is None:  # it has a greeting, or a stand-in for it
        for log in (client_log, server_log):
            log.event("connect 192.0.2.1:50000 -> 192.0.2.25:25")
    client = Client(part, recording=client_log, level="exact")
    server = Server([part], server_log)
    Wire(client.side(), server.side(), how).run()
    assert not server.misses and server.complete, (part.dialog.id, how, server.misses, server.ended)
    other = [heard for heard in client.heard if not heard.same or heard.skipped]
    assert not other, (part.dialog.id, how, other[:1])
    return logs[0].getvalue(), logs[1].getvalue()


def pipelined(part: Play) -> Play | None:
    """The same play, its commands in groups wherever RFC 2920 section 3.1 lets a client send them so; None where it has no
    such place."""
    turns = [part.turns[0]] if part.turns else []
    for before, turn in zip(part.turns, part.turns[1:], strict=False):
        grouped = before.verb in ("MAIL", "RCPT", "RSET") and turn.verb in ("RCPT", "DATA", "MAIL", "RSET", "QUIT")
        asked = _is_one(before.reply) and _is_one(turn.reply) and not (before.made_up | turn.made_up)
        turns.append(replace(turn, pipelined=True) if grouped and asked else turn)
    return replace(part, turns=tuple(turns)) if turns != list(part.turns) else None


def _is_one(reply: bytes | None) -> bool:
    """Whether some octets are one reply and can be taken for nothing else."""
    return reply is not None and code_of(reply) > 0 and Framing(bytearray(reply)).reply() == reply


def _tls_begins(part: Play) -> bool:
    """Whether the log has the beginning of TLS where something was said under it: no secret is sent without it. It lacks that
    where a standard tells of a handshake without the STARTTLS before it."""
    began = part.implicit_tls or any(turn.starts_tls for turn in part.turns)
    return began or not any(each.tls for each in part.dialog.exchanges)


def _has_form(reply: bytes) -> bool:
    """Whether some octets can be read as one reply: each line has the code of the first, and none but the last ends it. A log
    may lack its last lines."""
    lines = reply.split(b"\r\n")[:-1]
    code = code_of(lines[0]) if lines else 0
    return code > 0 and all(code_of(line) == code for line in lines) and all(line[3:4] == b"-" for line in lines[:-1])


def _is_smtp(part: Play) -> bool:
    """Whether what was said shows its own form, so that nothing but its octets is needed to read it: every answer is one reply,
    every text follows a go-ahead. It does not where the log is no SMTP (IMAP, HTTP or TLS taken for it, lines that a prose
    quotes), where the wire had octets that are no lines (replies that quote control characters, PROXY's version 2), where two
    greetings came, and where octets are lost, so that commands and replies are no longer those of each other; it is played all
    the same."""
    replies = all(_has_form(turn.reply) for turn in part.turns if turn.reply)
    pairs = zip(part.turns, part.turns[1:], strict=False)
    texts = all(code_of(before.reply or b"") // 100 == 3 for before, turn in pairs if turn.verb == "." and turn.said)
    return replies and texts


@dataclass
class Figures:
    """What came of the dialogs of a log."""

    dialogs: int = 0
    exchanges: int = 0
    stand_ins: int = 0  #: turns that hold something that the log does not
    grouped: int = 0  #: dialogs that were played in groups, too
    no_smtp: int = 0  #: dialogs that were played octet by octet only


def reproduced(dialogs: Iterable[Dialog], folder: Path, *, all_smtp: bool = True) -> Figures:
    """Play these dialogs, both sides, in all packetisations, as recorded and in groups, and read what was written down; with
    ``all_smtp`` of what has no form, too."""
    figures = Figures()
    together: list[_Again] = []
    for dialog in dialogs:
        part = play(dialog)
        figures.dialogs += 1
        figures.exchanges += len(dialog.exchanges)
        figures.stand_ins += part.made_up
        if not (all_smtp or _tls_begins(part)):
            figures.no_smtp += 1
            continue
        for variant in filter(None, (part, pipelined(part))) if part.turns else ():
            logs = {played(variant, how) for how in PACKETS}
            assert len(logs) == 1, f"{dialog.id}: packets change what is written down: {logs}"
            figures.grouped += variant is not part
            again = _Again(dialog, variant, logs.pop())
            if not (all_smtp or _is_smtp(part)):
                figures.no_smtp += 1
            elif variant.turns[0].exchange is None:
                together.append(again)
            else:  # nothing in it says where it begins
                _read_back([again], folder)
    _read_back(together, folder)
    return figures


@dataclass(frozen=True)
class _Again:
    """A dialog that was played."""

    dialog: Dialog
    part: Play
    logs: tuple[str, str]


def _read_back(played: list[_Again], folder: Path) -> None:
    """Read what both sides wrote down, one dialog after the other in one log."""
    for side in range(2) if played else ():
        log = folder / "again.dialog"
        log.write_text("".join(each.logs[side] for each in played), encoding="utf-8")
        dialogs = list(smtplog.read(log, input_format="cs-dialog", show_secrets=True))
        assert len(dialogs) == len(played)
        for new, each in zip(dialogs, played, strict=True):
            _compare(new, each.dialog, each.part)


def _compare(new: Dialog, dialog: Dialog, part: Play) -> None:
    turns = [each for each in part.turns if each.verb or each.exchange is not None]
    turns = [each for each in turns if each.awaited or each.verb != "."]  # an unended text is part of its DATA
    recorded = [each for each in turns if each.exchange is not None]
    assert len(new.exchanges) == len(turns), f"{dialog.id}: {len(new.exchanges)} exchanges of {len(turns)}"
    assert _said(new, turns) == _said(dialog, recorded), dialog.id
    assert _texts(new, turns) == _texts(dialog, recorded), dialog.id


Said = tuple[str | None, int | None, tuple[str, ...] | None]


def _said(dialog: Dialog, turns: list[Turn]) -> list[Said]:
    """Commands, codes and texts of a dialog, what is a stand-in in the play left out."""
    found: list[Said] = []
    for exchange, turn in zip(dialog.exchanges, turns, strict=True):
        command = None if turn.made_up & {"command", "secret"} else exchange.command
        reply = exchange.reply if "reply" not in turn.made_up else None
        if turn.exchange is not None:
            found.append((command, reply.code if reply else None, reply.text if reply else None))
    return found


def _texts(dialog: Dialog, turns: list[Turn]) -> list[list[str]]:
    """The message texts of a dialog, stand-ins left out."""
    held = [each.content for each, turn in zip(dialog.exchanges, turns, strict=True) if "text" not in turn.made_up]
    return [list(content.lines) for content in held if content is not None]
