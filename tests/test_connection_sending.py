"""Connections on a fake transport: sending, the outbox, and broadcasts."""

from __future__ import annotations

import functools
import os
import random
import threading
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools import wait_until
from websock.closing import Close
from websock.connection import Connection
from websock.exceptions import (
    ConnectionClosed,
    LocalProtocolError,
    SendTimeout,
)
from websock.frames import Frame, Opcode
from websock.lifecycle import State
from websock.messages import Ping
from websock.outbox import ENTRY_COST
from websock.pings import MAX_PINGS
from websock.writer import SharedMessage

from .fake_wire import Wire, deflate, start, texts

DEADLINE = 20.0


@pytest.fixture
def wire() -> Wire:
    """A connection whose peer reads everything at once."""
    return Wire()


# Sending, and the outbox.


def test_frames_are_sent_as_they_are(wire: Wire) -> None:
    """Fragments of a message that is made by hand, and nothing between them."""
    wire.connection.send(Frame(Opcode.TEXT, b"a", fin=False))
    with pytest.raises(LocalProtocolError, match="isn't finished"):
        wire.connection.send("other")
    wire.connection.ping(b"may")
    wire.connection.send(Frame(Opcode.CONTINUATION, b"b"))
    wire.connection.send("text", fragment_size=3)

    assert [(f.opcode, f.payload, f.fin) for f in wire.frames()] == [
        (1, b"a", False),
        (9, b"may", True),
        (0, b"b", True),
        (1, b"tex", False),
        (0, b"t", True),
    ]


def test_keeper_is_asked_once_to_flush(wire: Wire) -> None:
    """When something begins to wait; everything keeps its order behind it."""
    wire.transport.room = 4
    for text in ("one", "two", "three"):
        wire.connection.send(text)
    wire.connection.ping(b"p")

    assert wire.keeper.calls == ["flush"]
    sizes = [wire.connection._outbox.size]
    while not wire.flush(2):
        sizes.append(wire.connection._outbox.size)
    assert sizes == sorted(sizes, reverse=True)
    assert texts(wire.frames()[:3]) == ["one", "two", "three"]
    assert wire.frames()[3].opcode == Opcode.PING
    assert wire.connection._outbox.size == 0
    wire.transport.room = 100
    wire.connection.send("direct")
    assert wire.keeper.calls == ["flush"]


def test_progress_of_a_peer_is_counted(wire: Wire) -> None:
    """What it took of the outbox, since the last time that somebody asked."""
    wire.transport.room = 0
    wire.connection.send("text")

    assert wire.connection.take_flushed() == 0
    wire.flush(2)
    wire.flush(3)
    assert wire.connection.take_flushed() == 5
    assert wire.connection.take_flushed() == 0


def test_send_to_a_lost_peer_is_an_error(wire: Wire) -> None:
    """The first one that finds out raises, too; outside of send nobody does."""
    wire.transport.lost = True
    with pytest.raises(ConnectionClosed):
        wire.connection.send("x")
    operations: list[Callable[[Connection], object]] = [
        lambda c: c.answer(Ping(b"")),
        lambda c: c.say_goodbye(),
        lambda c: c.flush(),
        lambda c: c.enforce_end(),
    ]
    for operation in operations:
        other = Wire(0)
        other.connection.send("waits")
        other.transport.lost = True
        operation(other.connection)
        assert other.connection.offer(SharedMessage("x"), "close") in (True, False)


def test_peer_that_is_lost_while_flushing(wire: Wire) -> None:
    """The outbox is gone, and the keeper has nothing more to flush."""
    wire.transport.room = 1
    wire.connection.send("text")
    wire.transport.lost = True

    assert wire.flush()
    assert wire.connection.state is State.CLOSED
    assert wire.connection._outbox.size == 0


def waiting(wire: Wire, timeout: bool = True) -> tuple[threading.Thread, list[object]]:
    """A thread that waits for room in the outbox."""
    wire.transport.room = 0
    wire.connection.send("x" * 1000)
    thread, result = start(lambda: wire.connection.send("next"))

    assert wait_until(lambda: bool(wire.connection._turns))
    return thread, result


@pytest.mark.parametrize("send_timeout", [None, DEADLINE])
def test_sender_waits_for_room(send_timeout: float | None) -> None:
    """Until the outbox is below its limit, not until it's empty."""
    wire = Wire(send_timeout=send_timeout)
    thread, result = waiting(wire)
    assert not wire.flush(3)
    assert thread.is_alive()
    # 1,004 bytes were there, and what an entry costs: now there is room.
    assert not wire.flush(2 + ENTRY_COST)
    thread.join(DEADLINE)
    assert result == [None]
    wire.flush()
    assert texts(wire.frames()) == ["x" * 1000, "next"]


@pytest.mark.parametrize(
    "end",
    [
        lambda wire: wire.connection.abort(),
        lambda wire: wire.connection.release(),
        lambda wire: wire.connection.enforce_end(),
        lambda wire: close_properly(wire.connection),
        lambda wire: (wire.transport.abort(), wire.flush()),
    ],
    ids=["abort", "release", "enforce_end", "goodbye", "lost"],
)
@pytest.mark.parametrize("send_timeout", [None, DEADLINE])
def test_sender_that_waits_learns_of_the_end(
    end: Callable[[Wire], object], send_timeout: float | None
) -> None:
    """Whatever ends the connection."""
    wire = Wire(send_timeout=send_timeout)
    thread, result = waiting(wire)

    end(wire)

    thread.join(DEADLINE)
    assert isinstance(result[0], ConnectionClosed)


def test_sender_gives_up_at_its_deadline() -> None:
    """The peer is dropped, and other senders that wait learn of it."""
    wire = Wire(0, send_timeout=0.05)
    wire.connection.send("x" * 1000)
    threads = [start(lambda: wire.connection.send("next")) for _ in range(3)]
    for thread, _ in threads:
        thread.join(DEADLINE)

    errors = [result[0] for _, result in threads]
    assert any(isinstance(error, SendTimeout) for error in errors)
    assert all(isinstance(error, SendTimeout | ConnectionClosed) for error in errors)
    assert wire.connection.state is State.CLOSED
    assert wire.transport.calls[-1] == "abort"


def test_lock_is_not_held_while_waiting() -> None:
    """Pings and Pongs go on, and so does whoever closes."""
    wire = Wire()
    thread, result = waiting(wire)
    wire.connection.ping()
    assert not wire.connection.offer(SharedMessage("x"), "drop_newest")
    wire.connection.close(4000)
    wire.connection.say_goodbye()
    wire.flush()
    thread.join(DEADLINE)
    assert len(result) == 1


def test_pings_behind_a_full_outbox_are_few(wire: Wire) -> None:
    """Their answers will tell as much; keepalive has its Ping there (E3)."""
    wire.transport.room = 0
    wire.connection.send("x" * 1000)
    for _ in range(10):
        wire.connection.ping(b"same")
    for _ in range(10 * MAX_PINGS):
        wire.connection.ping()

    assert wire.connection._outbox.size < 1004 + ENTRY_COST + MAX_PINGS * 256
    wire.flush()
    assert len(wire.frames()) == 1 + MAX_PINGS
    wire.connection.ping(b"there is room")
    assert wire.frames()[-1].payload == b"there is room"
    wire.transport.room = 0
    wire.connection.send("x" * 1000)
    for _ in range(2 * MAX_PINGS):
        wire.connection.ping()
    wire.connection.close()
    wire.connection.say_goodbye()
    with pytest.raises(ConnectionClosed):
        wire.connection.ping()
    wire.flush()
    assert len(wire.frames()) == 1 + MAX_PINGS + 1 + 1 + MAX_PINGS + 1


# Broadcasts.


def test_broadcast_to_a_full_outbox_closes(wire: Wire) -> None:
    """With 1013, once; what was sent before comes first."""
    wire.transport.room = 0
    wire.connection.send("x" * 1000)

    for _ in range(2):
        assert not wire.connection.offer(SharedMessage("news"), "close")

    assert wire.keeper.calls == ["flush", "expect"]
    assert wire.transport.calls == ["interrupt"]
    wire.connection.say_goodbye()
    wire.flush()
    assert wire.frames()[1] == Frame(Opcode.CLOSE, b"\x03\xf5too slow")


def test_newest_is_dropped(wire: Wire) -> None:
    """The outbox stays as it is."""
    wire.transport.room = 0
    wire.connection.send("x" * 1000)

    assert not wire.connection.offer(SharedMessage("news"), "drop_newest")

    wire.flush()
    assert texts(wire.frames()) == ["x" * 1000]
    assert wire.connection.offer(SharedMessage("news"), "drop_newest")


def close_properly(connection: Connection) -> None:
    """Close, and let the reader say goodbye."""
    connection.close()
    connection.say_goodbye()


@pytest.mark.parametrize("policy", ["close", "drop_newest", "drop_oldest"])
def test_broadcast_to_one_who_leaves_is_nothing(policy: str) -> None:
    """Closing, closed, or lost: no error, and no second Close frame."""
    for leave in (
        lambda c: c.close(),
        lambda c: c.abort(),
        close_properly,
    ):
        wire = Wire()
        leave(wire.connection)
        written = bytes(wire.transport.written)
        assert not wire.connection.offer(SharedMessage("news"), policy)
        assert wire.transport.written == written
    wire = Wire()
    wire.transport.lost = True
    assert not wire.connection.offer(SharedMessage("news"), policy)


def test_broadcast_waits_for_the_last_fragment(wire: Wire) -> None:
    """Nothing may come between the frames of a message that is sent by hand (5.4)."""
    wire.connection.send(Frame(Opcode.TEXT, b"a", fin=False))

    assert wire.connection.offer(SharedMessage("news"), "close")

    wire.connection.send(Frame(Opcode.CONTINUATION, b"b", fin=False))
    assert wire.connection.offer(SharedMessage("more news"), "close")
    wire.connection.send(Frame(Opcode.CONTINUATION, b"c"))
    wire.connection.send("later")
    assert texts(wire.frames()[3:]) == ["news", "more news", "later"]


def test_broadcasts_that_wait_for_the_last_fragment_have_their_limit(
    wire: Wire,
) -> None:
    """They count like those in the outbox, and the policy is the same."""
    wire.connection.send(Frame(Opcode.TEXT, b"a", fin=False))
    for number in range(9):
        accepted = wire.connection.offer(
            SharedMessage(f"{number}" * 300), "drop_newest"
        )
        assert accepted == (number < 3)
    for number in range(9):
        assert wire.connection.offer(SharedMessage(f"{number}" * 300), "drop_oldest")
    assert wire.connection._outbox.deferred_size < 1000 + 302 + ENTRY_COST
    assert not wire.connection.offer(SharedMessage("too much"), "close")

    wire.connection.send(Frame(Opcode.CONTINUATION, b"b"))
    wire.connection.say_goodbye()

    frames = wire.frames()[2:]
    assert texts(frames[:-1]) == ["6" * 300, "7" * 300, "8" * 300]
    assert frames[-1] == Frame(Opcode.CLOSE, b"\x03\xf5too slow")


@pytest.mark.parametrize("end", [Connection.abort, Connection.say_goodbye])
def test_broadcasts_that_waited_in_vain_are_dropped(
    wire: Wire, end: Callable[[Connection], None]
) -> None:
    """The connection ends before the message that holds them up."""
    wire.connection.send(Frame(Opcode.TEXT, b"a", fin=False))
    wire.connection.offer(SharedMessage("news"), "close")
    wire.connection.mark_close_rcvd(Close(1000, ""))
    end(wire.connection)

    with pytest.raises(ConnectionClosed):
        wire.connection.send(Frame(Opcode.CONTINUATION, b"b"))
    wire.connection.release()

    assert wire.connection._outbox.deferred_size == 0
    assert b"news" not in wire.transport.written


def test_oldest_are_dropped() -> None:
    """As many as make room; in order, and what ``send`` accepted stays."""
    wire = Wire(write_limit=2000)
    wire.transport.room = 0
    wire.connection.send("sent first")
    for number in range(3):
        wire.connection.offer(SharedMessage(f"{number}" * 200), "drop_oldest")
    wire.connection.send("sent last")
    for number in range(3, 9):
        assert wire.connection.offer(SharedMessage(f"{number}" * 200), "drop_oldest")
        assert wire.connection._outbox.size < 2000 + 202 + ENTRY_COST

    wire.flush()

    got = texts(wire.frames())
    assert got[:2] == ["sent first", "sent last"]
    numbers = [int(text[0]) for text in got[2:]]
    assert numbers == list(range(9))[-len(numbers) :]
    assert len(numbers) > 3


def test_message_that_has_begun_is_not_dropped(wire: Wire) -> None:
    """Its rest must follow, whether it began at once or while flushing."""
    wire.transport.room = 5
    for number in range(20):
        wire.connection.offer(SharedMessage(f"{number % 10}" * 300), "drop_oldest")
    assert not wire.flush(400)
    for number in range(20):
        wire.connection.offer(SharedMessage(f"{number % 10}" * 300), "drop_oldest")

    wire.flush()

    got = texts(wire.frames())
    assert got[0] == "0" * 300
    assert got[-1] == "9" * 300
    assert all(len(set(text)) == 1 and len(text) == 300 for text in got)


@pytest.mark.parametrize("flushed", [False, True])
def test_message_that_was_put_off_is_not_dropped(wire: Wire, flushed: bool) -> None:
    """OpenSSL may have taken the record and told that nothing was sent.

    It must be offered the same data again (SSL_write(3)), so that a message counts
    as begun once the transport has seen it.
    """
    wire.transport.room = 0
    if flushed:
        wire.connection.send("first")
    wire.connection.offer(SharedMessage("seen " + "x" * 300), "drop_oldest")
    if flushed:
        assert not wire.flush(7)
    for _ in range(20):
        wire.connection.offer(SharedMessage("news " + "x" * 300), "drop_oldest")

    wire.flush()

    assert ("seen " + "x" * 300) in texts(wire.frames())[: 1 + flushed]


# Many senders, and a socket that takes what it likes.


def inflated(frames: list[Frame]) -> Iterator[str]:
    """Texts of frames whose compression refers to those before (RFC 7692, 7.2)."""
    inflater = zlib.decompressobj(-15)
    for frame in frames:
        assert frame.fin
        assert frame.opcode == Opcode.TEXT
        payload = frame.payload
        if frame.rsv1:
            payload = inflater.decompress(payload + b"\0\0\xff\xff")
        yield payload.decode()


@pytest.mark.parametrize("compressed", [False, True])
@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    counts=st.lists(st.integers(1, 10), min_size=2, max_size=3),
    size=st.integers(1, 3000),
    policy=st.sampled_from(["drop_oldest", "drop_newest"]),
)
def test_messages_of_threads_never_mix(
    compressed: bool, seed: int, counts: list[int], size: int, policy: str
) -> None:
    """Whatever a write takes: frames are whole, and each sender's are in order.

    Broadcasts may be missing, what was sent may not; nothing comes twice.
    """
    chance = random.Random(seed)
    wire = Wire(
        0, write_limit=4000, extensions=deflate() if compressed else (), send_timeout=60
    )
    over = threading.Event()

    def take() -> None:
        wire.transport.room = chance.choice([0, 1, 2, 3, 100, 5000])

    def text(who: str, number: int) -> str:
        return f"{who} {number} " + who * size

    wire.transport.before_write = take

    def send(who: str, count: int) -> None:
        for number in range(count):
            wire.connection.send(text(who, number))

    def broadcast() -> None:
        for number in range(10):
            wire.connection.offer(SharedMessage(text("b", number)), policy)

    jobs = [functools.partial(send, str(n), count) for n, count in enumerate(counts)]
    jobs.append(functools.partial(broadcast))

    def flush() -> None:
        last = False
        while not last:
            last = over.is_set()
            while not wire.connection.flush():
                # Without the GIL, nobody else might get the lock.
                os.sched_yield()

    flusher, flushed = start(flush)
    senders = [start(job) for job in jobs]
    for sender, result in senders:
        sender.join(DEADLINE)
        assert result
        assert not isinstance(result[0], Exception), result
    over.set()
    flusher.join(DEADLINE)
    assert flushed == [None]

    got: dict[str, list[int]] = {}
    for message in inflated(wire.frames()):
        who, number, rest = message.split()
        assert rest == who * size
        got.setdefault(who, []).append(int(number))
    for name, count in enumerate(counts):
        assert got[str(name)] == list(range(count))
    news = got.get("b", [])
    assert news == sorted(set(news))
