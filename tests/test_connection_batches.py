"""Connections without accelerator: what a batch of messages sends leaves at once."""

from __future__ import annotations

import threading

import pytest

from websock.connection import HELD_LIMIT
from websock.frames import Frame, Opcode
from websock.writer import SharedMessage

from .fake_wire import DEADLINE, Wire, deflate, masked, start


@pytest.fixture
def wire() -> Wire:
    """A connection whose reader has begun, with three messages that came at once."""
    wire = Wire(write_limit=10**6)
    wire.receiver.start()
    wire.transport.arrive(b"".join(masked(Opcode.TEXT, text) for text in (b"1", b"2")))
    wire.transport.arrive(masked(Opcode.TEXT, b"3"))
    return wire


def count_writes(wire: Wire) -> list[int]:
    """List that gets an item with each write."""
    writes: list[int] = []
    wire.transport.before_write = lambda: writes.append(len(wire.transport.written))
    return writes


def echo(wire: Wire) -> None:
    """Send the next message back."""
    message = wire.next_message()
    assert message is not None
    wire.connection.send(message)


def payloads(wire: Wire) -> list[bytes]:
    """Payloads of what the peer has got."""
    return [frame.payload for frame in wire.frames()]


def test_answers_to_a_batch_leave_together(wire: Wire) -> None:
    """With the last one's; a batch of one needs no help of the keeper."""
    writes = count_writes(wire)

    echo(wire)
    assert (len(writes), wire.keeper.calls) == (0, ["write"])
    echo(wire)
    assert len(writes) == 1
    assert payloads(wire) == [b"1", b"2"]
    echo(wire)
    assert (len(writes), wire.keeper.calls) == (2, ["write"])


def test_batch_that_sends_no_last_answer_is_written_before_the_next(wire: Wire) -> None:
    """The peer may wait for it before it sends anything."""
    echo(wire)
    assert wire.next_message() == "2"
    assert payloads(wire) == []

    assert wire.next_message() == "3"

    assert payloads(wire) == [b"1"]
    assert not wire.connection.holds_back


def test_keeper_writes_what_is_held_back_for_too_long(wire: Wire) -> None:
    """The callback goes on; what it sends from then on is held back anew."""
    echo(wire)

    wire.connection.write_due()
    wire.connection.send("more")

    assert payloads(wire) == [b"1"]
    assert wire.keeper.calls == ["write", "write"]


def test_others_write_what_is_held_back_first(wire: Wire) -> None:
    """Messages arrive in the order of the calls, whoever made them."""
    echo(wire)
    sender, _ = start(lambda: wire.connection.send("other thread"))
    sender.join(DEADLINE)
    wire.connection.send("held")
    assert wire.connection.offer(SharedMessage("broadcast"), "close")
    wire.connection.send("held")
    wire.connection.ping(b"ping")
    wire.connection.send("held")
    wire.connection.say_goodbye()

    assert payloads(wire) == [
        *(b"1", b"other thread", b"held", b"broadcast", b"held", b"ping", b"held"),
    ]


def test_broadcast_behind_what_is_held_back_is_dropped_alone(wire: Wire) -> None:
    """What ``send()`` accepted is not, whoever wrote it."""
    wire.transport.room = 0
    echo(wire)
    assert wire.connection.offer(SharedMessage("old"), "drop_oldest")
    assert wire.connection.offer(SharedMessage("x" * 10**6), "drop_oldest")
    assert wire.connection.offer(SharedMessage("new"), "drop_oldest")

    wire.flush()

    assert payloads(wire) == [b"1", b"new"]


def test_broadcast_notices_that_what_was_held_back_is_lost(wire: Wire) -> None:
    """There is nobody who could get it."""
    echo(wire)
    wire.transport.lost = True

    assert not wire.connection.offer(SharedMessage("x"), "close")


def test_much_is_not_held_back(wire: Wire) -> None:
    """A callback that sends a lot doesn't fill the memory."""
    big = b"x" * (HELD_LIMIT // 2)
    assert wire.next_message() == "1"

    wire.connection.send(big)
    assert payloads(wire) == []
    wire.connection.send(big)

    assert payloads(wire) == [big, big]


def test_what_is_held_back_waits_for_room_like_the_rest() -> None:
    """A peer that reads slowly gets all of it, in its order."""
    wire = Wire(10, write_limit=10**6)
    wire.receiver.start()
    frames = [masked(Opcode.BINARY, bytes([n]) * 30) for n in range(4)]
    wire.transport.arrive(b"".join(frames))

    for _ in range(4):
        echo(wire)

    assert "flush" in wire.keeper.calls
    while not wire.flush():
        pass
    assert payloads(wire) == [bytes([n]) * 30 for n in range(4)]


def test_lost_connection_holds_nothing_back(wire: Wire) -> None:
    """The keeper is done with it."""
    echo(wire)

    wire.connection.release()

    assert not wire.connection.holds_back


def test_other_threads_hold_nothing_back(wire: Wire) -> None:
    """They know of no batch."""
    assert wire.next_message() == "1"
    sent = threading.Event()

    def send() -> None:
        wire.connection.send("x")
        sent.set()

    sender, _ = start(send)
    assert sent.wait(DEADLINE)
    sender.join(DEADLINE)

    assert wire.frames() == [Frame(Opcode.TEXT, b"x")]


def test_compressed_answers_are_held_back_too() -> None:
    """As many writes as batches, and the compression in its order."""
    wire = Wire(write_limit=10**6, extensions=deflate())
    wire.receiver.start()
    texts = [f"a text that is long enough, number {n}" * 5 for n in range(5)]
    wire.transport.arrive(
        b"".join(masked(Opcode.TEXT, text.encode()) for text in texts)
    )
    writes = count_writes(wire)

    for _ in texts:
        echo(wire)

    assert len(writes) == 1
    assert all(frame.rsv1 for frame in wire.frames())
