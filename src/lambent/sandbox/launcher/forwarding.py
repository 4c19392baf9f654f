"""Whether the host forwards packets: opened as little as egress needs, remembered in our table, closed again."""

import contextlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from lambent.sandbox.launcher import kernel, nft

TABLES: Final = "lambent_"
_OPENED: Final = "opened"
_NAMED: Final = '"lambent'
_USUAL_FLOWS: Final = 65_536
_EVERYWHERE: Final = "/proc/sys/net/ipv4/ip_forward"


def find_closed(cable: str, host: int) -> list[str]:
    """Return the interfaces with a route that would not forward the answers, or do so only for another of us.

    None where the host forwards anyway: then nothing is opened, guarded, or closed again.
    """
    if kernel.read_file(_EVERYWHERE).strip() == "1":
        return []
    others = opened_by(nft.list_tables(host, TABLES), host)
    routed = {line.split()[0] for line in kernel.read_file("/proc/net/route").splitlines()[1:]}
    return sorted(name for name in routed - {cable, "lo"} if name in others or not _is_open(name))


def find_obstacle(ruleset: Sequence[Mapping[str, Any]]) -> str:
    """Return the chain of somebody else's that drops whatever is forwarded and not named there; "" if there is none.

    One that names our interfaces is taken for the operator's permission. Old iptables' tables are not seen here.
    """
    named = {_table_of(rule) for entry in ruleset if (rule := entry.get("rule")) and _NAMED in json.dumps(rule)}
    for entry in ruleset:
        chain = entry.get("chain", {})
        drops = chain.get("hook") == "forward" and chain.get("policy") == "drop"
        if drops and not chain["table"].startswith(TABLES) and _table_of(chain) not in named:
            return f"chain {chain['name']} of table {chain['family']} {chain['table']}"
    return ""


def _table_of(entry: Mapping[str, Any]) -> tuple[str, str]:
    return entry["family"], entry["table"]


def flows_for_sandboxes() -> int:
    """Return how many of the host's tracked flows may be sandboxes': half, so that the host keeps its own."""
    try:
        return max(1, int(kernel.read_file("/proc/sys/net/netfilter/nf_conntrack_max")) // 2)
    except FileNotFoundError:  # nobody has tracked any yet
        return _USUAL_FLOWS // 2


def open_up(names: Iterable[str]) -> None:
    """Let these interfaces forward; the table that guards them must be there."""
    for name in names:
        kernel.write_file(_path(name), "1")


def restore(host: int, table: str) -> None:
    """Close what ``table`` says was opened, unless another needs it or the host forwards now; remove the table.

    Without nftables there can be no table.
    """
    with contextlib.suppress(nft.NoNft):
        tables = nft.list_tables(host, TABLES)
        if table not in tables:
            return
        names = opened_by([table], host) - opened_by([each for each in tables if each != table], host)
        home = kernel.namespace("net")
        try:
            kernel.enter(host, kernel.NEWNET)
            _close(sorted(names))
        finally:
            kernel.enter(home, kernel.NEWNET)
            os.close(home)
        nft.delete_table(host, table)


def opened_by(tables: Sequence[str], host: int) -> set[str]:
    """Return the interfaces that these tables name."""
    return {name for table in tables for name in nft.list_set(host, table, _OPENED)}


def forbid_ipv6(name: str) -> None:
    """Keep an interface from speaking IPv6, where the kernel knows it at all."""
    with contextlib.suppress(FileNotFoundError):
        kernel.write_file(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "1")


def _close(names: Sequence[str]) -> None:
    if kernel.read_file(_EVERYWHERE).strip() == "1":
        return
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            kernel.write_file(_path(name), "0")


def _is_open(name: str) -> bool:
    try:
        return kernel.read_file(_path(name)).strip() == "1"
    except FileNotFoundError:
        return True  # it went away meanwhile


def _path(name: str) -> str:
    return f"/proc/sys/net/ipv4/conf/{name}/forwarding"
