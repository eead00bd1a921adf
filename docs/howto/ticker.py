import threading
import time

from websock import WebSocketServer

stopped = threading.Event()


def tick():
    while not stopped.wait(0.1):
        server.broadcast(time.strftime("%H:%M:%S"))


server = WebSocketServer(
    "127.0.0.1",
    8467,
    slow_client="drop_oldest",
    write_limit=64 * 1024,
    on_server_destruct=stopped.set,
)
threading.Thread(target=tick).start()
server.serve_forever()
