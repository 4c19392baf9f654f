"""How the router reaches the outside: through the host's own NAT as root, through pasta as an ordinary user."""

import contextlib
import os
import signal
import socket
import time
import zlib
from collections.abc import Sequence
from typing import Final, Protocol

from lambent.sandbox.launcher import forwarding, kernel, netlink, nft, packet_filter
from lambent.sandbox.launcher.companions import Companion

_ROUTER_END: Final = 2  # the index of the router's second interface
_FIRST_BLOCK: Final = (169 << 24) + (254 << 16) + (1 << 8)  # 169.254.1.0, up to 169.254.63.255 in blocks of four
_BLOCKS: Final = 63 * 64
PASTA_PLACES: Final = ("/usr/bin/pasta", "/usr/local/bin/pasta", "/bin/pasta")
_PASTA_HOST, _PASTA_ROUTER = "169.254.1.1", "169.254.1.2"
_PASTA_LIMIT_S: Final = 5.0


FIREWALL_REMEDY: Final = (
    "let it forward what comes from interfaces named lambent*, and answers to them; beside Docker:"
    " iptables -I DOCKER-USER -i lambent+ -j ACCEPT and"
    " iptables -I DOCKER-USER -o lambent+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
)


class NoEgress(OSError):
    """This host does not let sandboxes reach the internet; ``remedy`` says what would help."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


class Uplink(Protocol):
    """One way out. Its methods are called in the host's network."""

    def host_addresses(self) -> Sequence[str]:
        """Return the addresses that the router must refuse because nothing behind it does."""
        ...

    def companions(self, router: int) -> Sequence[Companion]:
        """Return the processes that it needs."""
        ...

    def connect(self, router: int, links: netlink.Rtnetlink) -> None:
        """Give the router its way out. ``router``: its namespace, ``links``: a socket of it."""
        ...

    def close(self) -> None:
        """Remove what would stay on the host; called wherever the process is."""
        ...


class HostNat:
    """Root's: a cable to the host, which forwards from there and puts its own address on the packets."""

    def __init__(self, instance: str, weakened: frozenset[str]) -> None:
        self._weakened = weakened
        self._table = f"{forwarding.TABLES}{instance}"
        self._cable = f"lambent{instance}"
        self._instance = instance
        self._host = kernel.namespace("net")

    def host_addresses(self) -> Sequence[str]:
        """None: the host's own rules refuse whatever is addressed to it, as its addresses are then."""
        return ()

    def companions(self, router: int) -> Sequence[Companion]:
        """None."""
        return ()

    def connect(self, router: int, links: netlink.Rtnetlink) -> None:
        """Lay the cable, open the host's forwarding as little as needed, and apply the host's rules."""
        if chain := forwarding.find_obstacle(nft.list_ruleset(self._host)):
            raise NoEgress(f"a firewall of this host drops what it should forward: {chain}", FIREWALL_REMEDY)
        host = netlink.Rtnetlink()
        try:
            # A predecessor's may still be on its way out.
            with contextlib.suppress(OSError):
                host.do([netlink.delete_link(self._cable)])
            here, there = choose_block(self._instance, host.addresses())
            host.do([netlink.make_veth(self._cable, 0, packet_filter.UPLINK, _ROUTER_END, router)])
            index = socket.if_nametoindex(self._cable)
            kernel.write_file(f"/proc/sys/net/ipv4/conf/{self._cable}/forwarding", "1")
            forwarding.forbid_ipv6(self._cable)
            host.do([netlink.add_address(index, here, 30)])
        finally:
            host.close()
        opened = forwarding.find_closed(self._cable, self._host)
        flows = forwarding.flows_for_sandboxes()
        rules = packet_filter.render_host(
            self._table, self._cable, there, flows=flows, opened=opened, weakened=self._weakened
        )
        nft.apply(rules, self._host)
        forwarding.open_up(opened)
        links.do(
            [
                netlink.bring_up(_ROUTER_END),
                netlink.add_address(_ROUTER_END, there, 30),
                netlink.add_route(_ROUTER_END, None, here),
            ]
        )

    def close(self) -> None:
        """Close the host's forwarding again and remove the table; the cable ends with the router."""
        forwarding.restore(self._host, self._table)
        os.close(self._host)


class Pasta:
    """An ordinary user's: a process in the host's network opens a socket there for every one of a sandbox."""

    def __init__(self, title: str, weakened: frozenset[str]) -> None:
        self._title = title
        self._weakened = weakened
        self._pasta = next((path for path in PASTA_PLACES if os.access(path, os.X_OK)), "")
        if not self._pasta:
            raise NoEgress("pasta is not installed", "apt-get install passt, or start Lambent as root")
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            raise NoEgress("/dev/net/tun cannot be opened by this user", "chmod 0666 /dev/net/tun, as udev does")

    def host_addresses(self) -> Sequence[str]:
        """All that the host has now: pasta's sockets are the host's own, for which every address of it is near."""
        host = netlink.Rtnetlink()
        try:
            return host.addresses()
        finally:
            host.close()

    def companions(self, router: int) -> Sequence[Companion]:
        """Return pasta itself, and who tells the router of the host's new addresses."""
        pasta = Companion("pasta", lambda: self._become_pasta(router), None, (router,))
        watch = Companion("the watch of addresses", lambda: self._watch(router), None, (router,))
        return [pasta] if "egress-host" in self._weakened else [pasta, watch]

    def _watch(self, router: int) -> None:
        news = netlink.Rtnetlink(groups=netlink.ADDRESSES_CHANGE)
        known: Sequence[str] = ()
        while True:
            current = self.host_addresses()
            if current != known:
                nft.apply(packet_filter.render_host_addresses(current), router)
                known = current
            news.wait()

    def connect(self, router: int, links: netlink.Rtnetlink) -> None:
        """Wait until pasta has made the router's interface, and lead everything there."""
        deadline_mono_s = time.monotonic() + _PASTA_LIMIT_S
        while not links.has_link(packet_filter.UPLINK):
            if time.monotonic() > deadline_mono_s:
                raise OSError("pasta did not make an interface; its words are in the log")
            time.sleep(0.005)

    def close(self) -> None:
        """Nothing stays."""

    def _become_pasta(self, router: int) -> None:
        os.set_inheritable(router, True)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # it takes an ignored one, which Python leaves, for a failure
        arguments = [f"{self._title}pasta", "--foreground", "--quiet", "--stderr", "--ipv4-only", "--config-net"]
        arguments += ["--ns-ifname", packet_filter.UPLINK, "--address", _PASTA_ROUTER, "--netmask", "30"]
        arguments += ["--gateway", _PASTA_HOST, "--no-map-gw", "--no-dhcp", "--no-dhcpv6", "--no-ndp", "--no-ra"]
        for ports in ("--tcp-ports", "--udp-ports", "--tcp-ns", "--udp-ns"):
            arguments += [ports, "none"]
        arguments += ["--netns-only", "--netns", f"/proc/self/fd/{router}"]
        os.execve(self._pasta, arguments, {})  # noqa: S606  a fixed place of the system


def remove_left_over(instance: str) -> None:
    """Take back what a launcher of this instance that was killed has changed on the host. Root only."""
    host = kernel.namespace("net")
    try:
        with contextlib.suppress(OSError):  # a host that does not let us look let it change nothing either
            forwarding.restore(host, f"{forwarding.TABLES}{instance}")
    finally:
        os.close(host)


def choose_block(instance: str, taken: Sequence[str]) -> tuple[str, str]:
    """Return the two addresses of a cable to the host: of a block that none of ``taken`` is in, first a usual one."""
    used = {socket.inet_aton(address)[:3] + bytes([socket.inet_aton(address)[3] & 0xFC]) for address in taken}
    start = zlib.crc32(instance.encode()) % _BLOCKS
    for step in range(_BLOCKS):
        block = _FIRST_BLOCK + (start + step) % _BLOCKS * 4
        if block.to_bytes(4, "big") not in used:
            return socket.inet_ntoa((block + 1).to_bytes(4, "big")), socket.inet_ntoa((block + 2).to_bytes(4, "big"))
    raise OSError("every block of 169.254.0.0/18 is in use")
