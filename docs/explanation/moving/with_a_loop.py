from websock import ConnectionClosed, WebSocketServer


def handler(client):
    try:
        while True:
            client.send(client.recv())
    except ConnectionClosed:
        pass


server = WebSocketServer("127.0.0.1", 8467, on_connection_open=handler)
server.serve_forever()
