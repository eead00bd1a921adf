from websock import CloseCode, WebSocketServer


def welcome(client):
    if client.subprotocol is None:
        client.close(CloseCode.POLICY_VIOLATION, "offer chat.v1 or chat.v2")
    elif client.subprotocol == "chat.v1":
        client.send("Welcome!")
    else:
        client.send('{"type": "welcome"}')


server = WebSocketServer(
    "127.0.0.1",
    8467,
    on_connection_open=welcome,
    subprotocols=["chat.v2", "chat.v1"],
)
server.serve_forever()
