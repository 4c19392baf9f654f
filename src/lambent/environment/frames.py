"""The framed log of descriptor 62: AWS's runtimes write whole messages, with level and time, into it.

A frame is four bytes of type, four of length, eight of microseconds since the epoch, big endian, then the message.
The writer is the function: nothing here grows by what a frame says of its length, and nothing raises.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# Recorded in the official runtime clients: 0xA55A0002 JSON, 0xA55A0003 text, with bits of the level in between.
_MAGIC: Final = 0xA55A0000
_MAGIC_MASK: Final = 0xFFFFFFE0
_KIND_MASK: Final = 0x03
_LEVEL_MASK: Final = 0x1C
_JSON_KIND: Final = 0x02
_TEXT_KIND: Final = 0x03
_LEVELS: Final = {0x04: "TRACE", 0x08: "DEBUG", 0x0C: "INFO", 0x10: "WARN", 0x14: "ERROR", 0x18: "FATAL"}
_HEADER: Final = struct.Struct(">IIQ")


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. ``at_us`` is what the function says; None for bytes that came without a valid frame."""

    message: bytes
    at_us: int | None = None
    level: str | None = None


class FrameReader:
    """Cuts a stream into frames. A message over ``limit_bytes`` comes in pieces; after nonsense all is raw lines."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()
        self._remaining_bytes = 0  # of the message that is being read
        self._at_us: int | None = None
        self._level: str | None = None
        self.is_broken = False

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield what ``chunk`` completes."""
        self._buffer += chunk
        while not self.is_broken:
            if self._remaining_bytes:
                wanted = min(self._remaining_bytes, self._limit_bytes)
                if len(self._buffer) < wanted:
                    return
                yield self._take(wanted)
            elif len(self._buffer) < _HEADER.size:
                return
            else:
                self._take_header()
        if self._buffer:
            yield Frame(bytes(self._buffer))
            self._buffer.clear()

    def flush(self) -> Iterator[Frame]:
        """Yield what is left of a message that was not finished."""
        if self._remaining_bytes and self._buffer:
            yield self._take(len(self._buffer))
        self._buffer.clear()
        self._remaining_bytes = 0

    def _take(self, size: int) -> Frame:
        frame = Frame(bytes(self._buffer[:size]), self._at_us, self._level)
        del self._buffer[:size]
        self._remaining_bytes -= size
        return frame

    def _take_header(self) -> None:
        kind, length, at_us = _HEADER.unpack_from(self._buffer)
        if kind & _MAGIC_MASK != _MAGIC or kind & _KIND_MASK not in (_JSON_KIND, _TEXT_KIND):
            self.is_broken = True
            return
        del self._buffer[: _HEADER.size]
        self._remaining_bytes, self._at_us, self._level = length, at_us, _LEVELS.get(kind & _LEVEL_MASK)
