"""Receiving: the reading half of a connection.

One thread reads, in a loop of one step: take what has arrived, make events of it,
react to each of them. Nothing that a sender does holds it up.

Layer: shells. May import: the core, connection.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Final

from .closing import Close
from .connection import Connection
from .exceptions import RemoteProtocolError
from .messages import Event, Ping, Pong

__all__ = ["Receiver"]

SLICE: Final = 4096
"""How much is decoded at once where messages may be compressed, in bytes: it may
become a thousand times as much, all of which waits for callbacks."""


class Receiver:
    """What comes of one connection; belongs to the thread that reads.

    Args:
        connection: Where it comes from, and where answers go.

    """

    __slots__ = ("_connection", "_eof", "_pending", "_unread", "last")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Newest first: the next one is taken from the end.
        self._pending: list[Event] = []
        self._unread = b""
        self._eof = False
        self.last: Close | RemoteProtocolError | None = None
        """What ended the reading, if it was the peer: its Close, or its fault."""

    def start(self) -> None:
        """Make the calling thread the reader, and take what came with the request."""
        self._connection.become_reader()
        self._receive(self._connection.protocol.take_early())

    def run(self, deliver: Callable[[str | bytes], bool]) -> None:
        """Read until the end.

        Args:
            deliver: Gets each message; whatever it does, it may read on by
                :meth:`recv`. Returns whether to go on.

        """
        while (message := self.next_message()) is not None and deliver(message):
            pass

    def next_message(self, deadline: float | None = None) -> str | bytes | None:
        """Wait for the next message, and react to what comes before it.

        Args:
            deadline: Point of the monotonic clock at which waiting ends;
                :obj:`None` waits for ever.

        Returns:
            The message, or :obj:`None` if there are no more: the stream is at its
            end, or somebody wants to close the connection.

        Raises:
            TimeoutError: If the deadline passes first.

        """
        connection = self._connection
        while connection.close_wanted is None and self.last is None:
            if self._pending:
                event = self._pending.pop()
                connection.log_frame("<", event)
                if isinstance(event, str | bytes):
                    return event
                self._react(event)
            elif self._unread:
                self._receive(self._unread)
            elif self._eof:
                break
            else:
                self._read(deadline)
        return None

    def _read(self, deadline: float | None) -> None:
        """Wait for what arrives, and make events of it."""
        try:
            data = self._connection.transport.read(deadline)
        except TimeoutError:
            raise
        except OSError:
            data = b""
        if data:
            self._receive(data)
        else:
            self._eof = True

    def _receive(self, data: bytes) -> None:
        protocol = self._connection.protocol
        self._unread = b""
        if protocol.extensions and len(data) > SLICE:
            data, self._unread = data[:SLICE], data[SLICE:]
        events = protocol.receive_data(data)
        # A Pong counts only if it answers a Ping; see take_pong(). A piece of a
        # frame is no event yet, but somebody sent it.
        if not events or not all(isinstance(event, Pong) for event in events):
            self._connection.last_alive = monotonic()
        # Only called when nothing is pending.
        events.reverse()
        self._pending = events

    def _react(self, event: Ping | Pong | Close | RemoteProtocolError) -> None:
        """Do what RFC 6455 demands on what isn't a message."""
        if isinstance(event, Ping):
            self._connection.answer(event)
        elif isinstance(event, Pong):
            self._connection.take_pong(event)
        else:
            self.last = event
            if isinstance(event, Close):
                self._connection.mark_close_rcvd(event)

    def recv(self, timeout: float | None) -> str | bytes:
        """Wait for the next message, in any thread; see :meth:`websock.Client.recv`."""
        deadline = None if timeout is None else monotonic() + timeout
        inbox = self._connection.inbox
        try:
            if self._connection.is_reader():
                # What other threads haven't taken came first.
                message = inbox.take_nowait()
                if message is None:
                    message = self.next_message(deadline)
            else:
                message = inbox.take(deadline)
        except TimeoutError:
            raise TimeoutError("no message within the timeout") from None
        if message is None:
            raise self._connection.closed()
        return message
