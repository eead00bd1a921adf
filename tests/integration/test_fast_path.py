"""Servers whose plain messages are processed in C, and those that do without.

What callbacks, other threads and peers see is the same; so each test runs both ways.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fake_wire import masked
from tests.linked_wire import PATHS, load, require_link
from tests.tools import wait_until
from websock import Client, ConnectionClosed, Opcode, WebSocketServer, serving

from .wire import DEADLINE, Peer, running


@pytest.fixture(params=PATHS, autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who does the work."""
    if request.param == "core":
        monkeypatch.setattr(serving, "Corks", None)
    else:
        require_link()
    return str(request.param)


def text(*messages: str) -> bytes:
    """Frames of a client."""
    return b"".join(masked(Opcode.TEXT, message.encode()) for message in messages)


def make_server(callback: Any, **options: Any) -> WebSocketServer:
    """Server on a free port of the loopback, without compression."""
    options = {"compression": None, "on_data_receive": callback} | options
    return WebSocketServer("127.0.0.1", 0, **options)


def only_client(server: WebSocketServer) -> Client:
    """Client of the peer that has connected."""
    assert wait_until(lambda: len(server.clients) == 1)
    (client,) = server.clients.values()
    return client


@contextlib.contextmanager
def under_load(server: WebSocketServer) -> Iterator[None]:
    """Let messages be corked, where that is possible."""
    assert server._serving is not None
    corks = server._serving._corks
    with load(corks) if corks is not None else contextlib.nullcontext():
        yield


@pytest.mark.parametrize("loaded", [False, True])
def test_message_leaves_while_its_callback_waits(loaded: bool) -> None:
    """At once, or a few milliseconds later under load: never only at its end."""
    answered = threading.Event()
    ended: queue.Queue[bool] = queue.Queue()

    def callback(client: Client, data: str | bytes) -> None:
        client.send("question")
        ended.put(answered.wait(DEADLINE))

    with (
        running(make_server(callback)) as server,
        Peer(server.address).open() as peer,
        under_load(server) if loaded else contextlib.nullcontext(),
    ):
        for _ in range(5):
            peer.socket.sendall(text("go"))
            assert peer.receive() == "question"
            assert ended.empty()
            answered.set()
            assert ended.get(timeout=DEADLINE)
            answered.clear()


@pytest.mark.parametrize("loaded", [False, True])
def test_shutdown_in_a_callback_comes_behind_its_messages(loaded: bool) -> None:
    """The peer gets them, and then the Close frame."""

    def callback(client: Client, data: str | bytes) -> None:
        client.send("last words")
        server.shutdown()

    server = make_server(callback)
    with (
        running(server),
        Peer(server.address).open() as peer,
        under_load(server) if loaded else contextlib.nullcontext(),
    ):
        peer.socket.sendall(text("stop"))

        assert peer.receive() == "last words"
        assert peer.closes(1001)


def test_messages_leave_in_the_order_of_the_calls() -> None:
    """Of the callback, of broadcasts in it, and of other threads that it asks."""
    peers = 4

    def callback(client: Client, data: str | bytes) -> None:
        client.send("1")
        others = [c for c in server.clients.values() if c is not client]
        server.broadcast("2", exclude=others)
        client.send("3" * 50_000)
        other = threading.Thread(target=client.send, args=("4",))
        other.start()
        other.join(DEADLINE)
        client.send("5", fragment_size=1)
        client.ping(b"6")
        client.send("7")

    server = make_server(callback)
    with running(server), contextlib.ExitStack() as stack:
        all_peers = [
            stack.enter_context(Peer(server.address).open()) for _ in range(peers)
        ]
        stack.enter_context(under_load(server))
        for peer in all_peers:
            peer.socket.sendall(text(*"abc"))
        for peer in all_peers:
            got = [peer.read_frame().payload[:1] for _ in range(7 * 3)]
            assert got == [b"%d" % n for n in range(1, 8)] * 3


@pytest.mark.parametrize("policy", ["drop_newest", "drop_oldest"])
def test_own_messages_are_never_dropped(policy: Any) -> None:
    """Those of send() arrive all, in order, even if broadcasts between them don't."""
    count = 300

    def callback(client: Client, data: str | bytes) -> None:
        for number in range(count):
            client.send(f"{number} " + "x" * 20_000)
            server.broadcast("y" * 20_000)
        client.send("end")

    server = make_server(callback, slow_client=policy, write_limit=100_000)
    with (
        running(server),
        Peer(server.address).open() as peer,
        under_load(server),
    ):
        client = only_client(server)
        peer.socket.sendall(text("go"))
        assert wait_until(lambda: client._connection._outbox.size > 0, DEADLINE)

        got = list(iter(peer.receive, "end"))

        own = [str(message).split()[0] for message in got if message[0] != "y"]
        assert own == [str(number) for number in range(count)]


def test_exceptions_lose_no_message() -> None:
    """With callback_errors="continue", whatever came together."""

    def callback(client: Client, data: str | bytes) -> None:
        client.send(data)
        raise LookupError

    server = make_server(callback, callback_errors="continue")
    with running(server), Peer(server.address).open() as peer:
        peer.socket.sendall(text(*"abc") + masked(Opcode.PING, b"ping"))

        assert [peer.receive() for _ in range(3)] == ["a", "b", "c"]
        assert peer.read_frame().payload == b"ping"


def test_exception_ends_the_delivery() -> None:
    """The connection closes with 1011; what came together isn't delivered."""
    got: list[str | bytes] = []

    def callback(client: Client, data: str | bytes) -> None:
        got.append(data)
        client.send(data)
        raise LookupError

    with (
        running(make_server(callback)) as server,
        Peer(server.address).open() as peer,
    ):
        peer.socket.sendall(text(*"abc"))

        assert peer.receive() == "a"
        assert peer.closes(1011)
    assert got == ["a"]


def test_callbacks_may_change_at_any_time() -> None:
    """Another one, several, none, and one again: the next message goes there."""

    def answer(word: str) -> Any:
        return lambda client, data: client.send(f"{word} {data}")

    server = make_server(answer("first"))
    added = answer("added")
    with running(server), Peer(server.address).open() as peer:
        client = only_client(server)

        def ask(data: str, *answers: str) -> None:
            peer.socket.sendall(text(data))
            assert [peer.receive() for _ in answers] == list(answers)

        ask("a", "first a")
        server.on_data_receive = answer("second")
        ask("b", "second b")
        server.add_callback("on_data_receive", added)
        ask("c", "second c", "added c")
        server.remove_callback("on_data_receive", added)
        server.on_data_receive = None
        peer.socket.sendall(text("nobody's") + masked(Opcode.PING, b"d"))
        assert peer.read_frame().payload == b"d"
        server.on_data_receive = answer("third")
        ask("e", "third e")
        client.close()
        assert peer.closes(1000)


def test_other_threads_may_receive_and_stop_to() -> None:
    """Who waits in recv() gets the next message; then it's the callback's again."""
    server = make_server(lambda client, data: client.send(f"callback {data}"))
    with running(server), Peer(server.address).open() as peer:
        client = only_client(server)
        inbox = client._connection.inbox
        got: queue.Queue[object] = queue.Queue()

        for number in range(3):
            peer.socket.sendall(text(f"{number}"))
            assert peer.receive() == f"callback {number}"
            other = threading.Thread(target=lambda: got.put(client.recv(DEADLINE)))
            other.start()
            assert wait_until(lambda: inbox._receivers == 1)
            # The thread that reads may have asked before who wants messages.
            peer.socket.sendall(text("for recv"))
            assert got.get(timeout=DEADLINE) == "for recv"
            other.join(DEADLINE)

        with pytest.raises(TimeoutError):
            client.recv(0)
        client.abort()
        with pytest.raises(ConnectionClosed):
            client.recv(DEADLINE)


def test_frames_are_logged_when_somebody_wants_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The level may change while the server runs, and back; soon it's obeyed."""
    server = make_server(lambda client, data: client.send(data))
    with running(server), Peer(server.address).open() as peer:

        def logged(data: str) -> list[str]:
            """Lines about a message and its answer."""
            caplog.clear()
            peer.socket.sendall(text(data))
            assert peer.receive() == data
            records = [r for r in caplog.records if r.levelno == logging.DEBUG]
            return [" ".join(r.getMessage().split()[-2:]) for r in records]

        with caplog.at_level(logging.INFO, logger="websock"):
            assert logged("before") == []
            with caplog.at_level(logging.DEBUG, logger="websock"):
                assert wait_until(lambda: bool(logged("x")))
                assert logged("meanwhile") == ["< 'meanwhile'", "> 'meanwhile'"]
            assert wait_until(lambda: not logged("x"))
            assert logged("afterwards") == []


def test_callback_that_replaces_itself_was_called_for_the_last_time() -> None:
    """Also if the next messages came with the one that it got."""
    got: queue.Queue[tuple[str, str | bytes]] = queue.Queue()

    def chat(client: Client, data: str | bytes) -> None:
        got.put(("chat", data))
        server.remove_callback("on_data_receive", chat)
        server.add_callback("on_data_receive", rest)

    def rest(client: Client, data: str | bytes) -> None:
        got.put(("rest", data))

    def login(client: Client, data: str | bytes) -> None:
        got.put(("login", data))
        server.on_data_receive = chat

    server = make_server(login)
    with running(server), Peer(server.address).open() as peer:
        peer.socket.sendall(text("name", "hello", "again", "and again"))

        assert [got.get(timeout=DEADLINE) for _ in range(4)] == [
            ("login", "name"),
            ("chat", "hello"),
            ("rest", "again"),
            ("rest", "and again"),
        ]


def test_nothing_is_delivered_after_a_client_was_cut() -> None:
    """Not even what came with the message whose callback does it."""
    got: queue.Queue[str | bytes | int] = queue.Queue()

    def callback(client: Client, data: str | bytes) -> None:
        got.put(data)
        client.send("last words")
        client.abort()

    server = make_server(
        callback, on_connection_close=lambda client, code: got.put(code)
    )
    with running(server), Peer(server.address).open() as peer:
        peer.socket.sendall(text("one", "two", "three"))

        assert peer.receive() == "last words"
        assert got.get(timeout=DEADLINE) == "one"
        assert got.get(timeout=DEADLINE) == 1006


def test_receiver_gets_what_came_with_the_message_before() -> None:
    """A thread that waits in ``recv()`` goes before the callback."""
    got: queue.Queue[str | bytes] = queue.Queue()

    def callback(client: Client, data: str | bytes) -> None:
        receiver = threading.Thread(target=lambda: got.put(client.recv(DEADLINE)))
        receiver.start()
        assert wait_until(lambda: client._connection.inbox._receivers == 1)

    server = make_server(callback)
    with running(server), Peer(server.address).open() as peer:
        peer.socket.sendall(text("upload", "data"))

        assert got.get(timeout=DEADLINE) == "data"


def test_what_a_callback_has_read_waits_if_others_receive_from_now_on() -> None:
    """The batch ends there, and nothing of it is left for the core."""
    got: queue.Queue[str | bytes] = queue.Queue()

    def receive(client: Client, data: str | bytes) -> None:
        got.put(data)
        if data == "1":
            got.put(client.recv(DEADLINE))
            # As recv() in another thread does, however short it waits.
            with pytest.raises(TimeoutError):
                run_in_thread(lambda: client.recv(0))

    with running(make_server(receive)) as server, Peer(server.address).open() as peer:
        peer.socket.sendall(text("1", "2", "3"))

        assert [got.get(timeout=DEADLINE) for _ in range(3)] == ["1", "2", "3"]


def run_in_thread(function: Callable[[], object]) -> None:
    """Call a function in a thread, and raise what it raises."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(function).result(DEADLINE)
