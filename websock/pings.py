"""Pings that wait for their Pongs (RFC 6455, 5.5.2 and 5.5.3).

Layer: shells. May import: nothing.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_PINGS", "Pings"]

MAX_PINGS: Final = 16
"""Pings that wait for their Pongs; when there are more, the oldest is forgotten.

As many are sent behind a full outbox, so that keepalive has its own there."""


class Pings:
    """When the Pings of one connection were sent; guarded by its lock."""

    __slots__ = ("_sent", "late")

    def __init__(self) -> None:
        # Made for the first one: many clients never get any.
        self._sent: dict[bytes, float] | None = None
        self.late = 0
        """How many were sent since the outbox is full."""

    def add(self, payload: bytes, now: float) -> None:
        """Note that one is sent now, on the monotonic clock."""
        if self._sent is None:
            self._sent = {}
        elif len(self._sent) >= MAX_PINGS:
            del self._sent[next(iter(self._sent))]
        self._sent[payload] = now

    def __contains__(self, payload: bytes) -> bool:
        """Whether a Pong with this payload would answer one."""
        return self._sent is not None and payload in self._sent

    def take(self, payload: bytes) -> float | None:
        """Forget the one that a Pong answers; when was it sent?

        Returns:
            A point of the monotonic clock, or :obj:`None` if it answers none.

        """
        return None if self._sent is None else self._sent.pop(payload, None)
