"""What sandboxes of the class `internet` reach, and how it is set up and taken down again."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lambent.model.errors import HostError
from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.sandbox.launcher_client import launcher_path
from lambent.testing.sandboxes import find_or_make_test_user

from .inside import open_client, open_driver, open_inside, until
from .world import HOST_WAN, NAMED, PRIVATE, PUBLIC

pytestmark = pytest.mark.anyio


async def test_streams_and_datagrams_reach_the_internet_under_the_hosts_address(world, kind):
    async with open_driver(world, kind) as driver, open_inside(driver) as inside:
        assert await inside.do(f"result = socket.create_connection(({PUBLIC!r}, 80), 3).recv(99).decode()") == (
            f"internet {HOST_WAN}"
        )
        assert await inside.do(f"result = echo({PUBLIC!r}, 'hello {kind}')") == f"hello {kind}"
        assert f"hello {kind} {HOST_WAN}" in world.internet.do("result = heard")


async def test_names_mean_what_they_mean_on_the_host_though_its_resolver_hears_its_own_machine_alone(world, kind):
    async with open_driver(world, kind) as driver, open_inside(driver) as inside:
        assert await inside.do("result = socket.gethostbyname('anything.example')") == NAMED
        assert await inside.do("result = visit('anything.example')") == "internet"
        question = r"b'\x12\x34\1\0\0\1\0\0\0\0\0\0\1a\4test\0\0\1\0\1'"
        by_stream = (
            f"question = {question}\nwith socket.create_connection(('169.254.78.1', 53), 3) as peer:\n"
            "    peer.sendall(len(question).to_bytes(2, 'big') + question)\n    result = peer.recv(999)[-4:].hex()"
        )
        assert await inside.do(by_stream) == bytes(map(int, NAMED.split("."))).hex()


async def test_the_class_none_has_no_way_out(world, kind):
    async with open_driver(world, kind) as driver, open_inside(driver, egress="none") as inside:
        assert await inside.do(f"result = attempt(lambda: visit({PUBLIC!r}))") == "ENETUNREACH"
        assert await inside.do("result = [name for _, name in socket.if_nameindex()]") == ["lo"]


async def test_a_network_that_the_operator_opens_is_reached_and_its_neighbour_is_not(world, kind):
    options = ("--egress-allow", "10.9.9.0/24")
    async with open_driver(world, kind, options=options) as driver, open_inside(driver) as inside:
        assert await inside.do(f"result = visit({PRIVATE!r})") == "internet"
        assert await inside.do("result = attempt(lambda: visit('10.9.8.9'))") == "EHOSTUNREACH"


async def test_two_launchers_share_a_host_and_neither_ends_the_others_network(world):
    async with open_driver(world) as first, open_inside(first) as inside:
        async with open_driver(world) as second, open_inside(second) as other:
            assert len(world.tables()) == len(world.cables()) == 2
            assert await other.do(f"result = visit({PUBLIC!r})") == "internet"
        assert await inside.do(f"result = visit({PUBLIC!r})") == "internet"


async def test_nothing_stays_on_the_host(world):
    assert world.forwarding() == {"wan": "0", "dmz": "0"}
    async with open_driver(world) as driver, open_inside(driver):
        assert world.forwarding() == {"wan": "1", "dmz": "1"}
    assert (world.tables(), world.cables(), world.forwarding()) == ([], [], {"wan": "0", "dmz": "0"})


async def test_what_a_killed_launcher_left_is_taken_back_by_the_next_with_or_without_egress(world, tmp_path):
    with contextlib.suppress(HostError):
        async with open_client(world, run_dir=tmp_path) as client:
            driver = BubblewrapDriver(client)
            async with open_inside(driver):
                table = world.tables()
                (launcher,) = launchers()
                os.kill(launcher, signal.SIGKILL)
                await until(lambda: not world.cables())
    assert world.tables() == table
    assert world.forwarding() == {"wan": "1", "dmz": "1"}
    async with open_client(world, run_dir=tmp_path, options=("--egress", "none")):
        assert (world.tables(), world.forwarding()) == ([], {"wan": "0", "dmz": "0"})


async def test_a_resolver_that_is_killed_is_started_again(world):
    async with open_driver(world) as driver, open_inside(driver) as inside:
        assert await inside.do("result = socket.gethostbyname('before.example')") == NAMED
        (relay,) = relays()
        os.kill(relay, signal.SIGKILL)
        assert await inside.do("result = socket.gethostbyname('after.example')") == NAMED


async def test_an_address_that_the_host_gets_later_is_refused_like_the_others(world, kind):
    async with open_driver(world, kind) as driver, open_inside(driver) as inside:
        address = "203.0.113.201" if kind == "root" else "203.0.113.202"
        world.host.do(f"links.do([netlink.add_address(1, {address!r}, 32)])")
        visit = f"result = attempt(lambda: visit({address!r}))"
        async with asyncio.timeout(20):
            while await inside.do(visit) == "host":
                pass
        assert await inside.do(visit) in ("EHOSTUNREACH", "ECONNREFUSED")


async def test_a_firewall_that_drops_what_the_host_forwards_is_named_and_one_that_knows_us_is_not(world):
    table = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; %s }; }"
    world.on_host_say("/usr/sbin/nft", table % "")
    try:
        async with open_client(world) as client:
            (refusal,) = [each for each in client.missing if each.setting == "egress"]
            assert "chain FORWARD of table ip filter" in refusal.reason
            assert "lambent" in refusal.remedy
        known = 'iifname "lambent*" accept; oifname "lambent*" ct state established,related accept;'
        world.on_host_say("/usr/sbin/nft", f"flush table ip filter; {table % known}")
        async with open_driver(world) as driver, open_inside(driver) as inside:
            assert await inside.do(f"result = visit({PUBLIC!r})") == "internet"
    finally:
        world.on_host_say("/usr/sbin/nft", "delete table ip filter")


async def test_a_host_that_forwards_anyway_is_left_as_it_is(world):
    world.host.do("open('/proc/sys/net/ipv4/ip_forward', 'w').write('1')")
    try:
        async with open_driver(world) as driver, open_inside(driver) as inside:
            assert await inside.do(f"result = visit({PUBLIC!r})") == "internet"
            assert (
                world.host.do(f"with socket.socket(2, 2) as s:\n    s.sendto(b'x', ({PUBLIC!r}, 7777)); s.recv(9)")
                is None
            )
            world.lan.do(f"socket.socket(2, 2).sendto(b'routed as before', ({PUBLIC!r}, 7777))")
            await until(lambda: any(each.startswith("routed") for each in world.internet.do("result = heard")))
        assert world.forwarding() == {"wan": "1", "dmz": "1"}
    finally:
        world.host.do("open('/proc/sys/net/ipv4/ip_forward', 'w').write('0')")


async def test_the_doctors_trial_passes_and_leaves_nothing(world, kind):
    user = find_or_make_test_user() if kind == "user" else None
    trial = str(launcher_path().parent / "trial.py")
    assert world.on_host_say(sys.executable, "-I", trial, user=user) == ""
    assert (world.tables(), world.cables(), world.forwarding()) == ([], [], {"wan": "0", "dmz": "0"})


async def test_the_doctors_trial_finds_a_firewall_that_it_cannot_read(world):
    """Its rules reject, under a policy that accepts: only a packet finds out."""
    table = "table ip other { chain FORWARD { type filter hook forward priority 1; policy accept; reject; }; }"
    world.on_host_say("/usr/sbin/nft", table)
    try:
        with pytest.raises(subprocess.CalledProcessError) as failed:
            world.on_host_say(sys.executable, "-I", str(launcher_path().parent / "trial.py"))
        assert "a firewall of this host drops what it should forward" in failed.value.stdout
    finally:
        world.on_host_say("/usr/sbin/nft", "delete table ip other")


def children(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(each) for task in tasks for each in (task / "children").read_text().split()]


def launchers(parent=None):
    """Launchers that we started, as ``nsenter`` became them; or forks of one, which bear its command line."""
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(parent or os.getpid())}
    # As an argument of its own: a server's supervisor names it inside of one.
    return [pid for pid, command in commands.items() if b"--egress" in command.split(b"\0")]


def relays():
    """What the launchers' keepers keep alive."""
    return [pid for launcher in launchers() for keeper in launchers(launcher) for pid in launchers(keeper)]
