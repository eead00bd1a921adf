"""Writing: messages cut into frames, encoded, and serialized (RFC 6455, 5.4, 6.1).

Layer: core. May import: closing, exceptions, frames, extensions, messages.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Hashable, Sequence

from .closing import Close
from .exceptions import LocalProtocolError
from .extensions.base import Extension
from .frames import CONTROL_LIMIT, Frame, Opcode, serialize_close, serialize_frame
from .messages import Data, to_frame

__all__ = ["MessageWriter", "SharedMessage", "new_masking_key"]


def new_masking_key() -> bytes:
    """Masking key from a strong source of randomness (5.3, 10.3)."""
    return secrets.token_bytes(4)


class SharedMessage:
    """A message that is encoded once for all connections that agreed on the same.

    Used by one thread at a time.

    Args:
        data: The message, as for :meth:`MessageWriter.serialize_message`.

    """

    __slots__ = ("_encoded", "_frame")

    def __init__(self, data: Data) -> None:
        self._frame = to_frame(data)
        self._encoded: dict[tuple[Hashable, ...], tuple[bytes, bool]] = {}

    def encode(self, extensions: Sequence[Extension]) -> tuple[bytes, bool]:
        """Bytes on the wire, and whether an extension changed the frame.

        Only for a server, whose frames aren't masked.
        """
        key = tuple(extension.sharing_key for extension in extensions)
        encoded = self._encoded.get(key)
        if encoded is None:
            frame = self._frame
            for extension in extensions:
                frame = extension.encode_shared(frame)
            encoded = serialize_frame(frame), frame.rsv1 or frame.rsv2 or frame.rsv3
            self._encoded[key] = encoded
        return encoded


class MessageWriter:
    """Messages in, bytes out.

    Args:
        masked: Whether our frames are masked, as a client's must be (5.3).
        extensions: Agreed extensions, in their agreed order.
        masking_key: Makes the masking key of each frame; tests swap it.

    """

    __slots__ = ("_extensions", "_in_message", "_masking_key")

    def __init__(
        self,
        *,
        masked: bool,
        extensions: Sequence[Extension] = (),
        masking_key: Callable[[], bytes] = new_masking_key,
    ) -> None:
        self._masking_key = masking_key if masked else None
        self._extensions = tuple(extensions)
        self._in_message = False

    @property
    def is_mid_message(self) -> bool:
        """Whether a message that is sent in single frames isn't finished."""
        return self._in_message

    def serialize_message(
        self,
        data: Data,
        *,
        fragment_size: int | None = None,
    ) -> bytes:
        """Frames of a message, back to back.

        Args:
            data: Text or binary message.
            fragment_size: Longest payload of a frame before extensions, in bytes;
                :obj:`None` means one frame.

        Raises:
            LocalProtocolError: If the message can't be encoded, or one that was
                sent as single frames isn't finished.
            TypeError: If ``data`` or ``fragment_size`` is of another type.

        """
        if self._in_message:
            raise LocalProtocolError("another message isn't finished")
        if not isinstance(fragment_size, int | None):
            raise TypeError(
                f"fragment_size is an int, not {type(fragment_size).__name__}"
            )
        frame = to_frame(data)
        if fragment_size is None or len(frame.payload) <= fragment_size:
            return self._serialize(frame)
        if fragment_size < 1:
            raise LocalProtocolError(f"fragment_size of {fragment_size}")
        payload = frame.payload
        frames = []
        for start in range(0, len(payload), fragment_size):
            stop = start + fragment_size
            fragment = Frame(
                Opcode.CONTINUATION if start else frame.opcode,
                payload[start:stop],
                fin=stop >= len(payload),
            )
            frames.append(self._serialize(fragment))
        return b"".join(frames)

    def serialize_shared(self, message: SharedMessage) -> bytes:
        """Frame of a message that several connections send.

        Raises:
            LocalProtocolError: If a message that was sent as single frames isn't
                finished.

        """
        if self._in_message:
            raise LocalProtocolError("another message isn't finished")
        data, changed = message.encode(self._extensions)
        if changed:
            for extension in self._extensions:
                extension.forget()
        return data

    def serialize_frame(self, frame: Frame) -> bytes:
        """One data or control frame, made by hand.

        Raises:
            LocalProtocolError: If the frame is wrong at this place: its opcode,
                its bits, its size, or the message that it continues.

        """
        opcode = frame.opcode
        if opcode in (Opcode.CLOSE, Opcode.PING, Opcode.PONG):
            return self.serialize_control(Opcode(opcode), frame.payload, frame)
        if opcode not in (Opcode.CONTINUATION, Opcode.TEXT, Opcode.BINARY):
            raise LocalProtocolError(f"reserved opcode {opcode}")
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise LocalProtocolError("reserved bits belong to extensions")
        if (opcode == Opcode.CONTINUATION) != self._in_message:
            raise LocalProtocolError(
                "another message isn't finished"
                if self._in_message
                else "continuation of no message"
            )
        data = self._serialize(frame)
        self._in_message = not frame.fin
        return data

    def serialize_control(
        self, opcode: Opcode, payload: bytes, frame: Frame | None = None
    ) -> bytes:
        """One control frame (5.5).

        Args:
            opcode: :attr:`Opcode.CLOSE`, :attr:`Opcode.PING` or :attr:`Opcode.PONG`.
            payload: At most 125 bytes.
            frame: The frame made by hand, if it was, whose bits are checked.

        Raises:
            LocalProtocolError: If it's too long, fragmented, or has reserved bits.
            TypeError: If ``payload`` isn't bytes.

        """
        if not isinstance(payload, bytes | bytearray):
            raise TypeError(f"a payload is bytes, not {type(payload).__name__}")
        if len(payload) > CONTROL_LIMIT:
            raise LocalProtocolError(
                f"control frame of {len(payload)} bytes, over {CONTROL_LIMIT}"
            )
        if frame is not None and not (
            frame.fin and not (frame.rsv1 or frame.rsv2 or frame.rsv3)
        ):
            raise LocalProtocolError("control frame with fragments or reserved bits")
        key = None if self._masking_key is None else self._masking_key()
        return serialize_frame(Frame(opcode, payload), key)

    def serialize_close(self, close: Close) -> bytes:
        """Close frame; raises as :func:`websock.frames.serialize_close` (5.5.1)."""
        return self.serialize_control(Opcode.CLOSE, serialize_close(close))

    def _serialize(self, frame: Frame) -> bytes:
        for extension in self._extensions:
            frame = extension.encode(frame)
        key = None if self._masking_key is None else self._masking_key()
        return serialize_frame(frame, key)
