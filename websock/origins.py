"""Who may connect: rules about the origin of a page and the host of a request.

A browser lets any page open a WebSocket to any server, and sends the user's
cookies along; the ``Origin`` header is all that tells a foreign page from one's
own (RFC 6455, 10.2). A page whose name suddenly resolves to the address of a
server in the user's own network is of the server's own host, as far as origins
tell; the ``Host`` header gives it away.

The functions judge; they look at nothing but the request and the option.

Layer: core. May import: exceptions, headers, request.
"""

from __future__ import annotations

import enum
import functools
import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from .exceptions import HostForbidden, InvalidRequest, OriginForbidden
from .headers import parse_host, shown
from .request import Request

__all__ = [
    "LOOPBACK_HOSTS",
    "SAME_HOST",
    "Hosts",
    "OriginRule",
    "Origins",
    "SameHost",
    "check_host",
    "check_origin",
    "is_loopback",
    "validate_hosts",
    "validate_origins",
]


class SameHost(enum.Enum):
    """Type of :data:`SAME_HOST`, for annotations."""

    SAME_HOST = "same host"
    """The only member."""

    def __repr__(self) -> str:
        return self.name


SAME_HOST: Final = SameHost.SAME_HOST
"""Rule for pages of the server's own host, on any port, and for programs.

Loopback names and addresses count as one host. A program that is no browser
sends no ``Origin`` header, and passes.
"""

OriginRule = SameHost | str | re.Pattern[str] | None
"""One rule: :data:`SAME_HOST`, an origin, a pattern for whole origins, or
:obj:`None` for requests without an ``Origin`` header."""

Origins = SameHost | Collection[OriginRule] | None
"""Option ``origins``: :data:`SAME_HOST`, rules of which one must fit, or
:obj:`None` to let in every page."""

Hosts = Collection[str] | None
"""Option ``hosts``: names and addresses served; :obj:`None` for all."""

LOOPBACK_HOSTS: Final = ("localhost", "*.localhost", "127.0.0.0/8", "::1")
"""Hosts of a server that is bound to loopback alone (RFC 6761, 6.3)."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
# Origins that have no host; the second one is what some web views send for files.
_OPAQUE: Final = frozenset({"null", "file://"})
_ORIGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*)://(.+)", re.IGNORECASE)


class _Origin(NamedTuple):
    """An origin, in the form in which two of them can be compared (RFC 6454, 4)."""

    scheme: str
    host: str
    port: int | None

    @classmethod
    def parse(cls, value: str) -> _Origin:
        """Read an origin, or what a user listed as one."""
        match = _ORIGIN.fullmatch(value)
        if match is None:
            raise InvalidRequest(f"invalid origin: {shown(value)}")
        scheme = match[1].lower()
        host, port = parse_host(match[2], header="origin")
        return cls(scheme, host, _DEFAULT_PORTS.get(scheme) if port is None else port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.port == _DEFAULT_PORTS.get(self.scheme):
            return f"{self.scheme}://{host}"
        return f"{self.scheme}://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine for everyone who asks for it.

    Args:
        host: Name or address without a port, as :func:`parse_host` returns it.

    """
    return _serves(LOOPBACK_HOSTS, host)


def check_origin(request: Request, origins: Origins = SAME_HOST) -> None:
    """Refuse the pages of origins that aren't allowed (10.2).

    Origins are compared as a whole, scheme, host and port, after a change to
    lower case and without default ports. Patterns must match all of that form.

    Args:
        request: An opening handshake.
        origins: The option, valid by :func:`validate_origins`.

    Raises:
        OriginForbidden: If no rule lets the request in.

    """
    if origins is None:
        return
    rules = (origins,) if isinstance(origins, SameHost) else origins
    values = request.headers.get_all("Origin")
    if not values:
        if not any(rule is None or rule is SAME_HOST for rule in rules):
            raise _origin_forbidden("a request without an Origin header")
        return
    if len(values) > 1:
        raise _origin_forbidden("a request with several Origin headers")
    origin: _Origin | None = None
    text = values[0].lower()
    if text not in _OPAQUE:
        try:
            origin = _Origin.parse(text)
        except InvalidRequest:
            raise _origin_forbidden(f"invalid origin {shown(values[0])}") from None
        text = str(origin)
    if not any(_fits(rule, text, origin, request) for rule in rules):
        raise _origin_forbidden(f"origin {shown(values[0])}")


def _fits(
    rule: OriginRule, text: str, origin: _Origin | None, request: Request
) -> bool:
    if rule is None:
        return False
    if isinstance(rule, SameHost):
        return origin is not None and _is_same_host(origin, request)
    if isinstance(rule, str):
        return _normalize(rule) == text
    return rule.fullmatch(text) is not None


def _is_same_host(origin: _Origin, request: Request) -> bool:
    # Pages come by HTTP. Another scheme has other names, those of browser
    # extensions for example, which a host must not be mistaken for.
    if origin.scheme not in _DEFAULT_PORTS or not request.host:
        return False
    host, _ = parse_host(request.host)
    return origin.host == host or (is_loopback(origin.host) and is_loopback(host))


# Rules come from the settings, so there are few of them.
@functools.lru_cache
def _normalize(origin: str) -> str:
    origin = origin.lower()
    return origin if origin in _OPAQUE else str(_Origin.parse(origin))


def _origin_forbidden(what: str) -> OriginForbidden:
    return OriginForbidden(
        f"{what} isn't allowed here; the option origins= of the server decides"
    )


def check_host(request: Request, hosts: Hosts) -> None:
    """Refuse requests for hosts that this server doesn't serve.

    Args:
        request: Any request, be it for a WebSocket or not.
        hosts: The option, valid by :func:`validate_hosts`.

    Raises:
        HostForbidden: If the request is for another host, or for none.

    """
    if hosts is None:
        return
    if not request.host:
        what = "a request without a host"
    elif _serves(hosts, parse_host(request.host)[0]):
        return
    else:
        what = f"host {shown(request.host)}"
    raise HostForbidden(
        f"{what} isn't served here; the option hosts= of the server decides"
    )


def _serves(hosts: Iterable[str], host: str) -> bool:
    address = _parse_address(host)
    return any(_covers(rule, host, address) for rule in hosts)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _parse_address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    # A dual-stack socket is reached by this form of an IPv4 address, too.
    return getattr(address, "ipv4_mapped", None) or address


def _covers(rule: str, host: str, address: _Address | None) -> bool:
    network = _parse_network(rule)
    if network is not None:
        return address is not None and address in network
    rule = rule.lower().removesuffix(".")
    if rule.startswith("*."):
        # The dot stays: notexample.org isn't within example.org.
        return address is None and host.endswith(rule[1:])
    return host == rule


@functools.lru_cache
def _parse_network(rule: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(rule.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def validate_origins(value: object) -> Origins:
    """Check the option ``origins``.

    Returns:
        The option, with a sequence or set of rules as a tuple.

    Raises:
        TypeError: If it is no rule, and no collection of rules.
        ValueError: If it has no rules, or a string isn't an origin.

    """
    if value is None or isinstance(value, SameHost):
        return value
    rules: list[OriginRule] = []
    for rule in _elements("origins", value):
        if isinstance(rule, str):
            _check_listed_origin(rule)
        elif isinstance(rule, re.Pattern):
            if not isinstance(rule.pattern, str):
                raise TypeError(f"origins: {rule!r} is a pattern for bytes, not str")
        elif rule is not None and not isinstance(rule, SameHost):
            raise TypeError(
                f"origins: {rule!r} is neither a str, a compiled pattern, SAME_HOST "
                f"nor None"
            )
        rules.append(rule)
    return tuple(rules)


def _check_listed_origin(rule: str) -> None:
    try:
        _normalize(rule)
    except InvalidRequest:
        raise ValueError(
            f"origins: {rule!r} isn't an origin, such as 'https://example.org' or "
            f"'http://localhost:8000', without a path, in ASCII (xn--...); "
            f"for several at once there are compiled patterns, for all of them None"
        ) from None


def validate_hosts(value: object) -> Hosts:
    """Check the option ``hosts``.

    Returns:
        The option, with a sequence or set of hosts as a tuple.

    Raises:
        TypeError: If it is no collection of strings.
        ValueError: If it is empty, or a string isn't a host without a port.

    """
    if value is None:
        return None
    hosts: list[str] = []
    for rule in _elements("hosts", value):
        if not isinstance(rule, str):
            raise TypeError(f"hosts: {rule!r} isn't a str")
        _check_listed_host(rule)
        hosts.append(rule)
    return tuple(hosts)


def _check_listed_host(rule: str) -> None:
    if _parse_network(rule) is not None:
        return
    try:
        _, port = parse_host(rule.removeprefix("*."))
    except InvalidRequest:
        port = -1
    if port is not None or rule.endswith(":"):
        raise ValueError(
            f"hosts: {rule!r} isn't a host, such as 'example.org', '*.example.org', "
            f"'192.0.2.1', '::1' or '10.0.0.0/8', without a port, in ASCII (xn--...); "
            f"for all of them there is None"
        )


def _elements(option: str, value: object) -> tuple[object, ...]:
    if not isinstance(value, Collection) or isinstance(
        value, (str, bytes, bytearray, Mapping)
    ):
        remedy = f"; pass [{value!r}]" if isinstance(value, str) else ""
        raise TypeError(
            f"{option}: {value!r} isn't a list or another collection{remedy}"
        )
    if not value:
        raise ValueError(f"{option}: an empty list would let nobody in")
    return tuple(value)
