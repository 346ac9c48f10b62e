"""What is played in place of what a log does not hold, and what a correct server answers."""

from __future__ import annotations

from smtplog.dialogs import END_OF_DATA

#: A stand-in for message text is at most so long, in octets.
MOST_TEXT = 10 << 20
_LINE = b"This line stands in for message text that the log does not hold.\r\n"
_HEADER = b"Subject: a stand-in for a message that the log does not hold\r\n\r\n"

#: What a correct server answers (RFC 5321 section 4.3.2, RFC 2034, RFC 3207, RFC 4954).
_USUAL = {
    "": b"220 ESMTP ready",
    "STARTTLS": b"220 2.0.0 Ready to start TLS",
    "MAIL": b"250 2.1.0 Sender ok",
    "RCPT": b"250 2.1.5 Recipient ok",
    "DATA": b"354 End data with <CR><LF>.<CR><LF>",
    END_OF_DATA: b"250 2.0.0 Message accepted",
    "BDAT": b"250 2.0.0 Chunk accepted",
    "RSET": b"250 2.0.0 Ok",
    "NOOP": b"250 2.0.0 Ok",
    "VRFY": b"252 2.5.0 Cannot verify, will take the message",
    "EXPN": b"252 2.5.0 Cannot expand, will take the message",
    "HELP": b"214 2.0.0 RFC 5321",
    "AUTH-RESPONSE": b"235 2.7.0 Authentication succeeded",
    "QUIT": b"221 2.0.0 Bye",
}
_PROMPTS = {"LOGIN": b"334 VXNlcm5hbWU6", "PLAIN": b"334 "}  # RFC 4616 section 2


def text_of(size: int | None) -> bytes:
    """Message text or a chunk of so many octets, at most ten megabytes of text; a short message where nobody knows."""
    if size is None:
        return _HEADER + _LINE
    size = min(size, MOST_TEXT)
    whole = _HEADER + _LINE * max((size - len(_HEADER)) // len(_LINE) + 1, 0)
    return whole[: max(size - 2, 0)].rstrip(b"\r\n").ljust(size - 2, b".") + b"\r\n" if size >= 2 else b"."[:size]


def reply_for(verb: str, argument: str = "", after: str | None = None) -> bytes:
    """The reply of a correct server to a command that is legal where it stands; ``after``: the verb that the client says
    next, where that is known, which tells how AUTH went on."""
    if verb in ("EHLO", "HELO", "LHLO"):
        return b"250 Hello\r\n"
    if verb in ("AUTH", "X-EXPS", "AUTH-RESPONSE") and after is not None:
        waits = after == "AUTH-RESPONSE"
        refused = after in ("AUTH", "X-EXPS") or (verb != "AUTH-RESPONSE" and " " not in argument.strip())
        if refused and not waits:
            return b"535 5.7.8 Authentication failed\r\n"
        if verb == "AUTH-RESPONSE" and waits:
            return b"334 \r\n"
        argument = argument.partition(" ")[0] if waits else argument
    if verb in ("AUTH", "X-EXPS"):
        mechanism, _, initial = argument.partition(" ")
        reply = _USUAL["AUTH-RESPONSE"] if initial else _PROMPTS.get(mechanism.upper(), b"334 ")
        return reply + b"\r\n"
    return _USUAL.get(verb, b"250 2.0.0 Ok") + b"\r\n"
