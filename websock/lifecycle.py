"""Lifecycle of a connection, as a table (RFC 6455, 4 and 7).

Everything that changes :class:`State` is in this module, and nothing else is:
no bytes, no sockets, no clocks. The table knows neither which side we are nor
why a signal fires, so that both sides obey the same rules.

Layer: core. May import: exceptions.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from .exceptions import LocalProtocolError

__all__ = ["Lifecycle", "Signal", "State"]


class State(enum.Enum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    """The opening handshake isn't complete (4)."""
    OPEN = "open"
    """Messages flow both ways (6)."""
    CLOSING = "closing"
    """A Close frame was sent, received, or the handshake was refused (7.1.3)."""
    CLOSED = "closed"
    """The transport is at its end (7.1.4)."""


class Signal(enum.Enum):
    """What moves a connection from one state to the next."""

    ACCEPTED = "accepted"
    """The opening handshake succeeded."""
    REJECTED = "rejected"
    """The opening handshake was refused."""
    CLOSE_SENT = "close sent"
    """We sent a Close frame."""
    CLOSE_RCVD = "close rcvd"
    """The peer's Close frame came."""
    EOF = "eof"
    """The transport ended."""


# A pair that is missing is forbidden. Keep it so; don't add a default.
TRANSITIONS: Final[Mapping[tuple[State, Signal], State]] = {
    (State.CONNECTING, Signal.ACCEPTED): State.OPEN,
    (State.CONNECTING, Signal.REJECTED): State.CLOSING,
    (State.CONNECTING, Signal.EOF): State.CLOSED,
    (State.OPEN, Signal.CLOSE_SENT): State.CLOSING,
    (State.OPEN, Signal.CLOSE_RCVD): State.CLOSING,
    (State.OPEN, Signal.EOF): State.CLOSED,
    # The second half of the closing handshake, in either order.
    (State.CLOSING, Signal.CLOSE_SENT): State.CLOSING,
    (State.CLOSING, Signal.CLOSE_RCVD): State.CLOSING,
    (State.CLOSING, Signal.EOF): State.CLOSED,
    # Whoever reads and whoever writes may both notice the end.
    (State.CLOSED, Signal.EOF): State.CLOSED,
}


class Lifecycle:
    """State of one connection; guarded by the lock of its owner."""

    __slots__ = ("_state",)

    def __init__(self, state: State = State.CONNECTING) -> None:
        self._state = state

    @property
    def state(self) -> State:
        """Current state."""
        return self._state

    def fire(self, signal: Signal) -> None:
        """Move to the state that follows ``signal``.

        Raises:
            LocalProtocolError: If ``signal`` is forbidden in the current state,
                which stays as it is.

        """
        try:
            self._state = TRANSITIONS[self._state, signal]
        except KeyError:
            raise LocalProtocolError(
                f"{signal.name} is forbidden in state {self._state.name}"
            ) from None
