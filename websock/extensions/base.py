"""What an extension is (RFC 6455, 9).

An :class:`Extension` is what one connection agreed on; it changes whole frames
and owns reserved bits. A :class:`ServerExtensionFactory` decides what a server
agrees to. Extensions of one connection form a pipeline: sending runs it in the
agreed order, receiving in the opposite one.

Layer: core. May import: frames.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from ..frames import Frame

__all__ = ["Extension", "ExtensionOffer", "Parameters", "ServerExtensionFactory"]

Parameters = Sequence[tuple[str, str | None]]
"""Parameters of an extension, in order; a value of None means that it has none."""

ExtensionOffer = tuple[str, Parameters]
"""One element of Sec-WebSocket-Extensions: name and parameters (9.1)."""


class Extension(Protocol):
    """One agreed extension of one connection.

    The decoding half is called by whoever reads the connection, the encoding
    half by whoever holds its write lock: the halves share no state.
    """

    name: str
    """Token that stands for it in Sec-WebSocket-Extensions."""
    rsv1: bool
    """Whether it owns the first reserved bit."""
    rsv2: bool
    """Whether it owns the second reserved bit."""
    rsv3: bool
    """Whether it owns the third reserved bit."""
    per_message: bool
    """Whether its bits stand on the first frame of a message only. Then a message
    without them isn't passed to :meth:`decode`, but read as it arrives."""

    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        """Frame as the peer's application meant it.

        Called for every data frame that it may have changed, in order. The result
        has none of the bits that the extension owns.

        Args:
            frame: A whole frame, unmasked.
            max_size: How many bytes the payload may have after decoding;
                :obj:`None` means no limit.

        Raises:
            RemoteProtocolError: If the peer broke a rule of the extension; a
                subclass tells the close code.

        """
        ...

    def encode(self, frame: Frame) -> Frame:
        """Frame as it goes on the wire; called for every data frame, in order."""
        ...

    def encode_shared(self, frame: Frame) -> Frame:
        """Frame of a whole message, encoded without the history of this connection.

        Connections with the same :attr:`sharing_key` may all send the result; each
        one calls :meth:`forget` on its extension with it.
        """
        ...

    @property
    def sharing_key(self) -> Hashable:
        """What two connections must have in common to send one encoded frame."""
        ...

    def forget(self) -> None:
        """Start the next message without history, after a shared frame was sent."""
        ...


class ServerExtensionFactory(Protocol):
    """What a server agrees to for one kind of extension; shared by connections."""

    name: str
    """Token of the extension that it makes."""

    def negotiate(self, params: Parameters) -> tuple[Parameters, Extension] | None:
        """Answer one offer.

        Args:
            params: Parameters of the offer, as the client sent them.

        Returns:
            Parameters for the response and the agreed extension, or :obj:`None`
            to decline this offer, as RFC 7692 (5.1) wants for unknown parameters,
            wrong values and those that can't be met.

        """
        ...
