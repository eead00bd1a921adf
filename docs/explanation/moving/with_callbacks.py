from websock import WebSocketServer


def answer(client, message):
    client.send(message)


server = WebSocketServer("127.0.0.1", 8467, on_data_receive=answer)
server.serve_forever()
