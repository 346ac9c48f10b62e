"""The dialogs of ``transcripts/`` as sessions that can be damaged: what real programs said to each other.

Only dialogs that come out as they went in are taken: the steps of one, written again, are its own text. Their times are
left out, since a damage has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from tests.damages import led_to
from tests.perfect import AS_IS, Session, Step, lines

_FOLDER = Path(__file__).parent.parent / "transcripts"
_KINDS = {
    "HELO": "hello",
    "EHLO": "hello",
    "LHLO": "hello",
    **{
        word: word.lower()
        for word in [
            "STARTTLS",
            "AUTH",
            "MAIL",
            "RCPT",
            "DATA",
            "BDAT",
            "RSET",
            "NOOP",
            "HELP",
            "VRFY",
            "EXPN",
            "ETRN",
            "QUIT",
        ]
    },
}


def sessions() -> list[Session]:
    """All dialogs of all transcripts that are whole, from the greeting to the end."""
    found = []
    for path in sorted(_FOLDER.glob("*/*.dialog")):
        for text in path.read_text(encoding="utf-8").split("\n\n"):
            rows = [line for line in text.split("\n") if line and not line.startswith("*: at ")]
            session = _session(rows)
            if session is not None and lines(session.steps)[0] == rows:
                found.append(session)
    return found


def _session(text: list[str]) -> Session | None:
    steps = list(_steps(text))
    if len(steps) < 2 or not steps[0].reply or not steps[0].reply[0].startswith("220"):
        return None
    if any(line.startswith(("C?:", "C!:", "*: gap")) for line in text):
        return None
    if steps[-1].kind not in ("quit", "close"):
        return None  # cut
    if any(step.kind == "data" and step.accepted and after.kind != "text" for step, after in pairwise(steps)):
        return None
    if any(step.kind == "text" and not step.accepted and step.said[-1] != "." for step in steps):
        return None
    hello, tls, offered, envelope = "", False, (), ""
    greeted = False
    for i, step in enumerate(steps):
        steps[i] = replace(step, tls=tls, offered=offered, envelope=envelope)
        greeted, envelope = led_to(step, greeted, envelope)
        if step.kind == "hello" and step.accepted:
            hello = step.said[0][:4].upper()
            offered = tuple(line[4:].split(" ")[0].upper() for line in step.reply[1:])
        if any(event.startswith("*: tls ok") for event in step.events):
            tls, offered = True, ()
    return Session(hello, tuple(steps))


def _steps(text: list[str]) -> Iterator[Step]:
    """The commands in turn. Those before the first reply of a group do not wait."""
    held: list[Step] = [Step("greeting", ())]
    answered = 0  # of the steps held
    answering = False
    for line in text:
        if line.startswith("S: "):
            if answering or answered < len(held):
                if not answering:
                    answered += 1
                each = held[answered - 1]
                held[answered - 1] = replace(each, reply=(*each.reply, line[3:]))
                answering = line[6:7] == "-"
            continue
        answering = False
        if line.startswith("*: ") and not (line.startswith("*: close") or not held[-1].reply):
            held[-1] = replace(held[-1], events=(*held[-1].events, line))
            continue
        if line.startswith("*: ") and held[0].kind == "greeting" and not held[0].reply:
            held[0] = replace(held[0], said=(*held[0].said, AS_IS + line))
            continue
        said = line[3:] if line.startswith("C:") else AS_IS + line
        if answered:
            yield from (replace(each, waits=each is held[-1]) for each in held)
            last, held, answered = held[-1], [], 0
        else:
            last = held[-1]
        if last.kind in ("text", "bdat") and not last.reply and held and last.said[-1] != ".":
            held[-1] = replace(last, said=(*last.said, said))
        else:
            held.append(Step(_kind(said, last), (said,)))
    yield from (replace(each, waits=each is held[-1]) for each in held)


def _kind(said: str, last: Step) -> str:
    if said.startswith(AS_IS):
        return "close" if said.startswith(f"{AS_IS}*: close") else "other"
    if last.kind == "data" and last.accepted:
        return "text"
    if last.reply and last.reply[-1].startswith("334"):
        return "answer"
    return _KINDS.get(said.split(" ")[0].upper(), "other")
