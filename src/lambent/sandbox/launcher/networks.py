"""Network namespaces made ahead of time: loopback up, AWS's link-local address on it, two listeners at it."""

import fcntl
import os
import socket
import struct
from typing import Final

from lambent.sandbox.launcher.kernel import NEWNET, enter, namespace, unshare
from lambent.sandbox.launcher.router import Router

# Recorded from AWS: AWS_LAMBDA_RUNTIME_API is 169.254.100.1:9001.
RUNTIME_API: Final = ("169.254.100.1", 9001)
# The AWS endpoint: same address, so that whatever reaches one reaches the other; the port is ours to choose.
ENDPOINT: Final = ("169.254.100.1", 4566)
BACKLOG: Final = 128
_SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8914, 0x8916, 0x891C
_UP_AND_RUNNING: Final = 0x41


class Network:
    """One namespace and the listening sockets in it: the Runtime API's and the AWS endpoint's."""

    def __init__(self, descriptor: int, listener: socket.socket, endpoint_listener: socket.socket) -> None:
        self.descriptor = descriptor
        self.listener = listener
        self.endpoint_listener = endpoint_listener

    def close(self) -> None:
        """Let go of it; the kernel removes it with its last process and socket."""
        os.close(self.descriptor)
        self.listener.close()
        self.endpoint_listener.close()


class Networks:
    """A pool. ``refill_once`` is called when nothing else is to be done, so that ``take`` costs nothing."""

    def __init__(self, *, ready: int, router: Router | None) -> None:
        self._ready = ready
        self._router = router
        self._usual = "none" if router is None else "internet"
        self._home = namespace("net")
        self._pool: list[Network] = []

    def take(self, egress: str) -> Network:
        """Return a network that nobody used, of this egress class. Only the usual one's wait in the pool."""
        return self._pool.pop() if self._pool and egress == self._usual else self._make(egress)

    def is_short(self) -> bool:
        """Whether the pool is not full."""
        return len(self._pool) < self._ready

    def refill_once(self) -> bool:
        """Make one more; False when there are enough."""
        if not self.is_short():
            return False
        self._pool.append(self._make(self._usual))
        return True

    def open_outbound(self, network: Network) -> socket.socket:
        """Return an unconnected TCP socket of ``network``."""
        enter(network.descriptor, NEWNET)
        try:
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        finally:
            enter(self._home, NEWNET)

    def close(self) -> None:
        """Let go of all that nobody took."""
        while self._pool:
            self._pool.pop().close()

    def _make(self, egress: str) -> Network:
        if egress != "none" and self._router is None:
            raise OSError(f"egress: sandboxes of this launcher have no class {egress!r}")
        unshare(NEWNET)
        try:
            _bring_loopback_up()
            if egress != "none" and self._router is not None:
                self._router.attach()
            return Network(namespace("net"), _listen(RUNTIME_API), _listen(ENDPOINT))
        finally:
            enter(self._home, NEWNET)


def _listen(address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(BACKLOG)
    return listener


def _bring_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _UP_AND_RUNNING))
        # An alias of the loopback interface: no netlink needed.
        fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16s16s8x", b"lo:1", _address(RUNTIME_API[0])))
        fcntl.ioctl(control, _SIOCSIFNETMASK, struct.pack("16s16s8x", b"lo:1", _address("255.255.255.255")))


def _address(text: str) -> bytes:
    return struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(text))
