from websock import WebSocketServer


def echo(client, data):
    client.send(data)


server = WebSocketServer("127.0.0.1", 8467, on_data_receive=echo, http="site")
server.serve_forever()
