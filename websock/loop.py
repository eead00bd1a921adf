"""The loop of the main thread: descriptors, timers, and calls from other threads.

It knows nothing of WebSockets. Everything but :meth:`Loop.call_soon` belongs to
the thread that runs the loop.

Layer: shells. May import: logs.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import select
import selectors
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Final

from .logs import log_exception

__all__ = ["Loop", "Timer"]

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE

LONGEST_WAIT: Final = 3600.0
"""Longest wait, in seconds; systems have their limits."""

Callback = Callable[[], None]
"""Something for the loop to call; what it raises is logged, and the loop goes on."""


class Timer:
    """Something to do at a point of the monotonic clock."""

    __slots__ = ("callback", "deadline")

    def __init__(self, deadline: float, callback: Callback) -> None:
        self.deadline = deadline
        """When to do it."""
        self.callback: Callback | None = callback
        """What to do; :obj:`None` once it's done or cancelled."""

    def cancel(self) -> None:
        """Forget it; whoever asks after it was done asks for nothing."""
        self.callback = None


class Loop:
    """Waits for descriptors, deadlines and other threads, and calls back.

    Args:
        logger: Where exceptions of callbacks go.

    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._selector = selectors.DefaultSelector()
        self._waiters: dict[int, dict[int, Callback]] = {}
        # Edge-triggered descriptors, where the system has them, in an epoll of
        # their own inside the selector.
        self._edges: select.epoll | None = None
        self._edge_callbacks: dict[int, Callback] = {}
        if hasattr(select, "epoll"):
            self._edges = select.epoll()
            self.register_read(self._edges.fileno(), self._run_edges)
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        # Appended by any thread, emptied by the loop; a deque needs no lock.
        self._calls: deque[Callback] = deque()
        self._waking = False
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self.register_read(self._wake_read.fileno(), self._drain_wakes)

    def close(self) -> None:
        """Release the descriptors of the loop itself."""
        self._selector.close()
        if self._edges is not None:
            self._edges.close()
        self._wake_read.close()
        self._wake_write.close()

    # Descriptors. One may be waited for by a reader and by a writer.

    def register_read(self, fd: int, callback: Callback) -> None:
        """Call ``callback`` as long as ``fd`` can be read."""
        self._set(fd, READ, callback)

    def register_write(self, fd: int, callback: Callback) -> None:
        """Call ``callback`` as long as ``fd`` can be written."""
        self._set(fd, WRITE, callback)

    def register_edge(self, fd: int, callback: Callback) -> None:
        """Call ``callback`` whenever something happens to ``fd`` for its reader.

        Where the system can't tell edges, that is as long as it can be read.
        """
        if self._edges is None:
            self._set(fd, READ, callback)
        else:
            self._edges.register(fd, select.EPOLLIN | select.EPOLLET)
            self._edge_callbacks[fd] = callback

    def unregister_write(self, fd: int) -> None:
        """Undo :meth:`register_write`, if it was done."""
        self._set(fd, WRITE, None)

    def unregister(self, fd: int) -> None:
        """Forget all about ``fd``, before it's closed."""
        self._set(fd, READ, None)
        self._set(fd, WRITE, None)
        if self._edges is not None and self._edge_callbacks.pop(fd, None) is not None:
            self._edges.unregister(fd)

    def _set(self, fd: int, event: int, callback: Callback | None) -> None:
        waiters = self._waiters.get(fd, {})
        before = sum(waiters)
        if callback is not None:
            waiters[event] = callback
        elif waiters.pop(event, None) is None:
            return
        events = sum(waiters)
        if not before:
            # In this order: it may fail, and is then as if it hadn't been tried.
            self._selector.register(fd, events, waiters)
            self._waiters[fd] = waiters
        elif not events:
            del self._waiters[fd]
            self._selector.unregister(fd)
        elif events != before:
            self._selector.modify(fd, events, waiters)

    def _run_edges(self) -> None:
        assert self._edges is not None
        for fd, _ in self._edges.poll(0):
            callback = self._edge_callbacks.get(fd)
            if callback is not None:
                self._call(callback)

    # Timers.

    def call_at(self, deadline: float, callback: Callback) -> Timer:
        """Call ``callback`` once, at ``deadline`` or soon after it."""
        timer = Timer(deadline, callback)
        heapq.heappush(self._timers, (deadline, next(self._order), timer))
        return timer

    def _run_timers(self) -> None:
        now = monotonic()
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)[2]
            callback = timer.callback
            if callback is not None:
                timer.callback = None
                self._call(callback)

    def _timeout(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if self._calls:
            return 0.0
        if not self._timers:
            return None
        return min(max(0.0, self._timers[0][0] - monotonic()), LONGEST_WAIT)

    # Other threads.

    def call_soon(self, callback: Callback) -> None:
        """Call ``callback`` in the loop's thread; any thread and signal handlers."""
        self._calls.append(callback)
        self.wake()

    @property
    def wakeup_fd(self) -> int:
        """Descriptor that wakes the loop when anything is written to it."""
        return self._wake_write.fileno()

    def wake(self) -> None:
        """Let the loop turn once more; any thread and signal handlers."""
        # One byte is enough, however many calls wait. Two threads that both see
        # the flag unset both write, which does no harm.
        if not self._waking:
            self._waking = True
            # Full means that the loop is going to wake; closed, that it's over.
            with contextlib.suppress(OSError):
                self._wake_write.send(b"\0")

    def _drain_wakes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)
        # In this order: a byte that was sent for the flag must not be swallowed
        # after it was cleared. The calls are taken afterwards, so that one that saw
        # the flag still set is among them.
        self._waking = False

    # Running.

    def run_once(self) -> None:
        """Wait for what comes first, and do all that is due."""
        for key, events in self._selector.select(self._timeout()):
            waiters: dict[int, Callback] = key.data
            for event in (READ, WRITE):
                # The first of the two may have unregistered the second.
                if not (events & event and event in waiters):
                    continue
                # What fails would fail again at once, and for ever.
                if not self._call(waiters[event]):
                    self._set(key.fd, event, None)
        self.run_calls()
        self._run_timers()

    def run_calls(self) -> None:
        """Do what other threads asked for so far, without waiting."""
        for _ in range(len(self._calls)):
            self._call(self._calls.popleft())

    def _call(self, callback: Callback) -> bool:
        """Call back; return whether it went well."""
        try:
            callback()
        except Exception as error:
            # One connection's bad luck must not end all the others.
            log_exception(self._logger, error, "internal error")
            return False
        return True
