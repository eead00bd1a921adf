"""What the accelerator alone has: the rules of its steps, and when it corks.

Not collected where WEBSOCK_SPEEDUPS=skip says that this is the run without it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from websock import link
from websock.frames import Frame, Opcode

from .fake_wire import DEADLINE, masked
from .linked_wire import (
    Line,
    busy_corks,
    require_link,
    run,
    step,
    tcp_pair,
    unread,
)
from .tools import wait_until

HELLO = masked(Opcode.TEXT, b"hello")
CORK_LIMIT = 262144


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection: ours, and the peer's."""
    require_link()
    ours, peer = tcp_pair()
    with ours, peer:
        ours.settimeout(None)
        yield ours, peer


Ends = tuple[socket.socket, socket.socket]


def choose_nothing() -> None:
    """Leave everything to the core."""


def take(sock: socket.socket, size: int) -> bytes:
    """Read so many bytes."""
    data = bytearray()
    while len(data) < size:
        data += sock.recv(size - len(data))
    return bytes(data)


def plain_link(sock: socket.socket, corks: Any) -> Any:
    """Make a link whose connection is open."""
    short_cut = link.Link(sock.fileno(), corks, None)
    short_cut.plain = True
    return short_cut


def test_one_thread_steps_at_a_time(ends: Ends) -> None:
    """The second one is refused, whatever it wants to do, and disturbs nothing."""
    ours, peer = ends
    short_cut = link.Link(ours.fileno(), link.Corks(lambda: None), None)
    refused: list[str] = []

    def step_too() -> None:
        try:
            step(short_cut, choose_nothing, None, None)
        except RuntimeError as error:
            refused.append(str(error))

    def callback(client: object, message: str | bytes) -> None:
        step_too()
        other = threading.Thread(target=step_too)
        other.start()
        other.join(DEADLINE)

    peer.sendall(HELLO * 2)
    peer.shutdown(socket.SHUT_WR)

    assert step(short_cut, lambda: callback, None, None) is None
    assert refused == ["somebody else reads"] * 4
    assert step(short_cut, choose_nothing, None, None) is False


def test_run_goes_on_until_there_is_more_to_do(ends: Ends) -> None:
    """What is called isn't chosen for each of the messages."""
    ours, peer = ends
    short_cut = link.Link(ours.fileno(), link.Corks(lambda: None), None)
    got: list[str | bytes] = []
    chosen: list[int] = []

    def callback(client: object, message: str | bytes) -> None:
        got.append(message)
        if len(got) < 100:
            peer.sendall(HELLO)
        else:
            peer.sendall(b"\x88\x80\0\0\0\0")

    def choose() -> Any:
        chosen.append(len(got))
        return callback

    peer.sendall(HELLO)

    assert run(short_cut, choose, None, None) == b"\x88\x80\0\0\0\0"
    assert got == ["hello"] * 100
    assert chosen[0] == 0
    assert len(chosen) < 50


def test_run_chooses_anew_when_it_is_told_to(ends: Ends) -> None:
    """Other functions may be there after any message."""
    ours, peer = ends
    corks = link.Corks(lambda: None)
    short_cut = link.Link(ours.fileno(), corks, None)
    got: list[str] = []

    def first(client: object, message: str | bytes) -> None:
        got.append("first")
        corks.renew()
        peer.sendall(HELLO)

    def second(client: object, message: str | bytes) -> None:
        got.append("second")
        peer.shutdown(socket.SHUT_WR)

    peer.sendall(HELLO)

    assert run(short_cut, lambda: second if got else first, None, None) is False
    assert got == ["first", "second"]


def test_run_ends_when_a_callback_has_read_on(ends: Ends) -> None:
    """What it has taken may wait for the core."""
    ours, peer = ends
    short_cut = link.Link(ours.fileno(), link.Corks(lambda: None), None)
    taken: list[bytes] = []

    def callback(client: object, message: str | bytes) -> None:
        taken.append(short_cut.take_unread())

    peer.sendall(HELLO * 3)

    assert run(short_cut, lambda: callback, None, None) is None
    assert taken == [HELLO * 2]


def test_who_steps_needs_the_read_token(ends: Ends) -> None:
    """It is free during callbacks, and only then."""
    ours, peer = ends
    short_cut = link.Link(ours.fileno(), link.Corks(lambda: None), None)
    free: list[bool] = []

    def callback(client: object, message: str | bytes) -> None:
        free.append(short_cut.try_reading())
        free.append(short_cut.try_reading())
        short_cut.end_reading()

    peer.sendall(HELLO)

    with pytest.raises(RuntimeError, match="needs the read token"):
        short_cut.step(lambda: callback, None, None)
    assert step(short_cut, lambda: callback, None, None) is None
    assert free == [True, False]
    short_cut.begin_reading()
    assert not short_cut.try_reading()
    short_cut.end_reading()


ARGUMENTS: list[tuple[Any, ...]] = [
    (),
    (choose_nothing,),
    (choose_nothing, None, None, None),
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=len)
def test_step_takes_three_arguments(ends: Ends, arguments: tuple[Any, ...]) -> None:
    """Others are refused before anything is read."""
    ours, peer = ends
    short_cut = link.Link(ours.fileno(), link.Corks(lambda: None), None)
    peer.sendall(HELLO)

    with pytest.raises(TypeError, match="step"):
        step(short_cut, *arguments)
    with pytest.raises(TypeError, match="run"):
        run(short_cut, *arguments)

    assert step(short_cut, choose_nothing, None, None) == HELLO


def test_what_is_no_number_or_too_many_is_refused(ends: Ends) -> None:
    """As Python's own types do."""
    ours, _ = ends
    corks = link.Corks(lambda: None)
    wrong: Any = "x"

    with pytest.raises(TypeError):
        link.Link(wrong, corks, None)
    with pytest.raises(TypeError):
        link.Link(ours.fileno(), corks, wrong)
    with pytest.raises(OverflowError):
        link.Link(ours.fileno(), corks, -1)
    with pytest.raises(TypeError, match="acquire"):
        plain_link(ours, corks).acquire(True, 1.0)


def test_send_is_for_the_callback_that_runs(ends: Ends) -> None:
    """Others send the long way, and so do those that send more than str or bytes."""
    ours, peer = ends
    short_cut = plain_link(ours, link.Corks(lambda: None))
    sent = []

    def callback(client: object, message: str | bytes) -> None:
        other = threading.Thread(target=lambda: sent.append(short_cut.send("other")))
        other.start()
        other.join(DEADLINE)
        sent.extend(short_cut.send(data) for data in ("\ud800", bytearray(b"x"), 5))
        with short_cut:
            sent.append(short_cut.send("locked"))
        sent.append(short_cut.send("own"))
        short_cut.plain = False
        sent.append(short_cut.send("not plain"))

    assert short_cut.send("nobody's") is False
    peer.sendall(HELLO)
    step(short_cut, lambda: callback, None, None)

    assert sent == [False, False, False, False, False, True, False]
    assert peer.recv(100) == b"\x81\x03own"


def test_messages_leave_at_once_without_traffic(ends: Ends) -> None:
    """Nothing is corked, and no tick is needed."""
    ours, peer = ends
    short_cut = plain_link(ours, link.Corks(lambda: None))

    def callback(client: object, message: str | bytes) -> None:
        assert short_cut.send("now")
        assert not short_cut.corked
        assert peer.recv(100) == b"\x81\x03now"

    peer.sendall(HELLO)
    assert step(short_cut, lambda: callback, None, None) is None


def test_messages_leave_with_the_next_step_under_load(ends: Ends) -> None:
    """All those of one batch together."""
    ours, peer = ends
    short_cut = plain_link(ours, busy_corks())

    def callback(client: object, message: str | bytes) -> None:
        assert short_cut.send("later")
        assert short_cut.corked
        assert not unread(peer)

    peer.sendall(HELLO * 2)
    assert step(short_cut, lambda: callback, None, None) is None
    peer.sendall(HELLO)
    assert step(short_cut, choose_nothing, None, None) == HELLO

    assert peer.recv(100) == b"\x81\x05later" * 2


def test_tick_finds_what_is_corked_too_long(ends: Ends) -> None:
    """While its callback runs; and not any more when somebody has taken it."""
    ours, peer = ends
    corks = busy_corks()
    short_cut = plain_link(ours, corks)
    connection = object()

    def callback(client: object, message: str | bytes) -> None:
        short_cut.send("waits")
        assert wait_until(lambda: corks.tick() == [connection])
        with short_cut:
            assert short_cut.take() == b"\x81\x05waits"
            assert short_cut.take() is None
        assert corks.tick() == []
        assert not short_cut.corked

    peer.sendall(HELLO)
    assert step(short_cut, lambda: callback, None, connection) is None


def test_corking_ends_with_the_traffic(ends: Ends) -> None:
    """After some ticks without steps, but not while something is corked."""
    ours, peer = ends
    corks = busy_corks()
    short_cut = plain_link(ours, corks)

    def callback(client: object, message: str | bytes) -> None:
        short_cut.send("waits")
        for _ in range(100):
            corks.tick()
        assert corks.corking

    peer.sendall(HELLO)
    step(short_cut, lambda: callback, None, None)
    with short_cut:
        short_cut.take()
    for _ in range(100):
        corks.tick()

    assert not corks.corking


def test_no_more_is_corked_than_the_limit(ends: Ends) -> None:
    """What is there leaves first; then there is room again."""
    ours, peer = ends
    short_cut = plain_link(ours, busy_corks())
    message = b"x" * 1020
    count = CORK_LIMIT // 1024

    def callback(client: object, _: str | bytes) -> None:
        for _number in range(count):
            assert short_cut.send(message)
        assert not unread(peer)
        assert short_cut.send(message)
        assert len(take(peer, CORK_LIMIT)) == CORK_LIMIT
        assert short_cut.corked

    peer.sendall(HELLO)
    assert step(short_cut, lambda: callback, None, None) is None


def test_message_for_a_peer_that_does_not_read_is_the_connections(ends: Ends) -> None:
    """It takes what is corked, and what is left of it, in order."""
    ours, peer = ends
    short_cut = plain_link(ours, busy_corks())
    big = b"x" * 2**24

    def callback(client: object, _: str | bytes) -> None:
        assert short_cut.send("small")
        assert short_cut.send(big)
        # The system takes a part, and the rest waits.
        assert short_cut.send("next") is False

    peer.sendall(HELLO)
    assert step(short_cut, lambda: callback, None, None) is None
    with short_cut:
        rest = short_cut.take()

    assert rest is not None
    there = b"\x81\x05small\x82\x7f" + (2**24).to_bytes(8, "big") + big
    assert take(peer, len(there) - len(rest)) + rest == there


@pytest.mark.parametrize("who", ["choose", "function", "on_busy"])
def test_exceptions_go_through(ends: Ends, who: str) -> None:
    """Whoever raised; the link can be used on."""
    ours, peer = ends

    def fail(*_: object) -> Any:
        raise LookupError(who)

    corks = link.Corks(fail)
    short_cut = link.Link(ours.fileno(), corks, None)
    functions: dict[str, Any] = {
        "choose": fail,
        "function": lambda: fail,
        "on_busy": lambda: lambda *_: None,
    }

    def step_until_it_raises() -> None:
        for _ in range(10_000):
            peer.sendall(HELLO)
            step(short_cut, functions[who], None, None)

    with pytest.raises(LookupError, match=who):
        step_until_it_raises()

    assert not corks.corking
    peer.sendall(HELLO)
    assert step(short_cut, choose_nothing, None, None) == HELLO


def test_end_of_the_stream_is_told(ends: Ends) -> None:
    """After what came before it, were it a part of a frame."""
    ours, peer = ends
    short_cut = link.Link(ours.fileno(), link.Corks(lambda: None), None)
    peer.sendall(HELLO[:8])
    peer.shutdown(socket.SHUT_WR)

    assert step(short_cut, choose_nothing, None, None) == HELLO[:8]
    assert step(short_cut, choose_nothing, None, None) is False
    assert short_cut.take_unread() == b""


def test_nobody_writes_past_who_has_the_turn() -> None:
    """The last fragment is encoded, and isn't written: the message isn't over."""
    require_link()
    with Line(
        "link", lambda line, message: None, corks=link.Corks(lambda: None)
    ) as line:
        connection, short_cut = line.connection, line.connection.link
        assert short_cut is not None
        assert wait_until(lambda: short_cut.plain)
        connection.send(Frame(Opcode.TEXT, b"a", fin=False))
        with connection._lock:
            connection._take_turn()
        encoded = connection.protocol.encode_frame(Frame(Opcode.CONTINUATION, b"b"))

        connection.ping(b"between")

        assert not short_cut.plain
        with connection._lock:
            connection.protocol.send_encoded(encoded)
            connection._write_due()
            connection._pass_turn()
        assert short_cut.plain
