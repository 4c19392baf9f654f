"""The ``lambent`` command: every subcommand, exit codes, one-line errors."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from . import aws

HANDLER = """
def handler(event, context):
    print('said', event)
    if event == 'fail':
        raise ValueError('as told')
    return event
"""


@pytest.fixture(scope="module")
def lambent(state_dir):
    def run(*arguments, code=0, own_state=True, **variables):
        where = {"LAMBENT_STATE_DIR": str(state_dir)} if own_state else {}
        done = subprocess.run(
            ["lambent", *arguments],
            env=aws.environ(**where, **variables),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    return run


def refused(done) -> str:
    """Return the one line of an error."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("lambent: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stderr
    return lines[0]


def heed_interrupts() -> None:
    """Undo what a shell does to its background jobs, from which these tests may have been started."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def started(lambent):
    port = free_port()
    done = lambent("start", "--port", str(port))
    assert done.stdout == f"Lambent answers at http://127.0.0.1:{port}\n"
    yield port
    if json.loads(lambent_status(lambent))["running"]:
        lambent("stop")


def lambent_status(lambent) -> str:
    with contextlib.suppress(AssertionError):
        return lambent("status", "--json").stdout
    return lambent("status", "--json", code=3).stdout


@pytest.fixture
def sample(tmp_path):
    (tmp_path / "app.py").write_text(HANDLER)
    (tmp_path / "lambent.toml").write_text(
        f'[function]\nname = "sample"\nruntime = "{aws.PYTHON}"\nhandler = "app.handler"\ntimeout_s = 5\n'
    )
    return tmp_path


def test_a_function_is_deployed_invoked_read_and_deleted(lambent, started, sample):
    deployed = lambent("deploy", str(sample))
    assert deployed.stdout == "arn:aws:lambda:us-east-1:000000000000:function:sample is Active\n"
    changed = json.loads(lambent("deploy", str(sample), "--memory", "256", "--env", "AA=b", "--json").stdout)
    assert (changed["MemorySize"], changed["Timeout"], changed["Environment"]) == (256, 5, {"Variables": {"AA": "b"}})

    assert lambent("invoke", "sample", "-p", '{"n": 1}').stdout == '{"n": 1}\n'
    shown = lambent("invoke", "sample", "-p", "7", "--log")
    assert "REPORT RequestId" in shown.stderr
    failed = lambent("invoke", "sample", "-p", '"fail"', "--json", code=2)
    assert json.loads(failed.stdout)["Payload"]["errorType"] == "ValueError"
    (sample / "event.json").write_text('"from a file"')
    assert lambent("invoke", "sample", "-p", f"@{sample / 'event.json'}").stdout == '"from a file"\n'

    assert "said 7" in lambent("logs", "sample").stdout
    events = [json.loads(line) for line in lambent("logs", "sample", "--filter", "said", "--json").stdout.splitlines()]
    assert [event["message"].strip() for event in events][:2] == ["said {'n': 1}", "said 7"]

    assert "sample" in lambent("list").stdout
    assert "sample" in [each["FunctionName"] for each in json.loads(lambent("list", "--json").stdout)]
    assert "MemorySize               256" in lambent("describe", "sample").stdout
    assert json.loads(lambent("describe", "sample", "--json").stdout)["Configuration"]["MemorySize"] == 256
    lambent("delete", "sample")
    assert "Function not found" in refused(lambent("invoke", "sample", code=1))
    assert "sample" not in [each["FunctionName"] for each in json.loads(lambent("list", "--json").stdout)]


def test_logs_are_followed_until_interrupted(lambent, started, sample, state_dir):
    lambent("deploy", str(sample), "--name", "followed")
    follower = subprocess.Popen(
        ["lambent", "logs", "followed", "--follow"],
        env=aws.environ(LAMBENT_STATE_DIR=str(state_dir), PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    try:
        for word in ("first", "second"):
            lambent("invoke", "followed", "-p", json.dumps(word))
            while (line := follower.stdout.readline()) and f"said {word}" not in line:
                pass
            assert f"said {word}" in line
        follower.send_signal(signal.SIGINT)
        _, words = follower.communicate(timeout=20)
        assert follower.returncode == 130
        assert "Traceback" not in words
    finally:
        follower.kill()
        follower.communicate()
    lambent("delete", "followed")


def test_status_says_where_and_that_it_is_ready(lambent, started, state_dir):
    found = json.loads(lambent("status", "--json").stdout)
    assert (found["running"], found["ready"]) == (True, True)
    assert (found["endpoint"], found["state_dir"]) == (f"http://127.0.0.1:{started}", str(state_dir))
    assert f"http://127.0.0.1:{started}" in lambent("status").stdout


def test_a_second_start_is_refused(lambent, started):
    assert "already running as process" in refused(lambent("start", "--port", str(free_port()), code=1))


def test_a_taken_port_is_named_with_its_holder(lambent, tmp_path_factory):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        folder = tmp_path_factory.mktemp("other")
        line = refused(lambent("start", "--port", str(port), "--state-dir", str(folder), code=1))
    assert f"127.0.0.1:{port}" in line
    assert f"process {os.getpid()}" in line
    assert "--port" in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("[lambent]\nprot = 4566\n", "prot", id="unknown"),
        pytest.param('[lambent]\nport = "high"\n', "port", id="type"),
        pytest.param("[lambent\n", "lambent.toml", id="not-toml"),
    ],
)
def test_a_wrong_setting_is_refused(content, words, lambent, tmp_path):
    file = tmp_path / "lambent.toml"
    file.write_text(content)
    assert words in refused(lambent("start", "--config", str(file), code=78))


def test_a_state_directory_of_another_user_is_refused(lambent, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    if os.geteuid():
        line = refused(lambent("start", "--state-dir", "/etc", code=1))
        assert "belongs to root" in line
        return
    (folder / "lambent.db").write_bytes(b"")
    os.chown(folder, 65534, 65534)
    line = refused(lambent("start", "--port", str(free_port()), "--state-dir", str(folder), code=1))
    assert "--state-dir" in line


def test_doctor_probes_and_says_what_is_missing(lambent):
    findings = json.loads(lambent("doctor", "--json").stdout)
    names = {finding["name"] for finding in findings}
    assert {"bubblewrap", "state directory", "disk", "port"} <= names
    assert all(finding["ok"] or finding["remedy"] for finding in findings)


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")])
def test_completion_prints_a_script(shell, word, lambent):
    assert word in lambent("completion", shell).stdout


def test_no_server_is_told_in_one_line(lambent, tmp_path):
    line = refused(lambent("list", code=1, LAMBENT_ENDPOINT=f"http://127.0.0.1:{free_port()}"))
    assert "lambent start" in line
    assert "not running" in refused(lambent("stop", "--state-dir", str(tmp_path), code=3))


def test_a_directory_that_is_no_function_is_told(lambent, started, tmp_path):
    assert "runtime" in refused(lambent("deploy", str(tmp_path), code=1))


def test_stop_ends_it_and_start_brings_everything_back(lambent, started, sample):
    lambent("deploy", str(sample), "--name", "kept")
    lambent("stop")
    assert json.loads(lambent("status", "--json", code=3).stdout)["running"] is False
    lambent("start", "--port", str(started))
    assert lambent("invoke", "kept", "-p", "1").stdout == "1\n"
    lambent("delete", "kept")


def test_interrupting_a_foreground_start_stops_it_in_order(lambent, tmp_path_factory):
    folder = Path(tempfile.mkdtemp(prefix="lambent-test-"))
    folder.chmod(0o755)
    port = free_port()
    process = subprocess.Popen(
        ["lambent", "start", "--foreground", "--port", str(port), "--state-dir", str(folder)],
        env=aws.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heed_interrupts,
    )
    try:
        give_up_at = time.monotonic() + 20
        while json.loads(_status(folder)).get("ready") is not True:
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        words, _ = process.communicate(timeout=30)
        assert process.returncode == 0, words
        assert "Traceback" not in words
    finally:
        process.kill()
        process.communicate()
        shutil.rmtree(folder, ignore_errors=True)


def _status(folder) -> str:
    command = ["lambent", "status", "--json", "--state-dir", str(folder)]
    return subprocess.run(command, env=aws.environ(), capture_output=True, text=True, check=False).stdout
