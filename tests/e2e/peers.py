"""Real peers for the neighbours: moto's server (SQS, SNS, EventBridge, S3) and ElasticMQ (SQS, on Java)."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

MOTO = ("moto[s3,sqs,sns,events]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5")
ELASTICMQ = ("org.elasticmq", "elasticmq-server_2.13", "1.6.11")
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>t</groupId>
<artifactId>t</artifactId><version>1</version><dependencies><dependency><groupId>{}</groupId><artifactId>{}</artifactId>
<version>{}</version></dependency></dependencies></project>"""
START_WAIT_S = 60.0


def free_port() -> int:
    """Return a port of the loopback address that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def missing_for_elasticmq() -> str | None:
    """Return what this host lacks to run ElasticMQ, or None."""
    absent = [command for command in ("java", "mvn") if shutil.which(command) is None]
    return f"this host has no {' and no '.join(absent)}" if absent else None


def fetch_elasticmq(folder: Path) -> None:
    """Put ElasticMQ with all it needs into ``folder``."""
    (folder / "pom.xml").write_text(_POM.format(*ELASTICMQ))
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
    subprocess.run(command, cwd=folder, check=True, timeout=300, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def moto(folder: Path, port: int = 0) -> Iterator[str]:
    """Run moto's server; yield its URL."""
    port = port or free_port()
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    with _running([sys.executable, "-m", "moto.server", "-p", str(port)], environ, port) as url:
        yield url


@contextlib.contextmanager
def elasticmq(folder: Path) -> Iterator[str]:
    """Run ElasticMQ; yield its URL."""
    port = free_port()
    settings = folder / f"{port}.conf"
    settings.write_text(
        f'include classpath("application.conf")\nrest-sqs {{ bind-port = {port}\n bind-hostname = "127.0.0.1" }}\n'
        f"node-address {{ port = {port} }}\nrest-stats {{ enabled = false }}\n"
    )
    command = ["java", "-Xmx256m", f"-Dconfig.file={settings}", "-cp", f"{folder}/lib/*", "org.elasticmq.server.Main"]
    try:
        with _running(command, dict(os.environ), port) as url:
            yield url
    finally:
        settings.unlink()


@contextlib.contextmanager
def _running(command: list[str], environ: dict[str, str], port: int) -> Iterator[str]:
    process = subprocess.Popen(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        give_up_at = time.monotonic() + START_WAIT_S
        while process.poll() is None and time.monotonic() < give_up_at:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                yield f"http://127.0.0.1:{port}"
                return
            time.sleep(0.05)
        raise RuntimeError(f"{command[-1]} did not start")
    finally:
        process.kill()
        process.wait()
