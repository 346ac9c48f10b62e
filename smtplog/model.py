"""A dialog as people talk about it: exchanges, replies, transactions.

These are views. The columns of :mod:`smtplog.dialogs` hold the data; one of these objects is made when
somebody asks for it. All are immutable values. Words are those of RFC 5321.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from smtplog.lines import END_OCTETS, EOLS

#: How a dialog ended, and what became of a dialog or a transaction (values of the JSON outputs).
ENDS = ("quit", "closed-by-server", "closed-by-client", "timeout", "truncated")
OUTCOMES = ("delivered", "rejected", "deferred", "partial", "aborted", "unknown")


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole reply, all of its lines joined (RFC 5321 section 4.2.1)."""

    code: int  #: the three digits of its first line; 0 where the line has none
    enhanced: str | None  #: enhanced status code such as ``5.7.1`` (RFC 3463), from the first line that has one
    text: tuple[str, ...]  #: the text of each line, without the code and its separator
    line: int  #: line of the file, from 1
    end_line: int
    time: datetime | None
    raw: tuple[str, ...]  #: the lines as the log has them, code included

    @property
    def severity(self) -> int:
        """The first digit of the code: 2 done, 3 go on, 4 try later, 5 refused (RFC 5321 section 4.2.1)."""
        return self.code // 100

    @property
    def terminated(self) -> bool:
        """Whether the last line is a last line: no hyphen after its code."""
        return self.raw[-1][3:4] != "-"


@dataclass(frozen=True, slots=True)
class Content:
    """The message text after DATA, or what of a BDAT chunk the log shows, as sent (dot-stuffing kept)."""

    lines: tuple[str, ...]
    eol: tuple[str, ...]  #: the end of each line: ``crlf lf cr none``
    numbers: tuple[int, ...]  #: the line of the file that each line stands on
    sizes: tuple[int, ...]  #: octets of each line without its end

    @property
    def line(self) -> int:
        """First line of the file."""
        return self.numbers[0]

    @property
    def octets(self) -> int:
        """Size in octets with CRLF line ends, the stuffed dots not counted."""
        stuffed = sum(line.startswith(".") for line in self.lines)
        return sum(self.sizes) + 2 * len(self.lines) - stuffed

    @property
    def octets_sent(self) -> int:
        """Size in octets with the line ends that the log has, stuffed dots counted."""
        return sum(self.sizes) + sum(END_OCTETS[EOLS.index(eol)] for eol in self.eol)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One command and its whole reply."""

    line: int | None  #: line of the command; None where the log does not hold it
    time: datetime | None
    command: str | None  #: as sent; None for a reply that no command asked for
    verb: str  #: upper case: ``MAIL``; ``.`` end of data, ``AUTH-RESPONSE``, ``""`` without a command
    argument: str  #: what follows the verb, as sent
    inferred: bool  #: not in the log; concluded from the reply
    state: str  #: state of the session before the command (see :mod:`smtplog.states`)
    tls: bool
    authenticated: bool
    transaction: int | None  #: index into :attr:`Dialog.transactions`
    recipient: str | None  #: LMTP: the recipient that this reply to the end of data is about
    reply: Reply | None
    latency: float | None  #: seconds from the command to the first line of its reply
    pipelined: bool  #: sent before the reply to the command before it (RFC 2920)
    odd: bool  #: the command line is not what ``command.lark`` allows
    eol: str  #: line end of the command line: ``crlf lf cr none``
    content: Content | None  #: verb ``.`` or BDAT: the text that was sent
    extensions: Mapping[str, str] | None = None  #: EHLO keyword → parameters, as offered last; None where nobody knows
    hello: str = ""  #: the accepted hello in force: ``EHLO HELO LHLO``; empty before one
    profiles: frozenset[str] = frozenset()  #: circumstances of the session, see :attr:`Dialog.profiles`
    decides: str | None = None  #: this reply decided a transaction: its outcome

    @property
    def severity(self) -> int:
        """First digit of the reply code; 0 without a reply."""
        return self.reply.code // 100 if self.reply else 0


@dataclass(frozen=True, slots=True)
class Recipient:
    """One RCPT of a transaction."""

    address: str
    accepted: bool
    code: int | None
    enhanced: str | None
    parameters: dict[str, str | None]  #: NOTIFY, ORCPT … (RFC 3461), keyword upper case


@dataclass(frozen=True, slots=True)
class Transaction:
    """MAIL … end of data (RFC 5321 section 3.3)."""

    mail_from: str | None
    parameters: dict[str, str | None]  #: of MAIL: SIZE, RET, ENVID …
    recipients: tuple[Recipient, ...]
    content: Content | None
    subject: str | None
    outcome: str
    code: int | None  #: of the reply that decided
    enhanced: str | None
    queue_id: str | None
    message_id: str | None
    line: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """What happened beside the words: ``opened closed tls gap note``."""

    kind: str
    text: str
    line: int
    time: datetime | None
    before: int  #: number of exchanges of the dialog that began before it


@dataclass(frozen=True, slots=True)
class Dialog:
    """One SMTP session."""

    id: str  #: ``<key>#<n>``
    source: str
    format: str
    line: int
    end_line: int
    started: datetime | None
    ended: datetime | None
    client: str | None
    server: str | None
    server_software: str | None
    greeting: Reply | None
    exchanges: tuple[Exchange, ...]
    transactions: tuple[Transaction, ...]
    events: tuple[Event, ...]
    outcome: str
    end: str
    profiles: frozenset[str] = field(
        default_factory=frozenset
    )  #: circumstances: ``lmtp submission implicit-tls loopback …``
    replies_only: bool = False  #: the log holds no client line; every command is inferred
    sources: tuple[str, ...] = ()
