"""What reconciling needs of others, as Protocols of the consumer; ``assembly`` passes in the real things."""

from collections.abc import Collection
from typing import Protocol

from lambent.model.ids import Digest, TreeName
from lambent.model.interpreters import PythonTarget


class CodeTrees(Protocol):
    """Unpacked packages by digest (``artifacts``)."""

    async def ensure_tree(self, digest: Digest) -> TreeName:
        """Unpack the package if need be."""
        ...

    async def ensure_bytecode(self, digest: Digest, python: PythonTarget) -> TreeName | None:
        """Compile the package for ``python`` if need be."""
        ...

    async def collect(self, keep: Collection[Digest]) -> int:
        """Delete what is neither in ``keep``, nor in use, nor young; return how many packages went."""
        ...


class PreparedRuntime(Protocol):
    """A runtime that can be started on this host."""

    @property
    def python(self) -> PythonTarget | None:
        """The Python to compile for; None for another language."""
        ...

    def version_arn(self, region: str) -> str:
        """Return what RuntimeVersionConfig shows."""
        ...


class RuntimeStock(Protocol):
    """Gets runtimes ready (``runtimes``)."""

    async def prepare(self, identifier: str, architecture: str) -> PreparedRuntime:
        """Return the runtime once it can be started here; HostError says in words why it cannot, and what to do."""
        ...


class Visible(Protocol):
    """Tells when a status is in the data plane's view (``invoke``)."""

    async def __call__(self, key: str, rev: int) -> None:
        """Return once every live view is at ``rev`` of ``key`` or beyond."""
        ...
