"""Attacks with text that is none, and with Close frames: C1 to C4 of the list."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from websock.exceptions import LocalProtocolError

from ...tools import wait_until
from ..wire import DEADLINE
from .conftest import MakeArena
from .kit import (
    DEFLATE,
    FIN,
    RSV1,
    compress,
    cpu_time,
    frame,
    growth_is_linear,
    header,
    mask,
)

CONTINUATION, TEXT, CLOSE, PING = 0, 1, 8, 9

BAD = {
    "lone byte": b"\xff",
    "lone continuation": b"\x80",
    "overlong slash": b"\xc0\xaf",
    "overlong nul": b"\xc0\x80",
    "overlong in three": b"\xe0\x80\xaf",
    "overlong in four": b"\xf0\x80\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "above the last": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "broken off": b"\xe2\x82a",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
@pytest.mark.parametrize("before", [b"", "grüße €".encode(), b"a" * 1000])
def test_c1_text_that_is_not_utf8(
    tcp_arena: MakeArena, before: bytes, bad: bytes
) -> None:
    """It gets 1007, whatever is wrong with it (8.1)."""
    with tcp_arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(FIN | TEXT, before + bad + b"after"))

        assert peer.closes(1007)


@pytest.mark.parametrize("tail", [b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98"])
@pytest.mark.parametrize("fragments", [1, 2])
def test_c1_text_that_ends_within_a_character(
    arena: MakeArena, tail: bytes, fragments: int
) -> None:
    """The end of the message is too late for the rest of a character."""
    first = frame(FIN | TEXT, tail) if fragments == 1 else frame(TEXT, tail)

    with arena() as scene, scene.attacker().open() as peer:
        peer.write(first if fragments == 1 else first + frame(FIN))

        assert peer.closes(1007)


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_c1_compressed_text_that_is_not_utf8(tcp_arena: MakeArena, bad: bytes) -> None:
    """What compression hides is held to the same rules."""
    headers = {"Sec_WebSocket_Extensions": DEFLATE}

    with tcp_arena() as scene, scene.attacker().open(**headers) as peer:
        peer.write(frame(FIN | RSV1 | TEXT, compress(b"before" + bad)))

        assert peer.closes(1007)


def test_c1_binary_is_not_text(arena: MakeArena) -> None:
    """Binary messages may have any bytes."""
    with arena() as scene, scene.attacker().open() as peer:
        for bad in BAD.values():
            assert peer.echoes(bad)
        assert peer.leave()


CHARACTERS = "aü€😀\U0010ffff"


def test_c2_characters_split_over_fragments(arena: MakeArena) -> None:
    """Every fragment may end within a character (5.6)."""
    data = CHARACTERS.encode()

    with arena() as scene, scene.attacker().open() as peer:
        for cut in range(len(data) + 1):
            first, second = data[:cut], data[cut:]
            peer.write(frame(TEXT, first) + frame(FIN | PING))
            peer.write(frame(CONTINUATION) + frame(FIN, second))
            assert peer.read_frame().opcode == 10
            assert peer.receive() == CHARACTERS
        pieces = [frame(CONTINUATION, bytes([byte])) for byte in data]
        peer.write(frame(TEXT) + b"".join(pieces) + frame(FIN))
        assert peer.receive() == CHARACTERS
        assert peer.leave()


def test_c2_characters_split_over_packets(arena: MakeArena) -> None:
    """So may every packet."""
    data = CHARACTERS.encode()
    head = header(FIN | TEXT, len(data))

    with arena() as scene, scene.attacker().open() as peer:
        client = scene.client_of(peer)
        for cut in range(len(data)):
            peer.write(head + mask(data)[:cut])
            assert wait_until(lambda: not client._connection.has_unread_data())
            peer.write(mask(data)[cut:])
            assert peer.receive() == CHARACTERS
        assert peer.leave()


@pytest.mark.usefixtures("_one_byte_reads")
def test_c2_characters_read_byte_by_byte(arena: MakeArena) -> None:
    """All the cuts at once."""
    with arena() as scene, scene.attacker().open() as peer:
        assert peer.echoes(CHARACTERS * 50)
        assert peer.leave()


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_c2_impossible_byte_in_the_first_fragment_fails_fast(
    arena: MakeArena, bad: bytes
) -> None:
    """The rest of the message isn't waited for."""
    with arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(TEXT, b"a" + bad))

        assert peer.closes(1007)


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_c2_impossible_byte_fails_before_the_end_of_its_frame(
    arena: MakeArena, bad: bytes
) -> None:
    """Nor is the rest of the frame."""
    with arena() as scene, scene.attacker().open() as peer:
        peer.write(header(FIN | TEXT, 1000) + mask(b"a" + bad))

        assert peer.closes(1007)


def test_c2_text_in_tiny_fragments_costs_linear_time(tcp_arena: MakeArena) -> None:
    """No character is checked again because others come after it."""
    with tcp_arena(max_fragments=200_000) as scene, scene.attacker().open() as peer:
        assert peer.echoes("here")
        thread = scene.client_thread()

        def cost(fragments: int) -> float:
            before = cpu_time(thread)
            halves = frame(CONTINUATION, b"\xc3") + frame(CONTINUATION, b"\xbc")
            peer.write(frame(TEXT) + halves * (fragments // 2) + frame(FIN))
            assert peer.receive() == "ü" * (fragments // 2)
            return cpu_time(thread) - before

        assert growth_is_linear(cost, 5000, 8)
        assert peer.leave()


def test_c3_close_payload_of_one_byte(arena: MakeArena) -> None:
    """Half a close code is none (5.5.1)."""
    with arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(FIN | CLOSE, b"\x03"))

        assert peer.closes(1002)


@pytest.mark.parametrize(
    "code",
    [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65535],
)
def test_c3_close_codes_that_may_not_be_sent(arena: MakeArena, code: int) -> None:
    """They get 1002 (7.4)."""
    with arena() as scene, scene.attacker().open() as peer:
        peer.send_close(code, "reason")

        assert peer.closes(1002)
        assert scene.closed.get(timeout=DEADLINE)[1] == 1002


@pytest.mark.parametrize(
    "code",
    [
        *(1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014),
        *(3000, 3999, 4000, 4999),
    ],
)
def test_c3_close_codes_that_may_be_sent(tcp_arena: MakeArena, code: int) -> None:
    """They come back, and the application learns of them (5.5.1, 11.7)."""
    with tcp_arena() as scene, scene.attacker().open() as peer:
        peer.send_close(code, "grüße")

        assert peer.closes(code, "grüße")
        client, got, reason = scene.closed.get(timeout=DEADLINE)
        assert (client.address[1], got, reason) == (peer.port, code, "grüße")


def test_c3_close_without_a_code(arena: MakeArena) -> None:
    """An empty Close frame is answered by one, and means 1005 (7.1.5)."""
    with arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(FIN | CLOSE))

        assert peer.closes(1005)
        assert scene.closed.get(timeout=DEADLINE)[1:] == (1005, "")


@pytest.mark.parametrize("bad", BAD.values(), ids=list(BAD))
def test_c4_close_reason_that_is_not_utf8(tcp_arena: MakeArena, bad: bytes) -> None:
    """It gets 1007 instead of its echo (5.5.1, 8.1)."""
    with tcp_arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(FIN | CLOSE, b"\x03\xe8bye " + bad))

        assert peer.closes(1007)


@pytest.mark.parametrize("tail", [b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98"])
def test_c4_close_reason_that_ends_within_a_character(
    tcp_arena: MakeArena, tail: bytes
) -> None:
    """A reason that was cut without care is no text, either."""
    with tcp_arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(FIN | CLOSE, b"\x03\xe8bye " + tail))

        assert peer.closes(1007)


def test_c4_close_reason_of_123_bytes(arena: MakeArena) -> None:
    """The longest reason comes back whole."""
    with arena() as scene, scene.attacker().open() as peer:
        peer.send_close(1000, "r" * 123)

        assert peer.closes(1000, "r" * 123)


def test_c4_close_reason_of_124_bytes(arena: MakeArena) -> None:
    """One byte more makes the frame too long, which two bytes of it tell."""
    with arena() as scene, scene.attacker().open() as peer:
        peer.write(frame(FIN | CLOSE, struct.pack("!H", 1000) + b"r" * 124)[:2])

        assert peer.closes(1002)


def test_c4_close_reason_with_control_characters_forges_no_line(
    arena: MakeArena,
) -> None:
    """The peer gets it back, the log doesn't."""
    reason = "bye\r\nINFO forged \x1b[2J\u2028"

    with arena() as scene, scene.attacker().open() as peer:
        peer.send_close(1000, reason)

        assert peer.closes(1000, reason)


@pytest.mark.parametrize("reason", ["r" * 124, "ü" * 62, "\ud800"])
def test_c4_own_reason_that_does_not_fit_is_the_callers_fault(
    tcp_arena: MakeArena, reason: str
) -> None:
    """Nothing is sent, and the connection goes on; see LocalProtocolError."""
    faults = []

    def on_data_receive(client: Any, data: str) -> None:
        if data == "close":
            try:
                client.close(1000, reason)
            except LocalProtocolError as error:
                faults.append(error)
        client.send(data)

    callbacks = {"on_data_receive": on_data_receive}
    with tcp_arena(**callbacks) as scene, scene.attacker().open() as peer:
        assert peer.echoes("close")
        assert peer.leave()

    assert len(faults) == 1


def test_c4_own_reason_for_a_fault_always_fits(arena: MakeArena) -> None:
    """What the server says about a fault is short, and text, whatever came."""
    with arena() as scene:
        for data in (b"\x81\x05", frame(FIN | TEXT, b"\xff"), frame(FIN, b"")):
            with scene.attacker().open() as peer:
                peer.write(data)
                code, reason = peer.read_close()
                assert code in (1002, 1007)
                assert 0 < len(reason.encode()) <= 123
                assert reason.isprintable()
