def apply_mask(
    data: bytes | bytearray | memoryview,
    masking_key: bytes | bytearray | memoryview,
    offset: int = 0,
    /,
) -> bytes: ...
def check_utf8(
    data: bytes | bytearray | memoryview,
    pending: bytes | bytearray | memoryview = b"",
    /,
) -> bytes: ...
