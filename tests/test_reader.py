"""Reading: frames, fragments and control frames, refused by their header."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterator, Sequence

import hypothesis
import hypothesis.strategies as st
import pytest

from websock.closing import Close, CloseCode
from websock.exceptions import InvalidPayload, MessageTooBig, RemoteProtocolError
from websock.extensions.base import Extension
from websock.extensions.permessage_deflate import PerMessageDeflate
from websock.frames import Frame, Opcode, serialize_frame
from websock.handshake import negotiate_extensions
from websock.headers import Headers
from websock.messages import Event, Ping, Pong
from websock.reader import MessageReader
from websock.request import Request

KEY = b"\x37\xfa\x21\x3d"


class Reverse:
    """An extension that reverses payloads, and owns the second reserved bit."""

    name = "x-reverse"
    rsv1 = False
    rsv2 = True
    rsv3 = False
    sharing_key = "reverse"

    def __init__(self, *, per_message: bool = False, grow: int = 1) -> None:
        self.per_message = per_message
        self._grow = grow

    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        """Undo it."""
        if not frame.rsv2:
            return frame
        payload = frame.payload[::-1] * self._grow
        return Frame(frame.opcode, payload, frame.fin, frame.rsv1, False, frame.rsv3)

    def encode(self, frame: Frame) -> Frame:
        """Do it."""
        return Frame(frame.opcode, frame.payload[::-1], frame.fin, rsv2=True)

    encode_shared = encode

    def forget(self) -> None:
        """Nothing to forget."""


class Shift(Reverse):
    """Another one, with the other two bits, which adds 1 to each byte."""

    name = "x-shift"
    rsv1 = True
    rsv2 = False
    rsv3 = True

    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        """Undo it."""
        payload = bytes((byte - 1) & 255 for byte in frame.payload)
        return Frame(frame.opcode, payload, frame.fin, rsv2=frame.rsv2)


def make_reader(
    *,
    masked: bool = True,
    extensions: Sequence[Extension] = (),
    max_size: int | None = 2**20,
    max_fragments: int | None = 100,
) -> MessageReader:
    """Reader with handy defaults."""
    return MessageReader(
        masked=masked,
        extensions=extensions,
        max_size=max_size,
        max_fragments=max_fragments,
    )


def wire(*frames: Frame, masked: bool = True) -> bytes:
    """Bytes of frames, as a client or a server sends them."""
    return b"".join(serialize_frame(f, KEY if masked else None) for f in frames)


def text(payload: bytes | str, *, fin: bool = True) -> Frame:
    """Text frame."""
    data = payload.encode() if isinstance(payload, str) else payload
    return Frame(Opcode.TEXT, data, fin)


def more(payload: bytes, *, fin: bool = True) -> Frame:
    """Continuation frame."""
    return Frame(Opcode.CONTINUATION, payload, fin)


def splits(data: bytes) -> Iterator[list[bytes]]:
    """Ways to cut ``data``: whole, byte by byte, in two at each place."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    for i in range(1, len(data)):
        yield [data[:i], data[i:]]


def read_all(reader: MessageReader, pieces: Sequence[bytes]) -> list[Event]:
    """Events of all pieces."""
    return list(itertools.chain.from_iterable(map(reader.receive_data, pieces)))


def outcome(events: list[Event]) -> list[object]:
    """Events, with faults as something that compares."""
    return [
        (type(event), str(event)) if isinstance(event, RemoteProtocolError) else event
        for event in events
    ]


LEGAL: dict[str, tuple[list[Frame], list[Event]]] = {
    "text": ([text("Hello")], ["Hello"]),
    "binary": ([Frame(Opcode.BINARY, b"\xff\x00")], [b"\xff\x00"]),
    "empty text": ([text("")], [""]),
    "empty binary": ([Frame(Opcode.BINARY, b"")], [b""]),
    "two messages": ([text("a"), Frame(Opcode.BINARY, b"b")], ["a", b"b"]),
    "length 126": ([text("é" * 63)], ["é" * 63]),
    "length 300": ([text("x" * 300)], ["x" * 300]),
    "ping": ([Frame(Opcode.PING, b"p")], [Ping(b"p")]),
    "ping of 125 bytes": ([Frame(Opcode.PING, b"p" * 125)], [Ping(b"p" * 125)]),
    "empty pong": ([Frame(Opcode.PONG, b"")], [Pong(b"")]),
    "close": ([Frame(Opcode.CLOSE, b"\x03\xe8bye")], [Close(1000, "bye")]),
    "close without code": ([Frame(Opcode.CLOSE, b"")], [Close(1005)]),
    "fragments": ([text(b"a", fin=False), more(b"b", fin=False), more(b"c")], ["abc"]),
    "empty fragments": ([text(b"", fin=False), more(b"", fin=False), more(b"")], [""]),
    "binary fragments": (
        [Frame(Opcode.BINARY, b"\xff", False), more(b"\xfe")],
        [b"\xff\xfe"],
    ),
    "character over fragments": (
        [text("é".encode()[:1], fin=False), more("é".encode()[1:])],
        ["é"],
    ),
    "control frames between fragments": (
        [
            text(b"a", fin=False),
            Frame(Opcode.PING, b"1"),
            more(b"b", fin=False),
            Frame(Opcode.PONG, b"2"),
            more(b"c"),
            text("d"),
        ],
        [Ping(b"1"), Pong(b"2"), "abc", "d"],
    ),
    "nothing after close": (
        [Frame(Opcode.CLOSE, b"\x03\xe8"), text("late"), Frame(Opcode.CLOSE, b"")],
        [Close(1000)],
    ),
    "close in a fragmented message": (
        [text(b"a", fin=False), Frame(Opcode.CLOSE, b"\x03\xe8")],
        [Close(1000)],
    ),
}


@pytest.mark.parametrize("masked", [True, False], ids=["server", "client"])
@pytest.mark.parametrize("name", LEGAL)
def test_legal_frames_give_their_events(name: str, masked: bool) -> None:
    """Both sides read them, whatever the split of the bytes (5.4, B10, B16)."""
    frames, expected = LEGAL[name]

    for pieces in splits(wire(*frames, masked=masked)):
        assert read_all(make_reader(masked=masked), pieces) == expected


FAULTS: dict[str, tuple[str, CloseCode, str]] = {
    "B1 not masked": ("8105", CloseCode.PROTOCOL_ERROR, "isn't masked"),
    **{
        f"B2 opcode {opcode}": (
            f"8{opcode:x}80",
            CloseCode.PROTOCOL_ERROR,
            f"reserved opcode {opcode}",
        )
        for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]
    },
    "B3 rsv1": ("c185", CloseCode.PROTOCOL_ERROR, "no extension owns"),
    "B3 rsv2": ("a185", CloseCode.PROTOCOL_ERROR, "no extension owns"),
    "B3 rsv3": ("9185", CloseCode.PROTOCOL_ERROR, "no extension owns"),
    "B3 rsv1 on a ping": ("c980", CloseCode.PROTOCOL_ERROR, "on a control frame"),
    "B4 ping of 200 bytes": ("89fe", CloseCode.PROTOCOL_ERROR, "more than 125"),
    "B4 close of 2**20 bytes": ("88ff", CloseCode.PROTOCOL_ERROR, "more than 125"),
    "B5 fragmented ping": ("0980", CloseCode.PROTOCOL_ERROR, "fragmented control"),
    "B6 continuation first": ("8080", CloseCode.PROTOCOL_ERROR, "of no message"),
    "B6 new text inside": (
        "018100000000618181",
        CloseCode.PROTOCOL_ERROR,
        "inside a fragmented",
    ),
    "B6 continuation after the end": (
        "818100000000618080",
        CloseCode.PROTOCOL_ERROR,
        "of no message",
    ),
    "B7 most significant bit": (
        "82ff8000000000000000",
        CloseCode.PROTOCOL_ERROR,
        "most significant bit",
    ),
    "B7 2**63-1": ("82ff7fffffffffffffff", CloseCode.MESSAGE_TOO_BIG, "message size"),
    "B7 2**32": ("82ff0000000100000000", CloseCode.MESSAGE_TOO_BIG, "message size"),
    "B7 max_size + 1": (
        "82ff0000000000100001",
        CloseCode.MESSAGE_TOO_BIG,
        "1048577 > 1048576",
    ),
    "B8 5 in 16 bits": ("81fe0005", CloseCode.PROTOCOL_ERROR, "shortest form"),
    "B8 125 in 16 bits": ("81fe007d", CloseCode.PROTOCOL_ERROR, "shortest form"),
    "B8 5 in 64 bits": (
        "81ff0000000000000005",
        CloseCode.PROTOCOL_ERROR,
        "shortest form",
    ),
    "B8 65535 in 64 bits": (
        "81ff000000000000ffff",
        CloseCode.PROTOCOL_ERROR,
        "shortest form",
    ),
    "C3 close of one byte": ("88810000000003", CloseCode.PROTOCOL_ERROR, "one byte"),
    "C3 close code 1005": ("88820000000003ed", CloseCode.PROTOCOL_ERROR, "1005"),
    "C4 close reason": ("88830000000003e8ff", CloseCode.INVALID_DATA, "UTF-8"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_seen_at_its_last_byte(name: str) -> None:
    """A header is refused before its masking key or payload comes (5.2, 7.1.7).

    What follows is dropped, and the fault keeps no data alive by its traceback.
    """
    data_hex, code, sentence = FAULTS[name]
    data = bytes.fromhex(data_hex)

    for pieces in splits(data):
        reader = make_reader()
        events = read_all(reader, pieces)
        fault = events[-1]
        assert isinstance(fault, RemoteProtocolError)
        assert fault.close_code == code
        assert sentence in str(fault)
        assert fault.__traceback__ is None
        assert reader.receive_data(wire(text("late"))) == []
    before = read_all(make_reader(), [data[:-1]])
    assert not any(isinstance(event, RemoteProtocolError) for event in before)


def test_server_frames_must_not_be_masked() -> None:
    """A client refuses masked frames (5.1)."""
    [fault] = make_reader(masked=False).receive_data(b"\x81\x80")

    assert str(fault) == "frame is masked"


def test_events_before_a_fault_are_kept() -> None:
    """What came before is due: echoes and Pongs go out before the Close."""
    data = wire(text("a"), Frame(Opcode.PING, b"b")) + b"\x83\x80"

    events = make_reader().receive_data(data)

    assert events[:2] == ["a", Ping(b"b")]
    assert isinstance(events[2], RemoteProtocolError)


INVALID_UTF8 = {
    "C1 ff": (b"ok\xff", 3),
    "C1 overlong": (b"\xc0", 1),
    "C1 overlong of three": (b"\xe0\x80", 2),
    "C1 surrogate": (b"\xed\xa0", 2),
    "C1 above 10ffff": (b"\xf4\x90", 2),
    "C1 lone continuation": (b"a\x80", 2),
}


@pytest.mark.parametrize("name", INVALID_UTF8)
def test_invalid_utf8_fails_at_its_first_impossible_byte(name: str) -> None:
    """The rest of the frame, or of the message, isn't waited for (8.1, C2)."""
    payload, position = INVALID_UTF8[name]
    whole = payload + b"\x80" * 20
    frame = wire(text(whole, fin=False))
    header = len(frame) - len(whole)

    for fin in (True, False):
        frame = wire(text(whole, fin=fin))
        reader = make_reader()
        for i in range(header + position - 1):
            assert reader.receive_data(frame[i : i + 1]) == []
        [fault] = reader.receive_data(frame[header + position - 1 :][:1])
        assert isinstance(fault, InvalidPayload)


@pytest.mark.parametrize(
    "frames",
    [
        [text(b"\xff")],
        [text(b"ab\xc3")],
        [text(b"\xff", fin=False)],
        [text(b"\xc3", fin=False), more(b"\x28")],
        [text(b"\xc3", fin=False), more(b"")],
    ],
)
def test_invalid_utf8_gets_1007(frames: list[Frame]) -> None:
    """In one frame, over fragments, or cut off at the end (8.1)."""
    for pieces in splits(wire(*frames)):
        [fault] = read_all(make_reader(), pieces)
        assert isinstance(fault, InvalidPayload)
        assert fault.close_code == CloseCode.INVALID_DATA


def test_sum_of_fragments_has_the_limit_of_a_message() -> None:
    """Each one is small, together they are too big (B12)."""
    reader = make_reader(max_size=10)

    assert reader.receive_data(wire(text(b"x" * 6, fin=False))) == []
    [fault] = reader.receive_data(b"\x80\x85")

    assert isinstance(fault, MessageTooBig)
    assert (fault.size, fault.limit) == (11, 10)


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("size", [10, 126, 300, 65536])
def test_message_of_the_limit_passes_and_one_more_does_not(
    size: int, masked: bool
) -> None:
    """``max_size`` is the longest message, not the first that is refused."""
    reader = make_reader(max_size=size, masked=masked)
    data = wire(Frame(Opcode.BINARY, bytes(size)), masked=masked)
    longer = wire(Frame(Opcode.BINARY, bytes(size + 1)), masked=masked)

    assert reader.receive_data(data) == [bytes(size)]
    [fault] = reader.receive_data(longer)
    assert isinstance(fault, MessageTooBig)


def test_number_of_fragments_is_limited() -> None:
    """Tiny or empty fragments don't go on for ever (B11)."""
    reader = make_reader(max_fragments=3)
    three = [text(b"", fin=False), more(b"", fin=False), more(b"")]

    assert reader.receive_data(wire(*three)) == [""]
    assert reader.receive_data(wire(*three[:2], three[1])) == []
    [fault] = reader.receive_data(wire(more(b"")))

    assert isinstance(fault, MessageTooBig)
    assert str(fault) == "number of fragments over the limit: 4 > 3"


def test_no_limits_means_none() -> None:
    """``None`` switches a limit off."""
    reader = make_reader(max_size=None, max_fragments=None)
    frames = [text(b"x", fin=False), *[more(b"x", fin=False)] * 5000, more(b"x")]

    assert reader.receive_data(wire(*frames)) == ["x" * 5002]
    assert reader.receive_data(wire(Frame(Opcode.BINARY, bytes(2**21)))) == [
        bytes(2**21)
    ]


def test_memory_follows_what_arrived() -> None:
    """A claim of a megabyte costs nothing before the megabyte comes (B9)."""
    reader = make_reader()
    reader.receive_data(b"\x82\xff\0\0\0\0\0\x10\0\0" + KEY)

    for _ in range(1000):
        assert reader.receive_data(b"x") == []

    assert len(reader._payload) == 1000
    assert len(reader._rest) == 0


def test_mask_of_zeros_leaves_the_payload() -> None:
    """A payload may look like HTTP (B17)."""
    payload = b"GET / HTTP/1.1\r\n\r\n"

    data = b"\x82\x92\0\0\0\0" + payload

    assert make_reader().receive_data(data) == [payload]


def test_bit_of_an_extension_passes() -> None:
    """Extensions get whole frames, in the opposite order of sending (9.1)."""
    one, other = Reverse(), Shift()
    frame = Frame(Opcode.TEXT, b"dcb", rsv1=True, rsv2=True, rsv3=True)

    for pieces in splits(wire(frame, text(b"x"))):
        reader = make_reader(extensions=[one, other])
        assert reader.extensions == (one, other)
        assert read_all(reader, pieces)[0] == "abc"


def test_bits_on_a_continuation_depend_on_the_extension() -> None:
    """One that works on messages has its bits on the first frame only."""
    first = Frame(Opcode.TEXT, b"ab", fin=False, rsv2=True)
    last = Frame(Opcode.CONTINUATION, b"cd", rsv2=True)

    per_frame = make_reader(extensions=[Reverse()])
    per_message = make_reader(extensions=[Reverse(per_message=True)])

    assert per_frame.receive_data(wire(first, last)) == ["badc"]
    assert per_message.receive_data(wire(first)) == []
    [fault] = per_message.receive_data(b"\xa0\x80")
    assert str(fault) == "reserved bit that no extension owns"


def test_message_that_no_extension_changed_is_read_as_it_arrives() -> None:
    """Faults show at their first byte, although an extension was agreed on."""

    def reader() -> MessageReader:
        return make_reader(extensions=[Reverse(per_message=True)])

    [too_big] = reader().receive_data(b"\x81\xff" + (2**20 + 1).to_bytes(8, "big"))
    assert isinstance(too_big, MessageTooBig)
    [invalid] = reader().receive_data(b"\x01\xfe\x10\0\0\0\0\0\xff")
    assert isinstance(invalid, InvalidPayload)
    both = wire(
        text("ab", fin=False), more(b"c"), Frame(Opcode.TEXT, b"fed", rsv2=True)
    )
    for pieces in splits(both):
        assert read_all(reader(), pieces) == ["abc", "def"]


def test_growth_in_an_extension_counts() -> None:
    """``max_size`` is about the message after decoding (B12)."""
    reader = make_reader(extensions=[Reverse(grow=10)], max_size=25)
    fragment = Frame(Opcode.BINARY, b"x", fin=False, rsv2=True)
    next_one = Frame(Opcode.CONTINUATION, b"xx", fin=False, rsv2=True)

    assert reader.receive_data(wire(fragment)) == []
    [fault] = reader.receive_data(wire(next_one))

    assert isinstance(fault, MessageTooBig)
    assert (fault.size, fault.limit) == (30, 25)


class Bomb(Reverse):
    """One that finds out itself that a frame is too big."""

    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        """Refuse what is longer than a byte."""
        if len(frame.payload) > 1:
            assert max_size is not None
            raise MessageTooBig("frame", max_size + 1, max_size)
        return frame


def test_extension_may_find_what_is_too_big() -> None:
    """It knows its frame; the fault tells of the whole message."""
    reader = make_reader(extensions=[Bomb()], max_size=10)
    data = wire(Frame(Opcode.BINARY, b"x", fin=False), more(b"yy"))

    [fault] = reader.receive_data(data)

    assert isinstance(fault, MessageTooBig)
    assert (fault.size, fault.limit) == (11, 10)


def test_extension_may_grow_what_does_not_shrink() -> None:
    """A message of the limit passes, even if it was encoded in some more bytes."""
    reader = make_reader(extensions=[Reverse()], max_size=None)

    assert reader.receive_data(wire(Frame(Opcode.BINARY, b"x" * 300, rsv2=True)))
    reader = make_reader(extensions=[Reverse()], max_size=100)
    [fault] = reader.receive_data(b"\x82\xfe\x00\xd7")
    assert str(fault) == "compressed size over the limit: 215 > 214"


def stored(payload: bytes, size: int) -> bytes:
    """Deflate as what doesn't shrink: blocks that are stored (RFC 1951, 3.2.4)."""
    blocks = [payload[i : i + size] for i in range(0, len(payload), size)]
    return b"".join(
        b"\0" + struct.pack("<HH", len(block), len(block) ^ 0xFFFF) + block
        for block in blocks
    )


@pytest.mark.parametrize("limit", [1, 50, 2000, 10**6])
def test_message_of_the_limit_may_be_stored_in_small_blocks(limit: int) -> None:
    """As a peer in a hurry encodes what doesn't shrink: 5 bytes more for each 10."""
    extensions = negotiate_extensions(
        Request(
            "GET", "/", Headers({"Sec-WebSocket-Extensions": "permessage-deflate"})
        ),
        (PerMessageDeflate(),),
    )[1]
    payload = random.Random(limit).randbytes(limit)
    # The empty block at the end, of which 4 bytes stay at home (RFC 7692, 7.2.1).
    encoded = stored(payload, 10) + b"\0"
    refused = struct.pack("!BBQ", 0xC2, 0xFF, limit * 3 // 2 + 65 + 2**16)

    reader = make_reader(extensions=extensions, max_size=limit)
    data = wire(Frame(Opcode.BINARY, encoded, rsv1=True))

    assert reader.receive_data(data) == [payload]
    # By its header alone.
    [fault] = reader.receive_data(refused)
    assert isinstance(fault, MessageTooBig)


frames_strategy = st.lists(
    st.one_of(
        st.text(max_size=200),
        st.binary(max_size=200),
        st.builds(Ping, st.binary(max_size=125)),
        st.builds(Pong, st.binary(max_size=125)),
    ),
    max_size=8,
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Event], list[bytes]]:
    """Events, and pieces of a byte stream that means them."""
    events: list[Event] = list(draw(frames_strategy))
    masked = True
    frames: list[Frame] = []
    order: list[Event] = []
    for event in events:
        if isinstance(event, Ping):
            frames.append(Frame(Opcode.PING, event.payload))
            order.append(event)
        elif isinstance(event, Pong):
            frames.append(Frame(Opcode.PONG, event.payload))
            order.append(event)
        else:
            assert isinstance(event, str | bytes)
            payload = event.encode() if isinstance(event, str) else event
            opcode = Opcode.TEXT if isinstance(event, str) else Opcode.BINARY
            cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4)))
            bounds = [0, *cuts, len(payload)]
            for i, (start, stop) in enumerate(itertools.pairwise(bounds)):
                frames.append(
                    Frame(
                        Opcode.CONTINUATION if i else opcode,
                        payload[start:stop],
                        fin=i == len(bounds) - 2,
                    )
                )
                if i < len(bounds) - 2 and draw(st.booleans()):
                    frames.append(Frame(Opcode.PING, b"between"))
                    order.append(Ping(b"between"))
            order.append(event)
    data = wire(*frames, masked=masked)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=20)))
    pieces = [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])]
    return order, pieces


@hypothesis.given(streams())
def test_any_split_of_legal_frames_gives_the_same_events(
    stream: tuple[list[Event], list[bytes]],
) -> None:
    """Fragments, control frames between them, and the cuts of TCP don't matter."""
    events, pieces = stream

    assert read_all(make_reader(), pieces) == events


@hypothesis.given(streams(), st.integers(0), st.integers(0, 255))
def test_any_mutation_gives_events_or_one_fault(
    stream: tuple[list[Event], list[bytes]], position: int, byte: int
) -> None:
    """Whatever comes, the answer doesn't depend on the split, and nothing hangs."""
    data = bytearray(b"".join(stream[1]))
    hypothesis.assume(data)
    data[position % len(data)] = byte

    whole = read_all(make_reader(), [bytes(data)])
    single = read_all(make_reader(), [bytes(data[i : i + 1]) for i in range(len(data))])

    assert outcome(whole) == outcome(single)
    assert not any(isinstance(event, RemoteProtocolError) for event in whole[:-1])


@hypothesis.given(st.binary(max_size=300))
def test_any_bytes_give_events_or_one_fault(data: bytes) -> None:
    """No other exception than a RemoteProtocolError, and only as an event."""
    for masked in (True, False):
        whole = read_all(make_reader(masked=masked), [data])
        single = read_all(
            make_reader(masked=masked), [data[i : i + 1] for i in range(len(data))]
        )

        assert outcome(whole) == outcome(single)


@pytest.mark.parametrize("masked", [True, False])
def test_reader_knows_whether_it_is_between_messages(masked: bool) -> None:
    """Only there may somebody else read on: not within a frame, nor a message (5.4).

    After the end nothing follows that means anything.
    """
    reader = make_reader(masked=masked)
    data = wire(
        text("one"),
        Frame(Opcode.PING, b"p"),
        text("t", fin=False),
        Frame(Opcode.PING, b"q"),
        more(b"wo"),
        text(""),
        masked=masked,
    )
    between = [len(wire(text("one"), masked=masked))]
    between.append(between[0] + len(wire(Frame(Opcode.PING, b"p"), masked=masked)))
    between += [len(data) - len(wire(text(""), masked=masked)), len(data)]

    assert reader.is_between_messages
    for position in range(len(data)):
        reader.receive_data(data[position : position + 1])
        assert reader.is_between_messages == (position + 1 in between)
    reader.receive_data(wire(Frame(Opcode.CLOSE, b""), masked=masked))
    assert not reader.is_between_messages
