from websock import WebSocketServer


def shout(client, data):
    client.send(data.upper() + "!")


def make_server(host="127.0.0.1", port=8467):
    return WebSocketServer(host, port, on_data_receive=shout)


if __name__ == "__main__":
    make_server().serve_forever()
