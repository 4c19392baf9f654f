"""The protocol's messages: one JSON object a packet. What does not parse is refused before anything acts on it."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

MESSAGE_LIMIT_BYTES: Final = 128 << 10
DESCRIPTOR_LIMIT: Final = 8
_SANDBOX_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\Z")
_TREE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}\Z")
_TREES: Final = ("code", "layers", "runtime", "interpreter", "bytecode")
_EGRESS: Final = ("none", "internet")
_DESCRIPTORS: Final = ("output", "log", "control")


class Malformed(ValueError):
    """The message is not one of the protocol. Its text goes back to the server."""


def parse_request(packet: bytes) -> tuple[int, str, dict[str, Any]]:
    """Return (id, operation, parsed fields). Malformed says what is wrong; ``id`` 0 when it has none."""
    message = _load(packet)
    name = message.pop("op", None)
    if not isinstance(name, str) or name not in OPERATIONS:
        raise Malformed("unknown operation")
    identifier: int = _integer(message.pop("id", None), "id", least=1, most=2**53)
    message.pop("launcher", None)
    parsers = OPERATIONS[name]
    if unknown := set(message) - set(parsers):
        raise Malformed(f"{name}: unknown field {sorted(unknown)[0]!r:.60}")
    fields = {}
    for field, parse in parsers.items():
        if field not in message:
            raise Malformed(f"{name}: {field} is missing")
        fields[field] = parse(message[field], field)
    return identifier, name, fields


def find_identity(packet: bytes) -> tuple[int, str]:
    """Return the (id, launcher) of a message, whatever else it is; (0, "") where there is none."""
    try:
        message = _load(packet)
    except Malformed:
        return 0, ""
    identifier, launcher = message.get("id"), message.get("launcher")
    if isinstance(identifier, bool) or not isinstance(identifier, int) or not 0 < identifier <= 2**53:
        identifier = 0
    return identifier, (launcher if isinstance(launcher, str) else "")


def render(message: Mapping[str, object]) -> bytes:
    """Return the packet of a reply or an event."""
    return json.dumps(message, separators=(",", ":")).encode()


def _load(packet: bytes) -> dict[str, Any]:
    # Decoded here: json would guess UTF-16 and UTF-32, whose codecs can no longer be imported.
    try:
        message = json.loads(packet.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Malformed("not JSON") from error
    if not isinstance(message, dict):
        raise Malformed("not an object")
    return message


def _integer(value: object, name: str, *, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Malformed(f"{name} is no integer from {least} to {most}")
    return value


def _between(least: int, most: int) -> Callable[[object, str], int]:
    return lambda value, name: _integer(value, name, least=least, most=most)


def _string(value: object, name: str, *, most: int = 65_536) -> str:
    if not isinstance(value, str) or len(value) > most or "\0" in value:
        raise Malformed(f"{name} is no text of at most {most} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Malformed(f"{name} is no UTF-8") from error
    return value


def _matching(pattern: re.Pattern[str]) -> Callable[[object, str], str]:
    def parse(value: object, name: str) -> str:
        if not isinstance(value, str) or not pattern.match(value):
            raise Malformed(f"{name} is no name of the form {pattern.pattern[:-2]}")
        return value

    return parse


def _limits(value: object, name: str) -> dict[str, Any]:
    whole = {
        "memory_mib": (4, 1 << 20),
        "tmp_mib": (1, 1 << 20),
        "processes": (4, 1 << 20),
        "open_files": (64, 1 << 20),
        "cpu_weight": (1, 10_000),
    }
    if not isinstance(value, dict) or set(value) != {*whole, "cpu_share"}:
        raise Malformed(f"{name} is no set of limits")
    limits: dict[str, Any] = {
        key: _integer(value[key], key, least=least, most=most) for key, (least, most) in whole.items()
    }
    share = value["cpu_share"]
    is_number = isinstance(share, int | float) and not isinstance(share, bool)
    if share is not None and not (is_number and 0 < share <= 4096):
        raise Malformed("cpu_share is no number above 0")
    limits["cpu_share"] = share
    return limits


def _trees(value: object, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or set(value) - set(_TREES):
        raise Malformed(f"{name} is no set of trees")
    return {key: _matching(_TREE_NAME)(tree, f"tree {key}") for key, tree in value.items()}


def _argv(value: object, name: str) -> list[str]:
    if not isinstance(value, list) or not 0 < len(value) <= 256:
        raise Malformed(f"{name} is no list of 1 to 256 arguments")
    argv = [_string(argument, name) for argument in value]
    if not argv[0].startswith("/"):
        raise Malformed(f"{name}[0] is no absolute path")
    return argv


def _environ(value: object, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > 1024:
        raise Malformed(f"{name} is no object of at most 1024 variables")
    for key in value:
        if not key or "=" in key or "\0" in key:
            raise Malformed(f"{name} has a variable without a proper name")
    return {_string(key, name): _string(text, f"{name}[…]") for key, text in value.items()}


def _descriptors(value: object, name: str) -> list[str]:
    known = isinstance(value, list) and all(isinstance(part, str) and part in _DESCRIPTORS for part in value)
    if not isinstance(value, list) or not known or len(set(value)) != len(value) or "output" not in value:
        raise Malformed(f"{name} does not name the descriptors")
    return list(value)


def _egress(value: object, name: str) -> str:
    if not isinstance(value, str) or value not in _EGRESS:
        raise Malformed(f"{name} is none of {', '.join(_EGRESS)}")
    return value


_sandbox: Final = _matching(_SANDBOX_ID)
_program: Final = _between(1, 2**53)

OPERATIONS: Final[Mapping[str, Mapping[str, Callable[[object, str], Any]]]] = {
    "hello": {"server": _string},
    "capabilities": {},
    "create": {"sandbox": _sandbox, "limits": _limits, "egress": _egress},
    "start": {
        "sandbox": _sandbox,
        "program": _program,
        "argv": _argv,
        "environ": _environ,
        "trees": _trees,
        "received": _descriptors,
    },
    "assign": {"sandbox": _sandbox, "program": _program, "trees": _trees, "limits": _limits},
    "signal": {"sandbox": _sandbox, "program": _program, "number": _between(1, 64)},
    "kill": {"sandbox": _sandbox, "program": _program},
    "set_limits": {"sandbox": _sandbox, "limits": _limits},
    "outbound": {"sandbox": _sandbox},
    "usage": {"sandbox": _sandbox},
    "end": {"sandbox": _sandbox},
}
