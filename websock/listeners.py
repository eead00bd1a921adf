"""Listening sockets: TCP on one or two families, Unix, inherited ones.

Layer: shells. May import: settings.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import stat
from typing import Final

from .settings import Settings

__all__ = [
    "close_listeners",
    "has_passed_sockets",
    "is_loopback_only",
    "open_listeners",
    "unbound_socket",
]

LISTEN_FDS_START: Final = 3
"""First descriptor that systemd passes (sd_listen_fds(3))."""


def unbound_socket(host: str) -> socket.socket:
    """Make the TCP socket that will listen on ``host``, not bound yet."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.socket(family, socket.SOCK_STREAM)


def open_listeners(
    first: socket.socket, host: str, port: int, settings: Settings
) -> list[socket.socket]:
    """Bind and listen where the settings say.

    That is, in this order: the socket ``sock``, the path ``unix``, what systemd
    passed to this process (``LISTEN_FDS``), or ``host`` and ``port``. A host of
    ``''`` means all addresses of both families, each with a socket of its own, so
    that IPv4 peers have IPv4 addresses; ``"::"`` means all in one socket.

    Args:
        first: Unbound socket of :func:`unbound_socket`, for ``host``.
        host: Name or address to listen on.
        port: Port to listen on; 0 takes a free one.
        settings: The other options.

    Returns:
        Listening sockets, non-blocking. ``first`` is one of them, or closed.

    Raises:
        OSError: If one of them can't be had; none is left open.

    """
    explicit = settings.sock is not None or settings.unix is not None
    listeners: list[socket.socket] = []
    try:
        inherited = [] if explicit else _inherited_sockets()
        if settings.sock is not None:
            listeners.append(settings.sock)
        elif settings.unix is not None:
            listeners.append(_bind_unix(os.fspath(settings.unix)))
        elif inherited:
            listeners += inherited
        else:
            listeners += _bind_tcp(first, host, port)
        if first not in listeners:
            first.close()
        for listener in listeners:
            listener.listen(settings.backlog)
            listener.setblocking(False)
            listener.set_inheritable(False)
    except BaseException:
        first.close()
        close_listeners(listeners, settings.unix)
        raise
    return listeners


def has_passed_sockets(settings: Settings) -> bool:
    """Whether :func:`open_listeners` would take sockets that others have made."""
    return settings.sock is not None or (
        settings.unix is None
        and _is_activated()
        and os.environ.get("LISTEN_FDS", "0") != "0"
    )


def close_listeners(
    listeners: list[socket.socket], unix: str | os.PathLike[str] | None = None
) -> None:
    """Close listening sockets; the file of the one bound to ``unix`` goes, too."""
    for listener in listeners:
        listener.close()
    # An abstract address has no file; what systemd bound is systemd's.
    if unix is not None and listeners and not os.fspath(unix).startswith("\0"):
        with contextlib.suppress(OSError):
            os.unlink(unix)


def is_loopback_only(listeners: list[socket.socket]) -> bool:
    """Whether only programs of this machine can connect, over TCP."""
    return all(
        listener.family in (socket.AF_INET, socket.AF_INET6)
        and ipaddress.ip_address(
            listener.getsockname()[0].partition("%")[0]
        ).is_loopback
        for listener in listeners
    )


def _bind_tcp(first: socket.socket, host: str, port: int) -> list[socket.socket]:
    """Bind ``first``, and one more socket where the host has the other family."""
    addresses = _resolve(host, port)
    if first.family not in addresses:
        first.close()
        first = socket.socket(next(iter(addresses)), socket.SOCK_STREAM)
    listeners = [first]
    try:
        dual = host == "::"
        _bind(first, addresses.pop(first.family), dual=dual)
        port = first.getsockname()[1]
        for family, address in addresses.items():
            try:
                other = socket.socket(family, socket.SOCK_STREAM)
            except OSError:
                continue  # The system has no such family.
            listeners.append(other)
            try:
                _bind(other, (address[0], port, *address[2:]), dual=False)
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                listeners.remove(other)
                other.close()
    except BaseException:
        close_listeners(listeners)
        raise
    return listeners


def _resolve(host: str, port: int) -> dict[int, tuple[object, ...]]:
    """Address to bind for each family that ``host`` has; IPv4 goes first."""
    addresses: dict[int, tuple[object, ...]] = {}
    for family, _, _, _, address in socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        if family in (socket.AF_INET, socket.AF_INET6):
            addresses.setdefault(family, address)
    if host == "localhost":
        # Whatever /etc/hosts says: programs connect to 127.0.0.1.
        addresses.setdefault(socket.AF_INET, ("127.0.0.1", port))
    return dict(sorted(addresses.items()))


def _bind(listener: socket.socket, address: tuple[object, ...], *, dual: bool) -> None:
    if os.name == "posix":
        # A restart must not wait for old connections in TIME_WAIT. On Windows
        # the option would let others take the port over.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
    listener.bind(address)


def _bind_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        listener.bind(path)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: str) -> None:
    """Remove the file of a Unix socket that nobody listens on any more."""
    if path.startswith("\0"):
        return  # An abstract address, which has no file.
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


def _is_activated() -> bool:
    """Whether systemd passed sockets to this very process, and they are still there."""
    return os.environ.get("LISTEN_PID") == str(os.getpid())


def _inherited_sockets() -> list[socket.socket]:
    """Sockets that systemd passed to this very process, handed out once."""
    if not _is_activated():
        return []
    count = os.environ.get("LISTEN_FDS", "0")
    if not (count.isascii() and count.isdecimal()):
        raise OSError(errno.EINVAL, f"LISTEN_FDS is no number: {count!r}")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    return [
        socket.socket(fileno=fd)
        for fd in range(LISTEN_FDS_START, LISTEN_FDS_START + int(count))
    ]
