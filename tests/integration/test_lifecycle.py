"""Starting, stopping, and stopping while something hangs."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest

from tests.tools import ROOT, wait_until
from websock import Client, ConnectionClosed, WebSocketServer

from .wire import DEADLINE, Peer, Recorder, make_server, running


def test_close_server_says_goodbye_and_ends(recorder: Recorder) -> None:
    """Close frames for all, each callback once, no thread left, the port free."""
    server = make_server(recorder)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    assert server.wait_ready(DEADLINE)
    peers = [Peer(server.address).open() for _ in range(5)]
    clients = {recorder.opened.get(timeout=DEADLINE) for _ in peers}

    closing = threading.Thread(target=server.close_server, args=(1012, "restart"))
    closing.start()

    for peer in peers:
        assert peer.read_close() == (1012, "restart")
        peer.send_close(1012)
        assert peer.read_to_end() == b""
        peer.socket.close()
    closing.join(DEADLINE)
    serving.join(DEADLINE)
    assert not serving.is_alive()
    assert {recorder.closed.get(timeout=DEADLINE)[0] for _ in peers} == clients
    assert recorder.destructed.get(timeout=DEADLINE) is None
    assert recorder.closed.empty()
    assert recorder.destructed.empty()
    assert not server.alive
    with socket.create_server(server.address):
        pass


def test_serve_forever_may_be_called_again(recorder: Recorder) -> None:
    """A server that was stopped starts afresh; twice at once is an error."""
    server = make_server(recorder)
    for _ in range(3):
        with running(server), Peer(server.address).open() as peer:
            assert server.alive
            with pytest.raises(RuntimeError, match="already"):
                server.serve_forever()
            peer.send("x")
            recorder.received.get(timeout=DEADLINE)
        assert recorder.destructed.get(timeout=DEADLINE) is None


def test_closing_a_server_that_never_ran(recorder: Recorder) -> None:
    """``on_server_destruct`` runs once, however often it's closed."""
    server = make_server(recorder)

    server.close_server()
    server.close_server()
    server.shutdown()

    assert recorder.destructed.get(timeout=DEADLINE) is None
    assert recorder.destructed.empty()
    assert not server.alive


STOPS: dict[str, Callable[[WebSocketServer], None]] = {
    "shutdown": WebSocketServer.shutdown,
    "close_server": WebSocketServer.close_server,
    "alive": lambda server: setattr(server, "alive", False),
}


@pytest.mark.parametrize("serve", ["serve_forever", "serve_once"])
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("ran_before", [False, True])
def test_stop_counts_for_a_thread_that_is_about_to_serve(
    recorder: Recorder, serve: str, stop: str, ran_before: bool
) -> None:
    """However long it takes to come to it; a thread that is started later serves."""
    server = make_server(recorder)
    if ran_before:
        with running(server):
            pass
        recorder.destructed.get(timeout=DEADLINE)
    gate = threading.Event()

    def late() -> None:
        gate.wait(DEADLINE)
        getattr(server, serve)()

    thread = threading.Thread(target=late)
    thread.start()
    STOPS[stop](server)
    gate.set()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert not server.alive
    if not ran_before and (stop != "alive" or serve == "serve_forever"):
        assert recorder.destructed.get(timeout=DEADLINE) is None
    assert recorder.destructed.empty()

    with running(server), Peer(server.address).open():
        recorder.opened.get(timeout=DEADLINE)
    assert recorder.destructed.get(timeout=DEADLINE) is None


@pytest.mark.parametrize("stop", STOPS)
def test_stop_right_after_the_start_of_the_thread(
    recorder: Recorder, stop: str
) -> None:
    """Whichever of both comes first, no server is left running."""
    for _ in range(30):
        server = make_server(recorder)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        STOPS[stop](server)
        thread.join(DEADLINE)
        assert not thread.is_alive()
        assert recorder.destructed.get(timeout=DEADLINE) is None
    assert recorder.destructed.empty()


def test_stop_of_one_that_does_not_serve_is_no_promise(recorder: Recorder) -> None:
    """The calling thread may serve, and so may one that has served before."""
    server = make_server(recorder)
    jobs: queue.Queue[bool] = queue.Queue()

    def work() -> None:
        while jobs.get(timeout=DEADLINE):
            server.serve_forever()

    worker = threading.Thread(target=work)
    worker.start()
    for _ in range(3):
        jobs.put(True)
        assert server.wait_ready(DEADLINE)
        server.shutdown()
        server.shutdown()
        recorder.destructed.get(timeout=DEADLINE)
    jobs.put(False)
    worker.join(DEADLINE)

    server.shutdown()

    def stop() -> None:
        if server.wait_ready(DEADLINE):
            server.shutdown()

    stopper = threading.Thread(target=stop)
    stopper.start()
    server.serve_forever()
    stopper.join(DEADLINE)
    assert recorder.destructed.get(timeout=DEADLINE) is None


def test_stop_listening_counts_for_a_thread_that_is_about_to_serve(
    recorder: Recorder,
) -> None:
    """It lets nobody in, and serves until it's stopped; the next one lets all in."""
    server = make_server(recorder)
    gate = threading.Event()

    def late() -> None:
        gate.wait(DEADLINE)
        server.serve_forever()

    thread = threading.Thread(target=late)
    thread.start()
    server.stop_listening()
    gate.set()
    assert server.wait_ready(DEADLINE)

    def refuses() -> bool:
        try:
            with Peer(server.address) as peer:
                return peer.read_to_end() == b""
        except OSError:
            return True

    for _ in range(10):
        assert refuses()
    assert thread.is_alive()
    server.shutdown()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    with running(server), Peer(server.address).open():
        recorder.opened.get(timeout=DEADLINE)


def test_context_manager_stops_the_server(recorder: Recorder) -> None:
    """Leaving the block is enough."""
    with make_server(recorder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert server.wait_ready(DEADLINE)
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_wrong_close_code_leaves_the_server_running(recorder: Recorder) -> None:
    """The mistake is the caller's to hear of."""
    with running(make_server(recorder)) as server:
        with pytest.raises(Exception, match="close code 1006"):
            server.close_server(1006)
        with Peer(server.address).open():
            pass


def test_stop_listening_keeps_who_is_there(recorder: Recorder) -> None:
    """Nobody new, and no harm to the others."""
    with (
        running(make_server(recorder)) as server,
        Peer(server.address).open() as peer,
    ):
        recorder.opened.get(timeout=DEADLINE)
        server.stop_listening()

        def refused() -> bool:
            try:
                Peer(server.address).socket.close()
            except ConnectionRefusedError:
                return True
            except ConnectionResetError:
                # It was in the queue when the socket was closed.
                pass
            return False

        assert wait_until(refused)
        peer.send("still here")
        assert recorder.received.get(timeout=DEADLINE)[1] == "still here"


def test_shutdown_cuts_who_does_not_answer(recorder: Recorder) -> None:
    """By its deadline, and the callbacks run all the same (E11)."""
    server = make_server(recorder)
    with running(server), Peer(server.address).open() as peer:
        recorder.opened.get(timeout=DEADLINE)
        before = monotonic()

        server.shutdown(0.2)

        assert monotonic() - before < DEADLINE / 4
        assert peer.read_close() == (1001, "")
        assert recorder.closed.get(timeout=DEADLINE)[1] == 1001


def test_shutdown_does_not_wait_for_a_callback_that_hangs(recorder: Recorder) -> None:
    """Its thread is a daemon, and finds its connection closed (E10)."""
    server = make_server(recorder)
    release = threading.Event()
    ended = threading.Event()
    failures: list[BaseException] = []

    started = threading.Event()

    def hang(client: Client, data: str | bytes) -> None:
        started.set()
        release.wait(DEADLINE)
        try:
            client.send("x")
        except ConnectionClosed as error:
            failures.append(error)
        ended.set()

    server.on_data_receive = hang
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    assert server.wait_ready(DEADLINE)
    with Peer(server.address).open() as peer:
        peer.send("x")
        client = recorder.opened.get(timeout=DEADLINE)
        assert started.wait(DEADLINE)
        (thread,) = [t for t in threading.enumerate() if t.name == client.name]

        server.shutdown(0.2)

        serving.join(DEADLINE)
        assert not serving.is_alive()
        assert peer.read_close() == (1001, "")
        assert peer.read_to_end() == b""
        assert recorder.destructed.get(timeout=DEADLINE) is None
        release.set()
        assert ended.wait(DEADLINE)
        assert len(failures) == 1
        thread.join(DEADLINE)
        assert recorder.closed.get(timeout=DEADLINE)[0] is client
        assert client.fileno() == -1


@pytest.mark.parametrize("method", ["shutdown", "close_server"])
def test_a_callback_may_stop_the_server(recorder: Recorder, method: str) -> None:
    """It can't wait for itself, so that the call returns at once (E12)."""
    server = make_server(recorder)
    server.on_data_receive = lambda client, data: getattr(server, method)()
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    assert server.wait_ready(DEADLINE)
    with Peer(server.address).open() as peer:
        peer.send("stop")
        assert peer.closes(1001)
    serving.join(DEADLINE)
    assert not serving.is_alive()


def test_many_may_stop_the_server_at_once(recorder: Recorder) -> None:
    """Each call returns when it's over (E12)."""
    server = make_server(recorder)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    assert server.wait_ready(DEADLINE)
    with Peer(server.address).open():
        stoppers = [threading.Thread(target=server.shutdown) for _ in range(5)]
        for stopper in stoppers:
            stopper.start()
    for thread in (*stoppers, serving):
        thread.join(DEADLINE)
        assert not thread.is_alive()
    assert recorder.destructed.get(timeout=DEADLINE) is None
    assert recorder.destructed.empty()


def test_shutdown_during_handshakes(recorder: Recorder) -> None:
    """Half a request, and a silent peer, are dropped (E12)."""
    server = make_server(recorder)
    with running(server), Peer(server.address) as half, Peer(server.address) as silent:
        half.socket.sendall(b"GET / HT")
        with Peer(server.address).open():
            server.shutdown(0.2)
        assert half.read_to_end() == b""
        assert silent.read_to_end() == b""


def test_all_callbacks_of_a_client_run_on_one_thread(recorder: Recorder) -> None:
    """Also the close callback, whoever closes; its name is that of the client."""
    threads: list[threading.Thread] = []
    server = make_server(recorder)
    server.add_callback(
        "on_connection_open", lambda client: threads.append(threading.current_thread())
    )
    server.add_callback(
        "on_data_receive", lambda *args: threads.append(threading.current_thread())
    )
    server.add_callback(
        "on_connection_close", lambda *args: threads.append(threading.current_thread())
    )
    with running(server), Peer(server.address).open() as peer:
        peer.send("x")
        client = recorder.received.get(timeout=DEADLINE)[0]
        server.close_client(client)
        assert peer.read_close() == (1000, "")
        peer.send_close()
        assert peer.read_to_end() == b""
        assert wait_until(lambda: len(threads) == 3)
        assert len(set(threads)) == 1
        assert threads[0].name == f"websock-{client.id}"
        assert threads[0] is not threading.current_thread()


def test_silent_connections_cost_no_thread(recorder: Recorder) -> None:
    """Only a complete request starts one (A4)."""
    with running(make_server(recorder)) as server:
        before = threading.active_count()
        silent = [socket.create_connection(server.address) for _ in range(200)]
        with Peer(server.address).open() as peer:
            peer.send("x")
            recorder.received.get(timeout=DEADLINE)
            assert threading.active_count() == before + 1
        for sock in silent:
            sock.close()


PROGRAM = """
import signal, sys
from websock import WebSocketServer

server = WebSocketServer(
    "127.0.0.1", 0,
    on_connection_open=lambda client: print("open", flush=True),
    on_connection_close=lambda client, code, reason: print("close", code, flush=True),
    on_server_destruct=lambda: print("destruct", flush=True),
)
import threading
def tell():
    server.wait_ready(10)
    print(server.address[1], flush=True)
threading.Thread(target=tell).start()
before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
try:
    getattr(server, sys.argv[1])()
except KeyboardInterrupt:
    print("interrupted", flush=True)
assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
print("threads", threading.active_count(), flush=True)
"""


@pytest.mark.parametrize(
    ("method", "after"), [("serve_forever", ["destruct"]), ("serve_once", [])]
)
@pytest.mark.parametrize(
    ("number", "last"), [(signal.SIGTERM, []), (signal.SIGINT, ["interrupted"])]
)
def test_signal_ends_a_script_in_order(
    number: int, last: list[str], method: str, after: list[str]
) -> None:
    """1001 to all, callbacks, ``on_server_destruct``; status 0, no thread left."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, method],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with Peer(("127.0.0.1", port)).open() as peer:
            assert process.stdout.readline() == "open\n"
            process.send_signal(number)
            assert peer.closes(1001)
        output = process.stdout.read().split("\n")
        assert process.wait(DEADLINE) == 0
    assert output == ["close 1001", *after, *last, "threads 1", ""]


SIGNALLED = """
import signal, threading
from websock import WebSocketServer

server = WebSocketServer("127.0.0.1", 0)

def signal_itself():
    server.wait_ready(10)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=signal_itself).start()
server.serve_forever()
print("returned", flush=True)
"""


def test_signal_that_another_thread_gets_is_not_lost() -> None:
    """The kernel may choose any thread; the main one must wake up all the same."""
    with subprocess.Popen(
        [sys.executable, "-c", SIGNALLED],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        output, _ = process.communicate(timeout=DEADLINE)
    assert (output, process.returncode) == ("returned\n", 0)


def test_unix_socket_is_served_and_removed(recorder: Recorder, tmp_path: Path) -> None:
    """Also when a dead server has left its file behind."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = WebSocketServer(unix=path, **recorder.callbacks())
    with running(server), Peer(str(path), family=socket.AF_UNIX).open() as peer:
        peer.send("x")
        client = recorder.received.get(timeout=DEADLINE)[0]
        assert client.getpeername() == ("unix", client.id)
        assert server.clients[client.address] is client
        client.close(4000, "bye")
        assert peer.closes(4000, "bye")
    assert not path.exists()


def test_unix_peer_may_still_send_when_the_server_closes(
    recorder: Recorder, tmp_path: Path
) -> None:
    """Its answer to the Close frame must not fail."""
    path = tmp_path / "socket"
    server = WebSocketServer(unix=path, **recorder.callbacks())
    address = str(path)
    with (
        running(server),
        Peer(address, family=socket.AF_UNIX).open() as one,
        Peer(address, family=socket.AF_UNIX) as other,
    ):
        client = recorder.opened.get(timeout=DEADLINE)
        other.open()
        recorder.opened.get(timeout=DEADLINE)
        client.close()
        assert one.read_close() == (1000, "")
        one.send("late")
        one.send_close()
        assert one.read_to_end() == b""
        other.send("still here")
        assert recorder.received.get(timeout=DEADLINE)[1] == "still here"


def test_ready_socket_is_listened_on(recorder: Recorder) -> None:
    """``sock=`` takes what is bound already."""
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    server = WebSocketServer(sock=sock, **recorder.callbacks())
    with running(server), Peer(("127.0.0.1", port)).open():
        assert server.address == ("127.0.0.1", port)


SYSTEMD = """
import os, socket, sys
from websock import WebSocketServer
passed = socket.create_server(("127.0.0.1", 0))
os.dup2(passed.fileno(), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
server = WebSocketServer("127.0.0.1", 1, on_connection_open=lambda c: server.shutdown())
import threading
def tell():
    server.wait_ready(10)
    assert server.address == passed.getsockname()
    print(server.address[1], flush=True)
threading.Thread(target=tell).start()
server.serve_forever()
assert "LISTEN_FDS" not in os.environ
"""


def test_socket_of_systemd_is_taken() -> None:
    """LISTEN_FDS, meant for this process, goes before host and port."""
    with subprocess.Popen(
        [sys.executable, "-c", SYSTEMD],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with Peer(("127.0.0.1", port)).open() as peer:
            assert peer.closes(1001)
        assert process.wait(DEADLINE) == 0


@pytest.mark.parametrize(
    ("host", "families"),
    [
        ("", {4, 6}),
        ("::", {4, 6}),
        ("::1", {6}),
        ("127.0.0.1", {4}),
        ("localhost", {4}),
    ],
)
def test_families_that_a_host_stands_for(
    recorder: Recorder, host: str, families: set[int]
) -> None:
    """IPv4 peers have IPv4 addresses, whichever socket took them."""
    server = WebSocketServer(host, 0, **recorder.callbacks())
    with running(server):
        port = server.address[1]
        for family, address, kind in (
            (4, ("127.0.0.1", port), socket.AF_INET),
            (6, ("::1", port), socket.AF_INET6),
        ):
            if family in families:
                with Peer(address, family=kind).open():
                    client = recorder.opened.get(timeout=DEADLINE)
                    assert client.address[0] == address[0]
            elif host != "localhost":
                with pytest.raises(OSError):
                    Peer(address, family=kind)
