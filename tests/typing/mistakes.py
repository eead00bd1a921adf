"""Mistakes that a type checker finds: each comment would be one if it didn't."""

from __future__ import annotations

from websock import Client, WebSocketServer

server = WebSocketServer("127.0.0.1", 8467)

WebSocketServer("127.0.0.1", "8467")  # type: ignore[arg-type]
WebSocketServer(on_message=print)  # type: ignore[call-arg]
WebSocketServer(slow_client="wait")  # type: ignore[arg-type]
WebSocketServer(ping_interval="20")  # type: ignore[arg-type]
WebSocketServer(on_error=1)  # type: ignore[arg-type]
WebSocketServer(on_ping_send=1)  # type: ignore[arg-type]


def on_data_receive(client: Client, data: str | bytes) -> None:
    """Make mistakes with a client."""
    client.send(1)  # type: ignore[arg-type]
    client.write("text")  # type: ignore[attr-defined]
    client.close("bye")  # type: ignore[arg-type]
    client.recv() + "text"  # type: ignore[operator]
    server.send(client, None)  # type: ignore[arg-type]
    server.broadcast(1.5)  # type: ignore[arg-type]
