"""Masking, by the C accelerator or in pure Python (RFC 6455, 5.3)."""

from __future__ import annotations

__all__ = ["apply_mask"]


def apply_mask(data: bytes | bytearray | memoryview, masking_key: bytes, /) -> bytes:
    """XOR ``data`` with the repeated four bytes of ``masking_key``."""
    size = len(data)
    mask = (masking_key * (size // 4 + 1))[:size]
    number = int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")
    return number.to_bytes(size, "little")
