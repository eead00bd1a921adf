"""A program that uses every option; and the names that it may import."""

from __future__ import annotations

import logging
import re
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from websock import (
    Client,
    FrameType,
    PerMessageDeflate,
    WebSocketInvalidDataFrame,
    WebSocketInvalidHandshake,
    WebSocketServer,
)
from websock.WebSocketServer import WebSocketServer as OldPath


def select(client: Client, offered: Sequence[str]) -> str | None:
    """Choose a subprotocol."""
    return offered[0] if offered else None


server: OldPath = WebSocketServer(
    host="localhost",
    port=0,
    ssl=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
    origins=["https://example.org", re.compile(r"https://.*\.example\.org"), None],
    hosts=["example.org"],
    subprotocols=["chat.v2", "chat.v1"],
    select_subprotocol=select,
    compression=PerMessageDeflate(),
    http=Path("page"),
    health_path="/health",
    open_timeout=5,
    ping_interval=None,
    ping_timeout=2.5,
    close_timeout=5,
    send_timeout=5,
    max_size=2**16,
    max_fragments=None,
    write_limit=2**20,
    max_connections=100,
    max_connections_per_ip=None,
    max_http_connections=100,
    max_http_connections_per_ip=6,
    slow_client="drop_oldest",
    callback_errors="continue",
    backlog=64,
    logger=logging.getLogger("chat"),
)
WebSocketServer(sock=socket.socket(), compression="deflate", origins=None)
WebSocketServer(unix=Path("chat.sock"), compression=None, http="page", health_path=None)

try:
    server.serve_once()
except (WebSocketInvalidHandshake, WebSocketInvalidDataFrame):
    print(FrameType.TEXT)
