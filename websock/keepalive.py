"""Keepalive: Pings for silent peers, and the end of those that are gone (5.5.2).

Layer: shells. May import: the core, loop, connection.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from time import monotonic

from .connection import Connection
from .exceptions import ConnectionClosed
from .lifecycle import State
from .loop import Loop, Timer

__all__ = ["Keepalive"]


class Keepalive:
    """Watches over the clients of a server; belongs to the loop's thread.

    Args:
        loop: Whose timers are used: one for each client.
        logger: Where lost peers are noted.
        ping_interval: Silence after which a Ping is sent, in seconds; :obj:`None`
            sends none.
        ping_timeout: Time for the answer, in seconds; :obj:`None` means no limit.

    """

    def __init__(
        self,
        loop: Loop,
        logger: logging.Logger,
        ping_interval: float | None,
        ping_timeout: float | None,
    ) -> None:
        self._loop = loop
        self._logger = logger
        self._interval = ping_interval
        self._timeout = ping_timeout
        self._timers: dict[Connection, Timer] = {}

    def start(self, connection: Connection) -> None:
        """Watch over a connection whose opening handshake is done."""
        if self._interval is not None:
            self._wait(connection, connection.last_alive + self._interval, None)

    def stop(self, connection: Connection) -> None:
        """Forget a connection; harmless if it isn't watched."""
        timer = self._timers.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def _wait(
        self, connection: Connection, deadline: float, asked_at: float | None
    ) -> None:
        self._timers[connection] = self._loop.call_at(
            deadline, functools.partial(self._check, connection, asked_at)
        )

    def _check(self, connection: Connection, asked_at: float | None) -> None:
        """Look at a connection when its timer fires.

        Args:
            connection: The connection.
            asked_at: When the Ping was sent that wasn't answered at the last look;
                :obj:`None` if there was none.

        """
        assert self._interval is not None
        if connection.state is not State.OPEN:
            self.stop(connection)
            return
        now = monotonic()
        alive = connection.last_alive
        if asked_at is not None and alive >= asked_at:
            asked_at = None
        if asked_at is None:
            if alive + self._interval > now:
                self._wait(connection, alive + self._interval, None)
                return
            asked_at = now
            with contextlib.suppress(ConnectionClosed):
                connection.ping()
        elif self._timeout is not None and asked_at + self._timeout <= now:
            # The answer may be among what a long callback keeps from being read.
            if not connection.has_unread_data():
                self._logger.info(
                    "%s: no answer to a Ping for %.3g s", connection, now - asked_at
                )
                self.stop(connection)
                connection.abort()
                return
            self._wait(connection, now + self._timeout, asked_at)
            return
        # An answer may come soon, and then silence again.
        deadline = now + self._interval
        if self._timeout is not None:
            deadline = min(deadline, asked_at + self._timeout)
        self._wait(connection, deadline, asked_at)
