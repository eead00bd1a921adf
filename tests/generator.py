"""The load generator of the benchmarks, for tests; and servers for it to talk to."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import machine, programs

from .tools import ROOT, require_tool

LOAD = ROOT / "benchmarks" / "load"

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MORE, MESSAGE, PINGED, CLOSED, FAULT = range(5)
PLAIN, JSON, WORDS = range(3)


class Plan(ctypes.Structure):
    """``struct plan``."""

    _fields_ = (
        ("opcode", ctypes.c_int),
        ("size", ctypes.c_size_t),
        ("stamp_at", ctypes.c_size_t),
        ("stamp_size", ctypes.c_size_t),
        ("bodies", ctypes.c_size_t),
        ("body", ctypes.c_void_p),
        ("packed", ctypes.c_void_p),
    )


class Reader(ctypes.Structure):
    """``struct reader``."""

    _fields_ = (
        ("sender", ctypes.c_uint32),
        ("sequence", ctypes.c_uint64),
        ("head", ctypes.c_uint8 * 10),
        ("head_size", ctypes.c_uint8),
        ("in_payload", ctypes.c_uint8),
        ("length", ctypes.c_uint64),
        ("seen", ctypes.c_uint64),
        ("stamp", ctypes.c_uint8 * 16),
        ("control", ctypes.c_uint8 * 125),
        ("fault", ctypes.c_char * 120),
        ("inflate", ctypes.c_void_p),
        ("unpacked", ctypes.c_uint64),
    )


def build_load() -> Path:
    """Return the load generator; it is built once per content."""
    require_tool("gcc", apt="gcc libc6-dev zlib1g-dev")
    return programs.compile_c("load", LOAD, programs.LOAD, machine.cache_folder())


def build_parts(folder: Path) -> ctypes.CDLL:
    """Return what needs no socket: reader, messages and histogram."""
    require_tool("gcc", apt="gcc libc6-dev zlib1g-dev")
    library = folder / "parts.so"
    names = ("reader.c", "message.c", "deflate.c", "histogram.c")
    sources = [LOAD / name for name in names]
    subprocess.run(
        [
            "gcc",
            "-std=gnu11",
            "-O1",
            "-shared",
            "-fPIC",
            "-o",
            library,
            *sources,
            "-lz",
        ],
        check=True,
    )
    parts = ctypes.CDLL(str(library))
    parts.histogram_add.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    parts.histogram_quantile.argtypes = [ctypes.c_void_p, ctypes.c_double]
    parts.histogram_quantile.restype = ctypes.c_uint64
    parts.plan_init.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_size_t,
    ]
    parts.frame_message.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_uint64,
        ctypes.c_uint32,
        ctypes.c_char_p,
    ]
    parts.frame_message.restype = ctypes.c_size_t
    return parts


def make_plan(
    parts: ctypes.CDLL, opcode: int = TEXT, size: int = 32, content: int = PLAIN
) -> Plan:
    """Return a plan; its body is not freed."""
    plan = Plan()
    assert parts.plan_init(ctypes.byref(plan), opcode, content, size) == 0
    return plan


def payload_of(parts: ctypes.CDLL, plan: Plan, sender: int, sequence: int) -> bytes:
    """Return the payload of a message, taken out of its masked frame."""
    out = ctypes.create_string_buffer(14 + plan.size)
    key = 0x01020304
    size = parts.frame_message(ctypes.byref(plan), sender, sequence, key, out)
    masked = out.raw[size - plan.size : size]
    mask = struct.pack("<I", key) * (plan.size // 4 + 1)
    return bytes(a ^ b for a, b in zip(masked, mask, strict=False))


def frame(payload: bytes, opcode: int = TEXT, first: int = 0x80) -> bytes:
    """Return an unmasked frame with the minimal length (5.2)."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 65536:
        length = b"\x7e" + struct.pack("!H", size)
    else:
        length = b"\x7f" + struct.pack("!Q", size)
    return bytes([first | opcode]) + length + payload


def read(
    parts: ctypes.CDLL, plan: Plan, data: Sequence[bytes], sent: int
) -> tuple[list[int], Reader]:
    """Feed pieces to a reader, until they end or a fault; return its events."""
    reader = Reader(sender=7)
    events = []
    for piece in data:
        buffer = ctypes.create_string_buffer(piece, len(piece))
        at = ctypes.c_void_p(ctypes.addressof(buffer))
        end = ctypes.c_void_p(ctypes.addressof(buffer) + len(piece))
        while True:
            event = parts.reader_next(
                ctypes.byref(reader),
                ctypes.byref(plan),
                ctypes.c_uint64(sent),
                ctypes.byref(at),
                end,
            )
            if event == MORE:
                break
            events.append(event)
            if event == FAULT:
                return events, reader
    return events, reader


Answer = Callable[[int, bytes], bytes]
RIGHT_ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def read_exactly(stream: socket.socket, size: int) -> bytes:
    """Return ``size`` bytes; fewer at the end of the stream."""
    data = b""
    while len(data) < size:
        piece = stream.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def read_masked(stream: socket.socket) -> tuple[int, bytes] | None:
    """Return opcode and payload of a client's frame; nothing at the end.

    The opcode of what is compressed has RSV1 as its bit 0x40.
    """
    head = read_exactly(stream, 2)
    if len(head) < 2:
        return None
    assert head[0] & 0xB0 == 0x80
    assert head[1] & 0x80
    size = head[1] & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", read_exactly(stream, 2))
    key = read_exactly(stream, 4)
    payload = read_exactly(stream, size)
    return head[0] & 0x4F, bytes(b ^ key[i % 4] for i, b in enumerate(payload))


@contextmanager
def answering(answer: Answer, response: str | None = None) -> Iterator[int]:
    """Serve clients in turn: every frame of theirs gets ``answer(opcode, payload)``."""
    if response is None:
        response = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Accept: {RIGHT_ACCEPT}\r\n\r\n"
        )
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    stream, _ = listener.accept()
                except OSError:  # shut down
                    return
                # The generator may leave at any time.
                with stream, contextlib.suppress(OSError):
                    talk(stream)

        def talk(stream: socket.socket) -> None:
            stream.settimeout(20)
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                piece = stream.recv(1)
                if not piece:
                    return
                request += piece
            stream.sendall(response.encode())
            while (received := read_masked(stream)) is not None:
                stream.sendall(answer(*received))
                if received[0] == CLOSE:
                    break

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)


def generate(load: Path, port: int, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the generator, shortly."""
    short = ["--warm-up=0", "--time=0.05", "--drain=0.05", *options]
    return subprocess.run(
        [load, f"--port={port}", *short], capture_output=True, text=True, timeout=30
    )
