"""The pool: few threads, a bounded queue, and an end by its deadline."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from tests.tools import wait_until
from websock.pool import Pool

DEADLINE = 20.0


@pytest.fixture
def logger() -> logging.Logger:
    """Where exceptions of jobs go."""
    return logging.getLogger("websock.test")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What jobs wait for; open at the latest when the test is over."""
    gate = threading.Event()
    yield gate
    gate.set()


def close(pool: Pool) -> None:
    """Close a pool, whose threads must end."""
    threads = list(pool._threads)
    pool.close(monotonic() + DEADLINE)
    assert not any(thread.is_alive() for thread in threads)
    assert pool._threads == set()


def test_no_thread_before_the_first_job(logger: logging.Logger) -> None:
    """Most servers never need one."""
    pool = Pool(logger)
    assert pool._threads == set()
    close(pool)


def test_idle_thread_is_used_again(logger: logging.Logger) -> None:
    """One is enough for one job after another; it's a daemon."""
    pool = Pool(logger)
    names: list[threading.Thread] = []
    for _ in range(5):
        done = threading.Event()

        def job(done: threading.Event = done) -> None:
            names.append(threading.current_thread())
            done.set()

        assert pool.submit(job)
        assert done.wait(DEADLINE)
        assert wait_until(lambda: pool._idle == 1)
    assert pool._threads == set(names)
    assert len(pool._threads) == 1
    assert names[0].daemon
    close(pool)


def test_threads_and_queue_are_bounded(
    logger: logging.Logger, gate: threading.Event
) -> None:
    """What comes on top is refused, and nothing that was taken is lost."""
    pool = Pool(logger, max_threads=2, max_jobs=3)
    started, done = threading.Semaphore(0), threading.Semaphore(0)

    def job() -> None:
        started.release()
        gate.wait(DEADLINE)
        done.release()

    for _ in range(2):
        assert pool.submit(job)
        assert started.acquire(timeout=DEADLINE)
    assert [pool.submit(job) for _ in range(5)] == [True] * 3 + [False] * 2
    assert len(pool._threads) == 2
    gate.set()
    for _ in range(5):
        assert done.acquire(timeout=DEADLINE)
    assert pool.submit(job)
    assert done.acquire(timeout=DEADLINE)
    close(pool)


def test_job_that_raises_ends_no_thread(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """It's logged; a pool of dead threads would look alive from outside."""
    pool = Pool(logger, max_threads=1)
    done = threading.Event()

    def fail() -> None:
        raise ZeroDivisionError("oops")

    assert pool.submit(fail)
    assert pool.submit(done.set)

    assert done.wait(DEADLINE)
    assert "ZeroDivisionError: oops" in caplog.text
    close(pool)


def no_thread(thread: threading.Thread) -> None:
    """Fail as the system does when there are too many."""
    raise RuntimeError("can't start new thread")


def test_no_thread_to_be_had(
    logger: logging.Logger, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is refused, unless a thread is there that will come to it."""
    pool = Pool(logger)
    done, started = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        gate.wait(DEADLINE)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        assert not pool.submit(done.set)
    assert pool.submit(wait)
    assert started.wait(DEADLINE)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        assert pool.submit(done.set)
    assert not done.is_set()
    gate.set()
    assert done.wait(DEADLINE)
    close(pool)


def test_own_threads_are_known(logger: logging.Logger) -> None:
    """They can't wait for the end of the server that they serve."""
    pool = Pool(logger)
    answers: list[bool] = []
    done = threading.Event()

    def ask() -> None:
        answers.append(pool.is_own_thread())
        done.set()

    pool.submit(ask)
    assert done.wait(DEADLINE)

    assert answers == [True]
    assert not pool.is_own_thread()
    close(pool)


def test_close_does_not_wait_for_a_job_that_hangs(
    logger: logging.Logger, gate: threading.Event
) -> None:
    """It returns at its deadline; what waits isn't done, nothing new is taken."""
    pool = Pool(logger, max_threads=1)
    started, never = threading.Event(), threading.Event()

    def hang() -> None:
        started.set()
        gate.wait(DEADLINE)

    pool.submit(hang)
    assert started.wait(DEADLINE)
    pool.submit(never.set)
    (thread,) = pool._threads

    before = monotonic()
    pool.close(before + 0.05)

    assert monotonic() - before < DEADLINE / 4
    assert thread.is_alive()
    assert not pool.submit(never.set)
    gate.set()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert not never.is_set()
    pool.close(0.0)
