"""A connection: one protocol over one transport, in plain blocking code.

Who may do what, and when:

* One thread *reads*: it takes events with :meth:`Connection.next_event`, which
  blocks, and reacts to them. Nothing that a sender does holds it up.
* Any thread *sends*. What doesn't fit into the socket goes to the outbox, which
  the keeper empties (the main thread, for a server). Nobody waits for the peer
  while holding the lock.
* The keeper ends what takes too long, by cutting the transport.

Layer: shells. May import: the core, transport.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections import deque
from time import monotonic
from typing import Any, Final, Protocol

from .closing import Close, CloseCode
from .exceptions import (
    ConnectionClosed,
    LocalProtocolError,
    RemoteProtocolError,
    SendTimeout,
)
from .frames import Frame, check_close
from .lifecycle import State
from .messages import Data, Event, Pong
from .protocol import Protocol as WebSocketProtocol
from .protocol import close_for
from .transport import Transport
from .writer import SharedMessage

__all__ = ["Connection", "Keeper"]

MAX_PINGS: Final = 16
"""Pings that wait for their Pongs; when there are more, the oldest is forgotten."""


SLICE: Final = 4096
"""How much is decoded at once where messages may be compressed, in bytes: it may
become a thousand times as much, all of which waits for callbacks."""

ENTRY_COST: Final = 128
"""What a piece of data in the outbox costs besides itself, in bytes."""

DRAIN_READS: Final = 4
"""Reads in a row from a connection that is drained, before others have their turn."""


class Keeper(Protocol):
    """What a connection needs somebody else for; called from any thread.

    A connection passes itself, as whatever kind of connection the keeper keeps.
    """

    def flush_later(self, connection: Any, /) -> None:
        """Call :meth:`Connection.flush` when the transport can be written."""
        ...

    def expect_end(self, connection: Any, /) -> None:
        """Call :meth:`Connection.enforce_end` after ``close_timeout``."""
        ...

    def retire(self, connection: Any, /) -> None:
        """Finish the closing handshake, and close the descriptor."""
        ...


class Connection:
    """One WebSocket connection.

    Args:
        transport: Where bytes come from and go to.
        protocol: What they mean.
        keeper: Who flushes and ends the connection.
        write_limit: Size of the outbox above which nothing more is accepted, in
            bytes.
        send_timeout: How long :meth:`send` waits for room, in seconds;
            :obj:`None` means for ever.

    """

    __slots__ = (
        "__weakref__",
        "_close_wanted",
        "_deferred",
        "_encoding",
        "_ended",
        "_finish_when_flushed",
        "_flushed",
        "_keeper",
        "_lock",
        "_outbox",
        "_outbox_size",
        "_peer_ended",
        "_pending",
        "_pings",
        "_protocol",
        "_reader_ident",
        "_room",
        "_send_timeout",
        "_transport",
        "_unread",
        "_write_limit",
        "last_alive",
        "latency",
    )

    def __init__(
        self,
        transport: Transport,
        protocol: WebSocketProtocol,
        keeper: Keeper,
        *,
        write_limit: int,
        send_timeout: float | None,
    ) -> None:
        self._transport = transport
        self._protocol = protocol
        self._keeper = keeper
        self._write_limit = write_limit
        self._send_timeout = send_timeout
        # Guards the encoding of messages and their way into the outbox, so that
        # they leave in the order of their compression. Only senders wait for it,
        # and nobody else takes it while holding _lock.
        self._encoding = threading.Lock()
        # Broadcasts that came while somebody encoded; a deque needs no lock.
        self._deferred: deque[SharedMessage] = deque()
        # Guards the writing half of the protocol, and all fields down to _room. It
        # is never held while waiting for a peer, encoding, or in a callback.
        self._lock = threading.Lock()
        # What the socket didn't take, with whether it may be dropped.
        self._outbox: deque[tuple[bytes | memoryview, bool]] | None = None
        self._outbox_size = 0
        self._finish_when_flushed = False
        self._close_wanted: Close | None = None
        self._pings: dict[bytes, float] | None = None
        # Made when somebody waits for room in the outbox.
        self._room: threading.Condition | None = None
        # The reader's own.
        self._reader_ident: int | None = None
        self._pending: deque[Event] = deque()
        self._unread = b""
        self._ended = False
        # The keeper's own.
        self._flushed = 0
        self._peer_ended = False
        self.last_alive = monotonic()
        """When the peer last showed that it lives, on the monotonic clock."""
        self.latency: float | None = None
        """Round trip of the last Ping that was answered, in seconds; :obj:`None`
        before the first."""

    @property
    def state(self) -> State:
        """Where the connection stands (7.1); any thread."""
        return self._protocol.state

    @property
    def transport(self) -> Transport:
        """Where the bytes of this connection come from and go to."""
        return self._transport

    # Reading: the reader's thread only.

    def start_reading(self) -> None:
        """Make the calling thread the reader, and take what came with the request."""
        self._reader_ident = threading.get_ident()
        self._pending.extend(self._protocol.receive_data(b""))

    def is_reader(self) -> bool:
        """Whether the calling thread is the one that reads."""
        return threading.get_ident() == self._reader_ident

    def next_event(self, deadline: float | None = None) -> Event | None:
        """Wait for the next event of the peer.

        Args:
            deadline: Point of the monotonic clock at which waiting ends;
                :obj:`None` waits for ever.

        Returns:
            The event, or :obj:`None` if there are no more: the stream is at its
            end, or somebody wants to close the connection.

        Raises:
            TimeoutError: If the deadline passes first.

        """
        while self._close_wanted is None:
            if self._pending:
                return self._pending.popleft()
            if self._unread:
                self._receive(self._unread)
                continue
            if self._ended:
                return None
            try:
                data = self._transport.read(deadline)
            except TimeoutError:
                raise
            except OSError:
                data = b""
            if data:
                self._receive(data)
            else:
                self._ended = True
        return None

    def _receive(self, data: bytes) -> None:
        self._unread = b""
        if self._protocol.extensions and len(data) > SLICE:
            data, self._unread = data[:SLICE], data[SLICE:]
        events = self._protocol.receive_data(data)
        # A Pong counts only if it answers a Ping; see take_pong(). A piece of a
        # frame is no event yet, but somebody sent it.
        if not events or not all(isinstance(event, Pong) for event in events):
            self.last_alive = monotonic()
        self._pending.extend(events)

    def take_pong(self, pong: Pong) -> None:
        """Note the answer to a Ping; another Pong means nothing (5.5.3)."""
        now = monotonic()
        with self._lock:
            sent_at = self._pings.pop(pong.payload, None) if self._pings else None
        if sent_at is not None:
            self.latency = now - sent_at
            self.last_alive = now

    def answer(self, event: Event) -> None:
        """Send the answer to ``event`` that RFC 6455 demands, if any.

        A peer that doesn't read its answers isn't read either, as long as its
        outbox is full, and is dropped after ``send_timeout``.
        """
        with self._lock:
            if self._outbox_size >= self._write_limit:
                try:
                    self._wait_for_room()
                except SendTimeout:
                    return
            self._protocol.respond(event)
            self._write_due()

    def mark_close_rcvd(self, close: Close) -> None:
        """Note that the peer closes; the answer comes with :meth:`say_goodbye`."""
        with self._lock:
            self._protocol.mark_close_rcvd(close)

    def fail(self, fault: RemoteProtocolError) -> None:
        """Note that the peer broke a rule; :meth:`say_goodbye` will tell it (7.1.7)."""
        with self._lock:
            self._close_wanted = close_for(fault)

    def say_goodbye(self) -> None:
        """Send the Close frame that is due, if any, and hand over to the keeper."""
        with self._lock:
            due = self._protocol.close_rcvd or self._close_wanted
            if due is not None and self._protocol.can_send():
                self._protocol.send_close(due)
            elif due is None:
                # What was sent before may still reach a peer that has only ended
                # its own side.
                self._protocol.receive_eof()
            self._write_due()
        self._keeper.retire(self)

    # Sending: any thread.

    def send(self, data: Data | Frame, *, fragment_size: int | None = None) -> None:
        """Send a message (5.6).

        May be called from any thread, in callbacks too. It waits only if the peer
        reads so slowly that its outbox is full.

        Args:
            data: ``str`` is sent as text, ``bytes``, ``bytearray`` and
                ``memoryview`` as binary, :class:`Message` as it says; a
                :class:`Frame` goes out as it is.
            fragment_size: Longest payload of a frame, in bytes; :obj:`None` sends
                the message in one frame (5.4).

        Raises:
            ConnectionClosed: If the connection is closing, closed or lost; it's an
                :exc:`OSError`.
            SendTimeout: If there was no room within ``send_timeout``; the
                connection was dropped.
            LocalProtocolError: If the message can't be sent; nothing changed.
            TypeError: If ``data`` is of another type; nothing changed.

        """
        self._log_frame(">", data)
        with self._lock:
            if self._outbox_size >= self._write_limit:
                self._wait_for_room()
            self._protocol.check_can_send()
        with self._encoding:
            # Broadcasts of this thread come first.
            self._take_deferred()
            if isinstance(data, Frame):
                encoded = self._protocol.encode_frame(data)
            else:
                encoded = self._protocol.encode_message(
                    data, fragment_size=fragment_size
                )
            with self._lock:
                self._protocol.send_encoded(encoded)
                self._write_due()
                self._raise_if_lost()
        self._send_deferred()

    def offer(self, message: SharedMessage, policy: str) -> bool:
        """Send a message that many get, without waiting.

        Args:
            message: The message.
            policy: What to do if the outbox is full: the setting ``slow_client``.

        Returns:
            Whether the message is on its way.

        """
        # Before any lock is taken: it may take long, for the first who needs it.
        message.encode(self._protocol.extensions)
        with self._lock:
            if (
                not self._protocol.can_send()
                or self._close_wanted is not None
                or self._protocol.is_mid_message
            ):
                return False
            if self._outbox_size >= self._write_limit and policy == "drop_oldest":
                self._drop_oldest()
            full = self._outbox_size >= self._write_limit
            if full and policy == "close":
                self._close_wanted = Close(CloseCode.TRY_AGAIN_LATER, "too slow")
            elif full:
                return False
            else:
                self._deferred.append(message)
        if full:
            self._wake_to_end()
            return False
        self._send_deferred()
        return not self._lost

    def _send_deferred(self) -> None:
        """Send what offer() left, unless somebody encodes, who does it afterwards."""
        while self._deferred and self._encoding.acquire(blocking=False):
            try:
                self._take_deferred()
            finally:
                self._encoding.release()

    def _take_deferred(self) -> None:
        """Send what offer() left; with the lock of encoding held."""
        assert self._encoding.locked()
        if self._deferred:
            with self._lock:
                while self._deferred:
                    message = self._deferred.popleft()
                    # It's the middle of a message that is sent by hand, or the end
                    # of the connection.
                    with contextlib.suppress(LocalProtocolError, ConnectionClosed):
                        self._protocol.send_shared(message)
                self._write_due(droppable=True)

    def ping(self, payload: bytes | None = None) -> None:
        """Send a Ping (5.5.2); its answer sets :attr:`latency`.

        May be called from any thread; never waits.

        Args:
            payload: At most 125 bytes; :obj:`None` makes a random one.

        Raises:
            ConnectionClosed: If the connection is closing, closed or lost.
            LocalProtocolError: If ``payload`` is too long; nothing was sent.

        """
        if payload is None:
            payload = secrets.token_bytes(8)
        with self._lock:
            self._protocol.send_ping(payload)
            if self._pings is None:
                self._pings = {}
            elif len(self._pings) >= MAX_PINGS:
                del self._pings[next(iter(self._pings))]
            self._pings[payload] = monotonic()
            self._write_due()
            self._raise_if_lost()

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Start the closing handshake, unless it's started already (7.1.2).

        May be called from any thread, and returns at once. The connection's own
        thread ends what it does, runs ``on_connection_close``, and sends the Close
        frame; a peer that doesn't answer is cut off after ``close_timeout``.

        Args:
            code: Close code for the peer; one that may appear in a Close frame,
                which excludes 1005, 1006, and 1015 (7.4.1).
            reason: Explanation for humans, at most 123 bytes in UTF-8 (5.5).

        Raises:
            LocalProtocolError: If ``code`` or ``reason`` may not be sent; then
                nothing changed.

        """
        close = check_close(code, reason)
        with self._lock:
            if (
                self._close_wanted is not None
                or self._protocol.close_rcvd is not None
                or self._protocol.state in (State.CLOSING, State.CLOSED)
            ):
                return
            self._close_wanted = close
        self._wake_to_end()

    def abort(self) -> None:
        """Cut the connection without a closing handshake (7.1.7).

        May be called from any thread, and returns at once; the peer sees 1006.
        """
        with self._lock:
            self._lose()

    def _log_frame(self, direction: str, event: object) -> None:
        """Log what comes and goes, where there is somewhere to log to."""

    def _wake_to_end(self) -> None:
        self._keeper.expect_end(self)
        if not self.is_reader():
            self._transport.interrupt()

    # With the lock held.

    @property
    def _lost(self) -> bool:
        return self._protocol.state is State.CLOSED

    def _raise_if_lost(self) -> None:
        if self._lost:
            raise ConnectionClosed(self._protocol.close_rcvd, self._protocol.close_sent)

    def _lose(self) -> None:
        """The transport is of no more use; let the reader and waiters know."""
        assert self._lock.locked()
        self._protocol.receive_eof()
        self._outbox = None
        self._outbox_size = 0
        self._transport.abort()
        if self._room is not None:
            self._room.notify_all()

    def _write_due(self, *, droppable: bool = False) -> None:
        """Write what the protocol has to send; what doesn't fit, to the outbox."""
        assert self._lock.locked()
        for data in self._protocol.data_to_send():
            rest: bytes | memoryview = data
            if not self._outbox:
                try:
                    sent = self._transport.write_nowait(data)
                except OSError:
                    self._lose()
                    return
                if sent == len(data):
                    continue
                rest = memoryview(data)[sent:]
                # It may have begun: TLS keeps what it was offered once.
                droppable = False
                if self._outbox is None:
                    self._outbox = deque()
                self._keeper.flush_later(self)
            assert self._outbox is not None
            self._outbox.append((rest, droppable))
            self._outbox_size += len(rest) + ENTRY_COST

    def _wait_for_room(self) -> None:
        assert self._lock.locked()
        if self._room is None:
            self._room = threading.Condition(self._lock)
        deadline = None
        if self._send_timeout is not None:
            deadline = monotonic() + self._send_timeout
        while self._outbox_size >= self._write_limit and self._protocol.can_send():
            if deadline is None:
                self._room.wait()
            elif not self._room.wait(max(0.0, deadline - monotonic())) and (
                monotonic() >= deadline and self._outbox_size >= self._write_limit
            ):
                self._lose()
                raise SendTimeout(
                    f"the peer doesn't read: no room for {self._send_timeout:g} s"
                )

    def _drop_oldest(self) -> None:
        """Drop waiting broadcasts until there is room.

        Others can't be dropped: they were accepted, or the compression of later
        ones refers to them. A broadcast refers to nothing.
        """
        assert self._outbox is not None
        kept: deque[tuple[bytes | memoryview, bool]] = deque()
        for data, droppable in self._outbox:
            if droppable and self._outbox_size >= self._write_limit:
                self._outbox_size -= len(data) + ENTRY_COST
            else:
                kept.append((data, droppable))
        self._outbox = kept

    # The keeper's thread only.

    def flush(self) -> bool:
        """Write what the socket takes; return whether the outbox is empty."""
        with self._lock:
            outbox = self._outbox
            try:
                while outbox:
                    data, _ = outbox[0]
                    sent = self._transport.write_nowait(data)
                    self._outbox_size -= sent
                    self._flushed += sent
                    if sent < len(data):
                        # Of a message that may have begun, the rest must follow.
                        outbox[0] = (memoryview(data)[sent:], False)
                        break
                    outbox.popleft()
                    self._outbox_size -= ENTRY_COST
            except OSError:
                self._lose()
            if self._room is not None and self._outbox_size < self._write_limit:
                self._room.notify_all()
            if outbox and self._outbox is not None:
                return False
            self._outbox = None
            if self._finish_when_flushed:
                self._transport.finish_writing()
            return True

    def finish(self) -> None:
        """Tell the peer that nothing more comes, once the outbox is empty."""
        with self._lock:
            self._finish_when_flushed = True
        self.flush()

    def drain(self) -> bool:
        """Drop what arrives after the reader has left; never much at once.

        Returns:
            Whether there may be more right now: a peer that goes on sending must
            not keep the keeper's thread to itself.

        """
        for _ in range(DRAIN_READS):
            if self._peer_ended:
                return False
            try:
                data = self._transport.read_nowait()
            except OSError:
                with self._lock:
                    self._lose()
                data = b""
            if data is None and self._protocol.state is not State.CLOSED:
                return False
            self._peer_ended = not data
        return not self._peer_ended

    def take_flushed(self) -> int:
        """How many bytes were flushed since the last call."""
        flushed, self._flushed = self._flushed, 0
        return flushed

    def is_over(self) -> bool:
        """Whether there is nothing more to drain, nor to flush."""
        return self._peer_ended and not self._outbox

    def has_unread_data(self) -> bool:
        """Whether something of the peer, who is there, waits for the busy reader."""
        return self._transport.has_data()

    def fileno(self) -> int:
        """Descriptor of the socket; -1 once it's closed."""
        return self._transport.fileno()

    def enforce_end(self) -> bool:
        """End what takes too long.

        Returns:
            Whether the connection was cut. It wasn't if the reader is still in a
            callback and hadn't sent its Close frame yet, which is sent now: then
            it's cut the next time.

        """
        with self._lock:
            if self._protocol.can_send():
                self._protocol.send_close(
                    self._protocol.close_rcvd
                    or self._close_wanted
                    or Close(CloseCode.GOING_AWAY)
                )
                self._write_due()
                self._finish_when_flushed = True
                if not self._outbox:
                    self._transport.finish_writing()
                if self._room is not None:
                    self._room.notify_all()
                return False
            self._lose()
            return True

    def release(self) -> None:
        """Close the descriptor; nothing may be asked of the connection afterwards."""
        with self._lock:
            self._lose()
        self._transport.close()
