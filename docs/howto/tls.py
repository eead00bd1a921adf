import ssl

from websock import WebSocketServer


def echo(client, data):
    client.send(data)


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain("certificate.pem", "key.pem")

server = WebSocketServer("127.0.0.1", 8467, on_data_receive=echo, ssl=context)
server.serve_forever()
