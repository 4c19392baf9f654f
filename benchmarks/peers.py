"""Other local Lambdas, from PyPI, in an environment of their own and as they come: ministack runs, moto echoes."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.functions import caches
from benchmarks.subjects import Endpoint

PACKAGES = ("ministack==1.5.33", "moto[server]==5.2.5")
INSTALL_LIMIT_S = 600
START_LIMIT_S = 60


class PeersMissing(Exception):
    """The peers cannot be installed here; the message says why."""


def install_peers() -> Path:
    """Return the directory of the peers' commands, installed if need be. PeersMissing if that fails."""
    folder = caches() / "peers"
    stamp = folder / "stamp"
    wanted = "\n".join((*PACKAGES, sys.version))
    if not stamp.exists() or stamp.read_text() != wanted:
        try:
            for command in (
                [sys.executable, "-m", "venv", "--clear", str(folder)],
                [str(folder / "bin/pip"), "install", "-q", "--disable-pip-version-check", *PACKAGES],
            ):
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_LIMIT_S)
        except (subprocess.SubprocessError, OSError) as error:
            raise PeersMissing(str(getattr(error, "stderr", None) or error).strip()[-500:]) from error
        stamp.write_text(wanted)
    return folder / "bin"


@contextmanager
def open_ministack(commands: Path) -> Iterator[Endpoint]:
    """Yield ministack: it runs a function in a local process, without isolation."""
    port = _free_port()
    environ = {"GATEWAY_PORT": str(port), "LOG_LEVEL": "ERROR"}
    with _serving([str(commands / "ministack")], environ, port) as endpoint:
        yield endpoint


@contextmanager
def open_moto(commands: Path) -> Iterator[Endpoint]:
    """Yield moto's server without Docker: it answers with what it was sent, and runs nothing."""
    port = _free_port()
    environ = {"MOTO_ACCOUNT_ID": "000000000000"}
    with _serving([str(commands / "moto_server"), "-p", str(port)], environ, port) as endpoint:
        body = json.dumps({"lambda": {"use_docker": False}}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/config", data=body):
            pass
        role = "Action=CreateRole&Version=2010-05-08&RoleName=benchmark&AssumeRolePolicyDocument=%7B%7D"
        request = urllib.request.Request(f"http://127.0.0.1:{port}/", data=role.encode())
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/iam/aws4_request")
        with urllib.request.urlopen(request):
            pass
        yield endpoint


@contextmanager
def _serving(command: list[str], environ: dict[str, str], port: int) -> Iterator[Endpoint]:
    with tempfile.TemporaryDirectory(prefix="lambent-peer-") as folder:
        with (Path(folder) / "log").open("w+") as log:
            process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **environ, "HOME": folder}, stdout=log, stderr=log
            )
            try:
                _wait_for(process, port, Path(folder) / "log")
                yield Endpoint(f"http://127.0.0.1:{port}")
            finally:
                process.terminate()
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    give_up_at = time.monotonic() + START_LIMIT_S
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise PeersMissing(f"{process.args!r} did not start: {log.read_text()[-500:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
