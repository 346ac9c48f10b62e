"""What the terminals of a capture's grammar say of the lines that they read."""

from __future__ import annotations

from smtplog.events import CLIENT, CLOSED, GAP, OPENED, SERVER, TLS

ENDED = -1  #: a shell's prompt: a note behind which nothing is open

#: Terminal → kind of its lines; those of any other are notes.
SAID = {
    "OPENED": OPENED,
    "CLOSED": CLOSED,
    "LOST": CLOSED,
    "GREETING": SERVER,
    "REPLY": SERVER,
    "REFUSAL": SERVER,
    "GO_AHEAD": SERVER,
    "CHALLENGE": SERVER,
    "UNCODED": SERVER,
    "TLS_ON": TLS,
    "UNSEEN": GAP,
    "SHELL": ENDED,
    "HEADER": ENDED,
    "HELLO_LINE": CLIENT,
    "COMMAND": CLIENT,
    "RESPONSE": CLIENT,
}

#: Terminals with a meaning of their own, and those that the reader asks for.
WORDS = (*SAID, "MESSAGE", "MESSAGE_CUT", "GLUED", "NOT_SENT", "BLANK", "LOCAL", "CHATTER")
#: Without one of these nobody says anything.
SPOKEN = {name for name, kind in SAID.items() if kind in (CLIENT, SERVER)}
