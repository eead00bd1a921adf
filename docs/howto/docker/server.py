import logging

from websock import WebSocketServer


def echo(client, data):
    client.send(data)


logging.basicConfig(level=logging.INFO)
server = WebSocketServer("0.0.0.0", 8467, on_data_receive=echo)
server.serve_forever()
