"""SPDY frames: what a client sends is understood in any pieces, and what no client sends ends the connection."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.web import spdy


class Client:
    """The other side."""

    def __init__(self) -> None:
        self.deflate = zlib.compressobj(zdict=spdy.DICTIONARY)
        self.inflate = zlib.decompressobj(zdict=spdy.DICTIONARY)

    def open(self, stream: int, flags: int = 0, **headers: str) -> bytes:
        block = struct.pack(">I", len(headers))
        for text in (text for pair in headers.items() for text in pair):
            block += struct.pack(">I", len(text)) + text.encode()
        packed = self.deflate.compress(block) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        return frame(1, struct.pack(">IIH", stream, 0, 0) + packed, flags)


def frame(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack(">II", 0x80030000 | kind, flags << 24 | len(body)) + body


def test_the_dictionary_is_the_specifications() -> None:
    """Its checksum is what every client's first header names."""
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


@given(st.data())
def test_frames_in_any_pieces(data: st.DataObject) -> None:
    """Headers keep their compression from stream to stream; settings and the like are passed over."""
    client, connection = Client(), spdy.Connection()
    sent = b"".join(
        (
            client.open(1, Streamtype="error", port="80", requestID="0"),
            frame(4, struct.pack(">III", 1, 4, 100)),
            client.open(3, 1, Streamtype="data", port="80", requestID="0"),
            struct.pack(">II", 3, 5) + b"hello",
            frame(9, struct.pack(">II", 3, 5)),
            struct.pack(">II", 3, spdy.FIN << 24),
            frame(6, b"\0\0\0\7"),
            frame(3, struct.pack(">II", 1, 5)),
            frame(7, struct.pack(">II", 3, 0)),
        )
    )
    events = []
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        events += connection.receive(sent[:size])
        sent = sent[size:]
    assert events == [
        spdy.Opened(1, {"streamtype": "error", "port": "80", "requestid": "0"}, False),
        spdy.Opened(3, {"streamtype": "data", "port": "80", "requestid": "0"}, True),
        spdy.Data(3, b"hello", False),
        spdy.Data(3, b"", True),
        spdy.Pinged(frame(6, b"\0\0\0\7")),
        spdy.Reset(1),
        spdy.Closed(),
    ]


def test_what_is_sent() -> None:
    """Replies with empty headers, data with its end, resets."""
    client, connection = Client(), spdy.Connection()
    for stream in (1, 3):
        reply = connection.reply(stream)
        assert struct.unpack_from(">IIxxxx", reply)[0] == 0x80030002
        assert client.inflate.decompress(reply[12:]) == b"\0\0\0\0"
    assert connection.data(3, b"ab") == b"\0\0\0\3\0\0\0\2ab"
    assert connection.data(3, b"", is_last=True) == b"\0\0\0\3\1\0\0\0"
    assert connection.reset(3) == frame(3, struct.pack(">II", 3, 5))


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack(">II", 0x80020001, 0),
        struct.pack(">II", 1, 0xFFFFFF),
        frame(1, b""),
        frame(1, struct.pack(">IIH", 1, 0, 0) + b"no zlib"),
        frame(1, struct.pack(">IIH", 1, 0, 0) + zlib.compress(b"\xff\xff\xff\xff")),
        frame(6, b"")[:4] + b"\0\0\0\0",
    ],
)
def test_what_no_client_sends(sent: bytes) -> None:
    """Ends the connection, if it means anything at all."""
    try:
        list(spdy.Connection().receive(sent))
    except spdy.SpdyError:
        return
    assert sent[:4] == frame(6, b"")[:4]


def test_a_bomb_of_headers_is_refused() -> None:
    """However small it is packed."""
    client = Client()
    with pytest.raises(spdy.SpdyError, match="more than a megabyte"):
        list(spdy.Connection().receive(client.open(1, a="x" * (2 << 20))))


@given(st.binary(max_size=200))
def test_noise(data: bytes) -> None:
    """Is either not a whole frame, or passed over, or refused."""
    try:
        list(spdy.Connection().receive(data))
    except spdy.SpdyError:
        pass
