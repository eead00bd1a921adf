"""Opening handshake: reading the request, deciding, writing the response (4).

:class:`RequestReader` turns bytes into a :class:`Request`; the functions after it
judge the request and make the :class:`Response`. h11 reads the request; before it
does, the reader refuses what h11 is lenient about or would wait for: bare line
feeds, control characters, folded lines, and what breaks a limit.

A fault is raised when the byte that proves it comes, so that the same bytes give
the same answer however they are split.

Layer: core. May import: exceptions, headers, extensions.base.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPMethod, HTTPStatus
from typing import Final

import h11

from .exceptions import (
    ContentTooLarge,
    ForbiddenMethod,
    HandshakeError,
    InvalidRequest,
    LocalProtocolError,
    RequestTooLarge,
    TargetTooLong,
    UnsupportedCoding,
    UnsupportedHTTPVersion,
    UnsupportedMethod,
    UnsupportedVersion,
    UpgradeRequired,
)
from .extensions.base import Extension, ExtensionOffer, ServerExtensionFactory
from .headers import (
    Headers,
    HeadersLike,
    is_token,
    parse_extensions,
    parse_host,
    parse_subprotocols,
    parse_token_list,
    serialize_extensions,
    shown,
)

__all__ = [
    "Request",
    "RequestReader",
    "Response",
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

# RFC 9112 (3): the method and the target can't contain spaces, so that each
# pattern has one way only to match.
_REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([!-~]+) HTTP/([0-9])\.([0-9])"
)
_SIMPLE_REQUEST: Final = re.compile(rb"[A-Z]+ [!-~]+")
_FIELD_NAME: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):")
_ABSOLUTE_FORM: Final = re.compile(r"(?:http|ws)s?://([^/?]*)", re.IGNORECASE)
# A carriage return at the end of what came so far may yet be half a line end.
_FORBIDDEN: Final = re.compile(rb"[^\t\r\n -~]|\r(?=[^\n])|(?<!\r)\n")
# 16 bytes in base64 are 22 characters and the padding.
_KEY: Final = re.compile(r"[0-9A-Za-z+/]{22}==")
_COOKIE_ESCAPE: Final = re.compile(r"\\([0-3][0-7]{2}|.)")

_METHODS: Final = frozenset(HTTPMethod)

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


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the client sent it; safe to read from any thread."""

    method: str
    """Method, ``"GET"`` for every WebSocket (4.1)."""
    target: str
    """Request target as it came, not decoded (RFC 9112, 3.2)."""
    headers: Headers = field(default_factory=Headers)
    """Header fields, names in any case."""
    http_version: str = "1.1"
    """Version of HTTP."""

    @property
    def path(self) -> str:
        """Path of the target, not decoded, without the query."""
        return self._split()[1]

    @property
    def query(self) -> str:
        """What follows the question mark in the target, not decoded; maybe empty."""
        return self._split()[2]

    @property
    def host(self) -> str:
        """Host that the client asked for, maybe with a port; empty if it named none.

        A target in absolute form goes before the ``Host`` header (RFC 9112, 3.2.2).
        """
        authority = self._split()[0]
        return self.headers.get("Host", "") if authority is None else authority

    @property
    def cookies(self) -> Mapping[str, str]:
        """Cookies by name (RFC 6265, 5.4); what isn't a cookie is left out.

        Of two with one name the first counts, which browsers send for the more
        specific path.
        """
        cookies: dict[str, str] = {}
        for element in ";".join(self.headers.get_all("Cookie")).split(";"):
            name, equals, value = element.partition("=")
            name, value = name.strip(" \t"), value.strip(" \t")
            if equals and name:
                cookies.setdefault(name, _unquote_cookie(value))
        return cookies

    def _split(self) -> tuple[str | None, str, str]:
        # No urlsplit: it would take //name at the start of a path for a host.
        match = _ABSOLUTE_FORM.match(self.target)
        rest = self.target if match is None else self.target[match.end() :]
        path, _, query = rest.partition("?")
        return (None if match is None else match[1]), path or "/", query


def _unquote_cookie(value: str) -> str:
    """Undo the quotes and escapes that :mod:`http.cookies` writes."""
    if len(value) < 2 or not value[0] == value[-1] == '"':
        return value
    return _COOKIE_ESCAPE.sub(
        lambda match: match[1] if len(match[1]) == 1 else chr(int(match[1], 8)),
        value[1:-1],
    )


@dataclass(slots=True, init=False)
class Response:
    """A response to a request that doesn't become a WebSocket, or the 101 if it does.

    The length of the body and the end of the connection are none of its fields'
    business: :func:`serialize_response` sees to them.

    Args:
        status: Status code.
        headers: Header fields: headers, a mapping, or pairs of names and values.
        body: Content; a string is encoded in UTF-8.

    Raises:
        ValueError: If ``status`` isn't a final status code or 101, or a field has
            characters that it can't have.

    """

    status: int
    """Status code."""
    headers: Headers
    """Header fields."""
    body: bytes = field(repr=False)
    """Content."""

    def __init__(
        self, status: int, headers: HeadersLike = (), body: bytes | str = b""
    ) -> None:
        if status != HTTPStatus.SWITCHING_PROTOCOLS and not 200 <= status <= 599:
            raise ValueError(f"invalid status of a response: {status!r}")
        self.status = int(status)
        self.headers = Headers(headers)
        self.body = body.encode() if isinstance(body, str) else bytes(body)


class RequestReader:
    """The request at the start of a connection, from bytes.

    Args:
        max_line: Bytes in the request line or in one header field, without the
            line end; RFC 9112 (3) wants at least 8,000.
        max_headers: Header fields; browsers send about 20.
        max_header_size: Bytes in all header fields, line ends included.

    """

    __slots__ = (
        "_buffer",
        "_checked",
        "_complete",
        "_failed",
        "_fields",
        "_framing",
        "_header_start",
        "_line_start",
        "_max_header_size",
        "_max_headers",
        "_max_line",
        "_request_start",
        "is_head",
    )

    def __init__(
        self,
        *,
        max_line: int = 8192,
        max_headers: int = 128,
        max_header_size: int = 65536,
    ) -> None:
        self._max_line = max_line
        self._max_headers = max_headers
        self._max_header_size = max_header_size
        self._buffer = bytearray()
        # Positions in the buffer. Bytes before _checked are never looked at again,
        # but for one carriage return, so that tiny packets cost no more than big
        # ones. _header_start is 0 as long as the request line isn't complete.
        self._request_start = 0
        self._header_start = 0
        self._line_start = 0
        self._checked = 0
        self._fields = 0
        self._framing: set[bytes] = set()
        self._complete = False
        self._failed = False
        self.is_head = False
        """Whether the method is HEAD, so that a response has no body."""

    @property
    def started(self) -> bool:
        """Whether anything came."""
        return bool(self._buffer)

    @property
    def trailing(self) -> bytes:
        """What came after the request; frames, if it is answered with 101."""
        return bytes(self._buffer[self._checked :]) if self._complete else b""

    def receive_data(self, data: bytes) -> Request | None:
        """Take bytes from the peer.

        Bytes that come after the request add to :attr:`trailing`.

        Returns:
            The request when it is complete, once; :obj:`None` before and after.

        Raises:
            HandshakeError: If these bytes prove that there will be no valid
                request. The reader is of no use any more then.
            LocalProtocolError: If it raised a :exc:`HandshakeError` before.

        """
        if self._failed:
            raise LocalProtocolError("the request was refused already")
        self._buffer += data
        if self._complete:
            return None
        try:
            while (line := self._next_line()) is not None:
                if not self._header_start:
                    self._read_request_line(line)
                elif line:
                    self._read_field(line)
                else:
                    return self._finish()
        except HandshakeError:
            self._failed = True
            raise
        return None

    def receive_eof(self) -> None:
        """Take the end of the peer's bytes.

        Raises:
            InvalidRequest: If the request isn't complete.

        """
        if not self._complete:
            raise InvalidRequest("connection ended in the middle of the request")

    def _next_line(self) -> bytes | None:
        """Next line without its end, :obj:`None` if it isn't there yet."""
        buffer, start = self._buffer, self._line_start
        if start == len(buffer):
            return None
        if buffer[start] in b" \t" and start != self._request_start:
            # RFC 9112 (2.2 and 5.2): folded lines smuggle fields past others.
            raise InvalidRequest("header field is folded, or starts with white space")
        if start == 0 and buffer[0] == 0x16:
            raise InvalidRequest("TLS on a port for plain HTTP; use ws:// or http://")
        limit = start + self._max_line + 2
        if self._header_start:
            limit = min(limit, self._header_start + self._max_header_size)
        newline = buffer.find(b"\n", self._checked, limit)
        end = newline + 1 or min(len(buffer), limit)
        fault = _FORBIDDEN.search(buffer, max(start, self._checked - 1), end)
        if fault is not None:
            raise self._forbidden(fault[0], fault.start())
        self._checked = end
        if newline < 0:
            if end == limit:
                raise self._too_large()
            return None
        self._line_start = end
        return bytes(buffer[start : newline - 1])

    def _forbidden(self, what: bytes, position: int) -> InvalidRequest:
        sentence = {b"\n": "bare line feed", b"\r": "bare carriage return"}.get(
            bytes(what), f"forbidden byte 0x{what[0]:02x}"
        )
        if not self._header_start:
            return InvalidRequest(f"{sentence} in the request line")
        name, colon, _ = self._buffer[self._line_start : position].partition(b":")
        if not colon:
            return InvalidRequest(f"{sentence} in the name of a header field")
        return InvalidRequest(f"{sentence} in the header field {shown(bytes(name))}")

    def _too_large(self) -> HandshakeError:
        if not self._header_start:
            return TargetTooLong(f"request line over {self._max_line} bytes")
        if self._checked == self._line_start + self._max_line + 2:
            return RequestTooLarge(f"header field over {self._max_line} bytes")
        return RequestTooLarge(f"header fields over {self._max_header_size} bytes")

    def _read_request_line(self, line: bytes) -> None:
        if not line:
            if self._request_start:
                raise InvalidRequest("empty lines in place of a request")
            # RFC 9112 (2.2): a server should ignore one empty line.
            self._request_start = self._line_start
            return
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            if _SIMPLE_REQUEST.fullmatch(line):
                raise InvalidRequest(f"request line without HTTP/1.1: {shown(line)}")
            raise InvalidRequest(f"invalid request line: {shown(line)}")
        method, target, major, minor = (part.decode() for part in match.groups())
        if major != "1":
            raise UnsupportedHTTPVersion(
                f"HTTP/{major}.{minor} isn't served here, only HTTP/1.1"
            )
        if method not in _METHODS:
            raise UnsupportedMethod(f"unknown method: {shown(method)}")
        if method not in ("GET", "HEAD"):
            raise ForbiddenMethod(f"method {method} isn't allowed, only GET and HEAD")
        self.is_head = method == "HEAD"
        _check_target(target)
        self._header_start = self._line_start

    def _read_field(self, line: bytes) -> None:
        match = _FIELD_NAME.match(line)
        if match is None:
            raise InvalidRequest(f"invalid header field: {shown(line)}")
        self._fields += 1
        if self._fields > self._max_headers:
            raise RequestTooLarge(f"more than {self._max_headers} header fields")
        name = match[1].lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._framing.add(name)

    def _finish(self) -> Request:
        if len(self._framing) == 2:
            # RFC 9112 (6.1): this "ought to be handled as an error".
            raise InvalidRequest("both Content-Length and Transfer-Encoding")
        connection = h11.Connection(h11.SERVER)
        try:
            connection.receive_data(
                bytes(self._buffer[self._request_start : self._checked])
            )
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            sentence = f"{error}"[:80]
            if error.error_status_hint == HTTPStatus.NOT_IMPLEMENTED:
                raise UnsupportedCoding(sentence) from error
            raise InvalidRequest(sentence) from error
        assert isinstance(event, h11.Request)
        request = Request(
            event.method.decode(),
            event.target.decode(),
            Headers(
                (name.decode(), value.decode())
                for name, value in event.headers.raw_items()
            ),
            event.http_version.decode(),
        )
        _check_host(request)
        _check_no_body(request)
        self._complete = True
        return request


def _check_target(target: str) -> None:
    """Let through origin-form and absolute-form only (RFC 9112, 3.2)."""
    match = _ABSOLUTE_FORM.match(target)
    if match is not None:
        parse_host(match[1], header="host of the request target")
    elif not target.startswith("/"):
        raise InvalidRequest(f"invalid request target: {shown(target)}")
    if "#" in target:
        # 3: "Fragment identifiers are meaningless [...] and MUST NOT be used".
        raise InvalidRequest(f"fragment in the request target: {shown(target)}")


def _check_host(request: Request) -> None:
    """Hold the request to RFC 9112 (3.2); h11 counts the fields in HTTP/1.1 only."""
    host = request.headers.get("Host")
    if host is not None:
        parse_host(host, header="Host header")
    elif request.http_version != "1.0":
        raise InvalidRequest("no Host header")


def _check_no_body(request: Request) -> None:
    """Refuse a body: what follows an opening handshake is frames, not content."""
    # h11 made sure that a length is one number, and a coding is "chunked".
    length = int(request.headers.get("Content-Length", "0"))
    if length or "Transfer-Encoding" in request.headers:
        raise ContentTooLarge("this server takes no request bodies")


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
    and says so; its length is the length of its body, whatever its fields say.

    Args:
        response: The response, which stays as it is.
        head: Whether it answers a HEAD request: it then has no body, but the
            length that it would have with GET, taken from its own
            ``Content-Length`` if its body is empty.

    """
    status, body = response.status, response.body
    fields = Headers(response.headers)
    if status == HTTPStatus.SWITCHING_PROTOCOLS:
        body = b""
    else:
        length = fields.pop("Content-Length", "0") if head and not body else len(body)
        fields.pop("Content-Length", None)
        fields.pop("Transfer-Encoding", None)
        # RFC 9110 (8.6): neither of these two has content, nor its length.
        if status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            body = b""
        else:
            fields["Content-Length"] = str(length)
        fields["Connection"] = _final_connection(fields)
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.raw_items()]
    head_data = "\r\n".join([*lines, "", ""]).encode("ascii")
    return head_data if head else head_data + body
