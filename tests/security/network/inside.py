"""A program in a sandbox that runs what it is told, and launchers for it on the world's host."""

import asyncio
import contextlib
import json
import socket
import sys

from lambent.sandbox.bubblewrap import BubblewrapDriver, open_launcher
from lambent.sandbox.driver import Limits, Program, SandboxSpec, Trees
from lambent.sandbox.launcher_client import launcher_command
from lambent.testing.sandboxes import find_or_make_test_user, open_roots

PROGRAM = r"""
import errno, json, os, socket, subprocess, sys, threading, time

control = socket.socket(fileno=0)

def attempt(call):
    try:
        return call()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))

def visit(address, port=80, timeout=3):
    with socket.create_connection((address, port), timeout) as peer:
        return peer.recv(99).decode().split()[0]

def echo(address, data, source=None, protocol=0):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, protocol) as peer:
        peer.settimeout(3)
        if source:
            peer.bind((source, 0))
        peer.connect((address, 7777))
        peer.send(data.encode())
        return peer.recv(999).decode()

def send(address, data, source=None, protocol=0):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, protocol) as peer:
        if source:
            peer.bind((source, 0))
        peer.sendto(data.encode(), (address, 7777))

while code := control.recv(1 << 20):
    scope = dict(globals(), result=None)
    try:
        exec(code.decode(), scope)
    except Exception as error:
        scope["result"] = repr(error)
    control.send(json.dumps(scope["result"]).encode())
"""


class Inside:
    """A sandbox's program."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control

    async def do(self, code: str) -> object:
        self._control.send(code.encode())
        return json.loads(await asyncio.to_thread(self._control.recv, 1 << 20))


@contextlib.asynccontextmanager
async def open_inside(driver, name="inside", egress="internet"):
    limits = Limits(memory_mib=256, tmp_mib=512)
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.settimeout(30)
    with control:
        async with driver.open_sandbox(SandboxSpec(sandbox_id=name, limits=limits, egress=egress)) as sandbox:
            with theirs:
                argv = ["/usr/bin/python3", "-I", "-c", PROGRAM]
                order = Program(argv=argv, environ={}, trees=Trees(), output_fd=2, control_fd=theirs.fileno())
                await sandbox.start(order)
            yield Inside(control)


@contextlib.asynccontextmanager
async def open_client(world, kind="root", *, weaken=(), options=("--egress-mbit-per-s", "1000"), run_dir=None):
    """Yield a launcher's client on the world's host; ``kind``: as root, or as an ordinary user."""
    user = find_or_make_test_user() if kind == "user" else None
    with open_roots(user) as roots:
        command = launcher_command(
            python=sys.executable,
            code_root=roots.code,
            runtime_root=roots.runtime,
            interpreter_root=roots.interpreter,
            run_dir=run_dir or roots.run,
            disk_dir=roots.run,
        )
        command += ["--egress", "internet", *options, *(f"--weaken={each}" for each in weaken)]
        environ = {"LAMBENT_TEST_WEAKEN": "1"} if weaken else {}
        async with open_launcher([*world.on_host(user), *command], environ=environ) as client:
            yield client


@contextlib.asynccontextmanager
async def open_driver(world, kind="root", **options):
    async with open_client(world, kind, **options) as client:
        yield BubblewrapDriver(client)


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  another process fulfils it
            await asyncio.sleep(0.01)
