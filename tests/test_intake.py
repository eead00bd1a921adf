"""Intake: accepting when there is nothing to accept with, and odd newcomers."""

from __future__ import annotations

import errno
import logging
import os
import resource
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificate import Certificate, make_certificate
from tests.integration.wire import DEADLINE, Peer
from tests.tools import ROOT, wait_until
from websock import intake as module
from websock import loop as loop_module
from websock.exceptions import HandshakeError, InvalidRequest, RequestTimeout
from websock.intake import ACCEPT_BATCH, ACCEPT_PAUSE, CALM, Intake, normalize
from websock.loop import Loop
from websock.protocol import Protocol
from websock.request import Request
from websock.settings import Settings
from websock.transport import Transport


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for the loopback."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


class Listener:
    """A listening socket that can be told to fail."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.errors: list[Exception] = []
        self.accepted = 0

    def fileno(self) -> int:
        """Descriptor of the socket."""
        return self.socket.fileno()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept somebody, or fail with the next error."""
        if self.errors:
            raise self.errors.pop(0)
        result = self.socket.accept()
        self.accepted += 1
        return result


class Door:
    """An intake with its loop and listener, and what came of each newcomer."""

    def __init__(self, settings: Settings) -> None:
        logger = logging.getLogger("websock.test")
        self.loop = Loop(logger)
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.sock.setblocking(False)
        self.listener = Listener(self.sock)
        self.arrived: list[Request] = []
        self.refused: list[HandshakeError] = []
        self.transports: list[Transport] = []
        self.intake = Intake(self.loop, settings, logger, self.arrive, self.refuse)
        self.intake.listen([self.listener])  # type: ignore[list-item]
        self.peers: list[socket.socket] = []

    def arrive(
        self,
        transport: Transport,
        protocol: Protocol,
        request: Request,
        accepted_at: float,
    ) -> None:
        """Note a request."""
        self.transports.append(transport)
        self.arrived.append(request)

    def refuse(
        self,
        transport: Transport,
        protocol: Protocol,
        error: HandshakeError,
        accepted_at: float,
    ) -> None:
        """Note a fault."""
        self.transports.append(transport)
        self.refused.append(error)

    def knock(self, data: bytes = b"") -> socket.socket:
        """Connect, and send something."""
        peer = socket.create_connection(self.sock.getsockname())
        peer.settimeout(DEADLINE)
        peer.sendall(data)
        self.peers.append(peer)
        return peer

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Turn the loop."""

        def turn() -> bool:
            self.loop.call_soon(lambda: None)
            self.loop.run_once()
            return condition()

        assert wait_until(turn)

    def close(self) -> None:
        """Close everything."""
        self.intake.stop()
        for transport in self.transports:
            transport.close()
        for peer in self.peers:
            peer.close()
        self.sock.close()
        self.loop.close()


@pytest.fixture
def door() -> Iterator[Door]:
    """An intake for plain TCP."""
    door = Door(Settings())
    yield door
    door.close()


def test_complete_request_arrives(door: Door) -> None:
    """In any number of pieces; the timer and the loop forget its connection."""
    for pieces in ([Peer.request("/a")], [b"GET /b HTTP/", b"1.1\r\n"]):
        peer = door.knock()
        for piece in pieces:
            peer.sendall(piece)
    door.peers[1].sendall(b"Host: a\r\n\r\n")
    door.run_until(lambda: len(door.arrived) == 2)

    assert sorted(request.path for request in door.arrived) == ["/a", "/b"]
    assert door.intake._newcomers == set()
    assert set(door.loop._waiters) >= {door.sock.fileno()}
    assert not any(t.fileno() in door.loop._waiters for t in door.transports)


def test_accepting_shares_the_loop(door: Door) -> None:
    """So many at a time; the others wait for the next turn."""
    for _ in range(ACCEPT_BATCH + 5):
        door.knock()

    door.loop.run_once()
    first = door.listener.accepted
    door.run_until(lambda: door.listener.accepted == ACCEPT_BATCH + 5)

    assert first == ACCEPT_BATCH


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module, "monotonic", self)
        monkeypatch.setattr(loop_module, "monotonic", self)

    def __call__(self) -> float:
        """Read it."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the intake and of its loop."""
    return Clock(monkeypatch)


def exhaust(door: Door, code: int = errno.EMFILE) -> None:
    """Let accepting fail once."""
    door.listener.errors = [OSError(code, os.strerror(code))]
    door.run_until(lambda: not door.listener.errors)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_exhaustion_is_one_line_and_a_pause(
    clock: Clock, door: Door, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """However long it lasts; then everybody who waited is let in (E13)."""
    door.knock(Peer.request())
    for _ in range(3):
        clock.now += ACCEPT_PAUSE
        exhaust(door, code)
        assert door.sock.fileno() not in door.loop._waiters
    clock.now += ACCEPT_PAUSE
    door.run_until(lambda: len(door.arrived) == 1)

    assert door.sock.fileno() in door.loop._waiters
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("can't accept connections for now: ")


def test_exhaustion_is_over_when_accepting_goes_well(
    clock: Clock, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is let in now and then is no end of it; that has a line of its own."""
    for number in range(10):
        door.knock(Peer.request())
        exhaust(door)
        clock.now += ACCEPT_PAUSE
        door.run_until(lambda arrived=number + 1: len(door.arrived) == arrived)  # type: ignore[misc]
        clock.now += CALM - 0.01
        door.run_until(lambda: True)
    assert len(caplog.records) == 1

    clock.now += 0.01
    door.run_until(lambda: True)

    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert caplog.messages[1] == "accepting connections again; pauses: 10"
    door.knock(Peer.request())
    exhaust(door)
    clock.now += ACCEPT_PAUSE
    door.run_until(lambda: len(door.arrived) == 11)
    clock.now += CALM
    door.run_until(lambda: True)
    assert caplog.messages[2].startswith("can't accept connections for now: ")
    assert caplog.messages[3] == "accepting connections again; pauses: 1"


def test_pause_ends_with_the_intake(door: Door) -> None:
    """Nobody is let in after the end, and nothing is left to do."""
    door.knock()
    exhaust(door)

    door.intake.stop()

    (timer,) = [timer for _, _, timer in door.loop._timers]
    assert timer.callback is None
    assert door.sock.fileno() not in door.loop._waiters
    assert ACCEPT_PAUSE < 1


@pytest.mark.parametrize("code", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN])
def test_peer_that_was_gone_before_stops_nobody(
    door: Door, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """accept(2) tells errors of connections that ended in the queue."""
    door.listener.errors = [OSError(code, "gone"), InterruptedError()]
    door.knock(Peer.request())

    door.run_until(lambda: len(door.arrived) == 1)

    assert caplog.records == []


@pytest.mark.parametrize(
    ("code", "level", "line"),
    [
        (errno.EMFILE, "ERROR", "can't accept connections for now: Too many open"),
        (errno.EINVAL, "WARNING", "connection dropped: [Errno 22] Invalid argument"),
    ],
)
def test_newcomer_that_can_not_be_kept_is_dropped(
    door: Door,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    level: str,
    line: str,
) -> None:
    """With a line in the log; the next one may have more luck.

    Without a descriptor for the pipe of its group it's as if it couldn't be accepted.
    """

    def fail(*args: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(module, "connect_transport", fail)
        peer = door.knock(Peer.request())
        door.run_until(lambda: bool(caplog.records))
        assert is_cut(peer)
    door.knock(Peer.request())
    door.run_until(lambda: len(door.arrived) == 1)

    (record,) = caplog.records
    assert record.levelname == level
    assert record.getMessage().startswith(line)
    assert door.intake._newcomers == set()


def fail_to_register(
    door: Door, monkeypatch: pytest.MonkeyPatch, error: Exception, times: int
) -> list[None]:
    """Let the selector fail so many times; the list has one for each that is left."""
    register = door.loop._selector.register
    left = [None] * times

    def fail(*args: Any) -> object:
        if left:
            left.pop()
            raise error
        return register(*args)

    monkeypatch.setattr(door.loop._selector, "register", fail)
    return left


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left"), "No space left"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "Cannot allocate memory"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_newcomer_that_can_not_be_watched_deafens_nobody(
    clock: Clock,
    door: Door,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
) -> None:
    """A failure of epoll is a pause like any other, also when the pause is over."""
    descriptors = len(os.listdir("/proc/self/fd"))
    left = fail_to_register(door, monkeypatch, error, 2)
    peer = door.knock(Peer.request())
    door.run_until(lambda: len(left) == 1)
    assert is_cut(peer)
    assert len(os.listdir("/proc/self/fd")) == descriptors + 1
    assert door.intake._newcomers == set()
    clock.now += ACCEPT_PAUSE
    door.run_until(lambda: not left)
    door.knock(Peer.request())
    clock.now += ACCEPT_PAUSE
    door.run_until(lambda: len(door.arrived) == 1)

    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage() == f"can't accept connections for now: {reason}"
    assert record.exc_info is None


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError("oops")])
def test_nothing_makes_the_listener_deaf(
    clock: Clock, door: Door, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """Whatever accepting raises; what nobody expects is shown with its traceback."""
    door.listener.errors = [error]
    door.knock(Peer.request())
    door.run_until(lambda: not door.listener.errors)
    clock.now += ACCEPT_PAUSE
    door.run_until(lambda: len(door.arrived) == 1)

    (record,) = caplog.records
    assert record.getMessage().endswith(f"for now: {type(error).__name__}")
    assert ("Traceback" in caplog.text) == (not isinstance(error, MemoryError))


def test_newcomer_that_fails_for_itself_is_one_of_many(
    door: Door, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It's dropped, with its timer; the next one doesn't wait."""
    left = fail_to_register(door, monkeypatch, OSError(errno.EPERM, "not here"), 1)
    peers = [door.knock(Peer.request()) for _ in range(2)]
    door.run_until(lambda: len(door.arrived) == 1)

    assert not left
    assert is_cut(peers[0])
    assert caplog.messages == ["connection dropped: [Errno 1] not here"]
    assert all(timer.callback is None for _, _, timer in door.loop._timers)


@pytest.mark.parametrize(
    ("data", "error"), [(b"", None), (b"GET / HT", InvalidRequest)]
)
def test_peer_that_leaves(
    door: Door, data: bytes, error: type[HandshakeError] | None
) -> None:
    """Without a word nobody answers; in the middle of a request it's a fault."""
    peer = door.knock(data)
    peer.shutdown(socket.SHUT_WR)
    door.run_until(lambda: door.listener.accepted == 1 and not door.intake._newcomers)

    assert [type(e) for e in door.refused] == ([] if error is None else [error])


def test_peer_that_resets_is_forgotten(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    """Before its request is complete there is nobody to tell."""
    peer = door.knock(b"GET / HT")
    door.run_until(lambda: len(door.intake._newcomers) == 1)
    reset(peer)
    door.run_until(lambda: not door.intake._newcomers)

    assert door.refused == []
    assert caplog.records == []


def is_cut(peer: socket.socket) -> bool:
    """Whether the connection ends without a word; what wasn't read resets it."""
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


def reset(peer: socket.socket) -> None:
    """End a connection with RST."""
    linger = struct.pack("ii", 1, 0)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    peer.close()


def test_deadline_is_absolute() -> None:
    """Who sends a byte now and then gains nothing (A4)."""
    door = Door(Settings(open_timeout=0.2))
    peer = door.knock(b"GET / HTTP/1.1\r\nX: ")
    silent = door.knock()
    try:
        sent = 0
        while not door.refused:
            # A header field has its limit, too.
            if sent < 4000:
                sent += peer.send(b"x")
            door.loop.call_soon(lambda: None)
            door.loop.run_once()
        door.run_until(lambda: not door.intake._newcomers)
        assert silent.recv(1) == b""
        assert [type(error) for error in door.refused] == [RequestTimeout]
    finally:
        door.close()


def test_no_deadline_if_none_is_wanted() -> None:
    """``open_timeout=None`` is the application's decision."""
    door = Door(Settings(open_timeout=None))
    door.knock()
    door.run_until(lambda: len(door.intake._newcomers) == 1)
    assert door.loop._timers == []
    door.close()


def test_end_drops_who_is_not_complete(door: Door) -> None:
    """Their sockets are closed, their deadlines don't count."""
    peers = [door.knock(data) for data in (b"", b"GET / HT")]
    door.run_until(lambda: len(door.intake._newcomers) == 2)

    door.intake.stop()

    assert all(map(is_cut, peers))
    assert all(timer.callback is None for _, _, timer in door.loop._timers)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (("::ffff:192.0.2.1", 80, 0, 0), ("192.0.2.1", 80)),
        (("2001:db8::1", 80, 0, 0), ("2001:db8::1", 80, 0, 0)),
        (("192.0.2.1", 80), ("192.0.2.1", 80)),
        ("", ""),
    ],
)
def test_addresses_of_ipv4_peers_look_like_it(address: Any, expected: Any) -> None:
    """Limits per address and logs go by one spelling."""
    assert normalize(address) == expected


# TLS, where the loop is in our hands.


def test_tls_handshake_that_wants_to_write(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes on when the socket can be written, and waits for nothing else then."""
    door = Door(Settings(ssl=certificate.server_context()))
    real = ssl.SSLSocket.do_handshake
    full = [True]

    def do_handshake(sock: ssl.SSLSocket, block: bool = False) -> None:
        if full:
            full.pop()
            raise ssl.SSLWantWriteError
        real(sock, block)

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", do_handshake)
    door.knock(b"\x16")
    door.run_until(lambda: not full)
    (newcomer,) = door.intake._newcomers
    fd = newcomer._socket.fileno()
    door.run_until(lambda: len(door.loop._waiters[fd]) == 1)
    door.close()


@pytest.mark.parametrize("plain", [False, True])
def test_no_descriptor_after_the_tls_handshake(
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    plain: bool,
) -> None:
    """The newcomer is dropped, be it TLS or plain HTTP on the wrong port."""
    door = Door(Settings(ssl=certificate.server_context()))

    def exhausted(*args: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(module, "connect_transport", exhausted)
    if not plain:
        monkeypatch.setattr(ssl.SSLSocket, "do_handshake", lambda sock: None)
    peer = door.knock(Peer.request())
    door.run_until(lambda: door.listener.accepted == 1 and not door.intake._newcomers)

    assert is_cut(peer)
    # A plain one on the wrong port isn't worth a word; a pause is no pause for it.
    paused = door.sock.fileno() not in door.loop._waiters
    assert paused == (not plain)
    door.close()
    assert "Traceback" not in caplog.text


# The real thing.

PROGRAM = """
import logging, resource, sys, threading
from websock import WebSocketServer, intake

intake.CALM = 0.5

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
server = WebSocketServer(
    "127.0.0.1", 0, on_data_receive=lambda client, data: client.send(data)
)
def tell():
    server.wait_ready(20)
    print(server.address[1], flush=True)
threading.Thread(target=tell).start()
server.serve_forever()
"""


def test_process_without_descriptors_recovers(tmp_path: Path) -> None:
    """Clients live on, two lines tell of it, and who waited is let in (E13)."""
    log = tmp_path / "log"
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft > 150
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        ) as process,
    ):
        assert process.stdout is not None
        address = ("127.0.0.1", int(process.stdout.readline()))
        with Peer(address).open() as client:
            crowd = [socket.create_connection(address) for _ in range(100)]
            try:
                assert wait_until(lambda: "can't accept" in log.read_text())
                for number in range(10):
                    client.send(f"still here {number}")
                    assert client.receive() == f"still here {number}"
            finally:
                for sock in crowd:
                    sock.close()
            with Peer(address).open() as late:
                late.send("let in")
                assert late.receive() == "let in"
            assert wait_until(lambda: "accepting connections again" in log.read_text())
        process.terminate()
        assert process.wait(DEADLINE) == 0
    text = log.read_text()
    assert "Traceback" not in text
    assert text.count("ERROR can't accept connections for now: Too many") == 1
    assert text.count("WARNING accepting connections again; pauses: ") == 1
