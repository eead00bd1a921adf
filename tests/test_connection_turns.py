"""Connections on a fake transport: the turns of senders, and what comes meanwhile."""

from __future__ import annotations

import functools
import threading

import pytest

from tests.tools import wait_until
from websock import connection as module
from websock.exceptions import LocalProtocolError
from websock.frames import Opcode
from websock.lifecycle import State
from websock.messages import Ping
from websock.outbox import ENTRY_COST
from websock.writer import SharedMessage

from .fake_wire import DEADLINE, Wire, start, texts


@pytest.fixture
def wire() -> Wire:
    """A connection whose peer reads everything at once."""
    return Wire()


class SlowText(str):
    """A text that takes until it's told to be encoded."""

    begun: threading.Event
    go_on: threading.Event

    def encode(self, *args: str) -> bytes:
        """Wait, and do it."""
        self.begun.set()
        assert self.go_on.wait(DEADLINE)
        return super().encode(*args)


class Encoding:
    """A thread that has the turn to send, and encodes for as long as a test likes."""

    def __init__(self, wire: Wire, text: str = "slow") -> None:
        self._text = SlowText(text)
        self._text.begun = threading.Event()
        self._text.go_on = threading.Event()
        self._thread, self.result = start(lambda: wire.connection.send(self._text))
        assert self._text.begun.wait(DEADLINE)

    def finish(self) -> None:
        """Let it go on, and wait for it."""
        self._text.go_on.set()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


def has_waiting(wire: Wire, count: int) -> bool:
    """Whether so many senders wait for their turn."""
    return len(wire.connection._turns) == count


def queue_up(wire: Wire, *messages: str) -> list[tuple[threading.Thread, list[object]]]:
    """Start a thread for each message, which waits behind the one before it."""
    senders = []
    count = len(wire.connection._turns)
    for number, message in enumerate(messages, count + 1):
        senders.append(start(functools.partial(wire.connection.send, message)))
        assert wait_until(functools.partial(has_waiting, wire, number))
    return senders


def test_senders_that_wait_go_on_one_by_one(wire: Wire) -> None:
    """Each looks for room when it's its turn, and the first come first."""
    wire.transport.room = 0
    messages = [f"{number}" * 1000 for number in range(10)]
    wire.connection.send(messages[0])
    senders = queue_up(wire, *messages[1:])

    for left in range(8, -1, -1):
        # Below the limit, so that one of them goes on, but not empty.
        wire.flush(wire.connection._outbox.size - 999)
        assert wait_until(functools.partial(has_waiting, wire, left))
        assert wait_until(lambda: wire.connection._outbox.size >= 1000)
        assert wire.connection._outbox.size <= 999 + 1004 + ENTRY_COST
    for sender, result in senders:
        sender.join(DEADLINE)
        assert result == [None]
    wire.flush()
    assert texts(wire.frames()) == messages


def test_nobody_overtakes_a_sender_that_waits(wire: Wire) -> None:
    """Not even if there is room at last, and the first one doesn't know it yet."""
    wire.transport.room = 0
    wire.connection.send("x" * 1000)
    senders = queue_up(wire, "first")
    with wire.connection._lock:
        wire.connection._outbox.clear()

    senders += queue_up(wire, "second")
    wire.flush()

    for sender, _ in senders:
        sender.join(DEADLINE)
    wire.flush()
    assert texts(wire.frames()) == ["first", "second"]


def test_senders_that_came_while_another_encoded_look_for_room(wire: Wire) -> None:
    """There was some when they came, and isn't any more when it's their turn."""
    wire.transport.room = 0
    encoding = Encoding(wire, "x" * 1000)
    senders = queue_up(wire, "one", "two")

    encoding.finish()

    assert len(wire.connection._turns) == 2
    wire.flush()
    for sender, result in senders:
        sender.join(DEADLINE)
        assert result == [None]
    assert texts(wire.frames()) == ["x" * 1000, "one", "two"]


def test_time_that_others_take_to_encode_is_not_the_peers_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is room, so that no deadline passes."""
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    wire = Wire(0, send_timeout=10.0)
    encoding = Encoding(wire)
    ((sender, result),) = queue_up(wire, "next")

    now = 200.0
    with wire.connection._lock:
        wire.connection._turns.wake_first()
    encoding.finish()

    sender.join(DEADLINE)
    assert result == [None]
    wire.flush()
    assert texts(wire.frames()) == ["slow", "next"]


def test_turn_is_passed_on_when_encoding_fails(wire: Wire) -> None:
    """Who waits goes on, and broadcasts that came meanwhile leave."""
    encoding = Encoding(wire, "\ud800")
    assert wire.connection.offer(SharedMessage("news"), "close")
    ((sender, result),) = queue_up(wire, "next")

    encoding.finish()

    sender.join(DEADLINE)
    assert isinstance(encoding.result[0], LocalProtocolError)
    assert result == [None]
    assert texts(wire.frames()) == ["news", "next"]


def test_broadcasts_of_a_thread_come_before_what_it_sends_later(wire: Wire) -> None:
    """Also if another thread keeps both of them waiting."""
    encoding = Encoding(wire)
    others = queue_up(wire, "other")

    def broadcast_and_send() -> None:
        wire.connection.offer(SharedMessage("first"), "close")
        wire.connection.send("second")

    thread, _ = start(broadcast_and_send)
    assert wait_until(functools.partial(has_waiting, wire, 2))
    encoding.finish()

    for sender, _ in [*others, (thread, [])]:
        sender.join(DEADLINE)
    assert texts(wire.frames()) == ["slow", "first", "other", "second"]


@pytest.mark.parametrize("policy", ["close", "drop_newest", "drop_oldest"])
def test_broadcasts_that_came_while_another_encoded_look_for_room(
    wire: Wire, policy: str
) -> None:
    """Each of those that wait is counted; when they leave, the policy decides again."""
    wire.transport.room = 0
    encoding = Encoding(wire, "x" * 1000)
    accepted = [
        wire.connection.offer(SharedMessage(f"{number}" * 300), policy)
        for number in range(5)
    ]
    assert accepted == [True] * 3 + [policy == "drop_oldest"] * 2
    assert wire.connection._outbox.deferred_size < 1000 + 302 + ENTRY_COST

    encoding.finish()

    assert wire.connection._outbox.size == 1004 + ENTRY_COST
    assert (wire.connection.close_wanted is not None) == (policy == "close")
    assert wire.keeper.calls.count("expect") == (policy == "close")


def test_broadcast_that_waited_for_the_goodbye_is_dropped(wire: Wire) -> None:
    """Who encoded meanwhile hears of its own mistake."""
    encoding = Encoding(wire, "\ud800")
    assert wire.connection.offer(SharedMessage("news"), "close")
    wire.connection.close()
    wire.connection.say_goodbye()

    encoding.finish()

    assert isinstance(encoding.result[0], LocalProtocolError)
    assert wire.connection._outbox.deferred_size == 0
    assert [frame.opcode for frame in wire.frames()] == [Opcode.CLOSE]


def test_answers_wait_for_room_like_messages(wire: Wire) -> None:
    """They have their place among those who wait, and the next one goes on (E3)."""
    wire.transport.room = 0
    wire.connection.send("x" * 1000)
    senders = queue_up(wire, "before")
    senders.append(start(lambda: wire.connection.answer(Ping(b"ping"))))
    assert wait_until(functools.partial(has_waiting, wire, 2))
    senders += queue_up(wire, "behind")

    wire.flush()

    for sender, result in senders:
        sender.join(DEADLINE)
        assert result == [None]
    assert [frame.payload for frame in wire.frames()[1:]] == [
        b"before",
        b"ping",
        b"behind",
    ]


def test_peer_that_takes_no_answers_is_dropped() -> None:
    """The reader hears of it as of every other loss: from the transport."""
    wire = Wire(0, send_timeout=0.05)
    wire.connection.send("x" * 1000)

    wire.connection.answer(Ping(b"ping"))

    assert wire.connection.state is State.CLOSED
    assert wire.transport.calls[-1] == "abort"
