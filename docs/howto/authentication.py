import hashlib
import hmac
import os

from websock import WebSocketServer

# The web application has the same key, and makes the cookie with sign().
KEY = os.environ.get("CHAT_KEY", "").encode()


def sign(user):
    digest = hmac.new(KEY, user.encode(), hashlib.sha256).hexdigest()
    return f"{user}.{digest}"


def user_of(cookie):
    user, _, _ = cookie.rpartition(".")
    if user and hmac.compare_digest(sign(user).encode(), cookie.encode()):
        return user
    return None


def check(client, request):
    client.username = user_of(request.cookies.get("session", ""))
    if client.username is None:
        return client.respond(403, "Please log in first.\n")
    return None


def welcome(client):
    client.send(f"Hello, {client.username}!")


if __name__ == "__main__":
    if not KEY:
        raise SystemExit("CHAT_KEY must be set")
    server = WebSocketServer(
        "127.0.0.1", 8467, on_connection_open=welcome, process_request=check
    )
    server.serve_forever()
