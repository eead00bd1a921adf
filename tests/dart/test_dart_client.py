"""Dart's WebSocket, through ``web_socket_channel``, as a foreign client."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from ..certificate import make_certificate
from ..echo_server import echo_server
from .conftest import App

pytestmark = [pytest.mark.dart, pytest.mark.timeout(600)]

SCENARIOS = [
    "text in all of Unicode",
    "binary messages",
    "empty messages",
    "messages of 1 MiB",
    "a message that is too big",
    "a thousand messages at once",
    "a subprotocol",
    "no common subprotocol",
    "close by the client",
    "close by the server",
    "pings by the client",
    "a ping by the server",
    "compression as offered by default",
    "compression off",
    "compression off at the server",
    "no context takeover by the client",
    "no context takeover by the server",
    "a window of 9 bits at the client",
    "a window of 9 bits at the server",
    "TLS",
]


class Outcome:
    """What the client says, and what the server says of the connections' ends."""

    def __init__(self, faults: Mapping[str, str | None]) -> None:
        self.faults = faults
        self.closes: list[tuple[int | None, str]] = []


@pytest.fixture(scope="module")
def outcome(app: App) -> Outcome:
    """All scenarios of the client, run one after the other."""
    program = app.build("/w/bin/echo_client.dart")
    made = make_certificate(app.folder)
    with (
        echo_server(subprotocols=["chat", "chat.v2"]) as echo,
        echo_server(compression=None) as plain,
        echo_server(ssl=made.server_context()) as tls,
    ):
        code, output = app.run(
            *("dart", program, echo.url, plain.url),
            *(f"wss://127.0.0.1:{tls.port}/", "/w/certificate.pem"),
        )
    assert code == 0, output
    outcome = Outcome(dict(json.loads(line) for line in output.splitlines()))
    while not echo.closed.empty():
        outcome.closes.append(echo.closed.get())
    return outcome


def test_all_scenarios_ran(outcome: Outcome) -> None:
    """The client knows the scenarios of this module, and no others."""
    assert list(outcome.faults) == SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_dart_gets_along_with(outcome: Outcome, scenario: str) -> None:
    """The client found nothing wrong."""
    assert outcome.faults[scenario] is None


def test_code_and_reason_of_dart_arrive(outcome: Outcome) -> None:
    """A Close frame's code and reason reach on_connection_close (RFC 6455, 7.1.5)."""
    assert (4321, "tschüß") in outcome.closes


def test_no_connection_of_dart_was_lost(outcome: Outcome) -> None:
    """Each ended by a closing handshake; 1006 would say otherwise (7.1.5)."""
    assert 1006 not in [code for code, _ in outcome.closes]
