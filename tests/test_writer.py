"""Writing: messages cut into frames, and what must not be sent."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from websock.closing import Close
from websock.exceptions import LocalProtocolError
from websock.frames import Frame, Opcode
from websock.messages import Ping, Pong
from websock.reader import MessageReader
from websock.writer import MessageWriter, SharedMessage, new_masking_key


class Mark:
    """An extension that marks messages with a counter, unless they are shared."""

    name = "x-mark"
    rsv1 = True
    rsv2 = False
    rsv3 = False
    per_message = True

    def __init__(self, key: str = "key") -> None:
        self.sharing_key = key
        self.encoded = 0
        self.forgotten = 0

    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        """Take the bit away, and the mark."""
        return Frame(frame.opcode, frame.payload[1:], frame.fin)

    def encode(self, frame: Frame) -> Frame:
        """Put the counter in front."""
        self.encoded += 1
        payload = bytes([self.encoded]) + frame.payload
        first = frame.opcode != Opcode.CONTINUATION
        return Frame(frame.opcode, payload, frame.fin, rsv1=first)

    def encode_shared(self, frame: Frame) -> Frame:
        """Put a zero in front; leave empty messages alone."""
        if not frame.payload:
            return frame
        return Frame(frame.opcode, b"\0" + frame.payload, frame.fin, rsv1=True)

    def forget(self) -> None:
        """Count."""
        self.forgotten += 1


def test_server_frames_are_not_masked() -> None:
    """A server must not mask (5.1)."""
    assert MessageWriter(masked=False).serialize_message("Hello") == b"\x81\x05Hello"


def test_client_frames_have_a_key_each() -> None:
    """Each frame has a fresh key (5.3)."""
    keys = iter([b"\x37\xfa\x21\x3d", b"\0\0\0\0", b"\1\1\1\1"])
    writer = MessageWriter(masked=True, masking_key=lambda: next(keys))

    assert writer.serialize_message("Hello").hex() == "818537fa213d7f9f4d5158"
    assert writer.serialize_message(b"a").hex() == "82810000000061"
    assert writer.serialize_control(Opcode.PING, b"a").hex() == "89810101010160"


def test_masking_keys_are_unpredictable() -> None:
    """They come from a strong source (10.3)."""
    assert len({new_masking_key() for _ in range(100)}) == 100
    assert len(new_masking_key()) == 4


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("data", "size", "count"),
    [("abcdefgh", 3, 3), (b"abcdef", 3, 2), ("é" * 3, 1, 6), ("", 5, 1), ("ab", 2, 1)],
)
def test_fragments_are_of_the_size_that_was_asked_for(
    data: Any, size: int, count: int, masked: bool
) -> None:
    """The peer puts them together (5.4); each but the last is full."""
    writer = MessageWriter(masked=masked)
    reader = MessageReader(masked=masked, max_size=None, max_fragments=count)

    wire = writer.serialize_message(data, fragment_size=size)

    assert reader.receive_data(wire) == [data]
    header = 6 if masked else 2
    payload = data.encode() if isinstance(data, str) else data
    assert len(wire) == count * header + len(payload)


def test_fragment_size_must_be_positive() -> None:
    """Nothing is sent in no pieces."""
    with pytest.raises(LocalProtocolError, match="fragment_size of 0"):
        MessageWriter(masked=False).serialize_message("x", fragment_size=0)


def test_single_frames_make_a_message() -> None:
    """Frames made by hand may have a Ping between them (5.4)."""
    writer = MessageWriter(masked=False)
    reader = MessageReader(masked=False, max_size=None, max_fragments=None)
    frames = [
        Frame(Opcode.TEXT, b"a", fin=False),
        Frame(Opcode.PING, b"p"),
        Frame(Opcode.CONTINUATION, b"b", fin=False),
        Frame(Opcode.PONG, b"q"),
        Frame(Opcode.CONTINUATION, b"c"),
        Frame(Opcode.BINARY, b"d"),
    ]

    events = [reader.receive_data(writer.serialize_frame(frame)) for frame in frames]

    assert list(itertools.chain(*events)) == [Ping(b"p"), Pong(b"q"), "abc", b"d"]


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (Frame(3, b""), "reserved opcode 3"),
        (Frame(Opcode.TEXT, b"", rsv1=True), "reserved bits"),
        (Frame(Opcode.TEXT, b"", rsv3=True), "reserved bits"),
        (Frame(Opcode.CONTINUATION, b""), "continuation of no message"),
        (Frame(Opcode.PING, b"x" * 126), "control frame of 126 bytes, over 125"),
        (Frame(Opcode.PING, b"", fin=False), "with fragments"),
        (Frame(Opcode.PONG, b"", rsv2=True), "reserved bits"),
    ],
)
def test_wrong_frames_are_not_sent(frame: Frame, sentence: str) -> None:
    """A frame that a peer would refuse is our caller's mistake (5.2, 5.5)."""
    writer = MessageWriter(masked=False)

    with pytest.raises(LocalProtocolError, match=sentence):
        writer.serialize_frame(frame)

    assert writer.serialize_message("still fine")


def test_an_unfinished_message_stops_others() -> None:
    """Fragments of two messages never interleave (5.4)."""
    writer = MessageWriter(masked=False)
    writer.serialize_frame(Frame(Opcode.TEXT, b"a", fin=False))

    with pytest.raises(LocalProtocolError, match="isn't finished"):
        writer.serialize_message("x")
    with pytest.raises(LocalProtocolError, match="isn't finished"):
        writer.serialize_frame(Frame(Opcode.TEXT, b"x"))
    with pytest.raises(LocalProtocolError, match="isn't finished"):
        writer.serialize_shared(SharedMessage("x"))

    unfinished = [writer.is_mid_message]
    writer.serialize_frame(Frame(Opcode.CONTINUATION, b"b"))
    unfinished.append(writer.is_mid_message)
    assert unfinished == [True, False]
    assert writer.serialize_message("x") == b"\x81\x01x"


def test_close_frame_has_code_and_reason() -> None:
    """The code is big-endian (5.5.1)."""
    writer = MessageWriter(masked=False)

    assert writer.serialize_close(Close(1001, "bye")) == b"\x88\x05\x03\xe9bye"


def test_extensions_change_each_frame_of_a_message() -> None:
    """The pipeline runs for each frame, in the agreed order (9.1)."""
    mark = Mark()
    writer = MessageWriter(masked=False, extensions=[mark])

    wire = writer.serialize_message("ab", fragment_size=1)

    assert wire == b"\x41\x02\x01a\x80\x02\x02b"
    assert writer.serialize_control(Opcode.PING, b"x") == b"\x89\x01x"


def test_shared_message_is_encoded_once_for_equals() -> None:
    """Those who agreed on the same get the same bytes, and forget their history."""
    marks = [Mark("a"), Mark("a"), Mark("b")]
    writers = [MessageWriter(masked=False, extensions=[mark]) for mark in marks]
    plain = MessageWriter(masked=False)
    message = SharedMessage("hi")

    sent = [writer.serialize_shared(message) for writer in writers]

    assert sent[0] is sent[1]
    assert sent[0] == sent[2] == b"\xc1\x03\x00hi"
    assert plain.serialize_shared(message) == b"\x81\x02hi"
    assert [mark.forgotten for mark in marks] == [1, 1, 1]
    assert [mark.encoded for mark in marks] == [0, 0, 0]


def test_shared_message_that_stays_plain_keeps_the_history() -> None:
    """What no extension changed doesn't touch their state."""
    mark = Mark()
    writer = MessageWriter(masked=False, extensions=[mark])

    assert writer.serialize_shared(SharedMessage("")) == b"\x81\x00"
    assert mark.forgotten == 0


def test_wrong_types_are_refused() -> None:
    """By errors that say what is wanted; nothing changed."""
    writer = MessageWriter(masked=False)
    wrong: Any = "x"

    with pytest.raises(TypeError, match="a payload is bytes, not str"):
        writer.serialize_control(Opcode.PING, wrong)
    with pytest.raises(TypeError, match="fragment_size is an int, not str"):
        writer.serialize_message("x", fragment_size=wrong)
    with pytest.raises(TypeError, match="fragment_size is an int, not float"):
        writer.serialize_message("x", fragment_size=1.5)  # type: ignore[arg-type]
    assert writer.serialize_message("x") == b"\x81\x01x"
