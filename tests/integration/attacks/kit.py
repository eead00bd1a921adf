"""What attackers send, byte by byte, and what it may cost."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Collection, Iterator

__all__ = [
    "DEFLATE",
    "EMPTY_MASK",
    "FIN",
    "KEY",
    "RSV1",
    "RSV2",
    "RSV3",
    "SECRET",
    "Memory",
    "compress",
    "cpu_time",
    "frame",
    "growth_is_linear",
    "header",
    "inflate",
    "mask",
    "request",
    "traced",
]

SECRET = "tell-nobody"
"""What messages and reasons of attackers have in them, and the log never."""

KEY = b"\x37\xfa\x21\x3d"
"""Masking key of attackers."""

EMPTY_MASK = b"\0\0\0\0"
"""Masking key that changes nothing."""

FIN = 0x80
RSV1 = 0x40
RSV2 = 0x20
RSV3 = 0x10

DEFLATE = "permessage-deflate"


# HTTP.

FIELDS = (
    b"Host: 127.0.0.1",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Version: 13",
)


def request(
    *more: bytes,
    without: Collection[bytes] = (),
    line: bytes = b"GET / HTTP/1.1",
) -> bytes:
    """Opening handshake as it shouldn't be.

    Args:
        more: Header fields behind the usual ones.
        without: Names of usual ones that are left out.
        line: Request line.

    """
    fields = [field for field in FIELDS if field.partition(b":")[0] not in without]
    return b"\r\n".join([line, *fields, *more, b"", b""])


# Frames.


def mask(payload: bytes, key: bytes = KEY) -> bytes:
    """Payload as a client masks it (5.3); in few steps, for large ones."""
    if not any(key):
        return payload
    size = len(payload)
    keys = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")
    return masked.to_bytes(size, "big")


def header(first: int, size: int, *, key: bytes = KEY, masked: bool = True) -> bytes:
    """Header of a frame, as long as it must be (5.2)."""
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 65536:
        head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    return head + key if masked else head


def frame(first: int, payload: bytes = b"", *, key: bytes = KEY) -> bytes:
    """Masked frame with anything in its first byte."""
    return header(first, len(payload), key=key) + mask(payload, key)


# Compression (RFC 7692).


def compress(
    payload: bytes, compressor: zlib._Compress | None = None, *, level: int = 6
) -> bytes:
    """Payload of a compressed message (RFC 7692, 7.2.1)."""
    if compressor is None:
        compressor = zlib.compressobj(level, wbits=-15)
    data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(b"\0\0\xff\xff")


def inflate(payload: bytes, decompressor: zlib._Decompress | None = None) -> bytes:
    """Payload of a message that was compressed (RFC 7692, 7.2.2)."""
    if decompressor is None:
        decompressor = zlib.decompressobj(-15)
    return decompressor.decompress(payload + b"\0\0\xff\xff")


# Costs.


class Memory:
    """What was allocated within :func:`traced`."""

    peak = 0
    """At the worst moment, in bytes more than at the beginning."""
    left = 0
    """At the end, in bytes more than at the beginning."""


@contextlib.contextmanager
def traced() -> Iterator[Memory]:
    """Trace the memory of this process, and so of the server within."""
    memory = Memory()
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield memory
        gc.collect()
        now, peak = tracemalloc.get_traced_memory()
        memory.peak = peak - before
        memory.left = now - before
    finally:
        tracemalloc.stop()


def cpu_time(thread: threading.Thread) -> float:
    """Time that the processor has spent on a thread, which must be alive."""
    assert thread.is_alive()
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))


def growth_is_linear(cost: Callable[[int], float], small: int, factor: int) -> bool:
    """Whether ``factor`` times the size costs about as many times as much.

    Time of the processor is not exact. So it may cost half as much again, and has
    some tries; what is quadratic costs ``factor`` times as much as that, in the end.

    Args:
        cost: What a size costs.
        small: The smaller size.
        factor: How many times as much the larger size is.

    """
    for _ in range(4):
        base = cost(small)
        if cost(small * factor) < 1.5 * factor * base:
            return True
    return False
