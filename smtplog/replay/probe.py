"""The steps of testing a server by hand with Telnet, done by the program: hello, sender, recipients, and no message unless
it is asked for: the session ends with RSET and QUIT before DATA.

What came of it is read from the recording, as any log is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from smtplog.replay.acts import Acts, Side
from smtplog.replay.credentials import MECHANISMS, Credentials
from smtplog.replay.framing import TroubleError, code_of
from smtplog.replay.speaker import Speaker

#: Mechanisms that do not send the password itself: all that is used without TLS.
_IN_CLEAR = ("CRAM-MD5",)
_TOKENS = ("OAUTHBEARER", "XOAUTH2")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is tried."""

    sender: str
    recipients: tuple[str, ...]
    ehlo: str
    notify: str = ""  #: of RCPT, as ``success,failure`` (RFC 3461 section 4.1)
    message: bytes = b""  #: header and text; sent only if ``deliver``
    deliver: bool = False
    starttls: bool = False
    implicit_tls: bool = False
    credentials: Credentials | None = None


@dataclass(slots=True, kw_only=True)
class Probe(Speaker):
    """A client that tries a server step by step, and goes on as long as it may."""

    plan: Plan
    refused: int = 0  #: answers that were not a yes
    ended: str = ""  #: what ended it early; empty where nothing did
    stopped: str = ""  #: why it went no further; empty where nothing held it up
    remarks: list[str] = field(default_factory=list)  #: what was left out, and why

    def side(self) -> Side:
        """The acts of the probe. Trouble ends it."""
        try:
            yield from self._steps()
            yield from self.quit()
            if self.standing.closing:
                yield from self.wait_for_close()
            yield from self.leave()
        except TroubleError as error:
            self.ended = str(error)
            yield from self.flee()

    def _steps(self) -> Side:
        if self.plan.implicit_tls:
            yield from self.handshake()
        if not self._is_yes((yield from self.hear("Connect"))):
            return
        if (yield from self._hello()) and (yield from self._tls()) and (yield from self._login()):
            yield from self._transaction()

    def _hello(self) -> Acts[bool]:
        if (yield from self._accepted(f"EHLO {self.plan.ehlo}")):
            return True
        if self.gone or self.standing.closing:
            return False
        self.remarks.append("The server does not take EHLO: it was greeted with HELO, and offers nothing.")
        return (yield from self._accepted(f"HELO {self.plan.ehlo}"))

    def _tls(self) -> Acts[bool]:
        if not self.plan.starttls or self.standing.tls:
            return True
        if "STARTTLS" not in self.standing.extensions:
            return self._stop(
                "The server does not offer STARTTLS: ask its operator; port 465 takes TLS at once (--tls)."
            )
        if not (yield from self._accepted("STARTTLS")):
            return False
        yield from self.handshake()
        return (yield from self._accepted(f"EHLO {self.plan.ehlo}"))

    def _login(self) -> Acts[bool]:
        credentials = self.plan.credentials
        if credentials is None:
            return True
        offered = self.standing.extensions.get("AUTH", "").upper().split()
        known = (*_TOKENS, *MECHANISMS) if credentials.token else _IN_CLEAR + MECHANISMS
        usable = [each for each in known if each in offered and (self.standing.tls or each in _IN_CLEAR)]
        if not usable and offered and not self.standing.tls:
            return self._stop(
                f"A password is sent under TLS only; offered are {', '.join(offered)}: use --starttls or --tls."
            )
        if not usable:
            what = f"offers AUTH with {', '.join(offered)} only" if offered else "offers no AUTH here"
            return self._stop(f"The server {what}: try the submission port, 587, with --starttls.")
        return self._is_yes((yield from self.log_in(usable[0], credentials)))

    def _transaction(self) -> Side:
        plan, offers = self.plan, self.standing.extensions
        if not (yield from self._accepted(f"MAIL FROM:<{plan.sender}>")):
            return
        if plan.notify and "DSN" not in offers:
            self.remarks.append("NOTIFY was left out: the server does not offer DSN (RFC 3461).")
        for recipient in plan.recipients:
            notify = f" NOTIFY={plan.notify}" if plan.notify and "DSN" in offers else ""
            yield from self._accepted(f"RCPT TO:<{recipient}>{notify}")
            if self.gone or self.standing.closing:
                return
        if not self.standing.recipients:
            return
        if not plan.deliver:
            self.remarks.append("No message was sent: --deliver sends one.")
            yield from self._accepted("RSET")
        elif (yield from self._accepted("DATA", 3)):
            replies = yield from self.send_text(plan.message)
            for reply in replies:
                self._is_yes(reply)
            if self.gone:
                self._is_yes(None)

    def _accepted(self, line: str, severity: int = 2) -> Acts[bool]:
        return self._is_yes((yield from self.ask(line)), severity)

    def _is_yes(self, reply: bytes | None, severity: int = 2) -> bool:
        yes = reply is not None and code_of(reply) // 100 == severity
        self.refused += not yes
        if reply is None:
            self.ended = (
                "the server closed the connection without an answer: its log says why, often a limit or a block list"
            )
        return yes

    def _stop(self, sentence: str) -> bool:
        self.refused += 1
        self.stopped = sentence
        return False


def message(sender: str, recipients: tuple[str, ...], subject: str, body: str, date: str, identifier: str) -> bytes:
    """A message as RFC 5322 wants it."""
    header = [f"From: <{sender}>", f"To: {', '.join(f'<{each}>' for each in recipients)}", f"Subject: {subject}"]
    header += [
        f"Date: {date}",
        f"Message-ID: <{identifier}>",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
    ]
    return ("\n".join([*header, "", body]) + "\n").encode()
