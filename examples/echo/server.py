from websock import Client, WebSocketServer


def echo(client: Client, data: str | bytes) -> None:
    """Send a message back to whoever sent it."""
    client.send(data)


WebSocketServer("127.0.0.1", 8467, on_data_receive=echo).serve_forever()
