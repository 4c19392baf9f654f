"""Applies packet filter rules in a network namespace, by nftables' own program."""

import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any, Final

from lambent.sandbox.launcher import kernel

PLACES: Final = ("/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft", "/usr/local/sbin/nft")
REMEDY: Final = "apt-get install nftables"
_LIMIT_S: Final = 10.0


class NoNft(OSError):
    """nftables is not installed."""


def find_nft(places: Sequence[str] = PLACES) -> str:
    """Return the path of the program. NoNft if there is none."""
    for path in places:
        if os.access(path, os.X_OK):
            return path
    raise NoNft("nftables is not installed")


def apply(rules: str, namespace: int) -> None:
    """Carry out ``rules`` as a whole or not at all in a network namespace. OSError has nft's words."""
    _run(["-f", "-"], rules, namespace)


def list_ruleset(namespace: int) -> list[dict[str, Any]]:
    """Return every table, chain, set and rule, as nft describes them."""
    return _query(["list", "ruleset"], namespace)


def list_tables(namespace: int, prefix: str) -> list[str]:
    """Return the names of the inet tables that begin with ``prefix``."""
    tables = [entry["table"]["name"] for entry in _query(["list", "tables", "inet"], namespace) if "table" in entry]
    return [name for name in tables if name.startswith(prefix)]


def list_set(namespace: int, table: str, name: str) -> list[str]:
    """Return the elements of a set; none where the table is gone or not ours."""
    try:
        entries = _query(["list", "set", "inet", table, name], namespace)
    except OSError:
        return []
    return [str(element) for entry in entries for element in entry.get("set", {}).get("elem", [])]


def delete_table(namespace: int, table: str) -> None:
    """Remove a table with all that is in it; no error when there is none."""
    apply(f"table inet {table} {{ }}\ndelete table inet {table}\n", namespace)


def _query(arguments: Sequence[str], namespace: int) -> list[dict[str, Any]]:
    found = json.loads(_run(["-j", *arguments], "", namespace))
    return [entry for entry in found.get("nftables", []) if isinstance(entry, dict)]


def _run(arguments: Sequence[str], text: str, namespace: int) -> str:
    try:
        done = subprocess.run(  # noqa: S603  a fixed place of the system
            [find_nft(), *arguments],
            input=text.encode(),
            capture_output=True,
            timeout=_LIMIT_S,
            env={},
            cwd="/",
            check=False,
            preexec_fn=lambda: kernel.enter(namespace, kernel.NEWNET),  # one thread, one bound call
        )
    except subprocess.TimeoutExpired:
        raise OSError(f"nft did not end within {_LIMIT_S:.0f} s") from None
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise OSError(f"nft: {words[0] if words else f'exit {done.returncode}'}")
    return done.stdout.decode("utf-8", "replace")
