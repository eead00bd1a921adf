"""The accelerator of a connection, where it was built: plain messages in C.

A :class:`Link` belongs to one connection over TCP, and is its lock. While the case
is plain, it does without Python what the connection would do:

* ``begin_reading()``, ``try_reading()`` and ``end_reading()`` take the read token, and
  give it back. Its owner reads; while a callback runs, nobody has it, and somebody else
  may read.
* ``step(choose, client, connection)``, for its owner, writes what is corked, waits,
  reads, and calls ``function(client, message)`` for each whole message that came;
  ``choose()`` returns the function then, or :obj:`None` if there is more to do than to
  call it, so that everything is the core's. What ``function`` raises goes through; no
  frame is lost by it. The step returns :obj:`None` to be called again, :obj:`True` if
  what is corked must be written by the connection, :obj:`False` at the end of the
  stream, and bytes that are the core's to judge, from the first one of a frame on;
  everything before it is done.
* ``run(choose, client, connection)`` steps as long as that returns :obj:`None`, unless
  a callback has read on itself. It asks ``choose()`` only after
  ``Corks.renew()``, and after a twentieth of a second.
* ``send(data)`` corks a message of the callback that runs, until the step that
  follows, or until the main thread finds that this takes too long. It returns
  :obj:`False` if the connection must send the message, and :obj:`None` if it must
  write what is corked.

``send_all(links, data)`` sends a frame, without waiting, to all whose link takes it
the short way. It returns the places of those that don't, and of those of whom a part
was sent and the rest is corked, and must be written by the connection.

The connection says what is plain, by ``plain``; it takes with ``take()`` what is
corked before it writes anything itself, and with ``take_unread()`` what was read
and not processed before it reads itself.

A step has a buffer of 32 KiB on its thread's stack. With ``threading.stack_size()``
of 48 KiB, CPython 3.11 and 3.13 still serve, and with 32 KiB they don't; what
callbacks need comes on top.

Layer: shells. May import: _masking, transport, _link.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ._masking import SPEEDUPS
from .transport import TcpTransport, Transport

if TYPE_CHECKING:
    from ._link import Corks, Link, send_all
else:
    Corks = Link = None

    def send_all(links, data):
        """Send nothing: there are no links."""
        return range(len(links)), ()

    # What it relies on in closing a socket is what Linux does.
    if SPEEDUPS and sys.platform == "linux":
        try:
            from ._link import Corks, Link, send_all
        except ImportError:
            # Each extension module may fail to compile without the other.
            if os.environ.get("WEBSOCK_SPEEDUPS") == "require":
                raise

__all__ = ["Corks", "Link", "make_link", "send_all"]


def make_link(
    transport: Transport, corks: Corks | None, max_size: int | None
) -> Link | None:
    """Make the short cut for a connection.

    Args:
        transport: The connection's.
        corks: Where the server keeps track of what is corked; :obj:`None` if there
            is no accelerator.
        max_size: Longest message, in bytes; :obj:`None` means no limit.

    Returns:
        The short cut, or :obj:`None` if there is none for this transport.

    """
    if corks is None or not isinstance(transport, TcpTransport):
        return None
    return Link(transport.fileno(), corks, max_size)
