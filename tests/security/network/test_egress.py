"""What sandboxes of the class `internet` reach, and how it is set up and taken down again."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

from lambent.model.errors import HostError
from lambent.sandbox.bubblewrap import BubblewrapDriver

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


def children(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(each) for task in tasks for each in (task / "children").read_text().split()]


def launchers(parent=None):
    """Launchers that we started, as ``nsenter`` became them; or forks of one, which bear its command line."""
    return [pid for pid in children(parent or os.getpid()) if b"--egress" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def relays():
    """What the launchers' keepers keep alive."""
    return [pid for launcher in launchers() for keeper in launchers(launcher) for pid in launchers(keeper)]
