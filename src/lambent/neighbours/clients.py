"""The one seam for calls of our own to other AWS services: botocore, which blocks, on threads of its own.

It is imported when the first call is made: a fifth of a server's start, and most servers never need it.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from lambent.model.errors import NeighbourRefusal
from lambent.model.ids import Scope
from lambent.neighbours.catalogue import At, Catalogue, NeighbourOff

CONNECT_TIMEOUT_S: Final = 5
READ_TIMEOUT_S: Final = 30
THREADS: Final = 8  # calls at the same time; more wait
CLIENTS_LIMIT: Final = 32  # kept; making one takes a tenth of a second
_PASSING_STATUS: Final = frozenset({429, 500, 502, 503, 504})
_PASSING_CODES: Final = ("Throttling", "TooManyRequests", "RequestLimitExceeded", "SlowDown", "RequestThrottled")

# botocore's session variables: (configuration key, environment variable, default, conversion).
_NO_CONFIGURATION: Final = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}

_T = TypeVar("_T")


class NeighbourClients:
    """Calls services wherever the catalogue says they are. ``close`` ends its threads."""

    def __init__(self, catalogue: Catalogue, *, threads: int = THREADS) -> None:
        self._catalogue = catalogue
        self._threads = ThreadPoolExecutor(threads, "lambent-neighbours")
        self._clients: dict[tuple[str, Scope], Any] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """End the threads; a call that is under way ends first."""
        self._threads.shutdown()

    def find_obstacle(self, service: str) -> str | None:
        """Return why ``service`` cannot be reached from here, in words, or None."""
        return self._catalogue.find_obstacle(service)

    async def call(
        self, service: str, operation: str, scope: Scope, parameters: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the answer to ``operation`` (botocore's method name). Raises NeighbourRefusal."""

        def work() -> Mapping[str, Any]:
            answer: Mapping[str, Any] = getattr(self.client(service, scope), operation)(**parameters)
            return answer

        return await self.run(service, work)

    async def run(self, service: str, work: Callable[[], _T]) -> _T:
        """Return what ``work`` returns on a thread; what botocore raises in it becomes NeighbourRefusal."""

        await self._catalogue.prepared(service)

        def guarded() -> _T:
            with refusals(service):
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._threads, guarded)

    def client(self, service: str, scope: Scope) -> Any:
        """Return botocore's client, for use inside of ``run``."""
        with self._lock:
            if (service, scope) not in self._clients:
                if len(self._clients) >= CLIENTS_LIMIT:
                    self._clients.clear()
                self._clients[service, scope] = self._make_client(service, scope)
            return self._clients[service, scope]

    def _make_client(self, service: str, scope: Scope) -> Any:
        import botocore.session
        from botocore.config import Config

        neighbour = self._catalogue.get_neighbour(service)
        credentials = self._catalogue.find_credentials(service, scope)
        is_ours = isinstance(neighbour, At)
        # What this host's user keeps for his own AWS account says nothing about a service at a URL.
        session = botocore.session.Session(session_vars=_NO_CONFIGURATION if is_ours else None)
        client = session.create_client(
            service,
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
        if is_ours and neighbour.credentials is None:
            client.meta.events.register("before-sign", partial(_say_account, scope.account_id))
        return client


def _say_account(account_id: str, request: Any, **_: object) -> None:
    """Name the account as moto reads it; others read it from the access key, or have only one."""
    request.headers["x-moto-account-id"] = account_id


@contextlib.contextmanager
def refusals(service: str) -> Iterator[None]:
    """Turn what botocore raises into NeighbourRefusal."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        code = answer.get("Code", "Unknown")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        is_passing = status in _PASSING_STATUS or any(part in code for part in _PASSING_CODES)
        raise NeighbourRefusal(code, answer.get("Message", str(error)), is_passing=is_passing) from error
    except NeighbourOff as error:
        raise NeighbourRefusal("ServiceUnavailable", str(error)) from error
    except (BotoCoreError, OSError) as error:
        said = f"{service.upper()} does not answer: {error}"
        raise NeighbourRefusal("ServiceUnavailable", said, is_passing=True) from error
