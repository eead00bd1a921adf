"""Keeper: what a connection needs of whoever keeps it.

A server's main thread does it; a connection alone has only threads that wait.

Layer: shells. May import: nothing.
"""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Keeper"]


class Keeper(Protocol):
    """What a connection needs somebody else for; called from any thread.

    A connection passes itself, as whatever kind of connection the keeper keeps. The
    first three may be called with its lock held.
    """

    def flush_later(self, connection: Any, /) -> None:
        """Call ``flush()`` of the connection when its transport can be written."""
        ...

    def write_later(self, connection: Any, /) -> None:
        """Call ``write_due()`` of the connection within milliseconds, if it holds back.

        That is if the batch of messages doesn't end before, with which it does so.
        """
        ...

    def expect_end(self, connection: Any, /) -> None:
        """Call ``enforce_end()`` of the connection after ``close_timeout``."""
        ...

    def retire(self, connection: Any, /) -> None:
        """Finish the closing handshake, and close the descriptor."""
        ...

    def ping_sent(self, connection: Any, payload: bytes, /) -> None:
        """Note that a Ping was sent."""
        ...

    def pong_received(self, connection: Any, payload: bytes, /) -> None:
        """Note, in the reader's thread, that a Ping was answered."""
        ...
