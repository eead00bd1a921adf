"""How-to guides for writing a server, and the page about logging."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.typing import Subprotocol

from ..tools import ROOT, wait_until
from .program import (
    DEADLINE,
    DOCS,
    HOWTO,
    Run,
    ask,
    close_of,
    tries,
)


@pytest.mark.slow
@tries("howto/testing/shout.py", "howto/testing/test_shout.py")
def test_tests_of_users(run: Run, tmp_path: Path) -> None:
    """The tests of the page pass, the program runs, and a fault is found."""
    for path in (HOWTO / "testing").glob("*.py"):
        shutil.copy(path, tmp_path)
    program = tmp_path / "shout.py"

    assert run_pytest(tmp_path) == 0
    server = run(program)
    with server.connect() as client:
        assert ask(client, "hello") == "HELLO!"
    assert server.stop() == 0

    program.write_text(program.read_text().replace("upper", "lower"))
    assert run_pytest(tmp_path) == 1


def run_pytest(folder: Path) -> int:
    """Run the tests of a folder as its owner would; return the status."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        timeout=4 * DEADLINE,
    ).returncode


@tries("howto/authentication.py")
def test_authentication(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cookie that the web application signed lets in, any other doesn't."""
    monkeypatch.setenv("CHAT_KEY", "a key for tests")
    path = HOWTO / "authentication.py"
    cookie = runpy.run_path(str(path))["sign"]("ann.b")
    server = run(path)

    with server.connect(additional_headers={"Cookie": f"session={cookie}"}) as client:
        assert client.recv(DEADLINE) == "Hello, ann.b!"
    for wrong in ("", cookie.replace("ann", "bob"), f"{cookie}0", "%C3%A9.0"):
        with pytest.raises(InvalidStatus) as info:
            server.connect(additional_headers={"Cookie": f"session={wrong}"})
        assert info.value.response.status_code == 403
        assert info.value.response.body == b"Please log in first.\n"
    assert server.get("/")[0] == 403
    assert server.stop() == 0

    monkeypatch.delenv("CHAT_KEY")
    assert run(path).wait() == 1


@tries("howto/subprotocols.py")
def test_subprotocols(run: Run) -> None:
    """The client's order decides; who offers none is told what to offer."""
    server = run(HOWTO / "subprotocols.py")

    def offer(*names: str) -> ClientConnection:
        return server.connect(subprotocols=[Subprotocol(name) for name in names])

    with offer("chat.v1", "chat.v2") as client:
        assert client.subprotocol == "chat.v1"
        assert client.recv(DEADLINE) == "Welcome!"
    with offer("chat.v3", "chat.v2") as client:
        assert client.recv(DEADLINE) == '{"type": "welcome"}'
    with offer("chat.v3") as client:
        assert close_of(client) == (1008, "offer chat.v1 or chat.v2")
    assert server.stop() == 0


@tries("howto/select_subprotocol.py")
def test_choice_of_subprotocol(run: Run) -> None:
    """The server's order decides."""
    server = run(HOWTO / "select_subprotocol.py")

    for names, chosen in [
        (["chat.v1", "chat.v2"], "chat.v2"),
        (["chat.v1"], "chat.v1"),
        (["chat.v3"], "None"),
    ]:
        offer = [Subprotocol(name) for name in names]
        with server.connect(subprotocols=offer) as client:
            assert client.recv(DEADLINE) == chosen
    assert server.stop() == 0


@tries("howto/files.py")
def test_files(run: Run, tmp_path: Path) -> None:
    """What the page says about files, and the health check."""
    site = tmp_path / "site"
    (site / "help").mkdir(parents=True)
    (site / "index.html").write_text("start")
    (site / "help" / "index.html").write_text("help")
    (site / ".secret").write_text("secret")
    server = run(HOWTO / "files.py")

    assert server.get("/")[1].endswith("start")
    assert server.get("/help/")[1].endswith("help")
    assert server.get("/.secret")[0] == 404
    assert server.get("/../files.log")[0] == 404
    status, answer = server.get("/healthz")
    assert status == 200
    assert answer.endswith("ok\n")
    assert "default-src 'self'" in server.get("/")[1]
    with server.connect(origin="http://127.0.0.1") as client:
        assert ask(client, "Hello") == "Hello"
    assert server.stop() == 0


@tries("howto/answers.py")
def test_answers(run: Run) -> None:
    """An answer of the program's own, beside WebSockets and the health check."""
    server = run(HOWTO / "answers.py")

    with server.connect() as client:
        assert wait_until(lambda: '{"clients": 1}' in server.get("/count")[1], DEADLINE)
        client.close()
    assert server.get("/other")[0] == 426
    assert server.get("/healthz")[0] == 200
    assert server.stop() == 0


@tries("howto/ticker.py")
def test_ticker(run: Run) -> None:
    """Everybody gets the time; the end of the server is the end of the thread."""
    server = run(HOWTO / "ticker.py")

    with server.connect() as one, server.connect() as other:
        for client in (one, other):
            assert re.fullmatch(r"\d\d:\d\d:\d\d", str(client.recv(DEADLINE)))
    assert server.stop() == 0


@tries("reference/access_log.py")
def test_access_log(run: Run, tmp_path: Path) -> None:
    """Lines of connections go to the file, those of the server to the terminal."""
    server = run(DOCS / "reference" / "access_log.py")

    with server.connect("/a?secret=1") as client:
        assert ask(client, "Hello") == "Hello"
    assert server.stop() == 0

    access = (tmp_path / "access.log").read_text()
    assert re.fullmatch(
        r"127\.0\.0\.1:\d+ GET /a 101 \d+\.\d{3} s closed with 1000\n", access
    )
    assert "websock.server listening on" in server.output
    assert "closed with" not in server.output
