"""The X-Ray trace header of an invocation that no door gave one."""

import os
import zlib
from datetime import datetime

from lambent.model.functions import FunctionVersion


def new_trace_header(version: FunctionVersion, now: datetime) -> str:
    """Return an unsampled header with a root of its own."""
    # Recorded from AWS: Root=1-<8 hex of time>-<24 hex>;Parent=<16 hex>;Sampled=0;Lineage=1:<8 hex>:0.
    lineage = zlib.crc32(version.name.encode())
    return (
        f"Root=1-{int(now.timestamp()):08x}-{os.urandom(12).hex()};Parent={os.urandom(8).hex()};Sampled=0"
        f";Lineage=1:{lineage:08x}:0"
    )
