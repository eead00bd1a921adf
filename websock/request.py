"""The request at the start of a connection, from bytes (RFC 9112).

h11 reads the request. Before it does, :class:`RequestReader` refuses what h11 is
lenient about or would wait for: bare line feeds, control characters, folded
lines, and what breaks a limit. A fault is raised when the byte that proves it
comes, so that the same bytes give the same answer however they are split.

Layer: core. May import: exceptions, headers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
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
)
from .headers import Headers, parse_host, shown

__all__ = ["Request", "RequestReader"]

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
_COOKIE_ESCAPE: Final = re.compile(r"\\([0-3][0-7]{2}|.)")

_METHODS: Final = frozenset(HTTPMethod)


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


class RequestReader:
    """The request at the start of a connection, from bytes.

    Args:
        max_line: Bytes in the request line or in one header field, without the
            line end; RFC 9112 (3) wants at least 8,000.
        max_headers: Header fields; browsers send about 20.
        max_header_size: Bytes in all header fields, line ends included. They are kept
            as long as the connection; Node.js and h11 take as many.

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
        max_header_size: int = 16384,
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
                raise InvalidRequest("request line without HTTP/1.1")
            raise InvalidRequest("invalid request line")
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
            # What is wrong isn't quoted, here and elsewhere: it may be a password that
            # is missing its colon, and the sentence goes into the log.
            raise InvalidRequest("invalid header field")
        self._fields += 1
        if self._fields > self._max_headers:
            raise RequestTooLarge(f"more than {self._max_headers} header fields")
        name = match[1].lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._framing.add(name)
            # h11 before 0.15 calls int() with any number of digits, and that is
            # a ValueError beyond 4,300. No real field is nearly as long.
            if len(line) > 80:
                raise InvalidRequest(f"invalid header field {name.decode()}")

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
        raise InvalidRequest("invalid request target")
    if "#" in target:
        # 3: "Fragment identifiers are meaningless [...] and MUST NOT be used".
        raise InvalidRequest("fragment in the request target")


def _check_host(request: Request) -> None:
    """Hold the request to RFC 9112 (3.2); h11 counts the fields in HTTP/1.1 only."""
    host = request.headers.get("Host")
    if host is not None:
        parse_host(host, header="Host header")
    elif request.http_version != "1.0":
        raise InvalidRequest("no Host header")


def _check_no_body(request: Request) -> None:
    """Refuse a body: what follows an opening handshake is frames, not content."""
    # h11 made sure that a length is made of digits, and a coding is "chunked".
    length = request.headers.get("Content-Length", "").strip("0")
    if length or "Transfer-Encoding" in request.headers:
        raise ContentTooLarge("this server takes no request bodies")
