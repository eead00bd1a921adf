"""Stops that come before their time: a thread is to serve, and hasn't begun to.

``Thread(target=server.serve_forever).start()`` returns before the new thread serves,
and nothing of the server tells that it will. What tells is the thread itself: it runs
already when the server is told to stop. So a stop counts for the threads that run at
that moment and haven't served before; it's none of the business of those that are
started later, nor of the one that stops, which does one thing after the other.

Layer: shells. May import: nothing.
"""

from __future__ import annotations

import threading
import weakref

__all__ = ["EarlyStop"]


class EarlyStop:
    """What a server that doesn't serve was told to do; guarded by its lock."""

    def __init__(self) -> None:
        self._told: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._known: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    def remember(self) -> None:
        """Let the stop count for who may be about to serve."""
        own = threading.current_thread()
        self._told.update(
            thread
            for thread in threading.enumerate()
            if thread is not own and thread not in self._known
        )

    def applies(self) -> bool:
        """Tell whether it counts for the calling thread, which begins; once."""
        thread = threading.current_thread()
        told = thread in self._told
        self._told.discard(thread)
        self._known.add(thread)
        return told

    def forget(self) -> None:
        """Let it count for nobody any more: the server has served since."""
        self._told.clear()
