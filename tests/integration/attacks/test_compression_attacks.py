"""Attacks through compression: D1 to D5 of the list of attacks (RFC 7692)."""

from __future__ import annotations

import functools
import re
import zlib
from pathlib import Path

import pytest

from .arena import Attacker
from .conftest import MakeArena
from .kit import (
    DEFLATE,
    FIN,
    RSV1,
    compress,
    cpu_time,
    frame,
    growth_is_linear,
    inflate,
    traced,
)

CONTINUATION, TEXT, BINARY, PING = 0, 1, 2, 9

MIB = 2**20

HEADERS = {"Sec_WebSocket_Extensions": DEFLATE}


@functools.cache
def bomb() -> bytes:
    """200 MiB of zeros, as 200 KiB."""
    compressor = zlib.compressobj(9, wbits=-15)
    data = b"".join(compressor.compress(bytes(MIB)) for _ in range(200))
    data += compressor.flush(zlib.Z_SYNC_FLUSH)
    assert len(data) < 210 * 1024
    return data.removesuffix(b"\0\0\xff\xff")


@functools.cache
def noise(size: int) -> bytes:
    """Bytes that don't compress, the same each time."""
    words = (zlib.crc32(b"%d" % n).to_bytes(4, "big") for n in range(size // 4 + 1))
    return b"".join(words)[:size]


def resident_peak() -> int:
    """Most memory that this process had resident, in bytes."""
    match = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) * 1024


def received(peer: Attacker, decompressor: zlib._Decompress | None = None) -> bytes:
    """Read a message, compressed or not, and return what it says."""
    got = peer.read_frame()
    assert got.fin
    assert got.opcode in (TEXT, BINARY), got
    return inflate(got.payload, decompressor) if got.rsv1 else got.payload


@pytest.mark.slow
@pytest.mark.parametrize("fragment", [2**20, 1000, 100])
def test_d1_bomb_goes_off_at_the_limit(arena: MakeArena, fragment: int) -> None:
    """No more than ``max_size`` is inflated, in one frame or many (CVE-2018-1000518).

    200 KiB would become 200 MiB.
    """
    data = bomb()
    pieces = [data[n : n + fragment] for n in range(0, len(data), fragment)]
    frames = [frame(RSV1 | BINARY, pieces[0]), *(frame(0, p) for p in pieces[1:])]
    attack = b"".join(frames) + frame(FIN)

    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        before = resident_peak()
        with traced() as memory:
            peer.write(attack)

            assert peer.closes(1009)

        assert memory.peak < 8 * MIB
        assert resident_peak() - before < 32 * MIB


@pytest.mark.slow
def test_d1_bomb_of_many_messages(arena: MakeArena) -> None:
    """Messages just below the limit are served one after the other, and freed."""
    data = compress(bytes(MIB))

    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        decompressor = zlib.decompressobj(-15)
        with traced() as memory:
            for _ in range(20):
                peer.write(frame(FIN | RSV1 | BINARY, data))
                scene.others_live()
                assert len(received(peer, decompressor)) == MIB

        assert memory.peak < 16 * MIB
        assert peer.leave()


def test_d1_bomb_within_a_bomb_is_inflated_once(arena: MakeArena) -> None:
    """What was compressed twice comes out compressed once, however small it is."""
    inner = compress(bomb(), level=9)
    assert len(inner) < len(bomb()) // 50

    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        with traced() as memory:
            peer.write(frame(FIN | RSV1 | BINARY, inner))

            assert received(peer) == bomb()

        assert memory.peak < 8 * MIB
        assert peer.leave()


def test_d1_bomb_just_below_the_limit_with_one_byte_more(arena: MakeArena) -> None:
    """The limit is exact for what comes in pieces, too."""
    compressor = zlib.compressobj(9, wbits=-15)
    first = compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    more = compress(b"\0", compressor)

    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        peer.write(frame(RSV1 | BINARY, first))
        scene.others_live()
        peer.write(frame(FIN, more))

        assert peer.closes(1009)


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        b"\x06",
        b"\x07\x07\x07",
        noise(1000)[:1] + b"\xff" * 500,
        b"\0\x05\0\x05\0hello",
    ],
    ids=["block type", "block type 3", "bytes", "noise", "length"],
)
def test_d2_garbage_instead_of_compressed_data(
    arena: MakeArena, payload: bytes
) -> None:
    """It gets 1007, and no exception leaves the connection."""
    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        peer.write(frame(FIN | RSV1 | BINARY, payload))

        assert peer.closes(1007)


@pytest.mark.parametrize("cut", [1, 2, 10, 50])
def test_d2_block_that_is_cut_off(arena: MakeArena, cut: int) -> None:
    """A message ends where a block ends (7.2.1)."""
    payload = compress(noise(200))[:-cut]

    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        peer.write(frame(FIN | RSV1 | BINARY, payload))

        assert peer.closes(1007)


def test_d2_last_block_of_a_stream_ends_no_connection(arena: MakeArena) -> None:
    """A block with BFINAL is legal, in a message and in those after it (7.2.3.4)."""
    compressor = zlib.compressobj(wbits=-15)
    final = compressor.compress(b"final") + compressor.flush() + b"\0"

    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        for _ in range(3):
            peer.write(frame(FIN | RSV1 | TEXT, final))
            assert received(peer) == b"final"
        peer.write(frame(FIN | RSV1 | TEXT, final.removesuffix(b"\0") + final))
        assert received(peer) == b"finalfinal"
        assert peer.leave()


def test_d2_garbage_behind_the_last_block_of_a_stream(arena: MakeArena) -> None:
    """What trails is the next block, and if it isn't one, 1007."""
    compressor = zlib.compressobj(wbits=-15)
    final = compressor.compress(b"final") + compressor.flush()

    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        peer.write(frame(FIN | RSV1 | TEXT, final + b"\xff" * 10))

        assert peer.closes(1007)


@pytest.mark.parametrize("payload", [b"\0", b"\x02\0", b""])
def test_d2_empty_compressed_message(arena: MakeArena, payload: bytes) -> None:
    """Nothing may be compressed, and stays nothing (7.2.3.6)."""
    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        for first in (FIN | RSV1 | TEXT, FIN | RSV1 | BINARY):
            peer.write(frame(first, payload))
            assert received(peer) == b""
        assert peer.leave()


def offer(peer: Attacker, *parameters: str) -> str:
    """Open with some parameters, and return what was agreed on."""
    offered = "; ".join([DEFLATE, *parameters])
    peer.write(peer.request(Sec_WebSocket_Extensions=offered))
    head = peer.read_head()
    assert peer.status == 101, head
    match = re.search(r"Sec-WebSocket-Extensions: (.*)", head)
    assert match is not None, head
    return match[1].strip()


def test_d3_reference_beyond_the_window(arena: MakeArena) -> None:
    """What the window doesn't hold any more can't be meant: 1007 (7.2.2)."""
    compressor = zlib.compressobj(wbits=-15)
    data = noise(4000)
    first, second = (compress(data, compressor) for _ in range(2))
    assert len(second) < 100

    with arena() as scene, scene.attacker() as peer:
        assert "client_max_window_bits=9" in offer(peer, "client_max_window_bits=9")
        peer.write(frame(FIN | RSV1 | BINARY, first))
        assert received(peer) == data
        peer.write(frame(FIN | RSV1 | BINARY, second))

        assert peer.closes(1007)


def test_d3_reference_to_a_context_that_was_given_up(arena: MakeArena) -> None:
    """Without context takeover a message refers to nothing before it (7.1.1.2)."""
    compressor = zlib.compressobj(wbits=-15)
    data = noise(1000)
    first, second = (compress(data, compressor) for _ in range(2))

    with arena() as scene, scene.attacker() as peer:
        agreed = offer(peer, "client_no_context_takeover")
        assert "client_no_context_takeover" in agreed
        peer.write(frame(FIN | RSV1 | BINARY, first))
        assert received(peer) == data
        peer.write(frame(FIN | RSV1 | BINARY, second))

        assert peer.closes(1007)


def test_d3_reference_before_the_beginning(arena: MakeArena) -> None:
    """Nor can anything be meant before the first byte."""
    compressor = zlib.compressobj(wbits=-15)
    compress(noise(1000), compressor)
    second = compress(noise(1000), compressor)

    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        peer.write(frame(FIN | RSV1 | BINARY, second))

        assert peer.closes(1007)


def test_d3_window_of_256_bytes(arena: MakeArena) -> None:
    """Window bits of 8, which zlib can't do, are agreed on and kept (7.1.2)."""
    text = b"to and fro, " * 500
    compressor = zlib.compressobj(wbits=-9, strategy=zlib.Z_RLE)
    # Raw inflate has no window of 256 bytes; 512 is the least.
    decompressor = zlib.decompressobj(-9)

    with arena() as scene, scene.attacker() as peer:
        agreed = offer(peer, "client_max_window_bits=8", "server_max_window_bits=8")
        assert "client_max_window_bits=8" in agreed
        assert "server_max_window_bits=8" in agreed
        for _ in range(3):
            peer.write(frame(FIN | RSV1 | BINARY, compress(text, compressor)))
            assert received(peer, decompressor) == text
        assert peer.leave()


def test_d4_context_outlives_messages_that_are_not_compressed(
    arena: MakeArena,
) -> None:
    """Both sides keep theirs, and what isn't compressed is no part of it (6.2)."""
    compressor = zlib.compressobj(wbits=-15)
    decompressor = zlib.decompressobj(-15)
    data = noise(300) * 2
    sizes = []

    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        for _ in range(4):
            payload = compress(data, compressor)
            sizes.append(len(payload))
            peer.write(frame(FIN | RSV1 | BINARY, payload))
            assert received(peer, decompressor) == data
            # Short ones, and such as don't shrink, come back as they are.
            assert peer.echoes(b"short")
            peer.write(frame(FIN | BINARY, noise(2000)[1000:]))
            assert received(peer, decompressor) == noise(2000)[1000:]
            peer.write(frame(BINARY, data[:100]) + frame(FIN | PING))
            assert peer.read_frame().opcode == 10
            peer.write(frame(FIN, data[100:]))
            assert received(peer, decompressor) == data
        assert peer.leave()

    # The attack is one only if later messages do refer to earlier ones.
    assert max(sizes[1:]) < sizes[0] // 10


def test_d4_compressed_fragments_after_a_plain_message(arena: MakeArena) -> None:
    """Whether a message is compressed is told by its first frame alone."""
    data = compress(b"compressed " * 30)

    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        peer.write(frame(TEXT, b"pl") + frame(FIN, b"ain"))
        assert received(peer) == b"plain"
        peer.write(frame(RSV1 | TEXT, data[:3]) + frame(FIN, data[3:]))
        assert received(peer) == b"compressed " * 30
        peer.write(frame(TEXT, b"pl") + frame(FIN, b"ain"))
        assert received(peer) == b"plain"
        assert peer.leave()


@pytest.mark.parametrize(
    "block",
    [b"\x03\0", b"\0\0\0\xff\xff", b"\x02\x08\x20\x80\0", b"\x01\0\0\xff\xff"],
    ids=["final fixed", "stored", "fixed", "final stored"],
)
def test_d5_blocks_of_nothing_cost_linear_time(
    tcp_arena: MakeArena, block: bytes
) -> None:
    """A message of empty blocks has no output to bound, but a price for each."""
    with tcp_arena() as scene, scene.attacker().open(**HEADERS) as peer:
        assert peer.echoes("here")
        thread = scene.client_thread()

        def cost(size: int) -> float:
            before = cpu_time(thread)
            payload = block * (size // len(block)) + b"\0"
            peer.write(frame(FIN | RSV1 | BINARY, payload))
            assert received(peer) == b""
            return cpu_time(thread) - before

        assert growth_is_linear(cost, 40_000, 8)
        assert peer.leave()


def test_d5_ratio_makes_no_message_dearer_than_its_size(tcp_arena: MakeArena) -> None:
    """What is inflated costs time by its size, whatever it was compressed to."""
    with tcp_arena() as scene, scene.attacker().open(**HEADERS) as peer:
        assert peer.echoes("here")
        thread = scene.client_thread()

        def cost(size: int) -> float:
            before = cpu_time(thread)
            for _ in range(3):
                compressor = zlib.compressobj(9, wbits=-15)
                final = compressor.compress(bytes(size)) + compressor.flush()
                peer.write(frame(FIN | RSV1 | BINARY, final))
                peer.read_frame()
            return cpu_time(thread) - before

        assert growth_is_linear(cost, MIB // 8, 8)
        assert peer.leave()


def test_d5_flood_of_expensive_messages_delays_nobody_else(arena: MakeArena) -> None:
    """The bystander has its echoes while one peer is inflated without a pause."""
    data = frame(FIN | RSV1 | BINARY, compress(bytes(MIB)))

    with arena() as scene, scene.attacker().open(**HEADERS) as peer:
        peer.write(data * 30)
        for _ in range(30):
            scene.others_live()
            peer.read_frame()
        assert peer.leave()
