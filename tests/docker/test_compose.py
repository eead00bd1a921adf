"""compose.yaml, as users run it."""

from __future__ import annotations

import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..tools import ROOT, missing
from .engine import Chat, Engine, free_port

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

FILE = ROOT / "compose.yaml"
PORTS = '    ports:\n      - "127.0.0.1:8467:8467"\n'
IMAGE = "    image: websock-chat\n"


@pytest.fixture(scope="module")
def command() -> list[str]:
    """Command that compose has here: the program, or the plugin of Docker."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    plugin = ["docker", "compose"]
    if shutil.which("docker"):
        done = subprocess.run([*plugin, "version"], capture_output=True, check=False)
        if done.returncode == 0:
            return plugin
    missing("docker-compose", "apt-get install docker-compose")


def run(command: list[str]) -> str:
    """Run a command, and return what it prints."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def replace(text: str, old: str, new: str) -> str:
    """Replace a part that is there exactly once."""
    assert text.count(old) == 1, f"compose.yaml has changed: {old!r}"
    return text.replace(old, new)


@pytest.fixture
def up(
    engine: Engine, image: str, command: list[str], tmp_path: Path
) -> Iterator[tuple[list[str], Chat]]:
    """Compose's command for a project that is up, and its container.

    The file is the user's one, but for the image, which is built already, and the
    port, which may be in use.
    """
    port = free_port()
    if engine.has_bridge:
        ports = PORTS.replace("127.0.0.1:8467", f"127.0.0.1:{port}")
    else:
        ports = f'    network_mode: host\n    environment:\n      PORT: "{port}"\n'
    text = replace(FILE.read_text(), PORTS, ports)
    text = replace(text, IMAGE, f"    image: {image}\n")
    file = tmp_path / "compose.yaml"
    file.write_text(text)
    project = f"websock{uuid.uuid4().hex[:8]}"
    compose = [*command, "-f", str(file), "-p", project]
    compose += ["--project-directory", str(ROOT)]
    started = int(time.time())
    try:
        run([*compose, "up", "-d", "--no-build"])
        (name,) = run([*compose, "ps", "-q"]).split()
        container = engine.client.containers.get(name)
        engine.wait_healthy(container, started)
        yield compose, Chat(container, port)
    finally:
        run([*compose, "down", "-t", "0"])


def test_file_is_valid(command: list[str]) -> None:
    """Compose understands the file as it is in the repository."""
    run([*command, "-f", str(FILE), "config", "-q"])


def test_page_and_chat_come_up_and_go_down(up: tuple[list[str], Chat]) -> None:
    """Page and socket answer, under the file's restrictions; it ends with status 0."""
    compose, chat = up
    host = chat.container.attrs["HostConfig"]

    status, _, body = chat.fetch("/")
    with chat.enter("Ada") as ada:
        ada.send('{"type": "message", "text": "Hello!"}')
        chat.hear(ada, type="message", text="Hello!")
    run([*compose, "stop"])

    assert (status, "<title>" in body) == (200, True)
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert chat.status(10) == 0
