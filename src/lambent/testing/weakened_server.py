"""``python -m lambent.testing.weakened_server DEFENCES SETTINGS CHANNEL``: the server without some of its own defences.

A test that proves such a defence to act starts it by way of ``lambent.testing.weakened``.
"""

import os
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from lambent.access.sigv4 import SignatureVerifier
from lambent.assembly import graph, server
from lambent.environment import environment


def accept_every_environments_key() -> None:
    """Let the endpoint of one environment know the keys of all."""
    build = graph.Doors.build_inside

    def build_weakened(doors: Any, credentials: object) -> Any:
        return build(doors, doors._roles)

    _replace(graph.Doors, "build_inside", build_weakened)


def believe_every_signature() -> None:
    """Let the endpoint inside believe who calls, as the one outside does while signatures are off."""
    _replace(graph, "SignatureVerifier", lambda mode, *rest: SignatureVerifier("off", *rest))


def set_no_pace() -> None:
    """Let an environment ask as often as it can."""
    _replace(environment, "Paced", lambda application, clock: application)


def _replace(owner: Any, name: str, value: object) -> None:
    setattr(owner, name, value)


SERVER_DEFENCES: Final[Mapping[str, Callable[[], None]]] = MappingProxyType(
    {
        "inside-keys": accept_every_environments_key,
        "inside-signatures": believe_every_signature,
        "inside-pace": set_no_pace,
    }
)


if __name__ == "__main__":
    if os.environ.get("LAMBENT_TEST_WEAKEN") != "1":
        sys.exit("this is for tests of the defences")
    for name in sys.argv.pop(1).split(","):
        SERVER_DEFENCES[name]()
    sys.exit(server.main())
