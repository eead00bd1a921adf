"""The server: one main thread that accepts, one thread for each WebSocket.

:class:`Server` owns the loop of the main thread, decides who is let in, keeps
the table of clients, and ends everything by its deadline.

Layer: shells. May import: the core, shells.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self, Unpack

from .callbacks import EVENTS, Callbacks
from .clients import Client, Clients, ClientTable, fan_out
from .closing import CloseCode
from .early_stop import EarlyStop
from .exceptions import ClientGone, LocalProtocolError
from .extensions.base import ServerExtensionFactory
from .extensions.permessage_deflate import PerMessageDeflate
from .frames import Frame, check_close
from .handshake import Response
from .listeners import has_passed_sockets, open_listeners, unbound_socket
from .messages import Data, Message
from .request import Request
from .serving import SHUTDOWN_TIMEOUT, TOLERANCE, Serving, StopRequest
from .session import Session
from .settings import Options, Settings
from .signals import stop_signals
from .writer import SharedMessage

__all__ = ["Server"]

ALIVE_TIMEOUT: Final = 0.5
"""Time for an orderly end after ``alive = False``, in seconds: programs expect it
within a second."""


class Server:
    """A WebSocket server; see :class:`websock.WebSocketServer`."""

    on_data_receive: Callable[..., object] | None
    """Called with each message; set it at any time."""
    on_connection_open: Callable[..., object] | None
    """Called with each client that was let in; set it at any time."""
    on_connection_close: Callable[..., object] | None
    """Called with each client that is leaving; set it at any time."""
    on_error: Callable[..., object] | None
    """Called with each exception; set it at any time."""
    on_server_destruct: Callable[..., object] | None
    """Called at the very end; set it at any time."""
    on_ping_send: Callable[..., object] | None
    """Called with each Ping that was sent; set it at any time."""
    on_pong_receive: Callable[..., object] | None
    """Called with each Pong that answers one; set it at any time."""

    def __init__(
        self,
        ip: str | None = "",
        port: int | None = 80,
        on_data_receive: Callable[..., object] | None = None,
        on_connection_open: Callable[..., object] | None = None,
        on_connection_close: Callable[..., object] | None = None,
        on_server_destruct: Callable[..., object] | None = None,
        on_error: Callable[..., object] | None = None,
        DEBUG: bool = False,
        *,
        host: str | None = None,
        on_ping_send: Callable[..., object] | None = None,
        on_pong_receive: Callable[..., object] | None = None,
        **options: Unpack[Options],
    ) -> None:
        unknown = set(options) - {field.name for field in fields(Settings)}
        if unknown:
            raise TypeError(f"unknown option {', '.join(sorted(unknown))}")
        if ip and host is not None:
            raise TypeError("ip and host are two names of one argument: pass one")
        self.settings = Settings(**options)
        self.ip = _check_host_name(ip if host is None else host)
        self.port = _check_port(port)
        if not isinstance(DEBUG, int):
            raise TypeError(f"DEBUG must be a bool, not {type(DEBUG).__name__}")
        self.DEBUG = DEBUG
        self.logger = self.settings.logger or logging.getLogger("websock")
        if DEBUG:
            self.logger.setLevel(logging.DEBUG)
        self._log = self.logger.getChild("server")
        self._access_logger = self.logger.getChild("access")
        self._callbacks = Callbacks(self._log)
        given = {
            "on_data_receive": on_data_receive,
            "on_connection_open": on_connection_open,
            "on_connection_close": on_connection_close,
            "on_error": on_error,
            "on_server_destruct": on_server_destruct,
            "on_ping_send": on_ping_send,
            "on_pong_receive": on_pong_receive,
        }
        for event, function in given.items():
            # A subclass may define callbacks as methods.
            if function is not None or not hasattr(type(self), event):
                setattr(self, event, function)
            else:
                self._callbacks.assign(event, getattr(self, event))
        self._extensions = _extension_factories(self.settings)
        self._table = ClientTable()
        self.clients: Clients = self._table
        """Connected clients by address; safe to iterate from any thread."""
        self.server = unbound_socket(self.ip)
        """The listening socket; unbound until ``serve_*`` is called."""
        self._alive = True
        # Guards the fields down to _destructed. Nothing is called while it's held,
        # except by a signal handler that stops the server: it may interrupt its owner.
        self._lock = threading.RLock()
        self._serving: Serving | None = None
        self._early_shutdown = EarlyStop()
        self._early_deafness = EarlyStop()
        self._destructed = False
        self._ready = threading.Event()
        self._over = threading.Event()
        self._address: Any = None
        self._is_used_up = False

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; a callback takes effect for what is read from now on."""
        if name in EVENTS:
            if "_callbacks" not in self.__dict__:
                raise RuntimeError(f"call super().__init__() before you set {name}")
            self._callbacks.assign(name, value)
        super().__setattr__(name, value)

    # Running and stopping.

    def serve_forever(self) -> None:
        """Accept and serve clients until somebody stops the server.

        Blocks; may be called from any thread, and again after it has returned.
        In the main thread, SIGTERM and Ctrl-C stop it, unless the application
        handles them: clients get a Close frame with code 1001,
        ``on_connection_close`` runs for each, ``on_server_destruct`` at last.
        After SIGTERM it returns; after Ctrl-C :exc:`KeyboardInterrupt` goes on.
        It returns at once if the server was told to stop while the calling thread was
        on its way here (:meth:`shutdown`).

        Raises:
            OSError: If the address can't be bound; ``errno`` says why.
            RuntimeError: If it's serving already, or has served on sockets that were
                passed to it (:opt:`sock`, systemd), which are closed by now.

        """
        serving = self._begin()
        if serving is None:
            self._destruct()
            return
        try:
            with stop_signals(
                lambda: serving.stop(_soon()), serving.wakeup_fd
            ) as interrupted:
                # After the handlers: who sees that it listens may stop it.
                self._listen(serving)
                try:
                    serving.serve()
                finally:
                    # A second Ctrl-C may interrupt any of these.
                    try:
                        serving.finish()
                    finally:
                        self._destruct()
        finally:
            self._forget()
        if interrupted():
            raise KeyboardInterrupt

    def serve_once(self) -> None:
        """Accept one client, serve it on the calling thread, and return.

        Peers whose request is refused don't count. ``on_server_destruct`` doesn't
        run: the server can serve again. SIGTERM and Ctrl-C end it as they end
        :meth:`serve_forever`, but for a callback that runs: it's on the calling thread,
        so that all waits until it returns.

        Raises:
            OSError: If the address can't be bound; ``errno`` says why.
            RuntimeError: If it's serving already, or has served on sockets that were
                passed to it (:opt:`sock`, systemd), which are closed by now.

        """
        accepted: queue.SimpleQueue[Session | None] = queue.SimpleQueue()
        serving = self._begin(accepted.put)
        if serving is None:
            return

        def serve() -> None:
            try:
                serving.serve()
            finally:
                accepted.put(None)
                serving.finish()

        keeper = threading.Thread(target=serve, name="websock-main", daemon=True)
        try:
            with stop_signals(
                lambda: serving.stop(_soon()), serving.wakeup_fd
            ) as interrupted:
                self._listen(serving)
                keeper.start()
                try:
                    while (session := accepted.get()) is not None:
                        session.run()
                        if serving.has_served:
                            break
                        serving.let_next_in()
                finally:
                    serving.stop(_soon())
                    keeper.join()
        finally:
            self._forget()
        if interrupted():
            raise KeyboardInterrupt

    def _begin(
        self, hand_over: Callable[[Session], None] | None = None
    ) -> Serving | None:
        """Make what serves; :obj:`None` if the calling thread was told not to."""
        with self._lock:
            deaf = self._early_deafness.applies()
            if self._early_shutdown.applies():
                if self._serving is None:
                    # It was stopped, as after serving.
                    self.server.close()
                return None
            if self._serving is not None:
                raise RuntimeError("the server is serving already")
            serving = self._serving = Serving(
                facade=self,
                settings=self.settings,
                callbacks=self._callbacks,
                clients=self._table,
                logger=self._log,
                access_logger=self._access_logger,
                extensions=self._extensions,
                quick_answer=self.quick_response,
                slow_answer=self.slow_response if self.has_slow_responses else None,
                hand_over=hand_over,
            )
            self._alive = True
            self._destructed = False
            self._over.clear()
        if deaf:
            serving.stop_listening()
        return serving

    def _listen(self, serving: Serving) -> None:
        try:
            if self._is_used_up:
                raise RuntimeError(
                    "the sockets that were passed to this server were closed when it"
                    " stopped: it can't start again"
                )
            if self.server.fileno() < 0:
                self.server = unbound_socket(self.ip)
            self._is_used_up = has_passed_sockets(self.settings)
            listeners = open_listeners(self.server, self.ip, self.port, self.settings)
            self.server = listeners[0]
            self._address = self.server.getsockname()
            serving.listen(listeners)
        except BaseException:
            serving.finish()
            raise
        self._ready.set()

    def _forget(self) -> None:
        with self._lock:
            self._serving = None
            self._early_shutdown.forget()
            self._early_deafness.forget()
            self._alive = False
            self._ready.clear()
            self._over.set()

    def _destruct(self) -> None:
        with self._lock:
            first = not self._destructed
            self._destructed = True
        if first:
            self._callbacks.run("on_server_destruct", None)

    @property
    def alive(self) -> bool:
        """Whether the server isn't stopped; setting it to False stops it."""
        return self._alive

    @alive.setter
    def alive(self, value: bool) -> None:
        with self._lock:
            self._alive = value
            serving = self._serving
            if serving is None and not value:
                self._early_shutdown.remember()
        if serving is not None and not value:
            serving.stop(StopRequest(monotonic() + ALIVE_TIMEOUT))

    def shutdown(
        self,
        timeout: float | None = SHUTDOWN_TIMEOUT,
        *,
        code: int = CloseCode.GOING_AWAY,
        reason: str = "",
    ) -> None:
        """Stop the server: nobody new, a Close frame for everybody, then the end.

        A thread that runs already, and has yet to call :meth:`serve_forever` for the
        first time, then finds the server stopped, and doesn't serve. So ``shutdown()``
        may come right after ``Thread(target=server.serve_forever).start()``. Otherwise
        a server that isn't serving stays as it is: threads that are started later may
        serve, and so may those that have served before, and the calling one.

        May be called from any thread, more than once. It returns when serving is
        over, at the latest half a second after ``timeout``, whatever callbacks do; in
        callbacks of clients and in the serving thread, which can't wait for
        themselves, at once.

        Args:
            timeout: Time for an orderly end, in seconds; then connections are cut. It's
                5 unless you say otherwise, also for SIGTERM and Ctrl-C: container
                engines kill after 10.
                A client whose callback is busy gets its Close frame a second
                before that, or after half of the time if there is less.
                :obj:`None` waits as long as ``close_timeout`` lets it.
            code: Close code for the clients (7.4).
            reason: Close reason for the clients, at most 123 bytes in UTF-8.

        Raises:
            LocalProtocolError: If ``code`` or ``reason`` may not be sent; the
                server goes on.

        """
        check_close(code, reason)
        deadline = None if timeout is None else monotonic() + timeout
        with self._lock:
            serving = self._serving
            if serving is None:
                self._early_shutdown.remember()
        if serving is None:
            # Never started, or over: what is left to do is done here.
            self._alive = False
            self.server.close()
            self._destruct()
            return
        serving.stop(StopRequest(deadline, code, reason))
        if not serving.is_own_thread():
            wait = None
            if deadline is not None:
                wait = max(0.0, deadline - monotonic()) + 2 * TOLERANCE
            self._over.wait(wait)

    def close_server(
        self, status_code: int | None = None, app_data: str | bytes | None = None
    ) -> None:
        """Stop the server, as :meth:`shutdown` does.

        Args:
            status_code: Close code for the clients; :obj:`None` means 1001.
            app_data: Close reason for the clients; :obj:`None` means none.

        Raises:
            LocalProtocolError: If the code or the reason may not be sent.

        """
        code = CloseCode.GOING_AWAY if status_code is None else status_code
        self.shutdown(code=code, reason=_to_text(app_data))

    def stop_listening(self) -> None:
        """Let nobody new in; those who are connected stay. Any thread.

        What :meth:`shutdown` says of threads that are about to serve holds here, too:
        they let nobody in.
        """
        with self._lock:
            serving = self._serving
            if serving is None:
                self._early_deafness.remember()
        if serving is not None:
            serving.stop_listening()

    def wait_ready(self, timeout: float | None = None) -> bool:
        """Wait until the server has begun to listen; any thread.

        Args:
            timeout: Longest wait, in seconds; :obj:`None` waits for ever.

        Returns:
            Whether it has begun, and hasn't been stopped since.

        """
        return self._ready.wait(timeout)

    @property
    def address(self) -> Any:
        """Address that the server listens on, or last did: (host, port, ...).

        :obj:`None` before it was bound.
        """
        return self._address

    def __enter__(self) -> Self:
        """Return the server itself; leaving the context stops it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server, and wait for the end."""
        self.shutdown()

    # Clients. Any thread.

    def send(
        self,
        client: Client | Any,
        data: Data | Frame,
        data_type: int | None = None,
    ) -> None:
        """Send a message to one client.

        Args:
            client: The client, or its address.
            data: The message, as for :meth:`Client.send`.
            data_type: :attr:`FrameType.TEXT` or :attr:`FrameType.BINARY`;
                :obj:`None` goes by the type of ``data``.

        Raises:
            ClientGone: If nobody is at that address (any more).
            ConnectionClosed: If the connection is closing, closed or lost; it's an
                :exc:`OSError`.
            SendTimeout: If there was no room within ``send_timeout``; the
                connection was dropped.

        """
        if data_type is not None and isinstance(data, str | bytes | bytearray):
            data = Message(data_type, data)
        self._find(client).send(data)

    def send_all(self, client: Client | Any, data: Data, echo: bool = False) -> None:
        """Send a message to all clients but one; never waits.

        Args:
            client: Who is left out: a client, its address, or :obj:`None`.
            data: The message, as for :meth:`Client.send`.
            echo: Whether ``client`` gets it, too.

        """
        self.broadcast(data, exclude=() if echo or client is None else (client,))

    def broadcast(
        self,
        data: Data,
        *,
        to: Iterable[Client | Any] | None = None,
        exclude: Iterable[Client | Any] = (),
    ) -> None:
        """Send a message to all clients, or to some; encoded once, and never waits.

        All clients are those in :attr:`clients`: also one whose
        ``on_connection_open`` is yet to run, which may so get a broadcast before
        anything that is sent there. Pass ``to`` if only those shall get it who were
        greeted, or let in.

        A client whose outbox is full is treated as the option ``slow_client``
        says; one that is lost stops nothing. One that is being sent another message
        in frames made by hand gets this one behind it.

        Args:
            data: The message, as for :meth:`Client.send`.
            to: Who gets it: clients, or their addresses, of which nobody may be left;
                :obj:`None` means all clients.
            exclude: Who is left out: clients, or their addresses.

        Raises:
            LocalProtocolError: If the message can't be sent; nobody got it.
            TypeError: If ``data`` is of another type; nobody got it.

        """
        message = SharedMessage(data)
        chosen = self.clients.values() if to is None else self._present(to)
        left_out = set(self._present(exclude))
        fan_out(
            message,
            self.settings.slow_client,
            (client for client in chosen if client not in left_out),
        )

    def _present(self, clients: Iterable[Client | Any]) -> Iterator[Client]:
        for client in clients:
            found = self._look_up(client)
            if found is not None:
                yield found

    def recv(self, client: Client | Any, timeout: float | None = None) -> str | bytes:
        """Wait for the next message of one client; see :meth:`Client.recv`."""
        return self._find(client).recv(timeout)

    def ping(self, client: Client | Any, payload: bytes | None = None) -> None:
        """Send a Ping to one client; see :meth:`Client.ping`."""
        self._find(client).ping(payload)

    def close_client(
        self,
        client: Client | Any,
        status_code: int | None = None,
        app_data: str | bytes | None = None,
        hard_close: bool = False,
    ) -> None:
        """Close the connection of one client, without waiting for the end.

        Args:
            client: The client, or its address.
            status_code: Close code; :obj:`None` means 1000.
            app_data: Close reason; :obj:`None` means none.
            hard_close: Whether to cut the connection without a Close frame.

        Raises:
            ClientGone: If nobody is at that address (any more).
            LocalProtocolError: If the code or the reason may not be sent.

        """
        found = self._find(client)
        if hard_close:
            found.abort()
        else:
            found.close(
                CloseCode.NORMAL_CLOSURE if status_code is None else status_code,
                _to_text(app_data),
            )

    def _find(self, client: Client | Any) -> Client:
        found = self._look_up(client)
        if found is None:
            raise ClientGone(client)
        return found

    def _look_up(self, client: Client | Any) -> Client | None:
        if isinstance(client, Client):
            return client
        if not isinstance(client, tuple):
            raise TypeError(
                f"client must be a Client or its address, not {type(client).__name__}"
            )
        return self.clients.get(client)

    def add_callback(self, event: str, function: Callable[..., object]) -> None:
        """Add a callback to those that ``event`` has; they run in this order.

        Args:
            event: Name of an event, such as ``"on_data_receive"``.
            function: What to call.

        Raises:
            ValueError: If there is no such event.
            TypeError: If ``function`` isn't callable with what the event has for it, or
                is an ``async`` one.

        """
        self._callbacks.add(event, function)

    def remove_callback(self, event: str, function: Callable[..., object]) -> None:
        """Remove a callback; it won't be called again.

        Raises:
            ValueError: If there is no such event, or no such callback.

        """
        self._callbacks.remove(event, function)
        if self._callbacks.get(event) is None:
            super().__setattr__(event, None)

    # For clients, and for subclasses.

    def quick_response(self, request: Request) -> Response | None:
        """Answer a plain HTTP request on the main thread, which must not wait."""
        return None

    def slow_response(self, request: Request) -> Response | None:
        """Answer a plain HTTP request on a thread of its own."""
        return None

    @property
    def has_slow_responses(self) -> bool:
        """Whether :meth:`slow_response` may have an answer."""
        return False


def _soon() -> StopRequest:
    return StopRequest(monotonic() + SHUTDOWN_TIMEOUT)


def _extension_factories(settings: Settings) -> tuple[ServerExtensionFactory, ...]:
    if settings.compression is None:
        return ()
    if settings.compression == "deflate":
        return (PerMessageDeflate(),)
    return (settings.compression,)


def _check_host_name(host: str | None) -> str:
    if host is None:
        return ""
    if not isinstance(host, str):
        raise TypeError(f"host must be a str, not {type(host).__name__}")
    return host


def _check_port(port: int | None) -> int:
    if port is None:
        return 80
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"port must be an int, not {type(port).__name__}")
    if not 0 <= port < 65536:
        raise ValueError(f"port must be from 0 to 65535, not {port}")
    return port


def _to_text(app_data: str | bytes | None) -> str:
    """Close reason as text, whichever way 1.0.4 programs pass it."""
    if app_data is None:
        return ""
    try:
        return app_data.decode() if isinstance(app_data, bytes) else app_data
    except UnicodeDecodeError as error:
        raise LocalProtocolError(f"close reason isn't UTF-8: {error.reason}") from None
