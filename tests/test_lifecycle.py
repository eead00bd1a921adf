"""The table of states, and the only method that reads it."""

from __future__ import annotations

import itertools

import hypothesis
import hypothesis.strategies as st
import pytest

from websock.exceptions import LocalProtocolError
from websock.lifecycle import TRANSITIONS, Lifecycle, Signal, State

FORBIDDEN = [
    pair
    for pair in itertools.product(State, Signal)
    if pair
    not in {
        (State.CONNECTING, Signal.ACCEPTED),
        (State.CONNECTING, Signal.REJECTED),
        (State.CONNECTING, Signal.EOF),
        (State.OPEN, Signal.CLOSE_SENT),
        (State.OPEN, Signal.CLOSE_RCVD),
        (State.OPEN, Signal.EOF),
        (State.CLOSING, Signal.CLOSE_SENT),
        (State.CLOSING, Signal.CLOSE_RCVD),
        (State.CLOSING, Signal.EOF),
        (State.CLOSED, Signal.EOF),
    }
]


@pytest.mark.parametrize(("state", "signal"), FORBIDDEN)
def test_forbidden_signal_changes_nothing(state: State, signal: Signal) -> None:
    """No frame before the handshake, no second handshake, nothing after the end."""
    lifecycle = Lifecycle(state)

    with pytest.raises(LocalProtocolError, match=f"{signal.name} is forbidden"):
        lifecycle.fire(signal)

    assert lifecycle.state is state


def test_a_connection_opens_closes_and_ends() -> None:
    """The closing handshake has two halves, in either order (RFC 6455, 7.1)."""
    for halves in itertools.permutations([Signal.CLOSE_SENT, Signal.CLOSE_RCVD]):
        lifecycle = Lifecycle()

        states = []
        for signal in (Signal.ACCEPTED, *halves, Signal.EOF, Signal.EOF):
            lifecycle.fire(signal)
            states.append(lifecycle.state)

        assert states == [
            State.OPEN,
            State.CLOSING,
            State.CLOSING,
            State.CLOSED,
            State.CLOSED,
        ]


def test_a_refused_handshake_only_ends() -> None:
    """A rejected connection never opens (4.2.2)."""
    lifecycle = Lifecycle()

    lifecycle.fire(Signal.REJECTED)

    assert lifecycle.state is State.CLOSING
    with pytest.raises(LocalProtocolError):
        lifecycle.fire(Signal.ACCEPTED)


@hypothesis.given(st.lists(st.sampled_from(Signal)))
def test_no_way_leads_back(signals: list[Signal]) -> None:
    """Whatever fires, states only move forward."""
    order = list(State)
    lifecycle = Lifecycle()

    for signal in signals:
        before = lifecycle.state
        if (before, signal) in TRANSITIONS:
            lifecycle.fire(signal)
        assert order.index(lifecycle.state) >= order.index(before)
