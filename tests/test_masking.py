"""Masking and incremental UTF-8: both twins, held to the same results and errors.

The twin in C is tested wherever it is built. Under CI=true it must be, unless
WEBSOCK_SPEEDUPS=skip says that this is the run without it.
"""

from __future__ import annotations

import array
import codecs
import importlib.util
import os
import sys
import tracemalloc
import types
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from websock import _masking

KEY = b"\x37\xfa\x21\x3d"


def load(wanted: str | None, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Another copy of the module, as it is with WEBSOCK_SPEEDUPS set to ``wanted``."""
    if wanted is None:
        monkeypatch.delenv("WEBSOCK_SPEEDUPS", raising=False)
    else:
        monkeypatch.setenv("WEBSOCK_SPEEDUPS", wanted)
    path = _masking.__file__
    spec = importlib.util.spec_from_file_location(f"websock._masking_{wanted}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_twins() -> dict[str, types.ModuleType]:
    """Both twins by name; the one in C only if it can be imported."""
    twins = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, wanted in (("python", "skip"), ("c", "require")):
            try:
                twins[name] = load(wanted, monkeypatch)
            except ImportError:
                assert name == "c"
    return twins


TWINS = load_twins()
NAMES = ["python", "c"]
if os.environ.get("WEBSOCK_SPEEDUPS") == "skip":
    NAMES.remove("c")


@pytest.fixture(params=NAMES)
def twin(request: pytest.FixtureRequest) -> types.ModuleType:
    """Module with one of the twins."""
    name: str = request.param
    if name not in TWINS:
        message = "the extension module isn't built"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return TWINS[name]


def reference_mask(data: bytes, key: bytes, offset: int) -> bytes:
    """RFC 6455, 5.3, as it is written there."""
    return bytes(octet ^ key[(index + offset) % 4] for index, octet in enumerate(data))


def outcome(function: Callable[..., bytes], *args: object) -> object:
    """What a call returns or raises, in a form that can be compared."""
    try:
        return function(*args)
    except UnicodeDecodeError as error:
        return error.args
    except ValueError as error:
        return str(error)
    except (TypeError, BufferError) as error:
        return type(error)


# Which twin is used


def test_the_variable_unset_takes_what_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The functions of the extension module replace those in Python."""
    extension = types.ModuleType("websock._speedups")
    extension.__dict__.update(apply_mask=bytes, check_utf8=bytes.strip)
    monkeypatch.setitem(sys.modules, "websock._speedups", extension)

    module = load(None, monkeypatch)

    assert module.SPEEDUPS is True
    assert module.apply_mask is bytes
    assert module.check_utf8 is bytes.strip


def test_without_the_extension_the_twin_in_python_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A package that was installed without a compiler works."""
    monkeypatch.setitem(sys.modules, "websock._speedups", None)

    module = load(None, monkeypatch)

    assert module.SPEEDUPS is False
    assert module.apply_mask(b"Hello", KEY) == b"\x7f\x9f\x4d\x51\x58"


def test_require_without_the_extension_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """WEBSOCK_SPEEDUPS=require makes a missing extension module an error."""
    monkeypatch.setitem(sys.modules, "websock._speedups", None)

    with pytest.raises(ImportError, match="install websock with a C compiler"):
        load("require", monkeypatch)


def test_skip_never_takes_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    """WEBSOCK_SPEEDUPS=skip keeps the functions in Python, whatever is installed."""
    extension = types.ModuleType("websock._speedups")
    monkeypatch.setitem(sys.modules, "websock._speedups", extension)

    module = load("skip", monkeypatch)

    assert module.SPEEDUPS is False
    assert module.apply_mask(b"Hello", KEY) == b"\x7f\x9f\x4d\x51\x58"


def test_another_value_of_the_variable_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slip such as WEBSOCK_SPEEDUPS=required doesn't pass for unset."""
    with pytest.raises(ImportError, match="'require', 'skip' or unset, not 'yes'"):
        load("yes", monkeypatch)


# Masking (RFC 6455, 5.3)


def test_the_frame_of_the_rfc(twin: types.ModuleType) -> None:
    """A masked "Hello", as RFC 6455 (5.7) has it."""
    assert twin.apply_mask(b"Hello", KEY) == b"\x7f\x9f\x4d\x51\x58"


@pytest.mark.parametrize("offset", range(5))
@pytest.mark.parametrize("alignment", range(9))
def test_every_size_alignment_and_offset(
    twin: types.ModuleType, alignment: int, offset: int
) -> None:
    """Masking octet by octet, wherever the data lies and the piece begins (5.3)."""
    source = memoryview(bytes(range(1, 256)) * 2)

    for size in (*range(140), 255, 256, 257):
        data = source[alignment : alignment + size]

        masked = twin.apply_mask(data, KEY, offset)

        assert masked == reference_mask(bytes(data), KEY, offset)
        assert type(masked) is bytes


@pytest.mark.parametrize("size", [1023, 1024, 1025, 65_537, 1_000_003])
def test_large_pieces(twin: types.ModuleType, size: int) -> None:
    """Sizes at which a twin may change its way."""
    data = bytes(range(251)) * (size // 251 + 1)

    masked = twin.apply_mask(data[:size], KEY, 3)

    assert len(masked) == size
    assert masked[:300] == reference_mask(data[:300], KEY, 3)
    assert masked[-300:] == reference_mask(data[:size], KEY, 3)[-300:]
    assert twin.apply_mask(masked, KEY, 3) == data[:size]


def test_pieces_unmask_as_the_whole_does(twin: types.ModuleType) -> None:
    """The offset of a piece is the number of bytes before it."""
    data = bytes(range(40))
    whole = twin.apply_mask(data, KEY)

    for cut in range(41):
        head = twin.apply_mask(data[:cut], KEY)
        assert head + twin.apply_mask(data[cut:], KEY, cut) == whole


@pytest.mark.parametrize("offset", [-1, -4, 2**31 + 1, 2**63 - 1, 2**64 + 3, -(2**70)])
def test_any_integer_is_an_offset(twin: types.ModuleType, offset: int) -> None:
    """Only the offset modulo 4 counts, as long as a payload may be."""
    assert twin.apply_mask(b"12345", KEY, offset) == reference_mask(
        b"12345", KEY, offset % 4
    )


@pytest.mark.parametrize("length", [0, 1, 3, 5, 8])
def test_a_key_of_another_length_is_refused(
    twin: types.ModuleType, length: int
) -> None:
    """A masking key has 32 bits (5.3)."""
    with pytest.raises(ValueError, match=f"must be 4 bytes, not {length}"):
        twin.apply_mask(b"data", bytes(length))


@pytest.mark.parametrize(
    "make",
    [
        bytes,
        bytearray,
        memoryview,
        lambda data: array.array("H", data),
        lambda data: memoryview(data).cast("I"),
        lambda data: memoryview(data).cast("B", (2, 4)),
    ],
    ids=["bytes", "bytearray", "memoryview", "array", "words", "matrix"],
)
def test_any_contiguous_buffer_will_do(
    twin: types.ModuleType, make: Callable[[bytes], bytes]
) -> None:
    """What has a contiguous buffer counts as its bytes, for every argument."""
    assert twin.apply_mask(make(b"abcdefgh"), KEY) == reference_mask(
        b"abcdefgh", KEY, 0
    )
    assert twin.apply_mask(make(b"abcdefgh"), memoryview(KEY)) == reference_mask(
        b"abcdefgh", KEY, 0
    )
    assert twin.check_utf8(make(b"abcdef\xf0\x90")) == b"\xf0\x90"
    assert twin.check_utf8(make(b"\x80efgh\xf0\x90\x80"), bytearray(b"\xc3")) == (
        b"\xf0\x90\x80"
    )


@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b""), array.array("B")])
def test_empty_data(twin: types.ModuleType, empty: bytes) -> None:
    """No data gives none, and leaves an incomplete character as it is."""
    assert twin.apply_mask(empty, KEY, 1) == b""
    assert twin.check_utf8(empty) == b""
    assert twin.check_utf8(empty, b"\xf0\x90") == b"\xf0\x90"


@pytest.mark.parametrize("function", ["apply_mask", "check_utf8"])
@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("text", KEY),
        (None, KEY),
        (4, KEY),
        (b"data", "1234"),
        (b"data", 4),
        (b"data", KEY, 1.5),
        (b"data", KEY, None),
        (b"data", KEY, 1, 2),
    ],
    ids=repr,
)
def test_wrong_arguments_are_type_errors(
    twin: types.ModuleType, function: str, wrong: tuple[object, ...]
) -> None:
    """No number passes for a buffer, no float for an offset."""
    with pytest.raises(TypeError):
        getattr(twin, function)(*wrong)


def test_a_buffer_with_gaps_is_refused(twin: types.ModuleType) -> None:
    """Only contiguous data can be read without a copy."""
    gaps = memoryview(b"abcdefgh")[::2]

    with pytest.raises(BufferError):
        twin.apply_mask(gaps, KEY)
    with pytest.raises(BufferError):
        twin.apply_mask(b"data", gaps)
    with pytest.raises(BufferError):
        twin.check_utf8(gaps)
    with pytest.raises(BufferError):
        twin.check_utf8(b"data", gaps[:2])


@given(
    data=st.binary(max_size=200),
    key=st.binary(max_size=6) | st.binary(min_size=4, max_size=4),
    offset=st.integers(),
)
def test_the_twins_mask_alike(data: bytes, key: bytes, offset: int) -> None:
    """Whatever the arguments, results and errors are those of the RFC's formula."""
    outcomes = {
        repr(outcome(twin.apply_mask, data, key, offset)) for twin in TWINS.values()
    }

    assert len(outcomes) == 1
    if len(key) == 4:
        assert outcomes == {repr(reference_mask(data, key, offset))}


# UTF-8 (RFC 3629; RFC 6455, 8.1)

FAULTS = {
    # hex of the text, up to the first byte that can't be right: index of its start
    "80": 0,
    "bf": 0,
    "c0": 0,
    "c1": 0,
    "c27f": 0,
    "c2c2": 0,
    "e09f": 0,
    "e0a07f": 0,
    "e180c0": 0,
    "e1e1": 0,
    "eda0": 0,
    "edbf": 0,
    "eec0": 0,
    "f08f": 0,
    "f0907f": 0,
    "f09080c0": 0,
    "f490": 0,
    "f48fbf7f": 0,
    "f5": 0,
    "f8": 0,
    "fe": 0,
    "ff": 0,
    "61ff": 1,
    "c3a9eda0": 2,
}
BORDERS = ["\0", "\x7f", "\x80", "߿", "ࠀ", "\ud7ff", "\ue000", "\uffff"]
BORDERS += ["\U00010000", "\U0003ffff", "\U00040000", "\U000fffff", "\U00100000"]
BORDERS += ["\U0010ffff", "é", "€", "日本語", "𝄞", "κόσμε"]


@pytest.mark.parametrize(("text", "start"), FAULTS.items())
def test_the_first_impossible_byte_fails(
    twin: types.ModuleType, text: str, start: int
) -> None:
    """A fault shows at its byte, however the text is cut, and not before (8.1)."""
    data = bytes.fromhex(text)

    for prefix in (b"", b"x" * 40, "ü".encode() * 20):
        with pytest.raises(UnicodeDecodeError) as caught:
            twin.check_utf8(prefix + data)
        assert caught.value.start == len(prefix) + start
        assert caught.value.object == prefix + data
        with pytest.raises(UnicodeDecodeError):
            twin.check_utf8(prefix + data + b"\x80 and more text behind it")
    pending = b""
    for octet in data[:-1]:
        pending = twin.check_utf8(bytes([octet]), pending)
    with pytest.raises(UnicodeDecodeError) as caught:
        twin.check_utf8(data[-1:], pending)
    assert caught.value.start == 0
    assert caught.value.object == pending + data[-1:]


@pytest.mark.parametrize("text", BORDERS)
def test_characters_may_be_cut_anywhere(twin: types.ModuleType, text: str) -> None:
    """A code point may be split over fragments and reads (8.1)."""
    data = f"a{text}b".encode()

    for first in range(len(data) + 1):
        for second in range(first, len(data) + 1):
            pending = b""
            seen = b""
            for piece in (data[:first], data[first:second], data[second:]):
                pending = twin.check_utf8(piece, pending)
                seen += piece
                assert len(pending) <= 3
                assert seen.endswith(pending)
                assert (seen[: len(seen) - len(pending)]).decode() is not None
            assert pending == b""


@pytest.mark.parametrize("alignment", range(17))
def test_a_fault_is_found_at_every_place(
    twin: types.ModuleType, alignment: int
) -> None:
    """Sixteen bytes at a time must not step over one."""
    for place in range(50):
        data = bytearray(b"." * (alignment + 50))
        data[alignment + place] = 0xFF
        with pytest.raises(UnicodeDecodeError) as caught:
            twin.check_utf8(memoryview(data)[alignment:])
        assert caught.value.start == place


def test_a_pending_that_no_call_returned_is_part_of_the_text(
    twin: types.ModuleType,
) -> None:
    """Whole characters in it are validated, faults in it are found."""
    assert twin.check_utf8(b"bc", b"a") == b""
    assert twin.check_utf8(b"\xa9\xe2", b"ab\xc3") == b"\xe2"
    assert twin.check_utf8(b"\x82", b"ab\xe2") == b"\xe2\x82"
    with pytest.raises(UnicodeDecodeError) as caught:
        twin.check_utf8(b"more", b"a\xff")
    assert caught.value.start == 1


def test_a_pending_of_four_bytes_is_refused(twin: types.ModuleType) -> None:
    """No incomplete character is that long."""
    with pytest.raises(ValueError, match="at most 3 bytes, not 4"):
        twin.check_utf8(b"", b"abcd")


texts = st.binary(max_size=60) | st.text(max_size=30).map(str.encode)
OCTETS = b"\x00\x41\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\xee"
OCTETS += b"\xef\xf0\xf1\xf3\xf4\xf5\xff"
texts |= st.lists(st.sampled_from(OCTETS), max_size=24).map(bytes)


@given(data=texts, pending=texts)
def test_the_twins_validate_alike(data: bytes, pending: bytes) -> None:
    """Results, positions and reasons are the same, whatever the bytes."""
    for before in (b"", pending[:2], pending):
        outcomes = {
            repr(outcome(twin.check_utf8, data, before)) for twin in TWINS.values()
        }
        assert len(outcomes) == 1


@given(data=texts)
def test_pieces_are_valid_if_the_whole_is(data: bytes) -> None:
    """Validating byte by byte accepts what the decoder accepts, and nothing else."""
    try:
        data.decode()
        expected = True
    except UnicodeDecodeError:
        expected = False

    for twin in TWINS.values():
        pending: bytes | None = b""
        try:
            for octet in data:
                pending = twin.check_utf8(bytes([octet]), pending)
        except UnicodeDecodeError:
            pending = None
        assert (pending == b"") is expected


def test_every_pair_of_bytes(twin: types.ModuleType) -> None:
    """All sequences of two bytes, against the decoder of Python, and surrogates."""
    decode = codecs.utf_8_decode
    for number in range(65536):
        data = number.to_bytes(2, "big")
        try:
            expected: object = data[decode(data, "strict", False)[1] :]
        except UnicodeDecodeError as error:
            expected = error.args
        if data[0] == 0xED and data[1] >= 0xA0:
            expected = ("utf-8", data, 0, 1, "invalid continuation byte")
        assert outcome(twin.check_utf8, data) == expected


# What the twin in C must take care of


def test_buffers_are_released(twin: types.ModuleType) -> None:
    """A bytearray can be resized after every call, also one that fails."""
    data = bytearray(b"\xe2\x82\xac" * 10)
    key = bytearray(KEY)
    tail = bytearray(b"\xff")

    twin.apply_mask(data, key)
    outcome(twin.apply_mask, data, key[:3])
    outcome(twin.apply_mask, data, key, "no offset")
    outcome(twin.apply_mask, data, "no key")
    twin.check_utf8(data)
    outcome(twin.check_utf8, data, tail)
    outcome(twin.check_utf8, data, "no bytes")
    outcome(twin.check_utf8, tail)

    for buffer in (data, key, tail):
        buffer.append(0)


def test_no_call_leaks(twin: types.ModuleType) -> None:
    """Memory doesn't grow with the number of calls."""
    data = bytearray(b"x" * 10_000 + b"\xed\xa0")

    def calls(count: int) -> None:
        for _ in range(count):
            outcome(twin.apply_mask, data, KEY, 2)
            outcome(twin.apply_mask, data, b"")
            outcome(twin.apply_mask, data, KEY, None)
            outcome(twin.check_utf8, data)
            outcome(twin.check_utf8, data, b"\xe2\x82")
            outcome(twin.check_utf8, data[:-2], b"\xe2\x82")
            outcome(twin.check_utf8, b"\xac" + data[:-1], b"\xe2\x82")
            outcome(twin.check_utf8, data, b"\xe2\x82...")

    calls(10)
    tracemalloc.start()
    try:
        calls(10)
        before = tracemalloc.get_traced_memory()[0]
        calls(200)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    # One leaked object per call would be 1,600 of them.
    assert grown < 20_000
