"""The function that is measured everywhere, and where downloads are kept between runs."""

import io
import os
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

RUNTIME = f"python3.{sys.version_info.minor}"
HANDLER = "app.handler"
SOURCE = "def handler(event, context):\n    return event\n"
EVENT = b'{"key1": "value1", "key2": "value2"}'
MEMORY_MIB = 1769  # one vCPU
ROLE = "arn:aws:iam::000000000000:role/benchmark"


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a function is made of."""

    title: str
    source: str
    runtime: str = RUNTIME
    handler: str = HANDLER
    file: str = "app.py"
    variables: tuple[tuple[str, str], ...] = ()

    def package(self) -> bytes:
        """Return the function's ZIP."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            entry = zipfile.ZipInfo(self.file, (2026, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            file.writestr(entry, self.source)
        return buffer.getvalue()


PLAIN = Deployment("plain", SOURCE)
HEAVY = Deployment("heavy", f'import boto3\n\nclient = boto3.client("s3")\n\n\n{SOURCE}')
NODE = Deployment("node", "exports.handler = async (event) => event;\n", "nodejs20.x", "index.handler", "index.js")
# With a variable that acts before the start no environment is born from a prepared sandbox.
_ACTS_BEFORE = (("MALLOC_ARENA_MAX", "8"),)
EARLY = replace(PLAIN, title="early", variables=_ACTS_BEFORE)
EARLY_NODE = replace(NODE, title="early-node", variables=_ACTS_BEFORE)


def caches() -> Path:
    """Return the directory of downloads, as the tests use it."""
    return Path(os.environ.get("LAMBENT_TEST_CACHE") or Path(__file__).parents[1] / ".cache")
