"""What every engine refuses alike, and the form in which operations reach an engine: checked and encoded."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from lambent.model.clock import Clock
from lambent.store.contract import Delete, Enqueue, Entry, Expect, Json, Put, QueueMessage, TooLarge

KEY_LIMIT_BYTES: Final = 512
VALUE_LIMIT_BYTES: Final = 1024 * 1024
BODY_LIMIT_BYTES: Final = 2 * 1024 * 1024
DELAY_LIMIT_S: Final = 7 * 86_400
BATCH_LIMIT_OPERATIONS: Final = 1000
BATCH_LIMIT_BYTES: Final = 8 * 1024 * 1024
SLICE_LIMIT_BYTES: Final = 8 * 1024 * 1024
REMEMBERED_S: Final = 86_400  # how long the id of an item, or of a transaction, means the same one

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Write:
    """A document to write (or, with ``value`` None, to delete), encoded."""

    key: str
    value: bytes | None
    expect: int | Expect


@dataclass(frozen=True, slots=True)
class NewItem:
    """A message to store, checked."""

    queue: str
    body: bytes
    delay_us: int
    id: str | None
    group: str | None


def check_key(key: str) -> str:
    """Return ``key``; TooLarge where it cannot name anything in a store."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise TooLarge(f"name is not UTF-8: {key!r}") from None
    if not 0 < size <= KEY_LIMIT_BYTES or "\0" in key:
        raise TooLarge(f"a name has 1 to {KEY_LIMIT_BYTES} bytes and no NUL, this one {size}: {key[:80]!r}")
    return key


def check_prefix(prefix: str) -> str:
    """Return ``prefix``, which may also be empty."""
    return check_key(prefix) if prefix else prefix


def encode_value(value: Json) -> bytes:
    """Return ``value`` as JSON; TooLarge over 1 MiB, ValueError for what is not JSON."""
    encoded = msgspec.json.encode(value)
    if encoded == b"null":  # None, or a number that JSON does not have
        raise ValueError("a document's value is never null")
    if len(encoded) > VALUE_LIMIT_BYTES:
        raise TooLarge(f"a value has at most {VALUE_LIMIT_BYTES} bytes of JSON, this one {len(encoded)}")
    return encoded


def check_body(body: bytes) -> bytes:
    """Return ``body``; TooLarge over 2 MiB."""
    if len(body) > BODY_LIMIT_BYTES:
        raise TooLarge(f"a body has at most {BODY_LIMIT_BYTES} bytes, this one {len(body)}")
    return body


def delay_us(seconds: float) -> int:
    """Return a delay in microseconds; TooLarge over 7 days, ValueError below zero."""
    if not seconds >= 0:
        raise ValueError(f"a delay is not negative: {seconds}")
    if seconds > DELAY_LIMIT_S:
        raise TooLarge(f"a delay has at most {DELAY_LIMIT_S} s, this one {seconds}")
    return round(seconds * 1_000_000)


def prepare_messages(queue: str, messages: Sequence[QueueMessage]) -> list[NewItem]:
    """Return the messages checked, alone and as a batch."""
    check_key(queue)
    items = [_prepare_message(queue, message) for message in messages]
    check_batch(len(items), (len(item.body) for item in items))
    return items


def prepare_operations(ops: Sequence[Put | Delete | Enqueue]) -> list[Write | NewItem]:
    """Return the operations of a transaction checked, alone and together, and encoded."""
    prepared: list[Write | NewItem] = []
    for op in ops:
        match op:
            case Put(key, value, expect):
                prepared.append(Write(check_key(key), encode_value(value), expect))
            case Delete(key, expect):
                prepared.append(Write(check_key(key), None, expect))
            case Enqueue(queue, message):
                prepared.append(_prepare_message(check_key(queue), message))
    check_batch(len(prepared), (size_bytes(each) for each in prepared))
    return prepared


def size_bytes(op: Write | NewItem) -> int:
    """Return what an operation weighs in a batch."""
    return len(op.body) if isinstance(op, NewItem) else len(op.value or b"")


def check_entries(entries: Sequence[Entry]) -> int:
    """Return the bytes of a batch of stream entries, checked."""
    total = sum(len(check_body(entry.body)) for entry in entries)
    check_batch(len(entries), (total,))
    return total


def check_batch(count: int, sizes: Iterable[int]) -> None:
    """Raise TooLarge for more than 1,000 operations or 8 MiB."""
    if count > BATCH_LIMIT_OPERATIONS:
        raise TooLarge(f"a batch has at most {BATCH_LIMIT_OPERATIONS} operations, this one {count}")
    if (total := sum(sizes)) > BATCH_LIMIT_BYTES:
        raise TooLarge(f"a batch has at most {BATCH_LIMIT_BYTES} bytes, this one {total}")


def after_prefix(prefix: str) -> str | None:
    """Return the lowest string above all that begin with ``prefix``; None where there is none."""
    for index in range(len(prefix) - 1, -1, -1):
        if (code := ord(prefix[index])) < 0x10FFFF:
            # Surrogates are no characters: the one after U+D7FF is U+E000.
            return prefix[:index] + chr(0xE000 if code == 0xD7FF else code + 1)
    return None


def now_us(clock: Clock) -> int:
    """Return the clock's wall time in microseconds since 1970, exactly."""
    return (clock.now() - _EPOCH) // _MICROSECOND


def mono_us(clock: Clock) -> int:
    """Return the clock's monotonic time in microseconds."""
    return round(clock.mono_s() * 1_000_000)


def right_ends_mono_s(sent_mono_s: float, ttl_s: float) -> float:
    """Return until when, on its own monotonic clock, a holder may start something.

    It counts from the moment the request was *sent*, less 1 % (for clocks that run apart) and 1 s (for what it
    takes to stop), so that its right is over before the store gives it to somebody else.
    """
    return sent_mono_s + ttl_s * 0.99 - 1.0


def _prepare_message(queue: str, message: QueueMessage) -> NewItem:
    for name in (message.id, message.group):
        if name is not None:
            check_key(name)
    return NewItem(queue, check_body(message.body), delay_us(message.delay_s), message.id, message.group)
