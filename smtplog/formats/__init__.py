"""Log formats: one declaration each, two readers for all of them.

``grammars/<slug>.lark`` (``.toml`` if delimited) says what a log looks like; nothing here is named after a format.
"""

from __future__ import annotations

from smtplog.formats.clock import Calendar, calendar_of, zone_named
from smtplog.formats.declaration import Declaration, declaration, declarations, own_declaration, read_grammar
from smtplog.formats.detection import ENOUGH, Candidate, detect, events_of, margin_before, sides_swapped, turned
from smtplog.formats.margins import Margin, without_margin
from smtplog.formats.readers import Reader, reader

__all__ = [
    "ENOUGH",
    "Calendar",
    "Candidate",
    "Declaration",
    "Margin",
    "Reader",
    "calendar_of",
    "declaration",
    "declarations",
    "detect",
    "events_of",
    "margin_before",
    "own_declaration",
    "read_grammar",
    "reader",
    "sides_swapped",
    "turned",
    "without_margin",
    "zone_named",
]
