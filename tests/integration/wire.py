"""A server in a thread, and a peer that speaks the wire by hand, well or badly."""

from __future__ import annotations

import base64
import contextlib
import os
import queue
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any, NoReturn, Self

import pytest

from tests.tools import wait_until
from websock import WebSocketServer, intake, keepalive, loop, serving
from websock import server as server_module
from websock.frames import Frame, Opcode, serialize_frame

__all__ = [
    "DEADLINE",
    "Clock",
    "Peer",
    "Recorder",
    "ask",
    "fail",
    "get",
    "is_empty",
    "make_server",
    "running",
]

DEADLINE = 20.0
"""Time after which a test gives up waiting, in seconds; no test waits that long."""


class Recorder:
    """Callbacks that note what happened, for tests that wait for it."""

    def __init__(self) -> None:
        self.opened: queue.Queue[Any] = queue.Queue()
        self.received: queue.Queue[tuple[Any, str | bytes]] = queue.Queue()
        self.closed: queue.Queue[tuple[Any, int, str]] = queue.Queue()
        self.errors: queue.Queue[BaseException] = queue.Queue()
        self.destructed: queue.Queue[None] = queue.Queue()

    def callbacks(self) -> dict[str, Any]:
        """All five, for the constructor."""
        return {
            "on_connection_open": self.opened.put,
            "on_data_receive": lambda client, data: self.received.put((client, data)),
            "on_connection_close": lambda client, code, reason: self.closed.put(
                (client, code, reason)
            ),
            "on_error": self.errors.put,
            "on_server_destruct": lambda: self.destructed.put(None),
        }


def make_server(recorder: Recorder, **options: Any) -> WebSocketServer:
    """Server on a free port of the loopback, with all callbacks."""
    return WebSocketServer("127.0.0.1", 0, **(recorder.callbacks() | options))


class Clock:
    """Clock of the server, which a test moves on: so a slow machine misses nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        for module in (intake, keepalive, loop, server_module, serving):
            monkeypatch.setattr(module, "monotonic", self)

    def __call__(self) -> float:
        """What the server takes for the time."""
        return monotonic() + self._ahead

    def reach_open_timeout(self, server: WebSocketServer, count: int) -> None:
        """Let so many newcomers have had their time.

        What they sent before is read first: the clock moves in the loop's next turn
        but one, between reading and the deadlines.
        """
        running = server._serving
        assert running is not None
        assert wait_until(lambda: len(running._intake._newcomers) == count, DEADLINE)
        running._loop.call_soon(lambda: running._loop.call_soon(self._move))

    def _move(self) -> None:
        self._ahead += DEADLINE


@contextlib.contextmanager
def running(server: WebSocketServer) -> Iterator[WebSocketServer]:
    """Serve in a thread, which must end with the context."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert server.wait_ready(DEADLINE)
        yield server
    finally:
        server.shutdown()
        thread.join(DEADLINE)
        assert not thread.is_alive()


class Peer:
    """A client on a raw socket.

    Args:
        address: Where the server listens.
        context: TLS context; :obj:`None` speaks plain TCP.
        family: Family of the socket.

    """

    def __init__(
        self,
        address: Any,
        *,
        context: ssl.SSLContext | None = None,
        family: int = socket.AF_INET,
    ) -> None:
        self.socket: socket.socket = socket.socket(family)
        self.socket.settimeout(DEADLINE)
        try:
            self.socket.connect(address)
            if context is not None:
                self.socket = context.wrap_socket(
                    self.socket, server_hostname="localhost"
                )
        except BaseException:
            self.socket.close()
            raise
        self.data = b""
        self.status = 0

    def __enter__(self) -> Self:
        """Return the peer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket."""
        self.socket.close()

    # HTTP.

    @staticmethod
    def request(target: str = "/", **headers: str | None) -> bytes:
        """Opening handshake; keywords replace headers, or remove them by None."""
        fields: dict[str, str | None] = {
            "Host": "127.0.0.1",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
        }
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{name}: {value}" for name, value in fields.items() if value]
        return "\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode("latin-1")

    def read_head(self) -> str:
        """Status line and headers of the response."""
        while b"\r\n\r\n" not in self.data:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(self.data)
            self.data += more
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        self.status = int(head.split()[1])
        return head.decode("latin-1")

    def open(self, target: str = "/", **headers: str | None) -> Self:
        """Do the opening handshake, which must succeed."""
        self.socket.sendall(self.request(target, **headers))
        head = self.read_head()
        assert self.status == 101, head
        return self

    def read_response(self) -> tuple[int, str, bytes]:
        """Status, headers and body of a response, up to the end of the stream."""
        head = self.read_head()
        return self.status, head, self.read_to_end()

    # Frames.

    def send(self, data: str | bytes) -> None:
        """Send a message."""
        if isinstance(data, str):
            self.send_frame(Frame(Opcode.TEXT, data.encode()))
        else:
            self.send_frame(Frame(Opcode.BINARY, data))

    def send_frame(self, frame: Frame) -> None:
        """Send a masked frame."""
        self.socket.sendall(serialize_frame(frame, os.urandom(4)))

    def send_close(self, code: int = 1000, reason: str = "") -> None:
        """Send a Close frame."""
        self.send_frame(Frame(Opcode.CLOSE, struct.pack("!H", code) + reason.encode()))

    def _read(self, size: int) -> bytes:
        while len(self.data) < size:
            more = self.socket.recv(65536)
            if not more:
                raise EOFError(self.data)
            self.data += more
        data, self.data = self.data[:size], self.data[size:]
        return data

    def read_frame(self) -> Frame:
        """Read a frame strictly: no mask, the shortest form of its length."""
        first, size = self._read(2)
        assert size < 128, "masked frame from a server"
        if size == 126:
            (size,) = struct.unpack("!H", self._read(2))
            assert size > 125
        elif size == 127:
            (size,) = struct.unpack("!Q", self._read(8))
            assert size > 65535
        return Frame(
            first & 15,
            self._read(size),
            bool(first & 128),
            bool(first & 64),
            bool(first & 32),
            bool(first & 16),
        )

    def receive(self) -> str | bytes:
        """Read a whole message in one frame."""
        frame = self.read_frame()
        assert frame.fin, frame
        assert frame.opcode in (Opcode.TEXT, Opcode.BINARY), frame
        if frame.opcode == Opcode.TEXT:
            return frame.payload.decode()
        return frame.payload

    def read_close(self) -> tuple[int, str]:
        """Read a Close frame."""
        frame = self.read_frame()
        assert frame.opcode == Opcode.CLOSE, frame
        if not frame.payload:
            return 1005, ""
        return struct.unpack("!H", frame.payload[:2])[0], frame.payload[2:].decode()

    def read_to_end(self) -> bytes:
        """Whatever comes until the server ends its side."""
        while more := self.socket.recv(65536):
            self.data += more
        data, self.data = self.data, b""
        return data

    def closes(self, code: int, reason: str | None = None) -> bool:
        """Whether a Close frame comes, and the end of the stream behind it."""
        got = self.read_close()
        assert got[0] == code, got
        assert reason is None or got[1] == reason, got
        return self.read_to_end() == b""

    def reset(self) -> None:
        """End the connection with RST."""
        self.socket.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.socket.close()


def is_empty(server: WebSocketServer) -> bool:
    """Whether the main thread has nobody to look after."""
    return server._serving is not None and not server._serving._connections


def fail(*args: object) -> NoReturn:
    """Be a hook of the application that raises what no caller expects."""
    raise ZeroDivisionError("secret")


def ask(server: WebSocketServer, data: bytes) -> tuple[int, str, bytes]:
    """Response to a request."""
    with Peer(server.address) as peer:
        peer.socket.sendall(data)
        return peer.read_response()


def get(path: str = "/", host: str = "127.0.0.1", method: str = "GET") -> bytes:
    """Request of plain HTTP."""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
