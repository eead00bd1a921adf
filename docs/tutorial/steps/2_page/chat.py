from websock import WebSocketServer


def talk(client, data):
    client.send(data)


server = WebSocketServer("127.0.0.1", 8467, on_data_receive=talk, http="page")
server.serve_forever()
