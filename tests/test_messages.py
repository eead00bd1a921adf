"""Messages as data."""

from __future__ import annotations

from typing import Any

import pytest

from websock.exceptions import LocalProtocolError
from websock.frames import Frame, Opcode
from websock.messages import BinaryMessage, Message, TextMessage, to_frame


@pytest.mark.parametrize(
    ("data", "frame"),
    [
        ("é", Frame(Opcode.TEXT, b"\xc3\xa9")),
        (b"x", Frame(Opcode.BINARY, b"x")),
        (bytearray(b"x"), Frame(Opcode.BINARY, b"x")),
        (memoryview(b"xyz")[::2], Frame(Opcode.BINARY, b"xz")),
        (TextMessage("é"), Frame(Opcode.TEXT, b"\xc3\xa9")),
        (TextMessage(b"\xc3\xa9"), Frame(Opcode.TEXT, b"\xc3\xa9")),
        (BinaryMessage("é"), Frame(Opcode.BINARY, b"\xc3\xa9")),
        (BinaryMessage(bytearray(b"\xff")), Frame(Opcode.BINARY, b"\xff")),
    ],
)
def test_type_decides_the_opcode(data: Any, frame: Frame) -> None:
    """``str`` is text, bytes are binary, a Message is what it says (5.6)."""
    assert to_frame(data) == frame


def test_text_that_cannot_be_encoded_is_refused() -> None:
    """A lone surrogate has no UTF-8 (8.1)."""
    with pytest.raises(LocalProtocolError, match="surrogates"):
        to_frame("\ud800")
    with pytest.raises(LocalProtocolError, match="surrogates"):
        TextMessage("\ud800")


@pytest.mark.parametrize("payload", [b"\xff", b"\xc3"])
def test_bytes_of_a_text_must_be_utf8(payload: bytes) -> None:
    """A wrong byte, or a character that is cut off, isn't sent."""
    with pytest.raises(LocalProtocolError, match="isn't UTF-8"):
        TextMessage(payload)


def test_message_needs_an_opcode_of_a_message() -> None:
    """Control frames aren't messages (5.5)."""
    with pytest.raises(LocalProtocolError, match="opcode 9"):
        Message(Opcode.PING, b"")


def test_other_types_are_refused_by_name() -> None:
    """The error says what was passed, and what can be."""
    with pytest.raises(TypeError, match="not int"):
        to_frame(1)  # type: ignore[arg-type]


def test_representation_hides_the_content() -> None:
    """What ends in a log must not be private."""
    assert repr(TextMessage("secret")) == "<TextMessage of 6 bytes>"
