"""The inbox: messages between the thread that reads and those that ``recv()``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

import pytest

from tests.tools import wait_until
from websock.inbox import INBOX_LIMIT, Inbox

DEADLINE = 20.0


@pytest.fixture
def inbox() -> Inbox:
    """An inbox from which somebody has taken, in vain."""
    inbox = Inbox()
    with pytest.raises(TimeoutError):
        inbox.take(0)
    return inbox


def start(function: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Call a function in a thread; its result comes into the list."""
    result: list[object] = []
    thread = threading.Thread(target=lambda: result.append(function()), daemon=True)
    thread.start()
    return thread, result


def receivers(inbox: Inbox, count: int) -> list[tuple[threading.Thread, list[object]]]:
    """Start threads that take a message, and see that they wait."""
    threads = [start(lambda: inbox.take(None)) for _ in range(count)]
    assert wait_until(lambda: inbox._receivers == count)
    return threads


def results(threads: list[tuple[threading.Thread, list[object]]]) -> list[object]:
    """What the threads have returned."""
    for thread, _ in threads:
        thread.join(DEADLINE)
    return [value for _, result in threads for value in result]


def test_inbox_that_nobody_asks_takes_nothing() -> None:
    """Messages are for the callback until somebody calls recv()."""
    inbox = Inbox()

    assert not inbox.is_wanted
    assert not inbox.put("x", keep=True)
    assert inbox.take_nowait() is None
    inbox.stop_pausing()
    inbox.close()
    assert inbox.take(None) is None
    assert inbox.is_wanted


def test_messages_keep_their_order(inbox: Inbox) -> None:
    """Whoever takes them, and however; empty ones are messages, too."""
    for message in ("", b"", "x"):
        assert inbox.put(message, keep=True)

    assert inbox.take(None) == ""
    assert inbox.take_nowait() == b""
    assert inbox.take(0) == "x"
    assert inbox.take_nowait() is None


def test_take_waits_until_its_deadline(inbox: Inbox) -> None:
    """And is no receiver any more afterwards."""
    before = monotonic()
    with pytest.raises(TimeoutError):
        inbox.take(before + 0.05)

    assert monotonic() - before >= 0.05
    assert not inbox.put("x", keep=False)


def test_each_receiver_gets_one(inbox: Inbox) -> None:
    """What isn't to be kept goes to those who wait, and no further."""
    threads = receivers(inbox, 3)

    taken = [inbox.put(str(number), keep=False) for number in range(3)]

    assert taken == [True] * 3
    assert sorted(map(str, results(threads))) == ["0", "1", "2"]
    assert not inbox.put("3", keep=False)


def test_message_that_waits_for_its_receiver_is_counted(inbox: Inbox) -> None:
    """The receiver may not be awake yet: the second message isn't for it."""
    with inbox._lock:
        inbox._receivers += 1

    assert inbox.put("for the receiver", keep=False)
    assert not inbox.put("for the callback", keep=False)


@pytest.mark.parametrize("take", ["take", "take_nowait"])
def test_full_inbox_pauses_who_puts(inbox: Inbox, take: str) -> None:
    """Until there is room again."""

    def fill() -> None:
        for number in range(INBOX_LIMIT + 1):
            inbox.put(str(number), keep=True)

    thread, _ = start(fill)
    assert wait_until(lambda: len(inbox._messages) == INBOX_LIMIT)
    got: list[object] = []
    for number in range(INBOX_LIMIT + 1):
        assert wait_until(lambda: bool(inbox._messages)), number
        got.append(inbox.take(None) if take == "take" else inbox.take_nowait())

    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert got == [str(number) for number in range(INBOX_LIMIT + 1)]


@pytest.mark.parametrize("end", ["stop_pausing", "close"])
def test_end_wakes_who_puts(inbox: Inbox, end: str) -> None:
    """The thread that reads must learn of it; nothing is lost."""

    def fill() -> None:
        for number in range(INBOX_LIMIT + 5):
            inbox.put(str(number), keep=True)

    thread, _ = start(fill)
    assert wait_until(lambda: len(inbox._messages) == INBOX_LIMIT)

    getattr(inbox, end)()

    thread.join(DEADLINE)
    assert not thread.is_alive()
    got = [inbox.take(None) for _ in range(INBOX_LIMIT + 5)]
    assert got == [str(number) for number in range(INBOX_LIMIT + 5)]


def test_close_wakes_all_receivers(inbox: Inbox) -> None:
    """Nothing more comes; what came before is still there."""
    threads = receivers(inbox, 3)
    inbox.stop_pausing()
    assert all(thread.is_alive() for thread, _ in threads)

    inbox.close()

    assert results(threads) == [None] * 3
    assert inbox.put("late", keep=True)
    assert inbox.take(None) == "late"
    assert inbox.take(None) is None


def test_discarded_messages_are_nobody_s(inbox: Inbox) -> None:
    """Neither what was there, nor what is still put in; nobody waits for more."""
    assert inbox.put("x", keep=True)

    inbox.discard()
    inbox.close()

    assert inbox.put("late", keep=True)
    assert inbox.take(None) is None
    assert inbox.take_nowait() is None


def test_no_message_is_taken_twice(inbox: Inbox) -> None:
    """The reader takes without waiting while others take, too."""
    got: list[object] = []

    def take() -> None:
        while (message := inbox.take(None)) is not None:
            got.append(message)

    def read() -> None:
        for number in range(2000):
            inbox.put(number_text(number), keep=True)
            message = inbox.take_nowait()
            if message is not None:
                got.append(message)

    takers = [start(take) for _ in range(2)]
    reader, _ = start(read)
    reader.join(DEADLINE)
    inbox.close()
    for thread, _ in takers:
        thread.join(DEADLINE)

    assert sorted(map(str, got)) == [number_text(number) for number in range(2000)]


def number_text(number: int) -> str:
    """A message that sorts as its number does."""
    return f"{number:04}"
