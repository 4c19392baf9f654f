"""Links, addresses, routes and queues by rtnetlink: several orders in one packet, answered together."""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final

_NEWLINK, _DELLINK, _GETLINK, _NEWADDR, _GETADDR, _NEWROUTE, _NEWQDISC = 16, 17, 18, 20, 22, 24, 36
_REQUEST, _ACK, _EXCLUSIVE, _CREATE, _DUMP = 1, 4, 0x200, 0x400, 0x300
_ERROR, _DONE = 2, 3
_UP: Final = 1
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 3, 18, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_ON_LINK, _MAIN_TABLE, _BY_ADMIN, _UNICAST, _LINK_SCOPE = 4, 254, 4, 1, 253
_TCA_KIND, _TCA_OPTIONS, _TBF_PARMS, _TBF_BURST, _TBF_RATE64 = 1, 2, 1, 6, 4
_ROOT: Final = 0xFFFFFFFF
_ETHERNET: Final = 1
_TICKS_PER_S: Final = 15_625_000  # the kernel's unit of a queue's time is 64 ns (PSCHED_SHIFT)
_BUFFER_BYTES: Final = 1 << 17

ADDRESSES_CHANGE: Final = 0x10  # RTMGRP_IPV4_IFADDR

Order = bytes


class Rtnetlink:
    """A socket of the network namespace in which it was opened; it stays there wherever its owner goes."""

    def __init__(self, descriptor: int | None = None, *, groups: int = 0) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0, fileno=descriptor)
        if descriptor is None:
            self._socket.bind((0, groups))

    def wait(self) -> None:
        """Return when something happened that the groups tell of, or may have been lost."""
        with contextlib.suppress(OSError):
            self._socket.recv(_BUFFER_BYTES)

    def fileno(self) -> int:
        """Its descriptor, good for another ``Rtnetlink`` elsewhere."""
        return self._socket.fileno()

    def do(self, orders: Sequence[Order]) -> None:
        """Carry all out in this order; OSError is the first refusal, and those after it were carried out."""
        numbered = [order[:8] + struct.pack("=I", number) + order[12:] for number, order in enumerate(orders, 1)]
        self._socket.send(b"".join(numbered))
        left, refused = len(orders), 0
        while left:
            for kind, body in _parse(self._socket.recv(_BUFFER_BYTES)):
                if kind == _ERROR:
                    left -= 1
                    refused = refused or -struct.unpack_from("=i", body)[0]
        if refused:
            raise OSError(refused, f"rtnetlink: {os.strerror(refused)}")

    def addresses(self) -> list[str]:
        """Return every IPv4 address that this namespace has."""
        request = struct.pack("=BBBBI", socket.AF_INET, 0, 0, 0, 0)
        self._socket.send(_order(_GETADDR, _DUMP, request))
        found: list[str] = []
        while True:
            for kind, body in _parse(self._socket.recv(_BUFFER_BYTES)):
                if kind == _DONE:
                    return found
                attributes = dict(_attributes(body[8:]))
                if packed := attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS):
                    found.append(socket.inet_ntoa(packed))

    def has_link(self, name: str) -> bool:
        """Whether there is an interface of this name."""
        self._socket.send(_order(_GETLINK, 0, struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name)))
        kinds = [kind for kind, _ in _parse(self._socket.recv(_BUFFER_BYTES))]
        if _NEWLINK in kinds:
            self._socket.recv(_BUFFER_BYTES)  # the acknowledgement
        return _NEWLINK in kinds

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()


def make_veth(name: str, index: int, peer: str, peer_index: int, peer_namespace: int) -> Order:
    """A pair: ``name`` here and up, ``peer`` in ``peer_namespace`` (a descriptor), for ``bring_up`` there.

    Making it from inside of the target holds the kernel's one lock for all networks the shortest.
    """
    there = (
        struct.pack("=BxHiII", 0, 0, peer_index, 0, 0)
        + _text(_IFLA_IFNAME, peer)
        + _attribute(_IFLA_NET_NS_FD, _u32(peer_namespace))
    )
    info = _text(_INFO_KIND, "veth") + _attribute(_INFO_DATA, _attribute(_VETH_PEER, there))
    return _order(_NEWLINK, _MAKE, _link(index) + _text(_IFLA_IFNAME, name) + _attribute(_IFLA_LINKINFO, info))


def bring_up(index: int) -> Order:
    """Let an interface carry packets."""
    return _order(_NEWLINK, 0, _link(index))


def delete_link(name: str) -> Order:
    """Remove an interface; of a pair, both."""
    return _order(_DELLINK, 0, struct.pack("=BxHiII", 0, 0, 0, 0, 0) + _text(_IFLA_IFNAME, name))


def add_address(index: int, address: str, prefix: int) -> Order:
    """Give an interface an address."""
    packed = socket.inet_aton(address)
    head = struct.pack("=BBBBI", socket.AF_INET, prefix, 0, 0, index)
    return _order(_NEWADDR, _MAKE, head + _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed))


def add_route(index: int, destination: str | None, gateway: str | None = None) -> Order:
    """Lead one address (None: all others) through an interface, to itself or by ``gateway``, a neighbour there."""
    scope = 0 if gateway else _LINK_SCOPE
    prefix = 32 if destination else 0
    flags = _ON_LINK if gateway else 0
    head = struct.pack("=BBBBBBBBI", socket.AF_INET, prefix, 0, 0, _MAIN_TABLE, _BY_ADMIN, scope, _UNICAST, flags)
    parts = [head, _attribute(_RTA_OIF, _u32(index))]
    if destination:
        parts.append(_attribute(_RTA_DST, socket.inet_aton(destination)))
    if gateway:
        parts.append(_attribute(_RTA_GATEWAY, socket.inet_aton(gateway)))
    return _order(_NEWROUTE, _MAKE, b"".join(parts))


def limit_rate(index: int, bytes_per_s: int, burst_bytes: int) -> Order:
    """Let an interface send at most so much, by a token bucket; what is more waits for 50 ms, then is dropped."""
    capped = min(bytes_per_s, 0xFFFFFFFF)
    rate = struct.pack("=BBHhHI", 0, _ETHERNET, 0, 0, 0, capped)
    buffer = min(burst_bytes * _TICKS_PER_S // bytes_per_s, 0xFFFFFFFF)
    queue_bytes = min(burst_bytes + bytes_per_s // 20, 0xFFFFFFFF)
    parms = rate + bytes(12) + struct.pack("=III", queue_bytes, buffer, 0)
    options = _attribute(_TBF_PARMS, parms) + _attribute(_TBF_BURST, _u32(burst_bytes))
    if bytes_per_s > capped:
        options += _attribute(_TBF_RATE64, struct.pack("=Q", bytes_per_s))
    head = struct.pack("=BxHiIII", 0, 0, index, 0x10000, _ROOT, 0)
    return _order(_NEWQDISC, _MAKE, head + _text(_TCA_KIND, "tbf") + _attribute(_TCA_OPTIONS, options))


_MAKE: Final = _CREATE | _EXCLUSIVE


def _order(kind: int, flags: int, body: bytes) -> Order:
    acknowledged = _REQUEST | (flags if flags == _DUMP else flags | _ACK)
    padded = body + bytes(-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(padded), kind, acknowledged, 0, 0) + padded


def _link(index: int) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, _UP, _UP)


def _attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _u32(number: int) -> bytes:
    return struct.pack("=I", number)


def _parse(packet: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 16 <= len(packet):
        length, kind = struct.unpack_from("=IH", packet, at)
        yield kind, packet[at + 16 : at + length]
        at += length + -length % 4


def _attributes(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        yield kind, body[at + 4 : at + length]
        at += max(4, length) + -length % 4
