"""Downloads over plain HTTP: in pieces, as fast as the peer reads, and no faster."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.certificate import make_certificate
from tests.tools import wait_until
from websock import Client, Request, Response, WebSocketServer
from websock.connection import Connection
from websock.http import PIECE_SIZE, static_files
from websock.outbox import Outbox

from .wire import DEADLINE, Peer, ask, get, running

SIZE = 2**24
"""More than the buffers of both ends of a connection take."""


@pytest.fixture(scope="module")
def content() -> bytes:
    """Content of the large file."""
    return os.urandom(SIZE)


@pytest.fixture
def folder(tmp_path: Path, content: bytes) -> Path:
    """A folder with a large file."""
    (tmp_path / "big.bin").write_bytes(content)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[WebSocketServer]:
    """A server of the folder."""
    with running(make_server(folder)) as server:
        yield server


def make_server(folder: Path, **options: Any) -> WebSocketServer:
    """Server on a free port of the loopback."""
    return WebSocketServer("127.0.0.1", 0, http=folder, **options)


def open_files(folder: Path) -> int:
    """How many descriptors of this process are files in the folder."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        # Others may be closed meanwhile.
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith(str(folder))
    return count


def connections(server: WebSocketServer) -> list[Connection]:
    """What the main thread looks after."""
    assert server._serving is not None
    return list(server._serving._connections)


def begin(server: WebSocketServer, path: str = "/big.bin") -> Peer:
    """Ask for a file, and read no more than the beginning of the answer."""
    peer = Peer(server.address)
    peer.socket.sendall(get(path))
    assert peer.socket.recv(12) == b"HTTP/1.1 200"
    return peer


def read_digest(peer: Peer) -> str:
    """Digest of the rest of a response."""
    digest = hashlib.sha256(peer.data)
    while more := peer.socket.recv(65536):
        digest.update(more)
    return digest.hexdigest()


def test_large_file_arrives_whole(folder: Path, content: bytes) -> None:
    """To several peers at once, over TCP, TLS, and a Unix socket."""
    certificate = make_certificate(folder)
    path = str(folder / "socket")
    for options in ({}, {"ssl": certificate.server_context()}, {"unix": path}):
        server = make_server(folder, **options)
        context = certificate.client_context() if "ssl" in options else None
        family = socket.AF_UNIX if "unix" in options else socket.AF_INET
        address = path if "unix" in options else None
        digests: list[str] = []

        def fetch(
            server: WebSocketServer = server,
            context: Any = context,
            family: int = family,
            address: str | None = address,
            digests: list[str] = digests,
        ) -> None:
            where = address or server.address
            with Peer(where, context=context, family=family) as peer:
                peer.socket.sendall(get("/big.bin"))
                head = peer.read_head()
                assert peer.status == 200
                assert f"\r\nContent-Length: {SIZE}\r\n" in f"{head}\r\n"
                digests.append(read_digest(peer))

        with running(server):
            threads = [threading.Thread(target=fetch) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE)
        assert digests == [hashlib.sha256(content).hexdigest()] * 3
    assert open_files(folder) == 0


def test_head_and_known_content_open_nothing_for_long(
    server: WebSocketServer, folder: Path
) -> None:
    """Their answers have no content."""
    status, head, body = ask(server, get("/big.bin", method="HEAD"))
    assert (status, body) == (200, b"")
    assert f"Content-Length: {SIZE}" in head
    tag = head.partition("ETag: ")[2].partition("\r\n")[0]
    known = get("/big.bin")[:-2] + f"If-None-Match: {tag}\r\n\r\n".encode()
    assert ask(server, known)[0] == 304
    assert open_files(folder) == 0


def test_peers_that_do_not_read_cost_little(
    server: WebSocketServer, folder: Path
) -> None:
    """A piece of the file for each, and WebSockets don't notice."""
    peers = [begin(server) for _ in range(10)]
    try:
        assert open_files(folder) == 10
        for connection in connections(server):
            assert connection._outbox.size <= PIECE_SIZE + 1000
            assert not connection._outbox.is_empty()
        with Peer(server.address).open() as peer:
            peer.send_close()
            assert peer.closes(1000)
    finally:
        for peer in peers:
            peer.socket.close()
    assert wait_until(lambda: open_files(folder) == 0 and not connections(server))


@pytest.mark.parametrize("end", ["leaves", "resets", "stalls", "shutdown"])
def test_no_descriptor_is_lost(folder: Path, end: str) -> None:
    """However a download ends before its time."""
    server = make_server(folder, close_timeout=0.1 if end == "stalls" else 10)
    with running(server):
        peer = begin(server)
        if end == "leaves":
            peer.socket.close()
        elif end == "resets":
            peer.reset()
        elif end == "shutdown":
            server.shutdown(0.1)
        assert wait_until(lambda: open_files(folder) == 0)
        peer.socket.close()


def test_peer_that_ends_its_side_gets_the_whole_file(
    server: WebSocketServer, content: bytes
) -> None:
    """As those do that have no more to ask."""
    with Peer(server.address) as peer:
        peer.socket.sendall(get("/big.bin"))
        peer.socket.shutdown(socket.SHUT_WR)
        peer.read_head()
        assert read_digest(peer) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("change", ["shrinks", "is written to"])
def test_file_that_changes_ends_the_connection(
    server: WebSocketServer,
    folder: Path,
    change: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Too little comes, and nothing else behind it; one line tells why."""
    path = folder / "big.bin"
    os.utime(path, ns=(0, 0))
    with begin(server) as peer:
        with path.open("r+b") as file:
            if change == "shrinks":
                file.truncate(SIZE // 2)
            else:
                file.write(b"new")
        head, _, body = (b"HTTP/1.1 200" + peer.read_to_end()).partition(b"\r\n\r\n")
    assert f"\r\nContent-Length: {SIZE}".encode() in head
    assert len(body) < SIZE // 2
    assert not body.startswith(b"new")
    assert wait_until(lambda: not connections(server))
    assert open_files(folder) == 0
    assert caplog.text.count("response cut: the file changed while it was sent") == 1
    assert "Traceback" not in caplog.text


def test_file_of_process_request_that_can_not_be_sent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is gone, or its fields are none: the file is closed."""
    files = static_files(folder)
    made: list[Response] = []

    def process(client: Client, request: Request) -> Response:
        response = files(Request("GET", "/big.bin"))
        made.append(response)
        if request.path == "/cut":
            client.abort()
        else:
            monkeypatch.setattr(type(response), "has_content", fail)
        return response

    def fail(*args: object, **kwargs: object) -> bool:
        monkeypatch.undo()
        raise ValueError("wrong")

    with running(make_server(folder, process_request=process)) as server:
        for path in ("/cut", "/wrong"):
            with Peer(server.address) as peer:
                peer.socket.sendall(get(path))
                answer = peer.read_to_end()
                assert answer.startswith(b"HTTP/1.1 500" if path == "/wrong" else b"")
            assert wait_until(lambda: not connections(server))
            assert open_files(folder) == 0
    assert len(made) == 2


def test_page_that_outlives_its_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds its connection gone, and its file is closed."""
    monkeypatch.setattr("websock.serving.LAST_WORDS", 0.1)
    gate, inside = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []
    files = static_files(folder)

    def process(client: Client, request: Request) -> Response:
        threads.append(threading.current_thread())
        response = files(request)
        inside.set()
        gate.wait(DEADLINE)
        return response

    server = make_server(folder, process_request=process)
    with running(server), Peer(server.address) as peer:
        peer.socket.sendall(get("/big.bin"))
        assert inside.wait(DEADLINE)
        server.shutdown(0.1)
        assert open_files(folder) == 1
        gate.set()
        threads[0].join(DEADLINE)
        assert not threads[0].is_alive()
    assert open_files(folder) == 0


def test_file_that_can_not_be_read_on_ends_the_connection(
    server: WebSocketServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disks fail; the main thread goes on."""
    real = Outbox.read_source

    def fail(outbox: Outbox) -> None:
        if outbox._source is not None and outbox.flushed:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(outbox)

    monkeypatch.setattr(Outbox, "read_source", fail)
    with Peer(server.address) as peer:
        peer.socket.sendall(get("/big.bin"))
        assert len(peer.read_to_end()) < SIZE
    assert wait_until(lambda: open_files(folder) == 0 and not connections(server))
    with Peer(server.address).open():
        pass


class Broken:
    """Content that isn't what it says it is."""

    size = 1

    def __init__(self, piece: Any) -> None:
        self.piece = piece
        self.closed = threading.Event()

    def read(self) -> bytes:
        """Return the piece, or raise it."""
        if isinstance(self.piece, Exception):
            raise self.piece
        return self.piece  # type: ignore[no-any-return]

    def close(self) -> None:
        """Note it, and fail."""
        self.closed.set()
        raise OSError("closing, too")


@pytest.mark.parametrize("piece", [b"xx", "x", ValueError("no\ngood")], ids=repr)
def test_source_that_breaks_its_word_ends_the_connection(
    folder: Path, caplog: pytest.LogCaptureFixture, piece: Any
) -> None:
    """Nobody gets more than was promised, nor waits for what doesn't come."""
    broken = Broken(piece)
    server = make_server(
        folder, process_request=lambda *_: Response(200, source=broken)
    )
    with caplog.at_level(logging.WARNING), running(server):
        with Peer(server.address) as peer:
            peer.socket.sendall(get("/"))
            assert peer.read_to_end().endswith(b"\r\n\r\n")
        assert broken.closed.wait(DEADLINE)

    (record,) = caplog.records
    assert "response cut: " in record.getMessage()
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    ("option", "status"),
    [("max_http_connections", 503), ("max_http_connections_per_ip", 429)],
)
def test_number_of_downloads_is_limited(
    folder: Path, option: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One line tells of each that is too many; WebSockets and health don't count."""
    caplog.set_level(logging.INFO, "websock.access")
    server = make_server(folder, max_connections=1, **{option: 2})
    with running(server), begin(server), begin(server) as second:
        code, head, body = ask(server, get("/big.bin"))
        assert code == status
        assert "\r\nRetry-After: " in head
        line = f" GET /big.bin {status} "
        assert wait_until(lambda: line in caplog.text)
        (found,) = [message for message in caplog.messages if line in message]
        assert found.endswith(f" s {body.decode().strip()}")
        assert ask(server, get("/healthz"))[0] == 200
        with Peer(server.address).open():
            assert ask(server, Peer.request())[0] == 503
            second.socket.close()

            def has_room() -> bool:
                return ask(server, get("/big.bin", method="HEAD"))[0] == 200

            assert wait_until(has_room)


def test_pages_that_are_slow_count(folder: Path) -> None:
    """From the request on, also while they wait for a thread."""
    gate = threading.Event()

    def process(client: Client, request: Request) -> Response | None:
        gate.wait(DEADLINE)
        return None

    server = make_server(folder, process_request=process, max_http_connections=12)
    with running(server), contextlib.ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(12)]
        for peer in peers:
            peer.socket.sendall(get("/big.bin", method="HEAD"))
        assert wait_until(lambda: len(connections(server)) == 12)
        assert ask(server, get("/big.bin"))[0] == 503
        gate.set()
        for peer in peers:
            assert peer.read_response()[0] == 200
