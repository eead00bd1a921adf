"""``serve_once()``: one client on the calling thread, the rest on another."""

from __future__ import annotations

import queue
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.wire import DEADLINE, Peer, Recorder, ask, make_server
from tests.tools import wait_until
from websock import Client, Opcode, Request, Response, WebSocketServer


@contextmanager
def serving_once(server: WebSocketServer) -> Iterator[threading.Thread]:
    """Serve one client in a thread, which must end with the context."""
    thread = threading.Thread(target=server.serve_once)
    thread.start()
    try:
        assert server.wait_ready(DEADLINE)
        yield thread
        thread.join(DEADLINE)
        assert not thread.is_alive()
    finally:
        if thread.is_alive():
            server.shutdown(0)


def test_whoever_is_refused_is_not_the_one_who_is_served_once(
    recorder: Recorder,
) -> None:
    """``serve_once`` goes on until somebody was let in."""
    gate, asked = threading.Event(), threading.Event()

    def process(client: Client, request: Request) -> Response | None:
        if request.path == "/slow":
            asked.set()
            gate.wait(DEADLINE)
        return None if request.path == "/" else client.respond(403, "no")

    server = make_server(recorder, process_request=process)
    with serving_once(server):
        for _ in range(3):
            assert ask(server, Peer.request("/no"))[0] == 403
        serving = server._serving
        assert serving is not None
        with Peer(server.address) as slow, Peer(server.address) as busy:
            assert wait_until(lambda: len(serving._intake._newcomers) == 2)
            slow.socket.sendall(Peer.request("/slow"))
            assert asked.wait(DEADLINE)
            # It's accepted already, and one is asked at a time.
            busy.socket.sendall(Peer.request())
            assert busy.read_response()[0] == 503
            with Peer(server.address) as next_one:
                next_one.socket.sendall(Peer.request())
                gate.set()
                assert slow.read_response()[0] == 403
                assert "101" in next_one.read_head()
                next_one.send_close()
                assert next_one.closes(1000)


def test_client_gets_pings_and_the_end_while_it_is_served_once(
    recorder: Recorder,
) -> None:
    """``serve_once`` has the same main thread, in a thread of its own."""
    server = make_server(recorder, ping_interval=0.05)
    with serving_once(server), socket.create_connection(server.address) as other:
        with Peer(server.address).open() as peer:
            assert peer.read_frame().opcode == Opcode.PING
            client = recorder.opened.get(timeout=DEADLINE)
            client.close(4000)
            while (frame := peer.read_frame()).opcode == Opcode.PING:
                pass
            assert frame.opcode == Opcode.CLOSE
            peer.send_close(4000)
            assert peer.read_to_end() == b""
        other.settimeout(DEADLINE)
        assert other.recv(1) == b""
    assert recorder.destructed.empty()


@pytest.mark.parametrize(
    "where",
    [
        "process_request",
        "select_subprotocol",
        "on_connection_open",
        "on_data_receive",
        "on_connection_close",
    ],
)
def test_shutdown_on_the_thread_that_serves_once_waits_for_nothing(
    recorder: Recorder, where: str
) -> None:
    """It would wait for itself, and it's that thread that runs hooks and callbacks."""
    returned: queue.Queue[str] = queue.Queue()

    def stop(client: Client, *_: object) -> None:
        client.server.shutdown(None)
        returned.put(where)

    options: dict[str, Any] = {where: stop}
    server = make_server(recorder, **options)
    with serving_once(server), Peer(server.address) as peer:
        peer.socket.sendall(Peer.request())
        if where in ("on_data_receive", "on_connection_close"):
            peer.read_head()
            peer.send("x")
            peer.send_close()
        assert returned.get(timeout=DEADLINE) == where
        peer.read_to_end()


def test_shutdown_in_a_signal_handler_ends_serve_once(recorder: Recorder) -> None:
    """The handler interrupts the thread that it would wait for."""
    server = make_server(recorder)
    returned: list[int] = []

    def handle(number: int, _: object) -> None:
        server.shutdown(None)
        returned.append(number)

    def signal_main_thread() -> None:
        assert server.wait_ready(DEADLINE)
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGUSR1)

    thread = threading.Thread(target=signal_main_thread)
    former = signal.signal(signal.SIGUSR1, handle)
    try:
        thread.start()
        server.serve_once()
    finally:
        signal.signal(signal.SIGUSR1, former)
        thread.join(DEADLINE)
    assert returned == [signal.SIGUSR1]
