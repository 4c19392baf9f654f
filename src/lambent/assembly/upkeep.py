"""What finds out by itself that the host is well again."""

import contextlib

from lambent.model.clock import Clock
from lambent.store.contract import Store, StoreError

TRIAL_S = 2.0
TRIAL_KEY = "trial/store"


async def watch_store(store: Store, clock: Clock) -> None:
    """While the store cannot write, try to write something of no meaning, for ever: ready again without a caller."""
    while True:
        await clock.sleep_s(TRIAL_S)
        if store.trouble is not None:
            with contextlib.suppress(StoreError):
                await store.documents.put(TRIAL_KEY, clock.mono_s())
