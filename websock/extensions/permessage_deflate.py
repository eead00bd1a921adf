"""Compression of messages: the extension "permessage-deflate" (RFC 7692).

:class:`PerMessageDeflate` has the settings and negotiates; what two peers agreed
on is a :class:`DeflateExtension`. Bare numbers of sections are those of RFC 7692.

Layer: core. May import: exceptions, extensions.base, frames.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

from ..exceptions import InvalidPayload, MessageTooBig, RemoteProtocolError
from ..frames import Frame, Opcode
from .base import Parameters

__all__ = ["DeflateExtension", "PerMessageDeflate"]

SERVER_NO_CONTEXT_TAKEOVER: Final = "server_no_context_takeover"
CLIENT_NO_CONTEXT_TAKEOVER: Final = "client_no_context_takeover"
SERVER_MAX_WINDOW_BITS: Final = "server_max_window_bits"
CLIENT_MAX_WINDOW_BITS: Final = "client_max_window_bits"

WINDOW_BITS: Final = {str(bits): bits for bits in range(8, 16)}
"""Values of the two ``max_window_bits``: decimal, without leading zeros (7.1.2)."""

TAIL: Final = b"\x00\x00\xff\xff"
"""What every flush ends with, and no message (7.2.1): LEN and NLEN of a block of
no bytes."""

END: Final = b"\x03\x00"
"""A last block without content, which ends a stream where a block may begin."""

PIECE: Final = 64
"""How much to inflate at once, in bytes, after a block with BFINAL."""


class _Invalid(ValueError):
    """Parameters that don't conform to section 7."""


@dataclass(slots=True)
class _Terms:
    """Parameters of an offer or a response, parsed; what is absent is its default."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None
    client_window_bits_known: bool = False
    """Whether client_max_window_bits is there, with a value or without."""


def _parse(params: Parameters) -> _Terms:
    """Parse parameters of either side (7.1); :exc:`_Invalid` if they're wrong."""
    terms = _Terms()
    seen = set()
    for name, value in params:
        if name in seen:
            raise _Invalid(f"{name} is there twice")
        seen.add(name)
        if name in (SERVER_NO_CONTEXT_TAKEOVER, CLIENT_NO_CONTEXT_TAKEOVER):
            if value is not None:
                raise _Invalid(f"{name} has a value: {value!r}")
            setattr(terms, name, True)
        elif name in (SERVER_MAX_WINDOW_BITS, CLIENT_MAX_WINDOW_BITS):
            if name == CLIENT_MAX_WINDOW_BITS:
                terms.client_window_bits_known = True
                if value is None:
                    continue
            if value is None or value not in WINDOW_BITS:
                raise _Invalid(f"{name} isn't a number from 8 to 15: {value!r}")
            setattr(terms, name, WINDOW_BITS[value])
        else:
            raise _Invalid(f"unknown parameter {name}")
    return terms


def _serialize(
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: int,
    client_max_window_bits: int,
) -> list[tuple[str, str | None]]:
    """Parameters that differ from what their absence means."""
    params: list[tuple[str, str | None]] = []
    if server_no_context_takeover:
        params.append((SERVER_NO_CONTEXT_TAKEOVER, None))
    if client_no_context_takeover:
        params.append((CLIENT_NO_CONTEXT_TAKEOVER, None))
    if server_max_window_bits < 15:
        params.append((SERVER_MAX_WINDOW_BITS, str(server_max_window_bits)))
    if client_max_window_bits < 15:
        params.append((CLIENT_MAX_WINDOW_BITS, str(client_max_window_bits)))
    return params


@dataclass(frozen=True)
class PerMessageDeflate:
    """Settings of the extension, and the factory that negotiates with them.

    Shared by all connections of a server; may be used from any thread.

    The defaults are chosen for many connections. A connection takes memory when it
    compresses or decompresses its first message, and gives it back at its end, or
    after each message if that direction has no context takeover. Measured with
    zlib 1.2.13 on 64 bits, in KiB; beside it, how much of their size is left of
    chat messages of 157 bytes, of documents of 3.2 KB and of texts of 13 KB, one
    after the other with context takeover:

    ============= =========== ========== ======== ==== ========= =====
    window bits   mem_level   compress   inflate  chat documents texts
    ============= =========== ========== ======== ==== ========= =====
    15            8 (zlib's)  261.9      39.1     27 % 16 %      30 %
    12            5           37.9       11.1     30 % 18 %      34 %
    **12**        **4**       **29.9**   **11.1** 30 % 18 %      34 %
    11            4           21.9       9.1      31 % 19 %      35 %
    9             3           11.9       7.6      43 % 21 %      44 %
    ============= =========== ========== ======== ==== ========= =====

    Raises:
        ValueError: If a setting has a wrong value; the sentence names it.
        TypeError: If a setting has a wrong type; the sentence names it.

    """

    server_no_context_takeover: bool = False
    """Whether the server compresses each message on its own (7.1.1.1).

    It saves the memory of a compressor per connection between messages; small
    messages are then hardly compressed: 74 % are left of the chat messages above."""
    client_no_context_takeover: bool = False
    """Whether the client must compress each message on its own (7.1.1.2).

    It saves the server the memory of a decompressor per connection."""
    server_max_window_bits: int = 12
    """Binary logarithm of the server's window in bytes, 8 to 15 (7.1.2.1).

    A client may ask for less. 12 still reaches back over a document of almost
    4 KiB to the one before it. 8 compresses badly: see :class:`DeflateExtension`."""
    client_max_window_bits: int = 12
    """Binary logarithm of the client's window in bytes, 8 to 15 (7.1.2.2).

    Only clients that offer the parameter let the server limit it; others, Firefox
    among them, may use 15."""
    level: int = 6
    """Level of compression, 0 (none) to 9 (best).

    6 is zlib's own choice; 1 takes a third of its time for long texts, leaves
    37 % instead of 34 %, and saves nothing with short messages."""
    mem_level: int = 4
    """Memory of a compressor besides its window, 1 to 9: 2 to the power of
    ``mem_level + 9`` bytes.

    5 and 6 cost 8 and 24 KiB more, and compressed none of the above better."""
    threshold: int = 128
    """Shortest message that is compressed, in bytes; 0 for all.

    Below it, compression saves less than what TCP and IP add to the message, at 5
    to 9 µs and 30 KiB for a compressor. A message that is sent in fragments is always
    compressed."""

    name = "permessage-deflate"

    def __post_init__(self) -> None:
        for option in (SERVER_NO_CONTEXT_TAKEOVER, CLIENT_NO_CONTEXT_TAKEOVER):
            value = getattr(self, option)
            if not isinstance(value, bool):
                raise TypeError(f"{option} must be a bool, not {value!r}")
        for option, least, most in (
            (SERVER_MAX_WINDOW_BITS, 8, 15),
            (CLIENT_MAX_WINDOW_BITS, 8, 15),
            ("level", 0, 9),
            ("mem_level", 1, 9),
            ("threshold", 0, None),
        ):
            value = getattr(self, option)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{option} must be an int, not {value!r}")
            if value < least or (most is not None and value > most):
                bounds = (
                    f"at least {least}" if most is None else f"from {least} to {most}"
                )
                raise ValueError(f"{option} must be {bounds}, not {value}")

    def negotiate(
        self, params: Parameters
    ) -> tuple[Parameters, DeflateExtension] | None:
        """Answer one offer, as a server (5.1, 7.1).

        Args:
            params: Parameters of the offer.

        Returns:
            Parameters for the response and the agreed extension, or :obj:`None` to
            decline the offer, because it has a parameter that is unknown, is there
            twice, or has a wrong value.

        """
        try:
            offer = _parse(params)
        except _Invalid:
            return None
        server_no_context_takeover = (
            self.server_no_context_takeover or offer.server_no_context_takeover
        )
        # A client that offers this promises it for itself (7.1.1.2); in the
        # response it becomes binding, which saves us the decompressor.
        client_no_context_takeover = (
            self.client_no_context_takeover or offer.client_no_context_takeover
        )
        server_bits = min(
            self.server_max_window_bits, offer.server_max_window_bits or 15
        )
        # Without the parameter in the offer it must not be in the response.
        client_bits = 15
        if offer.client_window_bits_known:
            client_bits = min(
                self.client_max_window_bits, offer.client_max_window_bits or 15
            )
        response = _serialize(
            server_no_context_takeover,
            client_no_context_takeover,
            server_bits,
            client_bits,
        )
        # A demand must be confirmed, even if it demands no more than the default.
        if offer.server_max_window_bits == server_bits == 15:
            response.append((SERVER_MAX_WINDOW_BITS, "15"))
        return response, DeflateExtension(
            self,
            encode_window_bits=server_bits,
            decode_window_bits=client_bits,
            encode_context_takeover=not server_no_context_takeover,
            decode_context_takeover=not client_no_context_takeover,
        )

    def offer(self) -> Parameters:
        """Parameters for the request of a client (7.1).

        They demand the settings of the server's side and announce those of the
        client's; ``client_max_window_bits`` is always there, so that the server
        may choose less.
        """
        params = _serialize(
            self.server_no_context_takeover,
            self.client_no_context_takeover,
            self.server_max_window_bits,
            self.client_max_window_bits,
        )
        if self.client_max_window_bits == 15:
            params.append((CLIENT_MAX_WINDOW_BITS, None))
        return params

    def confirm(self, params: Parameters) -> DeflateExtension:
        """Extension that a server agreed to, for a client that sent :meth:`offer`.

        Args:
            params: Parameters of the response.

        Raises:
            RemoteProtocolError: If the response has a parameter that is unknown, is
                there twice, or has a wrong value, or doesn't fulfil the offer; the
                connection must be failed (7.1).

        """
        try:
            response = _parse(params)
            for option in (SERVER_MAX_WINDOW_BITS, CLIENT_MAX_WINDOW_BITS):
                bits = getattr(response, option)
                offered = getattr(self, option)
                if bits is not None and bits > offered:
                    raise _Invalid(f"{option} is {bits}, more than {offered}")
            if (
                response.client_window_bits_known
                and not response.client_max_window_bits
            ):
                raise _Invalid(f"{CLIENT_MAX_WINDOW_BITS} has no value")
            if self.server_max_window_bits < 15 and not response.server_max_window_bits:
                raise _Invalid(f"{SERVER_MAX_WINDOW_BITS} isn't confirmed")
            if (
                self.server_no_context_takeover
                and not response.server_no_context_takeover
            ):
                raise _Invalid(f"{SERVER_NO_CONTEXT_TAKEOVER} isn't confirmed")
        except _Invalid as error:
            raise RemoteProtocolError(f"{self.name}: {error}") from None
        return DeflateExtension(
            self,
            encode_window_bits=(
                response.client_max_window_bits or self.client_max_window_bits
            ),
            decode_window_bits=response.server_max_window_bits or 15,
            encode_context_takeover=not (
                self.client_no_context_takeover or response.client_no_context_takeover
            ),
            decode_context_takeover=not response.server_no_context_takeover,
        )


class DeflateExtension:
    """What two peers agreed on, and the contexts of both directions.

    The halves for decoding and encoding share nothing that changes.

    A window of 256 bytes (8 bits) is more than zlib's decompressor needs to be told
    and less than its compressor can have: decoding uses 9 bits, which accept all
    that 8 do. Encoding uses only matches at a distance of one byte (``Z_RLE``),
    which fit any window.

    Args:
        settings: Level, memory level and threshold for encoding.
        encode_window_bits: Binary logarithm of the window for encoding.
        decode_window_bits: The same for decoding.
        encode_context_takeover: Whether the window is kept between messages, for
            encoding.
        decode_context_takeover: The same for decoding.

    """

    __slots__ = (
        "_compressed",
        "_compressor",
        "_decode_context_takeover",
        "_decode_window_bits",
        "_decompressor",
        "_encode_context_takeover",
        "_encode_window_bits",
        "_settings",
    )

    name = PerMessageDeflate.name
    rsv1 = True
    rsv2 = False
    rsv3 = False
    per_message = True

    def __init__(
        self,
        settings: PerMessageDeflate,
        *,
        encode_window_bits: int,
        decode_window_bits: int,
        encode_context_takeover: bool,
        decode_context_takeover: bool,
    ) -> None:
        self._settings = settings
        self._encode_window_bits = encode_window_bits
        self._decode_window_bits = decode_window_bits
        self._encode_context_takeover = encode_context_takeover
        self._decode_context_takeover = decode_context_takeover
        # Decoding half: whether the current message is compressed, and the window.
        self._compressed = False
        self._decompressor: zlib._Decompress | None = None
        # Encoding half.
        self._compressor: zlib._Compress | None = None

    def __repr__(self) -> str:
        """Agreed parameters, encoding first."""
        return (
            f"<{self.name}: encodes {self._encode_window_bits} bits"
            f"{'' if self._encode_context_takeover else ', no context takeover'};"
            f" decodes {self._decode_window_bits} bits"
            f"{'' if self._decode_context_takeover else ', no context takeover'}>"
        )

    # Decoding half

    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        """Frame as the peer's application meant it (7.2.2).

        What isn't compressed passes unchanged and leaves the window as it is. At
        no time are there more than ``max_size + 1`` bytes of output, however much
        the frame would inflate to.

        Args:
            frame: A data frame; whether its message is compressed, the first frame
                of a message says.
            max_size: How many bytes the *message* may still have, that is, the
                limit without what its earlier fragments gave; :obj:`None` means no
                limit.

        Raises:
            MessageTooBig: If the output of this frame is longer; ``size`` and
                ``limit`` are those of this frame.
            InvalidPayload: If the payload isn't the compressed data of a message
                (7.2.2), or refers to what is no longer in the window.
            RemoteProtocolError: If a frame that isn't the first of its message has
                RSV1 (6.1).

        """
        if frame.opcode != Opcode.CONTINUATION:
            self._compressed = frame.rsv1
        elif frame.rsv1:
            raise RemoteProtocolError("RSV1 on a continuation")
        if not self._compressed:
            return frame
        payload = self._inflate(frame.payload, frame.fin, max_size)
        if frame.fin and not self._decode_context_takeover:
            self._decompressor = None
        return Frame(frame.opcode, payload, frame.fin, rsv2=frame.rsv2, rsv3=frame.rsv3)

    def _new_decompressor(self) -> zlib._Decompress:
        self._decompressor = zlib.decompressobj(-max(self._decode_window_bits, 9))
        return self._decompressor

    def _inflate(self, payload: bytes, fin: bool, max_size: int | None) -> bytes:
        decompressor = self._decompressor or self._new_decompressor()
        # One byte more than allowed shows that there is more; 0 would be no limit.
        room = 0 if max_size is None else max_size + 1
        pieces = []
        rest = memoryview(payload)
        size = len(rest)
        # Whether a block may have begun in this payload and not ended.
        inside = bool(rest)
        try:
            while rest:
                piece = rest[:size]
                output = decompressor.decompress(piece, room)
                if output:
                    pieces.append(output)
                    if max_size is not None:
                        room -= len(output)
                        if not room:
                            # It holds what it didn't get to.
                            self._decompressor = None
                            raise MessageTooBig(
                                "decompressed message", max_size + 1, max_size
                            )
                # A block with BFINAL ends the stream of zlib, but not the message;
                # the next block begins at the next byte, without history, which
                # zlib can't keep (7.2.1, 7.2.3.4). Small pieces, because zlib hands
                # back a copy of what it doesn't take: a payload of nothing but such
                # blocks would be copied as often as it has blocks.
                if decompressor.eof:
                    rest = rest[len(piece) - len(decompressor.unused_data) :]
                    size = PIECE
                    inside = bool(rest)
                    decompressor = self._new_decompressor()
                else:
                    rest = rest[len(piece) :]
                    size *= 2
            if fin:
                self._end_message(decompressor, inside)
        except zlib.error as error:
            raise InvalidPayload(f"invalid compressed data: {error}") from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _end_message(self, decompressor: zlib._Decompress, inside: bool) -> None:
        """Complete the last block of a message, and make sure that it's complete.

        Where nothing came since a block ended, nothing has to be completed. The
        RFC wants a byte 00 there, but compressors built on zlib, which flushes
        nothing if nothing came since the last flush, leave it out.
        """
        if not inside and self._between_blocks(decompressor):
            return
        if decompressor.decompress(TAIL, 1) or not self._between_blocks(decompressor):
            raise InvalidPayload("invalid compressed data: the last block is cut off")

    @staticmethod
    def _between_blocks(decompressor: zlib._Decompress) -> bool:
        """Whether the next block may begin with the next byte.

        zlib knows, and doesn't tell. So a copy of its state, which takes 0.4 µs,
        gets a block that ends the stream.
        """
        probe = decompressor.copy()
        output = probe.decompress(END, 1)
        return not output and probe.eof and not probe.unused_data

    # Encoding half

    @property
    def sharing_key(self) -> Hashable:
        """What two connections must have in common to send one encoded frame."""
        settings = self._settings
        return (
            self.name,
            self._encode_window_bits,
            settings.level,
            settings.mem_level,
            settings.threshold,
        )

    def encode(self, frame: Frame) -> Frame:
        """Frame as it goes on the wire (7.2.1).

        A whole message below the threshold, or one that compression doesn't make
        smaller, goes out as it is. The peer's window never sees the latter, so
        the compressor that saw it is given up. A message in fragments is always
        compressed, because nobody knows how long it gets; each fragment is flushed,
        so that the peer can decompress it when it comes.
        """
        whole = frame.fin and frame.opcode != Opcode.CONTINUATION
        if whole and self._stays_plain(frame):
            return frame
        compressor = self._compressor
        if compressor is None:
            self._compressor = compressor = self._new_compressor()
        payload = self._deflate(compressor, frame.payload, frame.fin)
        if frame.fin and not self._encode_context_takeover:
            self._compressor = None
        if whole and len(payload) >= len(frame.payload):
            self._compressor = None
            return frame
        return self._with_payload(frame, payload)

    def encode_shared(self, frame: Frame) -> Frame:
        """Frame of a whole message, encoded without the history of this connection.

        It refers to nothing before it, so that every connection with the same
        :attr:`sharing_key` may send it between two messages. Where RSV1 is set in
        the result, each of them must then call :meth:`forget`.
        """
        if self._stays_plain(frame):
            return frame
        payload = self._deflate(self._new_compressor(), frame.payload, True)
        if len(payload) >= len(frame.payload):
            return frame
        return self._with_payload(frame, payload)

    def forget(self) -> None:
        """Start the next message without history, after a shared frame was sent.

        The peer's window has the shared message at its end, which this
        connection's compressor knows nothing of: the distances that it would write
        are counted back from what it compressed last, and would point into the
        shared message or miss their target by its length. A new compressor refers
        to nothing before its first message, and what the peer's window has beyond
        does no harm.
        """
        self._compressor = None

    def _stays_plain(self, frame: Frame) -> bool:
        return not frame.payload or len(frame.payload) < self._settings.threshold

    def _new_compressor(self) -> zlib._Compress:
        settings = self._settings
        bits = self._encode_window_bits
        return zlib.compressobj(
            settings.level,
            zlib.DEFLATED,
            -max(bits, 9),
            settings.mem_level,
            # zlib's documentation promises what Z_RLE finds, but not how far the
            # other strategies look back in a window of 512 bytes.
            zlib.Z_RLE if bits == 8 else zlib.Z_DEFAULT_STRATEGY,
        )

    @staticmethod
    def _deflate(compressor: zlib._Compress, payload: bytes, fin: bool) -> bytes:
        if not payload:
            # The compressor is between two blocks: a block of no bytes, without its
            # tail, ends a message (7.2.3.6).
            return b"\x00" if fin else b""
        data = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return data[: -len(TAIL)] if fin else data

    @staticmethod
    def _with_payload(frame: Frame, payload: bytes) -> Frame:
        return Frame(
            frame.opcode,
            payload,
            frame.fin,
            rsv1=frame.opcode != Opcode.CONTINUATION,
            rsv2=frame.rsv2,
            rsv3=frame.rsv3,
        )
