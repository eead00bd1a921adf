"""The loop: nothing is lost, nothing is called twice, and nothing ends it."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from websock import loop as module
from websock.loop import Loop, Timer

DEADLINE = 20.0


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop that somebody else runs."""
    loop = Loop(logging.getLogger("websock.test"))
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets."""
    one, other = socket.socketpair()
    one.setblocking(False)
    with one, other:
        yield one, other


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Time on the clock."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the loop goes by."""
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


def settle(loop: Loop) -> None:
    """Let the loop do what is due, and a little more."""
    for _ in range(3):
        loop.call_soon(nothing)
        loop.run_once()


def nothing() -> None:
    """Be called, and nothing more."""


# Calls from other threads.


def test_calls_run_in_order_in_the_thread_of_the_loop(loop: Loop) -> None:
    """Those that are made meanwhile have their turn the next time."""
    got: list[object] = []
    loop.call_soon(lambda: got.append(threading.current_thread()))
    loop.call_soon(lambda: loop.call_soon(lambda: got.append(2)))
    loop.call_soon(lambda: got.append(1))

    loop.run_once()
    assert got == [threading.current_thread(), 1]
    loop.run_once()
    assert got[2:] == [2]


def test_no_call_is_lost(loop: Loop) -> None:
    """Many threads call at once while the loop goes to sleep and wakes up."""
    threads, calls = 8, 400
    got: dict[int, list[int]] = {name: [] for name in range(threads)}
    # A caller waits for its call to run now and then, so that the loop sleeps, too.
    ran = [threading.Semaphore(0) for _ in range(threads)]

    def call(name: int) -> None:
        chance = random.Random(name)
        for number in range(calls):
            loop.call_soon(lambda number=number: got[name].append(number))  # type: ignore[misc]
            if chance.random() < 0.2:
                loop.call_soon(ran[name].release)
                assert ran[name].acquire(timeout=DEADLINE)

    callers = [threading.Thread(target=call, args=(name,)) for name in range(threads)]
    for caller in callers:
        caller.start()
    # It ends only because the last call wakes it, however the threads interleave.
    while sum(map(len, got.values())) < threads * calls:
        loop.run_once()
    for caller in callers:
        while caller.is_alive():
            loop.call_soon(nothing)
            loop.run_once()
        caller.join()

    assert got == {name: list(range(calls)) for name in range(threads)}


def test_wake_lets_a_waiting_loop_turn(loop: Loop) -> None:
    """Also when it has nothing to call."""
    turned = threading.Event()

    def run() -> None:
        loop.run_once()
        turned.set()

    runner = threading.Thread(target=run)
    runner.start()
    loop.wake()

    assert turned.wait(DEADLINE)
    runner.join(DEADLINE)


def test_many_wakes_are_one(loop: Loop) -> None:
    """The pipe can't fill up, and the loop turns once for all of them."""
    for _ in range(100_000):
        loop.wake()
    loop.run_once()

    assert loop._selector.select(0) == []


def test_wake_after_the_end_does_no_harm() -> None:
    """A thread that is late may still call."""
    loop = Loop(logging.getLogger("websock.test"))
    loop.close()

    loop.call_soon(nothing)


def test_callback_that_raises_is_logged(
    loop: Loop,
    clock: Clock,
    pair: tuple[socket.socket, socket.socket],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whatever kind of callback it is, the others run."""
    got: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError("oops")

    loop.call_soon(fail)
    loop.call_soon(lambda: got.append("call"))
    loop.call_at(clock.now, fail)
    loop.call_at(clock.now, lambda: got.append("timer"))
    loop.register_write(pair[0].fileno(), fail)
    loop.register_edge(pair[1].fileno(), fail)
    pair[0].send(b"x")

    settle(loop)

    assert got == ["call", "timer"]
    assert caplog.text.count("ZeroDivisionError: oops") >= 4


@pytest.mark.parametrize("event", ["read", "write"])
def test_descriptor_whose_callback_raised_is_forgotten(
    loop: Loop,
    pair: tuple[socket.socket, socket.socket],
    caplog: pytest.LogCaptureFixture,
    event: str,
) -> None:
    """It would raise again at once, and for ever; what else it waits for stays."""
    got: list[str] = []

    def fail() -> None:
        raise ZeroDivisionError("oops")

    fd = pair[0].fileno()
    loop.register_read(fd, lambda: got.append(str(pair[0].recv(9))))
    loop.register_write(fd, lambda: loop.unregister_write(fd))
    getattr(loop, f"register_{event}")(fd, fail)
    pair[1].send(b"x")
    for _ in range(3):
        settle(loop)

    assert caplog.text.count("ZeroDivisionError: oops") == 1
    assert fd not in loop._waiters or event == "write"
    assert got == (["b'x'"] if event == "write" else [])


@pytest.mark.parametrize("method", ["register_read", "register_edge"])
def test_registration_that_fails_changes_nothing(
    loop: Loop, tmp_path: Path, method: str
) -> None:
    """Undoing it does no harm, and the number may be another descriptor's next."""
    with (tmp_path / "file").open("wb") as file:
        # epoll refuses regular files.
        with pytest.raises(PermissionError):
            getattr(loop, method)(file.fileno(), nothing)
        loop.unregister(file.fileno())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_end_of_the_program_goes_through(
    loop: Loop, error: type[BaseException]
) -> None:
    """Only exceptions are the loop's to catch."""

    def fail() -> None:
        raise error

    loop.call_soon(fail)

    with pytest.raises(error):
        loop.run_once()


# Timers.


def test_timers_run_in_order_of_their_deadlines(loop: Loop, clock: Clock) -> None:
    """Those of one deadline in the order in which they were set; none too early."""
    got: list[str] = []
    for name, seconds in (("c", 2), ("a", 1), ("d", 2), ("b", 1), ("late", 2.001)):
        loop.call_at(clock.now + seconds, lambda name=name: got.append(name))  # type: ignore[misc]

    clock.now += 0.999
    settle(loop)
    assert got == []
    clock.now += 1.001
    settle(loop)
    assert got == ["a", "b", "c", "d"]


def test_cancelled_timer_does_not_run(
    loop: Loop, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Not when another one cancels it at the same deadline, either."""
    got: list[str] = []
    first = loop.call_at(clock.now, lambda: second.cancel())
    second: Timer = loop.call_at(clock.now, lambda: got.append("cancelled"))
    loop.call_at(clock.now, lambda: got.append("third"))

    settle(loop)

    assert got == ["third"]
    assert caplog.records == []
    assert first.callback is None
    first.cancel()


def test_timer_may_set_itself_again(loop: Loop, clock: Clock) -> None:
    """One that is due at once has its turn in the same round, after the others."""
    got: list[float] = []

    def tick() -> None:
        got.append(clock.now)
        if len(got) < 3:
            loop.call_at(clock.now + 1, tick)

    loop.call_at(clock.now, tick)
    for _ in range(4):
        settle(loop)
        clock.now += 1

    assert got == [1000.0, 1001.0, 1002.0]


def test_loop_sleeps_until_the_first_timer_that_counts(
    loop: Loop, clock: Clock
) -> None:
    """Cancelled ones don't wake it; a call that waits lets it not sleep at all."""
    assert loop._timeout() is None
    early = loop.call_at(clock.now + 1, nothing)
    loop.call_at(clock.now + 5, nothing)
    assert loop._timeout() == 1.0
    early.cancel()
    assert loop._timeout() == 5.0
    clock.now += 6
    assert loop._timeout() == 0.0
    clock.now -= 6
    loop.call_soon(nothing)
    assert loop._timeout() == 0.0


# Descriptors.


def test_descriptor_has_a_reader_and_a_writer(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Each comes and goes without the other, and may be replaced."""
    got: list[str] = []
    one, other = pair
    fd = one.fileno()

    def rounds() -> list[str]:
        got.clear()
        loop.call_soon(nothing)
        loop.run_once()
        return list(got)

    loop.register_read(fd, lambda: got.append("read"))
    assert rounds() == []
    loop.register_write(fd, lambda: got.append("write"))
    assert rounds() == ["write"]
    other.send(b"x")
    assert rounds() == ["read", "write"]
    loop.register_read(fd, lambda: got.append("read more"))
    assert rounds() == ["read more", "write"]
    loop.unregister_write(fd)
    assert rounds() == ["read more"]
    loop.unregister_write(fd)
    loop.unregister(fd)
    loop.unregister(fd)
    assert rounds() == []
    loop.register_read(fd, lambda: got.append("again"))
    assert rounds() == ["again"]
    loop.unregister(fd)
    loop.unregister(fd)
    assert rounds() == []


@pytest.mark.parametrize("what", ["unregister", "unregister_write"])
def test_reader_may_unregister_the_writer(
    loop: Loop, pair: tuple[socket.socket, socket.socket], what: str
) -> None:
    """Both are due, but the connection is over once the first has run."""
    one, other = pair
    other.send(b"x")
    got: list[str] = []
    unregister: Callable[[int], None] = getattr(loop, what)
    loop.register_read(one.fileno(), lambda: unregister(one.fileno()))
    loop.register_write(one.fileno(), lambda: got.append("write"))

    loop.run_once()

    assert got == []


def test_callback_may_unregister_and_close_another_descriptor(loop: Loop) -> None:
    """Of two that are ready at once, whichever runs first closes the other."""
    got: list[int] = []
    pairs = [socket.socketpair() for _ in range(2)]

    def run(number: int) -> None:
        got.append(number)
        other = pairs[1 - number][0]
        loop.unregister(other.fileno())
        other.close()

    for number, (one, other) in enumerate(pairs):
        loop.register_read(one.fileno(), lambda number=number: run(number))  # type: ignore[misc]
        other.send(b"x")

    settle(loop)

    assert len(set(got)) == 1
    for one, other in pairs:
        one.close()
        other.close()


def test_edge_is_told_once(
    loop: Loop, pair: tuple[socket.socket, socket.socket]
) -> None:
    """When data comes, and when more comes, but not for what lies there."""
    one, other = pair
    got: list[str] = []
    loop.register_edge(one.fileno(), lambda: got.append("edge"))
    settle(loop)
    assert got == []

    for count in (1, 2):
        other.send(b"x")
        settle(loop)
        assert got == ["edge"] * count
    other.close()
    settle(loop)
    assert got == ["edge"] * 3
    loop.unregister(one.fileno())


def test_edge_may_unregister_another_one(loop: Loop) -> None:
    """An event that was found before doesn't count any more."""
    got: list[int] = []
    pairs = [socket.socketpair() for _ in range(2)]

    def run(number: int) -> None:
        got.append(number)
        loop.unregister(pairs[1 - number][0].fileno())

    for number, (one, other) in enumerate(pairs):
        loop.register_edge(one.fileno(), lambda number=number: run(number))  # type: ignore[misc]
        other.send(b"x")

    settle(loop)

    assert len(got) == 1
    for one, other in pairs:
        one.close()
        other.close()


def test_where_there_are_no_edges_there_are_readers(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    """Not every system has epoll; there, a reader is called as long as it's due."""
    monkeypatch.delattr(select, "epoll")
    one, other = pair
    got: list[str] = []
    with contextlib.closing(Loop(logging.getLogger("websock.test"))) as loop:
        loop.register_edge(one.fileno(), lambda: got.append(one.recv(1).decode()))
        other.send(b"ab")
        settle(loop)
        loop.unregister(one.fileno())
        other.send(b"c")
        settle(loop)

    assert got == ["a", "b"]


def test_close_releases_all_descriptors() -> None:
    """Those of the loop itself; others aren't its own."""
    before = set(os.listdir("/proc/self/fd"))

    Loop(logging.getLogger("websock.test")).close()

    assert set(os.listdir("/proc/self/fd")) == before
