"""What the explanations say: programs of those who move, answers to faults."""

from __future__ import annotations

import re
import signal
import socket
import zlib
from pathlib import Path
from typing import Final

import pytest
from websockets.exceptions import InvalidStatus

from ..tools import ROOT, wait_until
from .program import (
    DEADLINE,
    DOCS,
    Run,
    ask,
    can_connect,
    close_of,
    free_port,
    tries,
)

MOVING: Final = DOCS / "explanation" / "moving"


@tries("explanation/moving/echo_1_0_4.py")
def test_program_for_1_0_4(run: Run) -> None:
    """A program for websock 1.0.4 runs as it is: farewell, errors and all."""
    server = run(MOVING / "echo_1_0_4.py")

    with server.connect() as client:
        assert client.recv(DEADLINE) == "Welcome to the echo server!"
        assert ask(client, "Hello") == "Hello!"
        assert ask(client, "disconnect") == "Closing socket"
        assert close_of(client) == (1000, "")
    with server.connect() as client:
        client.recv(DEADLINE)
        client.send(b"binary")
        assert client.recv(DEADLINE) == "Closing socket"
        assert close_of(client) == (1011, "")
    assert server.stop() == 0
    assert re.search(r"Connected: \('127\.0\.0\.1', \d+\)", server.output)
    assert "Error: can't concat str to bytes" in server.output
    assert server.output.endswith("Good bye!\n")


@tries("explanation/moving/origins.py")
def test_origins_of_1_0_4(run: Run) -> None:
    """Pages of the host, of the listed ones, from files, and programs get in."""
    server = run(MOVING / "origins.py")

    for origin in [
        f"http://localhost:{server.port}",
        "https://www.example.org",
        "null",
        None,
    ]:
        with server.connect(origin=origin) as client:
            assert ask(client, "Hello") == "Hello"
    with pytest.raises(InvalidStatus) as info:
        server.connect(origin="https://example.org")
    assert info.value.response.status_code == 403
    assert b"origins" in (info.value.response.body or b"")
    assert server.stop() == 0


@tries("explanation/moving/log_file.py")
def test_log_file_of_1_0_4(run: Run, tmp_path: Path) -> None:
    """The file is there again, without what clients say."""
    server = run(MOVING / "log_file.py")

    with server.connect() as client:
        assert ask(client, "private") == "private"
    assert server.stop() == 0

    log = (tmp_path / "ws.log").read_text()
    assert "listening on" in log
    assert "closed with 1000" in log
    assert "private" not in log


@tries(
    "explanation/moving/with_websockets.py",
    "explanation/moving/with_callbacks.py",
    "explanation/moving/with_a_loop.py",
)
@pytest.mark.parametrize("name", ["with_websockets", "with_callbacks", "with_a_loop"])
def test_programs_side_by_side(name: str, run: Run, tmp_path: Path) -> None:
    """The three do the same."""
    path = MOVING / f"{name}.py"
    if name == "with_websockets":
        port = free_port()
        path = tmp_path / path.name
        path.write_text((MOVING / path.name).read_text().replace("8467", str(port)))
        server = run(path, inherit=False)
        server.port = port
        assert wait_until(lambda: can_connect(port) or server.ended(), DEADLINE)
    else:
        server = run(path)

    with server.connect() as client:
        assert ask(client, "Hello") == "Hello"
        assert ask(client, "again") == "again"
    with server.connect() as client:
        assert ask(client, "Hello") == "Hello"
    server.stop(signal.SIGINT)
    assert "Error" not in server.output


KEY: Final = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION: Final = "Sec-WebSocket-Version: 13"
UPGRADE: Final = f"Upgrade: websocket\r\nConnection: Upgrade\r\n{VERSION}"
START: Final = "GET / HTTP/1.1\r\nHost: localhost"
HANDSHAKE: Final = f"{START}\r\n{UPGRADE}\r\n{KEY}"

REQUESTS: Final = {
    "no request": ("\x01\x02", 400),
    "bare line ends": (f"{START}\nA: b", 400),
    "folded header": (f"{START}\r\nA: b\r\n c", 400),
    "no host": (HANDSHAKE.replace("Host: localhost\r\n", ""), 400),
    "two hosts": (HANDSHAKE.replace("Host: localhost\r\n", "Host: a\r\n" * 2), 400),
    "malformed host": (HANDSHAKE.replace("localhost", "[::1"), 400),
    "short key": (HANDSHAKE.replace("dGhl", ""), 400),
    "two keys": (f"{HANDSHAKE}\r\n{KEY}", 400),
    "known method": (START.replace("GET", "POST"), 405),
    "unknown method": (START.replace("GET", "BREW"), 501),
    "body": (f"{START}\r\nContent-Length: 5", 413),
    "two lengths": (f"{START}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", 400),
    "HTTP/1.0": (HANDSHAKE.replace("/1.1", "/1.0"), 400),
    "HTTP/2": ("PRI * HTTP/2.0", 505),
    "version 8": (HANDSHAKE.replace("13", "8"), 426),
    "no upgrade": (START, 426),
    "not an upgrade": (HANDSHAKE.replace("Connection: Up", "Connection: notup"), 426),
    "TLS": ("\x16\x03\x01\x02\0\x01", 400),
    "foreign page": (f"{HANDSHAKE}\r\nOrigin: https://example.org", 403),
    "foreign host": (HANDSHAKE.replace("localhost", "example.org"), 403),
    "long request line": (START.replace("/ ", f"/{'a' * 8192} "), 414),
    "long header": (f"{START}\r\nA: {'b' * 8192}", 431),
    "many headers": (START + "\r\nA: b" * 128, 431),
    "large headers": (START + f"\r\nA: {'b' * 8000}" * 9, 431),
}
"""Requests without their end, and the status that the pages promise."""


def test_faults_in_requests(run: Run) -> None:
    """Each of them has the answer that the page about security has."""
    server = run(ROOT / "examples" / "echo" / "server.py")

    for name, (request, status) in REQUESTS.items():
        with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as sock:
            sock.sendall(f"{request}\r\n\r\n".encode("latin-1"))
            sock.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        assert answer.startswith(f"HTTP/1.1 {status} "), (name, answer)
        assert "connection: close" in answer.lower(), name
        assert (VERSION in answer) == (name == "version 8")
    assert server.stop() == 0
    assert "Traceback" not in server.output


def deflated(data: bytes) -> bytes:
    """Payload of a compressed message (RFC 7692, 7.2.1)."""
    compressor = zlib.compressobj(wbits=-12)
    data = compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(b"\x00\x00\xff\xff")


def frame(first: int, payload: bytes, length: bytes = b"") -> bytes:
    """Frame whose masking key is zero, so that its payload is readable."""
    if not length:
        size = len(payload)
        length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return bytes([first, length[0] | 0x80]) + length[1:] + bytes(4) + payload


FRAMES: Final = {
    "unmasked": (b"\x81\x05hello", 1002),
    "reserved opcode": (frame(0x83, b""), 1002),
    "reserved bit": (frame(0xA1, b""), 1002),
    "fragmented control frame": (frame(0x09, b""), 1002),
    "long control frame": (frame(0x89, bytes(126)), 1002),
    "continuation without a beginning": (frame(0x80, b""), 1002),
    "beginning inside": (frame(0x01, b"") + frame(0x81, b""), 1002),
    "long length": (frame(0x81, b"hello", b"\x7e\x00\x05"), 1002),
    "endless length": (frame(0x81, b"", b"\x7f\x80" + bytes(7)), 1002),
    "long message": (frame(0x82, bytes(2**20 + 1), b"\x7f\0\0\0\0\0\x10\0\1"), 1009),
    "many fragments": (frame(0x01, b"") + frame(0x00, b"") * 4096, 1009),
    "text that isn't UTF-8": (frame(0x81, b"\xff"), 1007),
    "reason that isn't UTF-8": (frame(0x88, b"\x03\xe8\xff"), 1007),
    "close code of one byte": (frame(0x88, b"\x03"), 1002),
    "forbidden close code": (frame(0x88, b"\x03\xed"), 1002),
    "message that inflates": (frame(0xC2, deflated(bytes(2**21))), 1009),
    "data that doesn't": (frame(0xC2, b"\xff\xff\xff\xff"), 1007),
}
"""Frames, and the close code that the page promises."""


def test_faults_in_frames(run: Run) -> None:
    """Each of them has the close code that the page about security has."""
    server = run(ROOT / "examples" / "echo" / "server.py")

    for name, (data, code) in FRAMES.items():
        with server.connect() as client:
            client.ping().wait(DEADLINE)
            client.socket.sendall(data)
            assert close_of(client)[0] == code, name
    assert server.stop() == 0
    assert "Traceback" not in server.output
