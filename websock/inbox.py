"""Inbox: messages on their way from the thread that reads to those that ``recv()``.

Layer: shells. May import: nothing.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import Final

__all__ = ["INBOX_LIMIT", "Inbox"]

INBOX_LIMIT: Final = 16
"""Messages that wait for recv() before reading pauses."""


class Inbox:
    """Messages of one client for other threads than its own.

    One thread puts; any thread takes and closes.
    """

    __slots__ = (
        "_changed",
        "_closed",
        "_discarding",
        "_lock",
        "_messages",
        "_pausing",
        "_receivers",
        "is_wanted",
    )

    def __init__(self) -> None:
        # Guards all fields. Who holds it takes no other lock, so that it may be
        # taken with another one held.
        self._lock = threading.Lock()
        # Made for the first receiver: most clients never have one.
        self._changed: threading.Condition | None = None
        self._messages: list[str | bytes] = []
        self._receivers = 0
        self._pausing = True
        self._closed = False
        self._discarding = False
        self.is_wanted = False
        """Whether somebody has asked for a message; nothing is put in before."""

    def put(self, message: str | bytes, *, keep: bool) -> bool:
        """Put a message in, and wait while there are too many.

        Args:
            message: The message.
            keep: Whether it may wait for a receiver who is still to come.

        Returns:
            Whether it was taken, or nobody is to get it; if not, there is no receiver
            for it.

        """
        with self._lock:
            if self._discarding:
                return True
            if self._changed is None:
                return False
            if not keep and self._receivers <= len(self._messages):
                return False
            self._messages.append(message)
            self._changed.notify_all()
            while self._pausing and len(self._messages) >= INBOX_LIMIT:
                self._changed.wait()
        return True

    def take(self, deadline: float | None) -> str | bytes | None:
        """Wait for a message, and take it.

        Args:
            deadline: Point of the monotonic clock at which waiting ends;
                :obj:`None` waits for ever.

        Returns:
            The message, or :obj:`None` if there are no more.

        Raises:
            TimeoutError: If the deadline passes first.

        """
        with self._lock:
            if self._changed is None:
                self._changed = threading.Condition(self._lock)
                self.is_wanted = True
            self._receivers += 1
            try:
                while not self._messages:
                    if self._closed:
                        return None
                    remaining = None if deadline is None else deadline - monotonic()
                    if remaining is not None and remaining <= 0:
                        raise TimeoutError
                    self._changed.wait(remaining)
                return self._pop()
            finally:
                self._receivers -= 1

    def take_nowait(self) -> str | bytes | None:
        """Take a message, if there is one."""
        with self._lock:
            return self._pop() if self._messages else None

    def _pop(self) -> str | bytes:
        # Who puts may wait for room.
        assert self._changed is not None
        self._changed.notify_all()
        return self._messages.pop(0)

    def stop_pausing(self) -> None:
        """Never wait in :meth:`put` again, however many messages there are."""
        with self._lock:
            self._pausing = False
            if self._changed is not None:
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any more; what is there can still be taken."""
        with self._lock:
            self._pausing = False
            self._closed = True
            if self._changed is not None:
                self._changed.notify_all()

    def discard(self) -> None:
        """Drop what is here, and what is still put in."""
        with self._lock:
            self._messages.clear()
            self._discarding = True
