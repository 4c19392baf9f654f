"""``python -m lambent.testing.weakened_server DEFENCES SETTINGS CHANNEL``: the server without some of its own defences.

A test that proves such a defence to act starts it by way of ``lambent.testing.weakened``.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from lambent.access.origins import OriginRules
from lambent.access.sigv4 import SignatureVerifier
from lambent.artifacts import zip_format
from lambent.assembly import graph, server
from lambent.environment import environment, runtime_api
from lambent.environment.runtime_states import WANTED_STATES, find_runtime_state
from lambent.frontend.gateway import Gateway
from lambent.http import framing
from lambent.observe import stream_log


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


def let_names_lead_out() -> None:
    """Unpack what an archive names, wherever that is."""
    split = zip_format._split_name
    _replace(zip_format, "_split_name", lambda name: (name,) if b".." in name else split(name))


def let_every_page_call() -> None:
    """Take requests for any Host and from any Origin."""
    _replace(OriginRules, "decide", lambda rules, head: None)


def allow_every_runtime_call() -> None:
    """Let a runtime call at any time what it may call at some time."""

    def find_weakened(state: Any, event: Any) -> Any:
        return find_runtime_state(state, event) or WANTED_STATES.get(event)

    _replace(runtime_api, "find_runtime_state", find_weakened)


def see_one_account() -> None:
    """Take whoever calls for the account that all functions of a test belong to."""
    build = Gateway._context

    def build_weakened(gateway: Any, head: Any, identity: Any, request_id: Any) -> Any:
        context = build(gateway, head, identity, request_id)
        return replace(context, scope=replace(context.scope, account_id="000000000000"))

    _replace(Gateway, "_context", build_weakened)


def let_headers_contradict() -> None:
    """Take a head that names its host or its length twice."""
    _replace(framing, "_require_single", lambda headers: None)


def keep_whole_logs() -> None:
    """Answer with all that an invocation logged."""
    _replace(stream_log, "LOG_TAIL_LIMIT_BYTES", 1 << 30)
    _replace(stream_log, "_TAIL_SLACK_BYTES", 1 << 30)


def compare_no_signature() -> None:
    """Take whatever stands for a signature, of a key that is known."""
    _replace(SignatureVerifier, "_require_match", lambda *claim, **parts: None)


def _replace(owner: Any, name: str, value: object) -> None:
    setattr(owner, name, value)


SERVER_DEFENCES: Final[Mapping[str, Callable[[], None]]] = MappingProxyType(
    {
        "inside-keys": accept_every_environments_key,
        "inside-signatures": believe_every_signature,
        "inside-pace": set_no_pace,
        "archive-names": let_names_lead_out,
        "origins": let_every_page_call,
        "runtime-states": allow_every_runtime_call,
        "accounts": see_one_account,
        "framing": let_headers_contradict,
        "log-tail": keep_whole_logs,
        "signatures": compare_no_signature,
    }
)


if __name__ == "__main__":
    if os.environ.get("LAMBENT_TEST_WEAKEN") != "1":
        sys.exit("this is for tests of the defences")
    for name in sys.argv.pop(1).split(","):
        SERVER_DEFENCES[name]()
    sys.exit(server.main())
