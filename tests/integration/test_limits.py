"""Limits and deadlines of the server, each seen from the other end of the wire."""

from __future__ import annotations

import os
import select
import threading
from pathlib import Path

import pytest

from tests.tools import wait_until
from websock import (
    Client,
    Frame,
    Opcode,
    State,
    WebSocketServer,
    serving,
)
from websock.connection import Connection
from websock.frames import serialize_frame
from websock.serving import LEAST_PROGRESS

from .wire import DEADLINE, Clock, Peer, Recorder, ask, get, make_server, running


def test_number_of_connections_is_limited(recorder: Recorder) -> None:
    """In all, and per address; those who leave make room."""
    for option, status in (
        ("max_connections", 503),
        ("max_connections_per_ip", 429),
    ):
        server = make_server(recorder, **{option: 2})
        with (
            running(server),
            Peer(server.address).open(),
            Peer(server.address).open() as second,
        ):
            code, head, _ = ask(server, Peer.request())
            assert code == status
            assert "Retry-After: " in head
            second.send_close()
            assert second.closes(1000)
            second.socket.close()

            def has_room(server: WebSocketServer = server) -> bool:
                return ask_status(server) == 101

            assert wait_until(has_room)


def ask_status(server: WebSocketServer) -> int:
    """Status of an opening handshake, which is closed properly if it succeeds."""
    with Peer(server.address) as peer:
        peer.socket.sendall(Peer.request())
        peer.read_head()
        if peer.status == 101:
            peer.send_close()
            peer.read_to_end()
        return peer.status


def test_message_over_the_limit_gets_1009(recorder: Recorder) -> None:
    """By its header alone."""
    with (
        running(make_server(recorder, max_size=10)) as server,
        Peer(server.address).open() as peer,
    ):
        peer.send(b"x" * 10)
        assert recorder.received.get(timeout=DEADLINE)[1] == b"x" * 10
        peer.socket.sendall(b"\x82\x8b")
        assert peer.closes(1009)
        assert recorder.closed.get(timeout=DEADLINE)[1] == 1009


def test_request_that_does_not_come_is_dropped(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent peer without a word, half a request with 408."""
    clock = Clock(monkeypatch)
    with (
        running(make_server(recorder, open_timeout=DEADLINE)) as server,
        Peer(server.address) as silent,
        Peer(server.address) as half,
    ):
        half.socket.sendall(b"GET / HTTP/1.1\r\n")
        clock.reach_open_timeout(server, 2)
        assert half.read_response()[0] == 408
        assert silent.read_to_end() == b""


# Keepalive.


def test_silent_peer_gets_pings_and_is_dropped(recorder: Recorder) -> None:
    """After ``ping_interval`` and ``ping_timeout`` (5.5.2)."""
    server = make_server(recorder, ping_interval=0.1, ping_timeout=0.2)
    with running(server), Peer(server.address).open() as peer:
        assert peer.read_frame().opcode == Opcode.PING
        assert recorder.closed.get(timeout=DEADLINE)[1] == 1006
        assert peer.read_to_end() == b""


def test_peer_that_answers_lives(recorder: Recorder) -> None:
    """A Pong with the right payload; its latency is known."""
    server = make_server(recorder, ping_interval=0.05, ping_timeout=DEADLINE)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        payloads = set()
        for _ in range(4):
            ping = peer.read_frame()
            ping.opcode = Opcode.PONG
            payloads.add(ping.payload)
            peer.send_frame(ping)
        assert wait_until(lambda: client.latency is not None)
        assert len(payloads) == 4
        peer.send("x")
        assert recorder.received.get(timeout=DEADLINE)[1] == "x"


def test_wrong_pongs_are_no_sign_of_life(recorder: Recorder) -> None:
    """Only the answer to our Ping is (E4)."""
    server = make_server(recorder, ping_interval=0.1, ping_timeout=0.3)
    with running(server), Peer(server.address).open() as peer:
        peer.read_frame()
        try:
            while recorder.closed.empty():
                peer.send_frame(Frame(Opcode.PONG, b"wrong"))
        except OSError:
            pass
        assert recorder.closed.get(timeout=DEADLINE)[1] == 1006


def test_peer_lives_while_its_callback_is_long(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Pongs wait unread, and so does its next message."""
    looks = threading.Semaphore(0)
    # However late this thread answers: the server looks only afterwards.
    answered = threading.Event()
    has_unread_data = Connection.has_unread_data

    def look(connection: Connection) -> bool:
        answered.wait(DEADLINE)
        looks.release()
        return has_unread_data(connection)

    monkeypatch.setattr(Connection, "has_unread_data", look)
    # Nor does anybody else read them.
    monkeypatch.setattr(serving, "LONG", DEADLINE)
    server = make_server(recorder, ping_interval=0.05, ping_timeout=0.05)
    started, release = threading.Event(), threading.Event()

    def receive(client: Client, data: str | bytes) -> None:
        if data == "long":
            started.set()
            release.wait(DEADLINE)
        else:
            client.send("short")

    server.on_data_receive = receive
    with running(server), Peer(server.address).open() as peer:
        peer.send("long")
        ping = peer.read_frame()
        # Read together with the message, the Pong would be no unread one.
        assert started.wait(DEADLINE)
        peer.send_frame(Frame(Opcode.PONG, ping.payload))
        answered.set()
        for _ in range(4):
            assert looks.acquire(timeout=DEADLINE)
        assert recorder.closed.empty()
        answered.clear()
        peer.send("next")
        release.set()
        try:
            while (frame := peer.read_frame()).opcode == Opcode.PING:
                pass
        finally:
            answered.set()
        assert frame.payload == b"short"


def test_peer_that_is_gone_is_noticed_during_a_long_callback(
    recorder: Recorder,
) -> None:
    """There is nothing unread of it: it doesn't answer."""
    server = make_server(recorder, ping_interval=0.05, ping_timeout=0.05)
    gone = threading.Event()

    def hang(client: Client) -> None:
        if wait_until(lambda: client.state is not State.OPEN, DEADLINE):
            gone.set()

    # The first callback of all: it has begun, however soon the first Ping is overdue.
    server.on_connection_open = hang
    with running(server), Peer(server.address).open():
        assert gone.wait(DEADLINE)
        assert recorder.closed.get(timeout=DEADLINE)[1] == 1006


def test_flood_behind_a_refusal_delays_nobody(recorder: Recorder) -> None:
    """The refusal arrives, and the main thread has time for others."""
    with running(make_server(recorder)) as server, Peer(server.address) as flooder:
        flooder.socket.sendall(get("/"))
        stop = threading.Event()

        def flood() -> None:
            try:
                while not stop.is_set():
                    flooder.socket.sendall(b"x" * 65536)
            except OSError:
                pass

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            assert flooder.read_head().startswith("HTTP/1.1 426")
            for _ in range(20):
                assert ask_status(server) == 101
        finally:
            stop.set()
            flooder.reset()
            thread.join(DEADLINE)


def test_recv_takes_no_more_than_it_returns(recorder: Recorder) -> None:
    """The other messages of the packet go to the callback."""
    server = make_server(recorder)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        got: list[str | bytes] = []
        thread = threading.Thread(target=lambda: got.append(client.recv(DEADLINE)))
        thread.start()
        assert wait_until(lambda: client._connection.inbox._receivers == 1)
        peer.socket.sendall(b"".join(masked_text(str(n)) for n in range(40)))
        thread.join(DEADLINE)
        rest = [recorder.received.get(timeout=DEADLINE)[1] for _ in range(39)]
        assert sorted([*got, *rest], key=int) == [str(n) for n in range(40)]
        assert got == ["0"]


def masked_text(text: str) -> bytes:
    """Text frame of a client."""
    return serialize_frame(Frame(Opcode.TEXT, text.encode()), bytes(4))


def test_ping_flood_without_reading_is_bounded(recorder: Recorder) -> None:
    """The outbox has its limit for Pongs, too; TCP holds the peer up (E3)."""
    server = make_server(recorder, write_limit=65536, send_timeout=0.3)
    with running(server), Peer(server.address).open() as peer:
        client = recorder.opened.get(timeout=DEADLINE)
        pings = serialize_frame(Frame(Opcode.PING, bytes(125)), bytes(4)) * 500
        most = 0
        peer.socket.setblocking(False)
        rest = memoryview(b"")
        try:
            while recorder.closed.empty():
                if select.select([], [peer.socket], [], 0.1)[1]:
                    rest = rest or memoryview(pings)
                    rest = rest[peer.socket.send(rest) :]
                most = max(most, client._connection._outbox.size)
        except OSError:
            pass
        assert recorder.closed.get(timeout=DEADLINE)[1] == 1006
        assert most < 65536 + 1000


def test_bombs_in_one_packet_wait_encoded(recorder: Recorder) -> None:
    """Sixty megabytes in a packet don't become sixty in memory (D1)."""
    import zlib

    compressor = zlib.compressobj(wbits=-15)
    bomb = compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    frame = serialize_frame(Frame(Opcode.BINARY, bomb[:-4], rsv1=True), bytes(4))
    release = threading.Event()
    started = threading.Event()

    def hold(client: Client, data: str | bytes) -> None:
        started.set()
        release.wait(DEADLINE)

    server = make_server(recorder)
    server.on_data_receive = hold
    with running(server), Peer(server.address) as peer:
        offer = "permessage-deflate; client_no_context_takeover"
        peer.open(Sec_WebSocket_Extensions=offer)
        client = recorder.opened.get(timeout=DEADLINE)
        peer.socket.sendall(frame * 60)
        assert started.wait(DEADLINE)
        assert len(client._receiver._pending) < 8
        release.set()
        peer.send_close()
        assert peer.closes(1000)


def test_long_times_are_no_trouble(recorder: Recorder) -> None:
    """Systems have limits for waits; options may be longer."""
    server = make_server(recorder, ping_interval=2**31 - 1, open_timeout=None)
    with running(server), Peer(server.address).open() as peer:
        recorder.opened.get(timeout=DEADLINE)
        peer.send("x")
        recorder.received.get(timeout=DEADLINE)
        assert ask_status(server) == 101


def test_download_may_take_its_time(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than ``close_timeout``, as long as the peer goes on reading."""
    (tmp_path / "big.bin").write_bytes(bytes(2**24))
    server = make_server(recorder, http=tmp_path, close_timeout=0.1)
    looks = threading.Semaphore(0)

    def look(connection: Connection) -> int:
        looks.release()
        return LEAST_PROGRESS

    # How fast this peer reads is up to the machine.
    monkeypatch.setattr(Connection, "take_flushed", look)
    with running(server), Peer(server.address) as peer:
        peer.socket.sendall(get("/big.bin"))
        for _ in range(4):
            assert looks.acquire(timeout=DEADLINE)
        assert len(peer.read_to_end()) > 2**24


def test_download_that_stalls_is_cut(recorder: Recorder, tmp_path: Path) -> None:
    """A peer that takes nothing for ``close_timeout`` keeps no connection."""
    (tmp_path / "big.bin").write_bytes(bytes(2**24))
    server = make_server(recorder, http=tmp_path, close_timeout=0.1)
    with running(server):
        idle = len(os.listdir("/proc/self/fd"))
        with Peer(server.address) as peer:
            peer.socket.sendall(get("/big.bin"))
            assert peer.socket.recv(1)
            # Each side has a descriptor; that of the server goes.
            assert wait_until(lambda: len(os.listdir("/proc/self/fd")) == idle + 1)
