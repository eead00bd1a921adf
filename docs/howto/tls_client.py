import ssl

from websockets.sync.client import connect

context = ssl.create_default_context(cafile="certificate.pem")

with connect("wss://localhost:8467/", ssl=context) as websocket:
    websocket.send("Hello!")
    print(websocket.recv())
