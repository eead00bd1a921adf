"""Listeners: what is bound for which options, and what is left after an error."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from websock import listeners as module
from websock.listeners import (
    close_listeners,
    is_loopback_only,
    open_listeners,
    unbound_socket,
)
from websock.settings import Settings


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A path that fits into the address of a Unix socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "s"


@contextlib.contextmanager
def opened(host: str, port: int = 0, **options: Any) -> Iterator[list[socket.socket]]:
    """Listeners for a host, closed at the end."""
    listeners = open_listeners(unbound_socket(host), host, port, Settings(**options))
    try:
        yield listeners
    finally:
        close_listeners(listeners, options.get("unix"))


def descriptors() -> set[str]:
    """Numbers of the open descriptors, but for that of the listing."""
    return set(os.listdir("/proc/self/fd"))


def test_listener_does_not_block_and_is_not_inherited() -> None:
    """Child processes of the application must not hold the port."""
    with opened("127.0.0.1") as (listener,):
        assert not listener.getblocking()
        assert not listener.get_inheritable()
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_all_addresses_of_both_families_share_a_port() -> None:
    """Each family has a socket of its own, so that IPv4 peers look like it."""
    with opened("") as listeners:
        assert [sock.family for sock in listeners] == [
            socket.AF_INET,
            socket.AF_INET6,
        ]
        assert len({sock.getsockname()[1] for sock in listeners}) == 1
        assert listeners[1].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        assert not is_loopback_only(listeners)


def test_two_colons_are_both_families_in_one() -> None:
    """As everywhere else."""
    with opened("::") as (listener,):
        assert not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False)],
)
def test_loopback_is_known(host: str, loopback: bool) -> None:
    """Names are checked there by default (DNS rebinding)."""
    with opened(host) as listeners:
        assert is_loopback_only(listeners) == loopback


def resolve_to(
    monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, tuple[object, ...]]
) -> None:
    """Let every host have these addresses."""
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda *args, **kwargs: [
            (family, socket.SOCK_STREAM, 6, "", address)
            for family, address in addresses
        ],
    )


def test_host_that_has_only_the_other_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket that was made before anybody knew is replaced."""
    resolve_to(monkeypatch, (socket.AF_INET6, ("::1", 0, 0, 0)))
    first = unbound_socket("six.example")

    listeners = open_listeners(first, "six.example", 0, Settings())

    assert first.fileno() == -1
    assert [sock.family for sock in listeners] == [socket.AF_INET6]
    close_listeners(listeners)


def test_localhost_is_ipv4_whatever_the_hosts_file_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some list ::1 alone, but programs connect to 127.0.0.1."""
    resolve_to(
        monkeypatch,
        (socket.AF_INET6, ("::1", 0, 0, 0)),
        (socket.AF_UNIX, ("nonsense",)),
    )
    with opened("localhost") as listeners:
        assert [sock.getsockname()[0] for sock in listeners] == ["127.0.0.1", "::1"]


@pytest.mark.parametrize("code", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
@pytest.mark.parametrize("when", ["socket", "bind"])
def test_family_that_the_system_lacks_is_left_out(
    monkeypatch: pytest.MonkeyPatch, code: int, when: str
) -> None:
    """Containers often have no IPv6; the name has it all the same."""
    resolve_to(
        monkeypatch,
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_INET6, ("::1", 0, 0, 0)),
    )

    class Lacking(socket.socket):
        def __init__(self, family: int = -1, *args: Any, **kwargs: Any) -> None:
            if family == socket.AF_INET6 and when == "socket":
                raise OSError(code, "no IPv6")
            super().__init__(family, *args, **kwargs)

        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(code, "no IPv6")
            super().bind(address)

    before = descriptors()
    monkeypatch.setattr(socket, "socket", Lacking)
    with opened("both.example") as listeners:
        assert [sock.family for sock in listeners] == [socket.AF_INET]
        assert len(descriptors() - before) == 1


def test_taken_port_is_an_error_that_leaves_nothing() -> None:
    """Also when only the second family has it taken."""
    before = descriptors()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        first = unbound_socket("127.0.0.1")
        with pytest.raises(OSError) as caught:
            open_listeners(first, "127.0.0.1", port, Settings())
        assert caught.value.errno == errno.EADDRINUSE
        assert first.fileno() == -1
    with socket.socket(socket.AF_INET6) as taken:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind(("::", 0))
        taken.listen()
        with pytest.raises(OSError) as caught, opened("", taken.getsockname()[1]):
            pass
        assert caught.value.errno == errno.EADDRINUSE
    assert descriptors() == before


def test_unknown_host_is_an_error_that_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name is somebody's typing error."""

    def unknown(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    first = unbound_socket("no.such.example")

    with pytest.raises(socket.gaierror):
        open_listeners(first, "no.such.example", 0, Settings())

    assert first.fileno() == -1


# Unix sockets.


def test_unix_socket_and_its_file(short_path: Path) -> None:
    """It is there while it's listened on, and no TCP socket is."""
    first = unbound_socket("127.0.0.1")

    listeners = open_listeners(first, "127.0.0.1", 0, Settings(unix=short_path))

    assert first.fileno() == -1
    assert short_path.is_socket()
    assert not is_loopback_only(listeners)
    close_listeners(listeners, short_path)
    assert not short_path.exists()
    close_listeners([])


def test_file_that_is_gone_already_is_no_error(short_path: Path) -> None:
    """Somebody may clean up."""
    with opened("", unix=short_path):
        short_path.unlink()


def test_file_of_a_dead_server_is_replaced(short_path: Path) -> None:
    """Nobody listens there any more."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(short_path))
    assert short_path.is_socket()

    with opened("", unix=str(short_path)), socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(short_path))


def test_file_of_a_live_server_stays(short_path: Path) -> None:
    """Two servers can't have one path; the first one keeps it."""
    before = descriptors()
    with opened("", unix=short_path):
        with pytest.raises(OSError) as caught, opened("", unix=short_path):
            pass
        assert caught.value.errno == errno.EADDRINUSE
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(short_path))
    assert descriptors() == before


def test_file_that_is_no_socket_stays(short_path: Path) -> None:
    """It's somebody's data."""
    short_path.write_text("precious")

    with pytest.raises(OSError), opened("", unix=short_path):
        pass

    assert short_path.read_text() == "precious"


def test_abstract_address_has_no_file(tmp_path: Path) -> None:
    """Linux has Unix sockets without one; nothing is to be removed."""
    name = "\0websock-test-" + tmp_path.name
    with opened("", unix=name) as (listener,):
        assert listener.getsockname() == name.encode()


# Ready sockets.


def test_ready_socket_is_used() -> None:
    """It is bound already; host and port don't count."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))

    with opened("192.0.2.1", 1, sock=sock) as listeners:
        assert listeners == [sock]


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Two listening descriptors, numbered as systemd does."""
    pair = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    top = 700
    numbers = [os.dup2(sock.fileno(), top + i) for i, sock in enumerate(pair)]
    for sock in pair:
        sock.close()
    monkeypatch.setattr(module, "LISTEN_FDS_START", top)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_FDNAMES", "a:b")
    yield numbers
    for number in numbers:
        with contextlib.suppress(OSError):
            os.close(number)


def test_sockets_of_systemd_are_handed_out_once(passed: list[int]) -> None:
    """A second server of the process, and child processes, don't get them."""
    first = unbound_socket("127.0.0.1")
    listeners = open_listeners(first, "127.0.0.1", 0, Settings())

    assert [sock.fileno() for sock in listeners] == passed
    assert first.fileno() == -1
    assert not any(name.startswith("LISTEN_") for name in os.environ)
    with opened("127.0.0.1") as others:
        assert others[0].fileno() not in passed
    close_listeners(listeners)


def test_sockets_for_another_process_are_not_taken(
    passed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables may be inherited from a parent."""
    monkeypatch.setenv("LISTEN_PID", "1")
    with opened("127.0.0.1") as (listener,):
        assert listener.fileno() not in passed
    assert os.environ["LISTEN_FDS"] == "2"


@pytest.mark.parametrize("count", ["abc", "-1", "", "\u0662"])
def test_number_of_sockets_that_is_none_is_an_error_that_names_it(
    passed: list[int], monkeypatch: pytest.MonkeyPatch, count: str
) -> None:
    """An error of the system, like others when a server starts."""
    monkeypatch.setenv("LISTEN_FDS", count)
    with pytest.raises(OSError, match=r"LISTEN_FDS is no number: ") as caught:
        open_listeners(unbound_socket(""), "", 0, Settings())
    assert caught.value.errno == errno.EINVAL


def test_explicit_options_go_before_systemd(
    passed: list[int], short_path: Path
) -> None:
    """Who asks for a path gets it; the passed sockets stay for another server."""
    with opened("", unix=short_path) as (listener,):
        assert listener.family == socket.AF_UNIX
    with opened("127.0.0.1") as listeners:
        assert [sock.fileno() for sock in listeners] == passed


def test_activation_without_sockets_passes_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server binds by itself, and can do so again."""
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "0")

    assert not module.has_passed_sockets(Settings())
