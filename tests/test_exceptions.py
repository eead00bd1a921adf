"""Errors: what each one means on the wire."""

from __future__ import annotations

import inspect
from http import HTTPStatus

import pytest

from websock import exceptions
from websock.closing import Close, CloseCode
from websock.exceptions import (
    ClientGone,
    ConnectionClosed,
    HandshakeError,
    InvalidPayload,
    InvalidRequest,
    LocalProtocolError,
    MessageTooBig,
    ProtocolError,
    RemoteProtocolError,
    SendTimeout,
    UnsupportedVersion,
    WebSocketError,
)

STATUSES = {
    "InvalidRequest": 400,
    "OriginForbidden": 403,
    "HostForbidden": 403,
    "ForbiddenMethod": 405,
    "RequestTimeout": 408,
    "ContentTooLarge": 413,
    "TargetTooLong": 414,
    "UpgradeRequired": 426,
    "UnsupportedVersion": 426,
    "TooManyRequests": 429,
    "RequestTooLarge": 431,
    "UnsupportedMethod": 501,
    "UnsupportedCoding": 501,
    "TooManyConnections": 503,
    "UnsupportedHTTPVersion": 505,
}


def test_every_error_is_one_of_the_package() -> None:
    """One ``except WebSocketError`` catches all, and ``__all__`` names all."""
    classes = {
        name
        for name, value in vars(exceptions).items()
        if inspect.isclass(value)
        and issubclass(value, BaseException)
        and value.__module__ == "websock.exceptions"
    }

    assert classes == set(exceptions.__all__)
    for name in classes:
        assert issubclass(getattr(exceptions, name), WebSocketError)


@pytest.mark.parametrize(("name", "status"), STATUSES.items())
def test_a_refusal_knows_its_status(name: str, status: int) -> None:
    """No ladder of ``except`` maps errors to HTTP statuses."""
    error = getattr(exceptions, name)("no")

    assert isinstance(error, HandshakeError)
    assert error.status == status
    assert str(error) == "no"


def test_every_refusal_is_in_the_table() -> None:
    """A new class needs a line above."""
    refusals = {
        name
        for name in exceptions.__all__
        if issubclass(getattr(exceptions, name), HandshakeError)
    }

    assert refusals - {"HandshakeError"} == set(STATUSES)
    assert HandshakeError.status is HTTPStatus.BAD_REQUEST


def test_headers_of_a_refusal_come_after_those_of_its_class() -> None:
    """426 must say which version is supported (RFC 6455, 4.4)."""
    error = UnsupportedVersion("no", headers=[("X-Why", "old")])

    assert error.headers == (
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("X-Why", "old"),
    )
    assert InvalidRequest("no").headers == ()


def test_a_fault_knows_its_close_code() -> None:
    """The class says what is answered (RFC 6455, 7.4.1)."""
    assert RemoteProtocolError("x").close_code == CloseCode.PROTOCOL_ERROR
    assert InvalidPayload("x").close_code == CloseCode.INVALID_DATA
    assert MessageTooBig("size", 2, 1).close_code == CloseCode.MESSAGE_TOO_BIG
    assert issubclass(LocalProtocolError, ProtocolError)


def test_too_big_carries_its_numbers() -> None:
    """Errors carry facts, and build the sentence from them."""
    error = MessageTooBig("message size", 10, 5)

    assert (error.size, error.limit) == (10, 5)
    assert str(error) == "message size over the limit: 10 > 5"


@pytest.mark.parametrize(
    ("rcvd", "sent", "sentence"),
    [
        (None, None, "connection lost without a Close frame"),
        (Close(1001), None, "peer closed the connection: 1001 (going away)"),
        (None, Close(1000), "connection closed on this side: 1000 (normal closure)"),
        (
            Close(1000),
            Close(1000),
            "connection closed: received 1000 (normal closure),"
            " sent 1000 (normal closure)",
        ),
    ],
)
def test_closed_tells_who_closed(
    rcvd: Close | None, sent: Close | None, sentence: str
) -> None:
    """Threads that send in a loop may catch it as an OSError."""
    error = ConnectionClosed(rcvd, sent)

    assert isinstance(error, OSError)
    assert (error.rcvd, error.sent) == (rcvd, sent)
    assert str(error) == sentence


def test_client_that_is_gone_is_a_key_that_is_missing() -> None:
    """Programs that hold addresses catch it as one, others as a lost connection."""
    error = ClientGone(("192.0.2.1", 1))

    assert isinstance(error, KeyError)
    assert isinstance(error, ConnectionClosed)
    assert (error.rcvd, error.sent) == (None, None)
    assert error.address == ("192.0.2.1", 1)
    assert str(error) == "nobody is connected from ('192.0.2.1', 1)"


def test_send_timeout_is_a_timeout() -> None:
    """``except TimeoutError`` catches it."""
    assert issubclass(SendTimeout, TimeoutError)
