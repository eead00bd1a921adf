"""Receiving: the reading half of a connection.

One thread reads, in a loop of one step: take what has arrived, make events of it,
react to each of them. Nothing that a sender does holds it up. While its callback runs
long, somebody else reads in its place, so that Pings are answered and a Close frame
is noticed; messages wait for the callback.

Layer: shells. May import: the core, link, connection.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from .closing import Close
from .connection import Connection
from .exceptions import RemoteProtocolError
from .link import Link
from .messages import Event, Ping, Pong

__all__ = ["Receiver"]

Choose = Callable[[], Callable[[Any, Any], object] | None]
"""Chooses what is called with a client and each message; :obj:`None` is nothing."""

SLICE: Final = 4096
"""How much is decoded at once where messages may be compressed, in bytes: it may
become a thousand times as much, all of which waits for callbacks."""


AHEAD_LIMIT: Final = 65536
"""What is read while a callback runs long, in bytes, before the last read; each takes
as much at most."""

DECODED_LIMIT: Final = 2**20
"""Messages that are decoded while a callback runs long, in characters or bytes."""


class ReadToken:
    """Who has it reads; as the accelerator has it, for connections without."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def begin_reading(self) -> None:
        """Get it; waits for it."""
        self._lock.acquire()

    def try_reading(self) -> bool:
        """Get it if nobody has it; return whether that was so."""
        return self._lock.acquire(blocking=False)

    def end_reading(self) -> None:
        """Give it back."""
        self._lock.release()


class Receiver:
    """What comes of one connection; belongs to the thread that reads.

    Args:
        connection: Where it comes from, and where answers go.

    """

    __slots__ = (
        "_ahead",
        "_between",
        "_connection",
        "_eof",
        "_link",
        "_pending",
        "_started",
        "_token",
        "_unread",
        "last",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # The read token guards everything below. Nobody has it while a callback runs.
        self._token: Link | ReadToken = connection.link or ReadToken()
        self._started = False
        self._link: Link | None = None
        # Whether the next byte begins a message, and none waits here.
        self._between = False
        # Newest first: the next one is taken from the end.
        self._pending: list[Event] = []
        self._unread = b""
        self._ahead = 0  # How much was read in the reader's place since it last read.
        self._eof = False
        self.last: Close | RemoteProtocolError | None = None
        """What ended the reading, if it was the peer: its Close, or its fault."""

    def start(self) -> None:
        """Make the calling thread the reader, and take what came with the request."""
        connection = self._connection
        self._token.begin_reading()
        try:
            connection.become_reader()
            self._started = True
            if not connection.protocol.extensions:
                self._link = connection.link
            self._receive(connection.protocol.take_early())
        finally:
            self._token.end_reading()

    def run(
        self,
        deliver: Callable[[str | bytes], bool],
        choose: Choose = lambda: None,
        client: Any = None,
    ) -> None:
        """Read until the end.

        Args:
            deliver: Gets each message; whatever it does, it may read on by
                :meth:`recv`. Returns whether to go on.
            choose: Returns what may be called in its place with the client and each
                of the messages that have just come; :obj:`None` means nothing.
            client: The client.

        Raises:
            BaseException: What the function chosen raised; its message is done, and
                the next call goes on with the one behind it.

        """
        going_on = True
        while going_on:
            self._token.begin_reading()
            try:
                if self._step(choose, client):
                    continue
                message = self.next_message()
            finally:
                self._token.end_reading()
            going_on = message is not None and deliver(message)

    def _step(self, choose: Choose, client: Any) -> bool:
        """Take what has arrived the short way; return whether that's all there was."""
        link = self._link
        if link is None or not self._is_between():
            return False
        if self._connection.holds_back:
            self._connection.write_due()
        outcome = link.run(choose, client, self._connection)
        if outcome is None:
            return True
        if outcome is True:
            self._connection.write_due()
            return True
        if outcome is False:
            self._eof = True
        elif outcome:
            self._receive(outcome)
        return False

    def _is_between(self) -> bool:
        if not self._between:
            self._between = (
                not self._pending
                and not self._unread
                and not self._eof
                and self.last is None
                and self._connection.close_wanted is None
                and self._connection.protocol.is_between_messages
            )
            if self._between:
                self._ahead = 0
        return self._between

    def next_message(self, deadline: float | None = None) -> str | bytes | None:
        """Wait for the next message, and react to what comes before it.

        Needs the read token.

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
                connection.in_batch = bool(self._pending)
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
        connection.in_batch = False
        return None

    def _read(self, deadline: float | None) -> None:
        """Wait for what arrives, and make events of it."""
        connection = self._connection
        self._ahead = 0
        if self._link is not None:
            if data := self._link.take_unread():
                self._receive(data)
                return
            if self._link.corked:
                # The peer may answer to what a callback sent before it reads.
                connection.write_due()
        if connection.holds_back:
            connection.write_due()
        try:
            data = connection.transport.read(deadline)
        except TimeoutError:
            raise
        except OSError:
            data = b""
        if data:
            self._receive(data)
        else:
            self._eof = True

    def _receive(self, data: bytes) -> None:
        """Make events of data."""
        protocol = self._connection.protocol
        self._unread = b""
        self._between = False
        if protocol.extensions and len(data) > SLICE:
            data, self._unread = data[:SLICE], data[SLICE:]
        events = protocol.receive_data(data)
        # A Pong counts only if it answers a Ping; see take_pong(). A piece of a
        # frame is no event yet, but somebody sent it.
        if not events or not all(isinstance(event, Pong) for event in events):
            self._connection.note_alive()
        self._pending = events[::-1] + self._pending

    def _react(self, event: Ping | Pong | Close | RemoteProtocolError) -> None:
        """Do what RFC 6455 demands on what isn't a message."""
        if isinstance(event, Ping):
            self._connection.answer(event)
        elif isinstance(event, Pong):
            # A callback tells of it.
            self._token.end_reading()
            try:
                self._connection.take_pong(event)
            finally:
                self._token.begin_reading()
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
                    self._token.begin_reading()
                    try:
                        message = self.next_message(deadline)
                    finally:
                        self._token.end_reading()
            else:
                if self._connection.link is not None:
                    # What was read with the message that is being delivered, too.
                    self._connection.link.stop = True
                message = inbox.take(deadline)
        except TimeoutError:
            raise TimeoutError("no message within the timeout") from None
        if message is None:
            raise self._connection.closed()
        return message

    # In the reader's place: the keeper's thread.

    def read_ahead(self, before: float) -> None:
        """Read while a callback runs long; never waits.

        Answers Pings, and notes Pongs and a Close frame, for whose answer there is
        a deadline from then on; the reader gets them, too, after what came earlier.

        Args:
            before: Point of the monotonic clock; nothing is done if the peer was heard
                since.

        """
        if self._token.try_reading():
            try:
                if self._connection.last_alive < before:
                    self._read_ahead()
            finally:
                self._token.end_reading()

    def _read_ahead(self) -> None:
        connection = self._connection
        if not self._started or connection.close_wanted is not None:
            return
        # What was read with the message that is being delivered has come, too.
        self._foresee()
        while (
            self._ahead < AHEAD_LIMIT
            and self._decoded() < DECODED_LIMIT
            and self.last is None
            and not self._eof
        ):
            data = self._unread or (self._link and self._link.take_unread())
            if not data:
                try:
                    data = connection.transport.read_nowait()
                except OSError:
                    data = b""
                if data is None:
                    return
            if not data:
                self._eof = True
                return
            self._receive(data)
            self._ahead += len(data) - len(self._unread)
            self._foresee()

    def _foresee(self) -> None:
        """React to what waits for the reader, as far as it needn't wait."""
        waiting: list[Event] = []
        for event in reversed(self._pending):
            if isinstance(event, str | bytes) or not self._connection.foresee(event):
                waiting.append(event)
            else:
                self._connection.log_frame("<", event)
        waiting.reverse()
        self._pending = waiting

    def _decoded(self) -> int:
        return sum(
            len(event) for event in self._pending if isinstance(event, str | bytes)
        )
