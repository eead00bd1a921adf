"""Connections over a transport and a keeper that tests hold in their hands."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from websock import connection as module
from websock.closing import Close, CloseCode
from websock.connection import Connection
from websock.exceptions import (
    ConnectionClosed,
    LocalProtocolError,
    RemoteProtocolError,
)
from websock.frames import Frame, Opcode
from websock.lifecycle import State
from websock.messages import Ping, Pong
from websock.pings import MAX_PINGS

from .fake_wire import Wire, masked, texts

DEADLINE = 20.0


@pytest.fixture
def wire() -> Wire:
    """A connection whose peer reads everything at once."""
    return Wire()


# Pings.


def test_pong_that_answers_a_ping_measures_the_latency(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each counts once; others mean nothing (5.5.3)."""
    now = 100.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    wire.connection.take_pong(Pong(b"unasked"))
    assert wire.keeper.events == []
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


def test_keeper_is_told_of_pings_and_their_answers(wire: Wire) -> None:
    """After they were sent, and answered; nobody is told of one that wasn't sent."""
    wire.connection.ping(b"a")
    wire.connection.take_pong(Pong(b"b"))
    wire.connection.take_pong(Pong(b"a"))
    wire.connection.abort()
    with pytest.raises(ConnectionClosed):
        wire.connection.ping(b"late")

    assert wire.keeper.events == [("ping", b"a"), ("pong", b"a")]


def test_oldest_pings_are_forgotten(wire: Wire) -> None:
    """A peer that never answers costs no memory."""
    for number in range(MAX_PINGS + 1):
        wire.connection.ping(b"%d" % number)

    awaited = [n for n in range(MAX_PINGS + 1) if b"%d" % n in wire.connection._pings]
    assert awaited == list(range(1, MAX_PINGS + 1))
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
    assert wire.next_message() is None

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


def test_abort_cuts_at_once(wire: Wire) -> None:
    """Without a Close frame; what comes afterwards does no harm."""
    wire.transport.room = 0
    wire.connection.send("lost")
    wire.connection.abort()
    wire.connection.abort()

    assert wire.connection.state is State.CLOSED
    assert wire.connection._outbox.size == 0
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


def test_nothing_comes_after_a_client_was_cut_for_good(wire: Wire) -> None:
    """What says so to the reader is no Close frame to send (7.4.1)."""
    wire.connection.discard()
    wire.connection.say_goodbye()

    assert wire.connection.close_wanted == Close(CloseCode.ABNORMAL_CLOSURE)
    assert wire.frames() == []
    wire.connection.close()
    wire.connection.discard()
    assert wire.connection.close_wanted == Close(CloseCode.ABNORMAL_CLOSURE)


@pytest.mark.parametrize("said", [False, True])
def test_cut_comes_before_a_close_that_was_not_sent(wire: Wire, said: bool) -> None:
    """The peer sees 1006, unless it was told otherwise (7.1.5)."""
    wire.connection.close(4001, "bye")
    if said:
        wire.connection.say_goodbye()

    wire.connection.discard()

    expected = Close(4001, "bye") if said else Close(CloseCode.ABNORMAL_CLOSURE)
    assert wire.connection.close_wanted == expected


def test_nobody_gets_what_waits_for_a_receiver_when_the_client_is_cut(
    wire: Wire,
) -> None:
    """No further message is delivered, however."""
    inbox = wire.connection.inbox
    with pytest.raises(TimeoutError):
        inbox.take(0)
    assert inbox.put("x", keep=True)

    wire.connection.discard()

    assert inbox.take(None) is None
