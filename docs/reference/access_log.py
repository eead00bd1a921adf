import logging

from websock import WebSocketServer

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")

access = logging.getLogger("websock.access")
access.addHandler(logging.FileHandler("access.log"))
access.propagate = False

server = WebSocketServer(
    "127.0.0.1", 8467, on_data_receive=lambda client, data: client.send(data)
)
server.serve_forever()
