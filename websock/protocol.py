"""The WebSocket protocol of one connection, without I/O: the core's only door.

A :class:`Protocol` has three parts. The *reading half* is
:meth:`Protocol.receive_data` alone; everything else is the *writing half*, but for
*encoding* messages (:meth:`Protocol.encode_message` and its like), which may take
long. Each part must be used by one thread at a time, and the three may be used at
the same time: reading never answers by itself. :meth:`Protocol.respond` makes the
answer that RFC 6455 demands, when the caller is ready for it.

Layer: core. May import: the core.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Final

from .closing import Close
from .exceptions import (
    ConnectionClosed,
    HandshakeError,
    LocalProtocolError,
    RemoteProtocolError,
)
from .extensions.base import Extension, ServerExtensionFactory
from .frames import CONTROL_LIMIT, Frame, Opcode
from .handshake import (
    Response,
    accept_response,
    check_upgrade,
    negotiate_extensions,
    refuse,
    serialize_response,
)
from .headers import Headers
from .lifecycle import Lifecycle, Signal, State
from .messages import Data, Event, Ping
from .reader import MessageReader
from .request import Request, RequestReader
from .writer import MessageWriter, SharedMessage, new_masking_key

__all__ = ["Protocol", "Side", "close_for"]

DEFAULT_MAX_SIZE: Final = 2**20
DEFAULT_MAX_FRAGMENTS: Final = 4096


class Side(enum.Enum):
    """Which end of a connection we are."""

    CLIENT = "client"
    SERVER = "server"


def close_for(fault: RemoteProtocolError) -> Close:
    """Close frame that answers a fault of the peer (7.1.7)."""
    # The sentence is ours and short, but a reason has its limit (5.5).
    reason = str(fault).encode()[: CONTROL_LIMIT - 2].decode(errors="ignore")
    return Close(fault.close_code, reason)


class Protocol:
    """One WebSocket connection as a transformation of bytes.

    A server feeds :meth:`receive_data` until it returns the :class:`Request`, and
    answers it with :meth:`accept` or :meth:`reject`; from then on
    :meth:`receive_data` returns what the peer does. After each call of the writing
    half, :meth:`data_to_send` has the bytes that must leave, in order.

    Args:
        side: Which end we are.
        max_size: Longest message, in bytes after decompression; :obj:`None` means
            no limit.
        max_fragments: Most frames of a message; :obj:`None` means no limit.
        reader: Reads the opening handshake; :obj:`None` means that it's done
            already, so that the connection is open from the start.
        extensions: Agreed extensions, where the opening handshake is done already.
        masking_key: Makes the masking keys of a client; tests swap it.

    """

    __slots__ = (
        "_early",
        "_lifecycle",
        "_masking_key",
        "_max_fragments",
        "_max_size",
        "_reader",
        "_request_reader",
        "_side",
        "_to_send",
        "_writer",
        "close_rcvd",
        "close_sent",
    )

    def __init__(
        self,
        side: Side,
        *,
        max_size: int | None = DEFAULT_MAX_SIZE,
        max_fragments: int | None = DEFAULT_MAX_FRAGMENTS,
        reader: RequestReader | None = None,
        extensions: Sequence[Extension] = (),
        masking_key: Callable[[], bytes] = new_masking_key,
    ) -> None:
        self._side = side
        self._max_size = max_size
        self._max_fragments = max_fragments
        self._masking_key = masking_key
        self._request_reader = reader
        # Bytes that came behind the request, kept until it's accepted.
        self._early = b""
        self._reader: MessageReader | None = None
        self._writer: MessageWriter | None = None
        self._to_send: list[bytes] = []
        self.close_rcvd: Close | None = None
        """The peer's Close frame, once :meth:`mark_close_rcvd` was told of it."""
        self.close_sent: Close | None = None
        """Our Close frame, once it's in :meth:`data_to_send`."""
        if reader is None:
            self._lifecycle = Lifecycle(State.OPEN)
            self._open(extensions)
        else:
            self._lifecycle = Lifecycle(State.CONNECTING)

    def _open(self, extensions: Sequence[Extension]) -> None:
        server = self._side is Side.SERVER
        self._writer = MessageWriter(
            masked=not server, extensions=extensions, masking_key=self._masking_key
        )
        self._reader = MessageReader(
            masked=server,
            extensions=extensions,
            max_size=self._max_size,
            max_fragments=self._max_fragments,
        )

    @property
    def side(self) -> Side:
        """Which end we are."""
        return self._side

    @property
    def state(self) -> State:
        """Where the connection stands (7.1)."""
        return self._lifecycle.state

    @property
    def extensions(self) -> tuple[Extension, ...]:
        """Agreed extensions, in their agreed order (9.1)."""
        return () if self._reader is None else self._reader.extensions

    @property
    def was_accepted(self) -> bool:
        """Whether the opening handshake succeeded, so that there are frames."""
        return self._reader is not None

    # The reading half.

    @property
    def is_between_messages(self) -> bool:
        """Whether the next byte begins a message, or a control frame (5.4)."""
        return self._reader is not None and self._reader.is_between_messages

    def receive_request(self, data: bytes) -> Request | None:
        """Read the opening handshake of a client (4.2.1).

        What comes behind the request is kept: the first :meth:`receive_data` after
        :meth:`accept` returns what it means, unless :meth:`take_early` was called.

        Returns:
            The request, or :obj:`None` while it isn't complete.

        Raises:
            HandshakeError: If HTTP doesn't allow it; :meth:`reject` answers.

        """
        if self._request_reader is None:
            raise LocalProtocolError("the request was read already")
        request = self._request_reader.receive_data(data)
        if request is not None:
            self._early = self._request_reader.trailing
            self._request_reader = None
        return request

    def take_early(self) -> bytes:
        """Take what came behind the request, to pass it in pieces that suit.

        Returns:
            What :meth:`receive_data` would otherwise begin with; it's handed out
            once.

        """
        early = self._early
        self._early = b""
        return early

    def receive_data(self, data: bytes) -> list[Event]:
        """Turn bytes from the peer into what they mean; the whole reading half.

        Returns:
            Messages, control frames, and at the end perhaps a
            :exc:`RemoteProtocolError`: a rule that the peer broke, for
            :meth:`respond`. After it, and after a Close frame, everything is
            dropped.

        Raises:
            LocalProtocolError: If the connection was never open.

        """
        if self._reader is None:
            raise LocalProtocolError("frames before the opening handshake is done")
        if self._early:
            data = self._early + data
            self._early = b""
        return self._reader.receive_data(data)

    # The writing half.

    def accept(
        self,
        request: Request,
        *,
        subprotocol: str | None = None,
        extensions: Sequence[ServerExtensionFactory] = (),
        headers: Headers | None = None,
    ) -> Response:
        """Accept a request for a WebSocket, with status 101 (4.2.2).

        Args:
            request: What :meth:`receive_request` returned.
            subprotocol: Subprotocol in use, one that the client offered.
            extensions: What this server agrees to, in its order.
            headers: More header fields for the response.

        Returns:
            The response that :meth:`data_to_send` has now.

        Raises:
            HandshakeError: If the request isn't one for a WebSocket; then nothing
                was sent and :meth:`reject` answers.

        """
        key = check_upgrade(request)
        agreed, instances = negotiate_extensions(request, extensions)
        response = accept_response(
            key,
            extensions=agreed,
            subprotocol=subprotocol,
            headers=Headers() if headers is None else headers,
        )
        self._lifecycle.fire(Signal.ACCEPTED)
        self._open(instances)
        self._to_send.append(serialize_response(response))
        return response

    def reject(
        self, answer: HandshakeError | Response, *, head: bool = False
    ) -> Response:
        """Answer a request with another response than 101.

        Args:
            answer: The response, or the error that says which.
            head: Whether the method was HEAD, so that the body stays here; that
                of a request which couldn't be read is known already.

        Returns:
            The response that :meth:`data_to_send` has now.

        """
        response = refuse(answer) if isinstance(answer, HandshakeError) else answer
        reader = self._request_reader
        head = head or (reader is not None and reader.is_head)
        data = serialize_response(response, head=head)
        self._lifecycle.fire(Signal.REJECTED)
        self._to_send.append(data)
        return response

    def _open_writer(self) -> MessageWriter:
        if self._writer is None:
            raise LocalProtocolError("the opening handshake isn't done")
        if self.close_sent is not None or self._lifecycle.state is State.CLOSED:
            raise ConnectionClosed(self.close_rcvd, self.close_sent)
        return self._writer

    def check_can_send(self) -> None:
        """Make sure that frames may be sent; raises like :meth:`send_message`."""
        self._open_writer()

    def can_send(self) -> bool:
        """Whether messages may be sent: from the 101 to our own Close frame."""
        return (
            self._writer is not None
            and self.close_sent is None
            and self._lifecycle.state is not State.CLOSED
        )

    @property
    def is_mid_message(self) -> bool:
        """Whether a message that is sent in frames made by hand isn't finished."""
        return self._writer is not None and self._writer.is_mid_message

    # Encoding, for :meth:`send_encoded`. What was encoded must be sent, in the same
    # order: the compression of a message refers to those before it.

    def _encoder(self) -> MessageWriter:
        if self._writer is None:
            raise LocalProtocolError("the opening handshake isn't done")
        return self._writer

    def encode_message(self, data: Data, *, fragment_size: int | None = None) -> bytes:
        """Frames of a message; see :meth:`send_message`."""
        return self._encoder().serialize_message(data, fragment_size=fragment_size)

    def encode_frame(self, frame: Frame) -> bytes:
        """Bytes of a frame made by hand; see :meth:`send_frame`."""
        if frame.opcode == Opcode.CLOSE:
            raise LocalProtocolError("a Close frame is sent by closing")
        return self._encoder().serialize_frame(frame)

    def encode_shared(self, message: SharedMessage) -> bytes:
        """Frame of a message that others send too; see :meth:`send_shared`."""
        return self._encoder().serialize_shared(message)

    # The rest of the writing half.

    def send_encoded(self, data: bytes) -> None:
        """Send what was encoded.

        Raises:
            ConnectionClosed: If our Close frame was sent, or the transport ended.

        """
        self._open_writer()
        self._to_send.append(data)

    def send_message(self, data: Data, *, fragment_size: int | None = None) -> None:
        """Send a message (5.6).

        Args:
            data: The message.
            fragment_size: Longest payload of a frame, in bytes; :obj:`None` means
                one frame (5.4).

        Raises:
            ConnectionClosed: If our Close frame was sent, or the transport ended.
            LocalProtocolError: If the message isn't one; nothing was sent.

        """
        self._open_writer()
        self.send_encoded(self.encode_message(data, fragment_size=fragment_size))

    def send_shared(self, message: SharedMessage) -> None:
        """Send a message that others send too; raises like :meth:`send_message`."""
        self._open_writer()
        self.send_encoded(self.encode_shared(message))

    def send_frame(self, frame: Frame) -> None:
        """Send one frame made by hand; raises like :meth:`send_message`.

        A Close frame isn't one: :meth:`send_close` sends it.
        """
        self._open_writer()
        self.send_encoded(self.encode_frame(frame))

    def send_ping(self, payload: bytes = b"") -> None:
        """Send a Ping frame with at most 125 bytes (5.5.2)."""
        writer = self._open_writer()
        self._to_send.append(writer.serialize_control(Opcode.PING, payload))

    def send_pong(self, payload: bytes = b"") -> None:
        """Send a Pong frame with at most 125 bytes (5.5.3)."""
        writer = self._open_writer()
        self._to_send.append(writer.serialize_control(Opcode.PONG, payload))

    def send_close(self, close: Close) -> None:
        """Send a Close frame, the last frame of this side (5.5.1).

        Raises:
            ConnectionClosed: If one was sent already, or the transport ended.
            LocalProtocolError: If its code or reason may not be sent.

        """
        data = self._open_writer().serialize_close(close)
        self._lifecycle.fire(Signal.CLOSE_SENT)
        self.close_sent = close
        self._to_send.append(data)

    def mark_close_rcvd(self, close: Close) -> None:
        """Note that the peer closes, without answering yet (5.5.1)."""
        if self.close_rcvd is None:
            self.close_rcvd = close
            # A sender may have found the connection lost before this was read.
            if self._lifecycle.state is not State.CLOSED:
                self._lifecycle.fire(Signal.CLOSE_RCVD)

    def respond(self, event: Event) -> None:
        """Send what RFC 6455 demands as the answer to ``event``, if anything.

        A Ping gets its Pong (5.5.2), a Close frame a Close frame with the same
        code and reason (5.5.1), a fault a Close frame with its code (7.1.7); once
        our Close frame was sent, nothing gets an answer.
        """
        if isinstance(event, Close):
            self.mark_close_rcvd(event)
        if not self.can_send():
            return
        if isinstance(event, Ping):
            self.send_pong(event.payload)
        elif isinstance(event, Close):
            self.send_close(event)
        elif isinstance(event, RemoteProtocolError):
            self.send_close(close_for(event))

    def receive_eof(self) -> None:
        """Note that the transport ended."""
        self._lifecycle.fire(Signal.EOF)

    def data_to_send(self) -> list[bytes]:
        """Bytes that must leave now, in order; they are handed out once.

        Whoever takes them sends them before anybody else takes more (the lock of
        the writing half covers both).
        """
        data = self._to_send
        self._to_send = []
        return data
