"""The store in memory: the same contract, for tests. Durable as long as the object."""

import asyncio
import builtins
import hashlib
import itertools
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from typing_extensions import override

from lambent.model.clock import Clock
from lambent.store.contract import (
    ABSENT,
    ANY,
    Change,
    Conflict,
    Corrupt,
    Cursor,
    Delete,
    Delivery,
    Depth,
    Doc,
    Enqueue,
    Entry,
    Expect,
    Fenced,
    Holding,
    Json,
    Missing,
    NotOwner,
    OpId,
    Page,
    Position,
    Put,
    QueueMessage,
    Slice,
    Usage,
    WatchLost,
)
from lambent.store.limits import (
    REMEMBERED_S,
    SLICE_LIMIT_BYTES,
    NewItem,
    Write,
    check_body,
    check_entries,
    check_key,
    check_prefix,
    decode_value,
    delay_us,
    encode_value,
    mono_us,
    now_us,
    prepare_messages,
    prepare_operations,
)
