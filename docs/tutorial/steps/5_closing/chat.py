import logging
import threading

from websock import WebSocketServer

NAME_TAKEN = 4000
NOT_TEXT = 1003

names = {}
lock = threading.Lock()


def welcome(client):
    client.send("Your name, please?")


def talk(client, data):
    if not isinstance(data, str):
        client.close(NOT_TEXT, "texts only")
    elif client in names:
        server.broadcast(f"{names[client]}: {data}")
    else:
        join(client, data)


def join(client, name):
    with lock:
        free = name not in names.values()
        if free:
            names[client] = name
    if free:
        server.broadcast(f"{name} is here.")
    else:
        client.close(NAME_TAKEN, "somebody has this name")


def leave(client, code, reason):
    with lock:
        name = names.pop(client, None)
    if name is not None:
        how = "was lost" if code == 1006 else "has left"
        server.broadcast(f"{name} {how}.", exclude=[client])


logging.basicConfig(level=logging.INFO)
server = WebSocketServer(
    "127.0.0.1",
    8467,
    on_connection_open=welcome,
    on_data_receive=talk,
    on_connection_close=leave,
    http="page",
    max_size=4096,
)
server.serve_forever()
