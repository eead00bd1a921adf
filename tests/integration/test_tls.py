"""TLS: handshakes good and bad, both directions at once, and proper ends."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.certificate import Certificate, make_certificate
from tests.tools import wait_until
from websock import Client, ConnectionClosed, Opcode, SendTimeout, WebSocketServer
from websock.frames import Frame, serialize_frame
from websock.transport import WakeGroup

from .wire import DEADLINE, Clock, Peer, Recorder, running

BIG = os.urandom(2**20)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for the loopback."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


class Secure:
    """A server that speaks TLS, and its clients."""

    def __init__(self, certificate: Certificate, recorder: Recorder) -> None:
        self.certificate = certificate
        self.recorder = recorder

    def server(self, **options: Any) -> WebSocketServer:
        """Server on a free port of the loopback, without compression."""
        options = {"compression": None} | self.recorder.callbacks() | options
        return WebSocketServer(
            "127.0.0.1", 0, ssl=self.certificate.server_context(), **options
        )

    def peer(self, server: WebSocketServer) -> Peer:
        """A client that has done the TLS handshake."""
        return Peer(server.address, context=self.certificate.client_context())

    def client(self) -> Client:
        """The server's end of the last peer."""
        client: Client = self.recorder.opened.get(timeout=DEADLINE)
        return client


@pytest.fixture
def secure(certificate: Certificate, recorder: Recorder) -> Secure:
    """What makes servers and clients."""
    return Secure(certificate, recorder)


# The handshake.


def test_silent_peer_is_dropped(
    secure: Secure, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the handshake and in the middle of it, at ``open_timeout`` (A4)."""
    clock = Clock(monkeypatch)
    server = secure.server(open_timeout=DEADLINE)
    with (
        caplog.at_level(logging.INFO, "websock"),
        running(server),
        Peer(server.address) as silent,
        Peer(server.address) as half,
        secure.peer(server) as shaken,
    ):
        half.socket.sendall(b"\x16\x03\x01\x02\x00\x01")
        clock.reach_open_timeout(server, 3)
        for peer in (silent, half, shaken):
            assert peer.read_to_end() == b""
    assert caplog.text.count("silent until open_timeout") == 3
    assert "Traceback" not in caplog.text


def test_half_a_request_over_tls_gets_408(
    secure: Secure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handshake counts against the same deadline as the request."""
    clock = Clock(monkeypatch)
    server = secure.server(open_timeout=DEADLINE)
    with running(server), secure.peer(server) as peer:
        peer.socket.sendall(b"GET / HTTP/1.1\r\n")
        clock.reach_open_timeout(server, 1)
        assert peer.read_response()[0] == 408


def test_garbage_is_dropped_with_one_line(
    secure: Secure, caplog: pytest.LogCaptureFixture
) -> None:
    """A scanner costs a line in the log, and others notice nothing."""
    server = secure.server()
    with caplog.at_level(logging.INFO, "websock"), running(server):
        # The server may be faster than we are.
        with Peer(server.address) as peer, contextlib.suppress(OSError):
            peer.socket.sendall(b"\0garbage\n" * 100)
            peer.socket.shutdown(socket.SHUT_WR)
            peer.read_to_end()
        with secure.peer(server).open():
            pass
    assert caplog.text.count("TLS handshake failed") == 1
    assert "Traceback" not in caplog.text


def has_newcomer(server: WebSocketServer) -> bool:
    """Whether somebody is in the middle of a handshake."""
    return bool(server._serving and server._serving._intake._newcomers)


def test_peer_that_leaves_during_the_handshake(
    secure: Secure, caplog: pytest.LogCaptureFixture
) -> None:
    """By FIN or RST, before the first byte or after it."""
    server = secure.server()
    with running(server):
        for data in (b"", b"\x16\x03\x01\x02\x00\x01"):
            for reset in (False, True):
                with Peer(server.address) as peer:
                    peer.socket.sendall(data)
                    assert wait_until(lambda: has_newcomer(server))
                    if reset:
                        peer.reset()
                assert wait_until(lambda: not has_newcomer(server))
        with secure.peer(server).open():
            pass
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("slowly", [False, True])
def test_plain_http_on_a_tls_port_is_answered(
    secure: Secure, slowly: bool, recorder: Recorder
) -> None:
    """In plain text, so that a human understands."""
    server = secure.server()
    with running(server), Peer(server.address) as peer:
        request = Peer.request()
        pieces = [request[:3], request[3:8], request[8:]] if slowly else [request]
        for piece in pieces:
            peer.socket.sendall(piece)
        status, _, body = peer.read_response()
        assert status == 400
        assert b"wss://" in body
        assert b"wss://" in str(recorder.errors.get(timeout=DEADLINE)).encode()


def test_client_that_does_not_trust_us_is_dropped(
    secure: Secure, caplog: pytest.LogCaptureFixture
) -> None:
    """Its alert is one line of the log."""
    server = secure.server()
    with caplog.at_level(logging.INFO, "websock"), running(server):
        with pytest.raises(ssl.SSLCertVerificationError):
            Peer(server.address, context=ssl.create_default_context())
        assert wait_until(lambda: "TLS handshake failed: " in caplog.text)
    assert "Traceback" not in caplog.text


class Shaker:
    """A TLS client whose every byte goes out by hand."""

    def __init__(self, certificate: Certificate, sock: socket.socket) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = certificate.client_context().wrap_bio(
            self.incoming, self.outgoing, server_hostname="localhost"
        )
        self.socket = sock

    def send_bytewise(self) -> None:
        """Send what is due, each byte in a packet of its own."""
        for byte in self.outgoing.read():
            self.socket.sendall(bytes([byte]))

    def receive(self) -> None:
        """Take what comes."""
        data = self.socket.recv(65536)
        assert data
        self.incoming.write(data)

    def shake_hands(self) -> None:
        """Do the whole handshake."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.send_bytewise()
                self.receive()
            else:
                self.send_bytewise()
                return

    def write(self, data: bytes) -> None:
        """Encrypt data, and send it."""
        self.tls.write(data)
        self.send_bytewise()

    def read(self) -> bytes:
        """Receive something."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.receive()


def test_handshake_and_messages_byte_by_byte(
    secure: Secure, certificate: Certificate, recorder: Recorder
) -> None:
    """A slow network splits records anywhere; each piece costs no thread."""
    server = secure.server()
    with running(server), Peer(server.address) as peer:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        slow = Shaker(certificate, peer.socket)
        slow.shake_hands()
        slow.write(Peer.request())
        assert slow.read().startswith(b"HTTP/1.1 101 ")
        slow.write(b"\x81\x85\0\0\0\0hello")
        client, data = recorder.received.get(timeout=DEADLINE)
        assert data == "hello"
        client.send("world")
        assert slow.read() == b"\x81\x05world"


def test_request_and_frames_in_one_record(secure: Secure, recorder: Recorder) -> None:
    """What OpenSSL has decrypted already isn't forgotten (4.2.2)."""
    server = secure.server()
    with running(server), secure.peer(server) as peer:
        peer.socket.sendall(Peer.request() + b"\x81\x85\0\0\0\0hello" * 3)
        for _ in range(3):
            assert recorder.received.get(timeout=DEADLINE)[1] == "hello"


# Both directions.


@pytest.mark.parametrize("protocol", ["TLSv1_2", "TLSv1_3"])
def test_large_messages_arrive_whole(
    secure: Secure, certificate: Certificate, recorder: Recorder, protocol: str
) -> None:
    """A mebibyte each way, which is many records."""
    server = secure.server()
    context = certificate.client_context()
    context.maximum_version = context.minimum_version = ssl.TLSVersion[protocol]
    with running(server), Peer(server.address, context=context).open() as peer:
        assert peer.socket.version() == protocol.replace("_", ".")  # type: ignore[attr-defined]
        client = secure.client()
        peer.send(BIG)
        assert recorder.received.get(timeout=DEADLINE)[1] == BIG
        client.send(BIG)
        assert peer.receive() == BIG


def flood(peer: Peer, data: bytes) -> bytes:
    """Send everything while receiving everything, up to the server's end.

    On one thread, because two must not use one TLS socket; what is received is
    what comes until a Close frame ends the stream.
    """
    rest, got = memoryview(data), bytearray(peer.data)
    peer.socket.setblocking(False)
    while True:
        try:
            more = peer.socket.recv(65536)
        except ssl.SSLWantReadError:
            pass
        else:
            if not more:
                return bytes(got)
            got += more
            continue
        try:
            rest = rest[peer.socket.send(rest[:16384]) :] if rest else rest
        except ssl.SSLWantWriteError:
            pass
        else:
            if rest:
                continue
        writers = [peer.socket] if rest else []
        ready = select.select([peer.socket], writers, [], DEADLINE)
        assert any(ready), f"stuck: {len(rest)} bytes to send, {len(got)} received"


def test_both_sides_flood(secure: Secure, recorder: Recorder) -> None:
    """Four clients and the server send at once, and everything arrives (E7)."""
    count, size = 30, 100_000
    # The pushers and the callbacks of all clients meet here.
    all_pushed = threading.Barrier(8)

    def answer(client: Client, data: str | bytes) -> None:
        client.send(data)
        if data == b"last":
            all_pushed.wait(DEADLINE)
            client.close()

    server = secure.server(on_data_receive=answer, write_limit=2**26)
    payload = [number.to_bytes(4, "big") + b"e" * size for number in range(count)]
    data = b"".join(
        serialize_frame(Frame(Opcode.BINARY, message), b"key!")
        for message in (*payload, b"last")
    )
    got: dict[int, bytes] = {}

    def talk(name: int) -> None:
        with secure.peer(server).open() as peer:
            got[name] = flood(peer, data)

    def push(client: Client) -> None:
        for number in range(count):
            client.send(b"push" + number.to_bytes(4, "big") + b"p" * size)
        all_pushed.wait(DEADLINE)

    with running(server):
        talkers = [threading.Thread(target=talk, args=(name,)) for name in range(4)]
        for thread in talkers:
            thread.start()
        pushers = [
            threading.Thread(target=push, args=(secure.client(),)) for _ in talkers
        ]
        for thread in pushers:
            thread.start()
        for thread in (*pushers, *talkers):
            thread.join(3 * DEADLINE)
            assert not thread.is_alive()

    pushes = [b"push" + n.to_bytes(4, "big") + b"p" * size for n in range(count)]
    for stream in got.values():
        messages = list(messages_of(stream))
        assert [m for m in messages if m.startswith(b"push")] == pushes
        echoes = [m for m in messages if not m.startswith(b"push")]
        assert echoes == [*payload, b"last"]
    assert len(got) == 4


def messages_of(stream: bytes) -> Iterator[bytes]:
    """Binary messages of a stream that ends with a Close frame."""
    position = 0
    while stream[position] == 0x82:
        size = stream[position + 1]
        position += 2
        if size == 127:
            size = int.from_bytes(stream[position : position + 8], "big")
            position += 8
        yield stream[position : position + size]
        position += size
    assert stream[position:] == b"\x88\x02\x03\xe8"


def test_broadcast_reaches_all(secure: Secure) -> None:
    """Encoded once, encrypted for each."""
    server = secure.server()
    with (
        running(server),
        secure.peer(server).open() as one,
        secure.peer(server).open() as two,
    ):
        for _ in range(2):
            secure.client()
        for number in range(50):
            server.broadcast(f"{number} " + "x" * 20_000)
        for peer in (one, two):
            for number in range(50):
                assert peer.receive() == f"{number} " + "x" * 20_000


# Slow peers.


def fill(client: Client) -> int:
    """Send until the outbox is above its limit; return how many messages."""
    count = 0
    while client._connection._outbox.size < 2**20:
        client.send(BIG)
        count += 1
    return count


def test_slow_peer_gets_everything_through_the_outbox(secure: Secure) -> None:
    """Records that were put off go out whole and in order."""
    server = secure.server()
    with running(server), secure.peer(server).open() as peer:
        client = secure.client()
        count = fill(client)
        client.ping(b"after")
        for _ in range(count):
            assert peer.receive() == BIG
        assert peer.read_frame().payload == b"after"


def test_send_gives_up_on_a_peer_that_never_reads(
    secure: Secure, recorder: Recorder
) -> None:
    """After ``send_timeout``; its reader learns of it, too (E1)."""
    server = secure.server(send_timeout=0.2)
    with running(server), secure.peer(server).open():
        client = secure.client()
        fill(client)
        with pytest.raises(SendTimeout):
            client.send("too much")
        assert recorder.closed.get(timeout=DEADLINE) == (client, 1006, "")
        with pytest.raises(ConnectionClosed):
            client.send("later")


def test_dropped_broadcasts_leave_the_stream_whole(secure: Secure) -> None:
    """OpenSSL must be offered again what it has put off (SSL_write(3))."""
    sizes = [20_000, 3_000, 17_000, 9_000]
    server = secure.server(slow_client="drop_oldest", write_limit=50_000)
    with running(server), secure.peer(server).open() as peer:
        client = secure.client()
        # More than the buffers of two sockets take while nobody reads.
        for number in range(3000):
            server.broadcast(f"{number:06}" + "x" * sizes[number % 4])
        numbers = []
        for number in range(3000, 3400):
            text = peer.receive()
            assert isinstance(text, str)
            numbers.append(int(text[:6]))
            assert text[6:] == "x" * sizes[numbers[-1] % 4]
            server.broadcast(f"{number:06}" + "x" * sizes[number % 4])
        client.close()
        while (frame := peer.read_frame()).opcode == Opcode.TEXT:
            numbers.append(int(frame.payload[:6]))
            assert len(frame.payload) == 6 + sizes[numbers[-1] % 4]
        assert frame.opcode == Opcode.CLOSE
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == 3399
        assert len(numbers) < 3400


# The end.


def test_close_code_is_delivered(secure: Secure, recorder: Recorder) -> None:
    """Ours to the peer and the peer's to us, and a proper end of TLS."""
    server = secure.server()
    with running(server), secure.peer(server).open() as peer:
        client = secure.client()
        client.close(4001, "bye")
        assert peer.closes(4001, "bye")
        assert recorder.closed.get(timeout=DEADLINE) == (client, 4001, "bye")
        with secure.peer(server).open() as other:
            other.send_close(4002, "so long")
            assert other.closes(4002, "so long")
            assert recorder.closed.get(timeout=DEADLINE)[1:] == (4002, "so long")


def test_idle_client_is_closed_and_its_group_stays(
    secure: Secure, recorder: Recorder
) -> None:
    """Its thread wakes by the pipe that it shares with others."""
    server = secure.server()
    with (
        running(server),
        secure.peer(server).open() as one,
        secure.peer(server).open() as two,
    ):
        first = next(
            client
            for client in (secure.client(), secure.client())
            if client.address == one.socket.getsockname()
        )
        server.close_client(first.address, 4000, "idle")
        assert one.closes(4000, "idle")
        assert recorder.closed.get(timeout=DEADLINE)[0] is first
        two.send("still here")
        assert recorder.received.get(timeout=DEADLINE)[1] == "still here"


def test_idle_client_without_a_descriptor_to_wake_it_is_cut(
    secure: Secure, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing works even when the system has no descriptors left."""

    def exhausted(group: WakeGroup) -> None:
        raise OSError(24, "Too many open files")

    server = secure.server()
    with running(server), secure.peer(server).open() as peer:
        client = secure.client()
        with monkeypatch.context() as patch:
            patch.setattr(WakeGroup, "wake", exhausted)
            client.close(4000)
        assert recorder.closed.get(timeout=DEADLINE)[:2] == (client, 4000)
        assert peer.read_to_end() == b""


def test_client_that_leaves_without_close_notify(
    secure: Secure, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Many do: no error, just 1006 if there was no Close frame either."""
    server = secure.server()
    with running(server), secure.peer(server).open() as peer:
        secure.client()
        socket.socket.shutdown(peer.socket, socket.SHUT_WR)
        assert recorder.closed.get(timeout=DEADLINE)[1] == 1006
        # OpenSSL 3 takes it for an error of TLS, and tells the peer.
        with contextlib.suppress(ssl.SSLError):
            assert peer.read_to_end() == b""
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("data", [b"", b"\x82\xfe\xff"])
def test_client_that_resets(
    secure: Secure, recorder: Recorder, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    """Idle, or in the middle of a frame."""
    server = secure.server()
    with running(server), secure.peer(server).open() as peer:
        secure.client()
        peer.socket.sendall(data)
        peer.reset()
        assert recorder.closed.get(timeout=DEADLINE)[1] == 1006
    assert "Traceback" not in caplog.text


def test_garbage_in_place_of_a_record(secure: Secure, recorder: Recorder) -> None:
    """The stream can't be used any more: 1006, and nobody else notices."""
    server = secure.server()
    with running(server), secure.peer(server).open() as peer:
        secure.client()
        raw = socket.socket(fileno=os.dup(peer.socket.fileno()))
        with raw:
            raw.sendall(b"\x17\x03\x03\x00\x20" + b"garbage!" * 4)
        assert recorder.closed.get(timeout=DEADLINE)[1] == 1006


def test_close_reaches_a_peer_that_goes_on_sending(secure: Secure) -> None:
    """The answer to a fault isn't lost among what is sent meanwhile (7.1.7)."""
    server = secure.server(max_size=1000)
    with running(server):
        for _ in range(10):
            with secure.peer(server).open() as peer:
                peer.socket.sendall(b"\x82\xfe\x20\x00\0\0\0\0")
                with contextlib.suppress(OSError):
                    for _ in range(50):
                        peer.socket.sendall(b"\0" * 16384)
                assert peer.read_close()[0] == 1009


def test_shutdown_closes_everybody(secure: Secure, recorder: Recorder) -> None:
    """More clients than share a pipe, all at once."""
    server = secure.server()
    peers: list[Peer] = []
    with running(server):
        for _ in range(70):
            peers.append(secure.peer(server).open())
            secure.client()
        stopper = threading.Thread(target=server.shutdown)
        stopper.start()
        for peer in peers:
            assert peer.closes(1001)
            peer.socket.close()
        stopper.join(DEADLINE)
    assert recorder.closed.qsize() == len(peers)


def test_files_are_served_over_tls(secure: Secure) -> None:
    """Plain HTTP, with a proper end that no attacker can forge."""
    server = secure.server()
    with running(server), secure.peer(server) as peer:
        peer.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert peer.read_response()[::2] == (200, b"ok\n")


@pytest.fixture(autouse=True)
def _nothing_unexpected(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The server never logs an internal error."""
    yield
    assert "internal error" not in caplog.text
