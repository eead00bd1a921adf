"""WebSocket servers in plain blocking Python: one thread per client, no async.

>>> from websock import WebSocketServer
>>> def echo(client, data):
...     client.send(data)
>>> server = WebSocketServer("127.0.0.1", 8467, on_data_receive=echo)
>>> server.serve_forever()  # doctest: +SKIP
"""

from __future__ import annotations

# First the module, whose import sets an attribute of this package to the module
# itself; then the class, which takes the name over for good.
from . import WebSocketServer as _module
from .clients import Client, Clients, client_of
from .closing import Close, CloseCode
from .exceptions import (
    ClientGone,
    ConnectionClosed,
    HandshakeError,
    InvalidPayload,
    LocalProtocolError,
    MessageTooBig,
    ProtocolError,
    RemoteProtocolError,
    SendTimeout,
    WebSocketError,
)
from .extensions.permessage_deflate import PerMessageDeflate
from .frames import Frame, Opcode
from .handshake import Response, Source
from .headers import Headers
from .lifecycle import State
from .messages import BinaryMessage, Message, TextMessage
from .origins import SAME_HOST
from .protocol import Protocol, Side
from .request import Request
from .settings import Settings

WebSocketServer = _module.WebSocketServer

# Names of websock 1.0.4.
FrameType = Opcode
WebSocketInvalidHandshake = HandshakeError
WebSocketInvalidDataFrame = RemoteProtocolError

__all__ = [
    "SAME_HOST",
    "BinaryMessage",
    "Client",
    "ClientGone",
    "Clients",
    "Close",
    "CloseCode",
    "ConnectionClosed",
    "Frame",
    "FrameType",
    "HandshakeError",
    "Headers",
    "InvalidPayload",
    "LocalProtocolError",
    "Message",
    "MessageTooBig",
    "Opcode",
    "PerMessageDeflate",
    "Protocol",
    "ProtocolError",
    "RemoteProtocolError",
    "Request",
    "Response",
    "SendTimeout",
    "Settings",
    "Side",
    "Source",
    "State",
    "TextMessage",
    "WebSocketError",
    "WebSocketInvalidDataFrame",
    "WebSocketInvalidHandshake",
    "WebSocketServer",
    "client_of",
]
