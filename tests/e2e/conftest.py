"""One Lambent for the tests that need nothing of their own; packages from PyPI and npm, fetched once a checkout."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from lambent.testing.process import LambentProcess

from . import aws, peers

ROOT = Path(__file__).parents[2]


def cache_dir() -> Path:
    """Return where fetched packages stay: the checkout's, or the user's where the checkout is somebody else's."""
    own = ROOT / ".cache"
    if os.access(own if own.exists() else ROOT, os.W_OK):
        return own / "packages"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lambent/packages"


@pytest.fixture(scope="session")
def server():
    with LambentProcess() as started:
        client = aws.client("lambda", started.endpoint)
        client.delete_function(FunctionName=aws.create(client, "def handler(event, context): pass"))
        yield started


@pytest.fixture(scope="module")
def state_dir(server):
    """A state directory that has the runtimes of the shared server, so that they are installed once."""
    with state_dir_like(server) as folder:
        yield folder


@contextlib.contextmanager
def state_dir_like(server):
    """Yield another such directory."""
    folder = Path(tempfile.mkdtemp(prefix="lambent-test-"))
    folder.chmod(0o755)
    for name in ("runtimes", "interpreters"):
        subprocess.run(["cp", "-al", str(server.state_dir / name), str(folder)], check=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def functions(server):
    """A boto3 client of Lambda."""
    return aws.client("lambda", server.endpoint)


@pytest.fixture(scope="session")
def logs(server):
    """A boto3 client of CloudWatch Logs."""
    return aws.client("logs", server.endpoint)


@pytest.fixture
def deploy(functions):
    """Create functions that end with the test; see ``aws.create``."""
    made = []

    def run(code, **members):
        made.append(aws.create(functions, code, **members))
        return made[-1]

    yield run
    for name in made:
        functions.delete_function(FunctionName=name)


def fetched(kind: str, wanted: list[str], fetch) -> Path:
    """Return the folder with what ``wanted`` names, fetching it if it is not in the cache."""
    digest = hashlib.sha256(json.dumps([kind, wanted, aws.PYTHON]).encode()).hexdigest()[:16]
    folder = cache_dir() / f"{kind}-{digest}"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        fetch(partial)
        partial.rename(folder)
    return folder


@pytest.fixture(scope="session")
def from_pypi():
    """Return the folder with packages of PyPI as ``pip install --target`` makes it."""

    def run(*wanted: str) -> Path:
        def fetch(folder: Path) -> None:
            command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"]
            command += ["--only-binary", ":all:", "--target", str(folder), *wanted]
            subprocess.run(command, check=True, timeout=300)

        return fetched("pypi", list(wanted), fetch)

    return run


@pytest.fixture(scope="session")
def from_npm():
    """Return the folder with ``node_modules`` of packages of npm."""

    def run(*wanted: str) -> Path:
        def fetch(folder: Path) -> None:
            (folder / "package.json").write_text("{}")
            command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *wanted]
            subprocess.run(command, cwd=folder, check=True, timeout=300, stderr=subprocess.DEVNULL)

        return fetched("npm", list(wanted), fetch)

    return run


@pytest.fixture(scope="session")
def companion_python():
    """Return an interpreter that has moto."""

    def fetch(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=100)
        command = [
            str(folder / "bin/python"),
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--no-compile",
        ]
        command += peers.MOTO
        subprocess.run(command, check=True, timeout=300)

    return str(fetched("venv", list(peers.MOTO), fetch) / "bin/python")


@pytest.fixture(scope="session")
def from_maven():
    """Return the folder with ElasticMQ."""
    if (missing := peers.missing_for_elasticmq()) is not None:
        pytest.skip(missing)
    return fetched("maven", list(peers.ELASTICMQ), peers.fetch_elasticmq)


@pytest.fixture(scope="session", autouse=True)
def no_credentials_of_the_machine():
    """No client of a test may find the real credentials of whoever runs it."""
    patch = pytest.MonkeyPatch()
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        patch.delenv(name)
    patch.setenv("AWS_CONFIG_FILE", "/dev/null")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield
    patch.undo()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the end of the servers' own logs with a failure."""
    report = yield
    if report.failed:
        for name, value in item.funcargs.items():
            if isinstance(value, LambentProcess):
                report.sections.append((f"log of {name}", value.log()))
    return report
