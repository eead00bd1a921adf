from websock import WebSocketServer


def echo(client, data):
    client.send(data)


server = WebSocketServer(
    unix="/run/chat/chat.sock",
    on_data_receive=echo,
    hosts=["chat.example.org"],
    origins=["https://chat.example.org"],
)
server.serve_forever()
