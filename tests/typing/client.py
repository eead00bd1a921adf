"""A program that uses what a client offers; types of results are as promised."""

from __future__ import annotations

from typing import assert_type

from websock import Client, Request, Response, WebSocketServer, client_of


def check_request(client: Client, request: Request) -> Response | None:
    """Refuse a client, or set a cookie."""
    if request.headers.get("Authorization") is None:
        return Response(401, headers={"WWW-Authenticate": "Bearer"}, body=b"who?")
    if "room" not in request.query:
        return client.respond(404, "which room?")
    client.response_headers["Set-Cookie"] = "seen=1"
    client.username = request.cookies.get("user")
    return None


def on_connection_open(client: Client) -> None:
    """Use all of a client."""
    client.send("text")
    client.send(b"bytes")
    client.ping()
    assert_type(client.recv(timeout=1.0), str | bytes)
    assert_type(client.request.path, str)
    assert_type(client.subprotocol, str | None)
    assert_type(client.latency, float | None)
    assert_type(client.close_code, int | None)
    client.data["room"] = client.request.path
    client.name = "Ann"
    client.close(1000, "bye")


def on_error(exception: Exception) -> None:
    """Learn whose it is."""
    client = client_of(exception)
    if client is not None:
        print(client.name, client.request.path)
    assert_type(client, Client | None)


def on_pong_receive(client: Client, payload: bytes) -> None:
    """Look at the round trip."""
    print(client.latency, payload)


def on_connection_close(client: Client, code: int, reason: str) -> None:
    """Get all that there is."""
    print(client.id, code, reason)


with WebSocketServer(
    "::1",
    0,
    on_connection_open=on_connection_open,
    on_connection_close=on_connection_close,
    on_error=on_error,
    on_pong_receive=on_pong_receive,
    process_request=check_request,
) as server:
    assert_type(server.wait_ready(1.0), bool)
    server.broadcast("text", exclude=[])
    server.broadcast(b"bytes", exclude=list(server.clients.values()))
    server.stop_listening()
    server.shutdown(1.0)
