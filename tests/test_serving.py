"""The main thread of a server: who is let in, who is thrown out, and when."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from tests.integration.wire import (
    DEADLINE,
    Peer,
    Recorder,
    ask,
    fail,
    get,
    make_server,
    running,
)
from tests.tools import wait_until
from websock import (
    Client,
    Frame,
    Opcode,
    Request,
    Response,
    State,
    WebSocketServer,
    client_of,
)
from websock import serving as module
from websock.pool import Pool
from websock.server import ALIVE_TIMEOUT
from websock.serving import ClientThread, Serving

# No threads.


def test_no_thread_to_be_had_is_503(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line in the log, others live on, and it goes on by itself (E13)."""
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if isinstance(thread, ClientThread):
            raise RuntimeError("can't start new thread")
        start(thread)

    server = make_server(recorder, max_connections=2)
    with running(server), Peer(server.address).open() as peer:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            for _ in range(3):
                status, head, body = ask(server, Peer.request())
                assert (status, body) == (503, b"this server has no thread to spare\n")
                assert "\r\nRetry-After: " in head
        peer.send("still here")
        assert recorder.received.get(timeout=DEADLINE)[1] == "still here"
        # Those who weren't let in don't count.
        with Peer(server.address).open():
            pass
    assert caplog.text.count("no thread to be had for 127.0.0.1:") == 3
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("hook", ["process_request", "slow_response"])
def test_full_pool_is_503(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, hook: str
) -> None:
    """Slow pages cost WebSockets nothing, and those that wait are answered."""
    monkeypatch.setattr(
        module, "Pool", lambda logger, **_: Pool(logger, max_threads=1, max_jobs=1)
    )
    gate, started = threading.Event(), threading.Event()

    def answer(*args: object) -> Response:
        started.set()
        gate.wait(DEADLINE)
        return Response(200, {}, "slow")

    server: WebSocketServer
    if hook == "process_request":

        def process(client: Client, request: Request) -> Response | None:
            return answer() if request.path == "/slow" else None

        server = make_server(recorder, process_request=process)
    else:

        class Slow(WebSocketServer):
            has_slow_responses = True

            def slow_response(self, request: Request) -> Response | None:
                return answer()

        server = Slow("127.0.0.1", 0, on_connection_open=recorder.opened.put)
    with running(server), Peer(server.address) as one, Peer(server.address) as two:
        one.socket.sendall(get("/slow"))
        assert started.wait(DEADLINE)
        two.socket.sendall(get("/slow"))
        serving = server._serving
        assert serving is not None
        assert wait_until(lambda: len(serving._pool._jobs) == 1)
        status, _, body = ask(server, get("/slow"))
        assert (status, body) == (503, b"this server is busy\n")
        with Peer(server.address).open():
            recorder.opened.get(timeout=DEADLINE)
        gate.set()
        assert one.read_response()[::2] == (200, b"slow")
        assert two.read_response()[::2] == (200, b"slow")


def test_health_check_waits_for_nobody(recorder: Recorder) -> None:
    """The main thread answers, while slow pages have all the threads of the pool."""
    gate = threading.Event()
    threads: queue.Queue[threading.Thread] = queue.Queue()

    def process(client: Client, request: Request) -> Response:
        threads.put(threading.current_thread())
        gate.wait(DEADLINE)
        return client.respond(401, "who are you?")

    server = make_server(recorder, process_request=process)
    with running(server), contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(20)]
        for peer in peers:
            peer.socket.sendall(get("/slow"))
        for _ in range(8):
            threads.get(timeout=DEADLINE)
        serving = server._serving
        assert serving is not None
        assert wait_until(lambda: len(serving._pool._jobs) == 12)
        assert ask(server, get("/healthz"))[::2] == (200, b"ok\n")
        assert ask(server, get("/healthz?probe=1"))[::2] == (200, b"ok\n")
        gate.set()
        for peer in peers:
            assert peer.read_response()[0] == 401


# The closing handshake.


def test_callback_that_hangs_at_the_end(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer gets its answer by ``close_timeout``, and soon the end (E10)."""
    monkeypatch.setattr(module, "LAST_WORDS", 0.1)
    gate = threading.Event()

    def hang(client: Client, code: int, reason: str) -> None:
        recorder.closed.put((client, code, reason))
        gate.wait(DEADLINE)

    server = make_server(recorder, on_connection_close=hang, close_timeout=0.1)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        before = monotonic()
        peer.send_close(4000, "bye")
        assert peer.read_close() == (4000, "bye")
        assert monotonic() - before >= 0.09
        assert peer.read_to_end() == b""
        assert wait_until(lambda: client.state is State.CLOSED)
        assert recorder.closed.get(timeout=DEADLINE) == (client, 4000, "bye")
        assert client.fileno() >= 0
        gate.set()
        assert wait_until(lambda: client.fileno() == -1)
    assert recorder.closed.empty()


@pytest.mark.parametrize("how", ["silent", "talks"])
def test_peer_that_never_answers_our_close(recorder: Recorder, how: str) -> None:
    """It is cut at ``close_timeout``, whether it goes on sending or not (7.1.1)."""
    server = make_server(recorder, close_timeout=0.2)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        client.close(4000)
        assert peer.read_close()[0] == 4000
        if how == "talks":
            with pytest.raises(OSError):
                while True:
                    peer.send("still here")
        assert wait_until(lambda: client.fileno() == -1)
        assert recorder.closed.get(timeout=DEADLINE)[1] == 4000
        assert recorder.received.empty()


@pytest.mark.parametrize("how", ["refused", "closed", "refused late"])
def test_stop_waits_for_no_peer_that_has_said_its_last_word(
    recorder: Recorder, how: str
) -> None:
    """It keeps TCP open, and whoever stops the server needn't wait for that."""
    gate, asked = threading.Event(), threading.Event()

    def process(client: Client, request: Request) -> Response | None:
        if how == "closed":
            return None
        asked.set()
        gate.wait(DEADLINE)
        return client.respond(403, "no")

    server = make_server(recorder, close_timeout=None, process_request=process)
    with running(server), Peer(server.address) as peer:
        peer.socket.sendall(Peer.request())
        stopping = threading.Thread(target=server.shutdown, args=(None,))
        if how == "closed":
            peer.read_head()
            peer.send_close()
            assert peer.closes(1000)
        else:
            assert asked.wait(DEADLINE)
            if how == "refused late":
                stopping.start()
                serving = server._serving
                assert wait_until(lambda: not serving._listeners)  # type: ignore[union-attr]
            gate.set()
            assert peer.read_response()[0] == 403
        if how != "refused late":
            stopping.start()
        stopping.join(DEADLINE)
        assert not stopping.is_alive()


def test_no_close_timeout_waits_for_the_peer(recorder: Recorder) -> None:
    """``close_timeout=None`` is the application's decision; the end still counts."""
    server = make_server(recorder, close_timeout=None)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        client.close(4000)
        assert peer.read_close()[0] == 4000
        recorder.closed.get(timeout=DEADLINE)
        serving = server._serving
        assert serving is not None
        assert serving._ends == {}
        peer.send_close(4000)
        assert peer.read_to_end() == b""
        peer.socket.close()
        assert wait_until(lambda: client.fileno() == -1)


def test_peer_that_floods_after_the_close_delays_nobody(recorder: Recorder) -> None:
    """It is drained in turns with everybody else (E3)."""
    server = make_server(recorder, max_size=10, close_timeout=5)
    junk = b"\0" * 2**22
    stop = threading.Event()

    def flood() -> None:
        with Peer(server.address).open() as peer:
            peer.socket.sendall(b"\x82\x8b")
            try:
                while not stop.is_set():
                    peer.socket.sendall(junk)
            except OSError:
                pass

    with running(server):
        flooder = threading.Thread(target=flood)
        flooder.start()
        recorder.opened.get(timeout=DEADLINE)
        recorder.closed.get(timeout=DEADLINE)
        for _ in range(10):
            with Peer(server.address).open() as peer:
                peer.send_close()
                assert peer.read_close()[0] == 1000
        stop.set()
        flooder.join(DEADLINE)
        assert not flooder.is_alive()


# Cutting, and what else comes too late.


def test_late_requests_of_released_clients_are_ignored(recorder: Recorder) -> None:
    """Threads may ask for what the main thread has done already."""
    server = make_server(recorder)
    with running(server):
        with Peer(server.address).open() as peer:
            client = recorder.opened.get(timeout=DEADLINE)
            peer.send_close()
            assert peer.closes(1000)
        assert wait_until(lambda: client.fileno() == -1)
        serving = server._serving
        assert serving is not None
        done = threading.Event()
        serving.flush_later(client._connection)
        serving.expect_end(client._connection)
        serving.retire(client._connection)
        serving._loop.call_soon(done.set)
        assert done.wait(DEADLINE)
        assert serving._ends == {}
        assert serving._retired == set()


def test_stop_counts_once(recorder: Recorder) -> None:
    """The first deadline and code, whoever comes second."""
    server = make_server(recorder)
    with running(server), Peer(server.address).open() as peer:
        serving = server._serving
        assert serving is not None
        threads = [
            threading.Thread(
                target=server.shutdown, kwargs={"timeout": 10, "code": code}
            )
            for code in (4001, 4001)
        ]
        for thread in threads:
            thread.start()
        assert peer.closes(4001)
        peer.socket.close()
        for thread in threads:
            thread.join(DEADLINE)


def test_shutdown_without_a_timeout_waits_for_the_closing_handshakes(
    recorder: Recorder,
) -> None:
    """As long as ``close_timeout`` lets it."""
    server = make_server(recorder, close_timeout=0.2)
    with running(server), Peer(server.address).open() as peer:
        recorder.opened.get(timeout=DEADLINE)
        server.shutdown(None)
        assert peer.closes(1001)


def test_last_words_of_a_busy_client_come_before_the_deadline(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Close frame is out before the cut, which waits for the test to read it."""
    gate, busy, read = threading.Event(), threading.Event(), threading.Event()
    seen: list[bool] = []
    cut_all = Serving._cut_all

    def cut(serving: Serving) -> None:
        seen.append(read.wait(DEADLINE))
        cut_all(serving)

    def hang(client: Client, data: object) -> None:
        busy.set()
        gate.wait(3 * DEADLINE)

    monkeypatch.setattr(Serving, "_cut_all", cut)
    server = make_server(recorder, on_data_receive=hang)
    with running(server), Peer(server.address).open() as peer:
        peer.send("x")
        assert busy.wait(DEADLINE)
        stopper = threading.Thread(target=server.shutdown, args=(0.1,))
        stopper.start()
        assert peer.read_close() == (1001, "")
        read.set()
        assert peer.read_to_end() == b""
        stopper.join(DEADLINE)
        assert not stopper.is_alive()
        gate.set()
    assert seen == [True]


@pytest.mark.parametrize("how", ["shutdown", "alive"])
def test_stop_waits_no_longer_than_it_was_told_for_a_busy_client(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """However long last words may take otherwise."""
    monkeypatch.setattr(module, "LAST_WORDS", 3600)
    gate, busy = threading.Event(), threading.Event()

    def hang(client: Client, data: object) -> None:
        busy.set()
        gate.wait()

    server = make_server(recorder, on_data_receive=hang)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert server.wait_ready(DEADLINE)
    with Peer(server.address).open() as peer:
        peer.send("x")
        assert busy.wait(DEADLINE)
        if how == "shutdown":
            server.shutdown(0)
        else:
            server.alive = False
        thread.join(DEADLINE)
        ended = not thread.is_alive()
        left = len(server.clients)
        gate.set()
        thread.join(DEADLINE)
    assert ended
    # Whoever looks at the table now sees nobody, though a callback still runs.
    assert left == 0
    assert ALIVE_TIMEOUT + 2 * module.TOLERANCE <= 1


def test_internal_error_of_the_main_thread_is_one_connection_s_bad_luck(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged; the connection is closed, and the server goes on."""
    server = make_server(recorder)
    with running(server):
        with monkeypatch.context() as patch:
            patch.setattr(module, "check_origin", fail)
            with Peer(server.address) as peer:
                peer.socket.sendall(Peer.request())
                assert peer.read_to_end() == b""
        with Peer(server.address).open():
            pass
    assert caplog.text.count("ZeroDivisionError: secret") == 1
    assert "internal error" in caplog.text


def test_descriptor_is_closed_by_its_owner_alone(recorder: Recorder) -> None:
    """Cutting a client whose callback runs doesn't free the number for another."""
    gate, inside = threading.Event(), threading.Event()

    def hang(client: Client, data: object) -> None:
        inside.set()
        gate.wait(DEADLINE)

    server = make_server(recorder, on_data_receive=hang)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        peer.send("x")
        assert inside.wait(DEADLINE)
        server.close_client(client, hard_close=True)
        assert peer.read_to_end() == b""
        number = client.fileno()
        assert os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
        gate.set()
        assert wait_until(lambda: client.fileno() == -1)
        assert recorder.closed.get(timeout=DEADLINE)[1] == 1006


def test_log_tells_where_the_server_listens(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """And that it has stopped, and that a callback hasn't."""
    with caplog.at_level(logging.INFO, "websock"), running(make_server(recorder)) as s:
        host, port = s.address
    lines = [r.getMessage() for r in caplog.records if r.name == "websock.server"]
    assert lines == [f"listening on {host}:{port}", "stopped"]


def noting(recorder: Recorder) -> tuple[dict[str, Any], queue.Queue[Any]]:
    """Callbacks for Pings and Pongs, and what they note."""
    events: queue.Queue[Any] = queue.Queue()

    def note(event: str) -> Callable[..., None]:
        return lambda client, payload: events.put(
            (event, client, payload, threading.current_thread().name)
        )

    return {
        "on_ping_send": note("ping"),
        "on_pong_receive": note("pong"),
    }, events


def test_pings_and_their_answers_are_told(recorder: Recorder) -> None:
    """Each in its thread; a Pong that answers nothing isn't."""
    options, events = noting(recorder)
    server = make_server(recorder, **options)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        peer.send_frame(Frame(Opcode.PONG, b"unasked"))
        client.ping(b"payload")
        here = threading.current_thread().name
        assert events.get(timeout=DEADLINE) == ("ping", client, b"payload", here)
        assert peer.read_frame().payload == b"payload"
        peer.send_frame(Frame(Opcode.PONG, b"payload"))
        assert events.get(timeout=DEADLINE) == ("pong", client, b"payload", client.name)
        assert client.latency is not None
        peer.send_frame(Frame(Opcode.PONG, b"payload"))
        peer.send("last")
        recorder.received.get(timeout=DEADLINE)
        assert events.empty()


def test_pings_of_the_server_delay_nobody(recorder: Recorder) -> None:
    """Their callback may block: it isn't the main thread that runs it."""
    gate, blocked = threading.Event(), threading.Event()

    def block(client: Client, payload: bytes) -> None:
        blocked.set()
        gate.wait(DEADLINE)

    server = make_server(recorder, ping_interval=0.05, on_ping_send=block)
    with running(server), Peer(server.address).open() as peer:
        assert peer.read_frame().opcode == Opcode.PING
        assert blocked.wait(DEADLINE)
        with Peer(server.address).open():
            pass
        gate.set()


@pytest.mark.parametrize("event", ["on_ping_send", "on_pong_receive"])
@pytest.mark.parametrize("policy", ["close", "continue"])
def test_exception_about_a_ping_is_one_like_others(
    recorder: Recorder, event: str, policy: str
) -> None:
    """It's told, and ends the client if ``callback_errors`` says so."""
    server = make_server(recorder, callback_errors=policy, **{event: fail})
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        client.ping(b"p")
        assert peer.read_frame().payload == b"p"
        peer.send_frame(Frame(Opcode.PONG, b"p"))
        error = recorder.errors.get(timeout=DEADLINE)
        assert isinstance(error, ZeroDivisionError)
        assert client_of(error) is client
        if policy == "close":
            assert peer.closes(1011)
        else:
            peer.send("x")
            assert recorder.received.get(timeout=DEADLINE) == (client, "x")


def test_log_counts_the_time_from_the_connection_on(
    recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """What a peer needs for its request is part of it."""
    with (
        caplog.at_level(logging.INFO, "websock.access"),
        running(make_server(recorder, open_timeout=0.2)) as server,
    ):
        assert ask(server, b"GET / HT")[0] == 408
        assert wait_until(lambda: bool(caplog.records))
    (line,) = (r.getMessage() for r in caplog.records if r.name == "websock.access")
    found = re.search(r" 408 ([\d.]+) s ", line)
    assert found
    assert float(found[1]) >= 0.2


def test_slow_on_error_loses_calls_only_with_a_word(
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Refusals go on meanwhile; the log says that calls were left out, and how many."""
    monkeypatch.setattr(
        module, "Pool", lambda logger, **_: Pool(logger, max_threads=1, max_jobs=1)
    )
    gate, called = threading.Event(), threading.Semaphore(0)

    def hang(error: BaseException) -> None:
        called.release()
        gate.wait(DEADLINE)

    with running(make_server(recorder, on_error=hang)) as server:
        assert ask(server, b"x\r\n")[0] == 400
        assert called.acquire(timeout=DEADLINE)
        for _ in range(4):
            assert ask(server, b"x\r\n")[0] == 400
        assert caplog.text.count("on_error or on_ping_send is too slow") == 1
        gate.set()
        assert called.acquire(timeout=DEADLINE)
        serving = server._serving
        assert serving is not None
        assert wait_until(lambda: not serving._notices._jobs)
        assert ask(server, b"x\r\n")[0] == 400
        assert called.acquire(timeout=DEADLINE)
    assert "calls that were left out: 3" in caplog.text
