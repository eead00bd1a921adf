from websock import SAME_HOST, WebSocketServer

server = WebSocketServer(
    "127.0.0.1",
    8467,
    on_data_receive=lambda client, data: client.send(data),
    origins=[SAME_HOST, "https://www.example.org", "null", None],
)
server.serve_forever()
