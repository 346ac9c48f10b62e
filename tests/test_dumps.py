"""What tcpdump prints of a capture, as text and in hexadecimal digits, tells the same as the capture."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtplog import read
from tests.test_packets import ACK, FIN, FOLDER, RST, SAID, SYN, Packet, captured, dialogs, packets, segment, travelled

PLAIN = [(side, bytes(octet if octet < 128 else 46 for octet in octets)) for side, octets in SAID]


def head(packet: Packet, first: dict[str, int]) -> str:
    """The line above the octets of a packet: numbers count from the SYN, which has its own."""
    side, flags, sequence, acknowledged, octets = packet
    other = {"C": "S", "S": "C"}[side]
    ends = "198.51.100.7.55344 > 192.0.2.25.25" if side == "C" else "192.0.2.25.25 > 198.51.100.7.55344"
    first.setdefault(side, sequence)
    at, back = ((number - first.get(end, 0)) % (1 << 32) for number, end in ((sequence, side), (acknowledged, other)))
    told = (
        f", seq {sequence}"
        if flags & SYN
        else f", seq {at}:{at + len(octets)}"
        if octets
        else f", seq {at}"
        if flags & FIN
        else ""
    )
    names = "".join(name for bit, name in ((SYN, "S"), (FIN, "F"), (RST, "R"), (ACK, ".")) if flags & bit)
    told += f", ack {acknowledged if flags & SYN else back}" if flags & ACK else ""
    return f"IP {ends}: Flags [{names}]{told}, win 65535, length {len(octets)}"


def printed(found: list[Packet], form: str) -> bytes:
    """What tcpdump -tttt prints, with -A or -X."""
    out, first = "reading from file c.pcap, link-type EN10MB (Ethernet)\n", dict[str, int]()
    for number, packet in enumerate(found):
        out += f"2026-01-05 10:{number // 60:02}:{number % 60:02}.000005 {head(packet, first)}\n"
        octets = segment(packet)
        if form == "A":
            text = "".join(chr(c) if 32 <= c < 127 or c in (9, 10) else "\r" if c == 13 else "." for c in octets)
            out += text.replace("\r\n", "\n").replace("\r", ".") + "\n"
            continue
        octets = (bytes(14) if form == "XX" else b"") + octets.ljust(46, b"\0")  # a short frame is filled
        octets = octets[:12] + b"\x08\x00" + octets[14:] if form == "XX" else octets
        for at in range(0, len(octets), 16):
            row = octets[at : at + 16].hex()
            out += f"\t0x{at:04x}:  {' '.join(row[i : i + 4] for i in range(0, len(row), 4)):<39}  {'.' * 16}\n"
    return out.encode()


@pytest.mark.parametrize("form", ["A", "X", "XX"])
def test_a_dump_tells_what_the_capture_tells(form: str) -> None:
    said = PLAIN if form == "A" else SAID
    found = packets(said, 3_000_000_000)
    assert dialogs(printed(found, form), "dump.log") == dialogs(captured(found))


@given(travelled(), st.sampled_from(["X", "XX"]))
def test_however_the_octets_travelled(found: list[Packet], form: str) -> None:
    assert dialogs(printed(found, form), "dump.log") == dialogs(captured(found))


def test_a_line_number_is_that_of_the_packet() -> None:
    path = Path(FOLDER.name) / "numbers.log"
    path.write_bytes(printed(packets(PLAIN), "A"))
    (dialog,) = read(path)
    assert dialog.greeting is not None
    line = path.read_text().splitlines()[dialog.greeting.line - 1]
    assert "192.0.2.25.25 > " in line and "seq 1:27" in line


def test_octets_of_tls_in_dots_are_one_event() -> None:
    hello, answer = (
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\nMAIL FROM:<x>\r\n",
        b"\x16\x03\x03\x00\x7a\x02250 no\r\n",
    )
    said = [
        *SAID[:3],
        ("C", b"STARTTLS\r\n"),
        ("S", b"220 Ready\r\n"),
        ("C", hello),
        ("S", answer),
        ("C", hello),
        ("S", answer),
    ]
    (dialog,) = dialogs(printed(packets(said), "A"), "dump.log")
    assert dialog.splitlines()[-3:] == ["*: tls ok", "*: gap octets of TLS", "*: close server"]


@given(st.lists(st.text("0123456789abcdefx:\t .>IPseqlngth[],S", max_size=60), max_size=6), st.integers(0, 3000))
def test_damage_is_no_traceback(lines: list[str], cut: int) -> None:
    path = Path(FOLDER.name) / "damaged.log"
    data = printed(packets(SAID), "X")
    path.write_bytes(data[:cut] + "\n".join(lines).encode() + data[cut:])
    transcript = read(path)
    list(transcript)
    assert len(transcript.errors) <= 1


def test_without_octets_it_is_told() -> None:
    path = Path(FOLDER.name) / "headers.log"
    lines = [f"10:11:12.000005 {head(packet, {})}" for packet in itertools.islice(packets(SAID), 12)]
    path.write_text("\n".join(lines) + "\n")
    transcript = read(path)
    assert not [exchange for dialog in transcript for exchange in dialog.exchanges if exchange.command]
