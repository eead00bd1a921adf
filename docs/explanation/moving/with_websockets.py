from websockets.sync.server import serve


def handler(connection):
    for message in connection:
        connection.send(message)


with serve(handler, "127.0.0.1", 8467) as server:
    server.serve_forever()
