"""Messages over pipes: eight bytes of length, then JSON. Reads exactly one message, so that a fork can read the next."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

LENGTH = struct.Struct("<Q")
LONGEST = 256 << 20  # bytes; a length beyond it is no length


def send(descriptor: int, message: Any) -> None:
    """Raises BrokenPipeError where nobody reads any more."""
    data = json.dumps(message).encode()
    data = memoryview(LENGTH.pack(len(data)) + data)
    while data:
        data = data[os.write(descriptor, data) :]


def receive(descriptor: int, longest: int = LONGEST) -> Any:
    """The next message.

    Raises:
        EOFError: the other side is gone.
        ValueError: what came is no message, or one of more than `longest` bytes.
    """
    [length] = LENGTH.unpack(read(descriptor, LENGTH.size))
    if length > longest:
        raise ValueError(f"a message of {length} bytes")
    return json.loads(read(descriptor, length))


def read(descriptor: int, size: int) -> bytes:
    parts = []
    while size:
        part = os.read(descriptor, min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
