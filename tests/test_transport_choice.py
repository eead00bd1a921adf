"""Waiting for a socket, and choosing a transport for it."""

from __future__ import annotations

import socket
from pathlib import Path
from time import monotonic

import pytest

from tests.certificate import make_certificate
from websock import transport as module
from websock.transport import (
    PollTransport,
    TcpTransport,
    TlsTransport,
    WakeGroups,
    connect_transport,
    wait_for,
)

DEADLINE = 20.0


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        peer.settimeout(DEADLINE)
    return accepted, peer


def test_wait_for_tells_what_is_ready() -> None:
    """The one to read or write, or the one that wakes; false at the timeout."""
    one, other = socket.socketpair()
    waker, woken = socket.socketpair()
    with one, other, waker, woken:
        fd, wake_fd = one.fileno(), woken.fileno()
        assert wait_for(fd, None, write=True, timeout=None)
        before = monotonic()
        assert not wait_for(fd, wake_fd, write=False, timeout=0.01)
        assert monotonic() - before >= 0.01
        assert not wait_for(fd, None, write=False, timeout=0.0)
        waker.send(b"x")
        assert wait_for(fd, wake_fd, write=False, timeout=None)
        assert not wait_for(fd, None, write=False, timeout=0.0001)
        other.send(b"x")
        assert wait_for(fd, None, write=False, timeout=None)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        (socket.AF_INET, TcpTransport),
        (socket.AF_INET6, TcpTransport),
        (socket.AF_UNIX, PollTransport),
    ],
)
def test_transport_goes_by_the_kind_of_socket(
    family: socket.AddressFamily, kind: type
) -> None:
    """TCP is read by one system call where the system allows it."""
    with socket.socket(family) as sock:
        transport = connect_transport(sock, "name", WakeGroups())
        assert type(transport) is kind
        assert transport.getpeername() == "name"
        assert transport.fileno() == sock.fileno()


def test_other_systems_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Linux wakes a reader by a shutdown and keeps the connection."""
    monkeypatch.setattr(module, "LINUX", False)
    with socket.socket() as sock:
        assert type(connect_transport(sock, "", WakeGroups())) is PollTransport


def test_tls_socket_gets_a_tls_transport(tmp_path: Path) -> None:
    """Whatever the family."""
    certificate = make_certificate(tmp_path)
    ours, peer = tcp_pair()
    wrapped = certificate.server_context().wrap_socket(
        ours, server_side=True, do_handshake_on_connect=False
    )
    transport = connect_transport(wrapped, "", WakeGroups())
    assert type(transport) is TlsTransport
    transport.close()
    peer.close()
