"""A connection: one protocol over one transport, in plain blocking code.

Who may do what, and when:

* One thread *reads*, by a :class:`~websock.receiving.Receiver`.
* Any thread *sends*, one at a time: it takes its turn when there is room, encodes
  its message, and passes the turn on. What doesn't fit into the socket goes to the
  outbox, which the keeper empties (the main thread, for a server). Nobody waits
  for the peer, nor encodes, while holding the lock.
* The keeper ends what takes too long, by cutting the transport.

Layer: shells. May import: the core, logs, transport, link, inbox,
outbox, keeper, pings,
turns.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from .closing import Close, CloseCode
from .exceptions import (
    ConnectionClosed,
    RemoteProtocolError,
    SendTimeout,
)
from .extensions.base import ServerExtensionFactory
from .frames import Frame, check_close
from .handshake import Response
from .headers import Headers
from .inbox import Inbox
from .keeper import Keeper
from .lifecycle import State
from .link import Corks, make_link
from .logs import escape, shorten
from .messages import Data, Event, Ping, Pong
from .outbox import UNSENT_LIMIT, Outbox
from .pings import MAX_PINGS, Pings
from .protocol import Protocol as WebSocketProtocol
from .protocol import close_for
from .request import Request
from .transport import Transport, show_address
from .turns import Turns
from .writer import SharedMessage

__all__ = ["Connection"]

HELD_LIMIT: Final = 64 * 1024
"""What is held back for the end of a batch of messages, in bytes."""

DRAIN_READS: Final = 4
"""Reads in a row from a connection that is drained, before others have their turn."""

_ids = itertools.count(1)


class Connection:
    """One connection: plain HTTP at first, a WebSocket once it's accepted.

    Args:
        transport: Where bytes come from and go to.
        protocol: What they mean.
        keeper: Who flushes and ends the connection.
        write_limit: Size of the outbox above which nothing more is accepted, in
            bytes.
        send_timeout: How long :meth:`send` waits for room, in seconds;
            :obj:`None` means for ever.
        logger: Where frames go, at level DEBUG.
        max_size: Longest message, in bytes; :obj:`None` means no limit.
        corks: For the short cut of plain messages; :obj:`None` means that there is
            none.

    """

    __slots__ = (
        "_close_foreseen",
        "_finish_when_flushed",
        "_held_size",
        "_keeper",
        "_last_alive",
        "_lock",
        "_logger",
        "_outbox",
        "_peer_ended",
        "_pings",
        "_reader_ident",
        "_send_timeout",
        "_turns",
        "_write_limit",
        "close_wanted",
        "holds_back",
        "id",
        "in_batch",
        "inbox",
        "latency",
        "link",
        "protocol",
        "transport",
    )

    def __init__(
        self,
        transport: Transport,
        protocol: WebSocketProtocol,
        keeper: Keeper,
        *,
        write_limit: int,
        send_timeout: float | None,
        logger: logging.Logger,
        max_size: int | None = None,
        corks: Corks | None = None,
    ) -> None:
        self.id: int = next(_ids)
        """Number of the connection, unique in this process."""
        self.transport = transport
        """Where bytes come from and go to."""
        self.protocol = protocol
        """What they mean; the reader's thread has the reading half."""
        self._keeper = keeper
        self._write_limit = write_limit
        self._send_timeout = send_timeout
        self._logger = logger
        self.link = make_link(transport, corks, max_size)
        """Short cut for plain messages; :obj:`None` if there is none."""
        # Guards the writing half of the protocol, and all fields down to _turns.
        # It is never held while waiting for a peer, encoding, or in a callback.
        self._lock: Any = threading.Lock() if self.link is None else self.link
        self._outbox = Outbox()
        self.holds_back = False
        """Whether something waits for the end of its batch, in the protocol."""
        self._held_size = 0
        self._finish_when_flushed = False
        self.close_wanted: Close | None = None
        """What somebody wants to close the connection with; the reader ends then."""
        self._close_foreseen: Close | None = None
        self._pings = Pings()
        self._turns = Turns(self._lock)
        self.inbox = Inbox()
        """Messages for receivers in other threads than the reader's."""
        self._reader_ident: int | None = None
        self.in_batch = False
        """Whether the reader has more messages behind the one that it delivers."""
        self._peer_ended = False
        self._last_alive = monotonic()
        self.latency: float | None = None
        """Round trip of the last Ping that was answered, in seconds, if one was."""

    def __str__(self) -> str:
        """Address of the peer, for logs."""
        return show_address(self.address)

    @property
    def address(self) -> Any:
        """Address of the peer; ("unix", id) on a Unix socket, where it has none."""
        address = self.transport.getpeername()
        return address if isinstance(address, tuple) else ("unix", self.id)

    @property
    def last_alive(self) -> float:
        """When the peer last showed that it lives, on the monotonic clock."""
        if self.link is None:
            return self._last_alive
        return max(self._last_alive, self.link.heard_at)

    @property
    def state(self) -> State:
        """Where the connection stands (7.1); any thread."""
        return self.protocol.state

    # The opening handshake.

    def accept(
        self,
        request: Request,
        *,
        subprotocol: str | None,
        extensions: Sequence[ServerExtensionFactory],
        headers: Headers,
    ) -> None:
        """Accept the request; the 101 leaves with :meth:`write_due`.

        Takes what :meth:`websock.protocol.Protocol.accept` takes.

        Raises:
            HandshakeError: If the request isn't one for a WebSocket.
            ConnectionClosed: If the connection is lost.

        """
        with self._lock:
            self._raise_if_lost()
            self.protocol.accept(
                request, subprotocol=subprotocol, extensions=extensions, headers=headers
            )

    def write_due(self) -> None:
        """Write what the protocol has to send."""
        with self._lock:
            self._write_due()

    def reject(self, response: Response, *, head: bool) -> None:
        """Answer the request with plain HTTP, and hand over to the keeper.

        Args:
            response: The response; its source is closed in the end, whatever happens.
            head: Whether the method was HEAD, so that the body stays here.

        Raises:
            ValueError: If the response can't be sent; nothing was.

        """
        source = response.source
        try:
            with self._lock:
                # A hook may have cut the connection, or outlived the server.
                if not self._lost:
                    self.protocol.reject(response, head=head)
                    if source is not None and response.has_content(head=head):
                        self._outbox.append_source(source)
                        source = None
                        self.transport.limit_unsent(UNSENT_LIMIT)
                        self._keeper.flush_later(self)
                    self._write_due()
        finally:
            if source is not None:
                source.close()
        self._keeper.expect_end(self)
        self._keeper.retire(self)

    # The reader's thread only.

    def become_reader(self) -> None:
        """Make the calling thread the reader."""
        self._reader_ident = threading.get_ident()

    def is_reader(self) -> bool:
        """Whether the calling thread is the one that reads."""
        return threading.get_ident() == self._reader_ident

    def note_alive(self) -> None:
        """Note that the peer has just shown that it lives."""
        self._last_alive = monotonic()

    def take_pong(self, pong: Pong) -> None:
        """Note the answer to a Ping; another Pong means nothing (5.5.3)."""
        with self._lock:
            sent_at = self._pings.take(pong.payload)
        if sent_at is not None:
            self.note_alive()
            self.latency = self._last_alive - sent_at
            self._keeper.pong_received(self, pong.payload)

    def foresee(self, event: Event) -> bool:
        """React to what the reader will get later; never waits.

        Returns:
            Whether it needn't get it any more.

        """
        with self._lock:
            if isinstance(event, Ping) and not self._is_full():
                self.protocol.respond(event)
                self._write_due()
                return True
            if isinstance(event, Pong) and event.payload in self._pings:
                self.note_alive()
            elif isinstance(event, Close):
                self._close_foreseen = event
                self._keeper.expect_end(self)
        return False

    def answer(self, event: Event) -> None:
        """Send the answer to ``event`` that RFC 6455 demands, if any.

        A peer that doesn't read its answers isn't read either, as long as its
        outbox is full, and is dropped after ``send_timeout``.
        """
        with self._lock:
            if self._is_full():
                try:
                    self._wait()
                except SendTimeout:
                    return
            self.protocol.respond(event)
            self._write_due()

    def mark_close_rcvd(self, close: Close) -> None:
        """Note that the peer closes; the answer comes with :meth:`say_goodbye`."""
        with self._lock:
            self.protocol.mark_close_rcvd(close)

    def fail(self, fault: RemoteProtocolError) -> None:
        """Note that the peer broke a rule; :meth:`say_goodbye` will tell it (7.1.7)."""
        with self._lock:
            self.close_wanted = close_for(fault)

    def say_goodbye(self) -> None:
        """Send the Close frame that is due, if any, and hand over to the keeper."""
        with self._lock:
            due = self.protocol.close_rcvd or self.close_wanted
            if due is not None and self.protocol.can_send():
                self.protocol.send_close(due)
            elif due is None:
                # What was sent before may still reach a peer that has only ended
                # its own side.
                self.protocol.receive_eof()
            self._write_due()
            self._turns.wake_first()
        self._keeper.retire(self)

    # Sending: any thread.

    def send(self, data: Data | Frame, fragment_size: int | None = None) -> None:
        """Send a message; see :meth:`websock.Client.send`."""
        if self.link is not None and fragment_size is None:
            sent = self.link.send(data)
            if sent:
                return
            if sent is None:
                with self._lock:
                    self._write_due()
                    self._raise_if_lost()
                return
        self.log_frame(">", data)
        with self._lock:
            self._take_turn()
        try:
            if isinstance(data, Frame):
                encoded = self.protocol.encode_frame(data)
            else:
                encoded = self.protocol.encode_message(
                    data, fragment_size=fragment_size
                )
            with self._lock:
                self.protocol.send_encoded(encoded)
                if not self._hold_back(len(encoded)):
                    self._write_due()
                self._raise_if_lost()
        finally:
            with self._lock:
                self._pass_turn()

    def offer(self, message: SharedMessage, policy: str) -> bool:
        """Send a message that many get, without waiting.

        While another one is being encoded, or sent in frames made by hand, it waits
        for the end of that one, and is counted as if it were in the outbox.

        Args:
            message: The message.
            policy: What to do if the outbox is full: the setting ``slow_client``.

        Returns:
            Whether the message is on its way.

        """
        # Before the lock is taken: it may take long, for the first who needs it.
        data, _ = message.encode(self.protocol.extensions)
        with self._lock:
            if not self.protocol.can_send() or self.close_wanted is not None:
                return False
            if not self._make_room(policy):
                return False
            if self._turns.is_taken or self.protocol.is_mid_message:
                self._outbox.defer(message, policy, len(data))
                # What is sent from now on comes behind it.
                self._allow_short_cut()
                return True
            self._send_shared(message)
            return not self._lost

    def ping(self, payload: bytes | None = None) -> None:
        """Send a Ping; see :meth:`websock.Client.ping`."""
        if payload is None:
            payload = secrets.token_bytes(8)
        with self._lock:
            if self._is_full():
                if self._pings.late >= MAX_PINGS:
                    self.protocol.check_can_send()
                    return
                self._pings.late += 1
            self.protocol.send_ping(payload)
            self._pings.add(payload, monotonic())
            self._write_due()
            self._raise_if_lost()
        self._keeper.ping_sent(self, payload)

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the connection; see :meth:`websock.Client.close`."""
        close = check_close(code, reason)
        with self._lock:
            if (
                self.close_wanted is not None
                or self.protocol.close_rcvd is not None
                or self.protocol.state in (State.CLOSING, State.CLOSED)
            ):
                return
            self.close_wanted = close
            self._allow_short_cut()
        self._wake_to_end()

    def abort(self) -> None:
        """Cut the connection; what has come by then is still delivered."""
        with self._lock:
            self._write_due()  # What was sent before.
            self._lose()

    def discard(self) -> None:
        """Cut the connection for good; see :meth:`websock.Client.abort`."""
        if self.link is not None:
            self.link.stop = True
        with self._lock:
            self._write_due()  # What was sent before.
            self._lose()
            self.inbox.discard()
            # Not before: nobody may take it for a Close frame to send.
            if self.close_wanted is None or self.protocol.close_sent is None:
                self.close_wanted = Close(CloseCode.ABNORMAL_CLOSURE)

    def logs_frames(self) -> bool:
        """Whether there is somewhere to log frames to."""
        return self._logger.isEnabledFor(logging.DEBUG)

    def log_frame(self, direction: str, event: object) -> None:
        """Log what comes and goes, where there is somewhere to log to."""
        # Most loggers are silent, and a call of our own takes its time.
        if self._logger.isEnabledFor(logging.DEBUG):
            self._logger.debug("%s %s %s", self, direction, shorten(repr(event)))

    def closed(self) -> ConnectionClosed:
        """Error for those who come too late."""
        return ConnectionClosed(self.protocol.close_rcvd, self.protocol.close_sent)

    def _wake_to_end(self) -> None:
        if self.link is not None:
            self.link.stop = True
        self._keeper.expect_end(self)
        self.inbox.stop_pausing()
        if not self.is_reader():
            self.transport.interrupt()

    # With the lock held.

    @property
    def _lost(self) -> bool:
        return self.protocol.state is State.CLOSED

    def _raise_if_lost(self) -> None:
        if self._lost:
            raise self.closed()

    def _lose(self) -> None:
        """The transport is of no more use; let the reader and waiters know."""
        assert self._lock.locked()
        self.protocol.receive_eof()
        self.holds_back = False
        self._outbox.clear()
        self.inbox.close()
        self.transport.abort()
        if self.link is not None:
            self.link.drop()
            self.link.plain = False
        self._turns.wake_first()

    def _hold_back(self, size: int) -> bool:
        """Leave what is due to the end of the batch; whether that is soon enough."""
        if not self.in_batch or not self.is_reader():
            return False
        self._held_size += size
        if self._held_size > HELD_LIMIT:
            return False
        if not self.holds_back:
            self.holds_back = True
            # Nor does anybody write past it.
            self._allow_short_cut()
            self._keeper.write_later(self)
        return True

    def _write_due(self, *, droppable: bool = False) -> None:
        """Write what the protocol has to send; what doesn't fit, to the outbox."""
        assert self._lock.locked()
        # First, because it may fail for lack of memory; nothing is lost then.
        corked = None if self.link is None else self.link.take()
        due = self.protocol.data_to_send()
        if self.holds_back:
            self.holds_back = False
            due = [b"".join(due)]
        self._held_size = 0
        if corked is not None:
            due.insert(0, corked)
        for data in due:
            rest: bytes | memoryview = data
            if not self._outbox.size:
                try:
                    sent = self.transport.write_nowait(data)
                except OSError:
                    self._lose()
                    return
                if sent == len(data):
                    continue
                rest = memoryview(data)[sent:]
                # It may have begun: TLS keeps what it was offered once.
                droppable = False
                self._keeper.flush_later(self)
            self._outbox.add(rest, droppable=droppable)
        self._allow_short_cut()

    def _allow_short_cut(self) -> None:
        """Say whether frames may be sent without asking anybody."""
        if self.link is not None:
            self.link.plain = (
                not self._outbox.size
                and not self.holds_back
                and not self._outbox.deferred_size
                and not self.protocol.extensions
                and not self.protocol.is_mid_message
                and not self._turns.is_taken
                and self.protocol.can_send()
                and self.close_wanted is None
            )

    def _take_turn(self) -> None:
        """Wait until it's the caller's turn to encode a message; see :meth:`send`."""
        assert self._lock.locked()
        if self._turns.is_taken or self._turns or self._is_full():
            self._wait()
        self.protocol.check_can_send()
        self._turns.is_taken = True

    def _pass_turn(self) -> None:
        """Send the broadcasts that came meanwhile, and let the next one go on."""
        assert self._lock.locked()
        self._turns.is_taken = False
        if self._outbox.deferred_size and not self.protocol.is_mid_message:
            for message, policy in self._outbox.take_deferred():
                if self.protocol.can_send() and self._make_room(policy):
                    self._send_shared(message)
        self._allow_short_cut()
        self._turns.wake_first()

    def _is_full(self) -> bool:
        """Whether nothing more is accepted for now."""
        return self._outbox.size >= self._write_limit

    def _wait(self) -> None:
        """Wait for room and for those who came first; lose who has none in time."""
        try:
            self._turns.wait(self.protocol.can_send, self._is_full, self._send_timeout)
        except TimeoutError:
            self._lose()
            raise SendTimeout(
                f"the peer doesn't read: no room for {self._send_timeout:g} s"
            ) from None

    def _make_room(self, policy: str) -> bool:
        """Whether there is room for a broadcast, after the policy was obeyed."""
        outbox = self._outbox
        if policy == "drop_oldest":
            outbox.drop_oldest(self._write_limit)
        if outbox.size + outbox.deferred_size < self._write_limit:
            return True
        if policy == "close" and self.close_wanted is None:
            self.close_wanted = Close(CloseCode.TRY_AGAIN_LATER, "too slow")
            self._allow_short_cut()
            self._wake_to_end()
        return False

    def _send_shared(self, message: SharedMessage) -> None:
        if self.holds_back or self.link is not None:
            # What the reader sent before may not be dropped.
            self._write_due()
        if self.protocol.can_send():
            self.protocol.send_shared(message)
            self._write_due(droppable=True)

    # The keeper's thread only.

    def flush(self) -> bool:
        """Write what the socket takes; return whether nothing is left to write.

        Of a source, that is one piece at most: others have their turn.
        """
        fault: Exception | None = None
        with self._lock:
            try:
                self._outbox.read_source()
            except BaseException as error:
                # The peer was told how much comes, and sees that not all came.
                self._lose()
                if not isinstance(error, Exception):
                    raise
                fault = error
            try:
                self._outbox.write_to(self.transport)
            except OSError:
                self._lose()
            if self._outbox.size < self._write_limit:
                self._pings.late = 0
                self._turns.wake_first()
            is_empty = self._outbox.is_empty()
            if is_empty:
                self._allow_short_cut()
            if is_empty and self._finish_when_flushed:
                self.transport.finish_writing()
        if fault is not None:
            reason = fault.strerror if isinstance(fault, OSError) else fault
            self._logger.warning("%s: response cut: %s", self, escape(str(reason)))
        return is_empty

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
                data = self.transport.read_nowait()
            except OSError:
                with self._lock:
                    self._lose()
                data = b""
            if data is None and self.protocol.state is not State.CLOSED:
                return False
            self._peer_ended = not data
        return not self._peer_ended

    def take_flushed(self) -> int:
        """How many bytes were flushed since the last call."""
        flushed, self._outbox.flushed = self._outbox.flushed, 0
        return flushed

    def is_over(self) -> bool:
        """Whether there is nothing more to drain, nor to flush."""
        return self._peer_ended and self._outbox.is_empty()

    def has_parted(self) -> bool:
        """Whether either side has said all it may; the peer keeps TCP open."""
        return self._outbox.is_empty() and (
            self.protocol.close_rcvd is not None or not self.protocol.was_accepted
        )

    def has_unread_data(self) -> bool:
        """Whether something of the peer, who is there, waits for the busy reader."""
        return self.transport.has_data()

    def fileno(self) -> int:
        """Descriptor of the socket; -1 once it's closed."""
        return self.transport.fileno()

    def enforce_end(self) -> bool:
        """End what takes too long.

        Returns:
            Whether the connection was cut. It wasn't if the reader is still in a
            callback and hadn't sent its Close frame yet, which is sent now: then
            it's cut the next time.

        """
        with self._lock:
            if self.protocol.can_send():
                self.protocol.send_close(
                    self.protocol.close_rcvd
                    or self.close_wanted
                    or self._close_foreseen
                    or Close(CloseCode.GOING_AWAY)
                )
                self._write_due()
                self._finish_when_flushed = True
                if not self._outbox.size:
                    self.transport.finish_writing()
                self._turns.wake_first()
                return False
            self._lose()
            return True

    def release(self) -> None:
        """Close the descriptor; nothing may be asked of the connection afterwards."""
        with self._lock:
            self._lose()
        self.transport.close()
