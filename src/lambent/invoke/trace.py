"""The X-Ray trace header that an invocation carries: given by the caller, completed, or made."""

import os
import zlib
from datetime import datetime

from lambent.model.functions import FunctionVersion


def complete_trace_header(given: str | None, version: FunctionVersion, now: datetime) -> str:
    """Return the header that the function sees and the answer shows: what the caller gave, and what it lacked."""
    # Recorded from AWS: Root=1-<8 hex of time>-<24 hex>;Parent=<16 hex>;Sampled=0;Lineage=1:<8 hex>:0.
    if given and "Root=" in given and "Parent=" in given and "Sampled=" in given and "Lineage=" in given:
        return given
    fields = dict(part.strip().split("=", 1) for part in (given or "").split(";") if "=" in part)
    if "Root" not in fields:
        fields = {"Root": f"1-{int(now.timestamp()):08x}-{os.urandom(12).hex()}", **fields}
    fields.setdefault("Parent", os.urandom(8).hex())
    fields.setdefault("Sampled", "0")
    fields.setdefault("Lineage", f"1:{zlib.crc32(version.name.encode()):08x}:0")
    return ";".join(f"{name}={value}" for name, value in fields.items())
