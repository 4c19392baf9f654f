"""Lambent as people get it: from a wheel in a clean environment, from where only root reads, and the demo."""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from . import aws

ROOT = Path(__file__).parents[2]
SOURCE = "def handler(event, context):\n    return event\n"


@pytest.fixture
def folder():
    """A folder that every user of the host reaches."""
    path = Path(tempfile.mkdtemp(prefix="lambent-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def run(*command, **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, **options)
    assert done.returncode == 0, (command, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def use(command, state_dir) -> None:
    """Start with ``command``, run one function, stop."""
    environ = aws.environ(LAMBENT_STATE_DIR=str(state_dir), PYTHONDONTWRITEBYTECODE="1")
    run(*command, "start", "--port", free_port(), env=environ, cwd="/")
    try:
        endpoint = json.loads(run(*command, "status", "--json", env=environ, cwd="/"))["endpoint"]
        client = aws.client("lambda", endpoint)
        assert aws.invoke(client, aws.create(client, SOURCE), {"n": 1}).payload == {"n": 1}
    finally:
        run(*command, "stop", env=environ, cwd="/")


@pytest.mark.timeout(240)
def test_a_wheel_in_a_clean_environment_starts_and_runs_a_function(folder):
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    venv = folder / "venv"
    run(sys.executable, "-m", "venv", str(venv))
    pip = [str(venv / "bin/python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    # The locked versions first, which the checkout's own environment has cached; then the wheel may want no others.
    run(*pip, "--require-hashes", "-r", str(ROOT / "requirements/run.txt"))
    run(*pip, "--no-deps", str(wheel))
    run(str(venv / "bin/python"), "-m", "pip", "--disable-pip-version-check", "check")
    use([str(venv / "bin/lambent")], folder / "state")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has a server of another user")
def test_root_starts_lambent_from_where_only_root_reads(folder):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    run(sys.executable, "-m", "venv", "--without-pip", str(closed / "venv"))
    shutil.copytree(ROOT / "src", closed / "src", ignore=shutil.ignore_patterns("__pycache__"))
    paths = [str(closed / "src"), sysconfig.get_path("purelib")]
    (site,) = (closed / "venv/lib").glob("python3.*/site-packages")
    (site / "checkout.pth").write_text("\n".join(paths) + "\n")
    for path in (closed / "src", closed / "venv"):
        path.chmod(0o755)
    use([str(closed / "venv/bin/python"), "-m", "lambent.cli.main"], closed / "state")
    assert closed.stat().st_mode & 0o777 == 0o700
    assert str(closed) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.timeout(200)
def test_the_demo_shows_the_main_job_and_succeeds(folder):
    environ = aws.environ(LAMBENT_STATE_DIR=str(folder / "state"))
    shown = run(sys.executable, "samples/demo.py", "--stop", "--port", free_port(), env=environ, cwd=ROOT)
    for name in ("thumbnails", "words", "shell"):
        for client in ("boto3", "aws"):
            assert f"{name} · {client} · cold" in shown
            assert f"{name} · {client} · warm" in shown
    assert shown.count("REPORT RequestId") == 12
