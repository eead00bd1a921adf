"""A server for foreign clients to talk to: it echoes, and does what it is told.

A text ``close CODE REASON`` makes it close the connection, ``ping`` makes it send a
Ping; all else comes back as it went.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any

from websock import Client, WebSocketError, WebSocketServer

__all__ = ["DEADLINE", "EchoServer", "echo_server"]

DEADLINE = 20.0
"""Time after which a test gives up waiting, in seconds."""


class EchoServer:
    """An echo server and what it noticed.

    Args:
        host: Where to listen; the port is a free one.
        options: Options of :class:`~websock.WebSocketServer`.

    """

    def __init__(self, host: str, **options: Any) -> None:
        self.opened: queue.Queue[Client] = queue.Queue()
        self.closed: queue.Queue[tuple[int | None, str]] = queue.Queue()
        self.errors: list[BaseException] = []
        self.server = WebSocketServer(
            host,
            0,
            on_connection_open=self.opened.put,
            on_data_receive=self._echo,
            on_connection_close=self._closed,
            on_error=self.errors.append,
            **options,
        )

    @property
    def port(self) -> int:
        """The port at which it listens."""
        address = self.server.address
        assert isinstance(address, tuple)
        return int(address[1])

    @property
    def url(self) -> str:
        """Its address for clients on this machine, over plain TCP and IPv4."""
        return f"ws://127.0.0.1:{self.port}/"

    def client(self) -> Client:
        """Wait for the next client."""
        return self.opened.get(timeout=DEADLINE)

    def close_of_client(self) -> tuple[int | None, str]:
        """Wait for the end of a connection; its close code and reason."""
        return self.closed.get(timeout=DEADLINE)

    def _echo(self, client: Client, data: str | bytes) -> None:
        match data.split(" ", 2) if isinstance(data, str) else ():
            case ["close", code, reason]:
                client.close(int(code), reason)
            case ["ping"]:
                client.ping()
            case _:
                client.send(data)

    def _closed(self, client: Client, code: int | None, reason: str) -> None:
        self.closed.put((code, reason))


@contextlib.contextmanager
def echo_server(host: str = "127.0.0.1", **options: Any) -> Iterator[EchoServer]:
    """Run an echo server in a thread; its callbacks must not fail."""
    echo = EchoServer(host, **options)
    thread = threading.Thread(target=echo.server.serve_forever)
    thread.start()
    try:
        assert echo.server.wait_ready(DEADLINE)
        yield echo
    finally:
        echo.server.shutdown(DEADLINE)
        thread.join(DEADLINE)
    assert not thread.is_alive(), "serve_forever() did not return"
    # Faults of the peer are what some tests are about, and are seen at the peer.
    assert not [e for e in echo.errors if not isinstance(e, WebSocketError)]
