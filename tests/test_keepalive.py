"""Keepalive by a clock that is set by hand: who is asked, and who is given up."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from websock import keepalive as module
from websock import loop as loop_module
from websock.exceptions import ConnectionClosed
from websock.keepalive import Keepalive
from websock.lifecycle import State
from websock.loop import Loop


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Time on the clock."""
        return self.now


class FakeConnection:
    """A connection that notes what becomes of it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.last_alive = clock.now
        self.state = State.OPEN
        self.unread = False
        self.lost = False
        self.pings: list[float] = []
        self.aborted_at: float | None = None

    def ping(self) -> None:
        """Note when a Ping was sent."""
        if self.lost:
            raise ConnectionClosed(None, None)
        self.pings.append(self.clock.now)

    def has_unread_data(self) -> bool:
        """Whether something waits for a busy reader."""
        return self.unread

    def abort(self) -> None:
        """Note the end."""
        self.aborted_at = self.clock.now
        self.state = State.CLOSED


class Watch:
    """A keepalive, its loop, and one connection."""

    def __init__(
        self, clock: Clock, interval: float | None, timeout: float | None
    ) -> None:
        self.clock = clock
        self.loop = Loop(logging.getLogger("websock.test"))
        self.keepalive = Keepalive(self.loop, self.loop._logger, interval, timeout)
        fake: Any = FakeConnection(clock)
        self.connection = fake
        self.keepalive.start(fake)

    def wait(self, seconds: float) -> None:
        """Let time pass, in steps of a tenth of a second."""
        for _ in range(round(seconds * 10)):
            self.clock.now += 0.1
            self.loop._run_timers()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of everything here."""
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    monkeypatch.setattr(loop_module, "monotonic", clock)
    return clock


@pytest.fixture
def watch(clock: Clock, request: pytest.FixtureRequest) -> Any:
    """Twenty seconds of silence, ten for the answer, unless a test says otherwise."""
    watch = Watch(clock, *getattr(request, "param", (20, 10)))
    yield watch
    watch.loop.close()


def times(values: list[float]) -> list[int]:
    """Seconds since the start."""
    return [round(value - 1000) for value in values]


def test_silent_peer_is_asked_once_and_given_up(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """After ``ping_interval``, and ``ping_timeout`` later; one line at INFO."""
    with caplog.at_level(logging.INFO):
        watch.wait(50)

    assert times(watch.connection.pings) == [20]
    assert times([watch.connection.aborted_at]) == [30]
    assert len(caplog.records) == 1
    assert watch.keepalive._timers == {}


def test_peer_that_talks_is_not_asked(watch: Watch) -> None:
    """Silence begins with the last sign of life."""
    for _ in range(10):
        watch.wait(15)
        watch.connection.last_alive = watch.clock.now
    assert watch.connection.pings == []
    watch.wait(21)
    assert times(watch.connection.pings) == [170]


def test_peer_that_answers_is_asked_again(watch: Watch) -> None:
    """As long as it is silent otherwise."""
    for _ in range(650):
        watch.wait(0.1)
        if watch.connection.pings and watch.connection.pings[-1] == watch.clock.now:
            watch.wait(1)
            watch.connection.last_alive = watch.clock.now

    assert times(watch.connection.pings) == [20, 41, 62]
    assert watch.connection.aborted_at is None


def test_busy_reader_is_waited_for(watch: Watch) -> None:
    """The answer may be among what a long callback keeps from being read."""
    watch.connection.unread = True
    watch.wait(100)
    assert watch.connection.aborted_at is None
    assert times(watch.connection.pings) == [20]
    watch.connection.unread = False
    watch.wait(10.1)
    assert watch.connection.aborted_at is not None


@pytest.mark.parametrize("watch", [(20, None)], indirect=True)
def test_no_timeout_never_gives_up(watch: Watch) -> None:
    """``ping_timeout=None``: a Ping keeps proxies awake, and that's all."""
    watch.wait(200)

    assert watch.connection.pings
    assert watch.connection.aborted_at is None


@pytest.mark.parametrize("watch", [(None, 10)], indirect=True)
def test_no_interval_asks_nobody(watch: Watch) -> None:
    """``ping_interval=None``: there is no timer at all."""
    assert watch.loop._timers == []
    watch.keepalive.stop(watch.connection)


@pytest.mark.parametrize("watch", [(5, 60)], indirect=True)
def test_timeout_may_be_longer_than_the_interval(watch: Watch) -> None:
    """The peer is looked at in between, since it may have answered."""
    watch.wait(12)
    watch.connection.last_alive = watch.clock.now
    watch.wait(60)
    assert len(watch.connection.pings) == 2
    assert watch.connection.aborted_at is None
    watch.wait(20)
    assert watch.connection.aborted_at is not None


@pytest.mark.parametrize("state", [State.CLOSING, State.CLOSED])
def test_connection_that_ends_is_forgotten(watch: Watch, state: State) -> None:
    """Its closing handshake has a deadline of its own."""
    watch.connection.state = state
    watch.wait(50)

    assert watch.connection.pings == []
    assert watch.connection.aborted_at is None
    assert watch.keepalive._timers == {}


def test_stop_forgets_a_connection(watch: Watch) -> None:
    """Nothing refers to it any more; twice is once."""
    watch.keepalive.stop(watch.connection)
    watch.keepalive.stop(watch.connection)
    watch.wait(50)

    assert watch.connection.pings == []
    assert watch.keepalive._timers == {}


def test_peer_that_is_lost_when_it_is_asked(watch: Watch) -> None:
    """Its own thread learns of it; there is nothing to do here."""
    watch.connection.lost = True
    watch.wait(20.1)
    watch.connection.state = State.CLOSED
    watch.wait(50)

    assert watch.connection.aborted_at is None
    assert watch.keepalive._timers == {}
