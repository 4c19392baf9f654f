"""Objects of S3, read piece by piece from wherever S3 is configured to be.

botocore blocks, so each read runs on a thread; one piece is in memory at a time, and the next is read when the
reader asks for it.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lambent.model.errors import NeighbourRefusal
from lambent.model.ids import Scope
from lambent.neighbours.catalogue import At, Catalogue, NeighbourOff

PIECE_BYTES: Final = 256 * 1024
OBJECT_LIMIT_BYTES: Final = 512 * 1024 * 1024  # more than any package may have: a ZIP of 250 MB and then some
CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 30
THREADS: Final = 4  # objects that are read at the same time
CLIENTS_LIMIT: Final = 16  # kept; making one takes a tenth of a second

# botocore's session variables: (configuration key, environment variable, default, conversion).
_NO_CONFIGURATION: Final = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}

_T = TypeVar("_T")


class ObjectFetcher:
    """Reads objects. ``close`` ends its threads."""

    def __init__(self, catalogue: Catalogue, *, object_limit_bytes: int = OBJECT_LIMIT_BYTES) -> None:
        self._catalogue = catalogue
        self._limit_bytes = object_limit_bytes
        self._threads = ThreadPoolExecutor(THREADS, "lambent-s3")
        self._clients: dict[Scope, Any] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the threads; a read that is under way ends first."""
        self._threads.shutdown()

    async def fetch_object(self, bucket: str, key: str, version: str | None, scope: Scope) -> AsyncIterator[bytes]:
        """Yield an object's bytes in pieces of at most ``PIECE_BYTES``.

        Raises NeighbourRefusal with S3's code and message, also for what S3 would not say: no answer at all, an
        object over the limit, S3 being off. A connection that breaks in the middle is refused, never cut short.
        """
        answer = await self._run(lambda: self._open(bucket, key, version, scope))
        body: Any = answer["Body"]
        try:
            self._require_size(answer.get("ContentLength") or 0)
            received = 0
            while piece := await self._run(lambda: _read(body)):
                received += len(piece)
                self._require_size(received)
                yield piece
        finally:
            body.close()

    def _require_size(self, size: int) -> None:
        if size > self._limit_bytes:
            raise NeighbourRefusal("EntityTooLarge", f"The object is larger than {self._limit_bytes} bytes")

    def _open(self, bucket: str, key: str, version: str | None, scope: Scope) -> Any:
        with _refusals():
            client = self._client(scope)
            arguments = {"Bucket": bucket, "Key": key, **({"VersionId": version} if version else {})}
            return client.get_object(**arguments)

    def _client(self, scope: Scope) -> Any:
        with self._lock:
            if scope not in self._clients:
                if len(self._clients) >= CLIENTS_LIMIT:
                    self._clients.clear()
                self._clients[scope] = self._make_client(scope)
            return self._clients[scope]

    def _make_client(self, scope: Scope) -> Any:
        neighbour = self._catalogue.get_neighbour("s3")
        credentials = self._catalogue.find_credentials("s3", scope)
        is_ours = isinstance(neighbour, At)
        # What this host's user keeps for his own AWS account says nothing about a service at a URL.
        session = botocore.session.Session(session_vars=_NO_CONFIGURATION if is_ours else None)
        return session.create_client(
            "s3",
            region_name=scope.region,
            endpoint_url=neighbour.url if isinstance(neighbour, At) else None,
            aws_access_key_id=credentials.access_key if credentials else None,
            aws_secret_access_key=credentials.secret_key if credentials else None,
            aws_session_token=credentials.session_token if credentials else None,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                retries={"total_max_attempts": 3, "mode": "standard"},
                # One host for all buckets: names of buckets do not resolve below a URL of ours.
                s3={"addressing_style": "path"} if is_ours else None,
                proxies={} if is_ours else None,
            ),
        )

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _read(body: Any) -> bytes:
    with _refusals():
        piece: bytes = body.read(PIECE_BYTES)
        return piece


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Turn what botocore raises into NeighbourRefusal."""
    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        raise NeighbourRefusal(answer.get("Code", "Unknown"), answer.get("Message", str(error))) from error
    except NeighbourOff as error:
        raise NeighbourRefusal("ServiceUnavailable", str(error)) from error
    except (BotoCoreError, OSError) as error:
        raise NeighbourRefusal("ServiceUnavailable", f"S3 does not answer: {error}") from error
