"""A capture without local echo: replies only. The commands are concluded from the replies and marked as inferred.

What a reply tells about its command is in RFC 5321 section 4.3.2 and RFC 3463 (X.1.0 sender, X.1.5 recipient).
"""

from __future__ import annotations

from smtplog import reference, speech


def is_replies_only(lines: list[str]) -> bool:
    """Whether the server's lines of a session may be all that was logged of it: at least three replies, the first a good
    one, and nothing but replies."""
    codes = []
    continued = False
    for line in lines:
        code = speech.code_of(line)
        if not code:
            return False
        codes += [] if continued else [code]
        continued = line[3:4] == "-"
    return len(codes) > 2 and codes[0] // 100 == 2


def inferred_commands(lines: list[str]) -> list[tuple[int, str]]:
    """(position, command): what the reply that begins there most probably answers."""
    found: list[tuple[int, str]] = []
    guess = _Guess()
    reply: list[int] = []
    for position, line in enumerate(lines):
        reply.append(position)
        if line[3:4] != "-" or position == len(lines) - 1:
            command = guess.command([lines[i] for i in reply])
            found += [] if command is None else [(reply[0], command)]
            reply = []
    return found


class _Guess:
    """Where the session must be, after the replies so far."""

    def __init__(self) -> None:
        self.greeted = False
        self.hello = False
        self.last = ""  # the verb answered before
        self.last_code = 0
        self.mail = False

    def command(self, reply: list[str]) -> str | None:
        """The command that this reply most probably answers; None where it answers none or could be any."""
        code = speech.code_of(reply[0])
        words = speech.words_of(reply[0])
        command = self._command(code, words, speech.status_of(words) or "", reply)
        if command is not None:
            self.last = command.split(" ")[0]
        self.last_code = code
        self.hello = self.hello or self.last in ("EHLO", "HELO")
        if self.last == "." or (code // 100 == 2 and self.last in ("MAIL", "RSET", "EHLO", "HELO")):
            self.mail = self.last == "MAIL"  # whatever the end of data is answered, it ends the transaction
        return command

    def _command(self, code: int, words: str, status: str, reply: list[str]) -> str | None:
        if not self.greeted or (code == 220 and self.last == "QUIT"):
            self.__init__()  # type: ignore[misc]
            self.greeted = True
            return None
        if self.last_code == 354:
            return None if code == 421 and status == "4.4.2" else "."
        if self.last_code == 334:
            return ""
        named = {220: "STARTTLS", 221: "QUIT", 354: "DATA", 235: "AUTH", 214: "HELP", 211: "HELP", 252: "VRFY"}
        if code in named:
            return named[code]
        if code == 334:
            return "AUTH LOGIN" if words.startswith("VXNlcm5hbWU6") else "AUTH"
        if code == 421:
            return None
        return self._done(words.lower(), status, reply) if code // 100 == 2 else self._refused(words.lower(), status)

    def _done(self, words: str, status: str, reply: list[str]) -> str | None:
        if len(reply) > 1 and any(reference.extension(speech.words_of(line).split(" ")[0]) for line in reply[1:]):
            return "EHLO"
        if not self.hello:
            return "EHLO" if len(reply) > 1 else "HELO"
        if status == "2.1.0" or "sender" in words or "originator" in words:
            return "MAIL"
        if status == "2.1.5" or "recipient" in words or "accepted" in words:
            return "RCPT"
        if "reset" in words or "flushed" in words:
            return "RSET"
        return "RCPT" if self.mail else "MAIL" if self.last in ("EHLO", "HELO", ".", "RSET") else "NOOP"

    def _refused(self, words: str, status: str) -> str | None:
        if any(word in words for word in ("unrecognized", "not recognized", "unknown command", "syntax")):
            return None
        if status[2:] in ("1.1", "1.2", "1.3", "1.6", "2.1", "2.2", "1.10") or "recipient" in words or "relay" in words:
            return "RCPT" if self.mail else None
        if status[2:] in ("1.7", "1.8") or "sender" in words:
            return "MAIL"
        return None
