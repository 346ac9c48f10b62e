"""``python -m tests.bench.generate``: logs of any size from a seed.

``--exchange FILE`` an Exchange receive log of ``--lines`` lines, ``--postfix FILE`` a Postfix ``smtpd -v`` log of ``--bytes``
octets, 93 % of its lines noise; 20 sessions interleaved in each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path
from random import Random

from tests.bench.noise import AFTER, KINDS
from tests.bench.traffic import INTERLEAVED, Count, Session, Step, Traffic, Wording

START = datetime(2026, 11, 22, tzinfo=UTC)
NOISE = 0.93

_KEYWORDS = (
    "PIPELINING",
    "SIZE 37748736",
    "DSN",
    "ENHANCEDSTATUSCODES",
    "STARTTLS",
    "8BITMIME",
    "CHUNKING",
    "AUTH LOGIN",
    "XRDST",
)


def _exchange_queued(random: Random) -> str:
    number = random.getrandbits(40)
    return (
        f"2.6.0 <{random.getrandbits(64):016x}@ex1.example.com> [InternalId={number}, Hostname=EX1.example.com] "
        f"{random.randrange(1000, 90000)} bytes in 0.{random.randrange(100, 999)}, 12.345 KB/sec Queued mail for delivery"
    )


EXCHANGE = Wording(
    greeting="EX1.example.com Microsoft ESMTP MAIL Service ready at Sun, 22 Nov 2026 00:00:00 +0000",
    hello=("EX1.example.com Hello [198.51.100.7]", *_KEYWORDS),
    sender="2.1.0 Sender OK",
    recipient="2.1.5 Recipient OK",
    data="Start mail input; end with <CRLF>.<CRLF>",
    queued=_exchange_queued,
    bye="2.0.0 Service closing transmission channel",
    auth=("<authentication response>", "<authentication response>", "2.7.0 Authentication successful"),
    refusals=(
        (550, "5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup"),
        (550, "5.7.54 SMTP; Unable to relay recipient in non-accepted domain"),
        (451, "4.7.0 Temporary server error. Please try again later. PRX2"),
        (452, "4.3.1 Insufficient system resources"),
    ),
    content=(550, "5.7.1 Message rejected as spam by Content Filtering."),
    nobody=(503, "5.5.2 Need rcpt command"),
)

POSTFIX = Wording(
    greeting="mx.example.com ESMTP Postfix",
    hello=("mx.example.com", *_KEYWORDS[:-1], "SMTPUTF8"),
    sender="2.1.0 Ok",
    recipient="2.1.5 Ok",
    data="End data with <CR><LF>.<CR><LF>",
    queued=lambda random: f"2.0.0 Ok: queued as {random.getrandbits(40):011X}",
    bye="2.0.0 Bye",
    auth=("VXNlcm5hbWU6", "UGFzc3dvcmQ6", "2.7.0 Authentication successful"),
    refusals=(
        (550, "5.1.1 <{}>: Recipient address rejected: User unknown in local recipient table"),
        (454, "4.7.1 <{}>: Relay access denied"),
        (450, "4.2.0 <{}>: Recipient address rejected: Greylisted"),
        (452, "4.2.2 <{}>: Recipient address rejected: The mailbox is over quota"),
    ),
    content=(550, "5.7.1 Message content rejected"),
    nobody=(554, "5.5.1 Error: no valid recipients"),
)


def exchange(path: Path, lines: int, seed: int) -> Count:
    """Write an Exchange receive log of at least so many lines; the sessions begun then are still ended."""
    random = Random(seed)
    traffic = Traffic(EXCHANGE, random)
    written = 0
    now = 0.0  # milliseconds
    numbers = [0] * INTERLEAVED
    ends = [("", "")] * INTERLEAVED  # connector and session id; end points

    def supply(slot: int) -> Iterator[str]:
        joined = slot % 2 == 0  # newer builds write the reply to EHLO in one row
        connector = "EX1\\Default Frontend EX1" if joined else "EX1\\Client Proxy EX1"
        port = 25 if joined else 465
        session = 0x08DE000000000000 + traffic.count.sessions
        client = f"198.51.100.{random.randrange(1, 255)}:{random.randrange(1024, 65535)}"
        ends[slot] = f"{connector},{session:016X}", f"192.0.2.10:{port},{client}"
        numbers[slot] = 0
        return _exchange_rows(traffic.session(), joined, f"{session:016X}")

    def enough() -> bool:
        return written >= lines

    with open(path, "w", encoding="utf-8", newline="") as log:
        log.write(_exchange_head(0))
        part: list[str] = []
        restart = max(lines // 3, 1)
        for slot, row in interleaved(supply, random, enough):
            now += random.random() * 40
            left, right = ends[slot]
            part.append(f"{_stamp(int(now))},{left},{numbers[slot]},{right},{row}\r\n")
            numbers[slot] += 1
            written += 1
            if len(part) == 20_000:
                log.write("".join(part))
                part.clear()
            if written % restart == 0:
                part.append(_exchange_head(int(now)))
        log.write("".join(part))
    return traffic.count


def _exchange_head(now: int) -> str:
    fields = "date-time,connector-id,session-id,sequence-number,local-endpoint,remote-endpoint,event,data,context"
    head = ("#Software: Microsoft Exchange Server", "#Version: 15.0.0.0", "#Log-type: SMTP Receive Protocol Log")
    return "".join(f"{line}\r\n" for line in (*head, f"#Date: {_stamp(now)}", f"#Fields: {fields}"))


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def _stamp(milliseconds: int) -> str:
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


def _exchange_rows(session: Session, joined: bool, name: str) -> Iterator[str]:
    """Event, data and context of each row of a session."""
    yield "+,,"
    for group in session.groups:
        for step in group:
            if step.kind == "mail":
                yield f"*,{name};2026-11-22T00:00:00.000Z;1,receiving message"
            if step.command is not None and step.kind != "answer":  # client answers of AUTH are left out
                yield f"<,{_field(step.command)},"
        for step in group:
            if step.kind == "hello" and joined:
                yield f">,250  {' '.join(step.lines)},"
                continue
            if step.code >= 400:
                yield "*,Tarpit for '0.00:00:05',"
            for line, mark in _marked(step):
                yield f">,{_field(f'{step.code}{mark}{line}')},"
            if step.kind == "greeting":
                yield "*,SMTPSubmit SMTPAcceptAnyRecipient BypassAntiSpam,Set Session Permissions"
    if session.cut != "stops":
        yield "-,,Remote(SocketError)" if session.cut else "-,,Local"


def _field(text: str) -> str:
    """A field of CSV (RFC 4180 section 2): quoted where it has a comma; no text here has a quote."""
    return f'"{text}"' if "," in text else text


def _marked(step: Step) -> Iterator[tuple[str, str]]:
    """The lines of a reply, each with what stands behind its code."""
    for i, line in enumerate(step.lines, 1):
        yield line, " " if i == len(step.lines) else "-"


def postfix(path: Path, octets: int, seed: int) -> Count:
    """Write a Postfix log of at least so many octets; the sessions begun then are still ended."""
    random = Random(seed)
    traffic = Traffic(POSTFIX, random)
    written = lines = 0
    processes = [1000 + slot for slot in range(INTERLEAVED)]

    def supply(slot: int) -> Iterator[str]:
        if random.random() < 0.01:  # smtpd ends after a hundred sessions or so
            processes[slot] += INTERLEAVED
        return _postfix_chunks(traffic.session(), random)

    def enough() -> bool:
        return written >= octets

    with open(path, "w", encoding="utf-8", newline="\n") as log:
        part: list[str] = []
        for slot, chunk in interleaved(supply, random, enough):
            stamp = f"{_day_and_time(lines // 60)} mx postfix/smtpd[{processes[slot]}]: "  # 60 lines a second
            text = chunk.replace("\0", stamp)
            part.append(text)
            written += len(text)
            lines += chunk.count("\0")
            if len(part) == 5_000:
                log.write("".join(part))
                part.clear()
        log.write("".join(part))
    return traffic.count


@lru_cache(maxsize=4)
def _day_and_time(seconds: int) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%b %d %H:%M:%S")


def _postfix_chunks(session: Session, random: Random) -> Iterator[str]:
    """The lines of a session, some at a time; NUL stands where the stamp goes."""
    number = random.randrange(1, 255)
    ip = f"198.51.100.{number}"
    name = f"host{number}.example.net" if number % 4 else "unknown"
    peer = f"{name}[{ip}]"
    values = {"name": name, "ip": ip, "to": "", "n": str(random.randrange(10**7, 10**8))}
    owed = 0.0
    yield f"\0connect from {peer}\n"
    for group in session.groups:
        for step in group:
            if step.command is not None:
                yield f"\0< {peer}: {step.command}\n"
        for step in group:
            owed += (len(step.lines) + (step.command is not None)) * NOISE / (1 - NOISE)
            values["to"] = (step.command or "").partition("<")[2].partition(">")[0] or "double-bounce@mx.example.com"
            yield from _noise(step.kind, int(owed), values, random)
            owed -= int(owed)
            if step.kind == "rcpt" and step.code >= 400:
                yield f"\0NOQUEUE: reject: RCPT from {peer}: {step.code} {step.lines[0]}; proto=ESMTP\n"
            reply = [f"\0> {peer}: {step.code}{mark}{line}\n" for line, mark in _marked(step)]
            if step.kind == "hello" and random.random() < 0.1:
                reply.insert(1, _block("hello", 2, 2).format_map(values))  # noise inside one reply, as it happens
            yield "".join(reply)
    if session.cut != "stops":
        lost = f"\0lost connection after {session.groups[-1][-1].kind.upper()} from {peer}\n" if session.cut else ""
        yield f"{lost}\0disconnect from {peer}\n"


def _noise(kind: str, n: int, values: dict[str, str], random: Random) -> Iterator[str]:
    start = random.randrange(len(AFTER[kind]))
    while n > 0:
        size = min(n, random.randint(2, 12))
        yield _block(kind, start, size).format_map(values)
        start, n = (start + size) % len(AFTER[kind]), n - size


@lru_cache(maxsize=4096)
def _block(kind: str, start: int, size: int) -> str:
    return "".join(f"\0{KINDS[name]}\n" for name in islice(cycle(AFTER[kind]), start, start + size))


def telnet(path: Path) -> None:
    """Write a Telnet log of 40 lines: a session typed by hand, with a relay refused and a slip mended."""
    hello = [f"250-{word}" for word in ("mx.example.com", *_KEYWORDS[:-1])]
    said = [
        *("Trying 192.0.2.25...", "Connected to mx.example.com.", "Escape character is '^]'."),
        *("220 mx.example.com ESMTP Postfix", "EHLO client.example.org", *hello, "250 SMTPUTF8"),
        *("MAIL FORM:<ada@client.example.org>", "501 5.5.4 Syntax: MAIL FROM:<address>"),
        *("MAIL FROM:<ada@client.example.org>", "250 2.1.0 Ok"),
        *("RCPT TO:<ben@elsewhere.example>", "454 4.7.1 <ben@elsewhere.example>: Relay access denied"),
        *("RCPT TO:<cleo@example.com>", "250 2.1.5 Ok", "DATA", "354 End data with <CR><LF>.<CR><LF>"),
        *("From: Ada <ada@client.example.org>", "To: Cleo <cleo@example.com>", "Subject: a test", ""),
        *("Hello Cleo,", "does this arrive?", "."),
        *("250 2.0.0 Ok: queued as 6F4D5246953", "VRFY cleo", "252 2.0.0 cleo", "NOOP", "250 2.0.0 Ok"),
        *("QUIT", "221 2.0.0 Bye", "Connection closed by foreign host."),
    ]
    assert len(said) == 40, len(said)
    path.write_text("".join(f"{line}\n" for line in said), encoding="utf-8")


def interleaved(
    supply: Callable[[int], Iterator[str]], random: Random, enough: Callable[[], bool]
) -> Iterator[tuple[int, str]]:
    """What 20 sources say, in turns of chance; a source that ends is followed by the next one in its place."""
    sources = {slot: supply(slot) for slot in range(INTERLEAVED)}
    live = list(sources)
    while live:
        slot = live[int(random.random() * len(live))]
        item = next(sources[slot], None)
        if item is not None:
            yield slot, item
        elif enough():
            live.remove(slot)
        else:
            sources[slot] = supply(slot)


def main() -> None:
    """Write what was asked for and say what it is."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.generate", description=__doc__)
    parser.add_argument("--exchange", type=Path, metavar="FILE")
    parser.add_argument("--postfix", type=Path, metavar="FILE")
    parser.add_argument("--telnet", type=Path, metavar="FILE")
    parser.add_argument("--lines", type=int, default=1_500_000, help="of the Exchange log (default: %(default)s)")
    parser.add_argument("--bytes", type=int, default=400_000_000, help="of the Postfix log (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if asked.exchange:
        print(f"exchange: {exchange(asked.exchange, asked.lines, asked.seed)}")
    if asked.postfix:
        print(f"postfix: {postfix(asked.postfix, asked.bytes, asked.seed)}")
    if asked.telnet:
        telnet(asked.telnet)


if __name__ == "__main__":
    main()
