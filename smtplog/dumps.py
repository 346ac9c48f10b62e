"""What tcpdump prints of packets, with their octets (``-A``, ``-X``, ``-XX``, ``-x``): the segments of TCP in it.

A line names the ends, the sequence numbers and how many octets were sent; below it stand the octets of the packet, headers
included, as text (CR is left out, and what is not printable is a dot) or in hexadecimal digits. They go the way of every
capture: :mod:`smtplog.streams`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from smtplog.packets import Segment

_STAMP = r"(?:(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}) )?(?P<clock>[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{1,9})|(?P<epoch>[0-9]{1,11}\.[0-9]{1,9})"
_PACKET = re.compile(
    rf"(?:{_STAMP}) (?:[^ ]+ +(?:In|Out|B|M|P|\?) +)?(?:IP6? |ARP, |AF |(?:[0-9a-f]{{2}}:){{5}}[0-9a-f]{{2}} )"
)
_ENDS = re.compile(
    r"(?P<source>[^ ]+)\.(?P<sport>[a-z0-9-]+) > (?P<target>[^ ]+)\.(?P<tport>[a-z0-9-]+): Flags \[(?P<flags>[A-Za-z.]+)\]"
)
_NUMBERS = re.compile(r"(?:, seq (?P<seq>[0-9]+)(?::[0-9]+)?)?(?:, ack (?P<ack>[0-9]+))?,.* length (?P<size>[0-9]+)")
_HEX = re.compile(r"\t0x[0-9a-f]{4,}:  ((?:[0-9a-f]{2,4} ?)+)")
_OPTIONS = re.compile(r", options \[([^\]]*)\]")
_SIZES = {"nop": 1, "eol": 1, "mss": 4, "sackOK": 2, "TS": 10, "wscale": 3}  # octets of each option
_ABOVE = re.compile(r"(?:reading from|tcpdump: |listening on|dropped privs).*|[ \t]*$")
_PORTS = {"smtp": 25, "urd": 465, "smtps": 465, "submissions": 465, "ssmtp": 465, "submission": 587}
_RELATIVE = 1 << 20  # the first sequence number of a side is its own if it is greater, or counted from the beginning
_LINE = 2000  # characters of what is told of a packet
_BODY = 1 << 18  # characters of one packet; more is no packet
_RECORD = re.compile(r"\.{4}.\.{3}.\.{2}", re.DOTALL)  # how a handshake of TLS begins (RFC 8446 section 5.1), in dots


def is_dump(head: bytes) -> bool:
    """Whether a file that begins with these octets is such a text."""
    for line in head[: 10 * _LINE].decode("latin-1").splitlines()[:20]:
        if not _ABOVE.match(line):
            return _PACKET.match(line) is not None and b": Flags [" in head
    return False


def segments(stream: BinaryIO) -> Iterator[Segment | None]:
    """The segments, one item a line of the text: that of a packet stands for the first of its lines."""
    numbers, packet, body = _Numbers(), "", list[str]()
    for octets in stream:
        line = octets.decode("latin-1").removesuffix("\n").removesuffix("\r")
        if _PACKET.match(line):
            yield from _told(numbers, packet, body)
            packet, body = line, []
        elif packet:
            body.append(line)
        else:
            yield None
    yield from _told(numbers, packet, body)


def _told(numbers: _Numbers, packet: str, body: list[str]) -> Iterator[Segment | None]:
    if packet:
        yield _segment(numbers, packet, body)
        yield from (None for _ in body)


def _segment(numbers: _Numbers, packet: str, body: list[str]) -> Segment | None:
    verbose = bool(body) and body[0].startswith("    ")  # -v: the ends stand on a line of their own
    told = packet[:_LINE] + (body[0][:_LINE] if verbose else "")
    stamp, ends = _PACKET.match(packet), _ENDS.search(told)
    counted = _NUMBERS.match(re.sub(r", cksum [^,]*", "", told[ends.end() :])) if ends else None
    if stamp is None or ends is None or counted is None:
        return None
    source, target = ((ends[host], _port(ends[port])) for host, port in (("source", "sport"), ("target", "tport")))
    flags, size = ends["flags"], int(counted["size"])
    tcp = _tcp(body[verbose:])
    if len(tcp) >= 20:  # it holds the numbers, too
        sequence, acknowledged = int.from_bytes(tcp[4:8]), int.from_bytes(tcp[8:12]) if "ack" in counted[0] else None
        data = tcp[(tcp[12] >> 4) * 4 :][:size]
    else:
        sequence, acknowledged = numbers.relative(
            (source, target), "S" in flags, int(counted["seq"] or -1), int(counted["ack"] or -1)
        )
        data = _data(told, body[verbose:], size)
    return Segment(
        _time(stamp), source, target, sequence, acknowledged, "S" in flags, "F" in flags, "R" in flags, data, size
    )


def _port(name: str) -> int:
    return int(name) if name.isdigit() else _PORTS.get(name, 0)


def _time(stamp: re.Match[str]) -> float | str:
    """Seconds, or the words of the text: the time of day where tcpdump ran, with its date or without."""
    if stamp["epoch"]:
        return float(stamp["epoch"])
    return f"{stamp['date']}T{stamp['clock']}" if stamp["date"] else stamp["clock"]


class _Numbers:
    """Sequence numbers: tcpdump counts them from the first one of a side, which it prints as it is, or not at all (-S)."""

    def __init__(self) -> None:
        self._first: dict[tuple[object, object], int] = {}
        self._absolute: dict[tuple[object, object], bool] = {}
        self._from_0: set[tuple[object, object]] = set()  # what follows the SYN is 0: the other side's SYN is not there

    def relative(
        self, way: tuple[tuple[str, int], tuple[str, int]], syn: bool, sequence: int, acknowledged: int
    ) -> tuple[int, int | None]:
        """Both numbers of a segment, counted from the first."""
        back = way[::-1]
        known = way in self._first
        if syn or (not known and sequence >= _RELATIVE):
            self._first[way], number = sequence, 0
            self._absolute.pop(way, None)
            self._from_0.discard(way)
        else:
            number = self._counted(way, sequence)
        if acknowledged < 0:
            return number, None
        return number, 1 if syn else self._counted(back, acknowledged)

    def _counted(self, way: tuple[object, object], number: int) -> int:
        first = self._first.get(way, 0)
        near = 0 <= number - first < _RELATIVE
        if number >= 0 and way not in self._absolute and first:
            self._absolute[way] = near and number > first
            self._from_0 |= {way} if not number else set()
        return number - first if self._absolute.get(way) else max(number, 0) + (way in self._from_0)


def _data(told: str, body: list[str], size: int) -> bytes:
    """The last octets of a packet that is printed as text."""
    if not size:
        return b""
    text = "\n".join(body)[: _BODY + size]
    said = text[_headers(told) :]
    if _RECORD.match(said):
        return b"\x16\x03\x01" + said[3:].encode("latin-1")
    left_out = size - len(said)
    if not left_out:
        return said.encode("latin-1")
    if left_out != said.count("\n"):
        at, left = len(text), size
        while at and left > 0:
            at -= 1
            left -= 2 if text[at] == "\n" else 1
        said = text[at:]
    return said.replace("\n", "\r\n").encode("latin-1")  # the CR before it is left out


def _headers(told: str) -> int:
    """How many octets the headers of IP and TCP have (RFC 9293 section 3.1), if that of IP has no options."""
    options = _OPTIONS.search(told)
    size = 0
    for option in options[1].split(",") if options else ():
        name, _, rest = option.partition(" ")
        size += 2 + 8 * int(rest.split()[0]) if name == "sack" and rest[:1].isdigit() else _SIZES.get(name, 0)
    return (60 if re.search(r" IP6 |\(0x86dd\)", told) else 40) + -(-size // 4) * 4


def _tcp(body: list[str]) -> bytes:
    """The octets of TCP of a packet in hexadecimal digits, without what fills a short frame; none if there are no digits."""
    digits = "".join(match[1] for line in body if (match := _HEX.match(line)))
    digits = digits.replace(" ", "")
    octets = bytes.fromhex(digits[: len(digits) // 2 * 2])
    for link in (0, 4, 14, 16, 18, 20):  # the header of the link layer, if it is printed (-XX)
        packet = octets[link:]
        version = packet[0] >> 4 if packet else 0
        header, extent = (40, int.from_bytes(packet[4:6]) + 40) if version == 6 else (0, int.from_bytes(packet[2:4]))
        header = (packet[0] & 15) * 4 if version == 4 else header
        protocol = packet[6:7] if version == 6 else packet[9:10]
        if version in (4, 6) and protocol == b"\x06" and extent >= header + 20:
            return packet[header:extent]
    return b""
