"""Fixtures of the attacks: an arena over plain TCP, over TLS, or over both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ...certificate import Certificate, make_certificate
from .arena import Arena

__all__ = ["MakeArena"]

MakeArena = Callable[..., Arena]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Certificate for all servers with TLS."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def tcp_arena(caplog: pytest.LogCaptureFixture) -> MakeArena:
    """Make an arena over plain TCP, with options for its server."""

    def make(**options: Any) -> Arena:
        return Arena(caplog, None, **options)

    return make


@pytest.fixture
def tls_arena(caplog: pytest.LogCaptureFixture, certificate: Certificate) -> MakeArena:
    """Make an arena over TLS, with options for its server."""

    def make(**options: Any) -> Arena:
        return Arena(caplog, certificate, **options)

    return make


@pytest.fixture(params=["tcp", "tls"])
def arena(request: pytest.FixtureRequest) -> MakeArena:
    """Make an arena; the test runs over plain TCP, and over TLS."""
    make: MakeArena = request.getfixturevalue(f"{request.param}_arena")
    return make


@pytest.fixture(params=["tcp", "tls"])
def flooded_arena(request: pytest.FixtureRequest) -> MakeArena:
    """Make an arena whose attackers go on sending, over plain TCP and over TLS."""
    make: MakeArena = request.getfixturevalue(f"{request.param}_arena")
    return make


@pytest.fixture
def _one_byte_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers read byte by byte, as if each had come in a packet of its own.

    Small packets alone don't do that: whoever reads late gets many in one piece.
    """
    monkeypatch.setattr("websock.transport.READ_SIZE", 1)
