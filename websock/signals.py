"""Signals that stop a server: SIGTERM and Ctrl-C.

Layer: shells. May import: nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["stop_signals"]


@contextlib.contextmanager
def stop_signals(
    stop: Callable[[], None], wakeup_fd: int
) -> Iterator[Callable[[], bool]]:
    """Call ``stop`` on SIGTERM and on the first Ctrl-C, as long as the context lasts.

    A handler is set only in the main thread, where Python runs them, and only
    where the application hasn't set its own; the old one is put back. A second
    Ctrl-C raises :exc:`KeyboardInterrupt` at once.

    Args:
        stop: What to call.
        wakeup_fd: Descriptor that wakes the main thread when it's written to.
            Python runs handlers there, between two of its steps. Without it, a
            signal that another thread gets, or that comes just before the main
            thread waits, is handled when the wait ends: maybe never.

    Yields:
        A function that tells whether there was a Ctrl-C.

    """
    interrupted = False

    def terminate(_: int, __: FrameType | None) -> None:
        stop()

    def interrupt(_: int, __: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True
        stop()

    handlers = []
    if threading.current_thread() is threading.main_thread():
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            handlers.append((signal.SIGTERM, terminate))
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            handlers.append((signal.SIGINT, interrupt))
    with contextlib.ExitStack() as undo:
        if handlers:
            # One of our own, since the loop closes its before the context ends, and
            # its number may be given to another connection at once.
            own_fd = os.dup(wakeup_fd)
            undo.callback(os.close, own_fd)
            former_fd = signal.set_wakeup_fd(own_fd, warn_on_full_buffer=False)
            undo.callback(signal.set_wakeup_fd, former_fd)
        for number, handler in handlers:
            former = signal.signal(number, handler)
            undo.callback(signal.signal, number, former)
        yield lambda: interrupted
