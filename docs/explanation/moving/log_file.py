import logging

from websock import WebSocketServer

logger = logging.getLogger("websock")
logger.addHandler(logging.FileHandler("ws.log", mode="w"))
logger.setLevel(logging.INFO)

server = WebSocketServer(
    "127.0.0.1", 8467, on_data_receive=lambda client, data: client.send(data)
)
server.serve_forever()
