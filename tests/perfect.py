"""Perfect sessions: a small grammar of SMTP and LMTP that knows nothing of smtplog.

A second statement of the protocol, taken from the RFCs alone (5321, 1870, 2033, 2920, 3030, 3207, 3461, 4954, 6152, 6531):
what a careful client says to a careful server, refusals included. What it makes is legal, so that no rule about order,
syntax, replies, extensions, text or times may object. Every choice is drawn from one source of randomness, which is
hypothesis' own where a failure is to be made small.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import strategies as st

DOMAINS = (
    "example.org",
    "mail.example.net",
    "a-b.example",
    "xn--bcher-kva.example",
    "[192.0.2.7]",
    "[IPv6:2001:db8::7]",
)
LOCALS = ("ann", "b.c", "o'neil", "x+tag", '"two words"', "a_b-c", "1", "quit", "data", "250")
WIDE = ("jürgen", "δοκιμή", "用户")
BODY = (
    "Hello",
    "250 2.0.0 Ok: this is no reply",
    "250-nor this",
    "354 go ahead",
    "220 mx.example.net ESMTP",
    "QUIT",
    "RSET",
    "MAIL FROM:<x@example.org>",
    "RCPT TO:<y@example.org>",
    "DATA",
    "S: 250 Ok",
    "C: QUIT",
    "*: close client",
    "..",
    "..not the end",
    "... three",
    ">From the start",
    "",
    "  indented",
    "Subject: in the body",
    "554 5.7.1 Relay access denied",
    "AUTH PLAIN",
    "221 Bye",
)
#: Before a line of the client that is in the notation already: an event, raw octets.
AS_IS = "\0"


@dataclass(frozen=True, slots=True)
class Step:
    """One command with all that is sent for it, and its reply."""

    kind: str  #: greeting hello starttls auth answer mail rcpt data text bdat rset noop help vrfy expn etrn quit close
    said: tuple[str, ...]  #: lines of the client, or an event (``AS_IS``)
    reply: tuple[str, ...] = ()  #: lines of the server
    waits: bool = True  #: the client reads the replies before it goes on
    events: tuple[str, ...] = ()  #: what happens after the reply
    tls: bool = False
    offered: tuple[str, ...] = ()  #: EHLO keywords in force before it
    envelope: str = ""  #: of the transaction before it: ``mail``, ``rcpt`` or none

    @property
    def accepted(self) -> bool:
        return bool(self.reply) and self.reply[0][:1] in "23"


@dataclass(frozen=True, slots=True)
class Session:
    """One perfect session."""

    hello: str  #: the accepted one: EHLO HELO LHLO; empty where there is none
    steps: tuple[Step, ...]

    @property
    def accepted(self) -> bool:
        """Whether the server took all that it was asked."""
        return all(step.accepted for step in self.steps if step.said and step.kind != "close")

    def text(self) -> str:
        return "".join(f"{line}\n" for line in lines(self.steps)[0])


def lines(steps: tuple[Step, ...] | list[Step]) -> tuple[list[str], list[set[int]]]:
    """The dialog in the C:/S: notation, and for each step the numbers of its lines, from 1."""
    text: list[str] = []
    places: list[set[int]] = [set() for _ in steps]
    held: list[int] = []
    for i, step in enumerate(steps):
        for line in step.said:
            text.append(line[1:] if line[:1] == AS_IS else f"C: {line}" if line else "C:")
            places[i].add(len(text))
        held.append(i)
        if step.waits:
            for each in held:
                for line in steps[each].reply:
                    text.append(f"S: {line}")
                    places[each].add(len(text))
                for line in steps[each].events:
                    text.append(line)
                    places[each].add(len(text))
            held = []
    return text, places


@dataclass(slots=True)
class _Talk:
    """A session while it is held: what the server offers, and what has been said."""

    choose: Random
    steps: list[Step] = field(default_factory=list)
    hello: str = ""
    tls: bool = False
    logged_in: bool = False
    offered: dict[str, str] = field(default_factory=dict)
    envelope: str = ""
    trouble: float = 0.0  #: how likely a refusal is
    now: datetime | None = None  #: where the log has times

    def often(self, chance: float) -> bool:
        return self.choose.random() >= 1 - chance  # the smallest choice is no

    def of(self, *words: str) -> str:
        return self.choose.choice(words)

    def say(
        self, kind: str, said: str | tuple[str, ...], *reply: str, waits: bool = True, events: tuple[str, ...] = ()
    ) -> Step:
        said = (said,) if isinstance(said, str) else said
        if self.now is not None:
            self.now += timedelta(seconds=self.choose.choice((0, 1, 20)))
            events = (*events, f"*: at {self.now.isoformat()}")
        step = Step(kind, said, reply, waits, events, self.tls, tuple(self.offered), self.envelope)
        self.steps.append(step)
        return step

    def refused(self) -> bool:
        return self.often(self.trouble)

    def answer(self, code: int, status: str, text: str) -> str:
        """A reply line, with its enhanced status code where the server offers them."""
        return f"{code} {status} {text}" if "ENHANCEDSTATUSCODES" in self.offered else f"{code} {text}"


def session(choose: Random) -> Session:
    """One session from its greeting to its end."""
    talk = _Talk(choose)
    talk.trouble = choose.choice((0.0, 0.0, 0.25))
    if talk.often(0.2):
        talk.now = datetime(2024, 1, 1, 12, tzinfo=UTC)
    kind = choose.choice(("EHLO", "EHLO", "EHLO", "HELO", "LHLO"))
    opening = (f"{AS_IS}*: connect",)
    if talk.refused() and talk.often(0.3):
        greeting = talk.of("554 5.7.1 mx.example.net: not today", "521 mx.example.net does not accept mail")
        talk.steps.append(Step("greeting", opening, (greeting,)))
        talk.say("quit", "QUIT", "221 2.0.0 Bye")
        return Session("", tuple(talk.steps))
    name = "LMTP" if kind == "LHLO" else talk.of("ESMTP", "ESMTP Postfix", "SMTP ready")
    greetings = [f"220 mx.example.net {name}"]
    if talk.often(0.15):
        greetings.insert(0, f"220-mx.example.net {name}")
    talk.steps.append(Step("greeting", opening, tuple(greetings)))
    _opening(talk, kind)
    for _ in range(talk.choose.choice((1, 1, 2, 3))):
        _between(talk)
        if not _transaction(talk):
            break
    _between(talk)
    talk.say("quit", talk.of("QUIT", "QUIT", "quit"), talk.answer(221, "2.0.0", "Bye"))
    if talk.often(0.5):
        talk.say("close", AS_IS + talk.of("*: close server", "*: close client", "*: close"))
    return Session(talk.hello, tuple(talk.steps))


# -- hello, TLS, log-in


def _opening(talk: _Talk, kind: str) -> None:
    if talk.often(0.1):
        talk.say("noop", "NOOP", "250 Ok")
    if kind == "EHLO" and talk.refused():
        talk.say("hello", "EHLO client.example.org", "502 5.5.1 Command not implemented")
        kind = "HELO"
    _hello(talk, kind)
    if "STARTTLS" in talk.offered and talk.often(0.7):
        if talk.refused():
            talk.say("starttls", "STARTTLS", talk.answer(454, "4.7.0", "TLS not available"))
        else:
            talk.say("starttls", "STARTTLS", talk.answer(220, "2.0.0", "Ready"), events=("*: tls ok",))
            talk.tls, talk.offered = True, {}
            _hello(talk, kind)
    if "AUTH" in talk.offered and talk.often(0.8):
        if talk.refused():
            _auth(talk, talk.of("535", "*"))
        _auth(talk, "235")


def _hello(talk: _Talk, kind: str) -> None:
    literals = () if kind == "HELO" else ("[192.0.2.9]", "[IPv6:2001:db8::9]")
    name = talk.of("client.example.org", "client", "a.b.c.example", *literals)
    verb = talk.of(kind, kind, kind.lower())
    talk.hello = kind
    if kind == "HELO":
        talk.say("hello", f"{verb} {name}", "250 mx.example.net")
        return
    offered = _keywords(talk)
    words = [
        f"mx.example.net{talk.of('', ' greets you')}",
        *(f"{key} {value}".rstrip() for key, value in offered.items()),
    ]
    reply = [f"250-{word}" for word in words[:-1]] + [f"250 {words[-1]}"]
    talk.say("hello", f"{verb} {name}", *reply)
    talk.offered = offered


def _keywords(talk: _Talk) -> dict[str, str]:
    """What the server offers: keyword → what follows it."""
    found: dict[str, str] = {}
    for keyword, values in (
        ("PIPELINING", ("",)),
        ("SIZE", ("", "0", "10240000")),
        ("8BITMIME", ("",)),
        ("ENHANCEDSTATUSCODES", ("",)),
        ("DSN", ("",)),
        ("CHUNKING", ("",)),
        ("VRFY", ("",)),
        ("EXPN", ("",)),
        ("HELP", ("",)),
        ("ETRN", ("",)),
        ("DELIVERBY", ("", "240")),
        ("MT-PRIORITY", ("", "MIXER")),
    ):
        if talk.often(0.55):
            found[keyword] = talk.of(*values)
    if talk.hello == "LHLO":  # RFC 2033 section 5: an LMTP server must offer these three
        found.update(dict.fromkeys(("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"), ""))
        found.pop("ETRN", None)
    if "8BITMIME" in found and talk.often(0.5):
        found["SMTPUTF8"] = ""
    if "CHUNKING" in found and talk.often(0.5):
        found["BINARYMIME"] = ""
    if talk.tls:
        if talk.often(0.8):
            found["AUTH"] = talk.of("PLAIN", "PLAIN LOGIN", "LOGIN PLAIN CRAM-MD5")
        if talk.often(0.3):
            found["REQUIRETLS"] = ""
    else:
        if talk.often(0.7):
            found["STARTTLS"] = ""
        if talk.often(0.2):
            found["AUTH"] = "CRAM-MD5"
    return found


def _auth(talk: _Talk, end: str) -> None:
    """A log-in: 235, refused with 535, or given up by the client with an asterisk."""
    mechanism = talk.of(*talk.offered["AUTH"].split())
    done = {
        "235": talk.answer(235, "2.7.0", "Authentication successful"),
        "535": talk.answer(535, "5.7.8", "Authentication credentials invalid"),
        "*": talk.answer(501, "5.7.0", "Authentication aborted"),
    }[end]
    password = talk.of("s3cret-word", "correct horse", "pässword")
    plain = _base64(f"\0ann\0{password}")
    if mechanism == "PLAIN":
        if end != "*" and talk.often(0.5):
            talk.say("auth", f"AUTH PLAIN {plain}", done)
        else:
            talk.say("auth", "AUTH PLAIN", "334 ")
            talk.say("answer", "*" if end == "*" else plain, done)
    elif mechanism == "LOGIN":
        talk.say("auth", "AUTH LOGIN", "334 VXNlcm5hbWU6")
        if end == "*" and talk.often(0.5):
            talk.say("answer", "*", done)
        else:
            talk.say("answer", _base64("ann@example.org"), "334 UGFzc3dvcmQ6")
            talk.say("answer", "*" if end == "*" else _base64(password), done)
    else:
        talk.say("auth", "AUTH CRAM-MD5", f"334 {_base64('<17893.1320671723@mx.example.net>')}")
        digest = "".join(talk.of(*"0123456789abcdef") for _ in range(32))
        talk.say("answer", "*" if end == "*" else _base64(f"ann {digest}"), done)
    talk.logged_in |= end == "235"


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


# -- between and inside transactions


def _between(talk: _Talk) -> None:
    """Commands that are legal at any time (RFC 5321 section 4.1.4)."""
    while talk.often(0.15):
        kinds = ["noop", "vrfy"] + [word.lower() for word in ("HELP", "EXPN", "ETRN") if word in talk.offered]
        if talk.envelope and "etrn" in kinds:
            kinds.remove("etrn")
        kind = talk.of(*kinds)
        if kind == "noop":
            talk.say(kind, talk.of("NOOP", "noop", "NOOP anything at all"), talk.answer(250, "2.0.0", "Ok"))
        elif kind == "vrfy":
            if talk.refused():
                talk.say(kind, "VRFY nobody", talk.answer(550, "5.1.1", "User unknown"))
            else:
                talk.say(kind, "VRFY ann", talk.answer(252, "2.1.5", "Cannot verify, but will try"))
        elif kind == "help":
            talk.say(kind, talk.of("HELP", "HELP MAIL"), talk.answer(214, "2.0.0", "See RFC 5321"))
        elif kind == "expn":
            talk.say(kind, "EXPN staff", talk.answer(252, "2.1.5", "Try it"))
        else:
            talk.say(kind, "ETRN example.org", talk.answer(250, "2.0.0", "Queuing started"))


def _reset(talk: _Talk, waits: bool = True) -> None:
    talk.say("rset", talk.of("RSET", "rset"), talk.answer(250, "2.0.0", "Ok"), waits=waits)
    talk.envelope = ""


def _transaction(talk: _Talk) -> bool:
    """One mail transaction. False where the client has had enough and leaves."""
    batched = "PIPELINING" in talk.offered and talk.often(0.6)
    waits = not batched
    if batched and talk.often(0.2):
        _reset(talk, waits=False)
    chunked = "CHUNKING" in talk.offered and talk.often(0.5)
    wide = "SMTPUTF8" in talk.offered and talk.often(0.3)
    refused = talk.refused()
    mail = _mail(talk, chunked, wide, refused)
    if refused:
        refusal = talk.of("550 5.7.1 Sender refused", "451 4.3.0 Try again later", "553 5.1.8 Sender domain unknown")
        code, status, text = refusal.split(" ", 2)
        talk.say("mail", mail, talk.answer(int(code), status, text))
        if talk.often(0.4):
            _reset(talk)
        return talk.often(0.5)
    talk.say("mail", mail, talk.answer(250, "2.1.0", "Sender ok"), waits=waits)
    talk.envelope = "mail"
    if waits:
        _between(talk)
    count = _recipients(talk, wide, waits)
    if batched and not count:  # it has read the replies before it asks for DATA
        waits = True
    if not count or talk.often(0.06):
        _settle(talk)
        _reset(talk)
        return talk.often(0.6)
    if waits:
        _between(talk)
    return _chunks(talk, count, batched) if chunked else _text(talk, count, batched, wide)


def _settle(talk: _Talk) -> None:
    """The client reads all replies that are due."""
    talk.steps[-1] = replace(talk.steps[-1], waits=True)


def _address(talk: _Talk, wide: bool) -> str:
    local = talk.of(*LOCALS, *(WIDE if wide else ()))
    domain = talk.of(*DOMAINS, *(("bücher.example",) if wide else ()))
    return f"<{local}@{domain}>"


def _mail(talk: _Talk, chunked: bool, wide: bool, refused: bool) -> str:
    verb = talk.of("MAIL FROM:", "MAIL FROM:", "mail from:", "Mail From:")
    path = "<>" if talk.often(0.15) and not wide else _address(talk, wide)
    words = [verb + ("<ann@blocked.example>" if refused else path)]
    if wide:
        words.append("SMTPUTF8")
    if "SIZE" in talk.offered and talk.often(0.5):
        words.append("SIZE=4096")
    if "BINARYMIME" in talk.offered and chunked and talk.often(0.5):
        words.append("BODY=BINARYMIME")
    elif "8BITMIME" in talk.offered and (wide or talk.often(0.5)):
        words.append("BODY=8BITMIME" if wide else talk.of("BODY=8BITMIME", "BODY=7BIT", "body=8bitmime"))
    if "DSN" in talk.offered:
        if talk.often(0.3):
            words.append(talk.of("RET=FULL", "RET=HDRS"))
        if talk.often(0.3):
            words.append(talk.of("ENVID=QQ314159", "ENVID=a+2Bb+3Dc"))
    if "AUTH" in talk.offered and talk.logged_in and talk.often(0.2):
        words.append(talk.of("AUTH=<>", "AUTH=ann@example.org", "AUTH=e+3Dmc2@example.com"))
    if "DELIVERBY" in talk.offered and talk.often(0.2):
        words.append(talk.of("BY=600;R", "BY=600;N", "BY=300;NT"))
    if "MT-PRIORITY" in talk.offered and talk.often(0.2):
        words.append(talk.of("MT-PRIORITY=3", "MT-PRIORITY=-2"))
    if "REQUIRETLS" in talk.offered and talk.often(0.3):
        words.append("REQUIRETLS")
    return " ".join(words)


def _recipients(talk: _Talk, wide: bool, waits: bool) -> int:
    """One or more recipients; the number of those that were accepted."""
    accepted = 0
    for _ in range(talk.choose.choice((1, 1, 2, 3, 5))):
        path = talk.of(_address(talk, wide), _address(talk, wide), "<postmaster>", "<Postmaster@example.org>")
        refused = talk.refused()
        if refused:  # a server that refuses an address refuses it each time
            path = talk.of("<nobody@example.org>", "<no-one@mail.example.net>")
        words = [talk.of("RCPT TO:", "RCPT TO:", "rcpt to:") + path]
        if "DSN" in talk.offered and talk.often(0.3):
            words.append(talk.of("NOTIFY=NEVER", "NOTIFY=SUCCESS,FAILURE", "NOTIFY=DELAY", "notify=failure"))
        if "DSN" in talk.offered and talk.often(0.2) and path.isascii() and '"' not in path:
            words.append(f"ORCPT=rfc822;{path[1:-1].replace('+', '+2B').replace('=', '+3D')}")
        if refused:
            reply = talk.of(
                "550 5.1.1 User unknown", "450 4.2.0 Mailbox busy", "452 4.2.2 Mailbox full", "550 5.7.1 No"
            )
            code, status, text = reply.split(" ", 2)
            talk.say("rcpt", " ".join(words), talk.answer(int(code), status, text), waits=waits)
        else:
            talk.say("rcpt", " ".join(words), talk.answer(250, "2.1.5", "Recipient ok"), waits=waits)
            talk.envelope = "rcpt"
            accepted += 1
    return accepted


def _message(talk: _Talk, wide: bool = False) -> list[str]:
    """Header, empty line, text, as sent: dots stuffed."""
    header = [
        "From: ann@example.org",
        "To: b@example.net",
        "Date: Mon, 1 Jan 2024 00:00:00 +0000",
        f"Subject: {talk.of('test', 'QUIT', '250 Ok', 'Grüße' if wide else 'hi')}",
        "Message-ID: <1@example.org>",
    ]
    if talk.often(0.2):
        header.append("\tfolded")
    return [*header, "", *(talk.of(*BODY) for _ in range(talk.choose.choice((0, 1, 2, 5))))]


def _ends(talk: _Talk, count: int) -> list[str]:
    """The reply to the end of a message; LMTP has one for each accepted recipient."""
    replies = []
    for _ in range(count if talk.hello == "LHLO" else 1):
        if talk.refused():
            words = talk.of("554 5.6.0 Message refused", "451 4.3.0 Try again later", "452 4.3.1 No room")
            code, status, text = words.split(" ", 2)
            replies.append(talk.answer(int(code), status, text))
        else:
            replies.append(talk.answer(250, "2.0.0", "Message accepted"))
    return replies


def _text(talk: _Talk, count: int, batched: bool, wide: bool) -> bool:
    if talk.refused():
        talk.say("data", "DATA", talk.answer(451, "4.3.0", "Try again later"))
        _reset(talk)
        return talk.often(0.5)
    talk.say("data", talk.of("DATA", "data"), talk.of("354 Go ahead", "354 End data with <CR><LF>.<CR><LF>"))
    # the next group may begin with the text (RFC 2920 section 3.1)
    waits = not batched or talk.often(0.7)
    talk.say("text", (*_message(talk, wide), "."), *_ends(talk, count), waits=waits)
    talk.envelope = ""
    if not waits:
        if talk.often(0.5):
            _reset(talk, waits=False)
        talk.say("mail", f"MAIL FROM:{_address(talk, False)}", talk.answer(250, "2.1.0", "Sender ok"))
        talk.envelope = "mail"
        _reset(talk)
    return True


def _chunks(talk: _Talk, count: int, batched: bool) -> bool:
    message = [line.removeprefix(".") for line in _message(talk)]
    pieces = talk.choose.choice((1, 2, 3))
    size = -(-len(message) // pieces)
    chunks = [message[i : i + size] for i in range(0, len(message), size)]
    if talk.often(0.2):
        chunks.append([])  # BDAT 0 LAST
    for i, chunk in enumerate(chunks):
        last = i + 1 == len(chunks)
        octets = sum(len(line.encode()) + 2 for line in chunk)
        said = (f"{talk.of('BDAT', 'BDAT', 'bdat')} {octets}{' LAST' if last else ''}", *chunk)
        if last:
            talk.say("bdat", said, *_ends(talk, count))
            talk.envelope = ""
        elif talk.refused():
            _settle(talk)
            talk.say("bdat", said, talk.answer(452, "4.3.1", "No room"))
            _reset(talk)
            return talk.often(0.5)
        else:
            talk.say("bdat", said, talk.answer(250, "2.0.0", f"{octets} octets"), waits=not batched)
            talk.envelope = "rcpt"
    return True


# -- for tests


def many(seed: int, count: int) -> Iterator[Session]:
    """A reproducible row of sessions."""
    choose = Random(seed)
    for _ in range(count):
        yield session(choose)


#: One session; a failing one is made small.
sessions: st.SearchStrategy[Session] = st.randoms(use_true_random=False).map(session)
