"""Healthy mail: what any server takes, each with one thing that is not everyday."""

from __future__ import annotations

from dataclasses import dataclass
from email import policy
from email.message import EmailMessage


@dataclass(frozen=True)
class Mail:
    """A message, its envelope, and how it is to be sent."""

    name: str
    text: bytes  #: with CRLF line ends, as it is before dots are stuffed
    recipients: tuple[str, ...] = ("bert@example.net",)
    sender: str = "anna@example.org"
    wishes: frozenset[str] = frozenset()  #: ``8bit utf8 dsn tls auth-plain auth-login pipelined quoted``


def _message(body: str, charset: str = "us-ascii", encoding: str = "7bit", to: str = "bert@example.net") -> bytes:
    message = EmailMessage(policy.SMTPUTF8)
    message["From"] = "Anna <anna@example.org>"
    message["To"] = to
    message["Subject"] = "Healthy mail"
    message["Date"] = "Wed, 25 Nov 2026 10:00:00 +0000"
    message["Message-ID"] = "<healthy@example.org>"
    message.set_content(body, charset=charset, cte=encoding)
    return message.as_bytes()


def _wishes(words: str) -> frozenset[str]:
    return frozenset(words.split())


PLAIN = _message("Dear Bert,\n\nall is well.\n")
_DOTS = _message(".\n..\n.leading\n...\n\n. \n" * 40)
_LONG = _message("".join(f"Line {number} of a long text, said again and again.\n" for number in range(1500)))
_LOOKALIKE = _message("250 OK\n354 go on\nQUIT\nRCPT TO:<nobody@example.com>\n221 bye\n* OK\nC: hello\nS: 220 there\n")
_UMLAUTS = _message("Grüße aus Köln, und ein schöner Tag.\n", "utf-8", "8bit")
_LATIN = _message("Grüße aus Köln.\n", "iso-8859-1", "8bit")
_MANY = tuple(f"bert+{number}@example.net" for number in range(30))

MAILS = (
    Mail("one recipient", PLAIN),
    Mail("several recipients", PLAIN, ("bert@example.net", "carla@example.com", "o'hara=x@example.net")),
    Mail("quoted local part", PLAIN, ('"d e"@example.net', '"a@b"@example.com'), wishes=_wishes("quoted")),
    Mail("thirty recipients", PLAIN, _MANY),
    Mail("pipelined", PLAIN, _MANY[:5], wishes=_wishes("pipelined")),
    Mail("no sender", PLAIN, sender=""),
    Mail("leading dots", _DOTS),
    Mail("large text", _LONG),
    Mail("text like a dialog", _LOOKALIKE),
    Mail("8bit", _UMLAUTS, wishes=_wishes("8bit")),
    Mail("8bit, no UTF-8", _LATIN, wishes=_wishes("8bit")),
    Mail(
        "UTF-8 addresses",
        _message("Grüße.\n", "utf-8", "8bit", "bärbel@example.net"),
        ("bärbel@example.net", "日本@例え.example"),
        "änne@example.org",
        _wishes("utf8 8bit"),
    ),
    Mail("DSN", PLAIN, ("bert@example.net", "carla@example.com"), wishes=_wishes("dsn")),
    Mail("TLS", PLAIN, wishes=_wishes("tls")),
    Mail("AUTH PLAIN", PLAIN, wishes=_wishes("tls auth-plain")),
    Mail("AUTH LOGIN", PLAIN, wishes=_wishes("tls auth-login")),
)
