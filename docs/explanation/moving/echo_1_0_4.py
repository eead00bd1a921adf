from websock import WebSocketServer


def on_data_receive(client, data):
    if data == "disconnect":
        server.close_client(client)
    else:
        server.send(client, data + "!")


def on_connection_open(client):
    print("Connected:", client.getpeername())
    server.send(client, "Welcome to the echo server!")


def on_connection_close(client):
    server.send(client, "Closing socket")


def on_error(exception):
    print("Error:", exception)


def on_server_destruct():
    print("Good bye!")


server = WebSocketServer(
    "127.0.0.1",
    8467,
    on_data_receive=on_data_receive,
    on_connection_open=on_connection_open,
    on_connection_close=on_connection_close,
    on_error=on_error,
    on_server_destruct=on_server_destruct,
)
server.serve_forever()
