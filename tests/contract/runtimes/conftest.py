"""Real runtimes, built once into a cache that runs and workers share, started without a sandbox."""

import asyncio
import os
import signal
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from lambent.runtimes.catalogue import RuntimeCatalogue
from lambent.runtimes.provider import RuntimeProvider, RuntimeUnavailable

from .tiny_api import TinyRuntimeApi

CACHE = Path(os.environ.get("LAMBENT_TEST_CACHE") or Path(__file__).parents[3] / ".cache") / "runtimes"


@pytest.fixture(scope="session")
def provider():
    return RuntimeProvider(
        RuntimeCatalogue.load(),
        runtime_root=CACHE / "runtimes",
        interpreter_root=CACHE / "interpreters",
        cache_dir=CACHE / "cache",
        configured={},
        host_environ=os.environ,
    )


@pytest.fixture(scope="session")
def prepare(provider):
    """Return a function that gives a prepared runtime, or skips where this host cannot have it."""

    def prepare(identifier):
        try:
            return asyncio.run(provider.prepare(identifier))
        except RuntimeUnavailable as error:
            pytest.skip(str(error))

    return prepare


class Function:
    """One process of a runtime with a function's code. ``finish`` ends it and returns what it printed."""

    def __init__(self, prepared, code, handler, environ, *, framed):
        self.api = TinyRuntimeApi()
        self.frames = b""
        places = {
            "/var/runtime": str(CACHE / "runtimes" / prepared.runtime_tree),
            "/var/lang": str(CACHE / "interpreters" / prepared.interpreter_tree),
            "/var/task": str(code),
        }

        def place(text):
            for inside, outside in places.items():
                text = text.replace(inside, outside)
            return text

        read_fd, write_fd = os.pipe()
        full = {
            "PATH": "/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "LD_LIBRARY_PATH": places["/var/lang"] + "/lib",
            "AWS_LAMBDA_RUNTIME_API": self.api.address,
            "AWS_LAMBDA_FUNCTION_NAME": "f",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2024/01/01/[$LATEST]0",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{prepared.identifier}",
            "LAMBDA_TASK_ROOT": str(code),
            "LAMBDA_RUNTIME_DIR": places["/var/runtime"],
            "_HANDLER": handler,
            **{name: place(value) for name, value in prepared.environ},
            **({"_LAMBDA_TELEMETRY_LOG_FD": str(write_fd)} if framed else {}),
            **environ,
        }
        self.process = subprocess.Popen(
            [place(each) for each in prepared.argv],
            env=full, cwd=code, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            pass_fds=[write_fd], start_new_session=True,
        )  # fmt: skip
        os.close(write_fd)
        self.printed = b""
        pipes = {"printed": self.process.stdout, "frames": os.fdopen(read_fd, "rb")}
        self.readers = [threading.Thread(target=self._read, args=each) for each in pipes.items()]
        for reader in self.readers:
            reader.start()

    def _read(self, name, pipe):
        with pipe:
            for chunk in iter(lambda: pipe.read1(65536), b""):
                setattr(self, name, getattr(self, name) + chunk)

    def invoke(self, event=None, **options):
        return self.api.invoke(event, **options)

    def wait(self):
        """Return the exit code of a process that ends by itself."""
        code = self.process.wait(20)
        for reader in self.readers:
            reader.join()
        return code

    def finish(self):
        """End the process; return its output as text."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()
        self.api.close()
        return self.printed.decode()

    @property
    def messages(self):
        """The framed messages so far as (frame type, text)."""
        found, data = [], self.frames
        while len(data) >= 16:
            kind, length, micros = struct.unpack(">IIQ", data[:16])
            assert micros > 1_600_000_000_000_000
            found.append((kind, data[16 : 16 + length].decode()))
            data = data[16 + length :]
        return found


@pytest.fixture
def start(prepare, tmp_path):
    """Return a function that starts a runtime on ``{file name: text}``."""
    started = []

    def start(identifier, files, handler, environ=None, *, framed=False):
        prepared = prepare(identifier)
        code = tmp_path / "task"
        for name, text in files.items():
            (code / name).parent.mkdir(parents=True, exist_ok=True)
            (code / name).write_text(text)
        function = Function(prepared, code, handler, environ or {}, framed=framed)
        started.append(function)
        return function

    yield start
    for function in started:
        function.finish()
