"""The benchmarks: their reader is strict, their figures right, and nothing stays.

No test here looks at a clock to judge speed.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import machine, measure, programs

from .generator import (
    BINARY,
    CLOSE,
    CLOSED,
    FAULT,
    MESSAGE,
    PING,
    PINGED,
    PONG,
    RIGHT_ACCEPT,
    TEXT,
    Answer,
    answering,
    build_load,
    build_parts,
    frame,
    generate,
    make_plan,
    payload_of,
    read,
)
from .tools import ROOT

PEERS = ROOT / "benchmarks" / "peers"

CORE = min(os.sched_getaffinity(0))


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """The parts of the generator that know no socket, as a library."""
    return build_parts(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="session")
def load() -> Path:
    """The load generator."""
    return build_load()


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("size", [1, 15, 16, 17, 125, 126, 65535, 65536])
def test_right_answers_pass(parts: ctypes.CDLL, opcode: int, size: int) -> None:
    """Messages of all kinds of length are known again, in one piece (5.2)."""
    plan = make_plan(parts, opcode, size)
    echoes = [frame(payload_of(parts, plan, 7, n), opcode) for n in range(3)]

    events, reader = read(parts, plan, [b"".join(echoes)], sent=3)

    assert events == [MESSAGE] * 3
    assert reader.sequence == 3


@pytest.mark.parametrize("size", [3, 32, 130])
def test_right_answers_pass_byte_by_byte(parts: ctypes.CDLL, size: int) -> None:
    """How the network splits the bytes changes nothing."""
    plan = make_plan(parts, size=size)
    echoes = b"".join(frame(payload_of(parts, plan, 7, n)) for n in range(3))

    events, _ = read(parts, plan, [bytes([b]) for b in echoes], sent=3)

    assert events == [MESSAGE] * 3


def test_text_is_utf8_and_no_two_messages_are_the_same(parts: ctypes.CDLL) -> None:
    """Servers must accept the messages, and the reader tells them apart."""
    plan = make_plan(parts)

    payloads = {payload_of(parts, plan, s, n) for s in range(20) for n in range(20)}

    assert len(payloads) == 400
    assert all(payload.decode().isalnum() for payload in payloads)


WRONG: dict[str, tuple[Callable[[bytes, bytes], bytes], str]] = {
    "opcode": (lambda one, two: frame(one, BINARY), "opcode 2 instead of 1"),
    "pong": (lambda one, two: frame(one, PONG), "opcode 10 instead of 1"),
    "shorter": (lambda one, two: frame(one[:-1]), "length 31 instead of 32"),
    "longer": (lambda one, two: frame(one + b"x"), "length 33 instead of 32"),
    "empty": (lambda one, two: frame(b""), "length 0 instead of 32"),
    "stamp": (lambda one, two: frame(b"f" + one[1:]), "message 0 differs"),
    "last byte": (lambda one, two: frame(one[:-1] + b"!"), "message 0 differs"),
    "swapped": (lambda one, two: frame(two) + frame(one), "message 0 differs"),
    "doubled": (lambda one, two: frame(one) * 2, "message 1 differs"),
    "too many": (
        lambda one, two: frame(one) + frame(two) + frame(two),
        "a message that was not sent",
    ),
    "masked": (
        lambda one, two: b"\x81" + bytes([0x80 | 32, 0, 0, 0, 0]) + one,
        "the frame is masked",
    ),
    "RSV bit": (lambda one, two: frame(one, first=0xC0), "an RSV bit is set"),
    "fragment": (lambda one, two: frame(one, first=0), "the message is fragmented"),
    "length of 2": (
        lambda one, two: b"\x81\x7e\x00\x20" + one,
        "the length is not minimal",
    ),
    "length of 8": (
        lambda one, two: b"\x81\x7f" + struct.pack("!Q", 32) + one,
        "the length is not minimal",
    ),
    "long control frame": (
        lambda one, two: b"\x89\x7e" + struct.pack("!H", 126) + bytes(126),
        "the control frame is too long",
    ),
}


@pytest.mark.parametrize("split", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize(("wrong", "fault"), WRONG.values(), ids=WRONG)
def test_wrong_answers_are_faults(
    parts: ctypes.CDLL,
    wrong: Callable[[bytes, bytes], bytes],
    fault: str,
    split: bool,
) -> None:
    """Whatever differs from the one expected frame is noticed, in any split."""
    plan = make_plan(parts)
    data = wrong(payload_of(parts, plan, 7, 0), payload_of(parts, plan, 7, 1))
    pieces = [bytes([b]) for b in data] if split else [data]

    events, reader = read(parts, plan, pieces, sent=2)

    assert events[-1] == FAULT
    assert fault in reader.fault.decode()


def test_answer_of_another_client_is_a_fault(parts: ctypes.CDLL) -> None:
    """A server that mixes up its clients is noticed."""
    plan = make_plan(parts)

    events, _ = read(parts, plan, [frame(payload_of(parts, plan, 8, 0))], sent=1)

    assert events == [FAULT]


def test_control_frames_may_come_between(parts: ctypes.CDLL) -> None:
    """Pings and the Close frame are told, with their payloads (5.5)."""
    plan = make_plan(parts)
    echo = frame(payload_of(parts, plan, 7, 0))

    events, reader = read(
        parts, plan, [frame(b"now?", PING) + echo + frame(b"\x03\xe8", CLOSE)], sent=1
    )

    assert events == [PINGED, MESSAGE, CLOSED]
    assert bytes(reader.control[:2]) == b"\x03\xe8"


def test_quantiles_are_right_to_four_percent(parts: ctypes.CDLL) -> None:
    """The histogram's steps are at most 1/32 wide, whatever the values."""
    histogram = ctypes.create_string_buffer(8 * (3 + 60 * 32))
    pick = random.Random(1)
    values = sorted(int(10 ** pick.uniform(0, 10)) for _ in range(5000))
    for value in values:
        parts.histogram_add(histogram, value)

    for share in (0.01, 0.5, 0.9, 0.99, 1.0):
        exact = values[max(0, round(share * len(values)) - 1)]
        found = parts.histogram_quantile(histogram, share)
        assert exact <= found <= exact * 1.04


def test_quantile_is_the_value_that_a_share_does_not_exceed(
    parts: ctypes.CDLL,
) -> None:
    """Half of four values are at most the second one."""
    histogram = ctypes.create_string_buffer(8 * (3 + 60 * 32))
    for value in (1, 2, 3, 4):
        parts.histogram_add(histogram, value)

    found = [parts.histogram_quantile(histogram, s) for s in (0.25, 0.5, 0.75, 1.0)]

    assert found == [1, 2, 3, 4]


def test_quantile_of_nothing_is_zero(parts: ctypes.CDLL) -> None:
    """A round without a single answer still has its figures."""
    histogram = ctypes.create_string_buffer(8 * (3 + 60 * 32))

    assert parts.histogram_quantile(histogram, 0.99) == 0


# The whole generator, against a server that answers as told.


def test_generator_counts_right_echoes(load: Path) -> None:
    """Every echo in the measured time is counted once, with its wait."""
    with answering(lambda opcode, payload: frame(payload, opcode)) as port:
        done = generate(load, port, "--depth=3")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["messages"] == result["client_min"] == result["client_max"] > 0
    assert 0 < result["p50_us"] <= result["p99_us"] <= result["max_us"]
    assert result["unanswered"] == 0
    assert result["closed"] == 1


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda opcode, payload: frame(payload[::-1]), "message 0 differs"),
        (lambda opcode, payload: frame(payload, BINARY), "opcode 2 instead of 1"),
        (lambda opcode, payload: frame(b"", CLOSE), "the server closed"),
    ],
    ids=["content", "opcode", "close"],
)
def test_generator_gives_up_at_the_first_fault(
    load: Path, answer: Answer, fault: str
) -> None:
    """A server that answers wrongly gets no figure at all."""
    with answering(answer) as port:
        done = generate(load, port)

    assert done.returncode == 1
    assert fault in done.stderr
    assert done.stdout == ""


def test_generator_tells_of_answers_that_never_came(load: Path) -> None:
    """A starved client shows, although there is no wait to count."""
    with answering(lambda opcode, payload: b"") as port:
        done = generate(load, port)

    result = json.loads(done.stdout)
    assert result["messages"] == 0
    assert result["unanswered"] == 1
    assert result["oldest_pending_us"] >= 40_000


def test_generator_answers_pings(load: Path) -> None:
    """Keepalive of a server neither disturbs the echoes nor goes unanswered (5.5.3)."""
    pongs = []

    def answer(opcode: int, payload: bytes) -> bytes:
        if opcode == PONG:
            pongs.append(payload)
            return b""
        return frame(b"still there?", PING) + frame(payload, opcode)

    with answering(answer) as port:
        done = generate(load, port)

    assert done.returncode == 0, done.stderr
    assert pongs[0] == b"still there?"
    assert json.loads(done.stdout)["pings"] > 0


@pytest.mark.parametrize(
    ("response", "fault"),
    [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "refused: HTTP/1.1 403 Forbidden"),
        (
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Accept: AAAA\r\n\r\n",
            "Sec-WebSocket-Accept is wrong",
        ),
        (
            "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {RIGHT_ACCEPT}\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
            "an extension was agreed",
        ),
    ],
    ids=["refused", "accept", "extension"],
)
def test_generator_checks_the_opening_handshake(
    load: Path, response: str, fault: str
) -> None:
    """Only a right 101 begins a connection (4.1)."""
    with answering(lambda opcode, payload: b"", response) as port:
        done = generate(load, port)

    assert done.returncode == 1
    assert fault in done.stderr


# The C servers, under the generator.


@pytest.fixture(scope="session", params=["floor-threads", "floor-epoll"])
def floor(request: pytest.FixtureRequest, load: Path) -> Path:
    """One of the C servers."""
    program = programs.PROGRAMS[request.param]
    return programs.compile_c(
        program.name, PEERS, program.sources, machine.cache_folder()
    )


@pytest.mark.parametrize(
    "options",
    [
        ("--clients=20", "--depth=5"),
        ("--clients=2", "--size=200000", "--binary"),
        ("--clients=20", "--work=broadcast", "--depth=2"),
    ],
    ids=["echo", "large", "broadcast"],
)
def test_floors_answer_rightly(
    load: Path, floor: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """What other servers are compared with keeps the rules that they keep."""
    work = "broadcast" if "--work=broadcast" in options else "echo"
    program = [str(floor), "--port=0", f"--work={work}"]

    with measure.running(program, CORE, tmp_path / "log", os.environ) as server:
        done = generate(load, server.port, "--drain=10", *options)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["client_min"] > 0
    assert result["unanswered"] == 0
    assert result["closed"] == result["clients"]


def test_server_ends_with_the_benchmark(tmp_path: Path, floor: Path) -> None:
    """Even when the benchmark is killed, its servers go."""
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from benchmarks.measure import running\n"
        "floor, log = sys.argv[1:]\n"
        "core = min(os.sched_getaffinity(0))\n"
        "with running([floor, '--port=0', '--work=echo'], core, Path(log),\n"
        "             os.environ) as server:\n"
        "    print(server.port, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(floor), str(tmp_path / "log")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), 20) as stream:
            parent.send_signal(signal.SIGKILL)

            try:
                end = stream.recv(1)
            except ConnectionResetError:
                end = b""

    assert end == b""
