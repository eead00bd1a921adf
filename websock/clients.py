"""Clients: what a server's callbacks get, and the table of those that are connected.

A :class:`Client` is a thin object with public names only: what it does is done by
its connection, and by the server that made both.

Layer: shells. May import: the core, link, connection, receiving.
"""

from __future__ import annotations

from collections.abc import (
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    ValuesView,
)
from typing import Any

from .closing import CloseCode
from .connection import Connection
from .frames import Frame
from .handshake import Response
from .headers import Headers
from .lifecycle import State
from .link import send_all
from .messages import Data
from .receiving import Receiver
from .request import Request
from .writer import SharedMessage

__all__ = ["Client", "ClientTable", "Clients", "client_of", "fan_out"]


class Client:
    """One connected peer, from its request to the end.

    Callbacks get it; it may be kept, compared, used as a key and given to other
    threads. Every method may be called from any thread.
    """

    __slots__ = (
        "__weakref__",
        "_connection",
        "_receiver",
        "close_code",
        "close_reason",
        "data",
        "id",
        "name",
        "request",
        "response_headers",
        "server",
        "subprotocol",
        "username",
    )

    def __init__(
        self,
        connection: Connection,
        receiver: Receiver,
        server: Any,
        request: Request,
    ) -> None:
        self._connection = connection
        self._receiver = receiver
        self.id: int = connection.id
        """Number of the connection, unique in this process."""
        self.name: str = f"websock-{self.id}"
        """Name, yours to change; at first that of the client's thread."""
        self.data: dict[Any, Any] = {}
        """Memory of the application, empty at first; lives as long as the client."""
        self.server: Any = server
        """The server that accepted the connection."""
        self.request: Request = request
        """The opening handshake's request. If it couldn't be read, which only
        ``on_error`` gets to see, its method and target are empty."""
        self.response_headers = Headers()
        """Header fields for the 101, until it's sent; set them in
        ``process_request``."""
        self.subprotocol: str | None = None
        """Agreed subprotocol (1.9); :obj:`None` if there is none."""
        self.username: str | None = None
        """Who it is, as far as authentication knows; :obj:`None` if it doesn't."""
        self.close_code: int | None = None
        """Close code, once the connection ends: the peer's, or ours if we closed
        it, or 1006 if it was lost (7.1.5); :obj:`None` until then."""
        self.close_reason: str = ""
        """Close reason, once the connection ends (7.1.6)."""

    @property
    def address(self) -> Any:
        """Address of the peer: (host, port), with two more numbers for IPv6.

        On a Unix socket, where peers have none, ("unix", id).
        """
        return self._connection.address

    @property
    def host(self) -> str:
        """Address of the peer without its port, which limits go by."""
        return str(self._connection.address[0])

    @property
    def state(self) -> State:
        """Where the connection stands (7.1); any thread."""
        return self._connection.state

    @property
    def latency(self) -> float | None:
        """Round trip of the last Ping that was answered, in seconds.

        :obj:`None` before the first.
        """
        return self._connection.latency

    def getpeername(self) -> Any:
        """Return :attr:`address`; works after the connection was lost, too."""
        return self._connection.address

    def getsockname(self) -> Any:
        """Address of this end."""
        return self._connection.transport.getsockname()

    def fileno(self) -> int:
        """Descriptor of the socket; -1 once it's closed."""
        return self._connection.fileno()

    def __repr__(self) -> str:
        """Id, address and state, for logs."""
        return f"<Client {self.id} at {self} {self.state.value}>"

    def __str__(self) -> str:
        """Address of the peer, for logs."""
        return str(self._connection)

    def respond(self, status: int, text: str) -> Response:
        """Make a plain text response, for ``process_request`` to return."""
        return Response(
            status,
            {"Content-Type": "text/plain; charset=utf-8"},
            text,
        )

    def send(self, data: Data | Frame, *, fragment_size: int | None = None) -> None:
        """Send a message (5.6).

        May be called from any thread, in callbacks too. It waits only if the peer
        reads so slowly that its outbox is full, or for another thread that sends to
        it; the first who waits is the first to go on.

        Args:
            data: ``str`` is sent as text, ``bytes``, ``bytearray`` and
                ``memoryview`` as binary, :class:`Message` as it says; a
                :class:`Frame` goes out as it is.
            fragment_size: Longest payload of a frame, in bytes; :obj:`None` sends
                the message in one frame (5.4).

        Raises:
            ConnectionClosed: If the connection is closing, closed or lost; it's an
                :exc:`OSError`.
            SendTimeout: If there was no room within ``send_timeout``; the
                connection was dropped.
            LocalProtocolError: If the message can't be sent; nothing changed.
            TypeError: If ``data`` is of another type; nothing changed.

        """
        self._connection.send(data, fragment_size)

    def recv(self, timeout: float | None = None) -> str | bytes:
        """Wait for the next message, and take it away from ``on_data_receive``.

        In a callback of this client, it reads on. In another thread, it waits
        until the client's own thread brings a message; where there is no
        ``on_data_receive``, messages wait for the next call once there was a
        first, and when too many do, reading pauses.

        Args:
            timeout: Longest wait, in seconds; :obj:`None` waits for ever.

        Returns:
            The message, ``str`` for text and ``bytes`` for binary.

        Raises:
            TimeoutError: If no message comes in time.
            ConnectionClosed: If the connection ends first.

        """
        return self._receiver.recv(timeout)

    def ping(self, payload: bytes | None = None) -> None:
        """Send a Ping (5.5.2); its answer sets :attr:`latency`.

        May be called from any thread; never waits. Behind a full outbox there is
        room for 16 Pings: more aren't sent, as the answers to those will tell.

        Args:
            payload: At most 125 bytes; :obj:`None` makes a random one.

        Raises:
            ConnectionClosed: If the connection is closing, closed or lost.
            LocalProtocolError: If ``payload`` is too long; nothing was sent.

        """
        self._connection.ping(payload)

    def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Start the closing handshake, unless it's started already (7.1.2).

        May be called from any thread, and returns at once. The connection's own
        thread ends what it does, runs ``on_connection_close``, and sends the Close
        frame; a peer that doesn't answer is cut off after ``close_timeout``.

        Args:
            code: Close code for the peer; one that may appear in a Close frame,
                which excludes 1005, 1006, and 1015 (7.4.1).
            reason: Explanation for humans, at most 123 bytes in UTF-8 (5.5).

        Raises:
            LocalProtocolError: If ``code`` or ``reason`` may not be sent; then
                nothing changed.

        """
        self._connection.close(code, reason)

    def abort(self) -> None:
        """Cut the connection without a closing handshake (7.1.7).

        May be called from any thread, and returns at once; the peer sees 1006. No
        further message of this client is delivered.
        """
        self._connection.discard()


def client_of(error: BaseException) -> Client | None:
    """Client that an exception, passed to ``on_error``, is about.

    That is its attribute ``client``, which type checkers don't know of.

    Returns:
        The client, or :obj:`None` if it's about the server, or can't have attributes.

    """
    client = getattr(error, "client", None)
    return client if isinstance(client, Client) else None


class Clients(Mapping[Any, Client]):
    """The clients whose opening handshake is done, by address.

    May be used from any thread while clients come and go: views and iterators
    are of the moment in which they are asked for.
    """

    def __init__(self) -> None:
        # Each operation on it is atomic; those that look at all copy it first.
        self._table: dict[Any, Client] = {}

    def __getitem__(self, address: Any) -> Client:
        """Client at ``address``."""
        return self._table[address]

    def __len__(self) -> int:
        """Number of clients."""
        return len(self._table)

    def __contains__(self, address: object) -> bool:
        """Whether a client is at ``address``; a client stands for its own."""
        if isinstance(address, Client):
            return self._table.get(address.address) is address
        return address in self._table

    def __iter__(self) -> Iterator[Any]:
        """Addresses at this moment."""
        return iter(list(self._table))

    def keys(self) -> KeysView[Any]:
        """Addresses at this moment."""
        return self._table.copy().keys()

    def values(self) -> ValuesView[Client]:
        """Clients at this moment."""
        return self._table.copy().values()

    def items(self) -> ItemsView[Any, Client]:
        """Addresses and clients at this moment."""
        return self._table.copy().items()

    def __repr__(self) -> str:
        """How many there are."""
        return f"<Clients: {len(self._table)}>"


class ClientTable(Clients):
    """The clients of a server, for the server itself."""

    def add(self, client: Client) -> None:
        """Put a client in."""
        self._table[client.address] = client

    def discard(self, client: Client) -> None:
        """Take a client out, unless another one is at its address by now."""
        if self._table.get(client.address) is client:
            self._table.pop(client.address, None)

    def read_ahead(self, before: float) -> None:
        """Read for all whose callbacks have run since ``before``; never waits."""
        for client in self.values():
            client._receiver.read_ahead(before)


def fan_out(message: SharedMessage, policy: str, clients: Iterable[Client]) -> None:
    """Send a message to many, without waiting; the lost and the slow stop nothing.

    Args:
        message: The message.
        policy: What to do with full outboxes: the setting ``slow_client``.
        clients: Who gets it.

    """
    connections = [client._connection for client in clients]
    links = tuple(connection.link for connection in connections)
    unsent, begun = send_all(links, message.encode(())[0])
    for place in begun:
        connections[place].write_due()
    for place in unsent:
        connections[place].offer(message, policy)
