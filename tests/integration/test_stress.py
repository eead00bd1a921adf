"""Many threads at once, switched as often as Python can."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import queue
import random
import socket
import struct
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from tests.tools import wait_until
from websock import Client, ConnectionClosed, Opcode, WebSocketServer
from websock.frames import Frame, serialize_frame

from .wire import DEADLINE, Peer, Recorder, running

CLIENTS = 20
MESSAGES = 40


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    """Let threads take turns after each microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class StrictReader(threading.Thread):
    """Reads all that a peer gets, and holds it to the rules.

    Every text is "sender number payload"; numbers of a sender go up, one by one
    if the sender is a digit, and payloads are as long as they say.
    """

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self.peer = peer
        self.got: dict[str, list[int]] = {}
        self.close_code: int | None = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        """Read to the end."""
        try:
            self.read()
        except EOFError:
            pass
        except BaseException as error:
            self.error = error

    def read(self) -> None:
        """Read until a Close frame, and answer it."""
        while True:
            frame = self.peer.read_frame()
            assert frame.fin
            assert not frame.rsv1
            if frame.opcode == Opcode.CLOSE:
                (self.close_code,) = struct.unpack("!H", frame.payload[:2])
                self.peer.send_close(self.close_code or 1000)
                assert self.peer.read_to_end() == b""
                # Or else the server waits for it.
                self.peer.socket.close()
                return
            if frame.opcode == Opcode.PING:
                continue
            assert frame.opcode == Opcode.TEXT
            sender, number, payload = frame.payload.decode().split()
            assert len(payload) == size_of(int(number))
            self.got.setdefault(sender, []).append(int(number))

    def finish(self) -> None:
        """Wait for the end, which must come."""
        self.join(3 * DEADLINE)
        assert not self.is_alive()
        if self.error is not None:
            raise self.error


def size_of(number: int) -> int:
    """Length of a payload, in every form that a frame's length has."""
    return (1, 100, 126, 5000, 70_000)[number % 5]


def text(sender: object, number: int) -> str:
    """A message that can be checked."""
    return f"{sender} {number} " + "x" * size_of(number)


def run_all(*targets: Any) -> None:
    """Run functions at once, all of which must return."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(targets))

    def run(target: Any) -> None:
        barrier.wait(DEADLINE)
        try:
            target()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * DEADLINE)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


def test_senders_broadcasters_and_closers_at_once() -> None:
    """Frames stay whole, each sender's are in order, and everything ends.

    Three threads send to each of twenty clients, two broadcast, every client
    sends, too, one thread pings, and one closes half of the clients meanwhile.
    """
    recorder = Recorder()
    # A machine that is slow must not make slow clients of these.
    server = WebSocketServer("127.0.0.1", 0, **recorder.callbacks(), write_limit=2**26)
    with running(server):
        peers = [Peer(server.address).open() for _ in range(CLIENTS)]
        arrived = [recorder.opened.get(timeout=DEADLINE) for _ in peers]
        by_address = {client.address: client for client in arrived}
        clients = [by_address[peer.socket.getsockname()] for peer in peers]
        readers = [StrictReader(peer) for peer in peers]
        leaving = set(clients[::2])

        def send(name: int) -> None:
            for number in range(MESSAGES):
                for client in clients:
                    try:
                        client.send(text(name, number))
                    except ConnectionClosed:
                        assert client in leaving

        def broadcast(name: str) -> None:
            for number in range(MESSAGES):
                server.broadcast(text(name, number), exclude=(clients[1],))

        def talk() -> None:
            for _ in range(MESSAGES):
                for peer in peers[1::2]:
                    peer.send("hello")

        def ping() -> None:
            for _ in range(MESSAGES):
                for client in clients[1::2]:
                    client.ping()

        def close() -> None:
            for client in clients[::2]:
                server.close_client(client, 4000, "enough")

        run_all(
            *(functools.partial(send, name) for name in range(3)),
            *(functools.partial(broadcast, name) for name in "ab"),
            talk,
            ping,
            close,
        )
        staying = [client for client in clients if client not in leaving]
        assert all(client in server.clients for client in staying)
        # Who closes reads no further.
        talked = MESSAGES * CLIENTS // 2
        assert wait_until(lambda: recorder.received.qsize() == talked, DEADLINE)
        server.shutdown()
        for reader in readers:
            reader.finish()
    for peer in peers:
        peer.socket.close()
    codes = sorted(reader.close_code or 0 for reader in readers)
    assert codes == [1001] * (CLIENTS // 2) + [4000] * (CLIENTS // 2)
    for reader in readers:
        for sender, numbers in reader.got.items():
            whole = reader.close_code == 1001
            assert numbers == list(range(MESSAGES if whole else len(numbers))), sender
    closed = [recorder.closed.get(timeout=DEADLINE)[0] for _ in clients]
    assert recorder.closed.empty()
    assert set(closed) == set(clients)


def test_callbacks_send_beside_eight_threads() -> None:
    """What callbacks send to their own clients keeps its place among all the rest.

    Four threads send to each of fifty clients, two broadcast, one pings, and one
    closes half of the clients, while every peer talks without waiting for answers.
    """
    opened: queue.Queue[Client] = queue.Queue()

    def answer(client: Client, message: str | bytes) -> None:
        with contextlib.suppress(ConnectionClosed):
            client.send(text("callback", int(message)))

    server = WebSocketServer(
        "127.0.0.1",
        0,
        on_connection_open=opened.put,
        on_data_receive=answer,
        write_limit=2**26,
    )
    with running(server):
        peers = [Peer(server.address).open() for _ in range(50)]
        arrived = [opened.get(timeout=DEADLINE) for _ in peers]
        by_address = {client.address: client for client in arrived}
        clients = [by_address[peer.socket.getsockname()] for peer in peers]
        readers = [StrictReader(peer) for peer in peers]
        leaving = set(clients[::2])

        def send(name: int) -> None:
            for number in range(MESSAGES):
                for client in clients:
                    with contextlib.suppress(ConnectionClosed):
                        client.send(text(name, number))

        def broadcast(name: str) -> None:
            for number in range(MESSAGES):
                server.broadcast(text(name, number))

        def ping() -> None:
            for _ in range(MESSAGES):
                for client in clients[1::2]:
                    client.ping()

        def close() -> None:
            for client in leaving:
                server.close_client(client, 4000, "enough")

        def talk() -> None:
            for number in range(0, 10 * MESSAGES, 10):
                for peer in peers[1::2]:
                    data = b"".join(
                        serialize_frame(Frame(Opcode.TEXT, b"%d" % place), b"mask")
                        for place in range(number, number + 10)
                    )
                    peer.socket.sendall(data)

        run_all(
            *(functools.partial(send, name) for name in range(4)),
            *(functools.partial(broadcast, name) for name in "ab"),
            ping,
            close,
            talk,
        )

        def all_answered() -> bool:
            return all(
                reader.error is not None
                or len(reader.got.get("callback", ())) == 10 * MESSAGES
                for reader in readers[1::2]
            )

        assert wait_until(all_answered, DEADLINE)
        server.shutdown()
        for reader in readers:
            reader.finish()
    for peer in peers:
        peer.socket.close()
    for number, reader in enumerate(readers):
        assert reader.close_code == (1001 if number % 2 else 4000)
        for sender, numbers in reader.got.items():
            count = 10 * MESSAGES if sender == "callback" else MESSAGES
            assert numbers == list(range(count if number % 2 else len(numbers))), sender


@pytest.mark.parametrize("victim", range(4))
def test_end_is_told_once_whoever_brings_it_about(victim: int) -> None:
    """The peer resets, two threads close, one broadcasts, and the server stops."""
    chance = random.Random(victim)
    for _ in range(25):
        end_in_all_ways(chance, victim)


def end_in_all_ways(chance: random.Random, victim: int) -> None:
    """Let four clients end, each for several reasons at once."""
    recorder = Recorder()
    server = WebSocketServer("127.0.0.1", 0, **recorder.callbacks(), close_timeout=1)

    def close(client: Client, *, hard: bool) -> None:
        server.close_client(client, 4000, hard_close=hard)

    def send(client: Client) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                client.send("x")

    with running(server):
        peers = [Peer(server.address).open() for _ in range(4)]
        clients = [recorder.opened.get(timeout=DEADLINE) for _ in peers]
        # Closing a socket with something to read is a reset, too.
        server.broadcast(text("a", 4))
        jobs = [
            *(peer.reset for peer in peers[:2]),
            *(peer.socket.close for peer in peers[2:]),
            *(functools.partial(close, client, hard=False) for client in clients),
            functools.partial(close, clients[victim], hard=True),
            functools.partial(send, clients[3 - victim]),
            functools.partial(server.broadcast, "news"),
            functools.partial(server.shutdown, 2),
        ]
        chance.shuffle(jobs)
        run_all(*jobs)
        closed = [recorder.closed.get(timeout=DEADLINE)[0] for _ in clients]
        assert set(closed) == set(clients)
    assert recorder.closed.empty()
    assert recorder.destructed.qsize() == 1
    assert len(server.clients) == 0
    assert all(client.fileno() == -1 for client in clients)


@pytest.mark.parametrize("stop", ["before", "request", "open", "frame", "close"])
def test_reset_in_every_state(stop: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of the peer is left, wherever it was, and nothing is logged loudly."""
    recorder = Recorder()
    resets = threading.Semaphore(0)
    callbacks = recorder.callbacks()

    def wait_for_reset(client: Client) -> None:
        recorder.opened.put(client)
        if stop == "open":
            assert resets.acquire(timeout=DEADLINE)

    callbacks["on_connection_open"] = wait_for_reset
    server = WebSocketServer("127.0.0.1", 0, **callbacks)
    before = len(os.listdir("/proc/self/fd"))
    with running(server):
        listening = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            with Peer(server.address) as peer:
                if stop == "request":
                    peer.socket.sendall(Peer.request()[:50])
                elif stop != "before":
                    peer.socket.sendall(Peer.request())
                    recorder.opened.get(timeout=DEADLINE)
                    peer.read_head()
                if stop == "frame":
                    peer.socket.sendall(b"\x82\xfe\xff")
                elif stop == "close":
                    peer.send_close(4000)
                    assert peer.read_close()[0] == 4000
                peer.reset()
                resets.release()
                if stop not in ("before", "request"):
                    code = recorder.closed.get(timeout=DEADLINE)[1]
                    assert code == (4000 if stop == "close" else 1006)
        assert wait_until(lambda: len(os.listdir("/proc/self/fd")) == listening)
        with Peer(server.address).open():
            resets.release()
    assert wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert recorder.errors.empty()
    assert not [record for record in caplog.records if record.exc_info]


def test_coming_and_going_leaves_nothing_behind() -> None:
    """After 500 clients: no thread, no descriptor, no object."""
    recorder = Recorder()
    callbacks = recorder.callbacks()
    references: list[weakref.ref[Client]] = []
    callbacks["on_connection_open"] = lambda client: references.append(
        weakref.ref(client)
    )
    callbacks["on_connection_close"] = lambda client: None
    server = WebSocketServer("127.0.0.1", 0, **callbacks)
    with running(server):
        threads = threading.active_count()
        descriptors = len(os.listdir("/proc/self/fd"))

        def come_and_go() -> None:
            for number in range(100):
                with Peer(server.address).open() as peer:
                    if number % 3 == 0:
                        peer.send_close()
                        assert peer.closes(1000)
                    elif number % 3 == 1:
                        peer.reset()

        run_all(*[come_and_go] * 5)
        assert wait_until(lambda: not server.clients)
        assert wait_until(lambda: threading.active_count() == threads)
        assert wait_until(lambda: len(os.listdir("/proc/self/fd")) == descriptors)
        assert len(references) == 500

        def all_dead() -> bool:
            gc.collect()
            return not any(reference() for reference in references)

        assert wait_until(all_dead)
        serving = server._serving
        assert serving is not None
        assert not serving._connections
        assert not serving._retired
        assert not serving._ends
        assert not serving._websockets._counts
        assert not serving._keepalive._timers
        assert not serving._websockets._hosts


def test_loop_survives_connections_that_die_at_once() -> None:
    """Sockets that are closed in the very moment in which they are accepted."""
    server = WebSocketServer("127.0.0.1", 0)
    with running(server):

        def knock() -> None:
            for number in range(100):
                sock = socket.create_connection(server.address)
                if number % 2:
                    linger = struct.pack("ii", 1, 0)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                sock.close()

        run_all(*[knock] * 4)
        with Peer(server.address).open():
            pass
