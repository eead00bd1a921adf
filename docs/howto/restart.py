import logging
import threading

from websock import CloseCode, WebSocketServer

restarting = threading.Event()


def command(client, data):
    if data == "restart":
        restarting.set()
        server.shutdown(code=CloseCode.SERVICE_RESTART, reason="back in a moment")
    else:
        client.send(f"unknown command: {data}")


logging.basicConfig(level=logging.INFO)
with WebSocketServer("127.0.0.1", 8467, on_data_receive=command) as server:
    server.serve_forever()
    while restarting.is_set():
        restarting.clear()
        server.serve_forever()
