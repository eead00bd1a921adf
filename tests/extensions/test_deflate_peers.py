"""permessage-deflate in conversations, with peers that share no code with it.

Bare numbers of sections are those of RFC 7692.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets import frames as ws_frames
from websockets.extensions import permessage_deflate as ws
from wsproto import extensions as wsproto_extensions
from wsproto import frame_protocol as wsproto

from websock._masking import apply_mask
from websock.exceptions import RemoteProtocolError
from websock.extensions.permessage_deflate import PerMessageDeflate
from websock.frames import Frame, Opcode, serialize_frame

from .deflate_tools import (
    DOCUMENT,
    NOISE,
    SMALLEST,
    SWITCHES,
    TAIL,
    TEXT,
    agree,
    compress,
    extension,
    fragments,
    raw,
    receive,
)
from .reference_inflate import Inflater

# Windows, measured by an inflater that looks at each distance


@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.parametrize("level", [1, 6, 9])
def test_no_distance_is_longer_than_the_window(bits: int, level: int) -> None:
    """Not even by what a decompressor of zlib would let pass (7.1.2)."""
    sender = extension(PerMessageDeflate(threshold=0, level=level), bits=bits)
    inflater = Inflater()
    farthest = 0

    for message in (DOCUMENT, TEXT * 20, DOCUMENT, NOISE[:300] + DOCUMENT + b"-" * 60):
        frame = sender.encode(Frame(Opcode.BINARY, message))
        assert frame.rsv1
        assert inflater.inflate(frame.payload) == message
        assert inflater.farthest <= 2**bits
        farthest = max(farthest, inflater.farthest)
    assert farthest == 1 if bits == 8 else farthest > 2 ** min(bits - 2, 12)


@pytest.mark.parametrize("bits", range(8, 16))
def test_shared_frames_refer_to_nothing_before_them(bits: int) -> None:
    """Neither does the first message after one, which is what forgetting is for."""
    sender, inflater = extension(bits=bits), Inflater()

    for message in (TEXT * 9, DOCUMENT, TEXT * 9):
        sender.encode(Frame(Opcode.TEXT, message))
        shared = sender.encode_shared(Frame(Opcode.TEXT, message))
        sender.forget()
        following = sender.encode(Frame(Opcode.TEXT, message))
        for frame in (shared, following):
            assert Inflater().inflate(frame.payload) == message
            assert inflater.inflate(frame.payload) == message


# Round trips with independent peers


class Peer:
    """The other end, in few lines of zlib, as RFC 7692 (7.2) describes it."""

    def __init__(self, bits: int, takeover: bool) -> None:
        self.bits = max(bits, 9)
        self.takeover = takeover
        self.compressor: Any = None
        self.decompressor: Any = None

    def send(self, message: bytes, cuts: list[int], mode: int) -> Iterator[Frame]:
        """Frames of a compressed message, cut at places of the compressed data."""
        if self.compressor is None or not self.takeover or mode == zlib.Z_FINISH:
            self.compressor = raw(self.bits)
        data = compress(self.compressor, message, mode)
        if mode == zlib.Z_FINISH:
            self.compressor = None
        for frame in fragments(data, cuts):
            frame.rsv1 = frame.opcode != Opcode.CONTINUATION
            yield frame

    def receive(self, frames: list[Frame]) -> bytes:
        """Message of some frames."""
        payload = b"".join(frame.payload for frame in frames)
        if not frames[0].rsv1:
            return payload
        if self.decompressor is None or not self.takeover:
            self.decompressor = zlib.decompressobj(-self.bits)
        message: bytes = self.decompressor.decompress(payload + TAIL)
        return message


messages = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(str.encode),
    st.builds(
        lambda unit, n: unit * n,
        st.binary(min_size=1, max_size=40),
        st.integers(0, 200),
    ),
    st.integers(0, len(DOCUMENT)).map(
        lambda start: DOCUMENT[start:] + DOCUMENT[:start]
    ),
    st.integers(0, 4000).map(lambda start: NOISE[start : start + 900]),
    st.sampled_from([b"", TEXT, DOCUMENT, NOISE]),
)
cuts = st.lists(st.integers(0, 6000), max_size=4)
steps = st.lists(
    st.tuples(
        st.sampled_from(["send", "shared", "receive", "finish", "receive plain"]),
        messages,
        cuts,
    ),
    max_size=12,
)
settings = st.builds(
    PerMessageDeflate,
    server_no_context_takeover=st.booleans(),
    client_no_context_takeover=st.booleans(),
    server_max_window_bits=st.integers(8, 15),
    client_max_window_bits=st.integers(8, 15),
    level=st.integers(0, 9),
    mem_level=st.integers(1, 9),
    threshold=st.sampled_from([0, 1, 60, 128, 1000]),
)


@given(settings=settings, steps=steps)
def test_any_conversation_with_a_plain_zlib(
    settings: PerMessageDeflate, steps: list[tuple[str, bytes, list[int]]]
) -> None:
    """Whatever is sent how, alone or shared, plain or compressed, comes out alike."""
    answer = settings.negotiate([("client_max_window_bits", None)])
    assert answer is not None
    server = answer[1]
    down = Peer(
        settings.server_max_window_bits, not settings.server_no_context_takeover
    )
    up = Peer(settings.client_max_window_bits, not settings.client_no_context_takeover)

    for what, message, where in steps:
        if what == "send":
            plain = fragments(message, where)
            assert down.receive([server.encode(frame) for frame in plain]) == message
        elif what == "shared":
            frame = server.encode_shared(Frame(Opcode.BINARY, message))
            if frame.rsv1:
                server.forget()
            assert down.receive([frame]) == message
        else:
            mode = zlib.Z_FINISH if what == "finish" else zlib.Z_SYNC_FLUSH
            frames = (
                fragments(message, where)
                if what == "receive plain"
                else up.send(message, where, mode)
            )
            room = len(message)
            output = b""
            for frame in frames:
                piece = server.decode(frame, max_size=room).payload
                if what != "receive plain":
                    room -= len(piece)
                output += piece
            assert output == message


@given(ours=settings, theirs=settings, steps=steps)
def test_any_conversation_of_our_two_sides(
    ours: PerMessageDeflate,
    theirs: PerMessageDeflate,
    steps: list[tuple[str, bytes, list[int]]],
) -> None:
    """Whatever either side wants, they agree, and understand each other."""
    server, client = agree(ours, theirs)

    for what, message, where in steps:
        ends = (server, client) if what in ("send", "shared") else (client, server)
        if what == "shared":
            frames = [ends[0].encode_shared(Frame(Opcode.BINARY, message))]
            if frames[0].rsv1:
                ends[0].forget()
        else:
            frames = [ends[0].encode(frame) for frame in fragments(message, where)]
        decoded = [ends[1].decode(frame, max_size=None).payload for frame in frames]
        assert b"".join(decoded) == message


@given(payloads=st.lists(st.binary(max_size=200), max_size=5), bits=st.integers(8, 15))
def test_any_payload_is_a_message_or_a_fault(payloads: list[bytes], bits: int) -> None:
    """Whatever comes, the output is bounded and errors are those of the core."""
    end = extension(bits=bits)
    try:
        for payload in payloads:
            assert len(receive(end, payload, 1000)) <= 1000
    except RemoteProtocolError as error:
        assert error.close_code in (1007, 1009)


@given(
    message=messages,
    places=st.lists(
        st.tuples(st.integers(0), st.integers(1, 255)), min_size=1, max_size=3
    ),
)
def test_any_mutation_is_a_message_or_a_fault(
    message: bytes, places: list[tuple[int, int]]
) -> None:
    """Flipped bits in what zlib made reach deeper than noise does."""
    payload = bytearray(compress(raw(), message))
    for place, bits in places:
        payload[place % len(payload)] ^= bits
    try:
        assert len(receive(extension(), bytes(payload), 20_000)) <= 20_000
    except RemoteProtocolError as error:
        assert error.close_code in (1007, 1009)


SIZES = [0, 1, 60, 126, 127, 128, 1000, 5000, 70_000]


def exchanged() -> Iterator[tuple[bytes, list[int]]]:
    """Messages for a conversation with another library, whole and in fragments."""
    for size in SIZES:
        for content in (TEXT * 1200, DOCUMENT * 40, NOISE * 20):
            for where in ([], [0, 30, 200]):
                yield content[:size], where


@pytest.mark.parametrize("server_no", SWITCHES)
@pytest.mark.parametrize("client_no", SWITCHES)
@pytest.mark.parametrize("bits", [None, 9, 12, 15])
@pytest.mark.parametrize("side", ["server", "client"])
def test_websockets_understands(
    side: str, bits: int | None, client_no: bool, server_no: bool
) -> None:
    """The package websockets as the other side, from the offer to the last frame."""
    theirs: Any
    if side == "server":
        factory = ws.ClientPerMessageDeflateFactory(
            server_no, client_no, bits, bits or True
        )
        answer = SMALLEST.negotiate(factory.get_request_params())
        assert answer is not None
        theirs = factory.process_response_params(answer[0], [])
        us = answer[1]
    else:
        server = ws.ServerPerMessageDeflateFactory(server_no, client_no, bits, bits)
        response, theirs = server.process_request_params(
            list(dataclasses.replace(SMALLEST, client_max_window_bits=15).offer()), []
        )
        us = SMALLEST.confirm(
            [item for item in response if item[0] != "client_max_window_bits"]
            if bits == 15
            else response
        )

    for message, where in exchanged():
        output = b""
        for frame in fragments(message, where):
            frame = us.encode(frame)
            opcode = ws_frames.Opcode(frame.opcode)
            received = theirs.decode(
                ws_frames.Frame(opcode, frame.payload, frame.fin, frame.rsv1),
                max_size=100_000,
            )
            output += received.data
        assert output == message
        output = b""
        for frame in fragments(message, where):
            opcode = ws_frames.Opcode(frame.opcode)
            sent = theirs.encode(ws_frames.Frame(opcode, frame.payload, frame.fin))
            ours = Frame(sent.opcode, bytes(sent.data), sent.fin, sent.rsv1)
            output += us.decode(ours, max_size=100_000).payload
        assert output == message


@pytest.mark.parametrize("server_no", SWITCHES)
@pytest.mark.parametrize("client_no", SWITCHES)
def test_wsproto_understands(client_no: bool, server_no: bool) -> None:
    """The package wsproto as the client, from the offer to the last frame."""
    theirs = wsproto_extensions.PerMessageDeflate(client_no, 11, server_no, 10)
    offer: list[tuple[str, str | None]] = []
    for item in str(theirs.offer()).split("; "):
        name, _, value = item.partition("=")
        offer.append((name, value or None))
    answer = SMALLEST.negotiate(offer)
    assert answer is not None
    us = answer[1]
    theirs.finalize(
        "; ".join(
            ["permessage-deflate"]
            + [f"{name}={value}" if value else name for name, value in answer[0]]
        )
    )
    client = wsproto.FrameProtocol(client=True, extensions=[theirs])

    for message, where in exchanged():
        output = b""
        for frame in fragments(message, where):
            client.receive_bytes(serialize_frame(us.encode(frame)))
            for part in client.received_frames():
                assert isinstance(part.payload, bytes | bytearray)
                output += part.payload
        assert output == message
        output = b""
        for frame in fragments(message, where):
            sent = parse(bytes(client.send_data(frame.payload, frame.fin)))
            output += us.decode(sent, max_size=100_000).payload
        assert output == message


def parse(data: bytes) -> Frame:
    """Frame of a client (RFC 6455, 5.2)."""
    size, start = data[1] & 0x7F, 2
    if size >= 126:
        start = 4 if size == 126 else 10
        size = int.from_bytes(data[2:start], "big")
    payload = apply_mask(data[start + 4 :], data[start : start + 4])
    assert len(payload) == size
    first = data[0]
    return Frame(first & 15, payload, bool(first & 0x80), bool(first & 0x40))
