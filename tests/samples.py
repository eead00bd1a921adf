"""Messages for foreign clients: all lengths, all characters."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["CODES", "LENGTHS", "MIB", "PATTERN", "binary", "unicode_texts"]

MIB = 2**20

CODES = [1000, 1001, 1008, 1011, 3000, 4999]
"""Some of those that either side may send (RFC 6455, 7.4)."""

LENGTHS = [0, 1, 125, 126, 65535, 65536, MIB]
"""Around the borders of the three forms of a length (RFC 6455, 5.2), and the limit."""


PATTERN = bytes((i * 7919 >> 5) & 255 for i in range(65536))
"""Bytes of every value, some of which compress."""


def unicode_texts(every: int = 1) -> Iterator[str]:
    """All scalar values of Unicode, or a sample of them, in some texts."""
    step = 0x8000
    for first in range(0, 0x110000, step):
        points = range(first, first + step, every)
        yield "".join(chr(point) for point in points if not 0xD800 <= point <= 0xDFFF)


def binary(length: int) -> bytes:
    """A binary message of some length."""
    return (PATTERN * (length // len(PATTERN) + 1))[:length]
