"""The server's word to its supervisor: that it is ready, and from then on that its loop turns."""

import contextlib
import os
from collections.abc import MutableMapping

from lambent.model.clock import Clock
from lambent.sandbox.supervisor import READY

BEAT_S = 1.0


def take_notes(environ: MutableMapping[str, str]) -> int | None:
    """Return the descriptor that the supervisor reads, for us alone; None where nobody supervises."""
    if (text := environ.pop("LAMBENT_NOTES", None)) is None:
        return None
    os.set_inheritable(int(text), False)
    return int(text)


async def beat(notes: int, clock: Clock) -> None:
    """Say READY now, and a byte each second for ever."""
    word = READY
    while True:
        with contextlib.suppress(BlockingIOError):  # nobody reads just now, and what is there says enough
            os.write(notes, word)
        word = b"."
        await clock.sleep_s(BEAT_S)
