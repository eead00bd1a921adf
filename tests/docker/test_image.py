"""The image: what is in it, how it runs, and how it ends."""

from __future__ import annotations

import json
import socket
import time

import pytest
from websockets.exceptions import ConnectionClosed

from .engine import BASE, Chat, Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

GRACE = 10
"""Seconds that an engine gives a container before it kills it, by default."""


def test_image_says_how_it_runs(engine: Engine, image: str) -> None:
    """Port, user, check, and a program that gets the signals are in the image."""
    config = engine.client.images.get(image).attrs["Config"]

    assert list(config["ExposedPorts"]) == ["8467/tcp"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["python", "server.py"]
    assert config["Healthcheck"]["Test"][0] == "CMD"


def test_image_is_small(engine: Engine, image: str) -> None:
    """The image adds less than 3 MB to its base: no compiler, no sources, no caches."""
    size = engine.client.images.get(image).attrs["Size"]
    base = engine.client.images.get(BASE).attrs["Size"]

    assert size - base < 3_000_000


def test_only_what_is_needed_is_in_the_image(chat: Chat) -> None:
    """The folder of the program has the chat's files, and nothing of the build."""
    listing = "import os; print(*sorted(os.listdir()), *os.listdir('/tmp'))"

    files = chat.run(listing).split()

    assert "server.py" in files
    assert "page" in files
    assert not {"__pycache__", "wheels", "tests", ".git", "Dockerfile"} & set(files)


def test_accelerator_is_in_the_image(chat: Chat) -> None:
    """The compiler of the first stage made the C twin of the core."""
    assert chat.run("import websock._speedups as s; print(s.__file__)").endswith(".so")


def test_program_is_not_root(chat: Chat) -> None:
    """All processes run as the user of the image, without capabilities."""
    code = "import os; print(os.getuid(), os.getgid(), os.stat('/proc/1').st_uid)"

    assert chat.run(code) == "10001 10001 10001"


def test_root_is_read_only(chat: Chat) -> None:
    """The program is healthy although nothing can be written anywhere."""
    code = (
        "import errno\n"
        "for path in '/app/x', '/tmp/x', '/x':\n"
        "    try:\n"
        "        open(path, 'w')\n"
        "    except OSError as exc:\n"
        "        print(errno.errorcode[exc.errno])\n"
    )

    assert chat.run(code).split() == ["EROFS"] * 3


def test_page_is_served(chat: Chat) -> None:
    """The port answers a browser with the page, and the check with its own."""
    status, kind, body = chat.fetch("/")

    assert (status, kind.partition(";")[0]) == (200, "text/html")
    assert "<title>" in body
    assert chat.fetch("/chat.js")[1].startswith("text/javascript")
    assert chat.fetch("/healthz")[0] == 200


def test_two_people_chat(chat: Chat) -> None:
    """What one says arrives at the other, in the same container."""
    with chat.enter("Ada") as ada, chat.enter("Bob") as bob:
        ada.send(json.dumps({"type": "message", "text": "Hello, Bob!"}))

        message = chat.hear(bob, type="message", text="Hello, Bob!")

    assert message["from"] == "Ada"


def test_sigterm_says_goodbye(engine: Engine, image: str) -> None:
    """SIGTERM closes each connection with 1001, and the container ends with 0."""
    with (
        engine.chat(image) as chat,
        chat.enter("Ada") as ada,
        chat.enter("Bob") as bob,
    ):
        begun = time.monotonic()

        chat.container.kill("SIGTERM")

        for client in (ada, bob):
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    client.recv(timeout=GRACE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        assert chat.status(GRACE) == 0
        assert time.monotonic() - begun < GRACE


def test_silent_client_does_not_delay_the_end(engine: Engine, image: str) -> None:
    """A client that answers nothing is left behind within the grace time."""
    with engine.chat(image) as chat:
        request = (
            "GET / HTTP/1.1\r\n"
            f"Host: 127.0.0.1:{chat.port}\r\n"
            "Connection: Upgrade\r\n"
            "Upgrade: websocket\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", chat.port), timeout=10) as silent:
            silent.sendall(request.encode())
            assert silent.recv(4096).startswith(b"HTTP/1.1 101 ")

            # Sends SIGTERM, and SIGKILL after the grace time: status 137 then.
            chat.container.stop(timeout=GRACE)

            assert chat.status(GRACE) == 0
