"""A transport and a keeper in memory, and a connection between them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from websock.connection import Connection
from websock.extensions.base import Extension
from websock.extensions.permessage_deflate import PerMessageDeflate
from websock.frames import Frame, Opcode, serialize_frame
from websock.handshake import negotiate_extensions
from websock.headers import Headers
from websock.protocol import Protocol, Side
from websock.receiving import Receiver
from websock.request import Request, RequestReader

DEADLINE = 20.0
KEY = b"\1\2\3\4"
OPCODES = {int(opcode) for opcode in Opcode}


class FakeTransport:
    """A transport whose peer is the test.

    Args:
        room: How many bytes fit at the moment.

    """

    def __init__(self, room: int = 10**9) -> None:
        self.room = room
        self.written = bytearray()
        self.incoming: deque[bytes | OSError] = deque()
        self.calls: list[str] = []
        self.lost = False
        self.arrived = threading.Condition()
        self.waits = threading.Event()
        self.before_write: Callable[[], None] = lambda: None

    def fileno(self) -> int:
        """Number of no real descriptor."""
        return 7

    def getpeername(self) -> Any:
        """Address of the peer."""
        return ("192.0.2.1", 1)

    def getsockname(self) -> Any:
        """Address of this end."""
        return ("192.0.2.2", 80)

    def arrive(self, *pieces: bytes | OSError) -> None:
        """Let bytes come from the peer; empty ones are its end."""
        with self.arrived:
            self.incoming.extend(pieces)
            self.arrived.notify_all()

    def read(self, deadline: float | None = None) -> bytes:
        """Wait for what arrives; a deadline has passed if nothing has."""
        with self.arrived:
            self.waits.set()
            if not self.arrived.wait_for(
                lambda: self.incoming or "interrupt" in self.calls,
                0 if deadline is not None else DEADLINE,
            ):
                raise TimeoutError
            if not self.incoming:
                return b""
            piece = self.incoming.popleft()
        if isinstance(piece, OSError):
            raise piece
        return piece

    def read_nowait(self) -> bytes | None:
        """Take what has arrived."""
        if not self.incoming:
            return None
        piece = self.incoming.popleft()
        if isinstance(piece, OSError):
            raise piece
        return piece

    def write_nowait(self, data: bytes | memoryview) -> int:
        """Take what there is room for."""
        self.before_write()
        if self.lost:
            raise BrokenPipeError
        piece = bytes(data[: self.room])
        self.written += piece
        self.room -= len(piece)
        return len(piece)

    def has_data(self) -> bool:
        """Whether something has arrived."""
        return bool(self.incoming)

    def interrupt(self) -> None:
        """End the wait of the reader."""
        with self.arrived:
            self.calls.append("interrupt")
            self.arrived.notify_all()

    def limit_unsent(self, size: int) -> None:
        """Note the limit."""
        self.calls.append(f"limit {size}")

    def finish_writing(self) -> None:
        """Note the end of our side."""
        self.calls.append("finish")

    def abort(self) -> None:
        """Note the cut."""
        self.calls.append("abort")
        self.lost = True

    def close(self) -> None:
        """Note the end."""
        self.calls.append("close")


class FakeKeeper:
    """A keeper that notes what it is asked for."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.events: list[tuple[str, bytes]] = []
        self.when_pong: Callable[[], object] = lambda: None

    def flush_later(self, connection: Connection) -> None:
        """Note the request."""
        self.calls.append("flush")

    def write_later(self, connection: Connection) -> None:
        """Note the request."""
        self.calls.append("write")

    def expect_end(self, connection: Connection) -> None:
        """Note the request."""
        self.calls.append("expect")

    def retire(self, connection: Connection) -> None:
        """Note the request."""
        self.calls.append("retire")

    def ping_sent(self, connection: Connection, payload: bytes) -> None:
        """Note the event."""
        self.events.append(("ping", payload))

    def pong_received(self, connection: Connection, payload: bytes) -> None:
        """Note the event."""
        self.events.append(("pong", payload))
        self.when_pong()


class Wire:
    """A connection with its transport and keeper."""

    def __init__(
        self,
        room: int = 10**9,
        *,
        write_limit: int = 1000,
        send_timeout: float | None = DEADLINE,
        extensions: tuple[Extension, ...] = (),
        opened: bool = True,
    ) -> None:
        self.transport = FakeTransport(room)
        self.keeper = FakeKeeper()
        self.protocol = Protocol(
            Side.SERVER,
            extensions=extensions,
            reader=None if opened else RequestReader(),
        )
        self.connection = Connection(
            self.transport,
            self.protocol,
            self.keeper,
            write_limit=write_limit,
            send_timeout=send_timeout,
            logger=logging.getLogger("websock.test"),
        )
        self.receiver = Receiver(self.connection)

    def next_message(self, deadline: float | None = None) -> str | bytes | None:
        """Wait for the next message, as the owner of the read token."""
        self.receiver._token.begin_reading()
        try:
            return self.receiver.next_message(deadline)
        finally:
            self.receiver._token.end_reading()

    def frames(self) -> list[Frame]:
        """What the peer has got so far; there must be no piece of a frame."""
        frames, rest = split(bytes(self.transport.written))
        assert rest == b""
        return frames

    def flush(self, room: int = 10**9) -> bool:
        """Make room, and let the keeper flush."""
        self.transport.room = room
        return self.connection.flush()


def start(function: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Call a function in a thread; its result or error comes into the list."""
    result: list[object] = []

    def run() -> None:
        try:
            result.append(function())
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, result


def deflate() -> tuple[Extension, ...]:
    """A server's permessage-deflate, as most browsers agree on it."""
    request = Request(
        "GET", "/", Headers({"Sec-WebSocket-Extensions": "permessage-deflate"})
    )
    return tuple(negotiate_extensions(request, (PerMessageDeflate(),))[1])


def split(data: bytes) -> tuple[list[Frame], bytes]:
    """Read the frames of a server strictly; return them, and a piece of one."""
    frames = []
    while len(data) >= 2:
        first, size = data[0], data[1]
        assert size < 128, "masked frame from a server"
        start = 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(data) < start:
                break
            size = int.from_bytes(data[2:start], "big")
            assert size > (125 if start == 4 else 65535), "length isn't minimal"
        if len(data) < start + size:
            break
        assert first & 15 in OPCODES, f"opcode {first & 15}"
        frames.append(
            Frame(
                first & 15,
                data[start : start + size],
                bool(first & 128),
                bool(first & 64),
                bool(first & 32),
                bool(first & 16),
            )
        )
        data = data[start + size :]
    return frames, data


def texts(frames: list[Frame]) -> list[str]:
    """Messages, which must be of one frame each."""
    assert all(f.fin and f.opcode == Opcode.TEXT for f in frames), frames
    return [f.payload.decode() for f in frames]


def masked(opcode: int, payload: bytes = b"", *, rsv1: bool = False) -> bytes:
    """A frame of the peer."""
    return serialize_frame(Frame(opcode, payload, rsv1=rsv1), KEY)
