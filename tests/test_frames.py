"""Frames on the wire, and the payload of Close frames."""

from __future__ import annotations

from typing import Any

import pytest

from websock.closing import Close, CloseCode
from websock.exceptions import InvalidPayload, LocalProtocolError, RemoteProtocolError
from websock.frames import (
    Frame,
    Opcode,
    check_close,
    parse_close,
    serialize_close,
    serialize_frame,
)


@pytest.mark.parametrize(
    ("frame", "key", "data"),
    [
        # The examples of RFC 6455, 5.7.
        (Frame(Opcode.TEXT, b"Hello"), None, "810548656c6c6f"),
        (Frame(Opcode.TEXT, b"Hello"), "37fa213d", "818537fa213d7f9f4d5158"),
        (Frame(Opcode.TEXT, b"Hel", fin=False), None, "010348656c"),
        (Frame(Opcode.CONTINUATION, b"lo"), None, "80026c6f"),
        (Frame(Opcode.PING, b"Hello"), None, "890548656c6c6f"),
        (Frame(Opcode.PONG, b"Hello"), "37fa213d", "8a8537fa213d7f9f4d5158"),
        (Frame(Opcode.BINARY, b"", rsv1=True), None, "c200"),
        (Frame(Opcode.BINARY, b"", rsv2=True), None, "a200"),
        (Frame(Opcode.BINARY, b"", rsv3=True), "00000000", "928000000000"),
    ],
)
def test_frame_has_the_bytes_of_the_rfc(
    frame: Frame, key: str | None, data: str
) -> None:
    """Header, masking key and payload are where 5.2 puts them."""
    masking_key = None if key is None else bytes.fromhex(key)

    assert serialize_frame(frame, masking_key).hex() == data


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "8200"),
        (125, "827d"),
        (126, "827e007e"),
        (65535, "827effff"),
        (65536, "827f0000000000010000"),
    ],
)
def test_length_has_its_shortest_form(size: int, header: str) -> None:
    """The minimal number of bytes must be used (5.2)."""
    data = serialize_frame(Frame(Opcode.BINARY, bytes(size)))

    assert data == bytes.fromhex(header) + bytes(size)


ON_THE_WIRE = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
NEVER = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", ON_THE_WIRE)
def test_legal_close_codes_pass_both_ways(code: int) -> None:
    """Those that are defined, registered, or free for use (7.4)."""
    close = Close(code, "because")

    assert parse_close(serialize_close(close)) == close


@pytest.mark.parametrize("code", NEVER)
def test_illegal_close_code_of_the_peer_is_a_fault(code: int) -> None:
    """Codes that must not appear in a frame (7.4.1, 7.4.2)."""
    with pytest.raises(RemoteProtocolError, match=f"close code {code}") as caught:
        parse_close(code.to_bytes(2, "big"))

    assert caught.value.close_code == CloseCode.PROTOCOL_ERROR


@pytest.mark.parametrize("code", [code for code in NEVER if code != 1005])
def test_illegal_close_code_of_ours_is_an_error(code: int) -> None:
    """Nothing that a peer must refuse is sent."""
    with pytest.raises(LocalProtocolError, match=f"close code {code}"):
        serialize_close(Close(code))


def test_empty_close_has_no_code() -> None:
    """A Close frame without a code stands for 1005, both ways (7.1.5)."""
    assert parse_close(b"") == Close(1005)
    assert serialize_close(Close(1005)) == b""
    with pytest.raises(LocalProtocolError, match="needs a close code"):
        serialize_close(Close(1005, "why"))


def test_close_code_of_one_byte_is_a_fault() -> None:
    """If there is a payload, it begins with two bytes (5.5.1)."""
    with pytest.raises(RemoteProtocolError, match="one byte"):
        parse_close(b"\x03")


def test_close_reason_that_is_not_utf8_is_a_fault() -> None:
    """The reason is UTF-8 (5.5.1), so that 1007 answers it (8.1)."""
    with pytest.raises(InvalidPayload):
        parse_close(b"\x03\xe8\xff")


def test_close_reason_has_its_limit() -> None:
    """123 bytes in UTF-8 fit into a control frame (5.5)."""
    assert len(serialize_close(Close(1000, "é" * 61 + "x"))) == 125
    with pytest.raises(LocalProtocolError, match="124 bytes, over 123"):
        serialize_close(Close(1000, "é" * 62))
    with pytest.raises(LocalProtocolError, match="surrogates"):
        serialize_close(Close(1000, "\ud800"))


def test_close_is_checked_before_anything_is_sent() -> None:
    """1005 is the absence of a code, which nobody can ask for (7.4.1)."""
    assert check_close(4000, "why") == Close(4000, "why")
    for code, reason in ((1005, ""), (1006, ""), (1000, "x" * 124)):
        with pytest.raises(LocalProtocolError):
            check_close(code, reason)


@pytest.mark.parametrize(
    ("code", "reason", "sentence"),
    [
        ("x", "", "a close code is an int, not str"),
        (None, "", "a close code is an int, not NoneType"),
        (1000, b"x", "a close reason is a str, not bytes"),
    ],
)
def test_close_of_other_types_is_refused(code: Any, reason: Any, sentence: str) -> None:
    """By an error that says what is wanted."""
    with pytest.raises(TypeError, match=sentence):
        check_close(code, reason)
