"""Packet captures: however the octets travelled, the dialog is the same; what is missing is a gap."""

from __future__ import annotations

import gzip
import io
import itertools
import struct
import sys
import tempfile
import time
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from smtplog import read
from smtplog.cli import app
from smtplog.packets import segments
from smtplog.script import show
from smtplog.streams import lines

dpkt = pytest.importorskip("dpkt", reason="dpkt reads captures: pip install 'smtplog[pcap]'")

FOLDER = tempfile.TemporaryDirectory()
CLIENT, SERVER = ("198.51.100.7", 55344), ("192.0.2.25", 25)
SIX = ("2001:db8::7", 55344), ("2001:db8::25", 25)
SAID = [
    ("S", b"220 mx.example.net ESMTP\r\n"),
    ("C", b"EHLO client.example.org\r\n"),
    ("S", b"250-mx.example.net\r\n250-PIPELINING\r\n250 STARTTLS\r\n"),
    ("C", b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\n"),
    ("S", b"250 Ok\r\n250 Ok\r\n354 Go ahead\r\n"),
    ("C", b"Subject: caf\xc3\xa9 \\x\r\n\r\n250 is no reply\r\n\x80\x81\r\n.\r\n"),
    ("S", b"250 Ok: queued\r\n"),
    ("C", b"QUIT\r\n"),
    ("S", b"221 Bye\r\n"),
]
FIN, SYN, RST, ACK = 1, 2, 4, 16

Packet = tuple[str, int, int, int, bytes]  # side, flags, sequence number, acknowledged, octets


def packets(
    said: list[tuple[str, bytes]], first: int = 1000, *, opened: bool = True, closed: bool = True
) -> list[Packet]:
    """The segments of a connection; sequence numbers may pass 2 to the 32nd."""
    at = {"C": first, "S": first + 7}
    other = {"C": "S", "S": "C"}
    found: list[Packet] = []

    def sent(side: str, flags: int, octets: bytes = b"") -> None:
        found.append((side, flags, at[side] % (1 << 32), at[other[side]] % (1 << 32), octets))
        at[side] += len(octets) + bool(flags & (SYN | FIN))

    if opened:
        sent("C", SYN)
        sent("S", SYN | ACK)
        sent("C", ACK)
    else:
        at = {side: number + 1 for side, number in at.items()}
    for side, octets in said:
        sent(side, ACK, octets)
        sent(other[side], ACK)
    if closed:
        sent("S", FIN | ACK)
        sent("C", FIN | ACK)
        sent("S", ACK)
    return found


def segment(packet: Packet, client: tuple[str, int] = CLIENT, server: tuple[str, int] = SERVER) -> bytes:
    """A packet of IP."""
    side, flags, sequence, acknowledged, octets = packet
    (source, sport), (target, dport) = (client, server) if side == "C" else (server, client)
    tcp = struct.pack("!HHIIBBHHH", sport, dport, sequence, acknowledged, 5 << 4, flags, 65535, 0, 0) + octets
    ends = ip_address(source).packed + ip_address(target).packed
    if ":" in source:
        return struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + ends + tcp
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0) + ends + tcp


ETHERNET = bytes(12)
KINDS: dict[str, tuple[int, Any]] = {
    "ethernet": (1, lambda ip: ETHERNET + (b"\x86\xdd" if ip[0] >> 4 == 6 else b"\x08\x00") + ip),
    "padded": (1, lambda ip: (ETHERNET + b"\x08\x00" + ip).ljust(60, b"\0")),
    "vlan": (1, lambda ip: ETHERNET + b"\x81\x00\x00\x2a\x08\x00" + ip),
    "cooked": (113, lambda ip: bytes(14) + b"\x08\x00" + ip),
    "cooked2": (276, lambda ip: b"\x08\x00" + bytes(18) + ip),
    "loopback": (0, lambda ip: struct.pack("=I", 2 if ip[0] >> 4 == 4 else 30) + ip),
    "raw": (101, lambda ip: ip),
}


def capture(frames: list[bytes], link: int = 1, *, nanoseconds: bool = False) -> bytes:
    """A .pcap file, a frame a second."""
    out = [struct.pack("<IHHiIII", 0xA1B23C4D if nanoseconds else 0xA1B2C3D4, 2, 4, 0, 0, 65535, link)]
    for number, frame in enumerate(frames):
        out.append(struct.pack("<IIII", 1767607872 + number, 5, len(frame), len(frame)) + frame)
    return b"".join(out)


def captured(found: list[Packet], kind: str = "ethernet", **ends: Any) -> bytes:
    link, wrapped = KINDS[kind]
    return capture([wrapped(segment(packet, **ends)) for packet in found], link)


def dialogs(data: bytes, name: str = "c.pcap") -> list[str]:
    """Each dialog without its times."""
    path = Path(FOLDER.name) / name
    path.write_bytes(data)
    transcript = read(path, show_secrets=True)
    shown = [show(dialog) for dialog in transcript]
    assert not transcript.errors, transcript.errors
    assert [report.format for report in transcript.files] == ["pcap"]
    return ["\n".join(line for line in text.splitlines() if not line.startswith("*: at ")) for text in shown]


WHOLE = dialogs(captured(packets(SAID)))


def test_a_capture_is_read() -> None:
    (dialog,) = WHOLE
    assert dialog.startswith("*: connect 198.51.100.7:55344 -> 192.0.2.25:25\nS: 220 mx.example.net ESMTP\nC: EHLO ")
    assert dialog.endswith("C: QUIT\nS: 221 Bye\n*: close server")


@pytest.mark.parametrize("kind", KINDS)
def test_link_layers(kind: str) -> None:
    assert dialogs(captured(packets(SAID), kind)) == WHOLE


@pytest.mark.parametrize("kind", ["ethernet", "loopback", "raw"])
def test_ipv6(kind: str) -> None:
    (dialog,) = dialogs(captured(packets(SAID), kind, client=SIX[0], server=SIX[1]))
    assert dialog.splitlines()[0] == "*: connect [2001:db8::7]:55344 -> [2001:db8::25]:25"
    assert dialog.splitlines()[1:] == WHOLE[0].splitlines()[1:]


def test_pcapng_nanoseconds_and_gzip() -> None:
    frames = [KINDS["ethernet"][1](segment(packet)) for packet in packets(SAID)]
    out = io.BytesIO()
    writer = dpkt.pcapng.Writer(out)
    for number, frame in enumerate(frames):
        writer.writepkt(frame, ts=1767607872.0 + number)
    assert dialogs(out.getvalue(), "c.pcapng") == WHOLE
    assert dialogs(capture(frames, nanoseconds=True)) == WHOLE
    assert dialogs(gzip.compress(capture(frames)), "c.pcap.gz") == WHOLE


@st.composite
def travelled(draw: st.DrawFn) -> list[Packet]:
    """The same octets in other segments, some of them twice, some out of order, sequence numbers from anywhere."""
    said: list[tuple[str, bytes]] = []
    for side, octets in SAID:
        edges = sorted({0, len(octets), *draw(st.lists(st.integers(0, len(octets)), max_size=4))})
        said += [(side, octets[a:b]) for a, b in itertools.pairwise(edges)]
    found = packets(said, draw(st.sampled_from([1000, (1 << 32) - 40, (1 << 32) - 1])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(3, len(found) - 1))
        found.insert(at, found[draw(st.integers(3, at))])
    for _ in range(draw(st.integers(0, 4))):  # one that says something overtakes the one before of its side
        at = draw(st.integers(4, len(found) - 4))
        before = next((i for i in range(at - 1, 2, -1) if found[i][0] == found[at][0] and found[i][4]), None)
        said_between = before is not None and any(each[0] != found[at][0] and each[4] for each in found[before:at])
        if before is not None and found[at][4] and not said_between:
            found.insert(before, found.pop(at))
    return found


@given(travelled())
def test_however_the_octets_travelled_the_dialog_is_the_same(found: list[Packet]) -> None:
    assert dialogs(captured(found)) == WHOLE


@given(st.integers(5, 19))
def test_a_segment_that_the_capture_lacks_is_a_gap(lost: int) -> None:
    found = packets(SAID)
    if not found[lost][4]:
        return
    (dialog,) = dialogs(captured(found[:lost] + found[lost + 1 :]))
    missing = f"*: gap {len(found[lost][4])} octets are missing in the capture"
    assert missing in dialog.splitlines()
    known = set(WHOLE[0].splitlines())
    assert {line for line in dialog.splitlines() if not line.startswith(("*: gap", "C?: "))} <= known


def test_a_line_number_is_the_number_of_the_frame() -> None:
    path = Path(FOLDER.name) / "numbers.pcap"
    other = KINDS["ethernet"][1](
        segment(("C", ACK, 5, 5, b"GET / HTTP/1.0\r\n\r\n"), ("192.0.2.1", 4000), ("192.0.2.2", 80))
    )
    frames = [KINDS["ethernet"][1](segment(packet)) for packet in packets(SAID)]
    path.write_bytes(capture([other, *frames[:4], other, b"no frame", *frames[4:]]))
    (dialog,) = read(path)
    assert dialog.greeting is not None and (dialog.line, dialog.greeting.line) == (2, 5)
    assert dialog.exchanges[0].line == 9


def test_a_session_that_begins_in_mid_stream() -> None:
    (dialog,) = dialogs(captured(packets(SAID[3:], opened=False)))
    assert dialog.startswith(
        "*: connect 198.51.100.7:55344 -> 192.0.2.25:25\n*: gap the capture begins in mid-session\nC: MAIL"
    )


def test_octets_beyond_the_snap_length() -> None:
    frames = [KINDS["ethernet"][1](segment(packet))[:80] for packet in packets(SAID)]
    (dialog,) = dialogs(capture(frames))
    assert "S: 220 mx.example.net ESMTP" in dialog
    assert "octets are missing in the capture" in dialog


@pytest.mark.parametrize(
    "port, banner, smtp", [(10025, b"220 mx ESMTP", True), (2121, b"220 FTP ready", False), (80, b"x", False)]
)
def test_a_banner_tells_smtp_on_any_port(port: int, banner: bytes, smtp: bool) -> None:
    said = [("S", banner + b"\r\n"), ("C", b"QUIT\r\n"), ("S", b"221 Bye\r\n")]
    data = captured(packets(said), server=("192.0.2.25", port))
    if smtp:
        assert dialogs(data)[0].startswith(f"*: connect 198.51.100.7:55344 -> 192.0.2.25:{port}\nS: 220 mx ESMTP")
        return
    path = Path(FOLDER.name) / "none.pcap"
    path.write_bytes(data)
    transcript = read(path)
    assert not list(transcript)
    assert "a packet capture without SMTP" in transcript.errors[0]


def test_a_connection_of_the_same_ends_is_another_session() -> None:
    both = [*packets(SAID), *packets(SAID, 500_000)]
    assert dialogs(captured(both)) == WHOLE * 2


def test_sessions_side_by_side() -> None:
    one, other = (packets(SAID, first) for first in (1, 99))
    ends = ("198.51.100.8", 40000), SERVER
    frames = [
        segment(packet, *which)
        for pair in zip(one, other, strict=True)
        for packet, which in zip(pair, ((), ends), strict=True)
    ]
    first, second = dialogs(capture([KINDS["ethernet"][1](frame) for frame in frames]))
    assert first == WHOLE[0]
    assert second.splitlines()[1:] == WHOLE[0].splitlines()[1:]


def test_nobody_listens() -> None:
    (dialog,) = dialogs(captured([("C", SYN, 5, 0, b""), ("S", RST | ACK, 0, 6, b"")]))
    assert dialog == "*: connect 198.51.100.7:55344 -> 192.0.2.25:25\n*: close server"


@given(st.lists(st.tuples(st.sampled_from("CS"), st.binary(min_size=1, max_size=200)), max_size=12), st.booleans())
def test_octets_of_tls_are_one_event(records: list[tuple[str, bytes]], implicit: bool) -> None:
    hello, answer = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", b"\x16\x03\x03\x00\x7a\x02"
    before = [] if implicit else [*SAID[:3], ("C", b"STARTTLS\r\n"), ("S", b"220 Ready\r\n")]
    said = [*before, ("C", hello), ("S", answer), ("C", hello), ("S", answer), *records]
    (dialog,) = dialogs(captured(packets(said), server=("192.0.2.25", 465 if implicit else 25)))
    assert dialog.splitlines()[-3:] == ["*: tls ok", "*: gap octets of TLS", "*: close server"]
    assert len(dialog.splitlines()) == (4 if implicit else 11)


@given(st.binary(max_size=200), st.integers(0, 1500), st.integers(0, 1500))
def test_damage_is_one_sentence(octets: bytes, start: int, stop: int) -> None:
    data = captured(packets(SAID))
    path = Path(FOLDER.name) / "damaged.pcap"
    path.write_bytes(data[:4] + (data[4:start] + octets + data[stop:]))
    transcript = read(path)
    list(transcript)
    assert len(transcript.errors) <= 1 and all(error.startswith(str(path)) for error in transcript.errors)


def test_without_dpkt_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dpkt", None)
    path = Path(FOLDER.name) / "c.pcap"
    path.write_bytes(captured(packets(SAID)))
    result = CliRunner().invoke(app, ["analyze", str(path)])
    assert result.exit_code == 2
    assert "pip install 'smtplog[pcap]'" in result.output and "Traceback" not in result.output
    assert result.output.count("\n") <= 4


def test_holes_without_end_take_linear_time() -> None:
    found = packets([])[:3] + [("C", ACK, 1005 + 2 * i, 1008, b"x") for i in range(30_000)]
    path = Path(FOLDER.name) / "holes.pcap"
    path.write_bytes(captured(found))
    began = time.process_time()
    with path.open("rb") as stream:
        told = sum(line.count(" gap ") for line in lines(segments(stream, str(path)), str(path)))
    assert told == 30_000
    assert time.process_time() - began < 20
