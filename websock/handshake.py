"""Opening handshake: judging the request, writing the response (4).

The functions take a :class:`~websock.request.Request` as the reader made it, and
hold it to RFC 6455 (4.2); what comes out is a :class:`Response`, and its bytes.

Layer: core. May import: exceptions, extensions.base, headers, request.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

from .exceptions import (
    HandshakeError,
    InvalidRequest,
    UnsupportedVersion,
    UpgradeRequired,
)
from .extensions.base import Extension, ExtensionOffer, ServerExtensionFactory
from .headers import (
    Headers,
    HeadersLike,
    is_token,
    parse_extensions,
    parse_subprotocols,
    parse_token_list,
    serialize_extensions,
    shown,
)
from .request import Request, RequestReader

__all__ = [
    "Request",
    "RequestReader",
    "Response",
    "Source",
    "accept_key",
    "accept_response",
    "check_upgrade",
    "is_upgrade",
    "negotiate_extensions",
    "negotiate_subprotocol",
    "offered_subprotocols",
    "refuse",
    "serialize_response",
    "wants_upgrade",
]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What is appended to the key (1.3)."""

MAX_OFFERS: Final = 32
"""How many offers of extensions are considered; browsers make one or two."""

# 16 bytes in base64 are 22 characters and the padding.
_KEY: Final = re.compile(r"[0-9A-Za-z+/]{22}==")

_ACCEPTED_FIELDS: Final = frozenset(
    {
        "connection",
        "content-length",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields of a 101 response that the handshake decides, in lower case."""


class Source(Protocol):
    """Content of a response that is read piece by piece, while it's sent.

    It's used for one response, by one thread at a time; whoever sends that response
    closes it. A server reads it on its main thread while the response is sent: what
    it takes must be at hand, as a local file is, because everybody else waits. An
    exception cuts the response; :exc:`SystemExit` goes on, and ends the server.
    """

    @property
    def size(self) -> int:
        """Size of the whole content, in bytes."""
        ...

    def read(self) -> bytes:
        """Read the next piece; empty at the end.

        Raises:
            OSError: If the rest of what :attr:`size` promises can't be had.

        """
        ...

    def close(self) -> None:
        """Release what it holds; more than once does no harm."""
        ...


@dataclass(slots=True, init=False)
class Response:
    """A response to a request that doesn't become a WebSocket, or the 101 if it does.

    The length of the body and the end of the connection are none of its fields'
    business: :func:`serialize_response` sees to them.

    Args:
        status: Status code.
        headers: Header fields: headers, a mapping, or pairs of names and values.
        body: Content; a string is encoded in UTF-8.
        source: Content that is read while it's sent, instead of ``body``; for files.

    Raises:
        ValueError: If ``status`` isn't a final status code or 101, a field has
            characters that it can't have, or there are two contents.

    """

    status: int
    """Status code."""
    headers: Headers
    """Header fields."""
    body: bytes = field(repr=False)
    """Content that is in memory."""
    source: Source | None = field(repr=False)
    """Content that isn't; :obj:`None` if there is none."""

    def __init__(
        self,
        status: int,
        headers: HeadersLike = (),
        body: bytes | str = b"",
        *,
        source: Source | None = None,
    ) -> None:
        if status != HTTPStatus.SWITCHING_PROTOCOLS and not 200 <= status <= 599:
            raise ValueError(f"invalid status of a response: {status!r}")
        if body and source is not None:
            raise ValueError("a response has a body or a source, not both")
        self.status = int(status)
        self.headers = Headers(headers)
        self.body = body.encode() if isinstance(body, str) else bytes(body)
        self.source = source

    def has_content(self, *, head: bool) -> bool:
        """Whether content follows the header fields (RFC 9110, 6.4.1).

        Args:
            head: Whether the response answers a HEAD request.

        """
        return not head and self.status not in (
            HTTPStatus.SWITCHING_PROTOCOLS,
            HTTPStatus.NO_CONTENT,
            HTTPStatus.NOT_MODIFIED,
        )


def _has_upgrade(request: Request) -> bool:
    # RFC 9110 (7.8): a list of protocols, compared in any case. A protocol may
    # have a version after a slash, so that its elements aren't all tokens.
    protocols = request.headers.get("Upgrade", "").lower().split(",")
    return "websocket" in (protocol.strip(" \t") for protocol in protocols)


def _has_connection_upgrade(request: Request) -> bool:
    options = request.headers.get("Connection", "").lower().split(",")
    return "upgrade" in (option.strip(" \t") for option in options)


def is_upgrade(request: Request) -> bool:
    """Tell whether a request asks for an upgrade to WebSocket (4.2.1).

    It does if ``Connection`` has the token ``upgrade``, and ``Upgrade`` the token
    ``websocket``, both in any case. Two fields of one name are one list
    (RFC 9110, 5.3).
    """
    return _has_upgrade(request) and _has_connection_upgrade(request)


def wants_upgrade(request: Request) -> bool:
    """Tell whether a request means an opening handshake, be it a valid one or not.

    Besides those that ask for an upgrade, this takes the ones from which a proxy
    removed a half, so that they get the answer of :func:`check_upgrade` instead
    of a page. ``Connection: upgrade`` alone means nothing: reverse proxies are
    often set up to send it with every request.
    """
    return _has_upgrade(request) or "Sec-WebSocket-Key" in request.headers


def check_upgrade(request: Request) -> str:
    """Hold a request to the rules of an opening handshake (4.2.1).

    Returns:
        The key, for :func:`accept_response`.

    Raises:
        UpgradeRequired: If it doesn't ask for an upgrade, or only for half of it.
        UnsupportedVersion: If its version isn't 13, or it has none.
        InvalidRequest: If it breaks another rule.

    """
    if request.method != "GET":
        raise InvalidRequest(
            f"an opening handshake is a GET request, not {shown(request.method)}"
        )
    if request.http_version < "1.1":
        raise InvalidRequest("an opening handshake needs HTTP/1.1, not HTTP/1.0")
    for header, expected, there in (
        ("Upgrade", "websocket", _has_upgrade(request)),
        ("Connection", "upgrade", _has_connection_upgrade(request)),
    ):
        if not there:
            value = request.headers.get(header)
            found = "it is missing" if value is None else f"it is {shown(value)}"
            raise UpgradeRequired(
                f"an opening handshake has {expected!r} in its {header} header; {found}"
            )
    parse_token_list(request.headers["Connection"], header="Connection")
    for element in request.headers["Upgrade"].split(","):
        protocol = element.strip(" \t")
        if protocol and not all(is_token(part) for part in protocol.split("/", 1)):
            raise InvalidRequest("invalid Upgrade header")
    versions = request.headers.get_all("Sec-WebSocket-Version")
    if versions != ["13"]:
        found = shown(", ".join(versions)) if versions else "none"
        raise UnsupportedVersion(
            f"unsupported Sec-WebSocket-Version: {found}; only 13 is supported"
        )
    keys = request.headers.get_all("Sec-WebSocket-Key")
    if len(keys) != 1:
        raise InvalidRequest(
            f"an opening handshake has one Sec-WebSocket-Key header, not {len(keys)}"
        )
    if _KEY.fullmatch(keys[0]) is None:
        raise InvalidRequest(
            f"invalid Sec-WebSocket-Key: {shown(keys[0])} isn't 16 bytes in base64"
        )
    return keys[0]


def accept_key(key: str) -> str:
    """Answer to the key of a client, for ``Sec-WebSocket-Accept`` (4.2.2)."""
    # A checksum against accidents, not a secret: SHA-1 is what the RFC says.
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False)
    return base64.b64encode(digest.digest()).decode()


def negotiate_extensions(
    request: Request, factories: Sequence[ServerExtensionFactory]
) -> tuple[list[ExtensionOffer], list[Extension]]:
    """Agree on extensions (4.2.2, 9.1).

    Offers are taken in the order of the client's preference, at most
    :data:`MAX_OFFERS` of them. Each extension is agreed on once, and none that
    wants a reserved bit that another one owns already.

    Returns:
        Agreed parameters, for :func:`accept_response`, and the extensions, in
        the same order.

    Raises:
        InvalidRequest: If the client's header is malformed.

    """
    makers = {factory.name: factory for factory in factories}
    agreed: list[ExtensionOffer] = []
    extensions: list[Extension] = []
    offers = parse_extensions(request.headers.get("Sec-WebSocket-Extensions", ""))
    for name, params in offers[:MAX_OFFERS]:
        factory = makers.get(name)
        result = None if factory is None else factory.negotiate(params)
        if result is None:
            continue
        answer, extension = result
        if any(_share_a_bit(extension, other) for other in extensions):
            continue
        del makers[name]
        agreed.append((name, answer))
        extensions.append(extension)
    return agreed, extensions


def _share_a_bit(one: Extension, other: Extension) -> bool:
    return (
        (one.rsv1 and other.rsv1)
        or (one.rsv2 and other.rsv2)
        or (one.rsv3 and other.rsv3)
    )


def offered_subprotocols(request: Request) -> list[str]:
    """Subprotocols that the client speaks, the one it prefers first (4.1).

    Raises:
        InvalidRequest: If one isn't a token, or comes twice.

    """
    return parse_subprotocols(request.headers.get("Sec-WebSocket-Protocol", ""))


def negotiate_subprotocol(request: Request, supported: Sequence[str]) -> str | None:
    """Choose the first of the client's subprotocols that the server speaks.

    Returns:
        The subprotocol; :obj:`None` if there is none, and the connection goes on
        without (4.2.2).

    Raises:
        InvalidRequest: If the client's header is malformed.

    """
    for subprotocol in offered_subprotocols(request):
        if subprotocol in supported:
            return subprotocol
    return None


def accept_response(
    key: str,
    *,
    extensions: Sequence[ExtensionOffer] = (),
    subprotocol: str | None = None,
    headers: HeadersLike = (),
) -> Response:
    """Make the response that opens a WebSocket (4.2.2).

    Args:
        key: What :func:`check_upgrade` returned.
        extensions: Agreed extensions; none if empty.
        subprotocol: Agreed subprotocol; :obj:`None` for none.
        headers: Fields that the application adds, cookies for example.

    Raises:
        ValueError: If the application's choices break the response: a field that
            belongs to the handshake or can't be one, a subprotocol or an extension
            that isn't a token.

    """
    fields = Headers()
    fields.add("Upgrade", "websocket")
    fields.add("Connection", "Upgrade")
    fields.add("Sec-WebSocket-Accept", accept_key(key))
    if extensions:
        fields.add("Sec-WebSocket-Extensions", serialize_extensions(extensions))
    if subprotocol is not None:
        if not is_token(subprotocol):
            raise ValueError(f"subprotocol isn't a token: {shown(subprotocol)}")
        fields.add("Sec-WebSocket-Protocol", subprotocol)
    for name, value in Headers(headers).raw_items():
        if name.lower() in _ACCEPTED_FIELDS:
            raise ValueError(f"header field {name} belongs to the opening handshake")
        fields.add(name, value)
    return Response(HTTPStatus.SWITCHING_PROTOCOLS, fields)


def refuse(error: HandshakeError) -> Response:
    """Make the response that tells a client why there is no WebSocket."""
    fields = Headers(error.headers)
    fields["Content-Type"] = "text/plain; charset=utf-8"
    # The sentence may quote the request; no browser shall take it for a page.
    fields["X-Content-Type-Options"] = "nosniff"
    fields["Connection"] = _final_connection(fields)
    return Response(error.status, fields, f"{error}\n".encode(errors="replace"))


def _final_connection(fields: Headers) -> str:
    # RFC 9110 (7.8): who sends Upgrade MUST name it in Connection, too.
    return "close, Upgrade" if "Upgrade" in fields else "close"


def serialize_response(response: Response, *, head: bool = False) -> bytes:
    """Write a response as it goes on the wire (RFC 9112, 4).

    A connection is good for one request. So every response but the 101 ends it,
    and says so; its length is that of its content, whatever its fields say. What is
    in its source comes behind these bytes.

    Args:
        response: The response, which stays as it is.
        head: Whether it answers a HEAD request: it then has no body, but the
            length that it would have with GET, taken from its own
            ``Content-Length`` if it has no content.

    """
    status, source = response.status, response.source
    fields = Headers(response.headers)
    if status != HTTPStatus.SWITCHING_PROTOCOLS:
        size = len(response.body) if source is None else source.size
        length = fields.pop("Content-Length", "0") if head and not size else size
        fields.pop("Content-Length", None)
        fields.pop("Transfer-Encoding", None)
        # RFC 9110 (8.6): without content there is no length, except for HEAD.
        if response.has_content(head=False):
            fields["Content-Length"] = str(length)
        fields["Connection"] = _final_connection(fields)
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.raw_items()]
    head_data = "\r\n".join([*lines, "", ""]).encode("ascii")
    return head_data + response.body if response.has_content(head=head) else head_data
