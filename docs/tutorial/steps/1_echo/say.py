from websockets.sync.client import connect

with connect("ws://127.0.0.1:8467/") as websocket:
    websocket.send("Hello!")
    print(websocket.recv())
