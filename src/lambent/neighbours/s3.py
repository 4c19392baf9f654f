"""Objects of S3, read piece by piece from wherever S3 is configured to be.

Each read runs on a thread; one piece is in memory at a time, and the next is read when the reader asks for it.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

from lambent.model.errors import NeighbourRefusal
from lambent.model.ids import Scope
from lambent.neighbours.clients import NeighbourClients

PIECE_BYTES: Final = 256 * 1024
OBJECT_LIMIT_BYTES: Final = 512 * 1024 * 1024  # more than any package may have: a ZIP of 250 MB and then some


class ObjectFetcher:
    """Reads objects."""

    def __init__(self, clients: NeighbourClients, *, object_limit_bytes: int = OBJECT_LIMIT_BYTES) -> None:
        self._clients = clients
        self._limit_bytes = object_limit_bytes

    async def fetch_object(self, bucket: str, key: str, version: str | None, scope: Scope) -> AsyncIterator[bytes]:
        """Yield an object's bytes in pieces of at most ``PIECE_BYTES``.

        Raises NeighbourRefusal with S3's code and message, also for what S3 would not say: no answer at all, an
        object over the limit, S3 being off. A connection that breaks in the middle is refused, never cut short.
        """
        arguments = {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}
        answer = await self._clients.call("s3", "get_object", scope, arguments)
        body: Any = answer["Body"]
        try:
            self._require_size(answer.get("ContentLength") or 0)
            received = 0
            while piece := await self._clients.run("s3", lambda: _read(body)):
                received += len(piece)
                self._require_size(received)
                yield piece
        finally:
            body.close()

    def _require_size(self, size: int) -> None:
        if size > self._limit_bytes:
            raise NeighbourRefusal("EntityTooLarge", f"The object is larger than {self._limit_bytes} bytes")


def _read(body: Any) -> bytes:
    piece: bytes = body.read(PIECE_BYTES)
    return piece
