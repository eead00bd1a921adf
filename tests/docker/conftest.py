"""Fixtures: the engine, and the image, which is built once."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator

import pytest

from ..tools import ROOT, missing
from .engine import Chat, Engine


def engine_listens() -> bool:
    """Tell whether an engine is there; the SDK leaks a socket when it isn't."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(host.removeprefix("unix://")) == 0


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Engine that the environment names."""
    if not engine_listens():
        missing("a Docker engine", ".ci/tools/docker-engine.sh python -m pytest ...")
    # Only these tests need the SDK, and the others run without it.
    import docker

    client = docker.from_env(timeout=600)
    try:
        yield Engine(client)
    finally:
        client.close()


@pytest.fixture(scope="session")
def image(engine: Engine) -> Iterator[str]:
    """Name of the image, built from the tree as it is."""
    tag = f"websock-chat:{uuid.uuid4().hex[:12]}"
    packages = f"gcc libc6-dev {engine.headers_package()}".strip()
    engine.client.images.build(
        path=str(ROOT),
        tag=tag,
        rm=True,
        forcerm=True,
        network_mode="host",
        buildargs={"BUILD_PACKAGES": packages},
    )
    yield tag
    engine.client.images.remove(tag, force=True)


@pytest.fixture(scope="module")
def chat(engine: Engine, image: str) -> Iterator[Chat]:
    """Container that the tests of a module share; they leave it running."""
    with engine.chat(image) as running:
        yield running
