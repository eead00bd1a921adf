"""Early stops: for whom they count, and for how long."""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from websock.early_stop import EarlyStop

DEADLINE = 20.0


class Runner:
    """A thread that asks when it's told to.

    Args:
        early: What it asks.

    """

    def __init__(self, early: EarlyStop) -> None:
        self._early = early
        self._turns: queue.Queue[bool] = queue.Queue()
        self._answers: queue.Queue[bool] = queue.Queue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while self._turns.get(timeout=DEADLINE):
            self._answers.put(self._early.applies())

    def ask(self) -> bool:
        """Let it ask; return the answer."""
        self._turns.put(True)
        return self._answers.get(timeout=DEADLINE)

    def end(self) -> None:
        """Let it end."""
        self._turns.put(False)
        self._thread.join(DEADLINE)


@pytest.fixture
def early() -> EarlyStop:
    """What no stop has come to yet."""
    return EarlyStop()


@pytest.fixture
def run(early: EarlyStop) -> Iterator[Callable[[], Runner]]:
    """Start threads, which end with the test."""
    runners: list[Runner] = []

    def run() -> Runner:
        runners.append(Runner(early))
        return runners[-1]

    yield run
    for runner in runners:
        runner.end()


def in_thread(function: Callable[[], object]) -> None:
    """Call from a thread that ends."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join(DEADLINE)


def test_it_counts_for_threads_that_run_already_once(
    early: EarlyStop, run: Callable[[], Runner]
) -> None:
    """Neither for the one that stops, nor for those that come later."""
    one, other = run(), run()
    early.remember()
    later = run()

    assert not early.applies()
    assert not later.ask()
    assert [one.ask(), one.ask()] == [True, False]
    assert [other.ask(), other.ask()] == [True, False]


def test_it_does_not_count_for_threads_that_have_served(
    early: EarlyStop, run: Callable[[], Runner]
) -> None:
    """They are about to serve again, if at all."""
    runner = run()

    assert not runner.ask()
    early.remember()
    assert not runner.ask()


def test_it_is_over_when_the_server_has_served(
    early: EarlyStop, run: Callable[[], Runner]
) -> None:
    """Who comes long after it isn't meant."""
    runner = run()
    early.remember()

    early.forget()

    assert not runner.ask()


def test_threads_that_end_are_forgotten(early: EarlyStop) -> None:
    """No thread is kept for having been there."""
    in_thread(early.applies)
    gate = threading.Event()
    waiter = threading.Thread(target=gate.wait, args=[DEADLINE])
    waiter.start()
    early.remember()
    assert waiter in early._told
    gate.set()
    waiter.join(DEADLINE)
    del waiter
    gc.collect()

    assert not early._known
    assert all(thread.is_alive() for thread in early._told)
