"""The names of a grammar's rules say what its lines are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from smtplog.events import INFERRED, KINDS, NOTE, TLS, TLS_ACTIVE

#: What the names of rules may begin with, and what may follow, each word once.
NAMES: tuple[str, ...] = (*KINDS, "said", "more", "clock", "wait")
NAMES += ("heading_client", "heading_server", "heading_content", "heading_note")
SUFFIXES: tuple[str, ...] = ("tls", "inferred", "active", "failed", "ok", "by_client", "by_server", "by_timeout")
SUFFIXES += ("raw", "quoted", "hex", "base64", "part", "glued", "cut", "more", "undoubled", "whole", "nested", "open")
SUFFIXES += ("sized", "outbound", "after", "kept", "tail")


def is_role(rule: str) -> bool:
    """Whether the name of a rule is put together from these words."""
    words = re.fullmatch(rf"(?:{'|'.join(NAMES)})((?:_(?:{'|'.join(SUFFIXES)}))*)", rule)
    return words is not None


@dataclass(frozen=True)
class Role:
    """What the name of a rule says of its lines: a kind, and behind it, after underscores,

    * ``tls``: said under TLS; ``inferred``: the log does not hold it; ``active failed ok``: how a TLS handshake went;
      ``by_client by_server by_timeout``: how a session was closed
    * ``raw``: the text is a string literal; its escapes are octets, and it may hold several lines
    * ``quoted``: the text is one line between quotes, with its end or without: other escapes than ``\\r`` and ``\\n`` are
      undone
    * ``hex``, ``base64``: the text is octets in hexadecimal digits, or in base64
    * ``part``: the text need not end where a line of the wire ends; the next of the same side and session goes on
    * ``glued``: several lines of the wire stand in one, with nothing, blanks, ``<CRLF>``, ``<EOL>`` or ``\\r\\n`` between
      them; a line of a reply begins with the reply's own code (``glued_part``: the ends that are written are those of the
      wire)
    * ``cut``: a line of the log that has no end, as where a further record stands behind it, goes on in the next of the same
      side and session
    * ``kept``: the log keeps the line ends of the wire and adds a LF behind each chunk: a line that ends with LF alone goes on
      in the next of the same side and session; it names the side of the ``said_kept`` lines below it
    * ``tail`` (behind ``part``): the last character is no text: a blank says that the line ends, ``+`` that it goes on
    * ``more``: stands only where a line of the same side and session came before, as a further line of a reply does; a
      heading between them is no such line (``content_more``: message text without a mark stands only between a 354 and the
      dot)
    * ``undoubled``: as it was before the program doubled the dot at the beginning of a line of text and ended it with CRLF
    * ``whole`` (behind a heading): the text below it ends where a line of the wire ends, whatever its last line looks like
    * ``nested``: a dialog inside the dialog, as of a callout or a before-queue proxy
    * ``open`` (behind ``server``): the code is all that is known; it goes on if the next line of the side goes on with it
    * ``sized`` (behind ``heading``): the text says how many octets follow, whatever they look like (:mod:`.sizes`)
    * ``tls`` (behind ``opened``): the session is under TLS from its first octet on
    * ``outbound`` (behind ``opened``): from here on the program that writes the log is the client: its marks mean the other
      side

    Kinds beside :data:`smtplog.events.KINDS`: ``said`` (what the side of the last ``heading_client``, ``heading_server``,
    ``heading_content`` or ``heading_note`` says), ``more`` (folded: joined to the line before with a blank), ``clock`` and
    ``wait`` (the time of the lines below; ``wait_after``: of the reply above).
    """

    rule: str

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(self.rule.split("_"))

    @cached_property
    def name(self) -> str:
        return self.words[0]

    @cached_property
    def _suffixes(self) -> frozenset[str]:
        return frozenset(self.words[1:])

    def has(self, suffix: str) -> bool:
        return suffix in self._suffixes

    @cached_property
    def kind(self) -> int:
        return KINDS.index(self.name) if self.name in KINDS else NOTE

    @cached_property
    def spoken(self) -> bool:
        """Whether the text is words of the log; otherwise it says how an event went."""
        return self.name not in ("opened", "closed", "tls")

    @cached_property
    def how(self) -> str:
        """The text of an event: closed ``client``, tls ``failed``."""
        if self.kind == TLS:
            return next((word for word in ("active", "failed") if self.has(word)), "ok")
        return next((word for word in ("client", "server", "timeout") if self.has(word)), "")

    @cached_property
    def flags(self) -> int:
        said = self.name in ("client", "server", "gap", "said")
        return (TLS_ACTIVE if said and self.has("tls") else 0) | (INFERRED if self.has("inferred") else 0)

    @cached_property
    def heading(self) -> int:
        """The kind of the lines below; -1 for what is no heading."""
        return KINDS.index(self.words[1]) if self.name == "heading" else -1

    @cached_property
    def part(self) -> bool:
        return self.has("part")

    @cached_property
    def octets(self) -> bool:
        """Whether the text says which octets were on the wire."""
        return self.has("raw") or self.has("hex") or self.has("base64") or self.has("part")

    @cached_property
    def slow(self) -> bool:
        """Whether lines of it must be looked at one by one."""
        return self.octets or self.has("glued") or self.has("kept") or self.name in ("more", "clock", "wait")
