#!/usr/bin/python3 -I
"""A router for a moment, tried end to end: what ``lambent doctor`` says of egress. Started by its file path.

Nothing leaves this host: the far end of the trial is a network namespace of its own.
"""

import contextlib
import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from lambent.sandbox.launcher import kernel, netlink
from lambent.sandbox.launcher.identities import enter_user_namespace
from lambent.sandbox.launcher.router import RESOLVER, EgressSettings, Router, open_router
from lambent.sandbox.launcher.uplinks import FIREWALL_REMEDY, NoEgress, choose_block

_LIMIT_S = 3.0
_PORT = 80
_NOBODY = 65_534


def main() -> int:
    """Exit 0 when a sandbox would reach the internet; else print why not, and in a second line what would help."""
    try:
        if os.geteuid() == 0:
            _try_as_root()
        else:
            enter_user_namespace(os.getpid())
            with contextlib.closing(_open([], rootless=True)) as router:
                kernel.unshare(kernel.NEWNET)
                router.attach()
                _call(RESOLVER, 53, "the resolver does not answer", "read what was said above")
    except NoEgress as error:
        sys.stdout.write(f"{error}\n{error.remedy}\n")
        return 1
    except OSError as error:
        sys.stdout.write(f"{error}\nrun as root, or allow network namespaces\n")
        return 1
    return 0


def _try_as_root() -> None:
    host = kernel.namespace("net")
    links = netlink.Rtnetlink()
    near, far = choose_block(f"trial {os.getpid()}", links.addresses())
    name = f"lamtry{os.getpid():x}"[:15]
    with contextlib.closing(_open([f"{near}/32", f"{far}/32"], rootless=False)) as router:
        kernel.unshare(kernel.NEWNET)
        outside, there = kernel.namespace("net"), netlink.Rtnetlink()
        listener = socket.create_server(("", _PORT))
        kernel.enter(host, kernel.NEWNET)
        links.do([netlink.make_veth(name, 0, "eth0", 2, outside)])
        try:
            kernel.write_file(f"/proc/sys/net/ipv4/conf/{name}/forwarding", "1")
            links.do([netlink.add_address(socket.if_nametoindex(name), near, 30)])
            there.do([netlink.bring_up(2), netlink.add_address(2, far, 30)])
            kernel.unshare(kernel.NEWNET)
            router.attach()
            _call(far, _PORT, "a firewall of this host drops what it should forward", FIREWALL_REMEDY)
        finally:
            kernel.enter(host, kernel.NEWNET)
            links.do([netlink.delete_link(name)])
            listener.close()


def _open(allowed: list[str], *, rootless: bool) -> Router:
    return open_router(
        EgressSettings(wanted=True, allowed=tuple(allowed), mbit_per_s=1000),
        instance=f"{os.getpid():08x}",
        title=f"lambent-trial-{os.getpid()}-",
        rootless=rootless,
        kuid=None if rootless else _NOBODY,
        weakened=frozenset(),
    )


def _call(address: str, port: int, reason: str, remedy: str) -> None:
    try:
        socket.create_connection((address, port), _LIMIT_S).close()
    except OSError as error:
        raise NoEgress(f"{reason} ({error})", remedy) from error


if __name__ == "__main__":
    sys.exit(main())
