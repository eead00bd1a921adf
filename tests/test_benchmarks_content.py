"""JSON, compressed text and short connections, as the load generator has them."""

from __future__ import annotations

import ctypes
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from .generator import (
    CLOSE,
    FAULT,
    JSON,
    MESSAGE,
    RIGHT_ACCEPT,
    TEXT,
    WORDS,
    Plan,
    answering,
    build_load,
    build_parts,
    frame,
    generate,
    make_plan,
    payload_of,
    read,
)

RSV1 = 0x40

AGREED = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
    f"Connection: Upgrade\r\nSec-WebSocket-Accept: {RIGHT_ACCEPT}\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
DEFLATE = ("--content=words", "--size=200", "--deflate")


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The parts of the generator that know no socket, as a library."""
    return build_parts(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="session")
def load() -> Path:
    """The load generator."""
    return build_load()


class Deflate:
    """What a server has for permessage-deflate: one window in each direction."""

    def __init__(self) -> None:
        self._in = zlib.decompressobj(-15)
        self._out = zlib.compressobj(wbits=-15)

    def unpack(self, payload: bytes) -> bytes:
        """Return what a client compressed (RFC 7692, 7.2.2)."""
        return self._in.decompress(payload + b"\0\0\xff\xff")

    def pack(self, data: bytes) -> bytes:
        """Return the payload of a compressed message (RFC 7692, 7.2.1)."""
        packed = self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)
        return packed.removesuffix(b"\0\0\xff\xff")

    def frame(self, data: bytes) -> bytes:
        """Return a compressed message."""
        return frame(self.pack(data), TEXT, 0x80 | RSV1)


def packed_payload(parts: ctypes.CDLL, plan: Plan, sequence: int) -> bytes:
    """Return the compressed payload of a message, taken out of its masked frame."""
    out = ctypes.create_string_buffer(4096)
    size = parts.frame_message(ctypes.byref(plan), 7, sequence, 0x01020304, out)
    head, mask = (8, out.raw[4:8]) if out.raw[1] & 0x7F == 126 else (6, out.raw[2:6])
    assert out.raw[0] == 0x80 | RSV1 | TEXT
    return bytes(b ^ mask[i % 4] for i, b in enumerate(out.raw[head:size]))


def words_plan(parts: ctypes.CDLL, *, compressed: bool) -> Plan:
    """Return a plan of words, which is not freed."""
    plan = make_plan(parts, size=1024, content=WORDS)
    if compressed:
        assert parts.plan_compress(ctypes.byref(plan)) == 0
    return plan


def test_json_comes_back_as_json_dumps_writes_it(parts: ctypes.CDLL) -> None:
    """So a server in Python that parses and writes it gives it back byte for byte."""
    plan = make_plan(parts, content=JSON)

    payloads = [payload_of(parts, plan, 7, n) for n in range(20)]

    assert len(set(payloads)) == 20
    for payload in payloads:
        assert json.dumps(json.loads(payload)).encode() == payload


@pytest.mark.parametrize("split", [False, True], ids=["whole", "bytewise"])
def test_right_json_passes(parts: ctypes.CDLL, split: bool) -> None:
    """The stamp is in the middle of it, and compared there."""
    plan = make_plan(parts, content=JSON)
    data = b"".join(frame(payload_of(parts, plan, 7, n)) for n in range(3))

    events, _ = read(parts, plan, [bytes([b]) for b in data] if split else [data], 3)

    assert events == [MESSAGE] * 3


@pytest.mark.parametrize("at", [0, 7, 8, 23, 24, -1])
def test_any_wrong_byte_of_json_is_a_fault(parts: ctypes.CDLL, at: int) -> None:
    """Before the stamp, in it, and after it."""
    plan = make_plan(parts, content=JSON)
    wrong = bytearray(payload_of(parts, plan, 7, 0))
    wrong[at] ^= 1

    events, _ = read(parts, plan, [frame(bytes(wrong))], 1)

    assert events == [FAULT]


def test_words_compress_as_text_does(parts: ctypes.CDLL) -> None:
    """Neither to nothing nor hardly; nor can a server point to an earlier message."""
    plan = words_plan(parts, compressed=False)
    deflate = Deflate()

    sizes = [len(deflate.pack(payload_of(parts, plan, 7, n))) for n in range(200)]

    assert all(200 < size < 600 for size in sizes)


def test_compressed_messages_unpack_to_the_plain_ones(parts: ctypes.CDLL) -> None:
    """They are DEFLATE blocks that depend on no message before (RFC 7692, 7.2)."""
    plain = words_plan(parts, compressed=False)
    plan = words_plan(parts, compressed=True)
    deflate = Deflate()

    for n in [0, 1, 2, 63, 64, 1000]:
        payload = packed_payload(parts, plan, n)
        expected = payload_of(parts, plain, 7, n)

        assert len(payload) < 600
        assert deflate.unpack(payload) == expected
        assert Deflate().unpack(payload) == expected


@pytest.mark.parametrize("split", [False, True], ids=["whole", "bytewise"])
def test_right_compressed_answers_pass(parts: ctypes.CDLL, split: bool) -> None:
    """The server may refer to its own earlier messages."""
    plain = words_plan(parts, compressed=False)
    plan = words_plan(parts, compressed=True)
    deflate = Deflate()
    payloads = [payload_of(parts, plain, 7, n) for n in range(5)]
    data = b"".join(deflate.frame(payload) for payload in payloads)

    events, _ = read(parts, plan, [bytes([b]) for b in data] if split else [data], 5)

    assert events == [MESSAGE] * 5


WRONG: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "plain": (frame, "the answer is not compressed"),
    "other bit": (lambda d: frame(Deflate().pack(d), first=0xE0), "an RSV bit is set"),
    "content": (lambda d: Deflate().frame(d[:-1] + b"!"), "message 0 differs"),
    "stamp": (lambda d: Deflate().frame(b"f" + d[1:]), "message 0 differs"),
    "short": (lambda d: Deflate().frame(d[:-1]), "message 0 differs"),
    "long": (lambda d: Deflate().frame(d + b"x"), "message 0 differs"),
    "empty": (lambda d: Deflate().frame(b""), "message 0 differs"),
    "no DEFLATE": (lambda d: frame(b"\xff" * 9, first=0xC0), "message 0 differs"),
}


@pytest.mark.parametrize(("wrong", "fault"), WRONG.values(), ids=WRONG)
def test_wrong_compressed_answers_are_faults(
    parts: ctypes.CDLL, wrong: Callable[[bytes], bytes], fault: str
) -> None:
    """What is compared is what the answer unpacks to, all of it."""
    payload = payload_of(parts, words_plan(parts, compressed=False), 7, 0)
    plan = words_plan(parts, compressed=True)

    events, reader = read(parts, plan, [wrong(payload)], 1)

    assert events == [FAULT]
    assert fault in reader.fault.decode()


def test_generator_compresses_and_unpacks(load: Path) -> None:
    """Both directions are compressed, which a server that does so confirms."""
    deflate = Deflate()

    def answer(opcode: int, payload: bytes) -> bytes:
        if opcode == CLOSE:
            return frame(payload, CLOSE)
        assert opcode == TEXT | RSV1
        return deflate.frame(deflate.unpack(payload))

    with answering(answer, AGREED) as port:
        done = generate(load, port, *DEFLATE)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["messages"] > 0


def test_generator_wants_compressed_answers(load: Path) -> None:
    """A server that agrees and then sends plain text gets no figure."""
    deflate = Deflate()

    with answering(lambda o, p: frame(deflate.unpack(p), TEXT), AGREED) as port:
        done = generate(load, port, *DEFLATE)

    assert done.returncode == 1
    assert "the answer is not compressed" in done.stderr


def test_generator_connects_again_and_again(load: Path) -> None:
    """Each connection is one echo, closed by both, and ended by the server (7.1.1)."""
    opcodes = []

    def answer(opcode: int, payload: bytes) -> bytes:
        opcodes.append(opcode)
        return frame(payload, opcode)

    with answering(answer) as port:
        done = generate(load, port, "--work=connect", "--drain=10")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["messages"] > 1
    assert result["unanswered"] == 0
    assert opcodes == [TEXT, CLOSE] * (len(opcodes) // 2)


def test_connection_that_closes_too_early_is_a_fault(load: Path) -> None:
    """The echo belongs to it."""
    with answering(lambda opcode, payload: frame(b"", CLOSE)) as port:
        done = generate(load, port, "--work=connect")

    assert done.returncode == 1
    assert "the server closed" in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--content=nonsense",),
        ("--work=connect", "--depth=2"),
        ("--deflate",),
        ("--content=words", "--size=15", "--deflate"),
    ],
)
def test_generator_refuses_what_makes_no_sense(
    load: Path, options: tuple[str, ...]
) -> None:
    """It tells how it is used instead of measuring something else."""
    done = generate(load, 1, *options)

    assert done.returncode == 2
    assert "usage:" in done.stderr
