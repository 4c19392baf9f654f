"""The ZIP format as data: which files an archive declares, checked before one byte of them is written.

Nothing in an archive is believed: names stay inside, entries do not overlap, sizes are what they say. Compression
methods are stored and deflate. Source: PKWARE's APPNOTE 6.3.10. Writing files is ``unpack``'s work.
"""

import os
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from typing import Final

MAX_ENTRIES: Final = 200_000  # AWS names no limit; at ~100 bytes an entry this is 20 MB of directory
MAX_DEPTH: Final = 128
MAX_LINK_BYTES: Final = 4095
_MAX_DIRECTORY_BYTES: Final = 64 * 1024 * 1024
_CHUNK_BYTES: Final = 256 * 1024

_END: Final = struct.Struct("<4s4H2LH")
_END64_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_EARLIEST_S: Final = 315_532_800  # 1980-01-01, the first instant that DOS time can say


class BadZip(Exception):
    """The archive cannot be unpacked; the text says why, for our own log."""


class Kind(StrEnum):
    """What an entry becomes on disk."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"


_UNIX: Final = (3, 19)  # Unix, macOS; archives made elsewhere (0: DOS and Windows) carry no Unix mode
_KINDS: Final = {0: None, stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFLNK: Kind.LINK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of an archive. ``parts`` is never empty and has no ``.``, ``..``, empty or NUL-bearing part."""

    parts: tuple[bytes, ...]
    kind: Kind
    mode: int  # permission bits
    modified_s: int  # Unix time
    size_bytes: int
    packed_bytes: int
    crc: int
    is_deflated: bool
    data_at: int  # offset of the packed bytes


def read_entries(fd: int) -> list[Entry]:
    """Return the members of the archive in ``fd``, or raise BadZip. Later entries of one name replace earlier ones."""
    size = os.fstat(fd).st_size
    count, directory, directory_at, shift = _read_directory(fd, size)
    if count > MAX_ENTRIES:
        raise BadZip(f"{count} entries")
    spans: list[tuple[int, int]] = []
    entries: dict[tuple[bytes, ...], Entry] = {}
    position = 0
    for _ in range(count):
        entry, span, position = _parse_member(fd, directory, position, shift)
        spans.append(span)
        if entry is not None:
            entries[entry.parts] = entry
    _require_apart(spans, directory_at)
    found = list(entries.values())
    _require_a_tree(found)
    return found


def read_content(fd: int, entry: Entry) -> Iterator[bytes]:
    """Yield the unpacked bytes of ``entry``; BadZip when length or checksum are not as declared."""
    packed = _read_span(fd, entry.data_at, entry.packed_bytes)
    produced, crc = 0, 0
    for chunk in _inflate(packed) if entry.is_deflated else packed:
        produced += len(chunk)
        if produced > entry.size_bytes:
            raise BadZip("an entry is longer than it says")
        crc = zlib.crc32(chunk, crc)
        yield chunk
    if produced != entry.size_bytes or crc != entry.crc:
        raise BadZip("length or checksum differ")


def _read_span(fd: int, position: int, length: int) -> Iterator[bytes]:
    while length:
        chunk = os.pread(fd, min(length, _CHUNK_BYTES), position)
        if not chunk:
            raise BadZip("data ends early")
        position, length = position + len(chunk), length - len(chunk)
        yield chunk


def _inflate(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Yield unpacked bytes in bounded chunks; input behind the end of the stream is ignored."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    pending = b""
    while not stream.eof:
        pending = pending or next(packed, b"")
        try:
            chunk = stream.decompress(pending, _CHUNK_BYTES)
        except zlib.error as error:
            raise BadZip(str(error)) from error
        if not pending and not chunk and not stream.eof:
            raise BadZip("data ends early")
        pending = stream.unconsumed_tail
        if chunk:
            yield chunk


def _read_directory(fd: int, size: int) -> tuple[int, bytes, int, int]:
    """Return number of entries, the central directory, its true offset and what must be added to declared offsets."""
    tail_at = max(0, size - (1 << 16) - _END.size)
    tail = os.pread(fd, size - tail_at, tail_at)
    found = tail.rfind(b"PK\x05\x06")
    while found >= 0 and len(tail) - found < _END.size:
        found = tail.rfind(b"PK\x05\x06", 0, found)
    if found < 0:
        raise BadZip("no end record")
    _, disk, start_disk, count_here, count, length, offset, _ = _END.unpack_from(tail, found)
    end_at = tail_at + found
    if disk or start_disk or count_here != count:
        raise BadZip("more than one volume")
    if count == 0xFFFF or 0xFFFFFFFF in (length, offset):
        count, length, offset, end_at = _read_end64(fd, end_at, (count, length, offset))
    directory_at = end_at - length
    shift = directory_at - offset  # bytes before the archive: a shebang line, a self-extracting stub
    if directory_at < 0 or shift < 0 or length > _MAX_DIRECTORY_BYTES:
        raise BadZip("no room for the central directory")
    return count, os.pread(fd, length, directory_at), directory_at, shift


def _read_end64(fd: int, end_at: int, plain: tuple[int, int, int]) -> tuple[int, int, int, int]:
    locator = os.pread(fd, _END64_LOCATOR.size, max(0, end_at - _END64_LOCATOR.size))
    if len(locator) < _END64_LOCATOR.size or locator[:4] != b"PK\x06\x07":
        return (*plain, end_at)  # exactly 65,535 entries need no zip64
    # The record stands right before its locator; its declared offset misleads when bytes precede the archive.
    record_at = end_at - _END64_LOCATOR.size - _END64.size
    record = os.pread(fd, _END64.size, max(0, record_at))
    if len(record) < _END64.size or record[:4] != b"PK\x06\x06":
        raise BadZip("no zip64 end record")
    *_, disk, start_disk, count_here, count, length, offset = _END64.unpack(record)
    if disk or start_disk or count_here != count:
        raise BadZip("more than one volume")
    return count, length, offset, record_at


def _parse_member(fd: int, directory: bytes, position: int, shift: int) -> tuple[Entry | None, tuple[int, int], int]:
    if len(directory) - position < _CENTRAL.size or directory[position : position + 4] != b"PK\x01\x02":
        raise BadZip("central directory ends early")
    fields = _CENTRAL.unpack_from(directory, position)
    (
        _,
        made_by,
        _,
        flags,
        method,
        time,
        date,
        crc,
        packed,
        size,
        name_n,
        extra_n,
        comment_n,
        disk,
        _,
        attributes,
        at,
    ) = fields
    name_at = position + _CENTRAL.size
    after = name_at + name_n + extra_n + comment_n
    if after > len(directory):
        raise BadZip("central directory ends early")
    name = directory[name_at : name_at + name_n]
    extras = _parse_extras(directory[name_at + name_n : name_at + name_n + extra_n])
    size, packed, at = _apply_zip64(extras.get(0x0001, b""), size, packed, at)
    if flags & 0x2061 or method not in (0, 8) or disk not in (0, 0xFFFF):
        raise BadZip("encrypted, or packed by another method")
    if method == 0 and size != packed:
        raise BadZip("a stored entry has two sizes")
    kind, mode = _decide_kind(made_by >> 8, attributes, name)
    if kind is not Kind.FILE and size > (MAX_LINK_BYTES if kind is Kind.LINK else 0):
        raise BadZip("a directory with content, or a long link")
    data_at = _find_data(fd, at + shift)
    span = (at + shift, data_at + packed)
    parts = _split_name(_decode_name(name, flags, made_by >> 8))
    if not parts:
        if kind is Kind.DIRECTORY:
            return None, span, after  # "./" names the root itself
        raise BadZip("an entry without a name")
    entry = Entry(
        parts=parts, kind=kind, mode=mode, modified_s=_decide_mtime(extras, date, time), size_bytes=size,
        packed_bytes=packed, crc=crc, is_deflated=method == 8, data_at=data_at,
    )  # fmt: skip
    return entry, span, after


def _parse_extras(extra: bytes) -> dict[int, bytes]:
    extras: dict[int, bytes] = {}
    position = 0
    while position + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, position)
        extras.setdefault(tag, extra[position + 4 : position + 4 + length])
        position += 4 + length
    return extras


def _apply_zip64(extra: bytes, size: int, packed: int, at: int) -> tuple[int, int, int]:
    values = [size, packed, at]
    position = 0
    for index, value in enumerate(values):
        if value == 0xFFFFFFFF and extra:
            if position + 8 > len(extra):
                raise BadZip("zip64 field too short")
            (values[index],) = struct.unpack_from("<Q", extra, position)
            position += 8
    return values[0], values[1], values[2]


def _find_data(fd: int, header_at: int) -> int:
    header = os.pread(fd, _LOCAL.size, header_at) if header_at < 1 << 62 else b""
    if len(header) < _LOCAL.size or header[:4] != b"PK\x03\x04":
        raise BadZip("no local header")
    *_, name_n, extra_n = _LOCAL.unpack(header)
    return int(header_at + _LOCAL.size + name_n + extra_n)


def _decide_kind(made_on: int, attributes: int, name: bytes) -> tuple[Kind, int]:
    """Return what the entry is and its permission bits."""
    is_unix = made_on in _UNIX
    mode = attributes >> 16 if is_unix else 0
    names_directory = name.endswith(b"/") or (not is_unix and bool(attributes & 0x10))
    if stat.S_IFMT(mode) not in _KINDS:
        raise BadZip("a device, pipe or socket")
    kind = _KINDS[stat.S_IFMT(mode)] or (Kind.DIRECTORY if names_directory else Kind.FILE)
    if names_directory and kind is not Kind.DIRECTORY:
        raise BadZip("a directory's name on something else")
    if not is_unix or (kind is Kind.DIRECTORY and not mode & 0o777):
        return kind, 0o755 if kind is Kind.DIRECTORY else 0o644
    # Developer guide, "Troubleshoot deployment issues", permission denied: modes are the archive's own. Bits that let
    # other users of this host write, or that change identity, are not kept.
    return kind, mode & 0o755


def _decode_name(name: bytes, flags: int, made_on: int) -> bytes:
    if flags & 0x800:
        try:
            name.decode()
        except UnicodeDecodeError as error:
            raise BadZip("a name is not UTF-8") from error
        return name
    return name if made_on in _UNIX else name.decode("cp437").encode()


def _split_name(name: bytes) -> tuple[bytes, ...]:
    """Return the parts of a relative path that stays inside, or raise BadZip."""
    seen_by_windows = name.replace(b"\\", b"/")
    is_absolute = seen_by_windows.startswith(b"/") or seen_by_windows[1:2] == b":"
    if b"\0" in name or is_absolute or b".." in seen_by_windows.split(b"/"):
        raise BadZip("a name leads out")
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if len(name) > 4000 or len(parts) > MAX_DEPTH or any(len(part) > 255 for part in parts):
        raise BadZip("a name is too long")
    return parts


def _decide_mtime(extras: dict[int, bytes], date: int, time: int) -> int:
    """Return the extended timestamp if there is one, else DOS time read as UTC."""
    extended = extras.get(0x5455, b"")
    if len(extended) >= 5 and extended[0] & 1:
        return max(0, int(struct.unpack_from("<i", extended, 1)[0]))
    try:
        moment = datetime(
            1980 + (date >> 9), date >> 5 & 15, date & 31, time >> 11, time >> 5 & 63, (time & 31) * 2, tzinfo=UTC
        )
    except ValueError:
        return _EARLIEST_S
    return int(moment.timestamp())


def _require_apart(spans: list[tuple[int, int]], directory_at: int) -> None:
    """Refuse members that share bytes: the densest archive bombs are made of such."""
    ordered = [*sorted(spans), (directory_at, directory_at)]
    if any(end > start for (_, end), (start, _) in pairwise(ordered)):
        raise BadZip("entries overlap")


def _require_a_tree(entries: list[Entry]) -> None:
    """Refuse an archive in which something lies beneath a file or a link."""
    leaves = {entry.parts for entry in entries if entry.kind is not Kind.DIRECTORY}
    for entry in entries:
        if any(entry.parts[:depth] in leaves for depth in range(1, len(entry.parts))):
            raise BadZip("an entry lies beneath a file")
