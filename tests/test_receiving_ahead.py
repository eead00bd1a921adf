"""Reading while a callback runs long, in the place of the thread that reads."""

from __future__ import annotations

import math
import random

import pytest

from websock.closing import Close
from websock.frames import Frame, Opcode
from websock.receiving import AHEAD_LIMIT, DECODED_LIMIT, SLICE

from .fake_wire import DEADLINE, Wire, deflate, masked, start

LATER = math.inf
"""Nobody has been heard since."""


@pytest.fixture
def wire() -> Wire:
    """A connection whose reader has begun, and is in a callback."""
    wire = Wire()
    wire.receiver.start()
    return wire


def test_pings_are_answered_and_messages_wait(wire: Wire) -> None:
    """The reader gets the messages in their order, and the Close frame behind them."""
    wire.transport.arrive(
        masked(Opcode.TEXT, b"one") + masked(Opcode.PING, b"a"),
        masked(Opcode.TEXT, b"two")[:4],
        masked(Opcode.TEXT, b"two")[4:] + masked(Opcode.PING, b"b"),
        masked(Opcode.CLOSE, b"\x0f\xa0bye"),
    )

    wire.receiver.read_ahead(LATER)

    assert wire.frames() == [Frame(Opcode.PONG, b"a"), Frame(Opcode.PONG, b"b")]
    # From now on there is a deadline for the answer.
    assert wire.keeper.calls == ["expect"]
    assert [wire.next_message() for _ in range(3)] == ["one", "two", None]
    assert wire.receiver.last == Close(4000, "bye")
    assert len(wire.frames()) == 2


def test_who_was_heard_is_left_to_the_reader(wire: Wire) -> None:
    """Its callback doesn't run long."""
    wire.transport.arrive(masked(Opcode.PING))

    wire.receiver.read_ahead(wire.connection.last_alive)

    assert wire.frames() == []
    wire.receiver.read_ahead(LATER)
    assert wire.frames() == [Frame(Opcode.PONG, b"")]


def test_one_reads_at_a_time(wire: Wire) -> None:
    """Nobody waits for the reader, which waits for the peer."""
    reader, result = start(wire.next_message)
    assert wire.transport.waits.wait(DEADLINE)

    wire.receiver.read_ahead(LATER)

    wire.transport.arrive(masked(Opcode.TEXT, b"x"))
    reader.join(DEADLINE)
    assert result == ["x"]


def test_before_the_reader_has_begun_nobody_reads() -> None:
    """What came with the request has to be first."""
    wire = Wire()
    wire.transport.arrive(masked(Opcode.PING))

    wire.receiver.read_ahead(LATER)

    assert wire.frames() == []


def test_who_is_being_closed_is_not_read(wire: Wire) -> None:
    """Nothing that still comes matters."""
    wire.connection.close(4000)
    wire.transport.arrive(masked(Opcode.PING))

    wire.receiver.read_ahead(LATER)

    assert wire.frames() == []


@pytest.mark.parametrize("end", [b"", OSError(104, "reset")], ids=str)
def test_end_waits_behind_the_messages(wire: Wire, end: bytes | OSError) -> None:
    """They were sent before; somebody who is gone is not asked again."""
    wire.transport.arrive(masked(Opcode.TEXT, b"x"), end)

    wire.receiver.read_ahead(LATER)
    wire.receiver.read_ahead(LATER)

    assert [wire.next_message() for _ in range(2)] == ["x", None]


def test_fault_is_left_to_the_reader(wire: Wire) -> None:
    """What came before it is delivered, and then it's told (7.1.7)."""
    wire.transport.arrive(masked(Opcode.TEXT, b"x") + masked(3) + masked(Opcode.PING))

    wire.receiver.read_ahead(LATER)

    assert [wire.next_message() for _ in range(2)] == ["x", None]
    assert str(wire.receiver.last) == "reserved opcode 3"
    assert wire.frames() == []


def test_no_more_is_read_than_waits_at_most(wire: Wire) -> None:
    """The reader goes on where that ended; there is room again when it's through."""
    frame = masked(Opcode.BINARY, b"x" * 1018)
    assert len(frame) == 1026
    wire.transport.arrive(*[frame] * (AHEAD_LIMIT // 1024 * 2))

    wire.receiver.read_ahead(LATER)
    wire.receiver.read_ahead(LATER)

    before = len(wire.transport.incoming)
    assert before >= AHEAD_LIMIT // 1024 - 1
    assert wire.next_message() == b"x" * 1018
    # Not before all of it is taken, by whichever of both ways to read on.
    assert not wire.receiver._is_between()
    wire.receiver.read_ahead(LATER)
    assert len(wire.transport.incoming) == before
    for _ in range(AHEAD_LIMIT // 1024 * 2 - before - 1):
        assert wire.next_message() == b"x" * 1018
    assert wire.receiver._is_between()
    wire.receiver.read_ahead(LATER)
    assert len(wire.transport.incoming) < before


def test_compressed_messages_have_a_limit_of_their_own() -> None:
    """A few bytes of them may be a lot; what is behind a long one is seen."""
    wire = Wire(extensions=deflate())
    wire.receiver.start()
    (extension,) = deflate()
    long = extension.encode(Frame(Opcode.BINARY, bytes(DECODED_LIMIT // 2)))
    assert len(long.payload) < SLICE
    wire.transport.arrive(
        masked(Opcode.BINARY, random.randbytes(5000)), masked(Opcode.PING, b"a")
    )
    wire.receiver.read_ahead(LATER)
    assert wire.frames() == [Frame(Opcode.PONG, b"a")]

    wire.transport.arrive(
        *[masked(Opcode.BINARY, long.payload, rsv1=True)] * 2, masked(Opcode.PING, b"b")
    )
    wire.receiver.read_ahead(LATER)

    assert wire.frames() == [Frame(Opcode.PONG, b"a")]
    assert len(wire.transport.incoming) == 1


def test_what_came_with_the_message_is_foreseen_too(wire: Wire) -> None:
    """It has been read by then, and waits for the callback."""
    wire.transport.arrive(
        masked(Opcode.TEXT, b"one")
        + masked(Opcode.PING, b"a")
        + masked(Opcode.TEXT, b"two")
        + masked(Opcode.CLOSE, b"\x0f\xa0bye")
    )
    assert wire.next_message() == "one"

    wire.receiver.read_ahead(LATER)

    assert wire.frames() == [Frame(Opcode.PONG, b"a")]
    assert wire.keeper.calls == ["expect"]
    # In place of the callback, with the peer's own code.
    assert not wire.connection.enforce_end()
    assert wire.frames()[1:] == [Frame(Opcode.CLOSE, b"\x0f\xa0bye")]
    assert [wire.next_message() for _ in range(2)] == ["two", None]
    assert wire.receiver.last == Close(4000, "bye")


def test_close_of_ours_counts_before_one_that_is_foreseen(wire: Wire) -> None:
    """The reader hasn't got that far: no further message is delivered."""
    wire.transport.arrive(masked(Opcode.TEXT, b"x") + masked(Opcode.CLOSE))
    wire.receiver.read_ahead(LATER)

    wire.connection.close(4001, "ours")

    assert wire.next_message() is None
    assert wire.receiver.last is None
    assert wire.connection.close_wanted == Close(4001, "ours")


def test_flood_of_pings_takes_no_longer_than_its_size(wire: Wire) -> None:
    """As many as are read at once are answered in one go, and leave nothing."""
    pings = [masked(Opcode.PING, b"%d" % number) for number in range(5000)]
    wire.transport.arrive(masked(Opcode.TEXT, b"x") + b"".join(pings))

    wire.receiver.read_ahead(LATER)

    assert len(wire.receiver._pending) == 1
    assert wire.next_message() == "x"


def test_peer_that_does_not_read_its_answers_holds_up_nobody(wire: Wire) -> None:
    """Its Ping waits for the reader, who may wait."""
    wire.transport.room = 0
    wire.connection.send("x" * 1000)
    wire.transport.arrive(masked(Opcode.PING, b"a"))

    wire.receiver.read_ahead(LATER)

    wire.flush()
    wire.transport.arrive(b"")
    assert wire.next_message() is None
    assert wire.frames()[1:] == [Frame(Opcode.PONG, b"a")]


@pytest.mark.parametrize(("payload", "alive"), [(b"ours", True), (b"theirs", False)])
def test_pong_is_a_sign_of_life_and_is_told_by_the_reader(
    wire: Wire, payload: bytes, alive: bool
) -> None:
    """Callbacks run in the client's thread."""
    wire.connection.ping(b"ours")
    before = wire.connection.last_alive
    wire.transport.arrive(masked(Opcode.PONG, payload))

    wire.receiver.read_ahead(LATER)

    assert (wire.connection.last_alive > before) == alive
    assert ("pong", b"ours") not in wire.keeper.events
    wire.transport.arrive(b"")
    assert wire.next_message() is None
    assert (("pong", b"ours") in wire.keeper.events) == alive


def test_callback_about_a_pong_may_read_on(wire: Wire) -> None:
    """Nobody has the token while it runs."""
    got: list[object] = []
    wire.connection.ping(b"ours")
    wire.transport.arrive(
        masked(Opcode.PONG, b"ours") + masked(Opcode.TEXT, b"one"),
        masked(Opcode.TEXT, b"two"),
    )
    wire.keeper.when_pong = lambda: got.append(wire.receiver.recv(DEADLINE))

    got.append(wire.next_message())

    assert got == ["one", "two"]


def test_rest_of_a_slice_comes_first() -> None:
    """Where messages may be compressed, little is decoded at once."""
    wire = Wire(extensions=deflate())
    wire.receiver.start()
    frames = [masked(Opcode.BINARY, bytes([n]) * 1500) for n in range(6)]
    wire.transport.arrive(b"".join(frames))

    wire.receiver.read_ahead(LATER)

    assert [wire.next_message() for _ in range(6)] == [
        bytes([n]) * 1500 for n in range(6)
    ]
