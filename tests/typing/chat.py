"""A program in the style of websock 1.0.4: callbacks, and functions of the server."""

from __future__ import annotations

import threading

from websock import Client, WebSocketServer

names: dict[Client, str] = {}


def on_connection_open(client: Client) -> None:
    """Greet a client."""
    names[client] = str(client.getpeername())
    server.send(client, "Hello")
    server.send_all(client, f"{names[client]} is here")


def on_data_receive(client: Client, data: str) -> None:
    """Pass a text on."""
    server.send_all(client, data, True)
    if data == "disconnect":
        server.close_client(client)
    for address, other in server.clients.items():
        if other is not client:
            server.close_client(address, status_code=1001, app_data="bye")


def on_connection_close(client: Client) -> None:
    """Forget a client."""
    del names[client]


def on_error(exception: Exception) -> None:
    """Tell what happened."""
    print(exception)


def on_server_destruct() -> None:
    """Say goodbye."""
    print(len(server.clients))


server = WebSocketServer(
    "127.0.0.1",
    8467,
    on_data_receive=on_data_receive,
    on_connection_open=on_connection_open,
    on_connection_close=on_connection_close,
    on_error=on_error,
    on_server_destruct=on_server_destruct,
)


class ChatServer(WebSocketServer):
    """A server that passes its own methods to its base."""

    def __init__(self) -> None:
        super().__init__(ip="", port=8467, on_data_receive=self.receive)

    def receive(self, client: Client, data: str | bytes) -> None:
        """Send back what came."""
        self.send(client, data)


if __name__ == "__main__":
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.on_connection_close = lambda client: None
    server.close_server()
