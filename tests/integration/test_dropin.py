"""What programs written for websock 1.0.4 rely on, and must find here."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

import websock
from tests.tools import wait_until
from websock import Client, ConnectionClosed, WebSocketServer

from .wire import DEADLINE, Peer, Recorder, make_server, running


def test_program_as_printed_in_the_old_readme_echoes() -> None:
    """Five functions by keyword, host and port by position, ``server.send``."""
    events: list[Any] = []

    def on_data_receive(client: Any, data: str) -> None:
        data += "!"
        server.send(client, data)

    def on_connection_open(client: Any) -> None:
        server.send(client, "Welcome to the echo server!")

    def on_error(exception: Exception) -> None:
        events.append(exception)

    def on_connection_close(client: Any) -> None:
        server.send(client, "Closing socket")
        events.append(client)

    def on_server_destruct() -> None:
        events.append("destruct")

    server = WebSocketServer(
        "127.0.0.1",
        0,
        on_data_receive=on_data_receive,
        on_connection_open=on_connection_open,
        on_error=on_error,
        on_connection_close=on_connection_close,
        on_server_destruct=on_server_destruct,
    )
    with running(server), Peer(server.address).open() as peer:
        assert peer.receive() == "Welcome to the echo server!"
        peer.send("hi")
        assert peer.receive() == "hi!"
        peer.send_close(1000)
        assert peer.receive() == "Closing socket"
        assert peer.closes(1000)

    assert len(events) == 2
    assert events[1] == "destruct"


def test_names_of_the_old_package_are_there() -> None:
    """Both import paths, in either order, and the names of upstream's examples."""
    from websock.WebSocketServer import WebSocketServer as FromModule

    assert FromModule is websock.WebSocketServer
    assert int(websock.FrameType.TEXT) == 1
    assert issubclass(websock.WebSocketInvalidHandshake, Exception)
    assert issubclass(websock.WebSocketInvalidDataFrame, Exception)


def test_a_server_is_made_without_binding() -> None:
    """Upstream's own tests pass None twice; a port in use is no trouble yet."""
    for server in (
        WebSocketServer(None, None),
        WebSocketServer(ip="127.0.0.1", port=1),
        WebSocketServer(host="localhost", port=1),
        WebSocketServer(),
    ):
        assert server.alive
        assert len(server.clients) == 0
        server.server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.close_server()


def test_plain_attributes_are_there() -> None:
    """Programs read and set them."""
    with WebSocketServer("127.0.0.1", 8467) as server:
        assert (server.ip, server.port, server.alive) == ("127.0.0.1", 8467, True)
        assert server.server.getsockname()[1] == 0
        assert server.on_data_receive is None


def test_bind_failure_says_address_in_use() -> None:
    """A program hunts for a free port by ``errno``."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = WebSocketServer("127.0.0.1", taken.getsockname()[1])

        with pytest.raises(OSError) as caught:
            server.serve_forever()

    assert caught.value.errno == errno.EADDRINUSE


def test_restart_on_the_same_port_works_at_once(recorder: Recorder) -> None:
    """Connections in TIME_WAIT don't matter; nor does a new object."""
    server = make_server(recorder)
    with running(server), Peer(server.address).open():
        port = server.address[1]
    for _ in range(2):
        again = WebSocketServer("127.0.0.1", port)
        with running(again), Peer(again.address).open() as peer:
            peer.send("x")
    with running(server):
        assert server.address[1] != 0


def test_open_comes_after_the_101_with_one_stable_object(recorder: Recorder) -> None:
    """The client is a key, is printed, and is the same in every callback."""
    server = make_server(recorder)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        peer.send("x")
        assert recorder.received.get(timeout=DEADLINE) == (client, "x")
        assert server.clients[client.getpeername()] is client
        assert client.getpeername() == peer.socket.getsockname()
        assert client in server.clients
        assert {client: 1}[client] == 1
        assert str(client) == f"127.0.0.1:{peer.socket.getsockname()[1]}"
        peer.reset()
        closed = recorder.closed.get(timeout=DEADLINE)
        assert closed == (client, 1006, "")
        assert client.getpeername()[0] == "127.0.0.1"


def test_plain_get_is_an_error_and_never_opens(recorder: Recorder) -> None:
    """It gets an answer of HTTP, and ``on_error`` once, with the client."""
    server = make_server(recorder)
    with running(server), Peer(server.address) as peer:
        peer.socket.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        status, head, body = peer.read_response()

        error = recorder.errors.get(timeout=DEADLINE)
        assert isinstance(error, websock.WebSocketInvalidHandshake)
        assert error.client.getpeername() == peer.socket.getsockname()  # type: ignore[attr-defined]
        assert status == 426
        assert "Upgrade: websocket" in head
        assert b"WebSocket" in body
    assert recorder.opened.empty()
    assert recorder.closed.empty()


def test_dart_spells_headers_in_lower_case(recorder: Recorder) -> None:
    """And a request may come in two segments."""
    server = make_server(recorder)
    with running(server), Peer(server.address) as peer:
        request = Peer.request().replace(b"Upgrade: websocket", b"upgrade:WebSocket")
        peer.socket.sendall(request[:50])
        peer.socket.sendall(request[50:])
        peer.read_head()
        assert peer.status == 101


def test_close_client_takes_a_client_or_its_address(recorder: Recorder) -> None:
    """Code and reason are on the wire, the farewell before them."""
    server = make_server(recorder)
    server.on_connection_close = lambda client: server.send(client, "farewell")
    with running(server):
        for by_address in (True, False):
            with Peer(server.address).open() as peer:
                client = recorder.opened.get(timeout=DEADLINE)
                server.close_client(
                    client.getpeername() if by_address else client,
                    status_code=1001,
                    app_data="bye",
                )
                assert peer.receive() == "farewell"
                assert peer.read_frame().payload == b"\x03\xe9bye"
        with pytest.raises(KeyError):
            server.close_client(("127.0.0.1", 1))


def test_address_of_somebody_who_left_harms_nobody(recorder: Recorder) -> None:
    """Whoever sends to it is told so, and lives on: it's no mistake of his."""
    server = make_server(recorder)
    with running(server), Peer(server.address).open() as peer:
        with Peer(server.address).open() as other:
            gone = other.socket.getsockname()
            other.send_close()
            assert other.closes(1000)
        assert recorder.closed.get(timeout=DEADLINE)
        assert wait_until(lambda: gone not in server.clients)

        def kick(client: Client, data: str) -> None:
            client.send(data)
            if data == "kick":
                server.close_client(gone)
            server.send(gone, data)

        server.on_data_receive = kick
        for data in ("kick", "tell", "again"):
            peer.send(data)
            assert peer.receive() == data
        for _ in range(3):
            assert isinstance(recorder.errors.get(timeout=DEADLINE), ConnectionClosed)


def test_hard_close_sends_no_frame(recorder: Recorder) -> None:
    """The connection is cut; the callback runs all the same."""
    server = make_server(recorder)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)

        server.close_client(client, hard_close=True)

        assert peer.read_to_end() == b""
        assert recorder.closed.get(timeout=DEADLINE) == (client, 1006, "")


def test_send_all_leaves_the_sender_out_unless_told(recorder: Recorder) -> None:
    """``echo=True`` includes it; a dead peer stops nothing."""
    server = make_server(recorder)
    with running(server), Peer(server.address).open() as one:
        first = recorder.opened.get(timeout=DEADLINE)
        with Peer(server.address).open() as other, Peer(server.address).open() as dead:
            for _ in range(2):
                recorder.opened.get(timeout=DEADLINE)
            dead.reset()
            server.send_all(first, "to the other")
            server.send_all(first, "to all", echo=True)
            server.send_all(None, "to all, too")

            assert one.receive() == "to all"
            assert one.receive() == "to all, too"
            assert [other.receive() for _ in range(3)] == [
                "to the other",
                "to all",
                "to all, too",
            ]


def test_send_to_a_gone_client_raises_oserror(recorder: Recorder) -> None:
    """Threads that send in a loop end that way."""
    server = make_server(recorder)
    with running(server):
        with Peer(server.address).open() as peer:
            client = recorder.opened.get(timeout=DEADLINE)
            peer.send_close()
            assert peer.closes(1000)
        recorder.closed.get(timeout=DEADLINE)
        with pytest.raises(OSError):
            server.send(client, "too late")


def test_callbacks_assigned_later_take_effect(recorder: Recorder) -> None:
    """As attributes of the same names."""
    server = WebSocketServer("127.0.0.1", 0)
    server.on_data_receive = lambda client, data: server.send(client, "old")
    with running(server), Peer(server.address).open() as peer:
        peer.send("x")
        assert peer.receive() == "old"
        server.on_data_receive = lambda client, data: server.send(client, "new")
        peer.send("x")
        assert peer.receive() == "new"
        with pytest.raises(TypeError, match="on_data_receive must be callable"):
            server.on_data_receive = 1  # type: ignore[assignment]


def test_subclass_may_have_callbacks_as_methods() -> None:
    """Passed to the constructor, or just defined."""

    class Echo(WebSocketServer):
        def on_data_receive(self, client: Any, data: str) -> None:
            self.send(client, data)

    class Passing(WebSocketServer):
        def __init__(self) -> None:
            super().__init__("127.0.0.1", 0, on_data_receive=self.shout)

        def shout(self, client: Any, data: str) -> None:
            self.send(client, data.upper())

    for server, answer in ((Echo("127.0.0.1", 0), "x"), (Passing(), "X")):
        with running(server), Peer(server.address).open() as peer:
            peer.send("x")
            assert peer.receive() == answer


def test_recv_in_the_open_callback_reads_the_first_message(recorder: Recorder) -> None:
    """The user's name, for example; the next message goes to the callback."""
    names: list[str | bytes] = []
    server = make_server(recorder)
    server.on_connection_open = lambda client: names.append(server.recv(client))
    with running(server), Peer(server.address).open() as peer:
        peer.send("Ada")
        peer.send("hello")
        assert recorder.received.get(timeout=DEADLINE)[1] == "hello"
        assert names == ["Ada"]


def test_alive_set_to_false_ends_serving(recorder: Recorder) -> None:
    """From another thread, within a second."""
    server = make_server(recorder)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert server.wait_ready(DEADLINE)

    server.alive = False

    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert recorder.destructed.get(timeout=DEADLINE) is None
    assert recorder.destructed.empty()


def test_root_logger_and_folder_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No ``ws.log``, no handler on the root logger, with DEBUG or without."""
    monkeypatch.chdir(tmp_path)
    before = list(logging.root.handlers), logging.root.level
    logger = logging.getLogger("websock")
    level = logger.level
    try:
        server = WebSocketServer("127.0.0.1", 0, DEBUG=True)
        with running(server), Peer(server.address).open() as peer:
            peer.send("x")
        assert logger.level == logging.DEBUG
    finally:
        logger.setLevel(level)

    assert (list(logging.root.handlers), logging.root.level) == before
    assert list(tmp_path.iterdir()) == []


def test_localhost_is_reachable_at_127_0_0_1(recorder: Recorder) -> None:
    """Whatever else the name means."""
    server = WebSocketServer("localhost", 0, **recorder.callbacks())
    with running(server), Peer(("127.0.0.1", server.address[1])).open():
        pass


def test_serve_once_serves_one_on_the_calling_thread(recorder: Recorder) -> None:
    """And may be called again; nobody else is let in meanwhile."""
    threads: list[threading.Thread] = []
    server = make_server(recorder)

    def echo(client: Any, data: str) -> None:
        threads.append(threading.current_thread())
        client.send(data)

    server.on_data_receive = echo
    for _ in range(2):
        caller = threading.Thread(target=server.serve_once)
        caller.start()
        assert server.wait_ready(DEADLINE)
        with Peer(server.address).open() as peer:
            peer.send("x")
            assert peer.receive() == "x"
            with pytest.raises(OSError), Peer(server.address) as other:
                other.open()
            peer.send_close()
            assert peer.closes(1000)
        caller.join(DEADLINE)
        assert threads.pop() is caller
    assert recorder.destructed.empty()
    server.close_server()
    assert recorder.destructed.get(timeout=DEADLINE) is None


def test_ping_is_answered_by_the_peer(recorder: Recorder) -> None:
    """``server.ping(client)`` sends a Ping frame."""
    server = make_server(recorder)
    with running(server), Peer(server.address).open() as peer:
        server.ping(recorder.opened.get(timeout=DEADLINE))
        assert peer.read_frame().opcode == websock.FrameType.PING
