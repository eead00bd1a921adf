"""Frames: the unit of the WebSocket protocol on the wire (RFC 6455, 5).

What a frame is and how it is written. How frames are cut out of a stream is in
:mod:`websock.reader`, which reads them in place.

Layer: core. May import: closing, exceptions, _masking.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import Final

from ._masking import apply_mask
from .closing import Close, CloseCode
from .exceptions import InvalidPayload, LocalProtocolError, RemoteProtocolError

__all__ = [
    "CONTROL_LIMIT",
    "Frame",
    "Opcode",
    "check_close",
    "parse_close",
    "serialize_close",
    "serialize_frame",
]

CONTROL_LIMIT: Final = 125
"""Longest payload of a control frame, in bytes (5.5)."""


class Opcode(enum.IntEnum):
    """Opcodes (5.2); 3 to 7 and 11 to 15 are reserved."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


@dataclass(slots=True)
class Frame:
    """One frame; its payload is unmasked."""

    opcode: int
    """What kind of frame it is: an :class:`Opcode`, or one of an extension."""
    payload: bytes
    """Payload data."""
    fin: bool = True
    """Whether it is the last fragment of its message."""
    rsv1: bool = False
    """First reserved bit; an extension gives it a meaning."""
    rsv2: bool = False
    """Second reserved bit."""
    rsv3: bool = False
    """Third reserved bit."""


def serialize_frame(frame: Frame, masking_key: bytes | None = None) -> bytes:
    """Bytes of ``frame`` on the wire (5.2).

    Args:
        frame: What to write.
        masking_key: Four unpredictable bytes, which a client needs (5.3);
            :obj:`None` leaves the payload unmasked, as a server must.

    Returns:
        Header and payload.

    """
    payload = frame.payload
    size = len(payload)
    first = (
        (0x80 if frame.fin else 0)
        | (0x40 if frame.rsv1 else 0)
        | (0x20 if frame.rsv2 else 0)
        | (0x10 if frame.rsv3 else 0)
        | frame.opcode
    )
    masked = 0 if masking_key is None else 0x80
    if size < 126:
        header = struct.pack("!BB", first, masked | size)
    elif size < 65536:
        header = struct.pack("!BBH", first, masked | 126, size)
    else:
        header = struct.pack("!BBQ", first, masked | 127, size)
    if masking_key is None:
        return header + payload
    return header + masking_key + apply_mask(payload, masking_key)


# 1012 to 1014 are in the registry of RFC 6455, 11.7; the others are RFC 6455, 7.4.1.
WIRE_CODES: Final = frozenset(CloseCode) - {
    CloseCode.NO_STATUS_RCVD,
    CloseCode.ABNORMAL_CLOSURE,
    CloseCode.TLS_HANDSHAKE,
}


def _may_be_sent(code: int) -> bool:
    return code in WIRE_CODES or 3000 <= code < 5000


def parse_close(payload: bytes) -> Close:
    """Code and reason in the payload of a Close frame (5.5.1).

    Raises:
        RemoteProtocolError: If the code is cut off or may not be sent (7.4).
        InvalidPayload: If the reason isn't UTF-8 (8.1).

    """
    if not payload:
        return Close(CloseCode.NO_STATUS_RCVD)
    if len(payload) == 1:
        raise RemoteProtocolError("close code of one byte")
    code = int.from_bytes(payload[:2], "big")
    if not _may_be_sent(code):
        raise RemoteProtocolError(f"close code {code}, which may not be sent")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError as error:
        raise InvalidPayload(f"close reason isn't UTF-8: {error.reason}") from None


def check_close(code: int, reason: str) -> Close:
    """Make sure that a Close frame may carry a code and a reason (7.4).

    Raises:
        LocalProtocolError: If it may not; 1005 is the absence of a code.
        TypeError: If the code isn't an int, or the reason no str.

    """
    if not isinstance(code, int):
        raise TypeError(f"a close code is an int, not {type(code).__name__}")
    if not isinstance(reason, str):
        raise TypeError(f"a close reason is a str, not {type(reason).__name__}")
    if code == CloseCode.NO_STATUS_RCVD:
        raise LocalProtocolError(f"close code {code} may not be sent")
    close = Close(code, reason)
    serialize_close(close)
    return close


def serialize_close(close: Close) -> bytes:
    """Payload of the Close frame that carries ``close``.

    A code of 1005 gives an empty payload (7.1.5).

    Raises:
        LocalProtocolError: If the code may not be sent, or the reason is longer
            than 123 bytes in UTF-8 or can't be encoded.

    """
    if close.code == CloseCode.NO_STATUS_RCVD:
        if close.reason:
            raise LocalProtocolError("a close reason needs a close code")
        return b""
    if not _may_be_sent(close.code):
        raise LocalProtocolError(f"close code {close.code} may not be sent")
    try:
        reason = close.reason.encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError(f"close reason: {error.reason}") from None
    if len(reason) > CONTROL_LIMIT - 2:
        raise LocalProtocolError(
            f"close reason of {len(reason)} bytes, over {CONTROL_LIMIT - 2}"
        )
    return struct.pack("!H", close.code) + reason
