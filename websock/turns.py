"""Turns: who sends next on one connection; the first who comes is the first to go on.

Layer: shells. May import: nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

__all__ = ["Turns"]


class Turns:
    """The queue of those who want to send.

    Args:
        lock: The connection's, which guards all this; it's held by all who call.

    """

    __slots__ = ("_lock", "_waiting", "is_taken")

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._waiting: list[threading.Condition] = []
        self.is_taken = False
        """Whether a sender has the turn, from its look for room until its message is in
        the outbox: messages leave in the order of their compression."""

    def __len__(self) -> int:
        """How many wait for the turn, or for room."""
        return len(self._waiting)

    def wait(
        self,
        goes_on: Callable[[], bool],
        is_full: Callable[[], bool],
        timeout: float | None,
    ) -> None:
        """Wait for room and for those who came first, or the end of sending.

        Args:
            goes_on: Whether sending goes on.
            is_full: Whether there is no room.
            timeout: For how long there may be no room, in seconds; :obj:`None` means
                for ever.

        Raises:
            TimeoutError: If there was no room in time.

        """
        assert self._lock.locked()
        deadline = None if timeout is None else monotonic() + timeout
        wakeup = threading.Condition(self._lock)
        self._waiting.append(wakeup)
        try:
            while goes_on():
                remaining = None
                if self._waiting[0] is wakeup:
                    full = is_full()
                    if not full and not self.is_taken:
                        return
                    # The first one's deadline is the earliest of all.
                    if full and deadline is not None:
                        remaining = deadline - monotonic()
                        if remaining <= 0:
                            raise TimeoutError
                wakeup.wait(remaining)
        finally:
            self._waiting.remove(wakeup)
            # Whatever it was that this one got to know, the next one may go on, too.
            self.wake_first()

    def wake_first(self) -> None:
        """Let the first one that waits look again."""
        if self._waiting:
            self._waiting[0].notify()
