"""Attacks with frames: B1 to B17 of the list of attacks.

Where a frame gives itself away in its header, no more than that is sent: an answer
that waited for more would not come.
"""

from __future__ import annotations

import queue
import zlib
from typing import Any

import pytest

from ...tools import wait_until
from ..wire import DEADLINE
from .conftest import MakeArena
from .kit import (
    DEFLATE,
    EMPTY_MASK,
    FIN,
    KEY,
    RSV1,
    RSV2,
    RSV3,
    SECRET,
    compress,
    cpu_time,
    frame,
    growth_is_linear,
    header,
    inflate,
    request,
    traced,
)

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

WITH_DEFLATE = {"Sec_WebSocket_Extensions": DEFLATE}

MIB = 2**20


def fails(make: MakeArena, data: bytes, code: int, words: str, **headers: str) -> None:
    """Send frames that must fail the connection, while the others go on."""
    with make() as arena:
        with arena.attacker().open(**headers) as peer:
            peer.write(data)

            assert peer.closes(code)

        client, closed_with, _ = arena.closed.get(timeout=DEADLINE)
        assert (client.address[1], closed_with) == (peer.port, code)
        assert words in arena.lines(peer)[0]


def test_b1_unmasked_frame(arena: MakeArena) -> None:
    """A client's frames are masked; the first one that isn't ends it (5.1)."""
    fails(arena, b"\x81\x05hello", 1002, "frame isn't masked")


def test_b1_unmasked_frame_is_refused_from_its_header(arena: MakeArena) -> None:
    """Two bytes are enough, whatever they announce."""
    fails(arena, b"\x82\x7f", 1002, "frame isn't masked")


@pytest.mark.parametrize("opcode", [*range(3, 8), *range(11, 16)])
@pytest.mark.parametrize("size", [0, 1, 127])
def test_b2_reserved_opcodes(tcp_arena: MakeArena, opcode: int, size: int) -> None:
    """Opcodes without a meaning get 1002, from two bytes (5.2)."""
    data = bytes([FIN | opcode, 0x80 | size])

    fails(tcp_arena, data, 1002, f"reserved opcode {opcode}")


@pytest.mark.parametrize("bit", [RSV1, RSV2, RSV3, RSV1 | RSV2 | RSV3])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CLOSE, PING, PONG])
def test_b3_reserved_bits_without_an_extension(
    tcp_arena: MakeArena, bit: int, opcode: int
) -> None:
    """Bits that nobody agreed on get 1002, from two bytes (5.2; CVE-2026-59881)."""
    data = bytes([FIN | bit | opcode, 0x80 | 5])

    fails(tcp_arena, data, 1002, "reserved bit")


@pytest.mark.parametrize(
    "first",
    [
        FIN | RSV2 | TEXT,
        FIN | RSV3 | TEXT,
        FIN | RSV1 | RSV3 | TEXT,
        FIN | RSV1 | PING,
        FIN | RSV1 | PONG,
        FIN | RSV1 | CLOSE,
    ],
)
def test_b3_reserved_bits_beside_compression(arena: MakeArena, first: int) -> None:
    """With compression, RSV1 has a meaning on data frames, and no other bit has."""
    fails(arena, bytes([first, 0x80]), 1002, "reserved bit", **WITH_DEFLATE)


@pytest.mark.parametrize("fin", [0, FIN])
@pytest.mark.parametrize("rsv1", [0, RSV1])
def test_b3_rsv1_on_a_continuation(arena: MakeArena, fin: int, rsv1: int) -> None:
    """The first frame says for all whether a message is compressed (RFC 7692, 6.1)."""
    data = frame(rsv1 | TEXT) + bytes([fin | RSV1 | CONTINUATION, 0x80])

    fails(arena, data, 1002, "reserved bit", **WITH_DEFLATE)


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [126, 127])
def test_b4_long_control_frame(arena: MakeArena, opcode: int, size: int) -> None:
    """More than 125 bytes get 1002, from two bytes (5.5)."""
    data = bytes([FIN | opcode, 0x80 | size])

    fails(arena, data, 1002, "control frame of more than 125 bytes")


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_b5_fragmented_control_frame(arena: MakeArena, opcode: int) -> None:
    """Control frames come whole, or get 1002 (5.5)."""
    fails(arena, bytes([opcode, 0x80]), 1002, "fragmented control frame")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (bytes([FIN | CONTINUATION, 0x80]), "continuation of no message"),
        (bytes([CONTINUATION, 0x80]), "continuation of no message"),
        (frame(TEXT) + bytes([FIN | TEXT, 0x80]), "new message inside"),
        (frame(TEXT, b"a") + bytes([BINARY, 0x80]), "new message inside"),
        (frame(BINARY) + frame(0) + bytes([FIN | TEXT, 0x80]), "new message inside"),
    ],
)
def test_b6_fragments_out_of_order(arena: MakeArena, data: bytes, words: str) -> None:
    """A continuation continues, and nothing else does (5.4)."""
    fails(arena, data, 1002, words)


def test_b6_continuation_after_the_end(arena: MakeArena) -> None:
    """A message has one end; it's delivered, and what follows is refused."""
    with arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(TEXT, b"a") + frame(FIN, b"b") + bytes([FIN, 0x80]))

        assert peer.receive() == "ab"
        assert peer.closes(1002, "continuation of no message")


@pytest.mark.parametrize(
    ("length", "code"),
    [
        (1 << 63, 1002),
        ((1 << 64) - 1, 1002),
        ((1 << 63) - 1, 1009),
        (1 << 32, 1009),
        ((1 << 32) + 5, 1009),
        (2 * MIB, 1009),
    ],
)
@pytest.mark.parametrize("first", [FIN | TEXT, BINARY, FIN | RSV1 | TEXT])
def test_b7_enormous_lengths_are_refused_before_anything_is_allocated(
    arena: MakeArena, length: int, code: int, first: int
) -> None:
    """The length alone decides (CVE-2020-27813, CVE-2020-13935)."""
    data = bytes([first, 0xFF]) + length.to_bytes(8, "big")

    with arena() as scene:
        with scene.attacker().open(**WITH_DEFLATE) as peer, traced() as memory:
            peer.write(data)

            assert peer.closes(code)

        assert memory.peak < MIB


@pytest.mark.parametrize("headers", [{}, WITH_DEFLATE], ids=["plain", "deflate"])
def test_b7_one_byte_more_than_the_limit_is_refused_from_the_header(
    arena: MakeArena, headers: dict[str, str]
) -> None:
    """What isn't compressed is as long as it says, whatever was agreed on."""
    data = bytes([FIN | BINARY, 0xFF]) + (MIB + 1).to_bytes(8, "big")

    with arena() as scene, scene.attacker().open(**headers) as peer:
        peer.write(data)

        assert peer.closes(1009)


def test_b7_fragments_count_what_was_there_before(arena: MakeArena) -> None:
    """A continuation that would go over the limit is refused from its header."""
    data = frame(BINARY, bytes(MIB)) + header(FIN, 1)[:2]

    fails(arena, data, 1009, "over the limit")


def test_b7_message_as_long_as_the_limit_passes(arena: MakeArena) -> None:
    """The limit is the last length that is served."""
    with arena() as scene, scene.attacker().open() as peer:
        assert peer.echoes(bytes(MIB))
        assert peer.leave()


@pytest.mark.parametrize(
    "data",
    [
        b"\x81\xfe\x00\x05",
        b"\x81\xfe\x00\x7d",
        b"\x81\xff\x00\x00\x00\x00\x00\x00\x00\x05",
        b"\x81\xff\x00\x00\x00\x00\x00\x00\x00\x7e",
        b"\x81\xff\x00\x00\x00\x00\x00\x00\xff\xff",
        b"\x81\xff\x00\x00\x00\x00\x00\x00\x00\x00",
    ],
    ids=bytes.hex,
)
def test_b8_lengths_in_more_bytes_than_they_need(arena: MakeArena, data: bytes) -> None:
    """A length has one form, the shortest one (5.2)."""
    fails(arena, data, 1002, "shortest form")


@pytest.mark.slow
@pytest.mark.usefixtures("_one_byte_reads")
def test_b9_dripped_payload_takes_no_more_memory_than_it_has(
    arena: MakeArena,
) -> None:
    """What is announced isn't allocated, and single bytes aren't kept as objects."""
    size = 16_000

    with arena() as scene, scene.attacker().open() as peer:
        peer.write(header(FIN | BINARY, MIB))
        scene.others_live()
        with traced() as memory:
            peer.write_bytewise(bytes(size))
            client = scene.client_of(peer)
            assert wait_until(lambda: not client._connection.has_unread_data())

        assert memory.left < 2 * size + 100_000


@pytest.mark.slow
@pytest.mark.usefixtures("_one_byte_reads")
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_b9_dripped_payload_costs_linear_time(
    tcp_arena: MakeArena, compressed: bool
) -> None:
    """No byte is looked at again because it came alone."""
    headers = WITH_DEFLATE if compressed else {}
    first = FIN | BINARY | (RSV1 if compressed else 0)

    with tcp_arena() as scene, scene.attacker().open(**headers) as peer:
        assert peer.echoes("here")
        thread = scene.client_thread()

        def cost(size: int) -> float:
            before = cpu_time(thread)
            # Bytes that don't compress, and an answer of the same size.
            payload = b"".join(
                hash((n, "b9")).to_bytes(8, "big", signed=True)
                for n in range(size // 8)
            )
            peer.write(frame(first, compress(payload) if compressed else payload))
            received = peer.read_frame()
            got = inflate(received.payload) if received.rsv1 else received.payload
            assert got == payload
            return cpu_time(thread) - before

        assert growth_is_linear(cost, 32768, 8)


@pytest.mark.parametrize(
    "data",
    [
        frame(FIN | TEXT, b"short"),
        frame(FIN | TEXT, b"m" * 200),
        frame(FIN | BINARY, b"l" * 65536),
    ],
    ids=["7 bits", "16 bits", "64 bits"],
)
def test_b10_header_split_at_every_byte(arena: MakeArena, data: bytes) -> None:
    """A frame may be cut anywhere; the cut is no part of it."""
    size = len(data)
    ends = [*range(1, min(size, 18)), size - 1]

    with arena() as scene, scene.attacker().open() as peer:
        client = scene.client_of(peer)
        for end in ends:
            peer.write(data[:end])
            assert wait_until(lambda: not client._connection.has_unread_data())
            peer.write(data[end:])
            assert len(peer.receive()) == size - header_size(data)
        assert peer.leave()


def header_size(data: bytes) -> int:
    """Size of the header of a frame."""
    return 6 + {126: 2, 127: 8}.get(data[1] & 0x7F, 0)


@pytest.mark.usefixtures("_one_byte_reads")
def test_b10_frames_read_byte_by_byte(arena: MakeArena) -> None:
    """All kinds of frames, and every cut at once."""
    data = (
        frame(TEXT, "grü".encode())
        + frame(FIN | PING, b"between")
        + frame(CONTINUATION)
        + frame(FIN, "ße".encode())
        + frame(FIN | BINARY, b"m" * 200)
        + frame(FIN | CLOSE, b"\x03\xe8bye")
    )

    with arena() as scene, scene.attacker().open() as peer:
        peer.write(data)

        assert peer.read_frame().payload == b"between"
        assert peer.receive() == "grüße"
        assert peer.receive() == b"m" * 200
        assert peer.closes(1000, "bye")


def test_b10_ten_thousand_frames_in_one_packet(arena: MakeArena) -> None:
    """Each one is a message with an echo, in their order."""
    with arena() as scene, scene.attacker().open() as peer:
        peer.write(b"".join(frame(FIN | TEXT, b"%d" % n) for n in range(10_000)))

        assert [peer.receive() for _ in range(10_000)] == [*map(str, range(10_000))]
        assert peer.leave()


@pytest.mark.parametrize("piece", [b"a", b""], ids=["one byte", "empty"])
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_b11_fragments_without_end(
    arena: MakeArena, piece: bytes, compressed: bool
) -> None:
    """More fragments than the limit get 1009, empty ones too (CVE-2026-48779)."""
    first = BINARY | (RSV1 if compressed else 0)
    # Of a compressed message, the pieces must be a stream: bytes in stored blocks.
    if compressed and piece:
        piece = b"\0\x01\0\xfe\xffa"

    with arena() as scene, scene.attacker().open(**WITH_DEFLATE) as peer:
        peer.write(frame(first, piece) + frame(CONTINUATION, piece) * 4095)
        scene.others_live()
        peer.write(frame(CONTINUATION, piece)[:6])

        assert peer.closes(1009, "number of fragments over the limit: 4097 > 4096")


def test_b11_idle_within_a_message_keeps_what_came_and_no_more(
    arena: MakeArena,
) -> None:
    """One fragment before the limit, the peer may still end its message."""
    with arena() as scene, scene.attacker().open() as peer, traced() as memory:
        peer.write(frame(TEXT, b"a") + frame(CONTINUATION, b"b") * 4094)
        scene.others_live()
        peer.write(frame(FIN, b"c"))

        assert peer.receive() == "a" + "b" * 4094 + "c"
        assert memory.peak < MIB
        assert peer.leave()


def test_b11_idle_for_ever_within_a_message_is_found_dead(arena: MakeArena) -> None:
    """Who answers no Ping is dropped, with what it sent."""
    options = {"ping_interval": 0.2, "ping_timeout": 2.0}

    with arena(**options) as scene, scene.attacker(lines=None).open() as peer:
        peer.write(frame(BINARY, bytes(500_000)))
        assert peer.read_frame().opcode == PING

        with pytest.raises((EOFError, OSError)):
            peer.read_frame()

        client, code, _ = scene.closed.get(timeout=DEADLINE)
        assert (client.address[1], code) == (peer.port, 1006)
        assert wait_until(scene.is_back_to_the_bystander)


def test_b12_sum_of_fragments_over_the_limit(arena: MakeArena) -> None:
    """``max_size`` is about messages, however small their pieces are."""
    data = frame(BINARY, b"a" * 1000) + frame(CONTINUATION, b"a" * 1000) * 1048

    fails(arena, data, 1009, "message size over the limit: 1049000 > 1048576")


@pytest.mark.parametrize("size", [MIB, MIB + 1])
def test_b12_limit_counts_what_compression_hides(arena: MakeArena, size: int) -> None:
    """The size after decompression counts, to the byte."""
    with arena() as scene, scene.attacker().open(**WITH_DEFLATE) as peer:
        peer.write(frame(FIN | RSV1 | BINARY, compress(b"a" * size)))

        if size > MIB:
            assert peer.closes(1009)
        else:
            assert inflate(peer.read_frame().payload) == b"a" * size
            assert peer.leave()


def test_b12_limit_counts_what_compression_hides_in_fragments(
    arena: MakeArena,
) -> None:
    """Pieces that are small on the wire add up to what they are."""
    data = compress(b"a" * (2 * MIB))
    pieces = [data[n : n + 100] for n in range(0, len(data), 100)]
    frames = [frame(RSV1 | BINARY, pieces[0])]
    frames += [frame(CONTINUATION, piece) for piece in pieces[1:]]

    fails(arena, b"".join(frames), 1009, "over the limit", **WITH_DEFLATE)


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "compressed"])
def test_b13_fragments_cost_linear_time(tcp_arena: MakeArena, compressed: bool) -> None:
    """A hundred thousand fragments aren't measured or joined again and again."""
    first = TEXT | (RSV1 if compressed else 0)
    # Pieces of ten bytes make copies that are too many dear enough to be seen.
    piece = b"\0\x0a\0\xf5\xffaaaaaaaaaa" if compressed else b"a" * 10
    # The last block of a message is an empty one (RFC 7692, 7.2.1).
    last = piece + b"\0" if compressed else piece
    headers = WITH_DEFLATE if compressed else {}

    options = {"max_fragments": 200_000}
    with tcp_arena(**options) as scene, scene.attacker().open(**headers) as peer:
        assert peer.echoes("here")
        thread = scene.client_thread()
        decompressor = zlib.decompressobj(-15)

        def cost(fragments: int) -> float:
            before = cpu_time(thread)
            middle = frame(CONTINUATION, piece) * (fragments - 2)
            peer.write(frame(first, piece) + middle + frame(FIN, last))
            received = peer.read_frame()
            got = received.payload
            if received.rsv1:
                got = inflate(got, decompressor)
            assert got == b"a" * (10 * fragments)
            return cpu_time(thread) - before

        assert growth_is_linear(cost, 12_500, 8)
        assert peer.leave()


def test_b14_control_frames_between_fragments(arena: MakeArena) -> None:
    """They are answered at once, and the message around them is whole (5.4)."""
    with arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(TEXT, "grü".encode()[:3]) + frame(FIN | PING, b"one"))
        assert peer.read_frame().payload == b"one"
        peer.write(frame(FIN | PONG, b"unasked") + frame(CONTINUATION, b"\xbc"))
        peer.write(frame(FIN | PING) + frame(FIN, "ße".encode()))

        pong = peer.read_frame()
        assert (pong.opcode, pong.payload) == (PONG, b"")
        assert peer.receive() == "grüße"
        assert peer.leave()


def test_b14_control_frames_between_compressed_fragments(arena: MakeArena) -> None:
    """A Pong before and between compressed frames changes nothing of their state."""
    data = compress(b"compressed " * 50)

    with arena() as scene, scene.attacker().open(**WITH_DEFLATE) as peer:
        peer.write(frame(FIN | PONG, b"first"))
        decompressor = zlib.decompressobj(-15)
        for _ in range(2):
            peer.write(frame(RSV1 | TEXT, data[:7]) + frame(FIN | PING, b"p"))
            peer.write(frame(CONTINUATION) + frame(FIN | PONG))
            peer.write(frame(FIN, data[7:]))
            assert peer.read_frame().payload == b"p"
            received = peer.read_frame()
            assert received.rsv1
            assert inflate(received.payload, decompressor) == b"compressed " * 50
        assert peer.leave()


def test_b14_close_between_fragments(arena: MakeArena) -> None:
    """A Close frame ends a message that has no end, and is answered (5.5.1)."""
    with arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(TEXT, b"half") + frame(FIN | CLOSE, b"\x03\xe8"))

        assert peer.closes(1000)


def test_b15_data_after_a_close_frame_is_ignored(arena: MakeArena) -> None:
    """Nothing counts any more, not even a fault or a second Close (1.4, 5.5.1)."""
    received: queue.Queue[str] = queue.Queue()

    def on_data_receive(client: Any, data: str) -> None:
        client.send(data)
        if not data.startswith("echo"):
            received.put(data)

    after = (
        frame(FIN | TEXT, b"ignored") + frame(FIN | CLOSE, b"\x03\xe9") + b"\xff" * 99
    )

    with arena(on_data_receive=on_data_receive) as scene:
        with scene.attacker().open() as peer:
            peer.write(
                frame(FIN | TEXT, b"before") + frame(FIN | CLOSE, b"\x0f\xa0") + after
            )

            assert peer.receive() == "before"
            assert peer.closes(4000)

        client, code, _ = scene.closed.get(timeout=DEADLINE)
        assert (client.address[1], code) == (peer.port, 4000)
        assert received.get_nowait() == "before"
        assert received.empty()


def test_b15_close_and_silence_costs_close_timeout(arena: MakeArena) -> None:
    """Who keeps its side open after the closing handshake is cut off."""
    with arena(close_timeout=0.5) as scene, scene.attacker().open() as peer:
        peer.send_close(1000)
        assert peer.closes(1000)

        assert wait_until(scene.is_back_to_the_bystander)


def test_b15_fault_and_silence_costs_close_timeout(arena: MakeArena) -> None:
    """The same goes for who was told 1002, and never answers."""
    with arena(close_timeout=0.5) as scene, scene.attacker().open() as peer:
        peer.write(b"\x81\x05")
        assert peer.closes(1002)

        assert wait_until(scene.is_back_to_the_bystander)


def test_b15_end_of_the_stream_without_close(tcp_arena: MakeArena) -> None:
    """Who ends its side gets the echoes that are due, and the end of the other one."""
    with tcp_arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(FIN | TEXT, b"one") + frame(FIN | TEXT, b"two"))
        peer.socket.shutdown(1)

        assert peer.receive() == "one"
        assert peer.receive() == "two"
        assert peer.read_to_end() == b""
        assert scene.closed.get(timeout=DEADLINE)[1] == 1006


def test_b15_end_of_the_stream_within_a_frame(arena: MakeArena) -> None:
    """Half a frame is nothing, once it can't become a whole one."""
    with arena() as scene:
        with scene.attacker().open() as peer:
            peer.write(header(FIN | BINARY, 1000) + b"half")

        assert scene.closed.get(timeout=DEADLINE)[1] == 1006


@pytest.mark.parametrize("size", [0, 1, 124, 125])
def test_b16_ping_is_answered_with_its_payload(arena: MakeArena, size: int) -> None:
    """Exactly as it came, also the longest one, and an empty one (5.5.3)."""
    payload = bytes(range(size))

    with arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(FIN | PING, payload))

        pong = peer.read_frame()
        assert (pong.opcode, pong.payload, pong.fin) == (PONG, payload, True)
        assert peer.leave()


def test_b16_messages_without_content(arena: MakeArena) -> None:
    """An empty message is one, in one frame or in several empty ones."""
    with arena() as scene, scene.attacker().open() as peer:
        assert peer.echoes("")
        assert peer.echoes(b"")
        peer.write(frame(BINARY) + frame(CONTINUATION) + frame(FIN))
        assert peer.receive() == b""
        peer.write(frame(TEXT) + frame(FIN))
        assert peer.receive() == ""
        assert peer.leave()


def test_b17_mask_of_zeros_and_a_payload_that_looks_like_http(
    arena: MakeArena,
) -> None:
    """A mask that hides nothing is a mask; what it carries is a message (10.3)."""
    payload = request(line=b"GET /smuggled HTTP/1.1")

    with arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(FIN | TEXT, payload, key=EMPTY_MASK))

        assert peer.receive() == payload.decode()
        assert peer.leave()
        assert scene.requests == ["/bystander", "/"]


def test_payloads_stay_out_of_the_log(arena: MakeArena) -> None:
    """Neither messages nor pings nor reasons of peers are quoted."""
    secret = SECRET.encode()

    with arena() as scene:
        with scene.attacker().open() as peer:
            assert peer.echoes(SECRET)
            peer.write(frame(FIN | PING, secret))
            assert peer.read_frame().payload == secret
            peer.write(frame(FIN | CLOSE, b"\x03\xe8" + secret))
            assert peer.closes(1000, SECRET)
        with scene.attacker().open() as peer:
            peer.write(frame(FIN | TEXT, secret + b"\xff"))
            assert peer.closes(1007)
        with scene.attacker().open() as peer:
            peer.write(frame(FIN | CLOSE, b"\x03\xed" + secret))
            assert peer.closes(1002)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x05", 1002),
        (frame(FIN | TEXT, b"\xff"), 1007),
        (b"\x82\xff" + (2**40).to_bytes(8, "big"), 1009),
        (frame(FIN | CLOSE, b"\x03\xe8"), 1000),
    ],
)
def test_close_reaches_a_peer_that_goes_on_sending(
    flooded_arena: MakeArena, data: bytes, code: int
) -> None:
    """All of it, and then the end, though megabytes come in all the while."""
    with flooded_arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(FIN | TEXT, b"due") + data)
        peer.data = peer.write_while_reading(b"z" * 65536, 8 * MIB)

        assert peer.receive() == "due"
        frame_of_close = peer.data
        assert frame_of_close[0] == 0x88
        assert len(frame_of_close) == 2 + frame_of_close[1]
        assert int.from_bytes(frame_of_close[2:4], "big") == code


@pytest.mark.parametrize("code", [1002, 1009])
def test_close_reaches_a_peer_that_sends_first_and_reads_then(
    flooded_arena: MakeArena, code: int
) -> None:
    """The server takes what comes, for a while, lest the Close be lost with it."""
    bad = b"\x81\x05" if code == 1002 else header(FIN | BINARY, 64 * MIB, key=KEY)

    with flooded_arena() as scene, scene.attacker().open() as peer:
        peer.write(bad + b"z" * (8 * MIB))

        assert peer.closes(code)


def test_close_of_the_application_reaches_a_peer_that_goes_on_sending(
    flooded_arena: MakeArena,
) -> None:
    """It's no fault of the peer, who may be in the midst of something."""

    def on_data_receive(client: Any, data: str | bytes) -> None:
        if isinstance(data, bytes):
            client.close(4001, "enough")
        else:
            client.send(data)

    callbacks = {"on_data_receive": on_data_receive}
    with flooded_arena(**callbacks) as scene, scene.attacker().open() as peer:
        message = frame(FIN | BINARY, bytes(65528), key=EMPTY_MASK)
        peer.data = peer.write_while_reading(message, 8 * MIB)

        assert peer.read_close() == (4001, "enough")
        assert peer.data == b""
