"""The main flow with a Lambent that an ordinary user started; as root, that user is made first."""

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import aws
from .leftovers import Leftovers
from .test_custom_runtime import BOOTSTRAP

USER = "lambent-test"
SOURCE = """
import os
def handler(event, context):
    print('said', event)
    return {'event': event, 'homes': [os.path.exists('/root/.profile'), os.path.exists('/home')]}
"""


def ordinary_user() -> str:
    """Return the name of the user: our own, or one that root makes, with subordinate ids."""
    if os.geteuid():
        return pwd.getpwuid(os.geteuid()).pw_name
    try:
        pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(["useradd", "-m", USER], check=True)
    for flag, file in (("--add-subuids", "/etc/subuid"), ("--add-subgids", "/etc/subgid")):
        if not Path(file).exists() or f"{USER}:" not in Path(file).read_text():
            subprocess.run(["usermod", flag, "400000-465535", USER], check=True)
    return USER


class Theirs:
    """Runs commands as the user, with a home and nothing of ours in the environment."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.run_dir = self.state_dir / "run"
        self.entry = pwd.getpwnam(name)
        self.ids = {} if os.geteuid() else {"user": self.entry.pw_uid, "group": self.entry.pw_gid}
        self.environ = aws.environ(HOME=self.entry.pw_dir, USER=name, LAMBENT_STATE_DIR=str(self.state_dir))
        self.environ = {key: text for key, text in self.environ.items() if not key.startswith("XDG_")}

    def run(self, *command, code=0) -> subprocess.CompletedProcess:
        groups = [] if self.ids else None
        done = subprocess.run(
            command,
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            extra_groups=groups,
            **self.ids,
        )
        assert done.returncode == code, (command, done.stdout, done.stderr)
        return done

    def processes(self):
        """Yield (pid, command line) of all processes of the server."""
        waiting = [int((self.run_dir / "lambent.pid").read_text().split()[0])]
        while waiting:
            pid = waiting.pop()
            yield pid, Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                waiting += [int(child) for child in task.read_text().split()]


@contextmanager
def their_folder(name: str):
    folder = Path(tempfile.mkdtemp(prefix="lambent-test-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, name, name)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def theirs():
    name = ordinary_user()
    with their_folder(name) as folder:
        user = Theirs(name, folder)
        try:
            user.run(sys.executable, "-c", "import lambent.cli.main")
        except (AssertionError, PermissionError):
            pytest.skip(f"the user {name} cannot read this checkout")
        yield user


@pytest.fixture(scope="module")
def endpoint(theirs):
    port = _free_port()
    theirs.run("lambent", "start", "--port", str(port))
    left = Leftovers(theirs)
    yield f"http://127.0.0.1:{port}"
    left.look(theirs)
    theirs.run("lambent", "stop")
    assert left.all() == {}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_no_process_of_it_is_root_and_the_server_has_no_capability(theirs, endpoint):
    servers = 0
    for pid, command in theirs.processes():
        status = Path(f"/proc/{pid}/status").read_text()
        assert status.partition("\nUid:\t")[2].split()[0] != "0"
        if "lambent.assembly.server" in command and "supervisor.py" not in command:
            servers += 1
            assert "CapEff:\t0000000000000000" in status
    assert servers == 1


def test_boto3_does_the_main_flow(theirs, endpoint):
    client, logs = aws.client("lambda", endpoint), aws.client("logs", endpoint)
    name = aws.create(client, SOURCE)
    cold, warm = aws.invoke(client, name, 1), aws.invoke(client, name, 2)
    assert (cold.error, warm.error) == (None, None)
    assert warm.payload == {"event": 2, "homes": [False, False]}
    assert cold.report["init"]
    assert warm.report["init"] is None
    events = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern="said")["events"]
    assert [event["message"].strip() for event in events] == ["said 1", "said 2"]
    client.update_function_code(
        FunctionName=name, ZipFile=aws.packed({"app.py": "def handler(e, c):\n    return 'new'\n"})
    )
    aws.wait(client, "function_updated_v2", name)
    assert aws.invoke(client, name).payload == "new"
    client.delete_function(FunctionName=name)


def test_a_function_calls_aws_at_the_endpoint_inside(theirs, endpoint):
    client = aws.client("lambda", endpoint)
    source = "import boto3\ndef handler(event, context):\n    return boto3.client('sts').get_caller_identity()['Arn']\n"
    name = aws.create(client, source, Timeout=30, MemorySize=512)
    assert aws.invoke(client, name).payload == f"arn:aws:sts::000000000000:assumed-role/e2e/{name}"


def test_other_runtimes_run_too(theirs, endpoint):
    client = aws.client("lambda", endpoint)
    node = aws.packed({"index.mjs": "export const handler = async (event) => event;\n"})
    name = aws.create(client, node, runtime=aws.NODE, handler="index.handler")
    assert aws.invoke(client, name, [1]).payload == [1]
    name = aws.create(client, aws.packed({"bootstrap": BOOTSTRAP}), runtime="provided.al2023", handler="h")
    assert aws.invoke(client, name, 3).payload == {"event": 3, "region": aws.REGION}


def test_a_timeout_ends_the_function_and_the_next_call_works(theirs, endpoint):
    client = aws.client("lambda", endpoint)
    name = aws.create(client, "import time\ndef handler(event, context):\n    time.sleep(event)\n", Timeout=1)
    assert aws.invoke(client, name, 9).payload["errorType"] == "Sandbox.Timedout"
    assert aws.invoke(client, name, 0).error is None


def test_the_aws_command_reaches_it(theirs, endpoint):
    done = theirs.run("aws", "--endpoint-url", endpoint, "lambda", "list-functions", "--output", "json")
    assert "Functions" in json.loads(done.stdout)


def test_doctor_finds_what_is_needed(theirs):
    lines = theirs.run("lambent", "doctor").stdout.splitlines()
    assert [line for line in lines if line.startswith("missing")] == []
    assert any(line.startswith("ok       bubblewrap") for line in lines)


def test_their_files_are_theirs_alone(theirs, endpoint):
    secrets = [theirs.state_dir / "key", theirs.run_dir / "settings.json"]
    assert [(path.stat().st_uid, path.stat().st_mode & 0o077) for path in secrets] == [(theirs.entry.pw_uid, 0)] * 2
