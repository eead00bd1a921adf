"""Masking and incremental UTF-8, by the C accelerator or in pure Python.

The two functions that look at every byte of a payload (RFC 6455, 5.3 and 8.1).
Those below are complete; where the extension module ``_speedups`` was built, its
functions of the same names take their place, with the same results and errors.
The environment variable ``WEBSOCK_SPEEDUPS`` decides: ``skip`` never takes the
extension, ``require`` makes its absence an error, unset takes what is there.

Layer: core. May import: nothing but _speedups.
"""

from __future__ import annotations

import codecs
import functools
import os
from typing import Final, TypeAlias

__all__ = ["SPEEDUPS", "apply_mask", "check_utf8"]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Anything that is contiguous bytes; what has a buffer passes too."""

# Measured on CPython 3.11: up to here, one XOR of two integers (0.6 µs for 100
# bytes) beats four translations (0.9 µs); at 64 KiB it takes three times as long.
_FEW: Final = 1024


@functools.cache
def _xor_table(value: int) -> bytes:
    return bytes(byte ^ value for byte in range(256))


def _view(data: Buffer) -> memoryview:
    view = memoryview(data)
    if not view.c_contiguous:
        raise BufferError("data must be contiguous")
    return view


def apply_mask(data: Buffer, masking_key: Buffer, offset: int = 0, /) -> bytes:
    """Mask or unmask a piece of a payload (5.3).

    Args:
        data: The piece.
        masking_key: Masking key of the frame, four bytes.
        offset: How many bytes of the payload come before the piece, so that a
            payload can be unmasked while it arrives.

    Returns:
        ``data``, XORed with the key; its first byte with byte ``offset % 4``.

    Raises:
        ValueError: If the key isn't four bytes long.

    """
    view = _view(data)
    key = _view(masking_key).tobytes()
    if len(key) != 4:
        raise ValueError(f"masking key must be 4 bytes, not {len(key)}")
    offset %= 4
    key = key[offset:] + key[:offset]
    size = view.nbytes
    if size < _FEW:
        mask = (key * (size // 4 + 1))[:size]
        number = int.from_bytes(view, "little") ^ int.from_bytes(mask, "little")
        return number.to_bytes(size, "little")
    masked = bytearray(view)
    for index in range(4):
        masked[index::4] = masked[index::4].translate(_xor_table(key[index]))
    return bytes(masked)


def check_utf8(data: Buffer, pending: Buffer = b"", /) -> bytes:
    """Validate the next piece of a text, which may end within a character (8.1).

    It fails at the first byte that can't be right, even if the character isn't
    complete yet: ``ed a0`` fails without its third byte.

    Args:
        data: The next piece.
        pending: What the call for the piece before it returned.

    Returns:
        Begin of a character that ``data`` doesn't complete, at most three bytes.
        A text may end here only if it is empty.

    Raises:
        UnicodeDecodeError: If the text isn't UTF-8; ``start`` counts from the
            begin of ``pending``.
        ValueError: If ``pending`` is longer than three bytes.

    """
    view = _view(data)
    before = _view(pending)
    if before.nbytes > 3:
        raise ValueError(f"pending must be at most 3 bytes, not {before.nbytes}")
    text = before.tobytes() + view.tobytes() if before.nbytes else view
    done = codecs.utf_8_decode(text, "strict", False)[1]
    tail = memoryview(text).cast("B")[done:].tobytes()
    # The decoder waits for the third byte of a surrogate, which a handler of errors
    # might want; no third byte makes it right.
    if len(tail) == 2 and tail[0] == 0xED and tail[1] >= 0xA0:
        raise UnicodeDecodeError(
            "utf-8", bytes(text), done, done + 1, "invalid continuation byte"
        )
    return tail


SPEEDUPS: bool = False
"""Whether the functions of this module are those of the extension module."""

match os.environ.get("WEBSOCK_SPEEDUPS", ""):
    case "skip":
        pass
    case "" | "require" as _wanted:
        try:
            from ._speedups import apply_mask, check_utf8
        except ImportError as error:
            if _wanted:
                raise ImportError(
                    "WEBSOCK_SPEEDUPS=require, but the extension module"
                    " websock._speedups can't be imported; install websock with a"
                    " C compiler and Python's headers at hand, or unset it",
                    name="websock._speedups",
                ) from error
        else:
            SPEEDUPS = True
    case _wanted:
        raise ImportError(
            f"WEBSOCK_SPEEDUPS must be 'require', 'skip' or unset, not {_wanted!r}"
        )
