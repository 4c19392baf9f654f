"""Garbage on the launcher's channel gets an error reply at most: it never ends the launcher, nor leaks a descriptor."""

import asyncio
import json
import os
import random
import socket
import string
import subprocess

import pytest

from lambent.sandbox.launcher.messages import MESSAGE_LIMIT_BYTES, OPERATIONS
from lambent.sandbox.launcher_client import LauncherClient, launcher_command
from lambent.testing.sandboxes import SYSTEM_PYTHON

LIMITS = {"memory_mib": 128, "tmp_mib": 512, "processes": 64, "open_files": 64, "cpu_share": None, "cpu_weight": 100}
SOUND = {
    "egress": "none",
    "server": "x",
    "sandbox": "fuzz",
    "limits": LIMITS,
    "program": 1,
    "argv": ["/bin/true"],
    "environ": {"A": "b"},
    "trees": {"code": "function"},
    "received": ["output"],
    "number": 15,
}
ODD = [
    None, True, False, 0, -1, 1, 2**53, 2**64, 1.5, 1e308,
    "", "x", "../x", "/etc", ".", "..", "a\0b",
    "\ud800", "x" * 5000, [], [None], ["x"], ["/bin/true", 1], {}, {"": ""}, {"a=b": "c"},
    {"code": "../x"}, {"code": "a/b"},
    {"code": None}, {"kernel": "x"}, ["output", "output"], ["log"], {**LIMITS, "memory_mib": -1},
    {**LIMITS, "cpu_share": "x"}, {**LIMITS, "cpu_share": 0}, {**LIMITS, "more": 1}, {"memory_mib": 1},
]  # fmt: skip


def packets(seed, launcher, count):
    """Random bytes, torn JSON, wrong types, wrong fields, sound messages in wrong order."""
    draw = random.Random(seed)
    for _ in range(count):
        match draw.randrange(6):
            case 0:
                yield draw.randbytes(draw.choice((1, 7, 100, 5000)))
            case 1:
                yield json.dumps(draw.choice(ODD)).encode("utf-8", "surrogatepass")
            case 2:
                yield b'{"id":1,"op":"create",' * draw.randrange(1, 4)
            case 3:
                yield b"[" * draw.choice((10, 20_000))
            case _:
                operation = draw.choice([*OPERATIONS, "nothing", "__init__", "run"])
                fields = {name: SOUND[name] for name in OPERATIONS.get(operation, {})}
                message = {"id": draw.randrange(1, 99), "op": operation, "launcher": launcher, **fields}
                for _ in range(draw.randrange(3)):
                    key = draw.choice([*message, "".join(draw.choices(string.ascii_lowercase, k=4))])
                    message[key] = draw.choice(ODD)
                yield json.dumps(message).encode()


@pytest.fixture
def channel(roots, user):
    """(our end, the launcher's process)"""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = launcher_command(
        python=SYSTEM_PYTHON,
        code_root=roots.code,
        runtime_root=roots.runtime,
        interpreter_root=roots.interpreter,
        run_dir=roots.run,
    )
    uid, gid = user or (None, None)
    arguments = [*command, str(theirs.fileno())]
    groups = [] if user else None
    with ours, theirs:
        process = subprocess.Popen(
            arguments, pass_fds=[theirs.fileno()], env={}, user=uid, group=gid, extra_groups=groups
        )
        theirs.close()
        ours.settimeout(20)
        yield ours, process
        process.terminate()
        assert process.wait(20) == 0


def drain(ours, wanted_id):
    """Read answers, closing what comes along, until the one that is wanted."""
    while True:
        packet, descriptors, _, _ = socket.recv_fds(ours, 1 << 20, 16)
        for descriptor in descriptors:
            os.close(descriptor)
        assert packet, "the launcher is dead"
        message = json.loads(packet)
        if message.get("id") == wanted_id:
            return message


@pytest.mark.parametrize("seed", range(4))
def test_no_message_ends_the_launcher_or_costs_it_a_descriptor(channel, seed):
    ours, process = channel

    def ask(identifier, operation, **fields):
        ours.send(json.dumps({"id": identifier, "op": operation, **fields}).encode())
        return drain(ours, identifier)

    launcher = ask(1000, "hello", server="x")["ok"]["launcher"]
    counts = []
    with open(os.devnull) as null:
        for turn in range(2):
            for n, packet in enumerate(packets(seed * 2 + turn, launcher, 200)):
                socket.send_fds(ours, [packet], [null.fileno()] * (n % 9))
                if n % 20 == 19:
                    ask(2000 + n, "capabilities", launcher=launcher)
            # A new server: whatever the attack had made is removed, and the pools fill again.
            ask(3000 + turn, "hello", server="x")
            assert "ok" in ask(4000 + turn, "capabilities", launcher=launcher)
            counts.append(len(os.listdir(f"/proc/{process.pid}/fd")))
    # The pools may be filling still; a leak would be hundreds.
    assert counts[1] <= counts[0] + 20


def test_a_message_that_is_too_long_is_refused(channel):
    ours, _ = channel
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    ours.send(b'{"id":7,"op":"hello","server":"' + b"x" * MESSAGE_LIMIT_BYTES + b'"}')
    assert "longer than" in drain(ours, 0)["error"]


def test_an_order_for_a_dead_launcher_is_refused_by_its_successor(channel):
    ours, _ = channel
    message = {
        "id": 5,
        "op": "create",
        "launcher": "of the dead one",
        "sandbox": "late",
        "limits": LIMITS,
        "egress": "none",
    }
    ours.send(json.dumps(message).encode())
    assert "dead" in drain(ours, 5)["error"]


@pytest.mark.anyio
async def test_a_client_survives_answers_that_it_never_asked_for():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        client = LauncherClient(ours)
        for message in ({"id": 3, "ok": {}}, {"event": "exit", "launcher": "x", "sandbox": "a", "program": 1}, {}):
            socket.send_fds(theirs, [json.dumps(message).encode()], [theirs.fileno()])

        async def answer():
            packet = await asyncio.to_thread(theirs.recv, 1 << 16)
            facts = {"launcher": "fake", "missing": []}
            theirs.send(json.dumps({"id": json.loads(packet)["id"], "ok": facts}).encode())

        async with asyncio.TaskGroup() as group:
            group.create_task(answer())
            async with client.running():
                assert client.generation == 1
    ours.close()
