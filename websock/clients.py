"""Clients: what a server's callbacks get, and the table of those that are connected.

A :class:`Client` is a connection with a name, a memory, and a thread of its own
that runs its callbacks one after the other.

Layer: shells. May import: the core, transport, settings, connection, callbacks.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from email.utils import formatdate
from time import monotonic
from typing import Any, Final, Protocol

from .callbacks import Callbacks
from .closing import Close, CloseCode
from .connection import Connection, Keeper
from .exceptions import ConnectionClosed, HandshakeError, RemoteProtocolError
from .extensions.base import ServerExtensionFactory
from .handshake import (
    Response,
    negotiate_subprotocol,
    offered_subprotocols,
    refuse,
)
from .headers import Headers
from .lifecycle import State
from .messages import Event, Ping, Pong
from .protocol import Protocol as WebSocketProtocol
from .request import Request
from .settings import Settings
from .transport import Transport, show_address

__all__ = ["Client", "Clients", "Host"]

INBOX_LIMIT: Final = 16
"""Messages that wait for recv() before reading pauses."""

_ids = itertools.count(1)


class Host(Keeper, Protocol):
    """What a client needs of its server."""

    @property
    def facade(self) -> Any:
        """The server, as callbacks see it."""
        ...

    @property
    def settings(self) -> Settings:
        """Options of the server."""
        ...

    @property
    def callbacks(self) -> Callbacks:
        """Callbacks of the server."""
        ...

    @property
    def logger(self) -> logging.Logger:
        """Where events of the server go, and its frames at level DEBUG."""
        ...

    @property
    def access_logger(self) -> logging.Logger:
        """Where the line for each connection goes."""
        ...

    @property
    def extensions(self) -> tuple[ServerExtensionFactory, ...]:
        """What the server agrees to."""
        ...

    def client_opened(self, client: Client, /) -> None:
        """Put an accepted client into the table."""
        ...

    def client_closed(self, client: Client, /) -> None:
        """Take a client, whose callbacks are over, out of the table."""
        ...


class Client(Connection):
    """One connected peer, from its request to the end.

    Callbacks get it; it may be kept, compared, used as a key and given to other
    threads. Every method may be called from any thread.
    """

    __slots__ = (
        "_data",
        "_host",
        "_inbox",
        "_inbox_ready",
        "_last",
        "_receivers",
        "_started_at",
        "close_code",
        "close_reason",
        "id",
        "is_counted",
        "name",
        "request",
        "response_headers",
        "server",
        "subprotocol",
        "thread",
        "username",
    )

    def __init__(
        self,
        transport: Transport,
        protocol: WebSocketProtocol,
        host: Host,
        request: Request | None,
    ) -> None:
        settings = host.settings
        super().__init__(
            transport,
            protocol,
            host,
            write_limit=settings.write_limit,
            send_timeout=settings.send_timeout,
        )
        self._host = host
        self._started_at = monotonic()
        self._data: dict[Any, Any] | None = None
        # For recv(); guarded by the connection's lock. No inbox means that
        # nobody has asked for it yet.
        self._inbox: deque[str | bytes] | None = None
        self._inbox_ready: threading.Condition | None = None
        self._receivers = 0
        # The event that ended the reading: a Close frame or a fault.
        self._last: Event | None = None
        self.id: int = next(_ids)
        """Number of the connection, unique in this process."""
        self.name: str = f"websock-{self.id}"
        """Name, yours to change; at first that of the client's thread."""
        self.is_counted = False
        """Whether it counts against the limits on connections."""
        self.server: Any = host.facade
        """The server that accepted the connection."""
        self.request = request
        """The opening handshake's request; :obj:`None` if it couldn't be read."""
        self.response_headers = Headers()
        """Header fields for the 101, until it's sent; set them in
        ``process_request``."""
        self.subprotocol: str | None = None
        """Agreed subprotocol (1.9); :obj:`None` if there is none."""
        self.username: str | None = None
        """Who it is, as far as authentication knows; :obj:`None` if it doesn't."""
        self.close_code: int | None = None
        """Close code, once the connection ends: the peer's, or ours if we closed
        it, or 1006 if it was lost (7.1.5); :obj:`None` until then."""
        self.close_reason: str = ""
        """Close reason, once the connection ends (7.1.6)."""
        self.thread: threading.Thread | None = None
        """The thread that runs the client's callbacks."""

    @property
    def data(self) -> dict[Any, Any]:
        """Memory of the application, empty at first; lives as long as the client."""
        if self._data is None:
            with self._lock:
                if self._data is None:
                    self._data = {}
        return self._data

    @property
    def address(self) -> Any:
        """Address of the peer: (host, port), with two more numbers for IPv6.

        On a Unix socket, where peers have none, ("unix", id).
        """
        address = self._transport.getpeername()
        return address if isinstance(address, tuple) else ("unix", self.id)

    @property
    def is_plain(self) -> bool:
        """Whether it got a response of plain HTTP, not a WebSocket."""
        return not self._protocol.was_accepted

    def getpeername(self) -> Any:
        """Return :attr:`address`; works after the connection was lost, too."""
        return self.address

    def getsockname(self) -> Any:
        """Address of this end."""
        return self._transport.getsockname()

    @property
    def host(self) -> str:
        """Address of the peer without its port, which limits go by."""
        address = self._transport.getpeername()
        return str(address[0]) if isinstance(address, tuple) else "unix"

    def __repr__(self) -> str:
        """Id, address and state, for logs."""
        return f"<Client {self.id} at {self} {self.state.value}>"

    def __str__(self) -> str:
        """Address of the peer, for logs."""
        return show_address(self.address)

    def respond(self, status: int, text: str) -> Response:
        """Make a plain text response, for ``process_request`` to return."""
        return Response(
            status,
            {"Content-Type": "text/plain; charset=utf-8"},
            text,
        )

    def recv(self, timeout: float | None = None) -> str | bytes:
        """Wait for the next message, and take it away from ``on_data_receive``.

        In a callback of this client, it reads on. In another thread, it waits
        until the client's own thread brings a message; where there is no
        ``on_data_receive``, messages wait for the next call once there was a
        first, and when too many do, reading pauses.

        Args:
            timeout: Longest wait, in seconds; :obj:`None` waits for ever.

        Returns:
            The message, ``str`` for text and ``bytes`` for binary.

        Raises:
            TimeoutError: If no message comes in time.
            ConnectionClosed: If the connection ends first.

        """
        deadline = None if timeout is None else monotonic() + timeout
        if self.is_reader():
            return self._recv_here(deadline)
        with self._lock:
            if self._inbox is None:
                self._inbox = deque()
                self._inbox_ready = threading.Condition(self._lock)
            assert self._inbox_ready is not None
            self._receivers += 1
            try:
                while not self._inbox:
                    if self.close_code is not None or self.state is State.CLOSED:
                        raise ConnectionClosed(
                            self._protocol.close_rcvd, self._protocol.close_sent
                        )
                    remaining = None if deadline is None else deadline - monotonic()
                    if remaining is not None and remaining <= 0:
                        raise TimeoutError("no message within the timeout")
                    self._inbox_ready.wait(remaining)
                self._inbox_ready.notify_all()
                return self._inbox.popleft()
            finally:
                self._receivers -= 1

    def _recv_here(self, deadline: float | None) -> str | bytes:
        if self._inbox:
            with self._lock:
                return self._inbox.popleft()
        while self._last is None:
            try:
                event = self.next_event(deadline)
            except TimeoutError:
                raise TimeoutError("no message within the timeout") from None
            if event is None:
                break
            if isinstance(event, str | bytes):
                return event
            self._handle_other(event)
        raise ConnectionClosed(self._protocol.close_rcvd, self._protocol.close_sent)

    # The client's thread.

    def run(self) -> None:
        """Be the client's thread: handshake, callbacks, end."""
        try:
            opened = self._open()
        except ConnectionClosed:
            self._host.retire(self)
            return
        except Exception as error:
            # The hooks are the application's; so is what they put into the 101.
            self._host.callbacks.report(error, self, "process_request")
            self.send_response(self.respond(500, "internal error\n"))
            return
        if not opened:
            return
        try:
            self.start_reading()
            callbacks = self._host.callbacks
            if self._guard(callbacks.run("on_connection_open", self, self)):
                self._read_all()
        finally:
            self._end()

    def _open(self) -> bool:
        """Accept or refuse the request; return whether it was accepted."""
        try:
            response = self.answer_request()
            if response is None:
                self._accept()
                return True
        except HandshakeError as error:
            self.refuse(error)
        else:
            self.send_response(response)
        return False

    def answer_request(self) -> Response | None:
        """Ask ``process_request``; :obj:`None` means that it has no answer.

        Raises:
            HandshakeError: If it raised one; that is an answer, too.

        """
        function = self._host.settings.process_request
        if function is None:
            return None
        try:
            response = function(self, self.request)
            if response is not None and not isinstance(response, Response):
                raise TypeError(
                    "process_request must return a Response or None,"
                    f" not {type(response).__name__}"
                )
            if response is not None and int(response.status) < 200:
                raise ValueError("process_request must return a final response")
            return response
        except HandshakeError:
            raise
        except BaseException as error:
            self._host.callbacks.report(error, self, "process_request")
            return self.respond(500, "internal error\n")

    def _accept(self) -> None:
        assert self.request is not None
        subprotocol = self._choose_subprotocol(self.request)
        with self._lock:
            self._raise_if_lost()
            self._protocol.accept(
                self.request,
                subprotocol=subprotocol,
                extensions=self._host.extensions,
                headers=self.response_headers,
            )
            self.subprotocol = subprotocol
            # Before the 101 arrives: who has it gets what is broadcast from now on.
            self._host.client_opened(self)
            self._write_due()

    def _choose_subprotocol(self, request: Request) -> str | None:
        settings = self._host.settings
        if settings.select_subprotocol is None:
            if settings.subprotocols is None:
                return None
            return negotiate_subprotocol(request, settings.subprotocols)
        offered = offered_subprotocols(request)
        try:
            chosen = settings.select_subprotocol(self, offered)
        except HandshakeError:
            raise
        except BaseException as error:
            self._host.callbacks.report(error, self, "select_subprotocol")
            chosen = None
        if chosen is not None and chosen not in offered:
            self._host.callbacks.report(
                ValueError("select_subprotocol chose what the client didn't offer"),
                self,
                "select_subprotocol",
            )
            chosen = None
        return chosen

    def refuse(self, error: HandshakeError) -> None:
        """Answer the request with an error, tell ``on_error``, and end."""
        self._host.callbacks.notify(error, self)
        self.send_refusal(error)

    def send_refusal(self, error: HandshakeError) -> None:
        """Answer the request with an error, and end; never waits."""
        self._send_response(error)
        self.log_access(int(error.status), str(error))

    def send_response(self, response: Response) -> None:
        """Answer the request with a response of plain HTTP, and end; never waits."""
        try:
            self._send_response(response)
        except ValueError as error:
            self._host.callbacks.report(error, self, "process_request")
            response = self.respond(500, "internal error\n")
            self._send_response(response)
        self.log_access(int(response.status), "")

    def _send_response(self, answer: HandshakeError | Response) -> None:
        head = self.request is not None and self.request.method == "HEAD"
        response = refuse(answer) if isinstance(answer, HandshakeError) else answer
        # RFC 9110 (6.6.1) wants it of whoever has a clock.
        headers = Headers(response.headers)
        headers.setdefault("Date", formatdate(usegmt=True))
        response = Response(response.status, headers, response.body)
        with self._lock:
            # A hook may have cut the connection, or outlived the server.
            if not self._lost:
                self._protocol.reject(response, head=head)
                self._write_due()
        self._host.expect_end(self)
        self._host.retire(self)

    def _read_all(self) -> None:
        while self._last is None:
            event = self.next_event()
            if event is None:
                return
            if isinstance(event, str | bytes):
                if not self._deliver(event):
                    return
            else:
                self._handle_other(event)

    def _deliver(self, message: str | bytes) -> bool:
        self._log_frame("<", message)
        callbacks = self._host.callbacks
        if self._inbox is not None and self._put_into_inbox(
            message, keep=not callbacks.functions("on_data_receive")
        ):
            return True
        return self._guard(callbacks.run("on_data_receive", self, self, message))

    def _put_into_inbox(self, message: str | bytes, *, keep: bool) -> bool:
        """Give a message to recv(): one for each that waits, others only to ``keep``.

        Returns:
            Whether it was taken.

        """
        with self._lock:
            assert self._inbox is not None and self._inbox_ready is not None
            if not keep and self._receivers <= len(self._inbox):
                return False
            self._inbox.append(message)
            self._inbox_ready.notify_all()
            while len(self._inbox) >= INBOX_LIMIT and self._close_wanted is None:
                if self.state is State.CLOSED:
                    break
                self._inbox_ready.wait()
        return True

    def _handle_other(self, event: Event) -> None:
        self._log_frame("<", event)
        if isinstance(event, Ping):
            self.answer(event)
        elif isinstance(event, Pong):
            self.take_pong(event)
        else:
            self._last = event
            if isinstance(event, Close):
                self.mark_close_rcvd(event)

    def _guard(self, healthy: bool) -> bool:
        """Go on, or close the connection because a callback raised."""
        if healthy or self._host.settings.callback_errors == "continue":
            return True
        self.close(CloseCode.INTERNAL_ERROR)
        return False

    def _end(self) -> None:
        host = self._host
        last = self._last
        # From now on, the closing handshake must end in time, callback or not.
        host.expect_end(self)
        if isinstance(last, RemoteProtocolError):
            self.fail(last)
            host.callbacks.notify(last, self)
        if isinstance(last, Close):
            ended = last
        elif self._close_wanted is not None:
            ended = self._close_wanted
        else:
            ended = Close(CloseCode.ABNORMAL_CLOSURE)
        self.close_code = int(ended.code)
        self.close_reason = ended.reason
        self._wake_receivers()
        try:
            host.callbacks.run(
                "on_connection_close", self, self, self.close_code, self.close_reason
            )
        finally:
            host.client_closed(self)
            self.log_access(101, f"closed with {self.close_code}", last)
            self.say_goodbye()

    def _wake_receivers(self) -> None:
        with self._lock:
            if self._inbox_ready is not None:
                self._inbox_ready.notify_all()

    def _wake_to_end(self) -> None:
        super()._wake_to_end()
        self._wake_receivers()

    def _lose(self) -> None:
        super()._lose()
        if self._inbox_ready is not None:
            self._inbox_ready.notify_all()

    def _log_frame(self, direction: str, event: object) -> None:
        logger = self._host.logger
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s %s", self, direction, shorten(repr(event)))

    def log_access(self, status: int, text: str, last: Event | None = None) -> None:
        """Write the one line that a connection gets."""
        logger = self._host.access_logger
        if not logger.isEnabledFor(logging.INFO):
            return
        request = self.request
        what = "-" if request is None else f"{request.method} {request.path}"
        if isinstance(last, RemoteProtocolError):
            text += f" ({last})"
        logger.info(
            "%s %s %d %.3f s %s",
            self,
            escape(what),
            status,
            monotonic() - self._started_at,
            escape(text),
        )


def shorten(text: str) -> str:
    """Make ``text`` fit into a line of a log."""
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def escape(text: str) -> str:
    """Make one printable line of ``text``, so that nobody forges another one."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class Clients(Mapping[Any, Client]):
    """The clients whose opening handshake is done, by address.

    May be used from any thread while clients come and go: views and iterators
    are of the moment in which they are asked for.
    """

    def __init__(self) -> None:
        # Each operation on it is atomic; those that look at all copy it first.
        self._table: dict[Any, Client] = {}

    def __getitem__(self, address: Any) -> Client:
        """Client at ``address``."""
        return self._table[address]

    def __len__(self) -> int:
        """Number of clients."""
        return len(self._table)

    def __contains__(self, address: object) -> bool:
        """Whether a client is at ``address``; a client stands for its own."""
        if isinstance(address, Client):
            return self._table.get(address.address) is address
        return address in self._table

    def __iter__(self) -> Iterator[Any]:
        """Addresses at this moment."""
        return iter(list(self._table))

    def keys(self) -> KeysView[Any]:
        """Addresses at this moment."""
        return self._table.copy().keys()

    def values(self) -> ValuesView[Client]:
        """Clients at this moment."""
        return self._table.copy().values()

    def items(self) -> ItemsView[Any, Client]:
        """Addresses and clients at this moment."""
        return self._table.copy().items()

    def __repr__(self) -> str:
        """How many there are."""
        return f"<Clients: {len(self._table)}>"

    def add(self, client: Client) -> None:
        """Put a client in; for the server."""
        self._table[client.address] = client

    def discard(self, client: Client) -> None:
        """Take a client out, unless another one is at its address by now."""
        if self._table.get(client.address) is client:
            self._table.pop(client.address, None)
