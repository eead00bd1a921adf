import threading

from websock import WebSocketServer

names = {}
lock = threading.Lock()


def welcome(client):
    client.send("Your name, please?")


def talk(client, data):
    if client in names:
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
        client.send("Somebody has this name. Another one, please?")


def leave(client):
    with lock:
        name = names.pop(client, None)
    if name is not None:
        server.broadcast(f"{name} has left.", exclude=[client])


server = WebSocketServer(
    "127.0.0.1",
    8467,
    on_connection_open=welcome,
    on_data_receive=talk,
    on_connection_close=leave,
    http="page",
)
server.serve_forever()
