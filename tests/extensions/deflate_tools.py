"""What the tests of permessage-deflate have in common."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Iterator
from typing import Any

from websock.extensions.permessage_deflate import DeflateExtension, PerMessageDeflate
from websock.frames import Frame, Opcode

TAIL = b"\x00\x00\xff\xff"
TEXT = b'{"type": "message", "from": "alice", "text": "hello, hello"}'
DOCUMENT = b"".join(b'{"id": %d, "name": "item %d"}' % (n, n * n) for n in range(100))
SWITCHES = [False, True]
NOISE = random.Random(7692).randbytes(5000)

SMALLEST = PerMessageDeflate(threshold=0)
"""Settings that compress all that gets smaller."""


def agree(
    server: PerMessageDeflate, client: PerMessageDeflate | None = None
) -> tuple[DeflateExtension, DeflateExtension]:
    """Both ends of a connection, server first."""
    client = server if client is None else client
    answer = server.negotiate(client.offer())
    assert answer is not None
    return answer[1], client.confirm(answer[0])


def extension(
    settings: PerMessageDeflate = SMALLEST,
    *,
    bits: int = 12,
    encode: bool = True,
    decode: bool = True,
) -> DeflateExtension:
    """One end; ``encode`` and ``decode`` are about context takeover."""
    return DeflateExtension(
        settings,
        encode_window_bits=bits,
        decode_window_bits=bits,
        encode_context_takeover=encode,
        decode_context_takeover=decode,
    )


def compress(compressor: Any, payload: bytes, mode: int = zlib.Z_SYNC_FLUSH) -> bytes:
    """Payload of a compressed message as a plain zlib makes it (7.2.1)."""
    data: bytes = compressor.compress(payload) + compressor.flush(mode)
    if mode == zlib.Z_FINISH:
        return data + b"\x00"
    assert data.endswith(TAIL)
    return data[:-4]


def raw(bits: int = 12) -> Any:
    """Compressor of a peer."""
    return zlib.compressobj(9, zlib.DEFLATED, -bits)


def receive(
    end: DeflateExtension, payload: bytes, max_size: int | None = 2**20
) -> bytes:
    """Message that a compressed frame carries."""
    frame = end.decode(Frame(Opcode.BINARY, payload, rsv1=True), max_size=max_size)
    assert frame.fin
    assert not frame.rsv1
    return frame.payload


def fragments(message: bytes, cuts: list[int], opcode: int = 2) -> Iterator[Frame]:
    """Frames of a message that is cut at some places."""
    places = [0, *sorted(min(cut, len(message)) for cut in cuts), len(message)]
    for index, (start, stop) in enumerate(itertools.pairwise(places)):
        yield Frame(
            Opcode.CONTINUATION if index else opcode,
            message[start:stop],
            fin=index == len(places) - 2,
        )
