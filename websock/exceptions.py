"""Every error of the package, and what each one means on the wire.

A class knows its consequence: the HTTP status of a refused handshake, the close
code of a broken rule. Code that catches one never maps it to the other.

Layer: core. May import: closing.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import ClassVar

from .closing import Close, CloseCode

__all__ = [
    "ClientGone",
    "ConnectionClosed",
    "ContentTooLarge",
    "ForbiddenMethod",
    "HandshakeError",
    "HostForbidden",
    "InvalidPayload",
    "InvalidRequest",
    "LocalProtocolError",
    "MessageTooBig",
    "OriginForbidden",
    "ProtocolError",
    "RemoteProtocolError",
    "RequestTimeout",
    "RequestTooLarge",
    "SendTimeout",
    "TargetTooLong",
    "TooManyConnections",
    "TooManyRequests",
    "UnsupportedCoding",
    "UnsupportedHTTPVersion",
    "UnsupportedMethod",
    "UnsupportedVersion",
    "UpgradeRequired",
    "WebSocketError",
]


class WebSocketError(Exception):
    """Base of all errors that this package defines."""


class HandshakeError(WebSocketError):
    """An opening handshake that fails, with the HTTP response that says so.

    Args:
        message: One sentence for the body of the response and for the log.
        headers: Header fields that the response needs besides the usual ones.

    """

    status: ClassVar[HTTPStatus] = HTTPStatus.BAD_REQUEST
    """Status of the response."""

    def __init__(
        self, message: str, *, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.headers: tuple[tuple[str, str], ...] = (*self.default_headers, *headers)
        """Header fields that go into the response."""

    default_headers: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Header fields that every response of this class needs."""


class InvalidRequest(HandshakeError):
    """A request that HTTP/1.1 or RFC 6455 (4.2.1) does not allow."""


class OriginForbidden(HandshakeError):
    """A request from a page of an origin that isn't allowed (10.2)."""

    status = HTTPStatus.FORBIDDEN


class HostForbidden(HandshakeError):
    """A request for a host that this server doesn't serve (DNS rebinding)."""

    status = HTTPStatus.FORBIDDEN


class ForbiddenMethod(HandshakeError):
    """A known method that isn't allowed here (RFC 9110, 15.5.6)."""

    status = HTTPStatus.METHOD_NOT_ALLOWED
    default_headers = (("Allow", "GET, HEAD"),)


class RequestTimeout(HandshakeError):
    """A request that isn't complete at its deadline (RFC 9110, 15.5.9)."""

    status = HTTPStatus.REQUEST_TIMEOUT


class ContentTooLarge(HandshakeError):
    """A request with a body, which an opening handshake can't have."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class TargetTooLong(HandshakeError):
    """A request line over its limit (RFC 9110, 15.5.15)."""

    status = HTTPStatus.REQUEST_URI_TOO_LONG


class UpgradeRequired(HandshakeError):
    """A plain HTTP request where only WebSockets are served (RFC 9110, 15.5.22)."""

    status = HTTPStatus.UPGRADE_REQUIRED
    default_headers = (("Upgrade", "websocket"),)


class UnsupportedVersion(HandshakeError):
    """A version of the WebSocket protocol other than 13 (4.2.2, 4.4)."""

    status = HTTPStatus.UPGRADE_REQUIRED
    default_headers = (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))


class TooManyConnections(HandshakeError):
    """A connection over a limit on their number."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    default_headers = (("Retry-After", "5"),)


class TooManyRequests(HandshakeError):
    """A connection over a limit for its address (RFC 6585, 4)."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    default_headers = (("Retry-After", "5"),)


class RequestTooLarge(HandshakeError):
    """Header fields over their limit, in size or number (RFC 6585, 5)."""

    status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class UnsupportedMethod(HandshakeError):
    """A method that this server doesn't know (RFC 9110, 15.6.2)."""

    status = HTTPStatus.NOT_IMPLEMENTED


class UnsupportedCoding(HandshakeError):
    """A transfer coding that this server doesn't know (RFC 9112, 6.1)."""

    status = HTTPStatus.NOT_IMPLEMENTED


class UnsupportedHTTPVersion(HandshakeError):
    """A major version of HTTP other than 1 (RFC 9110, 15.6.6)."""

    status = HTTPStatus.HTTP_VERSION_NOT_SUPPORTED


class ProtocolError(WebSocketError):
    """A broken rule of the WebSocket protocol."""


class LocalProtocolError(ProtocolError):
    """A rule that the caller broke; nothing was sent, nothing changed."""


class RemoteProtocolError(ProtocolError):
    """A rule that the peer broke; the connection must be failed (7.1.7)."""

    close_code: ClassVar[CloseCode] = CloseCode.PROTOCOL_ERROR
    """Code of the Close frame that answers it."""


class InvalidPayload(RemoteProtocolError):
    """A payload that isn't what its message claims to be (8.1)."""

    close_code = CloseCode.INVALID_DATA


class MessageTooBig(RemoteProtocolError):
    """A message over the limit on its size or on its number of fragments (10.4).

    Args:
        what: What is too big, for the sentence.
        size: How big it is, as far as it is known.
        limit: The limit that it breaks.

    """

    close_code = CloseCode.MESSAGE_TOO_BIG

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(f"{what} over the limit: {size} > {limit}")
        self.size = size
        """Size of what is too big, as far as it is known."""
        self.limit = limit
        """The limit that it breaks."""


class ConnectionClosed(WebSocketError, ConnectionError):
    """A connection that is closed, or closing, and can't do what was asked.

    It is an :exc:`OSError` too, so that threads which send in a loop end as they
    do with a plain socket.

    Args:
        rcvd: Close frame that came from the peer; :obj:`None` if none came.
        sent: Close frame that was sent to the peer; :obj:`None` if none was.

    """

    def __init__(self, rcvd: Close | None, sent: Close | None) -> None:
        if rcvd is None and sent is None:
            sentence = "connection lost without a Close frame"
        elif sent is None:
            sentence = f"peer closed the connection: {rcvd}"
        elif rcvd is None:
            sentence = f"connection closed on this side: {sent}"
        else:
            sentence = f"connection closed: received {rcvd}, sent {sent}"
        super().__init__(sentence)
        self.rcvd = rcvd
        """Close frame that came from the peer."""
        self.sent = sent
        """Close frame that was sent to the peer."""


class ClientGone(ConnectionClosed, KeyError):
    """An address at which nobody is connected, because its client has left.

    It is a :exc:`KeyError`, too, like that of every mapping of addresses.

    Args:
        address: The address.

    """

    def __init__(self, address: object) -> None:
        super().__init__(None, None)
        self.args = (f"nobody is connected from {address!r}",)
        self.address = address
        """The address."""


class SendTimeout(WebSocketError, TimeoutError):
    """A peer that doesn't read: no room in its outbox within ``send_timeout``."""
