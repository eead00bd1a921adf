"""Receiving over a transport that tests hold in their hands."""

from __future__ import annotations

import contextlib
import threading

import pytest

from tests.tools import wait_until
from websock import receiving as module
from websock.exceptions import ConnectionClosed
from websock.extensions.permessage_deflate import PerMessageDeflate
from websock.frames import Frame, Opcode
from websock.inbox import INBOX_LIMIT
from websock.receiving import SLICE

from .fake_wire import Wire, deflate, masked

DEADLINE = 20.0


@pytest.fixture
def wire() -> Wire:
    """A connection whose peer reads everything at once."""
    return Wire()


def test_messages_come_in_order(wire: Wire) -> None:
    """Several of one read, one of several reads; Pings between them are answered."""
    wire.transport.arrive(
        masked(Opcode.TEXT, b"one") + masked(Opcode.PING, b"two"),
        masked(Opcode.BINARY, b"three")[:4],
        masked(Opcode.BINARY, b"three")[4:],
        b"",
    )
    wire.receiver.start()

    assert [wire.next_message() for _ in range(3)] == ["one", b"three", None]
    assert wire.next_message() is None
    assert wire.connection.is_reader()
    assert wire.frames() == [Frame(Opcode.PONG, b"two")]


@pytest.mark.parametrize(
    ("frame", "last"),
    [
        (masked(Opcode.CLOSE, b"\x0f\xa0bye"), "4000 (private use) bye"),
        (masked(3), "reserved opcode 3"),
    ],
)
def test_peer_ends_the_reading(wire: Wire, frame: bytes, last: str) -> None:
    """With its Close or its fault; what comes afterwards is dropped."""
    wire.transport.arrive(
        masked(Opcode.TEXT, b"x") + frame + masked(Opcode.TEXT, b"late")
    )

    assert wire.next_message() == "x"
    assert wire.next_message() is None
    assert str(wire.receiver.last) == last


def test_run_goes_on_until_it_is_told_not_to(wire: Wire) -> None:
    """Or until the end; who gets a message may read the next ones itself."""
    got: list[str | bytes] = []

    def deliver(message: str | bytes) -> bool:
        got.append(message)
        if message == "read on":
            got.append(wire.receiver.recv(0))
        return message != "stop"

    wire.receiver.start()
    for text in (b"read on", b"here", b"stop", b"after"):
        wire.transport.arrive(masked(Opcode.TEXT, text))
    wire.transport.arrive(b"")

    wire.receiver.run(deliver)
    assert got == ["read on", "here", "stop"]
    wire.receiver.run(deliver)
    assert got[3:] == ["after"]


def test_what_may_be_compressed_is_decoded_in_slices() -> None:
    """Each byte of it may become a thousand, all of which would wait (D1)."""
    wire = Wire(extensions=deflate())
    frame = masked(Opcode.TEXT, b"x" * 100)
    wire.transport.arrive(frame * 400)

    assert wire.next_message() == "x" * 100

    assert len(wire.receiver._pending) < SLICE // 100
    for _ in range(399):
        assert wire.next_message() == "x" * 100


def test_what_came_with_the_request_is_decoded_in_slices() -> None:
    """It may be as much as one read takes, and compressed like everything else."""
    wire = Wire(opened=False)
    frame = masked(Opcode.TEXT, b"x" * 100)
    request = wire.protocol.receive_request(
        b"GET / HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n" + frame * 400
    )
    assert request is not None
    wire.protocol.accept(request, extensions=(PerMessageDeflate(),))

    wire.receiver.start()

    assert 0 < len(wire.receiver._pending) < SLICE // 100
    for _ in range(400):
        assert wire.next_message() == "x" * 100


# recv().


def test_recv_of_the_reader_takes_first_what_waits(wire: Wire) -> None:
    """Messages that came for other threads came first."""
    with pytest.raises(TimeoutError, match="no message within the timeout"):
        wire.receiver.recv(0)
    wire.connection.inbox.put("first", keep=True)
    wire.receiver.start()
    wire.transport.arrive(masked(Opcode.TEXT, b"second"), b"")

    assert [wire.receiver.recv(None) for _ in range(2)] == ["first", "second"]
    for _ in range(2):
        with pytest.raises(ConnectionClosed):
            wire.receiver.recv(None)


def test_recv_of_another_thread_never_reads(wire: Wire) -> None:
    """It gets what the reader puts into the inbox, until the connection is lost."""
    wire.transport.arrive(masked(Opcode.TEXT, b"unread"))
    with pytest.raises(TimeoutError, match="no message within the timeout"):
        wire.receiver.recv(0)
    wire.connection.inbox.put("put", keep=True)
    wire.connection.abort()

    assert wire.receiver.recv(None) == "put"
    with pytest.raises(ConnectionClosed):
        wire.receiver.recv(None)


def test_close_lets_the_reader_go_on(wire: Wire) -> None:
    """It may wait until somebody takes one of too many messages."""
    with pytest.raises(TimeoutError):
        wire.receiver.recv(0)
    wire.transport.arrive(masked(Opcode.TEXT, b"x") * 2 * INBOX_LIMIT)
    inbox = wire.connection.inbox
    reader = threading.Thread(
        target=wire.receiver.run, args=(lambda text: inbox.put(text, keep=True),)
    )
    reader.start()
    assert wait_until(lambda: len(inbox._messages) == INBOX_LIMIT)

    wire.connection.close()

    reader.join(DEADLINE)
    assert not reader.is_alive()
    assert len(inbox._messages) == INBOX_LIMIT


# The end, and signs of life.


def test_reader_is_one_thread(wire: Wire) -> None:
    """The one that began to read."""
    reader = threading.Thread(target=wire.receiver.start)
    reader.start()
    reader.join()

    assert not wire.connection.is_reader()


def test_lost_connection_is_the_end(wire: Wire) -> None:
    """An error of the transport is no exception for the reader."""
    wire.transport.arrive(masked(Opcode.TEXT, b"x"), ConnectionResetError())

    assert wire.next_message() == "x"
    assert wire.next_message() is None


def test_deadline_of_the_reader_passes(wire: Wire) -> None:
    """The connection lives on, and so does what comes later."""
    with pytest.raises(TimeoutError):
        wire.next_message(0.0)
    wire.transport.arrive(masked(Opcode.TEXT, b"late"))
    assert wire.next_message(0.0) == "late"


def test_close_ends_the_wait_of_the_reader(wire: Wire) -> None:
    """What had arrived but wasn't taken is dropped (7.1.2)."""
    got: list[str | bytes | None] = []

    def read() -> None:
        wire.receiver.start()
        got.append(wire.next_message())

    reader = threading.Thread(target=read)
    reader.start()
    assert wait_until(lambda: wire.connection._reader_ident is not None)
    wire.connection.close(4000, "bye")
    reader.join(DEADLINE)

    assert got == [None]
    assert wire.transport.calls == ["interrupt"]
    wire.transport.arrive(masked(Opcode.TEXT, b"late"))
    assert wire.next_message() is None


@pytest.mark.parametrize(
    ("data", "alive"),
    [
        (masked(Opcode.TEXT, b"x"), True),
        (masked(Opcode.TEXT, b"x")[:3], True),
        (masked(Opcode.PONG, b"x"), False),
        (masked(Opcode.PONG, b"x") * 2, False),
        (masked(Opcode.PONG, b"x") + masked(Opcode.PING), True),
    ],
)
def test_what_counts_as_a_sign_of_life(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, data: bytes, alive: bool
) -> None:
    """Everything but a Pong, which has to answer a Ping of ours (E4)."""
    before = wire.connection.last_alive
    monkeypatch.setattr(module, "monotonic", lambda: before + 5)
    wire.transport.arrive(data)
    with contextlib.suppress(TimeoutError):
        while wire.next_message(0.0) is not None:
            pass

    assert (wire.connection.last_alive > before) == alive


def test_reader_that_closes_needs_no_interrupt(wire: Wire) -> None:
    """It finds out by itself, after its callback."""
    wire.receiver.start()
    wire.connection.close()

    assert wire.transport.calls == []
    assert wire.keeper.calls == ["expect"]
    assert wire.next_message() is None
