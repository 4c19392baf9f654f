"""The function that is measured everywhere, and where downloads are kept between runs."""

import io
import os
import sys
import zipfile
from pathlib import Path

RUNTIME = f"python3.{sys.version_info.minor}"
HANDLER = "app.handler"
SOURCE = "def handler(event, context):\n    return event\n"
EVENT = b'{"key1": "value1", "key2": "value2"}'
MEMORY_MIB = 1769  # one vCPU
ROLE = "arn:aws:iam::000000000000:role/benchmark"


def package() -> bytes:
    """Return the function's ZIP."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        entry = zipfile.ZipInfo("app.py", (2026, 1, 1, 0, 0, 0))
        entry.external_attr = 0o100644 << 16
        file.writestr(entry, SOURCE)
    return buffer.getvalue()


def caches() -> Path:
    """Return the directory of downloads, as the tests use it."""
    return Path(os.environ.get("LAMBENT_TEST_CACHE") or Path(__file__).parents[1] / ".cache")
