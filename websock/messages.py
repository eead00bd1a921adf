"""Messages and the other events of a connection, as data (RFC 6455, 5.5, 5.6).

Layer: core. May import: closing, exceptions, _masking, frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ._masking import check_utf8
from .closing import Close
from .exceptions import LocalProtocolError, RemoteProtocolError
from .frames import Frame, Opcode

__all__ = [
    "BinaryMessage",
    "Data",
    "Event",
    "Message",
    "Ping",
    "Pong",
    "TextMessage",
    "to_frame",
]


@dataclass(frozen=True, slots=True)
class Ping:
    """A Ping frame from the peer (5.5.2)."""

    payload: bytes
    """Application data, which the Pong must repeat."""


@dataclass(frozen=True, slots=True)
class Pong:
    """A Pong frame from the peer (5.5.3)."""

    payload: bytes
    """Application data of the Ping that it answers."""


Event: TypeAlias = str | bytes | Ping | Pong | Close | RemoteProtocolError
"""What a peer did: a text or binary message as itself, a control frame, or a fault.

Nothing comes after a :class:`Close` or a fault."""


class Message:
    """A message with its opcode, where ``str`` and ``bytes`` don't say enough.

    Args:
        opcode: :attr:`Opcode.TEXT` or :attr:`Opcode.BINARY`.
        payload: Content; for a text, ``bytes`` are UTF-8 already.

    Raises:
        LocalProtocolError: If ``opcode`` isn't one of a message, or ``payload``
            isn't UTF-8 in a text.

    """

    __slots__ = ("opcode", "payload")

    def __init__(self, opcode: int, payload: str | bytes | bytearray) -> None:
        if opcode not in (Opcode.TEXT, Opcode.BINARY):
            raise LocalProtocolError(f"opcode {opcode} isn't one of a message")
        self.opcode = Opcode(opcode)
        """What kind of message it is."""
        try:
            if isinstance(payload, str):
                payload = payload.encode()
            elif opcode == Opcode.TEXT:
                check_complete_utf8(payload)
        except UnicodeError as error:
            raise LocalProtocolError(f"text that isn't UTF-8: {error}") from None
        self.payload = bytes(payload)
        """Content, in UTF-8 for a text."""

    def __repr__(self) -> str:
        """Kind and size; never the content, which may be private."""
        return f"<{self.opcode.name.capitalize()}Message of {len(self.payload)} bytes>"


class TextMessage(Message):
    """A text message."""

    __slots__ = ()

    def __init__(self, payload: str | bytes | bytearray) -> None:
        super().__init__(Opcode.TEXT, payload)


class BinaryMessage(Message):
    """A binary message."""

    __slots__ = ()

    def __init__(self, payload: str | bytes | bytearray) -> None:
        super().__init__(Opcode.BINARY, payload)


def check_complete_utf8(data: bytes | bytearray) -> None:
    """Raise :exc:`UnicodeError` unless ``data`` is UTF-8 from end to end."""
    if check_utf8(data):
        raise UnicodeError("the last character is cut off")


Data: TypeAlias = str | bytes | bytearray | memoryview | Message
"""What can be sent as a message: ``str`` as text, :class:`Message` as it says, the
others as binary."""


def to_frame(data: Data) -> Frame:
    """Frame that carries ``data`` as a whole message.

    Raises:
        LocalProtocolError: If a ``str`` can't be encoded (it has a lone surrogate).
        TypeError: If ``data`` is of another type.

    """
    if isinstance(data, str):
        try:
            return Frame(Opcode.TEXT, data.encode())
        except UnicodeEncodeError as error:
            raise LocalProtocolError(f"text can't be encoded: {error.reason}") from None
    if isinstance(data, bytes):
        return Frame(Opcode.BINARY, data)
    if isinstance(data, bytearray | memoryview):
        return Frame(Opcode.BINARY, bytes(data))
    if isinstance(data, Message):
        return Frame(data.opcode, data.payload)
    raise TypeError(
        f"a message is str, bytes, bytearray, memoryview or Message,"
        f" not {type(data).__name__}"
    )
