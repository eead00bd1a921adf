"""Every option of a server, with its unit, its default and the reason for it.

The reference documentation is generated from here.

Layer: shells. May import: the core.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import os
import re
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from socket import SOCK_STREAM, socket
from typing import Any, Final, Literal, TypedDict

from .extensions.permessage_deflate import PerMessageDeflate
from .handshake import Response
from .origins import SAME_HOST, Hosts, Origins, validate_hosts, validate_origins
from .request import Request

__all__ = ["Options", "Settings", "check_function"]


def option(default: Any, doc: str, reason: str, unit: str = "") -> Any:
    """Field of :class:`Settings` with what its users must know."""
    return dataclasses.field(
        default=default, metadata={"doc": doc, "reason": reason, "unit": unit}
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Options of a server, checked.

    Raises:
        TypeError: If an option is of the wrong type; the message names it.
        ValueError: If an option has an impossible value; the message names it.

    """

    ssl: ssl.SSLContext | None = option(
        None,
        "Context for TLS; None serves plain TCP.",
        "Certificates can't be guessed; a proxy may end TLS before.",
    )
    sock: socket | None = option(
        None,
        "Socket that is bound already, to listen on instead of host and port. It's"
        " closed when the server stops, which can't start again then.",
        "Socket activation, inherited sockets and tests need it, others don't.",
    )
    unix: str | os.PathLike[str] | None = option(
        None,
        "Path of a Unix socket, to listen on instead of host and port.",
        "Only a proxy on the same machine can use it.",
    )
    origins: Origins = option(
        SAME_HOST,
        "Origins whose pages may connect: by default those of the server's own"
        " host; None allows all; a sequence of strings, compiled patterns, and None"
        " for requests without an Origin.",
        "A browser sends cookies along with every page's WebSocket, so that any"
        " page could act in its user's name (RFC 6455, 10.2).",
    )
    hosts: Hosts = option(
        None,
        "Names that are served, as they stand in Host; None allows any, or those of"
        " the loopback alone if the server listens there alone.",
        "A page of another site can resolve its own name to 127.0.0.1 (DNS"
        " rebinding) and pass for one of the same host.",
    )
    subprotocols: Sequence[str] | None = option(
        None,
        "Subprotocols that are spoken, in any order: the client's first that is among"
        " them is taken. None means none.",
        "They are the application's to define (RFC 6455, 1.9).",
    )
    select_subprotocol: Callable[[Any, list[str]], str | None] | None = option(
        None,
        "Function of the client and the subprotocols that it offered, which returns"
        " one of them, or None for none; None takes the client's first that"
        " `subprotocols` has.",
        "The order of the client is what most applications want.",
    )
    compression: Literal["deflate"] | PerMessageDeflate | None = option(
        "deflate",
        "Compression of messages: `deflate` for permessage-deflate as is,"
        " PerMessageDeflate for other parameters, None for none.",
        "Text shrinks to a third or less, for some time of the processor.",
    )
    process_request: Callable[[Any, Request], Response | None] | None = option(
        None,
        "Function of the client and its request, called before a WebSocket is"
        " accepted and for every other request but those to `health_path`; a response"
        " that it returns is sent instead, None goes on. It may set"
        " `client.response_headers` for the 101.",
        "Checking credentials and serving pages are the application's.",
    )
    http: str | os.PathLike[str] | None = option(
        None,
        "Folder whose files are served over plain HTTP on the same port; None"
        " serves none.",
        "Nothing of the file system is public unless you say so.",
    )
    health_path: str | None = option(
        "/healthz",
        "Path at which the server answers 200 over plain HTTP for as long as it works,"
        " before `process_request` and files are asked; None leaves all paths to them.",
        "A health check must not wait for slow pages, nor need credentials: who waits"
        " or is refused restarts a server that works.",
    )
    open_timeout: float | None = option(
        10.0,
        "Time from the TCP connection to the end of the request, TLS included; None"
        " means no limit.",
        "Far more than a slow phone needs, and what a silent peer costs at most: a"
        " socket for this long.",
        "seconds",
    )
    ping_interval: float | None = option(
        20.0,
        "Silence after which a Ping is sent; None sends none.",
        "Proxies and mobile networks drop connections that are silent for 30 to 60"
        " seconds.",
        "seconds",
    )
    ping_timeout: float | None = option(
        20.0,
        "Time for the answer to a Ping before the connection counts as lost; None"
        " waits for ever.",
        "Packets that get through at all get through by then.",
        "seconds",
    )
    close_timeout: float | None = option(
        10.0,
        "Time for the closing handshake before the connection is cut; it bounds"
        " on_connection_close, too. None waits for ever.",
        "A peer that is alive answers in one round trip.",
        "seconds",
    )
    send_timeout: float | None = option(
        10.0,
        "Longest wait of send() for room in the outbox of a peer that doesn't read,"
        " before that peer is dropped; None waits for ever.",
        "The callback that sends is held up for so long, not longer.",
        "seconds",
    )
    max_size: int | None = option(
        2**20,
        "Longest message that a peer may send, after decompression; None means no"
        " limit.",
        "A message is kept in memory until it's complete.",
        "bytes",
    )
    max_fragments: int | None = option(
        4096,
        "Most frames of one message; None means no limit.",
        "Tiny fragments cost more to handle than they carry.",
        "frames",
    )
    write_limit: int = option(
        2**20,
        "Size of a client's outbox, where messages wait for a slow peer. One message"
        " that begins below the limit may go over it.",
        "One of the longest messages a peer might send fits; a thousand stalled"
        " peers cost a gigabyte at most.",
        "bytes",
    )
    max_connections: int | None = option(
        16384,
        "Most WebSockets at a time; others get 503. None means no limit.",
        "Each takes a thread, and 25 to 40 KiB of memory, or 65 if its request has the"
        " most header fields there may be: half a gigabyte in all, or one at worst.",
        "connections",
    )
    max_connections_per_ip: int | None = option(
        None,
        "Most WebSockets of one address at a time; others get 429. None means no"
        " limit.",
        "Behind a proxy, or a school's or company's router, all have one address.",
        "connections",
    )
    max_http_connections: int | None = option(
        1024,
        "Most connections of plain HTTP at a time, from the request to the end of the"
        " answer; others get 503. None means no limit.",
        "Each keeps up to 256 KiB of a file that its peer is slow to take: a quarter of"
        " a gigabyte in all. WebSockets and health checks aren't among them, so that"
        " downloads can't keep them out.",
        "connections",
    )
    max_http_connections_per_ip: int | None = option(
        None,
        "Most connections of plain HTTP of one address at a time; others get 429. None"
        " means no limit.",
        "A browser has six at a time; behind a proxy, all have one address.",
        "connections",
    )
    slow_client: Literal["close", "drop_newest", "drop_oldest"] = option(
        "close",
        "What happens to a client whose outbox is full when send_all() or"
        " broadcast() has a message for it: `close` closes it with code 1013,"
        " `drop_newest` leaves this message out, `drop_oldest` drops waiting"
        " broadcasts for it.",
        "Whoever missed a message should know, and come back for a fresh start.",
    )
    callback_errors: Literal["close", "continue"] = option(
        "close",
        "What happens to a client whose callback raises: `close` closes it with"
        " code 1011, `continue` lets it live on.",
        "After an exception nobody knows what state the callback has left.",
    )
    backlog: int = option(
        1024,
        "Connections that the system completes before they are accepted.",
        "A thousand peers may come back at once after a restart.",
        "connections",
    )
    logger: logging.Logger | None = option(
        None,
        "Logger to write to, with children for server and access; None means the"
        " one named websock.",
        "The root logger belongs to the application.",
    )

    def __post_init__(self) -> None:
        """Check all options."""
        for name in TIMES:
            _check_number(name, getattr(self, name), (int, float), none=True)
        for name in COUNTS:
            _check_number(name, getattr(self, name), (int,), none=True)
        for name in ("write_limit", "backlog"):
            _check_number(name, getattr(self, name), (int,), none=False)
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(
                    f"{name} is one of {', '.join(choices)}, not {value!r}"
                )
        for name in ("select_subprotocol", "process_request"):
            value = getattr(self, name)
            if value is not None:
                check_function(name, value, 2)
        _check_path("health_path", self.health_path)
        _check_instance("ssl", self.ssl, ssl.SSLContext)
        if self.ssl is not None and self.ssl.protocol == ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError(
                "ssl must be a context for servers: SSLContext(PROTOCOL_TLS_SERVER)"
            )
        _check_instance("sock", self.sock, socket)
        if self.sock is not None and self.sock.type != SOCK_STREAM:
            raise ValueError("sock must be a stream socket")
        _check_instance("logger", self.logger, logging.Logger)
        for name in ("unix", "http"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str | os.PathLike):
                raise TypeError(f"{name} must be a path, not {_kind(value)}")
            if value is not None:
                _check_file_path(name, os.fspath(value))
        if self.http is not None and not Path(self.http).is_dir():
            raise ValueError(f"http must be a folder, which {self.http} isn't")
        if self.sock is not None and self.unix is not None:
            raise ValueError("sock and unix exclude each other")
        if self.compression not in (None, "deflate") and not isinstance(
            self.compression, PerMessageDeflate
        ):
            raise ValueError(
                "compression is 'deflate', a PerMessageDeflate or None,"
                f" not {self.compression!r}"
            )
        validate_origins(self.origins)
        validate_hosts(self.hosts)
        _check_subprotocols(self.subprotocols)


TIMES: Final = (
    "open_timeout",
    "ping_interval",
    "ping_timeout",
    "close_timeout",
    "send_timeout",
)
COUNTS: Final = (
    "max_size",
    "max_fragments",
    "max_connections",
    "max_connections_per_ip",
    "max_http_connections",
    "max_http_connections_per_ip",
)
CHOICES: Final = {
    "slow_client": ("close", "drop_newest", "drop_oldest"),
    "callback_errors": ("close", "continue"),
}
LARGEST: Final = 2**31 - 1
"""Largest number of seconds, bytes or connections: nobody waits for 68 years."""

TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


def check_function(name: str, value: object, arguments: int) -> None:
    """Make sure that calling ``value`` does something.

    Args:
        name: Name of the option or callback, for errors.
        value: What was passed for it.
        arguments: How many it's called with.

    Raises:
        TypeError: If it isn't callable with so many, or its result would have to be
            awaited or iterated over for anything to happen.

    """
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {_kind(value)}")
    # Of an object, its method is what is called.
    method = type(value).__call__
    for function in (value, method):
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(
            function
        ):
            raise TypeError(
                f"{name} must be a plain function, not an async one: use def. It may"
                " block, since each client has a thread of its own"
            )
        if inspect.isgeneratorfunction(function):
            raise TypeError(f"{name} must be a plain function, without yield")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        # Some in C can't tell.
        return
    try:
        signature.bind(*[None] * arguments)
    except TypeError as error:
        raise TypeError(
            f"{name} is called with {arguments} arguments: {error}"
        ) from None


def _kind(value: object) -> str:
    return type(value).__name__


def _check_number(
    name: str, value: Any, types: tuple[type, ...], *, none: bool
) -> None:
    if value is None and none:
        return
    number: float = value
    if isinstance(value, bool) or not isinstance(value, types):
        words = "an int" if types == (int,) else "a number of seconds"
        raise TypeError(
            f"{name} must be {words}{' or None' if none else ''}, not {_kind(value)}"
        )
    if not 0 < number <= LARGEST:
        raise ValueError(
            f"{name} must be positive and at most {LARGEST}, not {value!r}"
        )


def _check_instance(name: str, value: object, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {_kind(value)}")


def _check_path(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str or None, not {_kind(value)}")
    if not value.startswith("/") or "?" in value:
        raise ValueError(f"{name} must be a path from / on, not {value!r}")


def _check_file_path(name: str, path: str | bytes) -> None:
    if isinstance(path, bytes):
        raise TypeError(f"{name} must be a path of str, not of bytes")
    # The first one makes a socket abstract.
    if not path or "\0" in path[1:]:
        raise ValueError(f"{name} must be a path, not {path!r}")


def _check_subprotocols(value: object) -> None:
    if value is None:
        return
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError(
            f"subprotocols must be a sequence of strings, not {_kind(value)}"
        )
    for name in value:
        if not isinstance(name, str) or not TOKEN.fullmatch(name):
            raise ValueError(f"subprotocols must be tokens, which {name!r} isn't")


class Options(TypedDict, total=False):
    """Keyword arguments that become :class:`Settings`; for type checkers."""

    ssl: ssl.SSLContext | None
    sock: socket | None
    unix: str | os.PathLike[str] | None
    origins: Origins
    hosts: Hosts
    subprotocols: Sequence[str] | None
    select_subprotocol: Callable[[Any, list[str]], str | None] | None
    compression: Literal["deflate"] | PerMessageDeflate | None
    process_request: Callable[[Any, Request], Response | None] | None
    http: str | os.PathLike[str] | None
    health_path: str | None
    open_timeout: float | None
    ping_interval: float | None
    ping_timeout: float | None
    close_timeout: float | None
    send_timeout: float | None
    max_size: int | None
    max_fragments: int | None
    write_limit: int
    max_connections: int | None
    max_connections_per_ip: int | None
    max_http_connections: int | None
    max_http_connections_per_ip: int | None
    slow_client: Literal["close", "drop_newest", "drop_oldest"]
    callback_errors: Literal["close", "continue"]
    backlog: int
    logger: logging.Logger | None
