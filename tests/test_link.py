"""The accelerator and the core without it, held to the same; and who chooses.

Tests here run both ways; what only the accelerator has is in test_link_alone.py and
test_link_fan_out.py.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import random
import struct
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from websock import _masking, link
from websock.connection import Connection
from websock.exceptions import ConnectionClosed
from websock.frames import Frame, Opcode, serialize_frame
from websock.messages import Pong
from websock.protocol import Protocol
from websock.writer import SharedMessage

from .fake_wire import DEADLINE, KEY, FakeTransport, masked, split, texts
from .linked_wire import MAX_SIZE, PATHS, Line, busy_corks
from .samples import binary
from .tools import wait_until

TEXT, BINARY, CLOSE = Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE
PING, PONG = Opcode.PING, Opcode.PONG


def ignore(line: Line, message: str | bytes) -> None:
    """Do nothing with a message."""


def echo(line: Line, message: str | bytes) -> None:
    """Send a message back."""
    line.connection.send(message)


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    """Who does the work."""
    return str(request.param)


# Who chooses.


def load(monkeypatch: pytest.MonkeyPatch, *, speedups: bool) -> types.ModuleType:
    """Another copy of the module, as it is with or without extension modules."""
    monkeypatch.setattr(_masking, "SPEEDUPS", speedups)
    spec = importlib.util.spec_from_file_location("websock.link_copy", link.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fake_extension(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """An extension module whose links are tuples of their arguments."""
    module = types.ModuleType("websock._link")
    module.__dict__.update(Corks=object, Link=lambda *args: args, send_all=print)
    monkeypatch.setitem(sys.modules, "websock._link", module)
    return module


def test_accelerator_is_for_tcp_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS and Unix sockets are read in another way."""
    fake_extension(monkeypatch)
    module = load(monkeypatch, speedups=True)
    with Line("core", ignore) as line:
        transport = line.connection.transport
        corks = object()

        assert module.make_link(transport, corks, 5) == (transport.fileno(), corks, 5)
        assert module.make_link(FakeTransport(), corks, 5) is None
        assert module.make_link(transport, None, 5) is None


def test_without_speedups_there_is_no_accelerator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """WEBSOCK_SPEEDUPS=skip never takes an extension module."""
    fake_extension(monkeypatch)

    module = load(monkeypatch, speedups=False)

    assert module.Corks is module.Link is None


def test_accelerator_is_for_linux_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere, shutting a socket down doesn't wake who reads it."""
    fake_extension(monkeypatch)
    monkeypatch.setattr(sys, "platform", "darwin")

    module = load(monkeypatch, speedups=True)

    assert module.Corks is module.Link is None


def test_accelerator_that_could_not_be_built_is_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It needs the headers of Linux, which the other extension module doesn't."""
    monkeypatch.setitem(sys.modules, "websock._link", None)
    monkeypatch.delenv("WEBSOCK_SPEEDUPS", raising=False)

    module = load(monkeypatch, speedups=True)

    assert module.Corks is module.Link is None


def test_accelerator_that_is_required_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """WEBSOCK_SPEEDUPS=require makes its absence an error."""
    monkeypatch.setitem(sys.modules, "websock._link", None)
    monkeypatch.setenv("WEBSOCK_SPEEDUPS", "require")

    with pytest.raises(ImportError):
        load(monkeypatch, speedups=True)


# Both do the same.


@functools.cache
def loaded_corks() -> Any:
    """Those of a server under load; :obj:`None` where nothing is ever corked."""
    return busy_corks() if "link" in PATHS else None


def play_both(
    pieces: list[bytes], callback: Callable[[Line, str | bytes], object], corks: Any
) -> list[tuple[Any, ...]]:
    """Outcomes of the same pieces, both ways."""
    outcomes = []
    for path in PATHS:
        with Line(path, callback, corks=corks) as line:
            line.play(pieces)
            line.finish()
            outcomes.append(line.outcome())
    return outcomes


def header(first: int, size: int, form: int = 0, *, mask: bool = True) -> bytes:
    """Header of a frame, whose length may have a longer form than it needs."""
    form = form or (1 if size < 126 else 2 if size < 65536 else 8)
    bit = 128 if mask else 0
    lengths = {
        1: bytes([bit | size & 127]),
        2: struct.pack("!BH", bit | 126, size & 0xFFFF),
        8: struct.pack("!BQ", bit | 127, size),
    }
    return bytes([first]) + lengths[form] + (KEY if mask else b"")


SIZES = [0, 1, 2, 5, 31, 32, 33, 125, 126, 127, 1000, 4095, 65535, 65536]
# Around the buffer on the stack, and the first one on the heap.
SIZES += [8180, 8192, 8200, 32754, 32760, 32761, 32768, 33000, 70000, 131072]
SIZES += [140000, MAX_SIZE]
SMALL = st.sampled_from(SIZES[:11])
ANY_SIZE = st.one_of(SMALL, SMALL, SMALL, st.sampled_from(SIZES))
ALPHABETS = ["a", "é", "€", "𝄞", "ab", "aé€𝄞", "\0\x7f\x80\u07ff\u0800\uffff\U0010ffff"]
BAD = [
    b"\xff",
    b"\x80",
    b"\xc1\xbf",
    b"\xe0\x80",
    b"\xed\xa0",
    b"\xf0\x80",
    b"\xf4\x90",
]
BAD += [b"\xf5", b"\xe2\x82", b"\xf0\x9f\x98", b"\xc3"]


def some_text(size: int, alphabet: str) -> bytes:
    """A text of so many bytes, or a few less."""
    data = (alphabet * (size // len(alphabet.encode()) + 1)).encode()[:size]
    return data.decode(errors="ignore").encode()


@st.composite
def text_payloads(draw: st.DrawFn) -> bytes:
    """Texts, most of which are UTF-8."""
    data = some_text(draw(ANY_SIZE), draw(st.sampled_from(ALPHABETS)))
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.one_of(st.integers(0, len(data)), st.just(len(data))))
        data = data[:at] + draw(st.sampled_from(BAD)) + data[at:]
    return data


CONTROLS = st.one_of(
    st.builds(masked, st.sampled_from([PING, PONG]), st.binary(max_size=125)),
    st.builds(masked, st.sampled_from([PING, PONG]), st.just(b"p" * 125)),
)
CLOSES = st.builds(
    masked,
    st.just(CLOSE),
    st.sampled_from(
        [b"", b"\x03", b"\x03\xe8", b"\x0f\xa0bye", b"\x03\xed", b"\x03\xe8\xff"]
    ),
)
MESSAGES = st.one_of(
    st.builds(masked, st.just(TEXT), text_payloads()),
    st.builds(masked, st.just(BINARY), ANY_SIZE.map(binary)),
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut data into pieces at some places."""
    ends = sorted(places)
    return [data[a:b] for a, b in itertools.pairwise([0, *ends, len(data)])]


@st.composite
def fragmented(draw: st.DrawFn) -> bytes:
    """A message in some frames, with control frames between them."""
    payload = draw(text_payloads())
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
    parts = [
        payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)
    ]
    data = b""
    for number, part in enumerate(parts):
        frame = Frame(
            draw(st.sampled_from([TEXT, BINARY])) if number == 0 else 0,
            part,
            number == len(parts) - 1,
        )
        data += serialize_frame(frame, KEY)
        if draw(st.booleans()):
            data += draw(CONTROLS)
    return data


DATA_AND_PING = st.sampled_from([0x81, 0x82, 0x89])
ILLEGAL = st.one_of(
    DATA_AND_PING.map(lambda first: header(first, 3, mask=False) + b"abc"),
    # Reserved bits and opcodes; fragmented control frames; continuations of nothing.
    st.sampled_from(
        [0xC1, 0xA2, 0x91, 0xF1, 0x83, 0x87, 0x8B, 0x8F, 0xC9, 0x09, 0x08, 0x80, 0x00]
    ).map(lambda first: header(first, 3) + b"abc"),
    # Long control frames; lengths that aren't minimal; messages that are too big.
    st.sampled_from([0x88, 0x89, 0x8A]).map(lambda first: header(first, 126)),
    st.builds(
        header, DATA_AND_PING, st.sampled_from([0, 125]), st.sampled_from([2, 8])
    ),
    DATA_AND_PING.map(lambda first: header(first, 65535, 8)),
    st.builds(
        header,
        st.sampled_from([0x81, 0x82, 0x02]),
        st.sampled_from([MAX_SIZE + 1, 2**31, 2**62, 2**63, 2**64 - 1]),
    ),
)


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Mostly legal frames, in pieces that have little to do with them."""
    frames = draw(
        st.lists(st.one_of(MESSAGES, MESSAGES, CONTROLS, fragmented()), max_size=6)
    )
    if draw(st.integers(0, 2)) == 0:
        at = draw(st.integers(0, len(frames)))
        frames.insert(at, draw(st.one_of(ILLEGAL, CLOSES)))
    stream = b"".join(frames)
    if stream and draw(st.integers(0, 3)) == 0:
        stream = stream[: draw(st.integers(0, len(stream)))]
    starts = [0]
    for frame in frames:
        starts.append(starts[-1] + len(frame))
    cuts = draw(
        st.lists(
            st.one_of(
                st.integers(0, len(stream)),
                st.builds(int.__add__, st.sampled_from(starts), st.integers(-3, 16)),
            ),
            max_size=8,
        )
    )
    return cut(stream, [place for place in cuts if 0 < place < len(stream)])


class Boom(Exception):
    """What a callback raises."""


def busy(seed: int) -> Callable[[Line, str | bytes], object]:
    """Make a callback that sends in all ways, the same ones for the same seed."""

    def callback(line: Line, message: str | bytes) -> None:
        dice = random.Random(seed * 1000 + len(line.got))
        connection = line.connection
        match dice.randrange(8):
            case 0:
                connection.send(message, fragment_size=50_000)
            case 1:
                connection.send("before")
                connection.send(b"big" * 20_000)
                connection.send("after")
            case 2:
                connection.send("reads on")
                line.got.append(line.receiver.recv(None))
                connection.send("has read")
            case 3:
                connection.send("one")
                connection.send(Frame(TEXT, b"two", False))
                connection.send(Frame(0, b"three"))
                connection.ping(b"four")
            case 4:
                connection.send("raises")
                raise Boom(len(line.got))
            case 5 if dice.randrange(4) == 0:
                connection.send("closes")
                connection.close(4000, "bye")
                connection.send("says a last word")
            case _:
                connection.send(message)

    return callback


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(pieces=streams(), seed=st.integers(0, 99), corking=st.booleans())
def test_any_stream_has_the_same_outcome(
    pieces: list[bytes], seed: int, corking: bool
) -> None:
    """Messages, exceptions, the end, and all that is sent, in whatever pieces."""
    corks = loaded_corks() if corking else None

    first, *others = play_both(pieces, busy(seed) if seed else echo, corks)

    assert all(other == first for other in others)


def interesting() -> dict[str, bytes]:
    """Short streams with a bit of everything, by name."""
    text = masked(TEXT, "aé€𝄞".encode())
    return {
        "messages": text + masked(BINARY, bytes(range(7))) + masked(TEXT) + text,
        "lengths": masked(TEXT, b"x" * 126) + masked(BINARY, b"y" * 130) + text,
        "pings": text + masked(PING, b"one") + text + masked(PING) + masked(PONG, b"x"),
        "fragments": (
            serialize_frame(Frame(TEXT, "é".encode()[:1], False), KEY)
            + masked(PING, b"between")
            + serialize_frame(Frame(0, "é".encode()[1:]), KEY)
            + text
        ),
        "close": text + masked(CLOSE, b"\x0f\xa0bye") + text,
        "close without a code": masked(CLOSE) + text,
        "truncated": text + text[:-1],
        "truncated character": masked(TEXT, "€".encode()[:2]) + text,
        **{f"bad {bad.hex()}": masked(TEXT, b"ab" + bad + b"cd") + text for bad in BAD},
        "not masked": text + header(0x81, 3, mask=False) + b"abc",
        "reserved bit": text + header(0xC1, 3) + b"abc",
        "reserved opcode": text + header(0x83, 3) + b"abc",
        "long ping": text + header(0x89, 126) + b"x" * 126,
        "not minimal": text + header(0x81, 125, 2) + b"x" * 125,
        "not minimal at all": text + header(0x82, 65535, 8) + b"x" * 9,
        "too big": text + header(0x82, MAX_SIZE + 1) + b"x" * 9,
    }


@pytest.mark.parametrize("name", interesting())
def test_byte_by_byte_has_the_same_outcome(name: str) -> None:
    """Both ways, and as if it had come at once."""
    stream = interesting()[name]
    pieces = [stream[i : i + 1] for i in range(len(stream))]

    outcomes = play_both(pieces, echo, None) + play_both([stream], echo, None)

    assert all(outcome == outcomes[0] for outcome in outcomes)


@pytest.mark.parametrize("name", ["messages", "pings"])
def test_two_pieces_have_the_same_outcome(name: str) -> None:
    """Wherever the cut is, with whole frames behind it."""
    stream = interesting()[name]
    whole = play_both([stream], echo, None)

    for place in range(1, 32):
        assert play_both([stream[:place], stream[place:]], echo, None) == whole


@pytest.mark.parametrize(
    ("data", "code"),
    [
        *(
            (header(0x81, 1000) + masked(TEXT, b"ab" + bad)[6:], 1007)
            for bad in BAD[:8]
        ),
        (header(0x81, MAX_SIZE + 1), 1009),
        (header(0x81, 2**63), 1002),
        (header(0x82, 125, 2)[:4], 1002),
        (header(0x81, 65535, 8)[:10], 1002),
        (header(0x81, 100, mask=False), 1002),
        (header(0xC1, 100)[:2], 1002),
        (header(0x83, 100)[:2], 1002),
        (header(0x89, 126)[:2], 1002),
    ],
)
def test_fault_is_found_before_the_rest_arrives(
    path: str, data: bytes, code: int
) -> None:
    """By its first impossible byte, or by its header alone (8.1, 10.4)."""
    with Line(path, ignore) as line:
        line.play([masked(TEXT, b"x"), data])
        line.wait_for_end()

        assert line.got == ["x"]
        assert line.outcome()[4].code == code


@pytest.mark.parametrize(
    ("pieces", "alive"),
    [
        ([masked(TEXT, b"x")], True),
        ([masked(TEXT, b"x")[:1]], True),
        ([masked(TEXT, b"x")[:3]], True),
        ([header(0x81, 1000)], True),
        ([header(0x81, 1000) + b"x"], True),
        ([serialize_frame(Frame(TEXT, b"x", False), KEY)], True),
        ([masked(PING)], True),
        ([masked(PONG, b"x")], False),
        ([masked(PONG, b"x") * 2], False),
        ([masked(PONG, b"x") + masked(PING)], True),
        ([masked(TEXT, b"x") + masked(PONG)], True),
    ],
)
def test_what_counts_as_a_sign_of_life(
    path: str, pieces: list[bytes], alive: bool
) -> None:
    """Everything but a Pong, which has to answer a Ping of ours (E4)."""
    with Line(path, ignore) as line:
        line.play([masked(BINARY)])
        assert wait_until(lambda: len(line.got) == 1)
        before = line.connection.last_alive
        line.play(pieces)
        if alive:
            assert wait_until(lambda: line.connection.last_alive > before)
        else:
            line.finish()
            assert line.connection.last_alive == before


# What callbacks do.


@pytest.fixture(params=[False, True], ids=["idle", "loaded"])
def corks(request: pytest.FixtureRequest) -> Any:
    """Corks of a server without traffic, and of one under load."""
    return loaded_corks() if request.param else None


def test_messages_of_other_threads_come_behind(path: str, corks: Any) -> None:
    """What is sent after a callback's message leaves after it, whoever sends it."""

    def callback(line: Line, message: str | bytes) -> None:
        line.connection.send("one")
        other = threading.Thread(target=line.connection.send, args=("two",))
        other.start()
        other.join(DEADLINE)
        line.connection.send("three")

    with Line(path, callback, corks=corks) as line:
        line.play([masked(TEXT, b"x") * 3])
        line.finish()

        assert line.messages() == ["one", "two", "three"] * 3


def test_broadcasts_keep_their_place(path: str, corks: Any) -> None:
    """They come behind what the callback sent before, and before what it sends then."""

    def callback(line: Line, message: str | bytes) -> None:
        line.connection.send("one")
        assert line.connection.offer(SharedMessage("two"), "close")
        line.connection.send("three")

    with Line(path, callback, corks=corks) as line:
        line.play([masked(TEXT, b"x") * 3])
        line.finish()

        assert line.messages() == ["one", "two", "three"] * 3


@pytest.mark.parametrize("size", [100, 40_000])
def test_peer_that_does_not_read_loses_nothing(
    path: str, corks: Any, size: int
) -> None:
    """What the socket doesn't take waits in the outbox, in order."""
    count = 2_000_000 // size
    done = threading.Event()

    def callback(line: Line, message: str | bytes) -> None:
        for number in range(count):
            line.connection.send(f"{number:08}".ljust(size))
        done.set()

    with Line(path, callback, corks=corks, buffers=65536) as line:
        line.peer.sendall(masked(TEXT, b"x"))
        assert done.wait(DEADLINE)
        assert line.connection._outbox.size > 0
        line.finish()

        assert [int(text) for text in line.messages()] == list(range(count))


@pytest.mark.parametrize("how", ["close", "abort"])
def test_what_was_sent_before_the_end_arrives(path: str, corks: Any, how: str) -> None:
    """The peer gets it before the Close frame, or before the cut."""

    def callback(line: Line, message: str | bytes) -> None:
        line.connection.send("first")
        getattr(line.connection, how)()

    with Line(path, callback, corks=corks) as line:
        line.play([masked(TEXT, b"x") * 2])
        line.finish()

        frames, _ = split(bytes(line.replies))
        assert texts(frames[:1]) == ["first"]
        assert [frame.opcode for frame in frames[1:]] == [CLOSE] * (how == "close")


def test_nothing_is_delivered_after_close(path: str) -> None:
    """Also not if the callback that closed has raised."""

    def callback(line: Line, message: str | bytes) -> None:
        line.connection.close()
        raise Boom

    with Line(path, callback) as line:
        line.play([masked(TEXT, b"x") * 3])
        line.finish()

        assert line.got == ["x"]


def test_exception_loses_no_message(path: str) -> None:
    """Whatever came with the message whose callback raised is delivered."""

    def callback(line: Line, message: str | bytes) -> None:
        raise Boom(message)

    with Line(path, callback) as line:
        line.play([masked(TEXT, b"1") + masked(TEXT, b"2") + masked(TEXT, b"3")[:4]])
        line.play([masked(TEXT, b"3")[4:]])
        line.finish()

        assert [str(error) for error in line.raised] == ["1", "2", "3"]


def test_recv_in_a_callback_takes_what_came_with_the_message(path: str) -> None:
    """And waits for the next one then; the peer has what was sent before."""

    def callback(line: Line, message: str | bytes) -> None:
        line.connection.send("go on")
        for _ in range(3):
            line.got.append(line.receiver.recv(DEADLINE))

    with Line(path, callback, corks=loaded_corks()) as line:
        two = masked(TEXT, b"2")
        line.play([masked(TEXT, b"1") + two + masked(TEXT, b"3")[:4]])
        while not line.replies:
            line.collect()
        line.play([masked(TEXT, b"3")[4:] + masked(TEXT, b"4")])
        assert wait_until(lambda: len(line.got) == 4)
        line.play([masked(TEXT, b"5")])
        line.finish()

        assert line.got == ["1", "2", "3", "4", "5"]
        assert [type(error) for error in line.raised] == [ConnectionClosed]


def test_lock_of_a_connection_is_a_lock(path: str) -> None:
    """With the interface that a Condition needs."""
    with Line(path, ignore) as line:
        lock = line.connection._lock
        entered = threading.Event()

        def change() -> None:
            entered.set()
            with condition:
                condition.notify()

        condition = threading.Condition(lock)
        with condition:
            assert lock.locked()
            assert not lock.acquire(False)
            other = threading.Thread(target=change)
            other.start()
            assert entered.wait(DEADLINE)
            assert condition.wait(DEADLINE)
        other.join(DEADLINE)
        assert not lock.locked()
        assert lock.acquire()
        lock.release()
        with pytest.raises(RuntimeError):
            condition.notify()


def test_pong_comes_behind_a_large_message(path: str, corks: Any) -> None:
    """Also while that one waits for the end of the batch."""

    def callback(line: Line, message: str | bytes) -> None:
        line.connection.send(b"x" * 50_000)

    with Line(path, callback, corks=corks) as line:
        line.play([masked(TEXT, b"x") + masked(PING, b"y") + masked(TEXT, b"z")])
        line.finish()

        assert [type(e) for e in line.messages()] == [bytes, Pong, bytes]


def test_own_message_comes_behind_a_broadcast_that_waits(
    path: str, corks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broadcast waits while another thread's message is being encoded."""
    encode = Protocol.encode_message
    encoding, go_on, sent = (threading.Event() for _ in range(3))

    def encode_slowly(self: Protocol, data: Any, **options: Any) -> Any:
        if data == "slow":
            encoding.set()
            assert go_on.wait(DEADLINE)
        return encode(self, data, **options)

    def release(connection: Connection) -> None:
        wait_until(lambda: bool(connection._turns) or sent.is_set())
        go_on.set()

    def callback(line: Line, message: str | bytes) -> None:
        connection = line.connection
        other = threading.Thread(target=connection.send, args=("slow",))
        other.start()
        assert encoding.wait(DEADLINE)
        assert connection.offer(SharedMessage("broadcast"), "close")
        helper = threading.Thread(target=release, args=(connection,))
        helper.start()
        connection.send("own")
        sent.set()
        for thread in (other, helper):
            thread.join(DEADLINE)

    monkeypatch.setattr(Protocol, "encode_message", encode_slowly)
    with Line(path, callback, corks=corks) as line:
        line.play([masked(TEXT, b"x")])
        line.finish()

        assert line.messages() == ["slow", "broadcast", "own"]
