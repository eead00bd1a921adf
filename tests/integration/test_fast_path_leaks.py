"""Memory of plain messages: what comes and goes for long leaves nothing behind.

With the accelerator, messages pass through C, where nobody counts for us. Each visit
takes all its ways, and ends in another one; the second third of them must not have
needed more than the first, nor the last one more than the second.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Literal

import pytest

from tests.tools import wait_until
from websock import Client, WebSocketServer
from websock.frames import Frame, Opcode, serialize_frame

from .wire import DEADLINE, Peer, running

VISITORS = 4
VISITS = 30
"""Of each visitor, in each third."""
KEY = b"\x01\xa2\x3b\xf4"

# Made once, so that each reference to them counts. From 32 KiB on, what is sent is
# kept instead of copied; above 128 KiB, what comes fits into no buffer.
LARGE = bytes(range(256)) * 160
LARGE_TEXT = "\u00fc\u20ac" * 10_000
HUGE = b"\x00\xff" * 75_000
IGNORED = object()


def on_data_receive(client: Client, message: str | bytes) -> object:
    """Do what the message says, or send it back."""
    if message[:5] == "raise":
        raise ValueError
    if message == "abort":
        client.abort()
    elif message == "close":
        client.close(4000)
    elif message == "receive":
        client.send(client.recv())
    elif message == "large":
        client.send(LARGE)
        client.send(LARGE_TEXT)
    else:
        client.send(message)
    return IGNORED


def sent(opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Frame of a peer."""
    return serialize_frame(Frame(opcode, payload, fin), KEY)


def got(opcode: Opcode, payload: bytes) -> bytes:
    """Frame of the server."""
    return serialize_frame(Frame(opcode, payload))


EXCHANGES = [
    (sent(opcode, payload), got(reply, payload))
    for opcode, reply, payload in [
        (Opcode.TEXT, Opcode.TEXT, b"plain"),
        (Opcode.TEXT, Opcode.TEXT, "\u00fc\u20ac\U0001f600".encode() * 30),
        (Opcode.TEXT, Opcode.TEXT, LARGE_TEXT.encode()),
        (Opcode.TEXT, Opcode.TEXT, b""),
        (Opcode.BINARY, Opcode.BINARY, b"\x00\xff" * 500),
        (Opcode.BINARY, Opcode.BINARY, HUGE),
        (Opcode.PING, Opcode.PONG, b"ping"),
    ]
] + [
    (sent(Opcode.PONG, b"unasked"), b""),
    (
        sent(Opcode.TEXT, b"large"),
        got(Opcode.BINARY, LARGE) + got(Opcode.TEXT, LARGE_TEXT.encode()),
    ),
    (
        sent(Opcode.TEXT, b"receive") + sent(Opcode.BINARY, b"received"),
        got(Opcode.BINARY, b"received"),
    ),
    (
        sent(Opcode.TEXT, b"in ", fin=False)
        + sent(Opcode.PING, b"between")
        + sent(Opcode.CONTINUATION, b"pieces"),
        got(Opcode.PONG, b"between") + got(Opcode.TEXT, b"in pieces"),
    ),
]
ABORT = sent(Opcode.TEXT, b"abort")
RAISING = (sent(Opcode.TEXT, b"raise"), b"")
SMALL = [(data, reply) for data, reply in EXCHANGES if len(data) < 10_000] * 4

# How visits end: what the peer sends, and the close code that it gets for it; none if
# the server or, after a part of a message, the peer says nothing more.
ENDS = [
    (sent(Opcode.CLOSE, struct.pack("!H", 1000)), 1000),
    (sent(Opcode.TEXT, b"close"), 4000),
    (sent(Opcode.TEXT, b"\xc3("), 1007),
    (sent(Opcode.TEXT, b"\xff" + bytes(40_000)), 1007),
    (b"\x82\xff" + struct.pack("!Q", 2**62), 1009),
    (b"\x83\x80" + KEY, 1002),
    (
        RAISING[0]
        + sent(Opcode.TEXT, b"raise".ljust(20_000))
        + sent(Opcode.TEXT, b"close"),
        1011,
    ),
    (ABORT, None),
    (sent(Opcode.BINARY, HUGE)[:-1], None),
    (sent(Opcode.BINARY, bytes(100))[:5], None),
]


def expect(peer: Peer, reply: bytes) -> None:
    """Read what must come."""
    assert peer._read(len(reply)) == reply


def visit(server: WebSocketServer, number: int, *, raising: bool) -> None:
    """Exchange everything, all at once and cut into pieces, and end."""
    with Peer(server.address).open() as peer:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for exchanges in (EXCHANGES, SMALL, [RAISING, *SMALL] * raising):
            peer.socket.sendall(b"".join(data for data, _ in exchanges))
            expect(peer, b"".join(reply for _, reply in exchanges))
        due = b""
        for place, (data, reply) in enumerate(EXCHANGES):
            # Once the reply before it is there, the begin of the next was read.
            cut = (1, 2, 5, len(data) // 2, len(data) - 1)[(place + number) % 5]
            peer.socket.sendall(data[:cut])
            expect(peer, due)
            peer.socket.sendall(data[cut:])
            due = reply
        expect(peer, due)
        data, code = ENDS[number % len(ENDS)]
        peer.socket.sendall(data)
        if code is not None:
            assert peer.read_close()[0] == (4000 if raising and code == 1011 else code)
        elif data == ABORT:
            assert peer.read_to_end() == b""
        else:
            peer.reset()


def c_heap_meter() -> Callable[[], int]:
    """What tells how many bytes C has allocated, where the C library does."""
    # The fields of struct mallinfo2 (malloc.h of glibc 2.33) that are looked at.
    in_mappings, in_arenas, fields = 4, 7, 10
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:
        return lambda: 0
    mallinfo.restype = type(
        "Mallinfo",
        (ctypes.Structure,),
        {"_fields_": [("all", ctypes.c_size_t * fields)]},
    )

    def read() -> int:
        sizes = mallinfo().all
        return int(sizes[in_mappings] + sizes[in_arenas])

    return read


def visit_often(server: WebSocketServer, *, raising: bool) -> None:
    """Let a third of all visits take place, and wait until the server is quiet."""
    threads = threading.active_count()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            for number in range(VISITS):
                visit(server, number, raising=raising)
        except BaseException as error:
            errors.append(error)

    visitors = [threading.Thread(target=run) for _ in range(VISITORS)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join(3 * DEADLINE)
    assert not errors, errors
    assert wait_until(lambda: threading.active_count() == threads)
    serving = server._serving
    assert serving is not None
    # What is cancelled is forgotten once nothing earlier is due: when nobody holds
    # back messages any more.
    assert wait_until(lambda: not serving._loop._timers)
    assert not serving._connections
    gc.collect()


@pytest.fixture
def untraced() -> Iterator[None]:
    """Start threads without what measures coverage, which remembers each of them."""
    trace = threading.gettrace()
    threading.settrace(None)
    yield
    threading.settrace(trace)


@pytest.mark.slow
@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("callback_errors", ["continue", "close"])
def test_messages_of_all_kinds_leave_nothing_behind(
    callback_errors: Literal["continue", "close"], caplog: pytest.LogCaptureFixture
) -> None:
    """360 visits with 25,000 messages: no reference, no block, no byte, no thread."""
    # Records keep what was raised.
    caplog.set_level(logging.CRITICAL)
    server = WebSocketServer(
        "127.0.0.1",
        0,
        on_data_receive=on_data_receive,
        callback_errors=callback_errors,
        max_size=2**20,
    )
    c_heap = c_heap_meter()
    in_c: list[int] = []
    blocks: list[int] = []
    references: list[list[int]] = []
    with running(server):
        assert server._serving is not None
        shared = (LARGE, LARGE_TEXT, IGNORED, on_data_receive, server._serving._corks)

        for _ in range(3):
            visit_often(server, raising=callback_errors == "continue")
            in_c.append(c_heap())
            blocks.append(sys.getallocatedblocks())
            references.append([sys.getrefcount(thing) for thing in shared])

    # One block for each visit would be 120; the C library's own needs move by 10 KiB.
    assert blocks[2] - blocks[1] < VISITORS * VISITS / 2, blocks
    assert in_c[2] - in_c[1] < 32 * 1024, in_c
    for former, last in zip(references[1], references[2], strict=True):
        assert last - former < VISITS, references
