"""A host that fails under a running server: what is said, what is kept, and that it goes on without a restart."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from lambent.testing.process import LambentProcess

from . import aws
from .test_custom_runtime import BOOTSTRAP

DISK_MIB = 160
LIMIT_S = 30.0


def until(condition, limit_s=LIMIT_S):
    """Return the first true value of ``condition``."""
    give_up_at = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.05)
    return found


def readiness(server):
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/_lambent/ready")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def refusal(call, **members):
    """Return (status, code, message) of what ``call`` is refused with."""
    with pytest.raises(ClientError) as caught:
        call(**members)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"], response["Error"]["Message"]


def create(client, name, **members):
    package = aws.packed({"bootstrap": BOOTSTRAP, "name": name})
    words = {"runtime": "provided.al2023", "handler": "h", "name": name, **members}
    return aws.create(client, package, **words)


@pytest.fixture
def small_disk():
    """A file system of its own, with little room, as a state directory."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts disks")
    with tempfile.TemporaryDirectory(prefix="lambent-test-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        image, place = Path(folder, "image"), Path(folder, "state")
        place.mkdir()
        with image.open("wb") as file:
            file.truncate(DISK_MIB << 20)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True, stdin=subprocess.DEVNULL)
        subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
        place.chmod(0o755)
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=False)


def fill(place: Path) -> Path:
    """Leave not a byte free."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    assert os.statvfs(place).f_bavail == 0
    return filler


def test_a_full_disk_is_told_loses_nothing_and_is_over_when_there_is_room(small_disk):
    with LambentProcess(small_disk) as server:
        client, logs = aws.client("lambda", server.endpoint), aws.client("logs", server.endpoint)
        kept = create(client, "kept")
        assert aws.invoke(client, kept, 1).payload["event"] == 1
        logs.create_log_group(logGroupName="of-mine")
        logs.create_log_stream(logGroupName="of-mine", logStreamName="s")
        filler = fill(small_disk)

        internal = (500, "ServiceException")
        package = aws.packed({"bootstrap": BOOTSTRAP, "name": "lost"})
        members = {"Runtime": "provided.al2023", "Handler": "h", "Role": aws.ROLE, "Code": {"ZipFile": package}}
        assert refusal(client.create_function, FunctionName="lost", **members)[:2] == internal
        until(lambda: _is_refused(client, kept))
        assert refusal(client.get_function, FunctionName="lost")[0] == 404
        status, told = readiness(server)
        assert (status, told) == (503, {"ready": False, "reason": "the store cannot write"})
        full_invocation = aws.invoke(client, kept, 2)
        assert full_invocation.payload["event"] == 2, "an environment that lives needs no disk of ours"

        filler.unlink()
        until(lambda: readiness(server)[0] == 200)
        create(client, "after")
        assert aws.invoke(client, "after", 3).payload["event"] == 3
        assert client.get_function_configuration(FunctionName=kept)["MemorySize"] == 128
        until(lambda: _lines(logs, kept, full_invocation.request_id))
        own_log = (server.run_dir / "lambent.log").read_text()
        assert "store_write_failed" in own_log
        assert "store_writes_again" in own_log


def _is_refused(client, name):
    """Whether a change that needs the store's disk is refused; it may take what room its log still has."""
    try:
        client.tag_resource(Resource=_arn(name), Tags={"filler": "x" * 200})
    except ClientError as error:
        return error.response["Error"]["Code"] == "ServiceException"
    return False


def _arn(name):
    return f"arn:aws:lambda:{aws.REGION}:000000000000:function:{name}"


def _lines(logs, name, request_id):
    found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern=f'"{request_id}"')
    return [event for event in found["events"] if "END" in event["message"]]


def test_a_disk_that_turns_read_only_is_told_and_what_was_promised_is_there_after_its_repair(small_disk):
    with LambentProcess(small_disk) as server:
        client = aws.client("lambda", server.endpoint)
        create(client, "kept", MemorySize=256)
        assert aws.invoke(client, "kept", 1).payload["event"] == 1
        # What ext4 does by itself after an error of the device.
        subprocess.run(["mount", "-o", "remount,abort", str(small_disk)], check=False, capture_output=True)
        until(lambda: _is_refused(client, "kept"))
        assert readiness(server)[1] == {"ready": False, "reason": "the store cannot write"}
        assert client.get_function_configuration(FunctionName="kept")["MemorySize"] == 256
    until(lambda: subprocess.run(["umount", str(small_disk)], check=False, capture_output=True).returncode == 0)
    # Another disk with the same bytes: who made mounts of his own meanwhile has a copy of the one that failed.
    repaired = shutil.copy(small_disk.parent / "image", small_disk.parent / "repaired")
    subprocess.run(["e2fsck", "-p", repaired], check=False, capture_output=True)
    subprocess.run(["mount", "-o", "loop", repaired, str(small_disk)], check=True)
    with LambentProcess(small_disk) as server:
        client = aws.client("lambda", server.endpoint)
        assert client.get_function_configuration(FunctionName="kept")["MemorySize"] == 256
        assert aws.invoke(client, "kept", 2).payload["event"] == 2
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    command = [sys.executable, "-m", "lambent.cli.main", "start", "--foreground", "--state-dir", str(small_disk)]
    done = subprocess.run(command, env=aws.environ(), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"lambent: cannot use {small_disk}: Read-only file system\n"


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <sys/time.h>
#include <time.h>
static long offset_s(void) {
  long found = 0;
  FILE *file = fopen("OFFSET", "re");
  if (file) { if (fscanf(file, "%ld", &found) != 1) found = 0; fclose(file); }
  return found;
}
int clock_gettime(clockid_t clock, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, at);
  if (clock == CLOCK_REALTIME) at->tv_sec += offset_s();
  return result;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec; at->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"""
SLEEPER = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return 'done'\n"


@pytest.fixture
def jumping_clock(monkeypatch):
    """Return what moves the wall clock of servers started from now on, in seconds from the true time."""
    if shutil.which("gcc") is None:
        pytest.skip("this host has no C compiler")
    with tempfile.TemporaryDirectory(prefix="lambent-test-", dir="/var/tmp") as folder:
        os.chmod(folder, 0o755)
        offset, source, shim = (Path(folder, name) for name in ("offset", "shim.c", "shim.so"))
        offset.write_text("0")
        source.write_text(SHIM.replace("OFFSET", str(offset)))
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(shim), str(source), "-ldl"], check=True)
        monkeypatch.setenv("LD_PRELOAD", str(shim))
        yield lambda seconds: offset.write_text(str(seconds))


@pytest.mark.parametrize("jump_s", [86_400 * 2, -86_400 * 2], ids=["forward", "back"])
def test_a_jump_of_the_wall_clock_ends_nothing_and_stops_nothing(jump_s, jumping_clock, state_dir):
    with LambentProcess(state_dir) as server, ThreadPoolExecutor(1) as threads:
        client, logs = aws.client("lambda", server.endpoint), aws.client("logs", server.endpoint)
        name = aws.create(client, SLEEPER, Timeout=10)
        assert aws.invoke(client, name, 0).payload == "done"
        running = threads.submit(aws.invoke, client, name, 1.5)
        time.sleep(0.5)  # the clock jumps while it runs
        jumping_clock(jump_s)
        assert running.result().payload == "done"
        after = aws.invoke(client, name, 0)
        assert (after.error, after.report["init"]) == (None, None), "the environment lives on"
        client.update_function_configuration(FunctionName=name, Timeout=1)
        aws.wait(client, "function_updated_v2", name)
        assert aws.invoke(client, name, 3).payload["errorType"] == "Sandbox.Timedout"
        client.update_function_code(
            FunctionName=name, ZipFile=aws.packed({"app.py": "def handler(e, c): return 'new'"})
        )
        aws.wait(client, "function_updated_v2", name)
        newest = aws.invoke(client, name)
        assert newest.payload == "new"
        until(lambda: _lines(logs, name, newest.request_id))
        assert _lines(logs, name, after.request_id)


def test_a_process_tree_that_stood_still_goes_on_and_no_timeout_fires_falsely(state_dir):
    with LambentProcess(state_dir, settings={"hang_s": 2}) as server, ThreadPoolExecutor(1) as threads:
        client = aws.client("lambda", server.endpoint)
        name = aws.create(client, SLEEPER, Timeout=5)
        starts = (server.run_dir / "lambent.log").read_text().count("server_ready")
        assert aws.invoke(client, name, 0).payload == "done"
        running = threads.submit(aws.invoke, client, name, 1)
        time.sleep(0.5)
        pids = [pid for pid, _ in server.processes()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(8)  # longer than the function's timeout and the supervisor's patience
        for pid in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        assert running.result().payload == "done"
        assert aws.invoke(client, name, 0).payload == "done"
        assert (server.run_dir / "lambent.log").read_text().count("server_ready") == starts


def test_few_descriptors_refuse_what_does_not_fit_and_the_rest_goes_on(state_dir):
    # Enough for its callers and the sandboxes that are begun at a time, not for sixty.
    with LambentProcess(state_dir, open_files=320) as server:
        client = aws.client("lambda", server.endpoint, max_pool_connections=60)
        name = aws.create(client, SLEEPER, Timeout=20)

        def call(_):
            try:
                return aws.invoke(client, name, 0.5).payload
            except ClientError as error:
                return error.response["Error"]["Code"]
            except ConnectionClosedError:  # there was no descriptor for the connection itself: libuv takes and ends it
                return "closed"

        with ThreadPoolExecutor(60) as threads:
            answers = set(threads.map(call, range(120)))
        assert answers <= {"done", "ServiceException", "TooManyRequestsException", "closed"}
        assert "done" in answers
        until(lambda: call(None) == "done")
