"""Reading: frames cut out of a stream, checked, and put together (RFC 6455, 5.4, 6.2).

Layer: core. May import: closing, exceptions, _masking, frames, extensions, messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ._masking import apply_mask, check_utf8
from .exceptions import InvalidPayload, MessageTooBig, RemoteProtocolError
from .extensions.base import Extension
from .frames import CONTROL_LIMIT, Frame, Opcode, parse_close
from .messages import Event, Ping, Pong

__all__ = ["MessageReader"]

FIN: Final = 0x80
RSV: Final = 0x70
MASKED: Final = 0x80
PLAIN_TEXT: Final = FIN | Opcode.TEXT
PLAIN_BINARY: Final = FIN | Opcode.BINARY
PLAIN: Final = (PLAIN_TEXT, PLAIN_BINARY)
NO_KEY: Final = b""


class MessageReader:
    """Bytes in, events out.

    Frames are refused by their header alone, as soon as its bytes are there, and
    payloads are unmasked and checked as they arrive: at no time is there more in
    memory than has arrived, nor is a byte looked at twice because it came alone.
    A frame that an extension may have changed is the exception: it is kept until
    it's whole.

    Args:
        masked: Whether the peer's frames must be masked, as a client's must, or
            must not, as a server's (5.1).
        extensions: Agreed extensions, in their agreed order.
        max_size: Longest message, in bytes after the extensions undid what they
            do; :obj:`None` means no limit.
        max_fragments: Most frames of a message; :obj:`None` means no limit.

    """

    __slots__ = (
        "_encoded",
        "_ended",
        "_extensions",
        "_first",
        "_fragments",
        "_frame",
        "_key",
        "_masked",
        "_max_fragments",
        "_max_size",
        "_offset",
        "_opcode",
        "_payload",
        "_pending",
        "_plain_passes",
        "_remaining",
        "_rest",
    )

    def __init__(
        self,
        *,
        masked: bool,
        extensions: Sequence[Extension] = (),
        max_size: int | None,
        max_fragments: int | None,
    ) -> None:
        self._masked = MASKED if masked else 0
        self._extensions = tuple(extensions)
        # Whether a message without reserved bits is as its sender meant it.
        self._plain_passes = all(e.per_message for e in self._extensions)
        self._max_size = max_size
        self._max_fragments = max_fragments
        self._ended = False
        # Bytes of a header or of a control frame that isn't complete: at most 139.
        self._rest = b""
        # The data frame that is arriving.
        self._first = 0
        self._key = NO_KEY
        self._offset = 0
        self._remaining = 0
        self._frame: bytearray | None = None
        # The message that is arriving; no opcode means that there is none.
        self._opcode: Opcode | None = None
        self._encoded = False
        self._payload = bytearray()
        self._fragments = 0
        self._pending = b""

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """Agreed extensions, in their agreed order."""
        return self._extensions

    @property
    def is_between_messages(self) -> bool:
        """Whether the next byte begins a message, or a control frame (5.4)."""
        return (
            self._opcode is None
            and not self._rest
            and not self._remaining
            and not self._ended
        )

    def receive_data(self, data: bytes) -> list[Event]:
        """Events that ``data`` completes, in order.

        Nothing comes after a Close frame or a fault: what follows is dropped.
        """
        events: list[Event] = []
        if not self._ended:
            try:
                self._parse(data, events)
            except RemoteProtocolError as error:
                # The frames of its traceback would keep ``data`` in memory.
                self._end()
                events.append(error.with_traceback(None))
        return events

    def _end(self) -> None:
        self._ended = True
        self._rest = b""
        self._frame = None
        self._payload = bytearray()

    def _parse(self, data: bytes, events: list[Event]) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position = 0
        end = len(data)
        if self._remaining:
            position = self._receive_payload(data, 0, events)
        plain = self._plain_passes
        expected_mask = self._masked
        limit = self._max_size
        while end - position >= 2:
            first = data[position]
            size = data[position + 1] ^ expected_mask
            # The plain case: a whole message in a short or medium frame.
            if plain and first in PLAIN and self._opcode is None and size < 127:
                start = position + 2
                if size == 126:
                    size = int.from_bytes(data[start : start + 2], "big")
                    start += 2
                    if size < 126:
                        size = end  # Cut off or not minimal: not plain.
                if expected_mask:
                    payload_at = start + 4
                    stop = payload_at + size
                    if stop <= end and (limit is None or size <= limit):
                        payload = apply_mask(
                            data[payload_at:stop], data[start:payload_at]
                        )
                        events.append(
                            decode_text(payload) if first == PLAIN_TEXT else payload
                        )
                        position = stop
                        continue
                elif start + size <= end and (limit is None or size <= limit):
                    stop = start + size
                    payload = data[start:stop]
                    events.append(
                        decode_text(payload) if first == PLAIN_TEXT else payload
                    )
                    position = stop
                    continue
            next_position = self._receive_frame(data, position, events)
            if next_position == position or self._ended:
                break
            position = next_position
        if not self._ended:
            self._rest = data[position:]

    def _receive_frame(self, data: bytes, position: int, events: list[Event]) -> int:
        """Read the frame at ``position``; return where the next one begins.

        That is ``position`` itself if its header isn't complete yet, or its
        payload, for a control frame.
        """
        first = data[position]
        second = data[position + 1]
        size = second & 0x7F
        opcode = first & 0x0F
        self._check_header(first, second, opcode, size)
        start = position + 2
        if size == 126:
            if len(data) < start + 2:
                return position
            size = int.from_bytes(data[start : start + 2], "big")
            start += 2
            if size < 126:
                raise RemoteProtocolError(f"length {size} isn't in its shortest form")
        elif size == 127:
            if len(data) < start + 8:
                return position
            size = int.from_bytes(data[start : start + 8], "big")
            start += 8
            if size < 65536:
                raise RemoteProtocolError(f"length {size} isn't in its shortest form")
            if size >= 1 << 63:
                raise RemoteProtocolError("length with its most significant bit set")
        if opcode < Opcode.CLOSE:
            if opcode != Opcode.CONTINUATION:
                self._encoded = bool(first & RSV) or not self._plain_passes
            self._check_size(size)
        if self._masked:
            if len(data) < start + 4:
                return position
            key = data[start : start + 4]
            start += 4
        else:
            key = NO_KEY
        if opcode >= Opcode.CLOSE:
            stop = start + size
            if len(data) < stop:
                return position
            payload = data[start:stop]
            self._receive_control(
                opcode, apply_mask(payload, key) if key else payload, events
            )
            return stop
        self._begin_frame(first, opcode, key, size)
        return self._receive_payload(data, start, events)

    def _check_header(self, first: int, second: int, opcode: int, size: int) -> None:
        """Refuse what the first two bytes of a frame give away (5.2, 5.4, 5.5)."""
        if opcode > Opcode.PONG or Opcode.BINARY < opcode < Opcode.CLOSE:
            raise RemoteProtocolError(f"reserved opcode {opcode}")
        if (second & MASKED) != self._masked:
            raise RemoteProtocolError(
                "frame isn't masked" if self._masked else "frame is masked"
            )
        if opcode >= Opcode.CLOSE:
            if first & RSV:
                raise RemoteProtocolError("reserved bit on a control frame")
            if not first & FIN:
                raise RemoteProtocolError("fragmented control frame")
            if size > CONTROL_LIMIT:
                raise RemoteProtocolError(
                    f"control frame of more than {CONTROL_LIMIT} bytes"
                )
            return
        if first & RSV:
            self._check_reserved_bits(first, opcode)
        if opcode == Opcode.CONTINUATION:
            if self._opcode is None:
                raise RemoteProtocolError("continuation of no message")
        elif self._opcode is not None:
            raise RemoteProtocolError("new message inside a fragmented one")

    def _check_reserved_bits(self, first: int, opcode: int) -> None:
        for extension in self._extensions:
            if extension.per_message and opcode == Opcode.CONTINUATION:
                continue
            if extension.rsv1:
                first &= ~0x40
            if extension.rsv2:
                first &= ~0x20
            if extension.rsv3:
                first &= ~0x10
        if first & RSV:
            raise RemoteProtocolError("reserved bit that no extension owns")

    def _check_size(self, size: int) -> None:
        if self._max_size is not None:
            total = len(self._payload) + size
            if self._encoded:
                # What doesn't shrink grows: deflate adds 5 bytes to a block, which
                # a peer that is in a hurry makes of some ten.
                limit = self._max_size * 3 // 2 + 64
                if total > limit:
                    raise MessageTooBig("compressed size", total, limit)
            elif total > self._max_size:
                raise MessageTooBig("message size", total, self._max_size)

    def _begin_frame(self, first: int, opcode: int, key: bytes, size: int) -> None:
        if opcode != Opcode.CONTINUATION:
            self._opcode = Opcode(opcode)
            self._fragments = 0
        self._fragments += 1
        if self._max_fragments is not None and self._fragments > self._max_fragments:
            raise MessageTooBig(
                "number of fragments", self._fragments, self._max_fragments
            )
        self._first = first
        self._key = key
        self._offset = 0
        self._remaining = size
        if self._encoded:
            self._frame = bytearray()

    def _receive_payload(self, data: bytes, start: int, events: list[Event]) -> int:
        """Take what ``data`` has of the current data frame; return where it ends."""
        size = min(self._remaining, len(data) - start)
        stop = start + size
        piece = data[start:stop]
        if self._key:
            piece = apply_mask(piece, self._key, self._offset & 3)
        self._offset += size
        self._remaining -= size
        if self._frame is None:
            self._receive_piece(piece)
        else:
            self._frame += piece
        if not self._remaining:
            if self._frame is not None:
                self._receive_piece(self._decode_frame(bytes(self._frame)))
                self._frame = None
            if self._first & FIN:
                events.append(self._finish_message())
        return stop

    def _decode_frame(self, payload: bytes) -> bytes:
        first = self._first
        frame = Frame(
            first & 0x0F,
            payload,
            fin=bool(first & FIN),
            rsv1=bool(first & 0x40),
            rsv2=bool(first & 0x20),
            rsv3=bool(first & 0x10),
        )
        room = None
        if self._max_size is not None:
            room = self._max_size - len(self._payload)
        size = 0
        try:
            for extension in reversed(self._extensions):
                frame = extension.decode(frame, max_size=room)
            size = len(frame.payload)
        except MessageTooBig as error:
            # It knows this frame only.
            size = error.size
        if self._max_size is not None and len(self._payload) + size > self._max_size:
            total = len(self._payload) + size
            raise MessageTooBig("message size", total, self._max_size)
        return frame.payload

    def _receive_piece(self, piece: bytes) -> None:
        if self._opcode is Opcode.TEXT:
            try:
                self._pending = check_utf8(piece, self._pending)
            except UnicodeDecodeError as error:
                raise InvalidPayload(f"text isn't UTF-8: {error.reason}") from None
        self._payload += piece

    def _finish_message(self) -> str | bytes:
        message: str | bytes
        if self._opcode is Opcode.TEXT:
            if self._pending:
                raise InvalidPayload("text isn't UTF-8: unexpected end of data")
            message = self._payload.decode()
        else:
            message = bytes(self._payload)
        self._opcode = None
        self._payload = bytearray()
        return message

    def _receive_control(
        self, opcode: int, payload: bytes, events: list[Event]
    ) -> None:
        if opcode == Opcode.PING:
            events.append(Ping(payload))
        elif opcode == Opcode.PONG:
            events.append(Pong(payload))
        else:
            close = parse_close(payload)
            self._end()
            events.append(close)


def decode_text(payload: bytes) -> str:
    """Text of a whole message (8.1).

    Raises:
        InvalidPayload: If ``payload`` isn't UTF-8.

    """
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidPayload(f"text isn't UTF-8: {error.reason}") from None
