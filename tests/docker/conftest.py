"""Fixtures: the engine, and the image, which is built once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from ..tools import ROOT, missing
from .engine import Chat, Engine


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Engine that the environment names."""
    docker = pytest.importorskip("docker")
    try:
        client = docker.from_env(timeout=600)
    except docker.errors.DockerException:
        missing("a Docker engine", ".ci/tools/docker-engine.sh python -m pytest ...")
    try:
        client.ping()
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
