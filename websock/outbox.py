"""Outbox: what a connection has to write and its socket didn't take.

Layer: shells. May import: the core, transport.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Final

from .handshake import Source
from .transport import Transport
from .writer import SharedMessage

__all__ = ["ENTRY_COST", "UNSENT_LIMIT", "Outbox"]

UNSENT_LIMIT: Final = 128 * 1024
"""How much of a source the system keeps for a peer that reads slowly, in bytes."""

ENTRY_COST: Final = 128
"""What a piece of data in the outbox costs besides itself, in bytes."""


class Outbox:
    """Pieces of data in the order in which they leave, and a source behind them.

    Broadcasts may be deferred: those can't become data yet, because the message
    before them isn't finished.

    Guarded by the lock of its connection.
    """

    __slots__ = (
        "_deferred",
        "_entries",
        "_source",
        "_source_left",
        "deferred_size",
        "flushed",
        "size",
    )

    def __init__(self) -> None:
        # Each with whether it may be dropped; none while nothing waits, which is
        # most of the time.
        self._entries: deque[tuple[bytes | memoryview, bool]] | None = None
        # What is read piece by piece, and how much of it is to come, in bytes.
        self._source: Source | None = None
        self._source_left = 0
        # Broadcasts with their policies and what they cost.
        self._deferred: list[tuple[SharedMessage, str, int]] = []
        self.deferred_size = 0
        """What the deferred broadcasts cost, in bytes."""
        self.size = 0
        """What the data here costs, in bytes; 0 if nothing waits."""
        self.flushed = 0
        """How many bytes have left from here."""

    def add(self, data: bytes | memoryview, *, droppable: bool) -> None:
        """Put data behind everything else.

        Args:
            data: What its connection will have to write.
            droppable: Whether :meth:`drop_oldest` may drop it.

        """
        if self._entries is None:
            self._entries = deque()
        self._entries.append((data, droppable))
        self.size += len(data) + ENTRY_COST

    def defer(self, message: SharedMessage, policy: str, size: int) -> None:
        """Keep a broadcast until :meth:`take_deferred`.

        Args:
            message: The broadcast.
            policy: What to do if there is no room for it then.
            size: How long it is on the wire, in bytes.

        """
        self._deferred.append((message, policy, size + ENTRY_COST))
        self.deferred_size += size + ENTRY_COST

    def take_deferred(self) -> list[tuple[SharedMessage, str]]:
        """Take the broadcasts that were deferred, with their policies, in order."""
        deferred, self._deferred = self._deferred, []
        self.deferred_size = 0
        return [(message, policy) for message, policy, _ in deferred]

    def append_source(self, source: Source) -> None:
        """Put the last of all behind everything else; it's closed in the end."""
        self._source = source
        self._source_left = source.size

    def read_source(self) -> None:
        """Take the next piece of the source, if nothing else waits.

        Raises:
            Exception: If it can't be read on, or gives something else than promised.

        """
        if self._source is None or self.size:
            return
        piece = self._source.read()
        if not isinstance(piece, bytes) or len(piece) > self._source_left:
            raise ValueError("its source gives something else than it promised")
        self._source_left -= len(piece)
        if piece:
            self.add(piece, droppable=False)
        else:
            self._close_source()

    def _close_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            # The connection ends in any case, and has nobody to tell.
            with contextlib.suppress(Exception):
                source.close()

    def is_empty(self) -> bool:
        """Whether nothing is left to write, nor to read."""
        return not self.size and self._source is None

    def write_to(self, transport: Transport) -> bool:
        """Write what the socket takes; return whether everything here has left.

        Raises:
            OSError: If the connection is lost.

        """
        entries = self._entries
        while entries:
            data, _ = entries[0]
            sent = transport.write_nowait(data)
            self.size -= sent
            self.flushed += sent
            if sent < len(data):
                # Of a message that may have begun, the rest must follow.
                entries[0] = (memoryview(data)[sent:], False)
                return False
            entries.popleft()
            self.size -= ENTRY_COST
        self._entries = None
        return True

    def drop_oldest(self, limit: int) -> None:
        """Drop waiting broadcasts until there is room; the deferred ones are last.

        Others can't be dropped: they were accepted, or the compression of later
        ones refers to them. A broadcast refers to nothing.

        Args:
            limit: Size below which there is room, in bytes.

        """
        if self.size + self.deferred_size < limit:
            return
        kept: deque[tuple[bytes | memoryview, bool]] = deque()
        for data, droppable in self._entries or ():
            if droppable and self.size + self.deferred_size >= limit:
                self.size -= len(data) + ENTRY_COST
            else:
                kept.append((data, droppable))
        self._entries = kept
        while self._deferred and self.size + self.deferred_size >= limit:
            self.deferred_size -= self._deferred.pop(0)[2]

    def clear(self) -> None:
        """Drop everything."""
        self._entries = None
        self.size = 0
        self._deferred = []
        self.deferred_size = 0
        self._close_source()
