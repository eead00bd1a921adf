import json

from websock import Response, WebSocketServer


def answer(client, request):
    if request.path == "/count":
        body = json.dumps({"clients": len(server.clients)})
        return Response(200, {"Content-Type": "application/json"}, body)
    return None


server = WebSocketServer("127.0.0.1", 8467, process_request=answer)
server.serve_forever()
