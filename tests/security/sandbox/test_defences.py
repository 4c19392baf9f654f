"""A hostile function looks at its sandbox from inside while we look at it from outside.

Every defence has a check. With that one defence turned off its check must fail, or it would prove nothing.
"""

import asyncio
import contextlib
import json
import os
import secrets
import socket
from pathlib import Path

import pytest

from lambent.model.errors import HostError
from lambent.sandbox.bubblewrap import BubblewrapDriver, open_launcher
from lambent.sandbox.driver import Limits, Program, SandboxSpec, Trees
from lambent.sandbox.launcher_client import launcher_command
from lambent.testing.sandboxes import SYSTEM_PYTHON, open_test_launcher

pytestmark = pytest.mark.anyio

PROBE = r"""
import ctypes, json, os, socket, sys

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
OWNED = ("/var/task", "/var/task/app.py", "/opt", "/tmp", "/lambda-entrypoint.sh")
libc, control = ctypes.CDLL(None, use_errno=True), socket.socket(fileno=0)

def attempt(call):
    try:
        return f"worked: {call()}"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)

def must(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result

def in_a_child(call):
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, attempt(call).encode())
        os._exit(0)
    os.wait()
    return os.read(reader, 999).decode()

def create(folder):
    path = folder + "/probe"
    with open(path, "w"):
        pass
    os.unlink(path)
    return folder

def writable(top):
    return [folder for folder, _, _ in os.walk(top) if attempt(lambda: create(folder)).startswith("worked")]

def abstract(name):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + name)

def remount():
    return must(libc.mount(None, b"/var/task", None, ctypes.c_ulong(32 | 4096), None))  # REMOUNT | BIND, not RDONLY

control.send(b"ready")
task = json.loads(control.recv(9999))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
seen = {
    "owners": [os.stat(path).st_uid for path in OWNED],
    "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
    "status": {key: status[key].split() for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")},
    "new user namespace": in_a_child(lambda: must(libc.unshare(0x10000000))),
    "write code": attempt(lambda: create("/var/task")),
    "generic netlink": attempt(lambda: socket.socket(16, 3, 16)),
    "remount code": attempt(remount),
    "unmount code": attempt(lambda: must(libc.umount2(b"/var/task", 2))),
    "writable in /dev": writable("/dev"),
    "shm": os.path.exists("/dev/shm"),
    "devices": sorted(os.listdir("/dev")),
    "writable": [f for top in os.listdir("/") if top not in ("proc", "usr", "host") for f in writable("/" + top)]
        + [top for top in ("/", "/usr", "/proc", "/proc/sys") if attempt(lambda: create(top)).startswith("worked")],
    "root": sorted(os.listdir("/")),
    "etc": sorted(os.listdir("/etc")),
    "home": attempt(lambda: os.listdir("/home")),
    "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
    "route": attempt(lambda: socket.create_connection(("192.0.2.1", 80), 1)),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "host port": attempt(lambda: socket.create_connection(("127.0.0.1", task["port"]), 1).recv(9)),
    "abstract": attempt(lambda: abstract(task["abstract"])),
    "hostname": socket.gethostname(),
    "cgroup": open("/proc/self/cgroup").read(),
    "namespaces": {kind: os.readlink("/proc/self/ns/" + kind) for kind in KINDS},
    "sys": os.path.exists("/sys"),
    "kcore": attempt(lambda: open("/proc/kcore", "rb").read(1)),
    "sysctl": attempt(lambda: open("/proc/sys/kernel/hostname", "w")),
    "sysrq": attempt(lambda: open("/proc/sysrq-trigger", "w")),
    "setuid": attempt(lambda: os.setuid(0)),
    "umask": os.umask(0o22),
    "limits": {name: getattr(__import__("resource"), "getrlimit")(getattr(__import__("resource"), name))
        for name in dir(__import__("resource")) if name.startswith("RLIMIT_")},
    "tmp": [oct(os.stat("/tmp").st_mode), os.listdir("/tmp"), attempt(lambda: create("/tmp"))],
    "entrypoint": oct(os.stat("/lambda-entrypoint.sh").st_mode),
    "user": __import__("pwd").getpwuid(os.getuid()).pw_name,
    "hosts": [socket.gethostbyname(name) for name in ("localhost", "sandbox.localdomain")],
}
control.send(json.dumps(seen).encode())
control.recv(1)
"""


def family(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [pid, *(each for child in file.read().split() for each in family(int(child)))]


def read_uid_map(pid):
    return Path(f"/proc/{pid}/uid_map").read_text().split()


def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return {key: value.split() for key, value in (line.split(":", 1) for line in file)}


@contextlib.asynccontextmanager
async def examined(driver, name="probed"):
    """Yield (what the probe sees, what is seen from outside, the sandbox) while the probe lives."""
    abstract_name = f"lambent-test-{secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        host_port = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{abstract_name}")
        abstract.listen()
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(control)
        control.settimeout(20)
        spec = SandboxSpec(sandbox_id=name, limits=Limits(memory_mib=256, tmp_mib=512, processes=742))
        async with driver.open_sandbox(spec) as sandbox:
            with theirs:
                argv = ["/usr/bin/python3", "-I", "-c", PROBE]
                program = await sandbox.start(
                    Program(argv=argv, environ={}, trees=Trees(), output_fd=2, control_fd=theirs.fileno())
                )
            assert await asyncio.to_thread(control.recv, 9) == b"ready"
            await program.assign(Trees(code="function"), spec.limits)
            task = {"port": host_port.getsockname()[1], "abstract": abstract_name}
            control.send(json.dumps(task).encode())
            inside = json.loads(await asyncio.to_thread(control.recv, 1 << 20))
            uid_map = read_uid_map(program.pid)
            pids = family(program.pid)
            outside = {"pid": program.pid, "uid_map": uid_map, "processes": [status(pid) for pid in pids]}
            yield inside, outside, sandbox


def own_namespaces():
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
    return {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}


def has_own_kuid(inside, outside):
    ours = {"0", str(os.getuid())}
    return all(not ours & {*each["Uid"], *each["Gid"]} for each in outside["processes"])


CHECKS = {
    "kuid": has_own_kuid,
    "capabilities": lambda inside, outside: all(
        int(inside["status"][kind][0], 16) == 0 for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    ),
    "userns": lambda inside, outside: not inside["new user namespace"].startswith("worked"),
    "pid": lambda inside, outside: max(inside["processes"]) < 10,
    "ipc": lambda inside, outside: inside["namespaces"]["ipc"] != own_namespaces()["ipc"],
    "uts": lambda inside, outside: inside["namespaces"]["uts"] != own_namespaces()["uts"],
    "cgroup": lambda inside, outside: inside["namespaces"]["cgroup"] != own_namespaces()["cgroup"],
    "network": lambda inside, outside: (
        not inside["abstract"].startswith("worked") and not inside["host port"].startswith("worked")
    ),
    "host-files": lambda inside, outside: (
        inside["root"]
        == sorted(
            {"dev", "etc", "lambda-entrypoint.sh", "opt", "proc", "tmp", "usr", "var"}
            | {name for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32") if os.path.lexists(f"/{name}")}
        )
    ),
    "read-only-code": lambda inside, outside: inside["write code"] == "Read-only file system",
    "read-only-dev": lambda inside, outside: not inside["writable in /dev"] and not inside["shm"],
    "read-only-root": lambda inside, outside: (
        [path for path in inside["writable"] if not path.startswith("/dev")] in (["/tmp"], ["/tmp", "/var/task"])
    ),
    "seccomp": lambda inside, outside: inside["generic netlink"] == "Protocol not supported",
}
# As an ordinary user the launcher has no host network to fall back to; and nobody but root is host root.
ROOT_ONLY = {"kuid", "network"}
# The checks that a weakened defence may bring down with its own.
ALONG = {"capabilities": {"userns", "read-only-code"}, "read-only-dev": {"read-only-root"}}


async def test_every_defence_holds(roots, user):
    async with open_test_launcher(roots, user=user) as client:
        async with examined(BubblewrapDriver(client)) as (inside, outside, _):
            assert {name: check(inside, outside) for name, check in CHECKS.items()} == dict.fromkeys(CHECKS, True)
            assert inside["status"]["NoNewPrivs"] == ["1"]
            assert [each["Seccomp"] for each in outside["processes"]] == [["2"]]
            assert inside["remount code"] == inside["unmount code"] == "Operation not permitted"
            assert inside["setuid"] in ("Invalid argument", "Operation not permitted")  # no other id, or no right to it
            assert inside["ids"] == [[993] * 3, [990] * 3, []] or inside["ids"] == [[993] * 3, [990] * 3, [990]]
            # Root's launcher also maps a root, which owns what the function finds and which no process is.
            assert outside["uid_map"][::3] == (["993"] if user or os.geteuid() else ["0", "993"])
            assert set(outside["uid_map"][2::3]) == {"1"}
            assert inside["route"] == "Network is unreachable"
            assert inside["interfaces"] == ["lo"]
            assert not inside["sys"]
            assert inside["home"] == "No such file or directory"
            assert inside["devices"] == sorted(
                ["fd", "full", "null", "random", "stderr", "stdin", "stdout", "urandom", "zero"]
            )
            assert inside["kcore"] in ("worked: b''", "Permission denied", "No such file or directory")
            assert not inside["sysctl"].startswith("worked")
            assert not inside["sysrq"].startswith("worked")
            assert all(line.endswith(":/") for line in inside["cgroup"].splitlines())


async def test_a_function_finds_what_it_finds_on_aws(roots, user):
    async with open_test_launcher(roots, user=user) as client:
        async with examined(BubblewrapDriver(client)) as (inside, _, _):
            assert inside["user"] == "sbx_user1051"
            # Without root nobody can show the host's files under another owner.
            assert inside["owners"] == ([65_534] * 5 if user or os.geteuid() else [0] * 5)
            assert inside["hosts"] == ["127.0.0.1", "127.0.0.1"]
            assert inside["tmp"] == ["0o41777", [], "worked: /tmp"]
            assert inside["entrypoint"] == "0o100755"
            assert inside["umask"] == 0o22
            limits = {name: tuple(value) for name, value in inside["limits"].items()}
            # Recorded from AWS for a function of 128 MB.
            assert limits["RLIMIT_NOFILE"] == (1024, 1024)
            assert limits["RLIMIT_NPROC"] == (742, 742)
            assert limits["RLIMIT_MEMLOCK"] == (65_536, 65_536)
            assert limits["RLIMIT_STACK"] == (8_388_608, -1)
            assert limits["RLIMIT_CORE"] == (10_737_418_240, 10_737_418_240)
            for name in ("AS", "CPU", "DATA", "FSIZE", "RSS"):
                assert limits[f"RLIMIT_{name}"] == (-1, -1)


@pytest.mark.parametrize("defence", sorted(CHECKS))
async def test_without_a_defence_its_own_check_fails_and_no_other(roots, user, defence):
    if user is not None and defence in ROOT_ONLY:
        pytest.skip("an ordinary user's launcher has nothing weaker to fall back to")
    # The filter stands behind most of the others: off, it shows whether each holds by itself.
    async with open_test_launcher(roots, user=user, weaken=sorted({defence, "seccomp"})) as client:
        async with examined(BubblewrapDriver(client)) as (inside, outside, _):
            failed = {name for name, check in CHECKS.items() if not check(inside, outside)}
            assert defence in failed
            assert failed <= {defence, "seccomp", *ALONG.get(defence, ())}


def test_the_check_of_no_new_privileges_can_fail():
    # bubblewrap sets it always: the check is shown to fail on a process that lacks it.
    assert status(os.getpid())["NoNewPrivs"] == ["0"]


async def test_two_sandboxes_share_neither_id_nor_namespace(roots, user):
    async with open_test_launcher(roots, user=user) as client:
        driver = BubblewrapDriver(client)
        async with examined(driver, "first") as (inside, outside, _), examined(driver, "second") as (other, there, _):
            assert outside["uid_map"][-2] != there["uid_map"][-2]
            for kind, name in inside["namespaces"].items():
                assert name not in (other["namespaces"][kind], own_namespaces()[kind])


async def test_a_sandbox_sees_nothing_of_another_in_tmp(roots, user):
    async with open_test_launcher(roots, user=user) as client:
        driver = BubblewrapDriver(client)
        limits = Limits(memory_mib=256, tmp_mib=512)
        async with contextlib.AsyncExitStack() as stack:
            outputs = []
            for name in ("first", "second"):
                sandbox = await stack.enter_async_context(
                    driver.open_sandbox(SandboxSpec(sandbox_id=name, limits=limits))
                )
                reader, writer = os.pipe()
                argv = ["/bin/sh", "-c", f"ls -A /tmp; echo secret > /tmp/{name}; chmod 777 /tmp/{name}"]
                program = await sandbox.start(Program(argv=argv, environ={}, trees=Trees(), output_fd=writer))
                os.close(writer)
                await program.wait()
                outputs.append(os.read(reader, 999))
                os.close(reader)
            assert outputs == [b"", b""]


async def test_weakening_needs_the_word_of_whoever_starts_the_launcher(roots, user, capfd):
    command = launcher_command(
        python=SYSTEM_PYTHON,
        code_root=roots.code,
        runtime_root=roots.runtime,
        interpreter_root=roots.interpreter,
        run_dir=roots.run,
    )
    async with contextlib.AsyncExitStack() as stack:
        with pytest.raises(HostError):
            await stack.enter_async_context(open_launcher([*command, "--weaken", "kuid"], user=user))
    assert "for tests" in capfd.readouterr().err
