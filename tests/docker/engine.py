"""The engine and the containers, as the tests of the image use them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from ..tools import ROOT

if TYPE_CHECKING:
    # Who runs the quick tests alone need not have it.
    from docker import DockerClient
    from docker.models.containers import Container

__all__ = ["BASE", "Chat", "Engine", "free_port"]

(BASE,) = re.findall(
    r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
)
PORT = 8467


@dataclasses.dataclass
class Chat:
    """A container of the chat, and the address of its port on this machine."""

    container: Container
    port: int

    @property
    def origin(self) -> str:
        """Origin of the page."""
        return f"http://127.0.0.1:{self.port}"

    def fetch(self, path: str) -> tuple[int, str, str]:
        """Fetch a resource; return status, type of content, and body."""
        with urllib.request.urlopen(self.origin + path, timeout=10) as response:
            kind = response.headers["Content-Type"]
            return response.status, kind, response.read().decode()

    @contextlib.contextmanager
    def enter(self, name: str) -> Iterator[ClientConnection]:
        """Enter the chat as the page does, and yield the connection."""
        url = f"ws://127.0.0.1:{self.port}/"
        origin = Origin(self.origin)
        with connect(url, origin=origin, close_timeout=5) as connection:
            connection.send(json.dumps({"type": "name", "name": name}))
            self.hear(connection, type="welcome", name=name)
            yield connection

    def hear(self, connection: ClientConnection, **wanted: str) -> dict[str, Any]:
        """Receive until a message has these members, and return it."""
        deadline = time.monotonic() + 10
        while True:
            text = connection.recv(timeout=max(0, deadline - time.monotonic()))
            message: dict[str, Any] = json.loads(text)
            if wanted.items() <= message.items():
                return message

    def run(self, code: str) -> str:
        """Run Python code in the container, and return what it prints."""
        status, output = self.container.exec_run(["python", "-c", code])
        assert isinstance(output, bytes)
        assert status == 0, output.decode()
        return output.decode().strip()

    def status(self, timeout: float) -> int:
        """Wait for the end of the container, and return its exit status."""
        return int(self.container.wait(timeout=timeout)["StatusCode"])


class Engine:
    """A Docker engine that answers."""

    def __init__(self, client: DockerClient) -> None:
        self.client = client
        # An engine may have been started without it: all share the host's then.
        self.has_bridge = bool(client.networks.list(names=["bridge"]))

    def headers_package(self) -> str:
        """Package that the build needs besides the compiler, or nothing.

        The official base image has Python's headers; one that is made of Debian's
        packages gets them from another package.
        """
        code = (
            "import os, sysconfig\n"
            "path = os.path.join(sysconfig.get_path('include'), 'Python.h')\n"
            "print('' if os.path.exists(path) else 'libpython3-dev')"
        )
        output = self.client.containers.run(
            BASE, ["python", "-c", code], remove=True, network_mode="none"
        )
        return output.decode().strip()

    @contextlib.contextmanager
    def chat(self, image: str) -> Iterator[Chat]:
        """Run a container that is as confined as it may be, until it's healthy."""
        options: dict[str, Any]
        if self.has_bridge:
            port = None
            options = {"ports": {f"{PORT}/tcp": ("127.0.0.1", None)}}
        else:
            port = free_port()
            options = {"network_mode": "host", "environment": {"PORT": str(port)}}
        started = int(time.time())
        container = self.client.containers.run(
            image,
            detach=True,
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            # The image's own check, but sooner.
            healthcheck={"interval": 500_000_000},
            **options,
        )
        try:
            self.wait_healthy(container, started)
            if port is None:
                container.reload()
                (binding,) = container.attrs["NetworkSettings"]["Ports"][f"{PORT}/tcp"]
                port = int(binding["HostPort"])
            yield Chat(container, port)
        finally:
            container.remove(force=True, v=True)

    def wait_healthy(self, container: Container, since: int) -> None:
        """Wait for the event that tells that a container is healthy."""
        events = self.client.events(
            decode=True,
            since=since,
            until=int(time.time()) + 60,
            filters={"container": container.id, "event": ["health_status", "die"]},
        )
        with contextlib.closing(events):
            for _ in events:
                container.reload()
                state = container.attrs["State"]
                if state["Status"] != "running":
                    break
                if state["Health"]["Status"] == "healthy":
                    return
        container.reload()
        state = json.dumps(container.attrs["State"], indent=1)
        raise AssertionError(f"not healthy: {state}\n{container.logs().decode()}")


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
