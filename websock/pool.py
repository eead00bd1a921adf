"""A few threads for user code and files behind plain HTTP requests.

They are started when they are first needed, they are daemons, and their number
and the queue before them are bounded, so that slow pages cost WebSockets nothing.

Layer: shells. May import: logs.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from .logs import log_exception

__all__ = ["Pool"]


class Pool:
    """Bounded threads with a bounded queue.

    Args:
        logger: Where exceptions of jobs go.
        max_threads: Most threads.
        max_jobs: Most jobs that wait for a thread.

    """

    def __init__(
        self, logger: logging.Logger, *, max_threads: int = 8, max_jobs: int = 1024
    ) -> None:
        self._logger = logger
        self._max_threads = max_threads
        self._max_jobs = max_jobs
        # Guards everything below; it tells of new jobs, and of the end.
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._idle = 0
        self._threads: set[threading.Thread] = set()
        self._closed = False

    def submit(self, job: Callable[[], None]) -> bool:
        """Let one of the threads call ``job``; any thread, never waits.

        Returns:
            Whether there was room for it in the queue, or a thread to be had.

        """
        with self._changed:
            if self._closed or len(self._jobs) >= self._max_jobs:
                return False
            if len(self._jobs) >= self._idle and not self._start_thread():
                return False
            self._jobs.append(job)
            self._changed.notify()
            return True

    def _start_thread(self) -> bool:
        if len(self._threads) >= self._max_threads:
            return True
        thread = threading.Thread(target=self._work, name="websock-http", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No thread to be had: the others, if any, have to do it.
            return bool(self._threads)
        self._threads.add(thread)
        return True

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._jobs and not self._closed:
                    self._changed.wait()
                self._idle -= 1
                if not self._jobs:
                    self._threads.discard(threading.current_thread())
                    return
                job = self._jobs.popleft()
            try:
                job()
            except Exception as error:
                log_exception(self._logger, error, "internal error")

    def is_own_thread(self) -> bool:
        """Whether the calling thread is one of these."""
        with self._changed:
            return threading.current_thread() in self._threads

    def close(self, deadline: float) -> None:
        """Do what waits, and end the threads, by ``deadline`` (monotonic clock)."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - monotonic()))
        with self._changed:
            self._jobs.clear()
