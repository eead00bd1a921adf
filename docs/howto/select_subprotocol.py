from websock import WebSocketServer

PREFERRED = ["chat.v2", "chat.v1"]


def choose(client, offered):
    return next((name for name in PREFERRED if name in offered), None)


server = WebSocketServer(
    "127.0.0.1",
    8467,
    on_connection_open=lambda client: client.send(str(client.subprotocol)),
    select_subprotocol=choose,
)
server.serve_forever()
