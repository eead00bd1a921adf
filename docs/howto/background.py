import threading

from websock import WebSocketServer

server = WebSocketServer(
    "127.0.0.1", 8467, on_data_receive=lambda client, data: client.send(data)
)
with server:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    if not server.wait_ready(timeout=5):
        raise SystemExit("the server doesn't listen")
    print("Serving on port", server.address[1])
    input("Press Enter to stop.")
thread.join()
