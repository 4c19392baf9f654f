"""The router: one network namespace between all sandboxes and the outside, with the packet filter in it.

Made once, at the launcher's start. A sandbox gets a cable to it when its network is made for the pool. The namespace
has no name: whatever dies, the kernel removes it, its cables and its rules with the last process that holds it.
"""

import contextlib
import itertools
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lambent.sandbox.launcher import companions, kernel, netlink, nft, packet_filter
from lambent.sandbox.launcher.companions import Companion
from lambent.sandbox.launcher.dns_relay import open_listeners, relay_for_ever
from lambent.sandbox.launcher.uplinks import HostNat, NoEgress, Pasta, Uplink

# Link-local as on AWS, and so never an address of the operator's networks. The resolver is the next hop, too.
RESOLVER: Final = "169.254.78.1"
RESOLV_CONF: Final = f"nameserver {RESOLVER}\n"
FIRST_SANDBOX: Final = (169 << 24) + (254 << 16) + (192 << 8)  # 169.254.192.0/18
SANDBOXES: Final = (1 << 14) - 512  # without the last 256, which RFC 3927 reserves, and a first 256 of as little use
_LOOPBACK, _CABLE = 1, 2
_DESCRIPTORS: Final = 4
_SYSCTLS: Final = {
    "ipv4/ip_forward": "1",
    "ipv4/icmp_ratelimit": "0",  # every refusal is told, or a function would wait for its timeout
    # The filter decides whose packets are whose, alone, so that a test can turn it off.
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/accept_redirects": "0",
    "ipv4/conf/default/accept_redirects": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv6/conf/all/disable_ipv6": "1",
    "ipv6/conf/default/disable_ipv6": "1",
}
_TRIES: Final = 256
_BURST_BYTES: Final = 1 << 18
_BYTES_PER_MBIT: Final = 125_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressSettings:
    """What the operator wants. ``mbit_per_s``: of each sandbox, each way; 0: no bound."""

    wanted: bool
    allowed: tuple[str, ...] = ()
    mbit_per_s: int = 0


class Router:
    """Open from its making until ``close``."""

    def __init__(
        self, uplink: Uplink, settings: EgressSettings, kuid: int | None, weakened: frozenset[str] = frozenset()
    ) -> None:
        self._rate_bytes_per_s = 0 if "egress-rate" in weakened else settings.mbit_per_s * _BYTES_PER_MBIT
        self._numbers = itertools.count()
        self._uplink = uplink
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as passing:
            undo.callback(uplink.close)
            self.namespace, links, *questions = _make_namespace()
            undo.callback(os.close, self.namespace)
            self._links = netlink.Rtnetlink(links)
            undo.callback(self._links.close)
            for descriptor in questions:
                passing.callback(os.close, descriptor)
            host = uplink.host_addresses()
            rules = packet_filter.render_router(RESOLVER, host=host, allowed=settings.allowed, weakened=weakened)
            nft.apply(rules, self.namespace)
            relay = Companion("the resolver", lambda: relay_for_ever(*questions), kuid, tuple(questions))
            self._companions = companions.keep_alive([relay, *uplink.companions(self.namespace)])
            undo.callback(companions.end, self._companions)
            uplink.connect(self.namespace, self._links)
            self.unbounded = self._find_unbounded()
            _in_a_network_of_nobody(self.attach)
            undo.pop_all()

    def attach(self) -> None:
        """Give the network namespace that we are in a cable to the router. OSError if that is refused."""
        for _ in range(_TRIES):
            with contextlib.suppress(FileExistsError):
                self._attach(next(self._numbers) % SANDBOXES)
                return
        raise OSError("every address of sandboxes is in use")

    def _attach(self, number: int) -> None:
        address = _dotted(FIRST_SANDBOX + 256 + number)
        # Before the cable is there: an interface that is born later never speaks IPv6.
        with contextlib.suppress(FileNotFoundError):
            kernel.write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
        index = 1000 + number
        here = netlink.Rtnetlink()
        try:
            here.do(
                [
                    netlink.make_veth("eth0", _CABLE, f"s{number}", index, self.namespace),
                    netlink.add_address(_CABLE, address, 32),
                    netlink.add_route(_CABLE, None, RESOLVER),
                    *self._bound(_CABLE),
                ]
            )
        finally:
            here.close()
        self._links.do([netlink.bring_up(index), netlink.add_route(index, address), *self._bound(index)])

    def _find_unbounded(self) -> str:
        """Return why the kernel cannot bound sandboxes, after which none is bounded; "" where it can."""
        try:
            self._links.do(self._bound(_LOOPBACK))  # which carries nothing
        except OSError as error:
            self._rate_bytes_per_s = 0
            return f"the kernel has no token bucket for queues (sch_tbf): {error}"
        return ""

    def close(self) -> None:
        """Take everything down that does not end with this process."""
        companions.end(self._companions)
        with contextlib.suppress(OSError):
            self._links.do([netlink.delete_link(packet_filter.UPLINK)])  # else it fades away a moment later
        self._uplink.close()
        self._links.close()
        os.close(self.namespace)

    def _bound(self, index: int) -> list[netlink.Order]:
        return [netlink.limit_rate(index, self._rate_bytes_per_s, _BURST_BYTES)] if self._rate_bytes_per_s else []


def open_router(
    settings: EgressSettings, *, instance: str, title: str, rootless: bool, kuid: int | None, weakened: frozenset[str]
) -> Router:
    """Return a router as this user can have one. NoEgress if none; what a dead predecessor left is gone either way."""
    try:
        uplink: Uplink = Pasta(title, weakened) if rootless else HostNat(instance, weakened)
        return Router(uplink, settings, kuid, weakened)
    except NoEgress:
        raise
    except nft.NoNft as error:
        raise NoEgress(str(error), nft.REMEDY) from error
    except OSError as error:
        raise NoEgress(f"no router can be made: {error}", "lambent doctor says more") from error


def _in_a_network_of_nobody(work: Callable[[], None]) -> None:
    """Do ``work`` in a child with a network of its own, which is gone afterwards; OSError is what it met."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if not child:
        try:
            kernel.unshare(kernel.NEWNET)
            work()
        except BaseException as error:  # noqa: BLE001  nothing may return into the parent
            os.write(writer, f"{error}"[:500].encode() or b"?")
        finally:
            os._exit(0)
    os.close(writer)
    words = os.read(reader, 500)
    os.close(reader)
    os.waitpid(child, 0)
    if words:
        raise OSError(words.decode("utf-8", "replace"))


def _make_namespace() -> tuple[int, ...]:
    """Return descriptors of the namespace, of a netlink socket in it, and of the resolver's two listeners.

    A child makes them: in a user namespace of our own nobody could come back to the host's network.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = os.fork()
        if not child:
            _hold_namespace(theirs)
        theirs.close()
        words, descriptors, _, _ = socket.recv_fds(ours, 500, 8)
        os.waitpid(child, 0)
    if len(descriptors) != _DESCRIPTORS:
        raise OSError(f"the router's network cannot be made: {words.decode('utf-8', 'replace')}")
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return tuple(descriptors)


def _hold_namespace(channel: socket.socket) -> None:
    """The child of ``_make_namespace``; never returns."""
    try:
        kernel.unshare(kernel.NEWNET)
        for name, value in _SYSCTLS.items():
            with contextlib.suppress(FileNotFoundError):
                kernel.write_file(f"/proc/sys/net/{name}", value)
        links = netlink.Rtnetlink()
        links.do([netlink.bring_up(_LOOPBACK), netlink.add_address(_LOOPBACK, RESOLVER, 32)])
        datagrams, streams = open_listeners(RESOLVER)
        made = [kernel.namespace("net"), links.fileno(), datagrams.fileno(), streams.fileno()]
        socket.send_fds(channel, [b"made"], made)
    except OSError as error:
        channel.send(f"{error}"[:500].encode())
    finally:
        os._exit(0)


def _dotted(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
