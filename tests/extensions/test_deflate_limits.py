"""permessage-deflate: what a peer can't do with few bytes.

Bare numbers of sections are those of RFC 7692.
"""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from websock.exceptions import MessageTooBig
from websock.extensions import permessage_deflate
from websock.frames import Opcode

from .deflate_tools import (
    NOISE,
    TAIL,
    compress,
    extension,
    fragments,
    raw,
    receive,
)

# The limit on output

MEGABYTE = 2**20


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """200 KiB that inflate to 200 MiB."""
    peer = raw(15)
    zeros = bytes(MEGABYTE)
    data = b"".join(peer.compress(zeros) for _ in range(200))
    return data + compress(peer, b"")


@pytest.fixture
def peak() -> Iterator[Callable[[], int]]:
    """Most memory that was in use at once since the begin of the test, in bytes."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    yield lambda: tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()


def test_a_bomb_is_refused_at_the_limit(bomb: bytes, peak: Callable[[], int]) -> None:
    """A frame that inflates to 200 MiB costs what the limit allows."""
    end = extension(bits=15)

    with pytest.raises(MessageTooBig) as caught:
        receive(end, bomb, MEGABYTE)

    assert end._decompressor is None
    assert caught.value.close_code == 1009
    assert caught.value.limit == MEGABYTE
    assert caught.value.size == MEGABYTE + 1
    # The output, while it's put together from parts; and the rest of the input.
    assert peak() < 2.5 * MEGABYTE


def test_a_bomb_in_fragments_is_refused_at_the_limit(
    bomb: bytes, peak: Callable[[], int]
) -> None:
    """The limit is one of the message: each fragment gets what is left of it."""
    end = extension(bits=15)
    room = MEGABYTE

    with pytest.raises(MessageTooBig):
        for frame in fragments(bomb, list(range(100, len(bomb), 100)), Opcode.TEXT):
            frame.rsv1 = frame.opcode != Opcode.CONTINUATION
            room -= len(end.decode(frame, max_size=room).payload)

    assert 0 <= room < 110_000
    assert peak() < 2.5 * MEGABYTE


def test_a_bomb_of_blocks_with_bfinal_is_refused_at_the_limit(
    peak: Callable[[], int],
) -> None:
    """The limit counts over the streams in a message."""
    block = compress(raw(15), bytes(300_000), zlib.Z_FINISH)[:-1]

    with pytest.raises(MessageTooBig):
        receive(extension(bits=15), block * 500 + b"\x00", MEGABYTE)

    assert peak() < 2.5 * MEGABYTE


def test_a_bomb_in_a_bomb_is_just_data(bomb: bytes) -> None:
    """Only one layer is inflated: a bomb just under the limit is a message."""
    inner = bomb[: len(bomb) // 2]

    assert receive(extension(bits=15), compress(raw(15), inner), len(inner)) == inner
    with pytest.raises(MessageTooBig):
        receive(extension(bits=15), compress(raw(15), inner), len(inner) - 1)


@pytest.mark.parametrize(
    "payload",
    [
        b"\x03\x00" * 20_000 + b"\x00",
        (b"\x03\x00" * 50 + compress(raw(), NOISE, zlib.Z_FINISH)[:-1]) * 10 + b"\x00",
        compress(raw(), NOISE * 20, zlib.Z_FINISH),
        compress(raw(), b"") + TAIL + compress(raw(), NOISE * 20),
    ],
    ids=["empty streams", "mixed", "one stream", "no BFINAL"],
)
def test_inflating_is_linear(payload: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What zlib is given again, because a stream ended before it, stays small."""
    given = calls = 0
    create = zlib.decompressobj

    class Counting:
        def __init__(self, wbits: int) -> None:
            self.inner = create(wbits)

        def decompress(self, data: bytes, max_length: int) -> bytes:
            nonlocal given, calls
            given += len(data)
            calls += 1
            return self.inner.decompress(data, max_length)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    monkeypatch.setattr(zlib, "decompressobj", Counting)

    receive(extension(), payload)

    streams = payload.count(b"\x03\x00")
    assert calls <= streams + 150
    assert given <= 4 * len(payload) + permessage_deflate.PIECE * (streams + 10)
