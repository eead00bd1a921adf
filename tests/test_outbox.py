"""The outbox: order, sizes, and what may be dropped."""

from __future__ import annotations

import pytest

from websock.outbox import ENTRY_COST, Outbox
from websock.writer import SharedMessage

from .fake_wire import FakeTransport


@pytest.fixture
def outbox() -> Outbox:
    """An outbox in which nothing waits."""
    return Outbox()


def test_data_leaves_in_order(outbox: Outbox) -> None:
    """As the socket takes it; the size tells what is left, and what it costs."""
    transport = FakeTransport(0)
    outbox.add(b"one", droppable=False)
    outbox.add(memoryview(b"two"), droppable=True)
    sizes = [outbox.size]
    for room in (0, 2, 2):
        transport.room = room
        assert not outbox.write_to(transport)
        sizes.append(outbox.size)
    transport.room = 2
    assert outbox.write_to(transport)

    assert transport.written == b"onetwo"
    assert sizes == [
        6 + 2 * ENTRY_COST,
        6 + 2 * ENTRY_COST,
        4 + 2 * ENTRY_COST,
        2 + ENTRY_COST,
    ]
    assert (outbox.size, outbox.flushed) == (0, 6)
    assert outbox.write_to(transport)


def test_lost_connection_raises(outbox: Outbox) -> None:
    """Its owner decides what becomes of the rest."""
    transport = FakeTransport()
    transport.lost = True
    outbox.add(b"x", droppable=False)
    with pytest.raises(OSError):
        outbox.write_to(transport)

    outbox.clear()

    assert outbox.size == 0
    assert outbox.write_to(transport)


def test_oldest_droppable_ones_are_dropped(outbox: Outbox) -> None:
    """Just enough of them, and nothing that has begun."""
    transport = FakeTransport(1)
    outbox.drop_oldest(1)
    for number in range(5):
        outbox.add(b"%d" % number * 100, droppable=number != 2)
    assert not outbox.write_to(transport)

    outbox.drop_oldest(3 * (100 + ENTRY_COST))
    assert outbox.size < 3 * (100 + ENTRY_COST)
    outbox.drop_oldest(1)
    transport.room = 1000

    assert outbox.write_to(transport)
    assert transport.written == b"0" * 100 + b"2" * 100
    assert outbox.size == 0


def test_deferred_broadcasts_are_the_newest(outbox: Outbox) -> None:
    """They count like the others, and are dropped after them, the oldest first."""
    cost = 100 + ENTRY_COST
    messages = [SharedMessage(f"{number}" * 98) for number in range(3)]
    for number in range(3):
        outbox.add(b"%d" % number * 100, droppable=True)
        outbox.defer(messages[number], "drop_oldest", 100)
    sizes = []
    for left in (6, 4, 2):
        outbox.drop_oldest(left * cost + 1)
        sizes.append((outbox.size, outbox.deferred_size))

    assert sizes == [(3 * cost, 3 * cost), (cost, 3 * cost), (0, 2 * cost)]
    assert outbox.take_deferred() == [
        (messages[1], "drop_oldest"),
        (messages[2], "drop_oldest"),
    ]
    assert outbox.take_deferred() == []
    assert outbox.deferred_size == 0
