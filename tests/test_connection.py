"""Connections over a transport and a keeper that tests hold in their hands."""

from __future__ import annotations

import contextlib
import functools
import random
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools import wait_until
from websock import connection as module
from websock.closing import Close
from websock.connection import ENTRY_COST, MAX_PINGS, Connection
from websock.exceptions import (
    ConnectionClosed,
    LocalProtocolError,
    RemoteProtocolError,
    SendTimeout,
)
from websock.extensions.base import Extension
from websock.extensions.permessage_deflate import PerMessageDeflate
from websock.frames import Frame, Opcode, serialize_frame
from websock.handshake import negotiate_extensions
from websock.headers import Headers
from websock.lifecycle import State
from websock.messages import Event, Ping, Pong
from websock.protocol import Protocol, Side
from websock.request import Request
from websock.writer import SharedMessage

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

    def flush_later(self, connection: Connection) -> None:
        """Note the request."""
        self.calls.append("flush")

    def expect_end(self, connection: Connection) -> None:
        """Note the request."""
        self.calls.append("expect")

    def retire(self, connection: Connection) -> None:
        """Note the request."""
        self.calls.append("retire")


class Wire:
    """A connection with its transport and keeper."""

    def __init__(
        self,
        room: int = 10**9,
        *,
        write_limit: int = 1000,
        send_timeout: float | None = DEADLINE,
        extensions: tuple[Extension, ...] = (),
    ) -> None:
        self.transport = FakeTransport(room)
        self.keeper = FakeKeeper()
        self.protocol = Protocol(Side.SERVER, extensions=extensions)
        self.connection = Connection(
            self.transport,
            self.protocol,
            self.keeper,
            write_limit=write_limit,
            send_timeout=send_timeout,
        )

    def frames(self) -> list[Frame]:
        """What the peer has got so far; there must be no piece of a frame."""
        frames, rest = split(bytes(self.transport.written))
        assert rest == b""
        return frames

    def flush(self, room: int = 10**9) -> bool:
        """Make room, and let the keeper flush."""
        self.transport.room = room
        return self.connection.flush()


@pytest.fixture
def wire() -> Wire:
    """A connection whose peer reads everything at once."""
    return Wire()


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


def masked(opcode: int, payload: bytes = b"") -> bytes:
    """A frame of the peer."""
    return serialize_frame(Frame(opcode, payload), KEY)


# Reading.


def test_events_come_in_order(wire: Wire) -> None:
    """Several of one read, one of several reads, and what came with the request."""
    wire.transport.arrive(
        masked(Opcode.TEXT, b"one") + masked(Opcode.PING, b"two"),
        masked(Opcode.BINARY, b"three")[:4],
        masked(Opcode.BINARY, b"three")[4:],
        b"",
    )
    wire.connection.start_reading()

    events = [wire.connection.next_event() for _ in range(4)]

    assert events == ["one", Ping(b"two"), b"three", None]
    assert wire.connection.next_event() is None
    assert wire.connection.is_reader()


def test_reader_is_one_thread(wire: Wire) -> None:
    """The one that began to read."""
    reader = threading.Thread(target=wire.connection.start_reading)
    reader.start()
    reader.join()

    assert not wire.connection.is_reader()


def test_lost_connection_is_the_end(wire: Wire) -> None:
    """An error of the transport is no exception for the reader."""
    wire.transport.arrive(masked(Opcode.TEXT, b"x"), ConnectionResetError())

    assert wire.connection.next_event() == "x"
    assert wire.connection.next_event() is None


def test_deadline_of_the_reader_passes(wire: Wire) -> None:
    """The connection lives on, and so does what comes later."""
    with pytest.raises(TimeoutError):
        wire.connection.next_event(0.0)
    wire.transport.arrive(masked(Opcode.TEXT, b"late"))
    assert wire.connection.next_event(0.0) == "late"


def test_close_ends_the_wait_of_the_reader(wire: Wire) -> None:
    """What had arrived but wasn't taken is dropped (7.1.2)."""
    got: list[Event | None] = []

    def read() -> None:
        wire.connection.start_reading()
        got.append(wire.connection.next_event())

    reader = threading.Thread(target=read)
    reader.start()
    assert wait_until(lambda: wire.connection._reader_ident is not None)
    wire.connection.close(4000, "bye")
    reader.join(DEADLINE)

    assert got == [None]
    assert wire.transport.calls == ["interrupt"]
    wire.transport.arrive(masked(Opcode.TEXT, b"late"))
    assert wire.connection.next_event() is None


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
        while wire.connection.next_event(0.0) is not None:
            pass

    assert (wire.connection.last_alive > before) == alive


def test_pong_that_answers_a_ping_measures_the_latency(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each counts once; others mean nothing (5.5.3)."""
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    wire.connection.take_pong(Pong(b"unasked"))
    wire.connection.ping(b"a")
    now = 102.5
    wire.connection.take_pong(Pong(b"other"))
    latencies = [wire.connection.latency]
    wire.connection.take_pong(Pong(b"a"))
    latencies.append(wire.connection.latency)
    assert latencies == [None, 2.5]
    now = 200.0
    wire.connection.take_pong(Pong(b"a"))
    measured = wire.connection.latency, wire.connection.last_alive
    assert measured == (2.5, 102.5)


def test_oldest_pings_are_forgotten(wire: Wire) -> None:
    """A peer that never answers costs no memory."""
    for number in range(MAX_PINGS + 1):
        wire.connection.ping(b"%d" % number)

    assert wire.connection._pings is not None
    assert list(wire.connection._pings) == [b"%d" % n for n in range(1, MAX_PINGS + 1)]
    assert len(wire.frames()) == MAX_PINGS + 1


def test_ping_makes_its_own_payload(wire: Wire) -> None:
    """A peer that doesn't read it can't answer it (E4)."""
    for _ in range(3):
        wire.connection.ping()

    assert len({frame.payload for frame in wire.frames()}) == 3


# The end.


def test_ping_is_answered(wire: Wire) -> None:
    """With its payload (5.5.2), until our Close frame."""
    wire.connection.answer(Ping(b"x"))
    wire.connection.close()
    wire.connection.say_goodbye()
    wire.connection.answer(Ping(b"y"))

    assert [frame.opcode for frame in wire.frames()] == [Opcode.PONG, Opcode.CLOSE]


@pytest.mark.parametrize(
    ("begin", "close"),
    [
        (lambda c: c.close(4000, "ours"), b"\x0f\xa0ours"),
        (lambda c: c.mark_close_rcvd(Close(4001, "theirs")), b"\x0f\xa1theirs"),
        (lambda c: c.mark_close_rcvd(Close(1005, "")), b""),
        (lambda c: c.fail(RemoteProtocolError("broken")), b"\x03\xeabroken"),
    ],
    ids=["ours", "theirs", "no code", "fault"],
)
def test_goodbye_tells_why(
    wire: Wire, begin: Callable[[Connection], None], close: bytes
) -> None:
    """The peer's code back (5.5.1), ours (7.1.2), or what its fault means (7.1.7)."""
    begin(wire.connection)
    wire.connection.say_goodbye()

    assert wire.frames() == [Frame(Opcode.CLOSE, close)]
    assert wire.keeper.calls[-1] == "retire"
    assert wire.connection.state is State.CLOSING
    with pytest.raises(ConnectionClosed):
        wire.connection.send("late")


def test_goodbye_to_a_peer_that_just_left(wire: Wire) -> None:
    """There is nobody for a Close frame; what waits may still reach it."""
    wire.transport.room = 3
    wire.connection.send("text")
    wire.transport.arrive(b"")
    assert wire.connection.next_event() is None

    wire.connection.say_goodbye()

    assert wire.connection.state is State.CLOSED
    assert "abort" not in wire.transport.calls
    wire.flush()
    assert texts(wire.frames()) == ["text"]


def test_first_close_counts(wire: Wire) -> None:
    """Later ones change nothing, whoever makes them."""
    wire.connection.close(4000, "first")
    wire.connection.close(4001, "second")
    wire.connection.say_goodbye()
    wire.connection.close(4002)

    assert wire.frames() == [Frame(Opcode.CLOSE, b"\x0f\xa0first")]


def test_close_after_the_peers_close_changes_nothing(wire: Wire) -> None:
    """The answer is the peer's code."""
    wire.connection.mark_close_rcvd(Close(4001, "theirs"))
    wire.connection.close(4000)
    wire.connection.say_goodbye()

    assert wire.frames() == [Frame(Opcode.CLOSE, b"\x0f\xa1theirs")]
    assert wire.keeper.calls == ["retire"]


@pytest.mark.parametrize(("code", "reason"), [(1006, ""), (999, ""), (1000, "é" * 62)])
def test_close_that_may_not_be_sent_changes_nothing(
    wire: Wire, code: int, reason: str
) -> None:
    """Nobody is told to end anything (7.4)."""
    with pytest.raises(LocalProtocolError):
        wire.connection.close(code, reason)

    assert wire.keeper.calls == wire.transport.calls == []
    wire.connection.send("still open")


def test_reader_that_closes_needs_no_interrupt(wire: Wire) -> None:
    """It finds out by itself, after its callback."""
    wire.connection.start_reading()
    wire.connection.close()

    assert wire.transport.calls == []
    assert wire.keeper.calls == ["expect"]
    assert wire.connection.next_event() is None


def test_abort_cuts_at_once(wire: Wire) -> None:
    """Without a Close frame; what comes afterwards does no harm."""
    wire.transport.room = 0
    wire.connection.send("lost")
    wire.connection.abort()
    wire.connection.abort()

    assert wire.connection.state is State.CLOSED
    assert wire.connection._outbox_size == 0
    assert wire.flush()
    for late in (wire.connection.send, wire.connection.ping):
        with pytest.raises(ConnectionClosed):
            late(b"late")
    wire.connection.close()
    wire.connection.say_goodbye()
    wire.connection.release()
    assert wire.transport.written == b""
    assert wire.transport.calls[-1] == "close"


def test_end_is_enforced_in_two_steps(wire: Wire) -> None:
    """A Close frame in place of a callback that hangs, and then the cut."""
    wire.connection.close(4000)

    assert not wire.connection.enforce_end()
    assert wire.frames() == [Frame(Opcode.CLOSE, b"\x0f\xa0")]
    assert wire.transport.calls[-1] == "finish"
    assert wire.connection.enforce_end()
    assert wire.transport.calls[-1] == "abort"
    wire.connection.say_goodbye()


@pytest.mark.parametrize("rcvd", [True, False])
def test_enforced_close_has_the_right_code(wire: Wire, rcvd: bool) -> None:
    """The peer's if it has sent one, 1001 if nobody has said anything."""
    if rcvd:
        wire.connection.mark_close_rcvd(Close(4001, "theirs"))

    wire.connection.enforce_end()

    expected = b"\x0f\xa1theirs" if rcvd else b"\x03\xe9"
    assert wire.frames() == [Frame(Opcode.CLOSE, expected)]


def test_enforced_close_waits_behind_the_outbox(wire: Wire) -> None:
    """The end of our side comes after it."""
    wire.transport.room = 3
    wire.connection.send("text")
    assert not wire.connection.enforce_end()
    assert "finish" not in wire.transport.calls
    assert wire.flush()
    assert wire.transport.calls[-1] == "finish"
    assert [frame.opcode for frame in wire.frames()] == [Opcode.TEXT, Opcode.CLOSE]


def test_finish_comes_after_the_outbox(wire: Wire) -> None:
    """Nothing that was accepted is cut off."""
    wire.transport.room = 3
    wire.connection.send("text")
    wire.connection.finish()
    assert wire.transport.calls == []
    assert not wire.flush(1)
    assert wire.flush()
    assert wire.transport.calls == ["finish"]


def test_drain_drops_what_comes_after_the_reader_has_left(wire: Wire) -> None:
    """Whatever it is, until the peer's end."""
    seen: list[bool] = []
    wire.connection.close()
    wire.connection.say_goodbye()
    wire.connection.finish()
    for pieces in (
        [],
        [masked(Opcode.TEXT, b"late"), masked(Opcode.PING)],
        [masked(Opcode.CLOSE, b"\x0f\xa1"), b"junk", b""],
        [],
    ):
        wire.transport.arrive(*pieces)
        assert not wire.connection.drain()
        seen.append(wire.connection.is_over())

    assert seen == [False, False, True, True]
    assert [frame.opcode for frame in wire.frames()] == [Opcode.CLOSE]


def test_drain_lets_others_have_their_turn(wire: Wire) -> None:
    """A peer that sends without end mustn't keep the keeper's thread to itself."""
    wire.connection.close()
    wire.connection.say_goodbye()
    wire.transport.arrive(*[b"junk"] * 1000, b"")
    turns = 1
    while wire.connection.drain():
        assert len(wire.transport.incoming) > 0
        turns += 1
    assert turns > 10
    assert wire.connection.is_over()


def test_drain_ends_with_a_lost_connection(wire: Wire) -> None:
    """And with one that was cut, from which nothing comes any more."""
    wire.transport.arrive(ConnectionResetError())
    wire.connection.drain()
    assert wire.connection.is_over()
    assert wire.connection.state is State.CLOSED
    other = Wire()
    other.connection.abort()
    other.connection.drain()
    assert other.connection.is_over()


def test_connection_with_an_outbox_is_not_over(wire: Wire) -> None:
    """A peer that has ended its side may still read."""
    wire.transport.room = 1
    wire.connection.send("text")
    wire.transport.arrive(b"")
    wire.connection.drain()
    over = [wire.connection.is_over()]
    wire.flush()
    over.append(wire.connection.is_over())
    assert over == [False, True]


def test_connection_tells_of_its_transport(wire: Wire) -> None:
    """For the keeper."""
    assert wire.connection.transport is wire.transport
    assert wire.connection.fileno() == 7
    assert not wire.connection.has_unread_data()
    wire.transport.arrive(b"x")
    assert wire.connection.has_unread_data()


# Sending, and the outbox.


def test_frames_are_sent_as_they_are(wire: Wire) -> None:
    """Fragments of a message that is made by hand, and nothing between them."""
    wire.connection.send(Frame(Opcode.TEXT, b"a", fin=False))
    with pytest.raises(LocalProtocolError, match="isn't finished"):
        wire.connection.send("other")
    wire.connection.ping(b"may")
    wire.connection.send(Frame(Opcode.CONTINUATION, b"b"))
    wire.connection.send("text", fragment_size=3)

    assert [(f.opcode, f.payload, f.fin) for f in wire.frames()] == [
        (1, b"a", False),
        (9, b"may", True),
        (0, b"b", True),
        (1, b"tex", False),
        (0, b"t", True),
    ]


def test_keeper_is_asked_once_to_flush(wire: Wire) -> None:
    """When something begins to wait; everything keeps its order behind it."""
    wire.transport.room = 4
    for text in ("one", "two", "three"):
        wire.connection.send(text)
    wire.connection.ping(b"p")

    assert wire.keeper.calls == ["flush"]
    sizes = [wire.connection._outbox_size]
    while not wire.flush(2):
        sizes.append(wire.connection._outbox_size)
    assert sizes == sorted(sizes, reverse=True)
    assert texts(wire.frames()[:3]) == ["one", "two", "three"]
    assert wire.frames()[3].opcode == Opcode.PING
    assert wire.connection._outbox_size == 0
    wire.transport.room = 100
    wire.connection.send("direct")
    assert wire.keeper.calls == ["flush"]


def test_send_to_a_lost_peer_is_an_error(wire: Wire) -> None:
    """The first one that finds out raises, too; outside of send nobody does."""
    wire.transport.lost = True
    with pytest.raises(ConnectionClosed):
        wire.connection.send("x")
    operations: list[Callable[[Connection], object]] = [
        lambda c: c.answer(Ping(b"")),
        lambda c: c.say_goodbye(),
        lambda c: c.flush(),
        lambda c: c.enforce_end(),
    ]
    for operation in operations:
        other = Wire(0)
        other.connection.send("waits")
        other.transport.lost = True
        operation(other.connection)
        assert other.connection.offer(SharedMessage("x"), "close") in (True, False)


def test_peer_that_is_lost_while_flushing(wire: Wire) -> None:
    """The outbox is gone, and the keeper has nothing more to flush."""
    wire.transport.room = 1
    wire.connection.send("text")
    wire.transport.lost = True

    assert wire.flush()
    assert wire.connection.state is State.CLOSED
    assert wire.connection._outbox_size == 0


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


def waiting(wire: Wire, timeout: bool = True) -> tuple[threading.Thread, list[object]]:
    """A thread that waits for room in the outbox."""
    wire.transport.room = 0
    wire.connection.send("x" * 1000)
    thread, result = start(lambda: wire.connection.send("next"))

    def waits() -> bool:
        room: Any = wire.connection._room
        return room is not None and bool(room._waiters)

    assert wait_until(waits)
    return thread, result


@pytest.mark.parametrize("send_timeout", [None, DEADLINE])
def test_sender_waits_for_room(send_timeout: float | None) -> None:
    """Until the outbox is below its limit, not until it's empty."""
    wire = Wire(send_timeout=send_timeout)
    thread, result = waiting(wire)
    assert not wire.flush(3)
    assert thread.is_alive()
    # 1,004 bytes were there, and what an entry costs: now there is room.
    assert not wire.flush(2 + ENTRY_COST)
    thread.join(DEADLINE)
    assert result == [None]
    wire.flush()
    assert texts(wire.frames()) == ["x" * 1000, "next"]


@pytest.mark.parametrize(
    "end",
    [
        lambda wire: wire.connection.abort(),
        lambda wire: wire.connection.release(),
        lambda wire: wire.connection.enforce_end(),
        lambda wire: (wire.transport.abort(), wire.flush()),
    ],
    ids=["abort", "release", "enforce_end", "lost"],
)
@pytest.mark.parametrize("send_timeout", [None, DEADLINE])
def test_sender_that_waits_learns_of_the_end(
    end: Callable[[Wire], object], send_timeout: float | None
) -> None:
    """Whatever ends the connection."""
    wire = Wire(send_timeout=send_timeout)
    thread, result = waiting(wire)

    end(wire)

    thread.join(DEADLINE)
    assert isinstance(result[0], ConnectionClosed)


def test_sender_gives_up_at_its_deadline() -> None:
    """The peer is dropped, and other senders that wait learn of it."""
    wire = Wire(0, send_timeout=0.05)
    wire.connection.send("x" * 1000)
    threads = [start(lambda: wire.connection.send("next")) for _ in range(3)]
    for thread, _ in threads:
        thread.join(DEADLINE)

    errors = [result[0] for _, result in threads]
    assert any(isinstance(error, SendTimeout) for error in errors)
    assert all(isinstance(error, SendTimeout | ConnectionClosed) for error in errors)
    assert wire.connection.state is State.CLOSED
    assert wire.transport.calls[-1] == "abort"


def test_lock_is_not_held_while_waiting() -> None:
    """Pings and Pongs go on, and so does whoever closes."""
    wire = Wire()
    thread, result = waiting(wire)
    wire.connection.ping()
    assert not wire.connection.offer(SharedMessage("x"), "drop_newest")
    wire.connection.close(4000)
    wire.connection.say_goodbye()
    wire.flush()
    thread.join(DEADLINE)
    assert len(result) == 1


# Broadcasts.


def test_broadcast_to_a_full_outbox_closes(wire: Wire) -> None:
    """With 1013, once; what was sent before comes first."""
    wire.transport.room = 0
    wire.connection.send("x" * 1000)

    for _ in range(2):
        assert not wire.connection.offer(SharedMessage("news"), "close")

    assert wire.keeper.calls == ["flush", "expect"]
    assert wire.transport.calls == ["interrupt"]
    wire.connection.say_goodbye()
    wire.flush()
    assert wire.frames()[1] == Frame(Opcode.CLOSE, b"\x03\xf5too slow")


def test_newest_is_dropped(wire: Wire) -> None:
    """The outbox stays as it is."""
    wire.transport.room = 0
    wire.connection.send("x" * 1000)

    assert not wire.connection.offer(SharedMessage("news"), "drop_newest")

    wire.flush()
    assert texts(wire.frames()) == ["x" * 1000]
    assert wire.connection.offer(SharedMessage("news"), "drop_newest")


def close_properly(connection: Connection) -> None:
    """Close, and let the reader say goodbye."""
    connection.close()
    connection.say_goodbye()


@pytest.mark.parametrize("policy", ["close", "drop_newest", "drop_oldest"])
def test_broadcast_to_one_who_leaves_is_nothing(policy: str) -> None:
    """Closing, closed, or lost: no error, and no second Close frame."""
    for leave in (
        lambda c: c.close(),
        lambda c: c.abort(),
        close_properly,
    ):
        wire = Wire()
        leave(wire.connection)
        written = bytes(wire.transport.written)
        assert not wire.connection.offer(SharedMessage("news"), policy)
        assert wire.transport.written == written
    wire = Wire()
    wire.transport.lost = True
    assert not wire.connection.offer(SharedMessage("news"), policy)


def test_broadcast_between_fragments_is_no_error_of_the_broadcaster(
    wire: Wire,
) -> None:
    """Who sends a message by hand in frames can't get another one between (5.4)."""
    wire.connection.send(Frame(Opcode.TEXT, b"a", fin=False))

    assert not wire.connection.offer(SharedMessage("news"), "close")

    wire.connection.send(Frame(Opcode.CONTINUATION, b"b"))
    assert wire.connection.offer(SharedMessage("news"), "close")


def test_oldest_are_dropped() -> None:
    """As many as make room; in order, and what ``send`` accepted stays."""
    wire = Wire(write_limit=2000)
    wire.transport.room = 0
    wire.connection.send("sent first")
    for number in range(3):
        wire.connection.offer(SharedMessage(f"{number}" * 200), "drop_oldest")
    wire.connection.send("sent last")
    for number in range(3, 9):
        assert wire.connection.offer(SharedMessage(f"{number}" * 200), "drop_oldest")
        assert wire.connection._outbox_size < 2000 + 202 + ENTRY_COST

    wire.flush()

    got = texts(wire.frames())
    assert got[:2] == ["sent first", "sent last"]
    numbers = [int(text[0]) for text in got[2:]]
    assert numbers == list(range(9))[-len(numbers) :]
    assert len(numbers) > 3


def test_message_that_has_begun_is_not_dropped(wire: Wire) -> None:
    """Its rest must follow, whether it began at once or while flushing."""
    wire.transport.room = 5
    for number in range(20):
        wire.connection.offer(SharedMessage(f"{number % 10}" * 300), "drop_oldest")
    assert not wire.flush(400)
    for number in range(20):
        wire.connection.offer(SharedMessage(f"{number % 10}" * 300), "drop_oldest")

    wire.flush()

    got = texts(wire.frames())
    assert got[0] == "0" * 300
    assert got[-1] == "9" * 300
    assert all(len(set(text)) == 1 and len(text) == 300 for text in got)


@pytest.mark.parametrize("flushed", [False, True])
def test_message_that_was_put_off_is_not_dropped(wire: Wire, flushed: bool) -> None:
    """OpenSSL may have taken the record and told that nothing was sent.

    It must be offered the same data again (SSL_write(3)), so that a message counts
    as begun once the transport has seen it.
    """
    wire.transport.room = 0
    if flushed:
        wire.connection.send("first")
    wire.connection.offer(SharedMessage("seen " + "x" * 300), "drop_oldest")
    if flushed:
        assert not wire.flush(7)
    for _ in range(20):
        wire.connection.offer(SharedMessage("news " + "x" * 300), "drop_oldest")

    wire.flush()

    assert ("seen " + "x" * 300) in texts(wire.frames())[: 1 + flushed]


# Many senders, and a socket that takes what it likes.


def deflate() -> tuple[Extension, ...]:
    """A server's permessage-deflate, as most browsers agree on it."""
    request = Request(
        "GET", "/", Headers({"Sec-WebSocket-Extensions": "permessage-deflate"})
    )
    return tuple(negotiate_extensions(request, (PerMessageDeflate(),))[1])


def inflated(frames: list[Frame]) -> Iterator[str]:
    """Texts of frames whose compression refers to those before (RFC 7692, 7.2)."""
    inflater = zlib.decompressobj(-15)
    for frame in frames:
        assert frame.fin
        assert frame.opcode == Opcode.TEXT
        payload = frame.payload
        if frame.rsv1:
            payload = inflater.decompress(payload + b"\0\0\xff\xff")
        yield payload.decode()


@pytest.mark.parametrize("compressed", [False, True])
@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    counts=st.lists(st.integers(1, 30), min_size=2, max_size=3),
    size=st.integers(1, 3000),
    policy=st.sampled_from(["drop_oldest", "drop_newest"]),
)
def test_messages_of_threads_never_mix(
    compressed: bool, seed: int, counts: list[int], size: int, policy: str
) -> None:
    """Whatever a write takes: frames are whole, and each sender's are in order.

    Broadcasts may be missing, what was sent may not; nothing comes twice.
    """
    chance = random.Random(seed)
    wire = Wire(
        0, write_limit=4000, extensions=deflate() if compressed else (), send_timeout=60
    )
    over = threading.Event()

    def take() -> None:
        wire.transport.room = chance.choice([0, 1, 2, 3, 100, 5000])

    def text(who: str, number: int) -> str:
        return f"{who} {number} " + who * size

    wire.transport.before_write = take

    def send(who: str, count: int) -> None:
        for number in range(count):
            wire.connection.send(text(who, number))

    def broadcast() -> None:
        for number in range(20):
            wire.connection.offer(SharedMessage(text("b", number)), policy)

    jobs = [functools.partial(send, str(n), count) for n, count in enumerate(counts)]
    jobs.append(functools.partial(broadcast))

    def flush() -> None:
        last = False
        while not last:
            last = over.is_set()
            while not wire.connection.flush():
                pass

    flusher, flushed = start(flush)
    senders = [start(job) for job in jobs]
    for sender, result in senders:
        sender.join(DEADLINE)
        assert result
        assert not isinstance(result[0], Exception), result
    over.set()
    flusher.join(DEADLINE)
    assert flushed == [None]

    got: dict[str, list[int]] = {}
    for message in inflated(wire.frames()):
        who, number, rest = message.split()
        assert rest == who * size
        got.setdefault(who, []).append(int(number))
    for name, count in enumerate(counts):
        assert got[str(name)] == list(range(count))
    news = got.get("b", [])
    assert news == sorted(set(news))
