import threading

import pytest
from shout import make_server, shout
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

TIMEOUT = 10


@pytest.fixture
def errors():
    return []


@pytest.fixture
def server(errors):
    server = make_server(port=0)
    server.on_error = errors.append
    thread = threading.Thread(target=server.serve_forever)
    with server:
        thread.start()
        assert server.wait_ready(TIMEOUT)
        yield server
    thread.join(TIMEOUT)
    assert errors == []


@pytest.fixture
def client(server):
    host, port = server.address
    with connect(f"ws://{host}:{port}/", proxy=None) as client:
        yield client


def test_answer_is_loud(client):
    client.send("hello")

    assert client.recv(TIMEOUT) == "HELLO!"


def test_binary_messages_are_refused(client, errors):
    client.send(b"hello")

    with pytest.raises(ConnectionClosed) as info:
        client.recv(TIMEOUT)
    assert info.value.rcvd.code == 1011
    assert isinstance(errors.pop(), TypeError)


def test_callback_alone():
    class Listener:
        heard = ""

        def send(self, data):
            self.heard += data

    listener = Listener()

    shout(listener, "hello")

    assert listener.heard == "HELLO!"
