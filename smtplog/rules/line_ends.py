"""Line ends as they were sent: CRLF is the only one, and CRLF.CRLF the only end of a message (RFC 5321 sections 2.3.8 and
4.1.1.4). A log tells so where it holds raw octets (``C!:`` in the C:/S: notation); elsewhere its line ends are its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from smtplog import speech, states
from smtplog.batches import Batch
from smtplog.events import AS_SENT, CLIENT, CONTENT
from smtplog.findings import Hit, Party, Severity, rule
from smtplog.lines import CR, LF
from smtplog.model import Content, Dialog, Exchange
from smtplog.rules.course import is_said, spilled_texts
from smtplog.suspects import per_batch, texts_with

_NAMES = {"crlf": "CRLF", "lf": "LF", "cr": "CR", "none": ""}
#: A refusal that is about the line ends.
_OF_LINE_ENDS = re.compile(r"(?i)\bbare\b|\bline ?(?:feed|end)|new ?line|smtplf|\b<?(?:CR)?LF>?\b|carriage")
#: What a client says next when its message is done.
_NEXT = ("QUIT", "RSET", "NOOP")


@per_batch
def _odd_ends(batch: Batch) -> np.ndarray:
    """The sessions in which the client is known to have ended a line with LF or CR alone."""
    found = batch.sessions.events
    odd = ((found.flags & AS_SENT) > 0) & np.isin(found.eol, (LF, CR)) & np.isin(found.kind, (CLIENT, CONTENT))
    return np.bincount(batch.sessions.session[odd], minlength=len(batch.sessions.first)) > 0


def _odd_dots(batch: Batch) -> np.ndarray:
    """The sessions with such line ends, or with a dot between NULs in a text."""
    dots: np.ndarray = texts_with(r"^\x00+\.\x00*$|^\.\x00+$")(batch)
    return dots | _odd_ends(batch)


def _lines_ended_by(end: str, dialog: Dialog) -> Iterator[tuple[int, int, bool]]:
    """The client lines with a line end: index of the exchange, line of the log, and whether it is message text."""
    if "text-capture" in dialog.profiles:
        return
    for i, exchange in enumerate(dialog.exchanges):
        if exchange.content is not None:
            for eol, number in zip(exchange.content.eol, exchange.content.numbers, strict=True):
                if eol == end:
                    yield i, number, True
        if is_said(exchange) and exchange.eol == end:
            yield i, exchange.line or dialog.line, exchange.verb == "."


def _refuses(exchange: Exchange, of_text: bool) -> bool:
    """Whether the server refused what was said with these line ends: a message for any reason that it gives, a command
    where it did not understand it or names the line end."""
    if exchange.severity < 4 or exchange.reply is None:
        return False
    return of_text or exchange.reply.code in (500, 501) or bool(_OF_LINE_ENDS.search(" ".join(exchange.reply.text)))


def _bare(end: str, octet: str, dialog: Dialog) -> Iterator[Hit]:
    places = list(_lines_ended_by(end, dialog))
    if not places:
        return
    index, number, of_text = next(
        (place for place in places if _refuses(dialog.exchanges[place[0]], place[2])), places[0]
    )
    refused = _refuses(dialog.exchanges[index], of_text)
    where = "the message text" if of_text else "a command"
    reply = dialog.exchanges[index].reply
    answer = f" It was refused with {reply.code}." if refused and reply else ""
    count = f"{len(places)} lines" if len(places) > 1 else "One line"
    severity: Severity = "error" if refused else "warning"
    message = f"{count} ended with {octet} instead of CRLF, here in {where}.{answer}"
    yield Hit(message, line=number, exchange=index, severity=severity)


@rule(
    "DAT002",
    "bare-lf",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 5321 2.3.8, 4.1.1.4",
    advice="Send CRLF: nc -C, openssl s_client -crlf, unix2dos.",
    sessions=_odd_ends,
)
def bare_lf(dialog: Dialog) -> Iterator[Hit]:
    """A line was ended by LF without CR.

    Why it matters: only CRLF ends a line in SMTP. Servers that take LF for a line end as well can be made to see another
    end of the message than the next server does; that is why many refuse it. A log tells only where it holds raw octets.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C!: Subject: x\\r\\n\\r\\nline one\\nline two\\r\\n.\\r\\n
        S: 550 5.5.2 Error: bare <LF> received

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C!: EHLO client.example.org\\n
        S: 250 mx.example.net

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C!: Subject: x\\r\\n\\r\\nline one\\r\\nline two\\r\\n.\\r\\n
        S: 250 Ok

    What to do: let the program send CRLF (nc -C, openssl s_client -crlf), or convert the file with unix2dos before.

    Servers: qmail refuses with 451 and a pointer to smtplf.html; Postfix 3.9 and later takes LF for CRLF from its own
    networks only and can refuse with 550; sendmail 8.18 can hang up with 421; chasquid, KumoMTA and mox refuse.

    Reference: RFC 5321 2.3.8, 4.1.1.4
    """
    yield from _bare("lf", "a bare LF", dialog)


@rule(
    "DAT003",
    "bare-cr",
    severity="warning",
    party="client",
    scope="dialog",
    reference="RFC 5321 2.3.8",
    advice="Send CRLF only.",
    sessions=_odd_ends,
)
def bare_cr(dialog: Dialog) -> Iterator[Hit]:
    """A CR was sent that no LF follows.

    Why it matters: CR means nothing without its LF. One server passes it on, the next takes it for a line end, and so the
    two do not see the same message.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C!: Subject: x\\r\\n\\r\\nline one\\rline two\\r\\n.\\r\\n
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C!: EHLO client.example.org\\r\\n
        S: 250 mx.example.net

    What to do: send CRLF only.

    Servers: Telnet sends CR NUL for a lone return in some modes; sendmail and Postfix turn a CR inside a line into other
    characters or keep it.

    Reference: RFC 5321 2.3.8
    """
    yield from _bare("cr", "a bare CR", dialog)


@dataclass(frozen=True, slots=True)
class _Dot:
    """A dot that some servers, but not all, take for the end of the message."""

    sequence: str  #: such as ``LF.CRLF``
    number: int  #: line of the log
    rest: tuple[str, ...]  #: what the client sent after it
    obeyed: bool  #: whether the server answered right there, or more often than it was asked
    first: int  #: the exchange that holds it, or the first that was text


def _sequence(content: Content, k: int) -> str | None:
    """The octets around line k of a text, if that is a dot that does not stand between two CRLFs."""
    return _around(content.lines[k], content.eol[k], content.eol[k - 1] if k else "crlf")


def _around(line: str, eol: str, before: str) -> str | None:
    if line.strip("\0") != "." or (line, eol, before) == (".", "crlf", "crlf"):
        return None
    return _NAMES[before] + line.replace("\0", " NUL ") + _NAMES[eol]


def _dots(dialog: Dialog) -> Iterator[_Dot]:
    """The first such dot of each message."""
    spilled = dict(spilled_texts(dialog))
    for i, exchange in enumerate(dialog.exchanges):
        content = exchange.content
        if content is None or exchange.verb not in (".", "DATA"):
            continue
        for k in range(len(content.lines)):
            sequence = _sequence(content, k)
            if sequence is not None:
                rest = content.lines[k + 1 :]
                yield _Dot(sequence, content.numbers[k], rest, _answered_again(dialog, i), i)
                break
        else:
            sequence = _around(exchange.command or "", exchange.eol, content.eol[-1]) if is_said(exchange) else None
            last = spilled.get(i + 1, i + 1)
            rest = tuple(each.command or "" for each in dialog.exchanges[i + 1 : last + 1] if is_said(each))
            meant = "crlf" not in content.eol and i + 1 not in spilled
            if sequence is not None and rest and not meant and speech.split(rest[0])[0] not in _NEXT:
                yield _Dot(sequence, exchange.line or content.numbers[-1], rest, True, i + 1)


def _answered_again(dialog: Dialog, index: int) -> bool:
    """Whether replies that nobody asked for follow the one to the end of data."""
    following = dialog.exchanges[index + 1 : index + 2]
    return bool(following) and following[0].command is None and following[0].reply is not None


def _is_command(line: str) -> bool:
    verb = speech.split(line)[0]
    return speech.is_command(line) and verb in (*states.MAIL, *states.HELLO, "RCPT", "DATA", "BDAT", "RSET", "AUTH")


@rule(
    "DAT005",
    "smuggling-terminator",
    severity="error",
    party="client",
    scope="dialog",
    reference="RFC 5321 4.1.1.4; CVE-2023-51764, CVE-2023-51765, CVE-2023-51766",
    advice="Let the sending server turn every line end into CRLF, and the receiving one refuse bare LF and CR.",
    sessions=_odd_dots,
)
def smuggling_terminator(dialog: Dialog) -> Iterator[Hit]:
    """Inside the text stands a dot that some servers take for the end of the message, and the text goes on after it.

    Why it matters: CRLF.CRLF alone ends a message. Where one server lets LF.LF, LF.CRLF, CR.CR or the like pass as text and
    the next takes it for the end, what follows is read as commands: a second message with a sender that nobody has checked.

    Flagged::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C!: Subject: x\\r\\n\\r\\nhi\\n.\\r\\nMAIL FROM:<admin@example.net>\\r\\nRCPT TO:<b@example.net>\\r\\nDATA\\r\\nboo\\r\\n.\\r\\n
        S: 250 Ok

    Fine::

        S: 220 mx.example.net ESMTP ready
        C: EHLO client.example.org
        S: 250 mx.example.net
        C: MAIL FROM:<a@example.org>
        S: 250 Ok
        C: RCPT TO:<b@example.net>
        S: 250 Ok
        C: DATA
        S: 354 Start mail input; end with <CRLF>.<CRLF>
        C!: Subject: x\\r\\n\\r\\nhi\\r\\n..\\r\\nthere\\r\\n.\\r\\n
        S: 250 Ok

    What to do: send CRLF everywhere; on the server, refuse or normalise bare LF and CR.

    Servers: Postfix has smtpd_forbid_bare_newline, Exim 4.97.1 and sendmail 8.18 are mended; Exchange Online and GMX were
    mended in 2023.

    Reference: RFC 5321 4.1.1.4; CVE-2023-51764, CVE-2023-51765, CVE-2023-51766
    """
    if "text-capture" in dialog.profiles:
        return
    for dot in _dots(dialog):
        if not any(line.strip("\0") for line in dot.rest):
            continue
        command = next((line for line in dot.rest if _is_command(line)), None)
        severity: Severity = "error" if command else "warning"
        follows = f"a line that reads as {speech.split(command)[0]} follows it" if command else "text follows it"
        obeyed = "; the server took it for the end of the message" if dot.obeyed else ""
        message = f"{dot.sequence} stands in the message, which only CRLF.CRLF ends, and {follows}{obeyed}."
        party: Party = "server" if dot.obeyed else "client"
        yield Hit(message, line=dot.number, exchange=dot.first, severity=severity, party=party)
