"""Logs that show the octets of the wire: however a program cut them, the dialog is the same."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtplog import read
from smtplog.script import show

FOLDER = tempfile.TemporaryDirectory()
HEAD = "\n{rule}\nFollow: tcp,{form}\nFilter: tcp.stream eq 0\nNode 0: 198.51.100.7:55344\nNode 1: 192.0.2.25:25\n"
SESSION = [
    ("S", b"220 mx.example.net ESMTP\r\n"),
    ("C", b"EHLO client.example.org\r\n"),
    ("S", b"250-mx.example.net\r\n250-STARTTLS\r\n250 CHUNKING\r\n"),
    ("C", b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\n"),
    ("S", b"250 Ok\r\n250 Ok\r\n"),
]
GOOD_BYE = [("C", b"QUIT\r\n"), ("S", b"221 Bye\r\n")]
TEXT = st.lists(
    st.sampled_from([b"250 Ok", b"QUIT", b"42", b"\t7", b"", b"BDAT 5", b"Follow: tcp,raw", b"x" * 70]), max_size=6
)

Said = list[tuple[str, bytes]]


def followed(chunks: Said, form: str) -> bytes:
    """What tshark prints of these chunks."""
    out = HEAD.format(rule="=" * 67, form=form).encode()
    at = {"C": 0, "S": 0}
    for side, octets in chunks:
        tab = b"\t" if side == "S" else b""
        if form == "ascii":
            out += tab + str(len(octets)).encode() + b"\n" + octets + b"\n"
        elif form == "raw":
            out += tab + octets.hex().encode() + b"\n"
        else:
            for i in range(0, len(octets), 16):
                row = octets[i : i + 16]
                shown = "".join(chr(c) if 32 <= c < 127 else "." for c in row)
                out += tab + f"{at[side] + i:08X}  {row.hex(' ')}   {shown}\n".encode()
            at[side] += len(octets)
    return out + b"=" * 67 + b"\n"


def dialogs(data: bytes) -> list[str]:
    path = Path(FOLDER.name) / "log"
    path.write_bytes(data)
    return [show(dialog) for dialog in read(path, input_format="tshark-follow", show_secrets=True)]


@st.composite
def cut(draw: st.DrawFn, said: Said) -> Said:
    """The same octets in other chunks."""
    chunks: Said = []
    for side, octets in said:
        edges = sorted({0, len(octets), *draw(st.lists(st.integers(0, len(octets)), max_size=5))})
        chunks += [(side, octets[a:b]) for a, b in itertools.pairwise(edges)]
    return chunks


@given(st.data(), TEXT, st.sampled_from(["ascii", "hex", "raw"]))
def test_chunks_of_any_size_tell_the_same(data: st.DataObject, lines: list[bytes], form: str) -> None:
    text = b"".join(line + b"\r\n" for line in lines)
    said = [*SESSION, ("C", b"DATA\r\n"), ("S", b"354 Go ahead\r\n"), ("C", text + b".\r\n"), ("S", b"250 Ok\r\n")]
    said += GOOD_BYE
    whole = dialogs(followed(said, "ascii"))
    assert len(whole) == 1 and whole[0].endswith("C: QUIT\nS: 221 Bye\n")
    assert dialogs(followed(data.draw(cut(said)), form)) == whole


@given(st.data(), st.binary(max_size=60), st.sampled_from(["hex", "raw"]))
def test_a_chunk_of_bdat_ends_where_its_octets_end(data: st.DataObject, chunk: bytes, form: str) -> None:
    chunk = b"x" + chunk  # no TLS
    said = [*SESSION, ("C", b"BDAT %d\r\n%bBDAT 0 LAST\r\n" % (len(chunk), chunk)), ("S", b"250 Ok\r\n250 Ok\r\n")]
    path = Path(FOLDER.name) / "log"
    path.write_bytes(followed(data.draw(cut([*said, *GOOD_BYE])), form))
    (dialog,) = read(path, input_format="tshark-follow")
    assert [exchange.verb for exchange in dialog.exchanges][-3:] == ["BDAT", "BDAT", "QUIT"]
    assert all(exchange.reply for exchange in dialog.exchanges)


@given(st.lists(st.tuples(st.sampled_from("CS"), st.binary(min_size=1, max_size=40)), max_size=8))
def test_octets_of_tls_are_no_lines(records: Said) -> None:
    hello = ("C", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03rest\r\nMAIL FROM:<x@example.org>\r\n")
    answer = ("S", b"\x16\x03\x03\x00\x7a\x02250 no reply\r\n")
    said = [*SESSION[:3], ("C", b"STARTTLS\r\n"), ("S", b"220 Ready\r\n"), hello, answer, *records]
    path = Path(FOLDER.name) / "log"
    path.write_bytes(followed(said, "raw"))
    (dialog,) = read(path, input_format="tshark-follow")
    assert [exchange.verb for exchange in dialog.exchanges] == ["EHLO", "STARTTLS"]
    assert {event.kind for event in dialog.events} <= {"opened", "tls", "gap", "note"}


@pytest.mark.parametrize("alert, text", [("S", "failed"), ("C", "failed"), ("", "ok")])
def test_an_alert_ends_a_handshake(alert: str, text: str) -> None:
    record, bad = b"\x16\x03\x01\x00\x01\x01", b"\x15\x03\x03\x00\x02\x02\x28"
    said = [("S", b"220 mx.example.net ESMTP\r\n"), ("C", b"STARTTLS\r\n"), ("S", b"220 Ready\r\n"), ("C", record)]
    said += [("S", bad)] if alert == "S" else [("S", record), ("C", bad if alert == "C" else record), ("S", record)]
    path = Path(FOLDER.name) / "log"
    path.write_bytes(followed(said, "hex"))
    (dialog,) = read(path, input_format="tshark-follow")
    assert [event.text for event in dialog.events if event.kind == "tls"] == [text]


@pytest.mark.parametrize("form", ["ascii", "hex", "raw"])
def test_the_payloads_say_which_node_is_the_server(form: str) -> None:
    other: Said = [("C" if side == "S" else "S", octets) for side, octets in [*SESSION, *GOOD_BYE]]
    assert dialogs(followed(other, form)) == dialogs(followed([*SESSION, *GOOD_BYE], form))
