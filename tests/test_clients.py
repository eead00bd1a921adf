"""Clients: what callbacks get, ``recv()``, and the table of those connected."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.wire import DEADLINE, Peer, Recorder, make_server, running
from tests.tools import wait_until
from websock import Client, ConnectionClosed, State
from websock.clients import ClientTable, client_of
from websock.frames import Frame, Opcode
from websock.inbox import INBOX_LIMIT
from websock.logs import shorten
from websock.transport import show_address


@pytest.fixture
def pair(recorder: Recorder) -> Iterator[tuple[Client, Peer]]:
    """A client, and its peer; there is no ``on_data_receive``."""
    server = make_server(recorder, on_data_receive=None)
    with running(server), Peer(server.address).open("/room?x=1") as peer:
        yield recorder.opened.get(timeout=DEADLINE), peer


def test_client_tells_who_it_is(pair: tuple[Client, Peer]) -> None:
    """In logs, as a key of tables, and after the connection was lost."""
    client, peer = pair
    host, port = peer.socket.getsockname()

    assert client.address == client.getpeername() == (host, port)
    assert client.getsockname() == peer.socket.getpeername()
    assert client.host == host
    assert str(client) == f"{host}:{port}"
    assert repr(client) == f"<Client {client.id} at {host}:{port} open>"
    assert client.name == f"websock-{client.id}"
    assert {client: 1}[client] == 1
    assert client in client.server.clients
    assert client.server.clients[client.address] is client
    client.abort()
    assert wait_until(lambda: client.fileno() == -1)
    assert client.address == (host, port)
    assert "closed" in repr(client)
    assert client not in client.server.clients


def test_data_is_one_dict_for_all_threads(pair: tuple[Client, Peer]) -> None:
    """It's made when it is first asked for, once."""
    client, _ = pair
    barrier = threading.Barrier(8)
    got: list[dict[Any, Any]] = []

    def ask() -> None:
        barrier.wait(DEADLINE)
        got.append(client.data)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)

    client.data["x"] = 1
    assert all(data is client.data for data in got)
    assert len(got) == 8


# recv() in another thread.


def test_recv_waits_for_the_next_message(pair: tuple[Client, Peer]) -> None:
    """In order; what has come before the end is still there after it."""
    client, peer = pair
    with pytest.raises(TimeoutError, match="no message within the timeout"):
        client.recv(0.01)
    with pytest.raises(TimeoutError):
        client.recv(0)
    for number in range(3):
        peer.send(str(number))
    peer.send(b"last")
    assert [client.recv(DEADLINE) for _ in range(3)] == ["0", "1", "2"]
    peer.send_close(4000)
    assert peer.closes(4000)
    assert client.recv() == b"last"
    with pytest.raises(ConnectionClosed) as caught:
        client.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 4000


def test_full_inbox_pauses_reading(pair: tuple[Client, Peer]) -> None:
    """The peer is held up, not the memory filled; then it goes on."""
    client, peer = pair
    with pytest.raises(TimeoutError):
        client.recv(0)
    for number in range(3 * INBOX_LIMIT):
        peer.send(str(number))
    assert wait_until(lambda: len(client._connection.inbox._messages) == INBOX_LIMIT)
    got = [client.recv(DEADLINE) for _ in range(3 * INBOX_LIMIT)]
    assert got == [str(number) for number in range(3 * INBOX_LIMIT)]


@pytest.mark.parametrize(
    "hard",
    [
        False,
        True,
    ],
)
def test_client_with_a_full_inbox_can_be_closed(
    pair: tuple[Client, Peer], recorder: Recorder, hard: bool
) -> None:
    """Its thread waits for room, and must learn of the end."""
    client, peer = pair
    with pytest.raises(TimeoutError):
        client.recv(0)
    for number in range(2 * INBOX_LIMIT):
        peer.send(str(number))
    assert wait_until(lambda: len(client._connection.inbox._messages) == INBOX_LIMIT)

    client.server.close_client(client, 4000, hard_close=hard)

    assert recorder.closed.get(timeout=DEADLINE)[0] is client
    if not hard:
        assert peer.closes(4000)


@pytest.mark.parametrize("end", ["peer", "close", "abort", "shutdown"])
def test_recv_ends_with_the_connection(pair: tuple[Client, Peer], end: str) -> None:
    """All threads that wait learn of it, whoever ends it."""
    client, peer = pair
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            client.recv()
        except ConnectionClosed as error:
            errors.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: client._connection.inbox._receivers == 3)
    if end == "peer":
        peer.send_close()
    elif end == "shutdown":
        client.server.shutdown(0.1)
    else:
        getattr(client, end)()
    for thread in threads:
        thread.join(DEADLINE)

    assert len(errors) == 3


def test_callback_of_the_end_may_wait_for_a_receiver(recorder: Recorder) -> None:
    """``recv()`` has ended by then, so that its thread can be joined there."""
    ended: queue.Queue[bool] = queue.Queue()
    threads: list[threading.Thread] = []

    def join(client: Client) -> None:
        threads[0].join(DEADLINE)
        ended.put(not threads[0].is_alive())

    def wait(client: Client) -> None:
        with pytest.raises(ConnectionClosed):
            client.recv()

    server = make_server(recorder, on_connection_close=join, close_timeout=None)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        threads.append(threading.Thread(target=wait, args=(client,)))
        threads[0].start()
        assert wait_until(lambda: client._connection.inbox._receivers == 1)
        peer.send_close()
        assert ended.get(timeout=2 * DEADLINE)


def test_recv_of_another_thread_goes_before_the_callback(recorder: Recorder) -> None:
    """A message goes to one of them; without a receiver, to the callback."""
    server = make_server(recorder)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        got: list[object] = []
        thread = threading.Thread(target=lambda: got.append(client.recv(DEADLINE)))
        thread.start()
        assert wait_until(lambda: client._connection.inbox._receivers == 1)
        peer.send("for recv")
        thread.join(DEADLINE)
        peer.send("for the callback")
        assert recorder.received.get(timeout=DEADLINE)[1] == "for the callback"
        assert got == ["for recv"]


# recv() in a callback.


def test_recv_in_a_callback_reads_on(recorder: Recorder) -> None:
    """Pings are answered meanwhile; after the end it raises, as often as asked."""
    got: list[object] = []
    silent = threading.Event()

    def talk(client: Client) -> None:
        with pytest.raises(TimeoutError, match="no message within the timeout"):
            client.recv(0.01)
        silent.set()
        got.append(client.recv(DEADLINE))
        got.append(client.server.recv(client, DEADLINE))
        for _ in range(2):
            try:
                client.recv()
            except ConnectionClosed as error:
                got.append(error.rcvd and error.rcvd.code)

    server = make_server(recorder, on_connection_open=talk)
    with running(server), Peer(server.address).open() as peer:
        assert silent.wait(DEADLINE)
        peer.send("one")
        peer.send_frame(Frame(Opcode.PING, b"x"))
        peer.send_frame(Frame(Opcode.PONG, b"y"))
        peer.send("two")
        assert peer.read_frame() == Frame(Opcode.PONG, b"x")
        peer.send_close(4000)
        assert peer.closes(4000)
        assert recorder.closed.get(timeout=DEADLINE)[1] == 4000
    assert got == ["one", "two", 4000, 4000]


def test_recv_in_a_callback_takes_what_waits_first(recorder: Recorder) -> None:
    """Messages that came for another thread keep their order."""
    server = make_server(recorder, on_data_receive=None)
    got: list[object] = []
    server.on_connection_close = lambda client: got.extend(
        client.recv(0) for _ in range(2)
    )
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        with pytest.raises(TimeoutError):
            client.recv(0)
        peer.send("one")
        peer.send("two")
        peer.send_close()
        assert peer.closes(1000)
    assert got == ["one", "two"]


def test_recv_in_a_callback_after_close(recorder: Recorder) -> None:
    """Nothing more is read then."""
    errors: list[BaseException] = []

    def talk(client: Client) -> None:
        client.close(4000)
        try:
            client.recv()
        except ConnectionClosed as error:
            errors.append(error)

    server = make_server(recorder, on_connection_open=talk)
    with running(server), Peer(server.address).open() as peer:
        assert peer.closes(4000)
    assert len(errors) == 1


# Logs.


def test_frames_are_logged_for_debugging_only(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """User data is for level DEBUG alone, and short."""
    server = make_server(recorder)
    for level in (logging.DEBUG, logging.INFO):
        caplog.clear()
        with (
            caplog.at_level(level, "websock"),
            running(server),
            Peer(server.address).open() as peer,
        ):
            client = recorder.opened.get(timeout=DEADLINE)
            peer.send("secret" * 100)
            recorder.received.get(timeout=DEADLINE)
            client.send("secret too")
            peer.receive()
            peer.send_close()
            assert peer.closes(1000)
        assert ("secret" in caplog.text) == (level == logging.DEBUG)
        assert max(map(len, caplog.messages)) < 150


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("192.0.2.1", 80), "192.0.2.1:80"),
        (("2001:db8::1", 80, 0, 0), "[2001:db8::1]:80"),
        ("/run/socket", "/run/socket"),
    ],
)
def test_address_is_shown_as_people_write_it(address: Any, expected: str) -> None:
    """Brackets keep the port of IPv6 apart."""
    assert show_address(address) == expected


def test_client_of_an_exception_is_the_one_it_carries() -> None:
    """Whatever else an attribute of that name may be."""
    error: Any = ValueError("x")
    assert client_of(error) is None
    error.client = "somebody"
    assert client_of(error) is None


def test_text_in_logs_is_one_short_line() -> None:
    """Nobody hides the end of the line."""
    assert shorten("x" * 80) == "x" * 80
    assert shorten("x" * 81) == "x" * 60 + "... (81 characters)"


# The table.


class FakeClient:
    """Something with an address."""

    def __init__(self, address: Any) -> None:
        self.address = address


def test_table_may_change_while_it_is_looked_at() -> None:
    """Views and iterators are of the moment in which they were asked for."""
    clients = ClientTable()
    all_of_them: list[Any] = [FakeClient(("192.0.2.1", port)) for port in range(5)]
    for client in all_of_them:
        clients.add(client)
    views = iter(clients), clients.keys(), clients.values(), clients.items()

    for client in all_of_them:
        clients.discard(client)

    assert [len(list(view)) for view in views] == [5] * 4
    assert len(clients) == 0
    assert list(clients) == []
    assert repr(clients) == "<Clients: 0>"
    with pytest.raises(KeyError):
        clients["192.0.2.1", 1]
    assert clients.get(("192.0.2.1", 1)) is None


def test_client_that_is_late_does_not_remove_its_successor() -> None:
    """A port may be used again before the first one is done."""
    clients = ClientTable()
    old: Any = FakeClient("address")
    new: Any = FakeClient("address")
    clients.add(old)
    clients.add(new)
    clients.discard(old)

    assert clients["address"] is new
    assert "address" in clients


def test_state_of_a_client_is_that_of_its_connection(pair: tuple[Client, Peer]) -> None:
    """OPEN in callbacks."""
    assert pair[0].state is State.OPEN
