"""What the commands need of others, as Protocols of the consumer; ``assembly`` passes in the real things."""

from collections.abc import AsyncIterable, AsyncIterator
from datetime import datetime
from typing import Protocol

from lambent.model.ids import Digest, Scope


class StoredPackage(Protocol):
    """A deployment package that passed every check and is durable."""

    @property
    def digest(self) -> Digest:
        """SHA-256 of the ZIP, in hex."""
        ...

    @property
    def sha256_base64(self) -> str:
        """The same as AWS shows it."""
        ...

    @property
    def zip_bytes(self) -> int:
        """Size as uploaded."""
        ...

    @property
    def unzipped_bytes(self) -> int:
        """Size of the tree."""
        ...


class PackageStore(Protocol):
    """Takes deployment packages in (``artifacts``)."""

    async def ingest(self, data: bytes | AsyncIterable[bytes], *, zipped_limit_bytes: int) -> StoredPackage:
        """Check and store a ZIP; durable on return. CallerError with AWS's text if it may not be."""
        ...


class ObjectSource(Protocol):
    """Reads objects of S3, wherever that is configured to be (``neighbours``)."""

    def fetch_object(self, bucket: str, key: str, version: str | None, scope: Scope) -> AsyncIterator[bytes]:
        """Yield an object's bytes. Raises ``model.errors.NeighbourRefusal`` with S3's code and message."""
        ...


class Sealer(Protocol):
    """Encrypts what may not lie in clear text on disk (``access``)."""

    def seal(self, clear: bytes, context: str) -> bytes:
        """Return ``clear`` encrypted; ``context`` must be the same when it is opened."""
        ...

    def open(self, sealed: bytes, context: str) -> bytes:
        """Return the clear text. HostError if key or context is another."""
        ...


class RuntimeRules(Protocol):
    """What the catalogue of runtimes says about an identifier (``runtimes``)."""

    def require_creatable(self, identifier: str, now: datetime) -> None:
        """Raise InvalidParameterValue with AWS's text for an unknown or blocked identifier."""
        ...

    def require_updatable(self, identifier: str, now: datetime) -> None:
        """The same for a function that exists already."""
        ...

    def version_arn(self, identifier: str, region: str) -> str:
        """Return the ARN of the runtime version that functions of ``identifier`` run on here."""
        ...


class LocationSigner(Protocol):
    """Makes ``Code.Location``: a URL of ours that gives the ZIP for ten minutes, to whoever has it."""

    def __call__(self, scope: Scope, name: str, digest: Digest, endpoint: str) -> str:
        """Return the URL, beneath ``endpoint``."""
        ...


class Applied(Protocol):
    """Tells when a committed change is in this process's own view of functions (``invoke``)."""

    async def __call__(self, key: str, rev: int) -> None:
        """Return once the view is at ``rev`` of ``key`` or beyond."""
        ...
