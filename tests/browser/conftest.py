"""Browsers, and the chat server that their pages come from."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import websock

from ..integration.wire import Peer
from ..tools import ROOT, missing, require_tool
from .drivers import Browser, Chromium, Firefox, read_line

PACKAGE: Final = Path(websock.__file__).parent.parent
"""Where the package is that is tested, so that the server has the same one."""

SCRIPT: Final = ROOT / "examples" / "chat" / "server.py"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A running Chromium."""
    path = require_tool("chromium", "chromium-browser", apt="chromium")
    try:
        # Not at the head: tests that need no browser are collected without it.
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright", "pip install playwright")
    with sync_playwright() as playwright:
        chromium = Chromium(playwright, path)
        yield chromium
        chromium.browser.close()


@pytest.fixture(scope="session")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    """A running Firefox."""
    path = require_tool("firefox-esr", "firefox", apt="firefox-esr")
    firefox = Firefox(path, tmp_path_factory.mktemp("firefox"))
    yield firefox
    firefox.stop()


@pytest.fixture(params=["chromium", "firefox"])
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Each of the browsers; its windows are closed after the test."""
    browser: Browser = request.getfixturevalue(request.param)
    yield browser
    browser.close_pages()


class ChatServer:
    """The chat example as its users start it: a program of its own."""

    def __init__(self) -> None:
        self.url = ""
        self._process: subprocess.Popen[str] | None = None
        self._crowd = contextlib.ExitStack()

    def come(self, name: str) -> Peer:
        """Let somebody in who has no browser."""
        peer = Peer(("127.0.0.1", int(self.port)))
        self._crowd.enter_context(peer)
        peer.open("/ws").send(json.dumps({"type": "name", "name": name}))
        return peer

    def disperse(self) -> None:
        """Let all of those go."""
        self._crowd.close()

    @property
    def port(self) -> str:
        """Port that it is on, or was on; 0 before the first start."""
        return self.url.rstrip("/").rpartition(":")[2] or "0"

    def start(self) -> None:
        """Start it, on the same port if it ran before."""
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "--port", self.port],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        )
        assert self._process.stdout is not None
        self.url = read_line(self._process.stdout, r"Chat on (http://\S+/)")

    def stop(self) -> int:
        """End it as a service manager does; return its exit status."""
        self.disperse()
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.terminate()
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
            raise
        finally:
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    """A running chat server."""
    chat = ChatServer()
    chat.start()
    yield chat
    assert chat.stop() == 0
