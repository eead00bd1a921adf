"""The server that users make: the machine of the shells, with pages beside it.

The name of the module is that of websock 1.0.4, whose programs import it.

Layer: application. May import: the core, http, server, settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from .handshake import Response
from .http import health, static_files
from .request import Request
from .server import Server
from .settings import Options

__all__ = ["WebSocketServer"]


class WebSocketServer(Server):
    """A WebSocket server in plain blocking code: a thread per client, five callbacks.

    The thread that calls :meth:`serve_forever` accepts; each client gets a thread
    of its own, which runs its callbacks one after the other. A callback that
    blocks, sleeps or raises touches its own client only.

    Callbacks may be functions, methods, or anything callable; each is optional,
    and may be assigned later, too, as an attribute of the same name:

    * ``on_connection_open(client)``, after the opening handshake;
    * ``on_data_receive(client, data)``, with ``str`` for a text and ``bytes`` for
      a binary message;
    * ``on_connection_close(client)`` or ``on_connection_close(client, code,
      reason)``, once for each client that was opened; what it sends arrives
      before the Close frame, if the connection isn't lost (code 1006);
    * ``on_error(exception)``, for what callbacks raise, requests that are refused
      and peers that break the protocol; ``exception.client`` says whose it is;
    * ``on_server_destruct()``, last of all, in the serving thread.

    Two more are for those who watch over connections, and are passed by keyword:

    * ``on_ping_send(client, payload)``, after a Ping was sent: in the thread that
      called :meth:`Client.ping`, or for Pings of :opt:`ping_interval` in one thread
      for all clients, beside other callbacks;
    * ``on_pong_receive(client, payload)``, after a Ping was answered, in the
      client's thread like the five; :attr:`Client.latency` has the round trip. Pongs
      that answer nothing are ignored.

    Methods may be called from any thread, and in callbacks.

    Args:
        ip: Name or address to listen on; ``""`` means all.
        port: Port to listen on; 0 takes a free one, which :attr:`address` tells.
        on_data_receive: See above.
        on_connection_open: See above.
        on_connection_close: See above.
        on_server_destruct: See above.
        on_error: See above.
        DEBUG: Whether the logger's level is DEBUG, at which it gets frames, too; to
            see them, it needs a handler.
        host: Another name for ``ip``.
        on_ping_send: See above.
        on_pong_receive: See above.
        options: The fields of :class:`Settings`.

    Raises:
        TypeError: If an option doesn't exist or is of the wrong type; the message
            names it.
        ValueError: If an option has an impossible value; the message names it.

    """

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
        super().__init__(
            ip,
            port,
            on_data_receive,
            on_connection_open,
            on_connection_close,
            on_server_destruct,
            on_error,
            DEBUG,
            host=host,
            on_ping_send=on_ping_send,
            on_pong_receive=on_pong_receive,
            **options,
        )
        folder = self.settings.http
        self._files = None if folder is None else static_files(folder)

    def quick_response(self, request: Request) -> Response | None:
        """Answer a plain HTTP request on the main thread, which must not wait.

        That is the health check of load balancers and container engines.

        Args:
            request: The request; its method may be any.

        Returns:
            The response, or :obj:`None` to ask the next one: see "Plain HTTP" below.

        """
        return health(request) if request.path == self.settings.health_path else None

    def slow_response(self, request: Request) -> Response | None:
        """Answer a plain HTTP request on a thread of a small pool.

        That is with a file of the folder ``http``, if there is one.

        Args:
            request: The request; its method may be any.

        Returns:
            The response, or :obj:`None` if there is nothing at that path.

        Raises:
            HandshakeError: If the answer is an error; it says which.

        """
        return None if self._files is None else self._files(request)

    @property
    def has_slow_responses(self) -> bool:
        """Whether to ask :meth:`slow_response`: if there is a folder to serve."""
        return self._files is not None
