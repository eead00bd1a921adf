"""Header fields of HTTP, and the grammars of those that RFC 6455 needs.

:class:`Headers` holds fields as they go on the wire, so nothing that could end
a line gets in. The parsers walk over their input once, from left to right, and
never go back: whatever a peer sends, time grows with its length and no faster.

Layer: core. May import: exceptions, extensions.base.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Final

from .exceptions import InvalidRequest
from .extensions.base import ExtensionOffer

__all__ = [
    "Headers",
    "HeadersLike",
    "is_token",
    "parse_extensions",
    "parse_host",
    "parse_subprotocols",
    "parse_token_list",
    "serialize_extensions",
    "shown",
]

# RFC 9110 (5.6.2). Each pattern of this module has one way only to match.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_OWS: Final = re.compile(r"[ \t]*")
# RFC 6455 (9.1): when the quotes and backslashes are gone, a token must be left.
_QUOTED_TOKEN: Final = re.compile(r'"((?:\\?[!#$%&\'*+\-.^_`|~0-9A-Za-z])+)"')
# RFC 9110 (5.5) without obs-text: a field has the same meaning in any charset.
_VALUE: Final = re.compile(r"[\t -~]*")

# A registered name without the sub-delims that RFC 3986 (3.2.2) allows too: no
# host has them, and a list or a path must not pass for a name.
_LABEL: Final = r"(?:[0-9A-Za-z_~-]|%[0-9A-Fa-f]{2})+"
_HOST: Final = re.compile(
    rf"(?:\[([0-9A-Fa-f:.]+)\]|({_LABEL}(?:\.{_LABEL})*)\.?)(?::([0-9]{{0,5}}))?"
)

_SHOWN_MAX: Final = 80


def shown(value: str | bytes) -> str:
    """Quote a peer's value for a sentence: escaped, and 80 characters at most."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    text = ascii(value[: _SHOWN_MAX + 1])
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 3] + "..."


def is_token(value: str) -> bool:
    """Tell whether ``value`` is a token (RFC 9110, 5.6.2)."""
    return _TOKEN.fullmatch(value) is not None


class Headers(MutableMapping[str, str]):
    """Header fields, in order; names in any case, each as often as it comes.

    As a mapping, it has one value per name: several fields of one name are
    joined by commas, which means the same for every list (RFC 9110, 5.3).
    :meth:`get_all` keeps them apart for the others, ``Set-Cookie`` for example.

    Args:
        fields: Fields to start with: other headers, a mapping of names to
            values, or pairs of both.

    Raises:
        ValueError: If a name isn't a token, or a value has a character that a
            field can't have, a line break above all; nothing gets through that
            could add a field or split a response.

    """

    # One per connection, kept as long as it lives: pairs take the least memory,
    # and a request has too few fields for an index to be faster.
    __slots__ = ("_fields",)

    def __init__(self, fields: HeadersLike = ()) -> None:
        self._fields: list[tuple[str, str]] = []
        if isinstance(fields, Headers):
            self._fields += fields._fields
            return
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        for name, value in pairs:
            self.add(name, value)

    def __getitem__(self, name: str) -> str:
        """Value of a field; of several, their values joined by a comma."""
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __setitem__(self, name: str, value: str) -> None:
        """Replace all fields of this name by one."""
        _check_field(name, value)
        self._remove(name)
        self.add(name, value)

    def __delitem__(self, name: str) -> None:
        """Remove all fields of this name."""
        if not self._remove(name):
            raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, each one once, as they were first written."""
        names: dict[str, str] = {}
        for name, _ in self._fields:
            names.setdefault(name.lower(), name)
        return iter(names.values())

    def __len__(self) -> int:
        """Count the names."""
        return len({name.lower() for name, _ in self._fields})

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a field of this name."""
        return isinstance(name, str) and bool(self.get_all(name))

    def __eq__(self, other: object) -> bool:
        """Compare fields: names in any case, the order of each name's values."""
        if not isinstance(other, Headers):
            return NotImplemented
        return self._by_name() == other._by_name()

    def __repr__(self) -> str:
        """Fields in order, as a call that makes the same headers."""
        return f"{type(self).__name__}({self._fields!r})"

    def add(self, name: str, value: str) -> None:
        """Append a field, after those of the same name."""
        _check_field(name, value)
        # White space around a value isn't part of it (RFC 9110, 5.5).
        self._fields.append((name, value.strip(" \t")))

    def get_all(self, name: str) -> list[str]:
        """Values of all fields of this name, in order; empty if there is none."""
        lower = name.lower()
        return [value for key, value in self._fields if key.lower() == lower]

    def raw_items(self) -> list[tuple[str, str]]:
        """Fields one by one, in order, names as they were written."""
        return list(self._fields)

    def _by_name(self) -> dict[str, list[str]]:
        values: dict[str, list[str]] = {}
        for name, value in self._fields:
            values.setdefault(name.lower(), []).append(value)
        return values

    def _remove(self, name: str) -> bool:
        lower = name.lower()
        fields = [field for field in self._fields if field[0].lower() != lower]
        removed = len(fields) < len(self._fields)
        self._fields = fields
        return removed


HeadersLike = Headers | Mapping[str, str] | Iterable[tuple[str, str]]
"""What :class:`Headers` can be made from."""


def _check_field(name: str, value: str) -> None:
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"a header field is two str, not {name!r} and {value!r}")
    if not is_token(name):
        raise ValueError(f"invalid name of a header field: {shown(name)}")
    if _VALUE.fullmatch(value) is None:
        raise ValueError(
            f"invalid character in the value of {name}: {shown(value)}; "
            f"only printable ASCII, spaces and tabs are allowed"
        )


class _Scanner:
    """A position in a header's value that only moves forward."""

    __slots__ = ("_header", "_pos", "_value")

    def __init__(self, value: str, header: str) -> None:
        self._value = value
        self._header = header
        self._pos = 0

    def skip_space(self) -> None:
        """Move over optional white space (RFC 9110, 5.6.3)."""
        space = _OWS.match(self._value, self._pos)
        assert space is not None  # it matches nothing, too
        self._pos = space.end()

    def at_end(self) -> bool:
        """Tell whether nothing is left."""
        return self._pos == len(self._value)

    def accept(self, char: str) -> bool:
        """Move over ``char`` and the white space after it, if it comes next."""
        if not self._value.startswith(char, self._pos):
            return False
        self._pos += 1
        self.skip_space()
        return True

    def token(self) -> str:
        """Move over a token and the white space after it."""
        return self._take(_TOKEN, "a token")

    def token_or_quoted(self) -> str:
        """Move over a token, quoted or not; return it without its quotes."""
        if not self._value.startswith('"', self._pos):
            return self.token()
        return self._take(_QUOTED_TOKEN, "a quoted token").replace("\\", "")

    def elements(self) -> Iterator[None]:
        """Stop at each element of a list; the caller moves over the element.

        Empty elements are left out, as RFC 9110 (5.6.1.2) wants.
        """
        self.skip_space()
        while not self.at_end():
            if not self.accept(","):
                yield
                if not self.at_end() and not self.accept(","):
                    raise self.fault("a comma")

    def fault(self, expected: str) -> InvalidRequest:
        """Error that tells what should come next."""
        return InvalidRequest(
            f"invalid {self._header} header: expected {expected} "
            f"at position {self._pos}"
        )

    def _take(self, pattern: re.Pattern[str], expected: str) -> str:
        match = pattern.match(self._value, self._pos)
        if match is None:
            raise self.fault(expected)
        self._pos = match.end()
        self.skip_space()
        return match[match.lastindex or 0]


def parse_token_list(value: str, *, header: str = "token list") -> list[str]:
    """Parse a list of tokens (RFC 9110, 5.6.1), ``Connection`` for example.

    Args:
        value: Value of the field; of several, joined by commas.
        header: Name of the header, for the sentence of the error.

    Raises:
        InvalidRequest: If an element isn't a token.

    """
    scanner = _Scanner(value, header)
    return [scanner.token() for _ in scanner.elements()]


def parse_subprotocols(value: str) -> list[str]:
    """Parse the subprotocols of ``Sec-WebSocket-Protocol`` (4.1, 11.3.4).

    Raises:
        InvalidRequest: If one isn't a token, or comes twice.

    """
    subprotocols = parse_token_list(value, header="Sec-WebSocket-Protocol")
    if len(set(subprotocols)) < len(subprotocols):
        raise InvalidRequest(
            "invalid Sec-WebSocket-Protocol header: a subprotocol comes twice"
        )
    return subprotocols


def parse_extensions(value: str) -> list[ExtensionOffer]:
    """Parse the extensions of ``Sec-WebSocket-Extensions`` (9.1).

    Raises:
        InvalidRequest: If the value doesn't follow the grammar.

    """
    scanner = _Scanner(value, "Sec-WebSocket-Extensions")
    offers: list[ExtensionOffer] = []
    for _ in scanner.elements():
        name = scanner.token()
        params: list[tuple[str, str | None]] = []
        while scanner.accept(";"):
            key = scanner.token()
            params.append(
                (key, scanner.token_or_quoted() if scanner.accept("=") else None)
            )
        offers.append((name, params))
    return offers


def serialize_extensions(extensions: Sequence[ExtensionOffer]) -> str:
    """Write extensions as ``Sec-WebSocket-Extensions`` has them (9.1).

    Raises:
        ValueError: If a name or a value isn't a token.

    """
    elements = []
    for name, params in extensions:
        parts = [_checked_token(name)]
        for key, value in params:
            part = _checked_token(key)
            parts.append(part if value is None else f"{part}={_checked_token(value)}")
        elements.append("; ".join(parts))
    return ", ".join(elements)


def _checked_token(value: str) -> str:
    if not is_token(value):
        raise ValueError(f"not a token: {shown(value)}")
    return value


def parse_host(value: str, *, header: str = "Host") -> tuple[str, int | None]:
    """Parse a host and its port (RFC 9110, 7.2; RFC 3986, 3.2.2).

    Args:
        value: Name, IPv4 address, or IPv6 address in brackets, and maybe a port.
        header: Where it stands, for the sentence of the error.

    Returns:
        Host and port: a name in lower case without the dot at its end, an IPv6
        address without brackets in its shortest form; :obj:`None` for no port.

    Raises:
        InvalidRequest: If it is empty or anything else, a user name for example.

    """
    match = _HOST.fullmatch(value)
    if match is None:
        raise InvalidRequest(f"invalid {header}")
    address, name, digits = match.groups()
    port = int(digits) if digits else None
    if port is not None and port > 65535:
        raise InvalidRequest(f"invalid port in {header}")
    if address is None:
        return name.lower(), port
    try:
        return str(ipaddress.IPv6Address(address)), port
    except ValueError:
        raise InvalidRequest(f"invalid address in {header}") from None
