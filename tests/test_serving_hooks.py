"""Hooks of the application: whatever they return, raise or outlive, there is an end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.wire import (
    DEADLINE,
    Peer,
    Recorder,
    ask,
    fail,
    get,
    is_empty,
    make_server,
    running,
)
from tests.tools import wait_until
from websock import (
    Client,
    Request,
    Response,
    WebSocketServer,
)
from websock import serving as module
from websock.exceptions import InvalidRequest


class Hooked(WebSocketServer):
    """A server with pages of its own."""

    has_slow_responses = True
    quick: Callable[[Request], Response | None]
    slow: Callable[[Request], Response | None]

    def quick_response(self, request: Request) -> Response | None:
        """Answer at once."""
        return self.quick(request)

    def slow_response(self, request: Request) -> Response | None:
        """Answer on a thread of the pool."""
        return self.slow(request)


def hooked(recorder: Recorder) -> Hooked:
    """A server whose pages a test sets."""
    server = Hooked("127.0.0.1", 0, **recorder.callbacks())
    server.quick = server.slow = lambda request: None
    return server


def test_pages_of_a_subclass(recorder: Recorder) -> None:
    """The quick one is asked first; without an answer it's 426."""
    server = hooked(recorder)
    threads: list[str] = []

    def slow(request: Request) -> Response | None:
        threads.append(threading.current_thread().name)
        if request.path == "/bad":
            raise InvalidRequest("not like this")
        return Response(200, {}, "slow") if request.path == "/slow" else None

    server.slow = slow
    server.quick = lambda request: (
        Response(200, {}, "quick") if request.path == "/quick" else None
    )
    with running(server):
        assert ask(server, get("/quick"))[::2] == (200, b"quick")
        assert ask(server, get("/slow"))[::2] == (200, b"slow")
        assert ask(server, get("/bad"))[0] == 400
        assert ask(server, get("/other"))[0] == 426
        assert wait_until(lambda: is_empty(server))
    assert threads == ["websock-http"] * 3


@pytest.mark.parametrize(
    "hook",
    [
        "quick",
        "slow",
    ],
)
def test_page_that_raises_leaves_nobody_hanging(
    recorder: Recorder, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The peer sees an end, the log a traceback, and the server goes on."""
    server = hooked(recorder)
    with running(server):
        setattr(server, hook, fail)
        with Peer(server.address) as peer:
            peer.socket.sendall(get("/"))
            assert b"secret" not in peer.read_to_end()
        assert wait_until(lambda: is_empty(server))
        with Peer(server.address).open():
            pass
    assert caplog.text.count("ZeroDivisionError: secret") == 1


def refusing(value: str) -> Callable[[Client, Request], Response]:
    """Hook that refuses, with a header field that may not be one."""

    def process(client: Client, request: Request) -> Response:
        raise InvalidRequest("secret", headers=[("X-Path", value)])

    return process


def answering(body: Any) -> Callable[[Client, Request], Response]:
    """Hook that answers with a body that may not be one."""

    def process(client: Client, request: Request) -> Response:
        response = client.respond(200, "")
        response.body = body
        return response

    return process


@pytest.mark.parametrize("upgrade", [True, False])
@pytest.mark.parametrize(
    "process", [refusing("caf\u00e9"), refusing("a\r\nB: c"), answering(7.5)]
)
def test_answer_of_a_hook_that_cannot_be_sent_is_500(
    recorder: Recorder, process: Callable[[Client, Request], Response], upgrade: bool
) -> None:
    """On whatever thread it's found out; nothing of it arrives, nothing is left."""
    server = make_server(recorder, process_request=process)
    with running(server):
        status, head, body = ask(server, Peer.request() if upgrade else get("/"))
        assert (status, body) == (500, b"internal error\n")
        assert "secret" not in head
        assert "X-Path" not in head
        assert wait_until(lambda: is_empty(server))
    errors = list(recorder.errors.queue)
    assert isinstance(errors[-1], ValueError | TypeError)


def test_page_that_exits_leaves_nobody_hanging(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread of the pool goes on, and so do pages after it."""
    server = hooked(recorder)

    def leave(request: Request) -> Response:
        if request.path == "/leave":
            raise SystemExit
        return Response(200)

    server.slow = leave
    with running(server):
        for _ in range(20):
            with Peer(server.address) as peer:
                peer.socket.sendall(get("/leave"))
                assert peer.read_to_end() == b""
        assert wait_until(lambda: is_empty(server))
        assert ask(server, get("/"))[0] == 200
    assert caplog.text.count("internal error") == 20


@pytest.mark.parametrize("upgrade", [True, False])
@pytest.mark.parametrize("answer", [True, False])
def test_hook_may_cut_the_connection(
    recorder: Recorder, upgrade: bool, answer: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it returns then: there is nobody to answer, and nothing is left."""

    def process(client: Client, request: Request) -> Response | None:
        if request.path == "/cut":
            client.abort()
            return client.respond(200, "too late") if answer else None
        return None

    server = make_server(recorder, process_request=process)
    with running(server):
        with Peer(server.address) as peer:
            peer.socket.sendall(Peer.request("/cut") if upgrade else get("/cut"))
            assert peer.read_to_end() == b""
        assert wait_until(lambda: is_empty(server))
        with Peer(server.address).open():
            recorder.opened.get(timeout=DEADLINE)
    assert recorder.opened.empty()
    assert "Traceback" not in caplog.text


def test_hook_may_close_the_connection(recorder: Recorder) -> None:
    """The opening handshake is done first, so that the code arrives."""

    def process(client: Client, request: Request) -> None:
        client.close(4000, "later")

    server = make_server(recorder, process_request=process)
    with running(server), Peer(server.address).open() as peer:
        assert peer.closes(4000, "later")


def test_hook_that_outlives_its_server(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds its connection cut, and its thread ends without a word."""
    monkeypatch.setattr(module, "LAST_WORDS", 0.1)
    gate = threading.Event()
    threads: queue.Queue[threading.Thread] = queue.Queue()

    def process(client: Client, request: Request) -> None:
        threads.put(threading.current_thread())
        gate.wait(DEADLINE)

    server = make_server(recorder, process_request=process)
    with running(server), Peer(server.address) as peer:
        peer.socket.sendall(Peer.request())
        thread = threads.get(timeout=DEADLINE)
        server.shutdown(0.1)
        assert peer.read_to_end() == b""
        gate.set()
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert recorder.opened.empty()
