"""The examples as programs, on real sockets."""

from __future__ import annotations

import json
import os
import re
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.sync.client import ClientConnection, connect

import websock

from ..tools import ROOT

TIMEOUT: Final = 20.0
CHAT: Final = ROOT / "examples" / "chat" / "server.py"
PHONE_BOOK: Final = ROOT / "examples" / "flutter" / "server.py"
ECHO: Final = ROOT / "examples" / "echo" / "server.py"


@contextmanager
def chat(
    *options: str, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the chat; give its process and the address that it prints."""
    package = str(Path(websock.__file__).parent.parent)
    with subprocess.Popen(
        [sys.executable, str(CHAT), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": package, **variables},
    ) as process:
        try:
            assert process.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                assert selector.select(TIMEOUT)
            line = process.stdout.readline()
            match = re.fullmatch(r"Chat on http://(\S+)/\n", line)
            assert match, line + process.stdout.read()
            yield process, match[1]
            if process.poll() is None:
                process.terminate()
            assert process.wait(TIMEOUT) == 0
        finally:
            process.kill()


class Guest:
    """Somebody in the chat."""

    def __init__(self, connection: ClientConnection, name: str) -> None:
        self.connection = connection
        self.say(type="name", name=name)
        self.until(type="welcome", name=name)

    def say(self, **message: object) -> None:
        """Send a message."""
        self.connection.send(json.dumps(message))

    def until(self, **expected: object) -> dict[str, Any]:
        """Read until a message has these fields; return it."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            data = self.connection.recv(timeout=deadline - time.monotonic())
            message: dict[str, Any] = json.loads(data)
            if expected.items() <= message.items():
                return message


@pytest.fixture
def guest() -> Iterator[Callable[[str, str], Guest]]:
    """Function that sends somebody into the chat at an address."""
    with ExitStack() as stack:

        def guest(address: str, name: str) -> Guest:
            return Guest(stack.enter_context(connect(f"ws://{address}/ws")), name)

        yield guest


def test_chat_serves_page_and_room_on_one_port(
    guest: Callable[[str, str], Guest],
) -> None:
    """The page has its types and its policy; the room tells everybody everything."""
    with chat("--port", "0") as (_, address):
        types = {}
        for name in ("", "chat.js", "chat.css", "icon.svg"):
            url = f"http://{address}/{name}"
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                types[name] = answer.headers["Content-Type"]
                policy = answer.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'self';")
        ada, bob = guest(address, "Ada"), guest(address, "Bob")
        ada.until(type="joined", name="Bob")
        bob.say(type="message", text="Hello")
        ada.until(type="message", text="Hello", **{"from": "Bob"})
        ada.until(type="message", **{"from": "Bot"})

    assert types == {
        "": "text/html; charset=utf-8",
        "chat.js": "text/javascript; charset=utf-8",
        "chat.css": "text/css; charset=utf-8",
        "icon.svg": "image/svg+xml",
    }


def test_nonsense_ends_nothing(guest: Callable[[str, str], Guest]) -> None:
    """Bad JSON gets an error, and the room goes on, also for the one who sent it."""
    with chat("--port", "0") as (_, address):
        ada, bob = guest(address, "Ada"), guest(address, "Bob")
        for data in ("nonsense", "[" * 50000, b"\x00", '{"type": "shout"}'):
            ada.connection.send(data)
            ada.until(type="error", code="message")
        ada.say(type="message", text="Sorry")
        bob.until(type="message", text="Sorry")


def test_end_of_the_server_is_told(guest: Callable[[str, str], Guest]) -> None:
    """SIGTERM closes everybody with 1001 (7.4.1), and the status is 0."""
    with chat("--port", "0") as (process, address):
        ada = guest(address, "Ada")
        process.terminate()
        with pytest.raises(Exception, match="1001"):
            ada.until(type="never")
        process.wait(TIMEOUT)


def test_control_c_ends_the_chat_politely() -> None:
    """No traceback, and status 0."""
    with chat("--port", "0") as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.read() == "Goodbye!\n"
        assert process.wait(TIMEOUT) == 0


@pytest.mark.parametrize(
    ("host", "pattern"),
    [("127.0.0.1", r"127\.0\.0\.1:\d+"), ("0.0.0.0", r"0\.0\.0\.0:\d+")],
)
def test_environment_sets_host_and_port(host: str, pattern: str) -> None:
    """Containers are told by variables."""
    with chat(HOST=host, PORT="0") as (_, address):
        assert re.fullmatch(pattern, address)


def test_wrong_port_is_told_without_traceback() -> None:
    """Usage, and status 2, as for every program."""
    done = subprocess.run(
        [sys.executable, str(CHAT), "--port", "http"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**os.environ, "PYTHONPATH": str(Path(websock.__file__).parent.parent)},
    )

    assert done.returncode == 2
    assert "invalid int value: 'http'" in done.stderr


def test_busy_port_is_told_without_traceback() -> None:
    """One line that says what to do, and status 1."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [sys.executable, str(CHAT), "--host", "127.0.0.1", "--port", port],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env={**os.environ, "PYTHONPATH": str(Path(websock.__file__).parent.parent)},
        )

    assert done.returncode == 1
    assert done.stderr == (
        f"Can't listen on 127.0.0.1:{port}: Address already in use; "
        "try another port: make chat PORT=8468\n"
    )


def test_echo_sends_back_what_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text as text, and bytes as bytes."""
    servers: list[websock.WebSocketServer] = []
    original = websock.WebSocketServer

    def make(host: str, port: int, **options: Any) -> websock.WebSocketServer:
        assert (host, port) == ("127.0.0.1", 8467)
        servers.append(original(host, 0, **options))
        made.set()
        return servers[0]

    made = threading.Event()
    monkeypatch.setattr(websock, "WebSocketServer", make)
    thread = threading.Thread(target=runpy.run_path, args=[str(ECHO)])
    thread.start()
    assert made.wait(TIMEOUT)
    assert servers[0].wait_ready(TIMEOUT)
    try:
        host, port = servers[0].address[:2]
        with connect(f"ws://{host}:{port}/") as client:
            for data in ("text", b"bytes", ""):
                client.send(data)
                assert client.recv(timeout=TIMEOUT) == data
    finally:
        servers[0].close_server()
        thread.join(TIMEOUT)
    assert not thread.is_alive()


@pytest.fixture
def phone_book() -> Iterator[Any]:
    """The phone book, served; its lock says who may tell whom what."""
    module = runpy.run_path(str(PHONE_BOOK))
    book = module["PhoneBook"]("127.0.0.1", 0, None)
    thread = threading.Thread(target=book.server.serve_forever)
    thread.start()
    assert book.server.wait_ready(TIMEOUT)
    yield book
    book.server.shutdown()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_phone_book_comes_before_the_news(phone_book: Any) -> None:
    """Also for who connects while somebody else changes it."""
    url = f"ws://127.0.0.1:{phone_book.server.address[1]}/"
    asked, gate = threading.Event(), threading.Event()
    greet = phone_book.on_connection_open

    def greet_late(client: websock.Client) -> None:
        asked.set()
        gate.wait(TIMEOUT)
        greet(client)

    with connect(url) as ada:
        assert json.loads(ada.recv(TIMEOUT)) == ["book"]
        phone_book.server.on_connection_open = greet_late
        with connect(url) as bob:
            assert asked.wait(TIMEOUT)
            ada.send('["add", "Ada", "1"]')
            assert json.loads(ada.recv(TIMEOUT)) == ["added", "Ada", "1"]
            gate.set()
            assert json.loads(bob.recv(TIMEOUT)) == ["book", ["Ada", "1"]]
            ada.send('["remove", "Ada"]')
            assert json.loads(bob.recv(TIMEOUT)) == ["removed", "Ada"]


def test_phone_book_tells_mistakes_while_nobody_waits(
    phone_book: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who doesn't read what it asked for would hold up all others."""
    locked: list[bool] = []
    send = websock.Client.send

    def watch(client: websock.Client, data: Any, **options: Any) -> None:
        locked.append(phone_book._lock.locked())
        send(client, data, **options)

    monkeypatch.setattr(websock.Client, "send", watch)
    phone_book.entries = {str(number): "1" for number in range(500)}
    with connect(f"ws://127.0.0.1:{phone_book.server.address[1]}/") as peer:
        peer.recv(TIMEOUT)
        for message in ('["add", "Ada", "1"]', '["remove", "Ada"]', '["add", "", ""]'):
            peer.send(message)
            assert json.loads(peer.recv(TIMEOUT))[0] == "refused"
    assert locked == [False] * 3
