"""Functions born from stem cells beside spawned ones: they see the same, but for what docs/fidelity.md lists."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lambent.testing.process import LambentProcess

from . import aws

WAIT_S = 60.0
pytestmark = pytest.mark.timeout(180)  # two runtimes are installed for the first of them

# All that a function may look at before its first event, and again in it.
APP = r"""
import os, sys
FOLDERS = ("/tmp", "/var/task", "/opt", "/var/lambent", "/dev", "/")
def look():
    import resource, signal, subprocess
    kinds = []
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + name)
        except OSError:
            continue
        kinds.append((int(name) if int(name) in (0, 1, 2, 62) else "other", target.split(":")[0]))
    status = dict((line.rstrip() + "\t").split(":\t", 1) for line in open("/proc/self/status"))
    own = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Pid",
           "Seccomp_filters", "Umask", "SigIgn", "SigCgt", "SigBlk", "NSpid", "Threads", "CoreDumping", "THP_enabled")
    mounts = [line.split(" ") for line in open("/proc/self/mountinfo")]
    return {
        "environ": dict(os.environ),
        "proc environ": sorted(open("/proc/self/environ").read().split("\0")),
        "C environ": sorted(subprocess.run(["env"], capture_output=True, text=True).stdout.splitlines()),
        "path": sys.path, "argv": sys.argv, "orig_argv": getattr(sys, "orig_argv", None), "flags": repr(sys.flags),
        "path_hooks": len(sys.path_hooks), "meta_path": [repr(each)[:40] for each in sys.meta_path],
        "importers": sorted(sys.path_importer_cache), "pycache": sys.pycache_prefix,
        "modules": sorted(sys.modules),
        "main": [sys.modules["__main__"].__file__, sorted(vars(sys.modules["__main__"]))],
        "streams": [type(each).__name__ for each in (sys.stdout, sys.stderr, sys.stdin)], "coding": sys.stdout.encoding,
        "cwd": os.getcwd(), "listing": sorted(os.listdir(".")), "umask": os.umask(0o022),
        "signals": {name: str(signal.getsignal(getattr(signal, name))) for name in dir(signal)
                    if name.startswith("SIG") and "_" not in name},
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource)
                   if name.startswith("RLIMIT_")},
        "status": {name: status.get(name) for name in own}, "priority": os.nice(0),
        "affinity": len(os.sched_getaffinity(0)),
        "descriptors": sorted(map(str, kinds)), "cmdline": open("/proc/self/cmdline").read(),
        "uname": list(os.uname())[:2], "ids": [os.getuid(), os.getgid(), os.getpid(), os.getppid(), os.getsid(0)],
        "processes": sorted(name for name in os.listdir("/proc") if name.isdigit()),
        "namespaces": sorted(os.listdir("/proc/self/ns")),
        "mounts": sorted(" ".join([each[4], each[5], *each[each.index("-") + 1:][:1]]) for each in mounts),
        "files": {each: sorted(os.listdir(each)) for each in FOLDERS},
        "timezone": time_zone(), "loggers": loggers(), "thread": threads(), "gc": gc_state(), "cgroup": memory(),
    }

def time_zone():
    import time
    return [time.tzname, time.timezone, time.strftime("%H %z", time.localtime(86400))]

def loggers():
    import logging
    root = logging.getLogger()
    handlers = [(type(each).__name__, type(each.formatter).__name__, each.level, len(each.filters))
                for each in root.handlers]
    return [root.level, handlers, sorted(logging.root.manager.loggerDict), len(logging._handlerList),
            logging.Formatter.converter.__name__, logging.root.disabled]

def threads():
    import threading
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor() as pool:
        name = pool.submit(lambda: threading.current_thread().name).result()
    return [name, threading.Thread().name, threading.active_count()]

def gc_state():
    import gc
    return [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), sys.getrecursionlimit(), sys.getswitchinterval()]

def memory():
    return open("/proc/self/cgroup").read().count("\n")

at_init = look()

def handler(event, context):
    import logging
    made = logging.LogRecord("n", 30, "p", 1, "m", (), None).relativeCreated
    return {"init": at_init, "invoke": look(), "client": context.function_name, "young": made < 20_000,
            "request": context.aws_request_id == os.environ["_X_AMZN_TRACE_ID"] or True}
"""

NODE_APP = (Path(__file__).parent / "look_around.js").read_text()

SETTINGS = {"Environment": {"Variables": {"TZ": "Asia/Tokyo", "TABLE": "orders", "WORDS": "ö=\n"}}, "MemorySize": 128}

# docs/fidelity.md, "Stem cells": what is not the same, and cannot be.
LISTED = {"init mounts", "invoke mounts", "init descriptors"}
# What differs between any two environments.
OWN = (
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_SESSION_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "_X_AMZN_TRACE_ID",
)


def status(server):
    with urllib.request.urlopen(f"{server.endpoint}/_lambent/status") as answer:
        return json.load(answer)["cells"]


def wait_for_cells(server, runtime=aws.PYTHON):
    give_up_at = time.monotonic() + WAIT_S
    while not status(server)["ready"].get(runtime):
        assert time.monotonic() < give_up_at, server.log()
        time.sleep(0.02)


def see(server, client, code, *, cell, **members):
    """Return what a new function of ``code`` answers, proven to be born from a cell, or not to be."""
    give_up_at = time.monotonic() + WAIT_S
    while True:
        name = aws.create(client, code, **members)
        if cell:
            wait_for_cells(server, members.get("runtime", aws.PYTHON))
        before = status(server)["taken"]
        answer = json.loads(client.invoke(FunctionName=name, Payload=b"{}")["Payload"].read())
        client.delete_function(FunctionName=name)
        if status(server)["taken"] - before == int(cell):
            return json.loads(re.sub(name, "NAME", json.dumps(answer)))
        # The cells that were ready had other settings; those for this one are being made by now.
        assert cell, "born from a cell where there are none"
        assert time.monotonic() < give_up_at, server.log()


@pytest.fixture(scope="module")
def spawning(state_dir):
    with LambentProcess(state_dir, settings={"max_cells": 0}) as started:
        yield started


@pytest.fixture(scope="module", params=["python", "python with JSON logs", "node"])
def worlds(request, server, spawning, functions):
    """What the same function sees spawned, and born from a cell."""
    members, code = dict(SETTINGS), APP
    if "JSON" in request.param:
        members["LoggingConfig"] = {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"}
    if request.param == "node":
        members |= {"runtime": aws.NODE, "handler": "index.handler"}
        code = aws.packed({"index.js": NODE_APP})
    other = aws.client("lambda", spawning.endpoint)
    return see(spawning, other, code, cell=False, **members), see(server, functions, code, cell=True, **members)


def without_own(kind, value):
    if kind == "environ":
        return {name: text for name, text in value.items() if name not in OWN}
    if kind in ("proc environ", "C environ"):
        return [line for line in value if not line.startswith(tuple(f"{name}=" for name in OWN)) and line]
    return value


def compared(one, other):
    if isinstance(one, list) and len(one) > 8:
        texts = [{json.dumps(each) for each in value} for value in (one, other)]
        return sorted(texts[0] - texts[1]), sorted(texts[1] - texts[0])
    return one, other


def test_a_function_born_from_a_cell_sees_what_a_spawned_one_sees(worlds):
    spawned, born = worlds
    different = {}
    for moment in ("init", "invoke"):
        assert set(spawned[moment]) == set(born[moment])
        for kind, value in spawned[moment].items():
            one, other = without_own(kind, value), without_own(kind, born[moment][kind])
            if one != other and f"{moment} {kind}" not in LISTED:
                different[f"{moment} {kind}"] = compared(one, other)
    assert not different, json.dumps(different, indent=1)


def cell_processes(server):
    """Return the pids of the programs proper of all cells that wait, of sandboxes that began as cells."""
    return [pid for pid, command in server.processes() if command.startswith("/var/lang/bin/python") and is_cell(pid)]


def is_cell(pid):
    return os.readlink(f"/proc/{pid}/fd/0").startswith("socket:")


def test_a_cell_that_waits_holds_nothing_of_any_function(server, functions):
    secret = "7hc0ntent5"
    code = f"def handler(event, context):\n    return '{secret}'\n"
    name = aws.create(functions, code, Environment={"Variables": {"SECRET": secret}})
    functions.invoke(FunctionName=name)
    wait_for_cells(server)
    cells = cell_processes(server)
    assert cells
    for pid in cells:
        assert secret not in Path(f"/proc/{pid}/environ").read_text()
        assert os.listdir(f"/proc/{pid}/root/var/task") == ["lib"]
        assert os.listdir(f"/proc/{pid}/root/var/lambent/pyc") == []
        assert secret.encode() not in memory_of(pid)
    functions.delete_function(FunctionName=name)


def memory_of(pid):
    """Return all private writable memory of a process."""
    parts = []
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, modes = line.split()[:2]
            if modes.startswith("rw"):
                start, end = (int(number, 16) for number in span.split("-"))
                with contextlib.suppress(OSError):
                    memory.seek(start)
                    parts.append(memory.read(end - start))
    return b"".join(parts)


OUTSIDE = """
import time
def handler(event, context):
    time.sleep(event)
"""


def test_from_outside_an_environment_born_from_a_cell_has_every_defence(server, functions, spawning):
    other = aws.client("lambda", spawning.endpoint)
    spawned, born = from_outside(spawning, other), from_outside(server, functions)
    assert born["kuid"] not in (0, os.getuid(), spawned["kuid"])
    assert not set(born["namespaces"].values()) & {os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}
    for kind in ("status", "limits", "cgroup", "flags"):
        assert born[kind] == spawned[kind]
    assert int(born["status"]["CapBnd"], 16) == int(born["status"]["CapEff"], 16) == 0
    assert (born["status"]["NoNewPrivs"], born["status"]["Seccomp"]) == ("1", "2")
    assert all("ro" in flags.split(",") for place, flags in born["flags"].items() if place not in ("/tmp", "/proc"))


def from_outside(server, client):
    """Return what the host sees of a function that runs; of how its program was born says ``taken``."""
    name = aws.create(client, OUTSIDE, MemorySize=192)
    is_spawning = server.settings.get("max_cells") == 0
    if not is_spawning:
        wait_for_cells(server)
    before, known = status(server)["taken"], {pid for pid, _ in server.processes()} - set(cell_processes(server))
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.invoke, FunctionName=name, Payload=b"2")
        give_up_at = time.monotonic() + WAIT_S
        while not (found := [pid for pid in running(server) if pid not in known]):
            assert time.monotonic() < give_up_at
        time.sleep(0.5)
        seen = look_from_outside(found[-1])
        assert "FunctionError" not in call.result()
    assert status(server)["taken"] - before == (not is_spawning)
    client.delete_function(FunctionName=name)
    return seen


def running(server):
    """Return the pids of programs proper that have a function."""
    found = []
    for pid, command in server.processes():
        with contextlib.suppress(OSError):
            if command.startswith("/var/lang/bin/python") and not is_cell(pid):
                found.append(pid)
    return found


def look_from_outside(pid):
    lines = (line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    status_of = dict(lines)
    mounts = (line.split(" ") for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
    wanted = ("/", "/usr", "/var/task", "/opt", "/var/runtime", "/var/lang", "/dev", "/tmp", "/proc")
    own = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "Groups")
    return {
        "kuid": int(status_of["Uid"].split()[0]),
        "status": {name: status_of.get(name) for name in own},
        "namespaces": {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS},
        "limits": Path(f"/proc/{pid}/limits").read_text(),
        "flags": {each[4]: ",".join(sorted(set(each[5].split(",")))) for each in mounts if each[4] in wanted},
        "cgroup": cgroup_limits(pid),
    }


KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
LIMIT_FILES = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "cpu.cfs_quota_us", "memory.max", "cpu.max")
LIMIT_FILES += ("pids.max", "cpu.shares", "cpu.weight")


def cgroup_limits(pid):
    """Return what the process's own groups limit, by file."""
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        path = line.split(":", 2)[2]
        if "lambent" not in path:
            continue
        for base in Path("/sys/fs/cgroup").glob("*"):
            for name in LIMIT_FILES:
                with contextlib.suppress(OSError):
                    found[name] = (base / path.lstrip("/") / name).read_text().strip()
    return found


def test_nothing_of_a_rehearsal_is_in_the_logs(server, functions, logs):
    name = aws.create(functions, "print('init')\ndef handler(event, context):\n    print('called')\n")
    wait_for_cells(server)
    functions.invoke(FunctionName=name)
    group = f"/aws/lambda/{name}"
    printed = [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]]
    assert [line.split(" ")[0].strip() for line in printed] == [
        "INIT_START",
        "init",
        "START",
        "called",
        "END",
        "REPORT",
    ]
    assert re.search(r"Init Duration: [0-9.]+ ms", printed[-1])
    assert not any("rehearsal" in line for line in printed)
    groups = [each["logGroupName"] for each in logs.describe_log_groups()["logGroups"]]
    assert "/aws/lambda/rehearsal" not in groups
    functions.delete_function(FunctionName=name)


def test_functions_go_on_when_all_cells_are_killed(server, functions):
    name = aws.create(functions, "def handler(event, context):\n    return event\n")
    wait_for_cells(server)
    for pid in cell_processes(server):
        os.kill(pid, signal.SIGKILL)
    answer = functions.invoke(FunctionName=name, Payload=b"7")
    assert (answer["Payload"].read(), answer.get("FunctionError")) == (b"7", None)
    wait_for_cells(server)
    functions.delete_function(FunctionName=name)


def test_describe_says_how_a_function_starts(server, functions):
    code = "def handler(event, context):\n    return 1\n"
    plain = aws.create(functions, code)
    early = aws.create(functions, code, Environment={"Variables": {"PYTHONWARNINGS": "ignore"}})
    assert "prepared" in described(server, plain)
    assert "PYTHONWARNINGS acts before the runtime starts" in described(server, early)
    before = status(server)["taken"]
    functions.invoke(FunctionName=early)
    assert status(server)["taken"] == before
    for name in (plain, early):
        functions.delete_function(FunctionName=name)


def described(server, name):
    command = [sys.executable, "-m", "lambent.cli.main", "describe", name, "--endpoint", server.endpoint]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return next(line for line in text.splitlines() if line.startswith("Cold start"))


def test_a_launcher_that_dies_takes_all_cells_and_others_are_made(server, functions):
    name = aws.create(functions, "def handler(event, context):\n    return event\n")
    wait_for_cells(server)
    old = set(cell_processes(server))
    launcher = next(pid for pid, command in server.processes() if "launcher/main.py" in command and pid != server.pid)
    os.kill(launcher, signal.SIGKILL)
    give_up_at = time.monotonic() + WAIT_S
    # From when the server knows of it, whoever is ready is one of the new launcher's.
    while "launcher_restarted" not in server.log() or not status(server)["ready"].get(aws.PYTHON):
        assert time.monotonic() < give_up_at, server.log()
        time.sleep(0.05)
    assert not old & {pid for pid, _ in server.processes()}
    before = status(server)["taken"]
    assert functions.invoke(FunctionName=name, Payload=b"7")["Payload"].read() == b"7"
    assert status(server)["taken"] == before + 1
    functions.delete_function(FunctionName=name)
