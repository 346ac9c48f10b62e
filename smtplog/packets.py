"""Packet captures: the segments of TCP in a ``.pcap`` or ``.pcapng`` file, by dpkt (the extra ``smtplog[pcap]``).

dpkt knows the files, the link layers and the headers. What two ends said to each other is put together in
:mod:`smtplog.streams`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, BinaryIO, cast

from smtplog.errors import UnreadableError

#: The first octets of such a file: pcap in microseconds and nanoseconds, either byte order; pcapng.
MAGICS = (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x0a\x0d\x0d\x0a")
_LONGEST = 16 << 20  # octets of one frame or block; more is damage
_RAW = (12, 14, 101, 228, 229)  # link types whose frames begin with the header of IP
_ORDERS = (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a")  # pcapng, in its ninth octet


def is_capture(head: bytes) -> bool:
    """Whether a file that begins with these twelve octets is a packet capture."""
    return head[:4] in MAGICS and (head[:4] != MAGICS[-1] or head[8:12] in _ORDERS)


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of TCP (RFC 9293 section 3.1)."""

    time: float | str  #: seconds since 1970 UTC, or the words of a text that says less
    source: tuple[str, int]  #: address and port
    target: tuple[str, int]
    sequence: int
    acknowledged: int | None  #: None without ACK
    syn: bool
    fin: bool
    rst: bool
    data: bytes
    size: int  #: octets that were sent; more than in ``data`` where the capture cut them off


def segments(stream: BinaryIO, path: str) -> Iterator[Segment | None]:
    """The segments of a capture, one item a frame; None for a frame that is no TCP.

    Raises UnreadableError where dpkt is missing, the link layer unknown or the file damaged. A file that ends inside its last
    frame was cut while it was written; what comes before is good.
    """
    dpkt = _dpkt(path)
    magic = cast(Any, stream).peek(4)[:4]
    try:
        capture = (dpkt.pcapng if magic == MAGICS[-1] else dpkt.pcap).Reader(_Careful(stream))
        frame = _frame(dpkt, capture.datalink(), path)
        for time, octets in capture:
            yield _segment(dpkt, float(time), frame, octets)
    except dpkt.NeedData:
        return
    except (dpkt.UnpackError, ValueError, OverflowError) as error:
        raise UnreadableError(f"{path}: the packet capture is damaged ({error}); capture or export it again") from None


def _dpkt(path: str) -> Any:
    try:
        import dpkt
        import dpkt.pcapng
        import dpkt.sll2
    except ImportError:
        raise UnreadableError(
            f"{path} is a packet capture, and what reads it is not installed: pip install 'smtplog[pcap]', or export "
            "the dialog with tshark -r FILE -q -z follow,tcp,ascii,0 and read that"
        ) from None
    return dpkt


class _Careful(io.RawIOBase):
    """A stream that refuses what no capture holds: a size in it may be anything."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST:
            raise ValueError(f"a frame of {size:,} octets")
        return self._stream.read(size)


def _frame(dpkt: Any, link: int, path: str) -> Any:
    """What decodes a frame of this link type."""
    layers = {
        0: dpkt.loopback.Loopback,
        1: dpkt.ethernet.Ethernet,
        9: dpkt.ppp.PPP,
        108: dpkt.loopback.Loopback,
        113: dpkt.sll.SLL,
        276: dpkt.sll2.SLL2,
    }
    if link in _RAW:
        return lambda octets: (dpkt.ip6.IP6 if octets[:1] >= b"\x60" else dpkt.ip.IP)(octets)
    if link not in layers:
        raise UnreadableError(
            f"{path} is a capture of link type {link}, which is not read here; read are Ethernet, Linux cooked, loopback, PPP "
            "and raw IP: capture on such an interface"
        )
    return layers[link]


def _segment(dpkt: Any, time: float, frame: Any, octets: bytes) -> Segment | None:
    try:
        packet = frame(octets)
        while not isinstance(packet, (dpkt.ip.IP, dpkt.ip6.IP6)):
            packet = packet.data
            if isinstance(packet, bytes):
                return None
    except (dpkt.UnpackError, AttributeError, IndexError, ValueError):
        return None  # a frame that is cut off in its headers, or of another protocol
    tcp = packet.data
    if not isinstance(tcp, dpkt.tcp.TCP):
        return None
    flags, data = tcp.flags, bytes(tcp.data)
    header = tcp.off * 4
    if isinstance(packet, dpkt.ip.IP):
        size = packet.len - packet.hl * 4 - header if packet.len else len(data)
    else:
        extensions = sum(each.length for each in packet.all_extension_headers)
        size = packet.plen - extensions - header if packet.plen else len(data)
    return Segment(
        time,
        (_address(packet.src), tcp.sport),
        (_address(packet.dst), tcp.dport),
        tcp.seq,
        tcp.ack if flags & dpkt.tcp.TH_ACK else None,
        bool(flags & dpkt.tcp.TH_SYN),
        bool(flags & dpkt.tcp.TH_FIN),
        bool(flags & dpkt.tcp.TH_RST),
        data[: max(size, 0)],
        max(size, 0),
    )


@lru_cache(1 << 16)
def _address(octets: bytes) -> str:
    address = str(ip_address(octets))
    return f"[{address}]" if ":" in address else address
