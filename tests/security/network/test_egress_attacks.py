"""Sandboxes that reach for what is not the internet. Each attack succeeds when its defence is turned off."""

from dataclasses import dataclass

import pytest

from lambent.sandbox.launcher.packet_filter import FLOWS

from .inside import open_driver, open_inside, until
from .world import HOST_LAN, HOST_OTHER, HOST_WAN, LAN, LOCAL, METADATA, PRIVATE, PUBLIC, SHARED

pytestmark = pytest.mark.anyio

REFUSED = ("EHOSTUNREACH", "ECONNREFUSED", "ENETUNREACH")
BOTH = ("root", "user")


@dataclass(frozen=True)
class Attack:
    """``code`` leaves its finding in ``result``. ``without`` the defences it finds ``instead``."""

    name: str
    code: str
    without: tuple[str, ...]
    instead: object
    contained: tuple = REFUSED
    kinds: tuple[str, ...] = BOTH


def visit(name, address, whose, *without, kinds=BOTH):
    return Attack(name, f"result = attempt(lambda: visit({address!r}))", without, whose, kinds=kinds)


ATTACKS = [
    visit("asks the metadata address", METADATA, "internet", "egress-ranges"),
    visit("visits a private network behind the host's gateway", PRIVATE, "internet", "egress-ranges"),
    visit("visits another private network", LOCAL, "internet", "egress-ranges"),
    visit("visits an address shared by a provider's customers", SHARED, "internet", "egress-ranges"),
    visit("visits the host's neighbour on another interface", LAN, "lan", "egress-ranges"),
    visit("visits the host at its public address", HOST_WAN, "host", "egress-host", kinds=("root",)),
    visit("visits the host at the address of no interface that leads here", HOST_OTHER, "host", "egress-host"),
    visit("visits the host at its private address", HOST_LAN, "host", "egress-host", "egress-ranges"),
    Attack(
        "delivers mail by itself", f"result = attempt(lambda: visit({PUBLIC!r}, 25))", ("egress-protocols",), "internet"
    ),
    Attack(
        "sends a datagram to a private network",
        f"result = attempt(lambda: echo({PRIVATE!r}, 'private'))",
        ("egress-ranges",),
        "private",
    ),
]
CASES = [pytest.param(each, kind, id=f"{each.name} ({kind})") for each in ATTACKS for kind in each.kinds]


@pytest.fixture
def may_open_tun(kind, request):
    if kind == "user":
        request.getfixturevalue("tun")


@pytest.mark.usefixtures("may_open_tun")
@pytest.mark.parametrize(("attack", "kind"), CASES)
async def test_a_sandbox_that(attack, kind, world):
    async with open_driver(world, kind) as driver, open_inside(driver) as inside:
        assert await inside.do(attack.code) in attack.contained
        assert await inside.do(f"result = visit({PUBLIC!r})") == "internet"
    async with open_driver(world, kind, weaken=attack.without) as driver, open_inside(driver) as inside:
        assert await inside.do(attack.code) == attack.instead


SENT = [
    pytest.param("protocol=136", "egress-protocols", "root", id="speaks a protocol that is neither TCP nor UDP"),
    pytest.param("source='169.254.100.1'", "egress-source", "root", id="sends under another address (root)"),
    pytest.param("source='169.254.100.1'", "egress-source", "user", id="sends under another address (user)"),
]


@pytest.mark.usefixtures("may_open_tun")
@pytest.mark.parametrize(("how", "defence", "kind"), SENT)
async def test_a_datagram_of_a_sandbox_that(how, defence, kind, world):
    for weaken, arrives in (((), False), ((defence,), True)):
        token = f"{defence} {kind} {arrives}"
        async with open_driver(world, kind, weaken=weaken) as driver, open_inside(driver) as inside:
            for _ in range(50 if arrives else 1):  # any datagram may be lost
                await inside.do(f"send({PUBLIC!r}, {token!r}, {how})")
                assert await inside.do(f"result = echo({PUBLIC!r}, 'afterwards')") == "afterwards"
                if heard(world, token):
                    break
            assert heard(world, token) == arrives


def heard(world, token):
    return any(each.startswith(token) for each in world.internet.do("result = heard"))


LISTEN = """
listener = socket.create_server(("0.0.0.0", 4000))
def serve():
    while True:
        connection, _ = listener.accept()
        connection.send(b"sandbox")
        connection.close()
threading.Thread(target=serve, daemon=True).start()
globals()["listener"] = listener
result = [line.split()[1] for line in open("/proc/net/fib_trie") if "169.254.19" in line][-1]
"""
CALL = "result = attempt(lambda: visit({!r}, 4000))"


async def test_a_sandbox_that_calls_another(world):
    for weaken, finding in (((), "EHOSTUNREACH"), (("egress-neighbours", "egress-ranges"), "sandbox")):
        async with (
            open_driver(world, weaken=weaken) as driver,
            open_inside(driver, "one") as inside,
            open_inside(driver, "two") as other,
        ):
            address = await other.do(LISTEN)
            assert await inside.do(CALL.format(address)) == finding


async def test_a_caller_from_outside(world):
    """The host, which knows the way, calls a server in a sandbox."""
    call = (
        "try:\n    result = socket.create_connection(({!r}, 4000), 1).recv(99).decode()\n"
        "except OSError as error:\n    result = str(error)"
    )
    for weaken, finding in (((), "timed out"), (("egress-inbound", "egress-ranges", "egress-host"), "sandbox")):
        async with open_driver(world, weaken=weaken) as driver, open_inside(driver) as inside:
            address = await inside.do(LISTEN)
            cable = world.cables()[0]
            router = world.host.do(
                f"there = [a for a in links.addresses() if a.startswith('169.254.')][0].split('.')\n"
                f"router = '.'.join([*there[:3], str(int(there[3]) + 1)])\n"
                f"links.do([netlink.add_route(socket.if_nametoindex({cable!r}), {address!r}, router)])\nresult = router"
            )
            assert router
            assert world.host.do(call.format(address)) == finding


async def test_a_neighbour_of_the_host_that_takes_it_for_a_router(world):
    """The host forwards only because of us: for us alone."""
    for weaken, arrives in (((), False), (("egress-inbound",), True)):
        token = f"through the host {arrives}"
        async with open_driver(world, weaken=weaken):
            world.lan.do(f"socket.socket(2, 2).sendto({token!r}.encode(), ({PUBLIC!r}, 7777))")
            if arrives:
                await until(lambda: heard(world, token))  # noqa: B023  awaited in this turn
            world.host.do(f"with socket.socket(2, 2) as s:\n    s.sendto(b'x', ({PUBLIC!r}, 7777)); s.recv(9)")
            assert heard(world, token) == arrives


FLOOD = f"""
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
    for port in range(20000, 20000 + {FLOWS + 3000}):
        try:
            peer.sendto(b"x", ({PUBLIC!r}, port))
        except OSError:
            pass
"""
TRACKED = "result = int(open('/proc/sys/net/netfilter/nf_conntrack_count').read())"


async def test_a_sandbox_that_fills_the_hosts_table_of_flows(world):
    for weaken in ((), ("egress-flows",)):
        async with open_driver(world, weaken=weaken) as driver, open_inside(driver) as inside:
            before = world.host.do(TRACKED)
            await inside.do(FLOOD)
            assert (world.host.do(TRACKED) - before > FLOWS + 100) == bool(weaken)


async def test_all_sandboxes_together_leave_the_host_half_of_its_table(world):
    async with open_driver(world):
        (rule,) = [
            line for line in world.on_host_say("/usr/sbin/nft", "list", "ruleset").splitlines() if "over" in line
        ]
        most = int(world.host.do("result = open('/proc/sys/net/netfilter/nf_conntrack_max').read()"))
        assert f"ct count over {most // 2}" in rule


async def test_a_sandbox_that_asks_the_router_for_more_than_names(world, kind):
    async with open_driver(world, kind) as driver, open_inside(driver) as inside:
        assert await inside.do("result = attempt(lambda: visit('169.254.78.1', 80))") in REFUSED
        assert await inside.do("result = attempt(lambda: echo('169.254.78.1', 'x'))") in REFUSED


async def test_a_sandbox_that_tries_ipv6(world, kind):
    code = (
        "result = [attempt(lambda: visit(a)) for a in ('2001:db8::1', 'fd00:ec2::254', 'ff02::1%eth0', 'fe80::1%eth0')]"
    )
    async with open_driver(world, kind) as driver, open_inside(driver) as inside:
        assert set(await inside.do(code)) <= {"ENETUNREACH", "EADDRNOTAVAIL", "EHOSTUNREACH", "EINVAL"}


SEND = """
began = time.monotonic()
with socket.create_connection(({address!r}, 80), 60) as peer:
    peer.recv(99)
    {move}
result = time.monotonic() - began
"""
UP = "peer.sendall(b'x' + bytes({size})); peer.shutdown(1); peer.recv(1)"
DOWN = "peer.sendall(b'send {size}')\n    while not peer.recv(65536).endswith(b'!'): pass"


@pytest.mark.parametrize("move", [UP, DOWN], ids=["sends", "receives"])
async def test_a_sandbox_that_takes_more_than_its_share_of_the_wire_and(move, world, kind, request):
    if kind == "user":
        request.getfixturevalue("tun")
    size = 3_000_000
    code = SEND.format(address=PUBLIC, move=move.format(size=size))
    slow = ("--egress-mbit-per-s", "16")  # 2 MB/s
    async with open_driver(world, kind, options=slow) as driver, open_inside(driver) as inside:
        assert await inside.do(code) > 1
    async with open_driver(world, kind, options=slow, weaken=("egress-rate",)) as driver, open_inside(driver) as inside:
        assert await inside.do(code) < 1
