"""What reconciling needs of others, as Protocols of the consumer; ``assembly`` passes in the real things."""

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from lambent.model.functions import FunctionVersion
from lambent.model.ids import Digest, FunctionArn, TreeName
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


class Kept(Protocol):
    """What there is of the environments that are kept ahead of a version's calls."""

    @property
    def ready(self) -> int:
        """How many are initialised."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether calls go to them: once all of them were there."""
        ...

    @property
    def failure(self) -> str | None:
        """Why there are no more."""
        ...


class Keeper(Protocol):
    """Keeps environments ahead of calls (``environment``)."""

    on_change: Callable[[], None]

    def keep(self, wanted: Mapping[FunctionArn, tuple[FunctionVersion, int]]) -> None:
        """Have so many of each version from now on, and none of any other."""
        ...

    def find(self, arn: FunctionArn) -> Kept:
        """Return what there is for a version now."""
        ...
