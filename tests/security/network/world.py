"""A small internet of network namespaces: nothing that these tests send can leave this machine.

``host`` is where the launcher runs, with two interfaces. ``internet`` is behind one of them and has every address that
is not the host's, ``lan`` behind the other. Each is a process that runs what it is told.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parents[3] / "src"
PUBLIC, NAMED = "203.0.113.5", "203.0.113.53"
METADATA, PRIVATE, SHARED, LOCAL = "169.254.169.254", "10.9.9.9", "100.64.0.9", "172.16.5.5"
HOST_WAN, HOST_LAN, HOST_OTHER = "198.51.100.2", "192.168.50.2", "203.0.113.200"
INTERNET_WAN, LAN = "198.51.100.1", "192.168.50.9"

NODE = r"""
import contextlib, json, os, socket, struct, sys, threading
sys.path.insert(0, sys.argv[1])
from lambent.sandbox.launcher import kernel, netlink

NAME, RESOLV_CONF = sys.argv[2:4]
kernel.unshare(kernel.NEWNET | kernel.NEWNS)
kernel.make_mounts_private()
if RESOLV_CONF:
    kernel.must(kernel._libc.mount(RESOLV_CONF.encode(), b"/etc/resolv.conf", None, 4096, None), "bind")
links = netlink.Rtnetlink()
links.do([netlink.bring_up(1)])
heard, received = [], []

def serve(connection, peer):
    with connection, contextlib.suppress(ConnectionError):
        connection.sendall((NAME + " " + peer).encode())
        wanted = connection.recv(16)
        if wanted.startswith(b"send "):
            connection.sendall(bytes(int(wanted[5:])) + b"!")
        while wanted:
            wanted = connection.recv(65536)

def streams(port):
    listener = socket.create_server(("0.0.0.0", port))
    while True:
        connection, peer = listener.accept()
        threading.Thread(target=serve, args=(connection, peer[0]), daemon=True).start()

def datagrams(protocol, address):
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, protocol)
    listener.bind((address, 7777))  # so that the answer comes from there
    while True:
        data, peer = listener.recvfrom(65536)
        heard.append(data.decode() + " " + peer[0])
        listener.sendto(data, peer)

def answer(question):
    head = question[:2] + b"\x81\x80" + question[4:6] + question[4:6] + bytes(4)
    end = question.index(b"\0", 12) + 5
    record = b"\xc0\x0c\0\x01\0\x01" + struct.pack("!IH", 60, 4) + socket.inet_aton("203.0.113.53")
    if question[end - 4 : end - 2] != b"\0\x01":
        return head[:6] + bytes(6) + question[12:end]
    return head + question[12:end] + record

def resolver(address):
    # As systemd-resolved does: whoever does not come by the loopback interface is not heard.
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    asked.bind((address, 53))
    called = socket.socket()
    called.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    called.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    called.bind((address, 53))
    called.listen()
    def one(connection):
        with connection, contextlib.suppress(OSError, ValueError):  # an attacker may leave, or ask nothing
            question = connection.recv(65536)
            reply = answer(question[2:])
            connection.sendall(struct.pack("!H", len(reply)) + reply)
    def by_stream():
        while True:
            threading.Thread(target=one, args=(called.accept()[0],), daemon=True).start()
    threading.Thread(target=by_stream, daemon=True).start()
    while True:
        question, peer = asked.recvfrom(65536)
        asked.sendto(answer(question), peer)

def start(work, *arguments):
    threading.Thread(target=work, args=arguments, daemon=True).start()

print("ready", flush=True)
for line in sys.stdin:
    scope = globals()
    try:
        scope["result"] = None
        exec(json.loads(line), scope)
        print(json.dumps([scope["result"], None]), flush=True)
    except Exception as error:
        print(json.dumps([None, repr(error)]), flush=True)
"""


class Node:
    """A process in a network and a mount namespace of its own."""

    def __init__(self, name: str, resolv_conf: str = "") -> None:
        command = [sys.executable, "-c", NODE, str(SOURCES), name, resolv_conf]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        return self._process.pid

    def do(self, code: str) -> object:
        """Run ``code`` there and return its ``result``."""
        self._process.stdin.write(json.dumps(code) + "\n")
        self._process.stdin.flush()
        result, error = json.loads(self._process.stdout.readline())
        assert error is None, error
        return result

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@dataclass(frozen=True)
class World:
    host: Node
    internet: Node
    lan: Node

    def on_host(self, user: tuple[int, int] | None = None) -> list[str]:
        """Return the beginning of a command line that runs the rest there, as ``user``."""
        command = ["/usr/bin/nsenter", f"--net=/proc/{self.host.pid}/ns/net", f"--mount=/proc/{self.host.pid}/ns/mnt"]
        return command + ([] if user is None else [f"--setuid={user[0]}", f"--setgid={user[1]}"])

    def on_host_say(self, *command: str, user: tuple[int, int] | None = None) -> str:
        done = subprocess.run([*self.on_host(user), *command], capture_output=True, text=True, check=True)
        return done.stdout

    def tables(self) -> list[str]:
        """The names of the host's tables that are Lambent's."""
        listed = self.on_host_say("/usr/sbin/nft", "list", "tables").splitlines()
        return [line.split()[-1] for line in listed if "lambent" in line]

    def forwarding(self) -> dict[str, str]:
        code = "result = {n: open('/proc/sys/net/ipv4/conf/%s/forwarding' % n).read().strip() for n in ('wan', 'dmz')}"
        return self.host.do(code)

    def cables(self) -> list[str]:
        return self.host.do("result = [n for _, n in socket.if_nameindex() if n.startswith('lambent')]")


def _cable(node: Node, name: str, address: str, other: Node, other_name: str, other_address: str) -> None:
    node.do(
        f"there = os.open('/proc/{other.pid}/ns/net', 0)\n"
        f"links.do([netlink.make_veth({name!r}, 0, {other_name!r}, 0, there)])\n"
        f"links.do([netlink.add_address(socket.if_nametoindex({name!r}), {address!r}, 24)])"
    )
    other.do(
        f"index = socket.if_nametoindex({other_name!r})\n"
        f"links.do([netlink.bring_up(index), netlink.add_address(index, {other_address!r}, 24)])"
    )


def _default_route(node: Node, name: str, gateway: str) -> None:
    node.do(f"links.do([netlink.add_route(socket.if_nametoindex({name!r}), None, {gateway!r})])")


@contextlib.contextmanager
def open_world(folder: Path) -> Iterator[World]:
    resolv_conf = folder / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.53\n")
    resolv_conf.chmod(0o644)
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(contextlib.closing(Node(name))) for name in ("internet", "lan")]
        host = stack.enter_context(contextlib.closing(Node("host", str(resolv_conf))))
        world = World(host, *nodes)
        _cable(host, "wan", HOST_WAN, world.internet, "eth0", INTERNET_WAN)
        _cable(host, "dmz", HOST_LAN, world.lan, "eth0", LAN)
        _default_route(host, "wan", INTERNET_WAN)
        _default_route(world.internet, "eth0", HOST_WAN)
        _default_route(world.lan, "eth0", HOST_LAN)
        everywhere = (PUBLIC, NAMED, METADATA, PRIVATE, SHARED, LOCAL)
        world.internet.do(f"links.do([netlink.add_address(1, each, 32) for each in {everywhere!r}])")
        host.do(f"links.do([netlink.add_address(1, {HOST_OTHER!r}, 32)])")
        for node in (host, *nodes):
            node.do(_SERVE)
        host.do("start(resolver, '127.0.0.53')")
        # A listener is there once somebody could connect to it.
        for node in (host, *nodes):
            node.do(_WAIT_FOR_STREAMS)
        yield world


_SERVE = """
start(streams, 25)
start(streams, 80)
for address in links.addresses():
    for protocol in (socket.IPPROTO_UDP, 136):  # and UDP-Lite
        start(datagrams, protocol, address)
"""
_WAIT_FOR_STREAMS = """
import time
for _ in range(1000):
    try:
        socket.create_connection(("127.0.0.1", 80), 1).close()
        break
    except OSError:
        time.sleep(0.01)
"""


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")
