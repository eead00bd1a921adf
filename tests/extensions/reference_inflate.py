"""Inflate (RFC 1951), written for clarity: tells how far back a stream refers.

zlib checks distances against its window only where they reach beyond what the
same call gave out. This one checks each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

# Tables of 3.2.5 and 3.2.7; a length of 258 has a symbol of its own.
LENGTHS = [*range(3, 11), *((4 + n % 4 << n // 4) + 3 for n in range(4, 24)), 258]
LENGTH_BITS = (0,) * 8 + tuple(bits for bits in range(1, 6) for _ in range(4)) + (0,)
DISTANCES = (1, 2, 3, 4, *((base << n) + 1 for n in range(1, 14) for base in (2, 3)))
DISTANCE_BITS = (0, 0, 0, 0, *(n for n in range(1, 14) for _ in range(2)))
CODE_LENGTHS = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)

Code = dict[tuple[int, int], int]


def make_code(lengths: Sequence[int]) -> Code:
    """Symbols by length and value of their code (3.2.2)."""
    code: Code = {}
    value = 0
    for length in range(1, 16):
        value <<= 1
        for symbol, its_length in enumerate(lengths):
            if its_length == length:
                code[length, value] = symbol
                value += 1
    return code


FIXED = make_code([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8)
FIXED_DISTANCES = make_code([5] * 30)


class Inflater:
    """Decompressor of one direction of a connection, with an unlimited window."""

    def __init__(self) -> None:
        self.output = bytearray()
        """All that was decompressed, of all messages."""
        self.farthest = 0
        """Longest distance that the last message referred back."""
        self._data = b""
        self._at = 0

    def inflate(self, payload: bytes) -> bytes:
        """Message whose compressed payload is ``payload`` (RFC 7692, 7.2.2)."""
        self.farthest = 0
        before = len(self.output)
        data = payload + b"\x00\x00\xff\xff"
        self._at = 0
        self._data = data
        while self._at < len(data) * 8:
            # A block begins at a byte if the one before had BFINAL (7.2.1).
            if self._block():
                self._at += -self._at % 8
        assert self._at == len(data) * 8
        return bytes(self.output[before:])

    def _take(self, count: int) -> int:
        value = 0
        for index in range(count):
            value |= (self._data[self._at >> 3] >> (self._at & 7) & 1) << index
            self._at += 1
        return value

    def _symbol(self, code: Code) -> int:
        value = 0
        for length in range(1, 16):
            value = value << 1 | self._take(1)
            if (length, value) in code:
                return code[length, value]
        raise ValueError("no such code")

    def _block(self) -> bool:
        final = bool(self._take(1))
        kind = self._take(2)
        if kind == 0:
            self._at += -self._at % 8
            size = self._take(16)
            assert self._take(16) == size ^ 0xFFFF
            start = self._at // 8
            assert start + size <= len(self._data)
            self.output += self._data[start : start + size]
            self._at += size * 8
        elif kind == 1:
            self._compressed(FIXED, FIXED_DISTANCES)
        else:
            assert kind == 2
            self._compressed(*self._codes())
        return final

    def _codes(self) -> tuple[Code, Code]:
        literals = self._take(5) + 257
        distances = self._take(5) + 1
        of_lengths = [0] * 19
        for symbol in CODE_LENGTHS[: self._take(4) + 4]:
            of_lengths[symbol] = self._take(3)
        code = make_code(of_lengths)
        lengths: list[int] = []
        while len(lengths) < literals + distances:
            symbol = self._symbol(code)
            if symbol < 16:
                lengths.append(symbol)
            elif symbol == 16:
                lengths += lengths[-1:] * (self._take(2) + 3)
            elif symbol == 17:
                lengths += [0] * (self._take(3) + 3)
            else:
                lengths += [0] * (self._take(7) + 11)
        return make_code(lengths[:literals]), make_code(lengths[literals:])

    def _compressed(self, literals: Code, distances: Code) -> None:
        while (symbol := self._symbol(literals)) != 256:
            if symbol < 256:
                self.output.append(symbol)
                continue
            length = LENGTHS[symbol - 257] + self._take(LENGTH_BITS[symbol - 257])
            symbol = self._symbol(distances)
            distance = DISTANCES[symbol] + self._take(DISTANCE_BITS[symbol])
            assert distance <= len(self.output)
            self.farthest = max(self.farthest, distance)
            for _ in range(length):
                self.output.append(self.output[-distance])
