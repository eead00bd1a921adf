import logging

from websock import WebSocketServer


def echo(client, data):
    client.send(data)


# The journal adds the time.
logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
server = WebSocketServer("", 8467, on_data_receive=echo)
server.serve_forever()
