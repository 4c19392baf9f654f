"""Removes packages that no function refers to any more, now and then."""

from typing import Any, Final

import structlog

from lambent.model.clock import Clock
from lambent.model.documents import FUNCTION_SPECS, FUNCTION_STATUSES, VERSION_SPECS, VERSION_STATUSES
from lambent.model.ids import Digest
from lambent.model.layers import LAYER_VERSION_SPECS
from lambent.reconcile.seams import CodeTrees
from lambent.store.contract import Documents

_BLOCK: Final = 1000
# In this order: what $LATEST lost before its spec was read was published before that, and versions are read later.
_NAMING: Final = (FUNCTION_SPECS, FUNCTION_STATUSES, VERSION_SPECS, VERSION_STATUSES, LAYER_VERSION_SPECS)
log = structlog.get_logger(__name__)


class PackageCollector:
    """Runs ``collect`` at intervals with every digest that a spec wants or a status still serves."""

    def __init__(
        self,
        documents: Documents,
        trees: CodeTrees,
        clock: Clock,
        *,
        first_after_s: float = 60.0,
        interval_s: float = 3600.0,
    ) -> None:
        self._documents = documents
        self._trees = trees
        self._clock = clock
        self._first_after_s = first_after_s  # a start has better things to do than to read every document again
        self._interval_s = interval_s

    async def run(self) -> None:
        """Collect soon and at every interval, until cancelled."""
        await self._clock.sleep_s(self._first_after_s)
        while True:
            try:
                await self.collect_once()
            except Exception:
                log.exception("packages_collection_failed")
            await self._clock.sleep_s(self._interval_s)

    async def collect_once(self) -> bool:
        """Collect once; return whether something went. A list that fails deletes nothing."""
        # A spec written after this listing is safe: taking a package in makes it young, and young ones stay.
        keep: set[Digest] = set()
        for prefix in _NAMING:
            keep |= await self._find_digests(prefix)
        gone = await self._trees.collect(keep)
        if gone:
            log.info("packages_collected", packages=gone)
        return gone > 0

    async def _find_digests(self, prefix: str) -> set[Digest]:
        digests: set[Digest] = set()
        after = ""
        while True:
            page = await self._documents.list(prefix, after=after, limit=_BLOCK)
            for doc in page.docs:
                digests |= _digests(doc.value)
            if page.next is None:
                return digests
            after = page.next


def _digests(value: Any) -> set[Digest]:
    """Return the digests anywhere in a document, also in fields of a later release: keeping too much is harmless."""
    if isinstance(value, dict):
        named = {Digest(value["digest"])} if isinstance(value.get("digest"), str) else set()
        return named.union(*(_digests(inner) for inner in value.values()))
    if isinstance(value, list):
        return set[Digest]().union(*(_digests(inner) for inner in value))
    return set()
