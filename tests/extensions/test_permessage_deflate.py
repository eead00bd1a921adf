"""permessage-deflate: negotiation to the letter, and what each half does.

Bare numbers of sections are those of RFC 7692. Bombs are in test_deflate_limits,
conversations with other implementations in test_deflate_peers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import random
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from websock.exceptions import InvalidPayload, MessageTooBig, RemoteProtocolError
from websock.extensions.base import Extension, Parameters, ServerExtensionFactory
from websock.extensions.permessage_deflate import PerMessageDeflate
from websock.frames import Frame, Opcode

from .deflate_tools import (
    DOCUMENT,
    NOISE,
    SWITCHES,
    TAIL,
    TEXT,
    agree,
    compress,
    extension,
    fragments,
    raw,
    receive,
)

# Settings


def test_it_is_what_the_core_expects() -> None:
    """Factory and extension have all that the interfaces have."""
    factory: ServerExtensionFactory = PerMessageDeflate()
    answer = factory.negotiate([])

    assert answer is not None
    agreed: Extension = answer[1]
    assert factory.name == agreed.name == "permessage-deflate"
    assert (agreed.rsv1, agreed.rsv2, agreed.rsv3) == (True, False, False)
    assert agreed.per_message


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("server_max_window_bits", 7),
        ("server_max_window_bits", 16),
        ("client_max_window_bits", 0),
        ("client_max_window_bits", 16),
        ("level", -1),
        ("level", 10),
        ("mem_level", 0),
        ("mem_level", 10),
        ("threshold", -1),
    ],
)
def test_a_wrong_value_is_named(option: str, wrong: int) -> None:
    """The sentence tells the option, what it may be and what it is."""
    with pytest.raises(ValueError, match=f"{option} must be .*, not {wrong}"):
        PerMessageDeflate(**{option: wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("server_no_context_takeover", 1),
        ("client_no_context_takeover", None),
        ("server_max_window_bits", None),
        ("client_max_window_bits", True),
        ("level", "6"),
        ("mem_level", 4.0),
        ("threshold", None),
    ],
)
def test_a_wrong_type_is_named(option: str, wrong: object) -> None:
    """No number passes for a bool, and no bool for a number."""
    with pytest.raises(TypeError, match=f"{option} must be an? (bool|int), not"):
        PerMessageDeflate(**{option: wrong})  # type: ignore[arg-type]


def test_settings_do_not_change() -> None:
    """Connections share them, so nobody may set one."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        PerMessageDeflate().level = 1  # type: ignore[misc]


# Negotiation of a server (7.1)

S_NO = ("server_no_context_takeover", None)
C_NO = ("client_no_context_takeover", None)


def s_bits(value: str | None) -> tuple[str, str | None]:
    """Parameter for the window of the server."""
    return "server_max_window_bits", value


def c_bits(value: str | None = None) -> tuple[str, str | None]:
    """Parameter for the window of the client."""
    return "client_max_window_bits", value


FULL: dict[str, Any] = {"server_max_window_bits": 15, "client_max_window_bits": 15}
ANSWERS: list[tuple[dict[str, Any], Parameters, Parameters]] = [
    # settings, offer, response
    (FULL, [], []),
    (FULL, [S_NO], [S_NO]),
    (FULL, [C_NO], [C_NO]),
    (FULL, [C_NO, S_NO], [S_NO, C_NO]),
    (FULL | {"server_no_context_takeover": True}, [], [S_NO]),
    (FULL | {"client_no_context_takeover": True}, [], [C_NO]),
    (FULL | {"client_no_context_takeover": True}, [S_NO], [S_NO, C_NO]),
    (FULL, [s_bits("15")], [s_bits("15")]),
    (FULL, [s_bits("10")], [s_bits("10")]),
    (FULL, [s_bits("8")], [s_bits("8")]),
    (FULL, [c_bits()], []),
    (FULL, [c_bits("15")], []),
    (FULL, [c_bits("9")], [c_bits("9")]),
    (FULL, [c_bits("8")], [c_bits("8")]),
    ({}, [], [s_bits("12")]),
    ({}, [c_bits()], [s_bits("12"), c_bits("12")]),
    ({}, [c_bits("15")], [s_bits("12"), c_bits("12")]),
    ({}, [c_bits("10")], [s_bits("12"), c_bits("10")]),
    ({}, [s_bits("15")], [s_bits("12")]),
    ({}, [s_bits("12")], [s_bits("12")]),
    ({}, [s_bits("9"), c_bits()], [s_bits("9"), c_bits("12")]),
    ({"server_max_window_bits": 8}, [s_bits("9")], [s_bits("8")]),
    ({"client_max_window_bits": 8}, [c_bits()], [s_bits("12"), c_bits("8")]),
]


@pytest.mark.parametrize(("settings", "offer", "response"), ANSWERS)
def test_a_server_answers_an_offer(
    settings: dict[str, Any], offer: Parameters, response: Parameters
) -> None:
    """It grants demands, takes the smaller window, and keeps what it may (7.1)."""
    answer = PerMessageDeflate(**settings).negotiate(offer)

    assert answer is not None
    assert list(answer[0]) == list(response)


DECLINED: list[Parameters] = [
    [("unknown", None)],
    [("", None)],
    [("SERVER_NO_CONTEXT_TAKEOVER", None)],
    [("constructor", None)],
    [S_NO, S_NO],
    [C_NO, C_NO],
    [c_bits(), c_bits("10")],
    [s_bits("10"), s_bits("10")],
    [("server_no_context_takeover", "")],
    [("server_no_context_takeover", "true")],
    [("client_no_context_takeover", "1")],
    [s_bits(None)],
    *(
        [bits(value)]
        for bits in (s_bits, c_bits)
        for value in ("", "0", "7", "16", "x", "08", "010", "+9", " 9", "9.0", "-9")
    ),
    [c_bits("٩")],
    [c_bits("9" * 5000)],
]


@pytest.mark.parametrize("offer", DECLINED, ids=lambda offer: repr(offer)[:60])
def test_a_server_declines_a_wrong_offer(offer: Parameters) -> None:
    """Unknown parameters, duplicates, and values that aren't allowed (7.1)."""
    assert PerMessageDeflate().negotiate(offer) is None
    assert PerMessageDeflate().negotiate([C_NO, *offer]) is None


# Negotiation of a client (7.1)


def test_a_client_offers_what_it_wants() -> None:
    """It always lets the server choose a smaller window for it (7.1.2.2)."""
    assert list(PerMessageDeflate().offer()) == [s_bits("12"), c_bits("12")]
    assert list(PerMessageDeflate(**FULL).offer()) == [c_bits()]
    assert list(
        PerMessageDeflate(
            server_no_context_takeover=True, client_no_context_takeover=True
        ).offer()
    ) == [S_NO, C_NO, s_bits("12"), c_bits("12")]


FAULTY_RESPONSES: list[tuple[dict[str, Any], Parameters, str]] = [
    (FULL, [("unknown", None)], "unknown parameter"),
    (FULL, [S_NO, S_NO], "there twice"),
    (FULL, [("client_no_context_takeover", "1")], "has a value"),
    (FULL, [c_bits()], "client_max_window_bits has no value"),
    (FULL, [c_bits("16")], "client_max_window_bits isn't a number from 8 to 15"),
    (FULL, [s_bits(None)], "server_max_window_bits isn't a number from 8 to 15"),
    ({}, [s_bits("13")], "server_max_window_bits is 13, more than 12"),
    ({}, [s_bits("12"), c_bits("13")], "client_max_window_bits is 13, more than 12"),
    ({}, [], "server_max_window_bits isn't confirmed"),
    (
        FULL | {"server_no_context_takeover": True},
        [],
        "server_no_context_takeover isn't confirmed",
    ),
]


@pytest.mark.parametrize(("settings", "response", "sentence"), FAULTY_RESPONSES)
def test_a_client_refuses_a_wrong_response(
    settings: dict[str, Any], response: Parameters, sentence: str
) -> None:
    """What it didn't ask for, or asked for and didn't get (7.1)."""
    with pytest.raises(RemoteProtocolError, match=sentence):
        PerMessageDeflate(**settings).confirm(response)


def test_a_client_keeps_its_promises() -> None:
    """What it announced binds it, even if the response doesn't repeat it (7.1)."""
    client = PerMessageDeflate(
        server_max_window_bits=15,
        client_max_window_bits=10,
        client_no_context_takeover=True,
    )

    assert repr(client.confirm([])) == (
        "<permessage-deflate: encodes 10 bits, no context takeover; decodes 15 bits>"
    )


@pytest.mark.parametrize(
    ("server_no", "client_no"), [*itertools.product(SWITCHES, SWITCHES)]
)
@pytest.mark.parametrize("wanted", ["server", "client"])
def test_both_sides_agree_on_takeover(
    server_no: bool, client_no: bool, wanted: str
) -> None:
    """Whoever has the setting, both ends free their windows, and understand."""
    settings = PerMessageDeflate(
        server_no_context_takeover=server_no,
        client_no_context_takeover=client_no,
        threshold=0,
    )
    other = PerMessageDeflate(threshold=0)
    ends = (settings, other) if wanted == "server" else (other, settings)

    server, client = agree(*ends)

    for sender, receiver, fresh in (
        (server, client, server_no),
        (client, server, client_no),
    ):
        first, second = (sender.encode(Frame(Opcode.TEXT, TEXT)) for _ in range(2))
        assert receiver.decode(first, max_size=None).payload == TEXT
        assert receiver.decode(second, max_size=None).payload == TEXT
        assert (first.payload == second.payload) is fresh
        assert (", no context takeover" in repr(sender).split(";")[0]) is fresh
        assert (", no context takeover" in repr(receiver).split(";")[1]) is fresh


@pytest.mark.parametrize("server_bits", range(8, 16))
@pytest.mark.parametrize("client_bits", range(8, 16))
def test_both_sides_agree_on_windows(server_bits: int, client_bits: int) -> None:
    """Each direction keeps to its own window, whichever side wanted it."""
    narrow = PerMessageDeflate(
        server_max_window_bits=server_bits,
        client_max_window_bits=client_bits,
        threshold=0,
    )
    wide = PerMessageDeflate(**FULL, threshold=0)

    for server, client in (agree(narrow, wide), agree(wide, narrow)):
        for sender, receiver, bits in (
            (server, client, server_bits),
            (client, server, client_bits),
        ):
            assert f"encodes {bits} bits" in repr(sender)
            assert f"decodes {bits} bits" in repr(receiver)
            for _ in range(2):
                frame = sender.encode(Frame(Opcode.BINARY, DOCUMENT))
                assert len(frame.payload) < len(DOCUMENT)
                assert receiver.decode(frame, max_size=5000).payload == DOCUMENT


# Decoding (7.2.2)

EXAMPLES = {
    "one block": ["f248cdc9c90700"],
    "no compression": ["000500faff48656c6c6f00"],
    "BFINAL": ["f348cdc9c9070000"],
    "two blocks": ["f248050000 00ffffcac9c90700".replace(" ", "")],
    "sliding window": ["f248cdc9c90700", "f200110000"],
}


@pytest.mark.parametrize("messages", EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_of_the_rfc(messages: list[str]) -> None:
    """Each of the payloads in 7.2.3 is a "Hello"."""
    end = extension()

    for message in messages:
        assert receive(end, bytes.fromhex(message)) == b"Hello"


def test_a_fragmented_example_of_the_rfc() -> None:
    """Compressed data may be cut anywhere; only the first frame has RSV1 (7.2.3.1)."""
    payload = bytes.fromhex("f248cdc9c90700")

    for cut in range(len(payload) + 1):
        end = extension()
        first, last = fragments(payload, [cut], Opcode.TEXT)
        first.rsv1 = True
        frames = [end.decode(frame, max_size=5) for frame in (first, last)]
        assert b"".join(frame.payload for frame in frames) == b"Hello"
        assert [frame.opcode for frame in frames] == [1, 0]
        assert [frame.fin for frame in frames] == [False, True]
        assert not any(frame.rsv1 for frame in frames)


def test_other_bits_stay() -> None:
    """RSV2 and RSV3 belong to other extensions, in both directions."""
    sender, receiver = extension(), extension()

    frame = sender.encode(Frame(Opcode.BINARY, DOCUMENT, rsv2=True, rsv3=True))
    decoded = receiver.decode(frame, max_size=None)

    assert (frame.rsv1, frame.rsv2, frame.rsv3) == (True, True, True)
    assert decoded == Frame(Opcode.BINARY, DOCUMENT, rsv2=True, rsv3=True)


@pytest.mark.parametrize("payload", [b"\x00", b""], ids=["as in the RFC", "bare"])
def test_empty_compressed_messages(payload: bytes) -> None:
    """A block of no bytes is 00 (7.2.3.6); some peers leave even that out."""
    end = extension()
    peer = raw()

    assert receive(end, payload) == b""
    assert receive(end, compress(peer, TEXT)) == TEXT
    assert receive(end, payload) == b""
    assert receive(end, payload, max_size=0) == b""
    assert receive(end, compress(peer, TEXT)) == TEXT


@pytest.mark.parametrize("last", [b"\x00", b""], ids=["as in the RFC", "bare"])
def test_a_flushed_fragment_and_an_empty_one(last: bytes) -> None:
    """A peer that flushes each fragment may have nothing left for the last."""
    end = extension()
    flushed = compress(raw(), TEXT) + TAIL

    for _ in range(2):
        frame = Frame(Opcode.TEXT, flushed, fin=False, rsv1=True)
        assert end.decode(frame, max_size=100).payload == TEXT
        frame = Frame(Opcode.CONTINUATION, last)
        assert end.decode(frame, max_size=0).payload == b""


def test_an_empty_last_fragment_completes_a_block() -> None:
    """All of the compressed data may be in the fragments before it (7.2.3.1)."""
    end = extension()
    frame = Frame(Opcode.TEXT, compress(raw(), TEXT), fin=False, rsv1=True)

    assert end.decode(frame, max_size=100).payload == TEXT
    assert end.decode(Frame(Opcode.CONTINUATION, b""), max_size=0).payload == b""


def test_blocks_with_bfinal() -> None:
    """A stream may end and begin again, within a message and between two (7.2.1)."""
    end = extension()
    first = compress(raw(), TEXT, zlib.Z_FINISH)
    second = compress(raw(), DOCUMENT, zlib.Z_FINISH)

    assert receive(end, first) == TEXT
    assert receive(end, first[:-1]) == TEXT
    assert receive(end, first[:-1] + second) == TEXT + DOCUMENT
    assert receive(end, first[:-1] * 3 + compress(raw(), TEXT)) == TEXT * 4
    for cut in range(len(first) + len(second)):
        frames = list(fragments(first[:-1] + second, [cut], Opcode.TEXT))
        frames[0].rsv1 = True
        output = [end.decode(frame, max_size=5000).payload for frame in frames]
        assert b"".join(output) == TEXT + DOCUMENT


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        b"\x07",
        b"\x00\x01",
        NOISE[:100],
        b"not compressed at all",
        compress(raw(), TEXT) + TAIL,
        compress(raw(), TEXT) + b"garbage",
        compress(raw(), TEXT) + b"\x01",
        compress(raw(), TEXT, zlib.Z_FINISH) + b"\xff",
        compress(raw(), TEXT, zlib.Z_FINISH)[:-1] + b"garbage",
        zlib.compress(TEXT),
        b"\x00\x05\x00\xfa\xffHel",
    ],
    ids=lambda payload: payload[-20:].hex(),
)
def test_garbage_is_refused(payload: bytes) -> None:
    """What isn't DEFLATE, or goes on behind its end, fails with 1007 (7.2.2)."""
    for cut in (0, len(payload) // 2, len(payload) - 1):
        end = extension()
        frames = list(fragments(payload, [cut], Opcode.TEXT))
        frames[0].rsv1 = True
        with pytest.raises(InvalidPayload, match="invalid compressed data") as caught:
            for frame in frames:
                end.decode(frame, max_size=2**20)
        assert caught.value.close_code == 1007


@pytest.mark.parametrize("strategy", [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED])
@pytest.mark.parametrize("level", [0, 9])
@pytest.mark.parametrize("takeover", SWITCHES)
def test_a_message_that_is_cut_off_is_refused(
    strategy: int, level: int, takeover: bool
) -> None:
    """Wherever it's cut, whatever the block: nothing is delivered as if complete."""
    peer = zlib.compressobj(level, zlib.DEFLATED, -12, 8, strategy)
    history = compress(peer, TEXT)
    payload = compress(peer, TEXT[::-1] + DOCUMENT[:300])
    whole = zlib.decompressobj(-12).decompress(history + TAIL + payload + TAIL)
    assert whole == TEXT + TEXT[::-1] + DOCUMENT[:300]

    # Cut after its first byte, what level 0 makes is an empty message (7.2.3.6).
    for cut in range(1 if level else 2, len(payload)):
        end = extension(decode=takeover)
        if takeover:
            receive(end, history)
        with pytest.raises(InvalidPayload):
            receive(end, payload[:cut])


@pytest.mark.parametrize("payload", ["f348cdc9c907", "022c"])
def test_a_block_that_only_seems_to_end_is_refused(payload: str) -> None:
    """A last block cut off in its last code, and one that gives a byte more."""
    data = bytes.fromhex(payload)

    with pytest.raises(InvalidPayload):
        receive(extension(), data)
    end = extension()
    end.decode(Frame(Opcode.TEXT, data, fin=False, rsv1=True), max_size=100)
    with pytest.raises(InvalidPayload):
        end.decode(Frame(Opcode.CONTINUATION, b""), max_size=100)


def test_a_reference_beyond_the_first_message_is_refused() -> None:
    """There is nothing before it that a distance could reach (7.2.2)."""
    with pytest.raises(InvalidPayload, match="too far back"):
        receive(extension(), bytes.fromhex("f200110000"))


@pytest.mark.parametrize("bits", range(9, 15))
def test_a_reference_beyond_the_window_is_refused(bits: int) -> None:
    """A peer that keeps to a larger window than agreed isn't misunderstood (7.1.2)."""
    end = extension(bits=bits)
    peer = raw(15)
    secret = NOISE[:40]
    between = random.Random(bits).randbytes(2**bits)

    assert receive(end, compress(peer, secret + between)) == secret + between

    with pytest.raises(InvalidPayload, match="too far back"):
        receive(end, compress(peer, secret))


def test_a_reference_to_a_context_that_was_not_taken_over_is_refused() -> None:
    """With no context takeover, each message stands alone (7.1.1)."""
    end = extension(decode=False)
    peer = raw()

    assert receive(end, compress(peer, TEXT)) == TEXT
    with pytest.raises(InvalidPayload, match="too far back"):
        receive(end, compress(peer, TEXT))


def test_rsv1_on_a_continuation_is_refused() -> None:
    """Only the first frame of a message may have it (6.1)."""
    end = extension()
    end.decode(Frame(Opcode.TEXT, b"", fin=False, rsv1=True), max_size=100)

    with pytest.raises(RemoteProtocolError, match="RSV1 on a continuation"):
        end.decode(Frame(Opcode.CONTINUATION, b"\x00", rsv1=True), max_size=100)


def test_plain_messages_leave_the_window_as_it_is() -> None:
    """Messages without RSV1 between compressed ones aren't part of it (6, 7.2)."""
    end = extension()
    peer = raw()

    for message in (TEXT, DOCUMENT[:2000], TEXT, TEXT):
        assert receive(end, compress(peer, message)) == message
        plain = [
            Frame(Opcode.BINARY, NOISE),
            Frame(Opcode.TEXT, b"a", fin=False),
            Frame(Opcode.CONTINUATION, b"b", fin=False),
            Frame(Opcode.CONTINUATION, b"c"),
            Frame(Opcode.TEXT, b""),
        ]
        for frame in plain:
            assert end.decode(frame, max_size=10_000) is frame


@pytest.mark.parametrize(
    "size", [0, 1, 2, 257, 258, 259, 4095, 4096, 32767, 32768, 32769, 65536, 200_000]
)
@pytest.mark.parametrize("make", [bytes, lambda size: (NOISE * 40)[:size]])
@pytest.mark.parametrize("mode", [zlib.Z_SYNC_FLUSH, zlib.Z_FINISH])
def test_the_limit_is_exact(size: int, make: Callable[[int], bytes], mode: int) -> None:
    """A message of the limit passes, one of a byte more doesn't; whatever the cut."""
    message = make(size)
    payload = compress(raw(15), message, mode)

    end = extension(bits=15)
    assert receive(end, payload, size) == message
    assert receive(end, payload, size) == message
    assert receive(end, payload, None) == message
    if size:
        with pytest.raises(MessageTooBig):
            receive(extension(bits=15), payload, size - 1)
    room = size
    output = b""
    for frame in fragments(payload, [1, len(payload) // 3, len(payload) - 1]):
        frame.rsv1 = frame.opcode != Opcode.CONTINUATION
        piece = end.decode(frame, max_size=room).payload
        room -= len(piece)
        output += piece
    assert output == message


# Encoding (7.2.1)


def test_what_is_below_the_threshold_goes_out_plain() -> None:
    """And costs neither a compressor nor the window."""
    server, client = agree(PerMessageDeflate(threshold=60))
    short = Frame(Opcode.TEXT, TEXT[:59])

    assert len(TEXT) == 60
    assert server.encode(short) is short
    assert server.encode_shared(short) is short
    for _ in range(3):
        encoded = server.encode(Frame(Opcode.TEXT, TEXT))
        assert encoded.rsv1
        assert client.decode(encoded, max_size=60).payload == TEXT
        assert server.encode(short) is short
    assert len(encoded.payload) < 10


def test_an_empty_message_goes_out_plain() -> None:
    """Nothing is shorter; the history of the connection stays."""
    end = extension()
    frame = Frame(Opcode.TEXT, b"")
    end.encode(Frame(Opcode.TEXT, TEXT))

    assert end.encode(frame) is frame
    assert end.encode_shared(frame) is frame
    assert len(end.encode(Frame(Opcode.TEXT, TEXT)).payload) < 10


@pytest.mark.parametrize("takeover", SWITCHES)
@pytest.mark.parametrize("level", [0, 6])
def test_what_does_not_shrink_goes_out_plain(takeover: bool, level: int) -> None:
    """The compressor that saw it is given up: the peer's window never will see it."""
    sender = extension(PerMessageDeflate(threshold=0, level=level), encode=takeover)
    receiver = extension(decode=takeover)
    noise = Frame(Opcode.BINARY, NOISE)

    assert sender.encode_shared(noise) is noise
    for message in (TEXT, NOISE, TEXT, NOISE[:50], NOISE + TEXT, TEXT, DOCUMENT):
        frame = sender.encode(Frame(Opcode.BINARY, message))
        assert receiver.decode(frame, max_size=10_000).payload == message
        assert frame.rsv1 is (level > 0 and message in (TEXT, DOCUMENT))


@pytest.mark.parametrize("takeover", SWITCHES)
def test_messages_in_fragments_are_always_compressed(takeover: bool) -> None:
    """How long they get, the first fragment doesn't tell; each one can be read."""
    sender = extension(PerMessageDeflate(threshold=10_000), encode=takeover)
    receiver = extension(decode=takeover)

    for cuts in ([0], [1, 2, 3], [60, 60, 60], [30], [0, 30, 60]):
        for plain in fragments(TEXT, cuts, Opcode.TEXT):
            frame = sender.encode(plain)
            assert frame.rsv1 is (plain.opcode == Opcode.TEXT)
            assert (frame.opcode, frame.fin) == (plain.opcode, plain.fin)
            assert receiver.decode(frame, max_size=60).payload == plain.payload
        whole = Frame(Opcode.TEXT, TEXT)
        assert sender.encode(whole) is whole
        assert receiver.decode(whole, max_size=60) is whole


def test_no_memory_before_the_first_message() -> None:
    """A connection that is idle, or sends little, has neither of the contexts."""
    end = extension(PerMessageDeflate())

    end.encode(Frame(Opcode.TEXT, TEXT))
    end.decode(Frame(Opcode.TEXT, TEXT), max_size=None)

    assert end._compressor is None
    assert end._decompressor is None
    assert not hasattr(end, "__dict__")


def test_no_memory_between_messages_without_takeover() -> None:
    """Both contexts are given back at the end of each message, not before."""
    end = extension(encode=False, decode=False)

    frames = []
    for frame in fragments(DOCUMENT, [100]):
        frames.append(end.encode(frame))
        assert (end._compressor is None) is frame.fin
    end.decode(frames[0], max_size=None)
    assert end._decompressor is not None
    end.decode(frames[1], max_size=None)
    assert end._decompressor is None


# Messages for many connections


def test_a_shared_frame_is_the_same_for_all_that_share_the_key() -> None:
    """What matters is the window and how it's compressed, not the takeover."""
    settings = PerMessageDeflate()
    one, other = extension(settings), extension(settings, encode=False, decode=False)

    assert one.sharing_key == other.sharing_key
    assert hash(one.sharing_key) == hash(other.sharing_key)
    keys = {
        end.sharing_key
        for end in (
            one,
            extension(settings, bits=9),
            extension(PerMessageDeflate(level=1)),
            extension(PerMessageDeflate(mem_level=5)),
            extension(PerMessageDeflate(threshold=1)),
        )
    }
    assert len(keys) == 5


def test_forgetting_keeps_the_stream_whole_after_a_shared_frame() -> None:
    """Without it, the next reference would miss its target by the shared message."""
    peer_one, peer_two = extension(), extension()
    one, two = extension(), extension()
    shared = one.encode_shared(Frame(Opcode.BINARY, DOCUMENT[:300]))
    assert shared.rsv1

    for end, peer, history in ((one, peer_one, TEXT), (two, peer_two, NOISE[:90] * 2)):
        for message in (history, None, history, history):
            if message is None:
                assert peer.decode(shared, max_size=300).payload == DOCUMENT[:300]
                end.forget()
            else:
                frame = end.encode(Frame(Opcode.BINARY, message))
                assert peer.decode(frame, max_size=300).payload == message

    careless, peer = extension(), extension()
    careless.encode(Frame(Opcode.BINARY, TEXT))
    peer.decode(shared, max_size=300)
    frame = careless.encode(Frame(Opcode.BINARY, TEXT))
    with contextlib.suppress(InvalidPayload):
        assert peer.decode(frame, max_size=300).payload != TEXT
