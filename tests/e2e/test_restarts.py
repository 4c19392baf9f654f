"""Stops and kills: what was acknowledged is there, and nothing is left behind."""

import contextlib
import json
import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from lambent.testing.process import LambentProcess

from . import aws
from .leftovers import Leftovers

ROUNDS = 100 if os.environ.get("LAMBENT_ROUNDS") == "full" else 10
SOURCE = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return context.function_name\n"


def use(server, count):
    client = aws.client("lambda", server.endpoint, max_pool_connections=count)
    with ThreadPoolExecutor(4) as threads:
        names = list(threads.map(lambda _: aws.create(client, SOURCE, Timeout=30), range(count)))
        assert list(threads.map(lambda name: aws.invoke(client, name, 0).payload, names)) == names
    return client, names


def test_a_stop_leaves_nothing_behind(state_dir):
    with LambentProcess(state_dir) as server:
        left = Leftovers(server)
        use(server, 20)
        counts = left.look(server)
        assert counts["processes"] > 20
        assert counts["networks"] >= 20
    assert left.all() == {}


def test_a_kill_leaves_nothing_behind_after_the_next_stop(state_dir):
    server = LambentProcess(state_dir)
    server.start()
    try:
        left = Leftovers(server)
        _, names = use(server, 5)
        left.look(server)
    finally:
        server.kill()
    with LambentProcess(state_dir) as again:
        client = aws.client("lambda", again.endpoint)
        assert aws.invoke(client, names[0], 0).payload == names[0]
        left.look(again)
    assert left.all() == {}


def test_a_killed_server_or_launcher_is_replaced_and_goes_on(state_dir):
    with LambentProcess(state_dir) as server:
        left = Leftovers(server)
        _, names = use(server, 2)
        left.look(server)
        for part in ("lambent.assembly.server", "launcher/main.py"):
            pid = next(pid for pid, line in server.processes() if part in line and "supervisor.py" not in line)
            os.kill(pid, 9)
            assert _insist(server, lambda client: aws.invoke(client, names[0], 0)).payload == names[0]
            left.look(server)
        assert (server.run_dir / "lambent.log").read_text().count("server_ready") >= 2
    assert left.all() == {}


def _insist(server, call, limit_s=20.0):
    """Return what ``call`` returns once the server is there again, at whatever port."""
    give_up_at = time.monotonic() + limit_s
    while True:
        try:
            endpoint = json.loads((server.run_dir / "endpoint.json").read_text())["endpoint"]
            return call(aws.client("lambda", endpoint))
        except (BotoCoreError, HTTPClientError, ClientError):
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)


class Writer(threading.Thread):
    """Creates, changes, tags, invokes and deletes functions until the server is gone; knows what it was promised."""

    def __init__(self, endpoint, seed) -> None:
        super().__init__()
        self._client = aws.client("lambda", endpoint, read_timeout=10)
        self._choice = random.Random(seed)
        self.promised: dict[str, dict] = {}
        self.unsure: set[str] = set()  # asked for, and the answer never came
        self.faults: list[Exception] = []

    def run(self) -> None:
        while True:
            name = self._pick()
            self.unsure.add(name)
            try:
                self._change(name)
            except (BotoCoreError, HTTPClientError):
                return
            except ClientError as error:
                if error.response["Error"]["Code"] != "ResourceConflictException":  # it is still being made
                    self.faults.append(error)
                    return
            self.unsure.discard(name)

    def _pick(self) -> str:
        old = self._choice.choice(sorted(self.promised)) if self.promised else None
        return old if old and self._choice.random() < 0.6 else aws.new_name("kill")

    def _change(self, name) -> None:
        if (known := self.promised.get(name)) is None:
            made = self._client.create_function(
                FunctionName=name,
                Runtime=aws.PYTHON,
                Handler="app.handler",
                Role=aws.ROLE,
                Code={"ZipFile": aws.packed({"app.py": SOURCE + f"# {name}\n"})},
            )
            self.promised[name] = {"CodeSha256": made["CodeSha256"], "MemorySize": 128}
            return
        match self._choice.randrange(4):
            case 0:
                size = self._choice.randrange(128, 512)
                self._client.update_function_configuration(FunctionName=name, MemorySize=size)
                known["MemorySize"] = size
            case 1:
                package = aws.packed({"app.py": SOURCE + f"# {self._choice.random()}\n"})
                made = self._client.update_function_code(FunctionName=name, ZipFile=package)
                known["CodeSha256"] = made["CodeSha256"]
            case 2:
                with contextlib.suppress(self._client.exceptions.ResourceConflictException):
                    self._client.invoke(FunctionName=name, Payload=b"0")
            case _:
                self._client.delete_function(FunctionName=name)
                del self.promised[name]


@pytest.mark.rounds
@pytest.mark.timeout(60 + 15 * ROUNDS)
def test_everything_acknowledged_survives_kills_at_random_moments(state_dir):
    promised: dict[str, dict] = {}
    choice = random.Random()
    server = LambentProcess(state_dir)
    server.start()
    left = Leftovers(server)
    try:
        use(server, 1)  # the runtime is installed before the first kill
        for _ in range(ROUNDS):
            promised |= write_until_killed(server, left, choice)
            server.start()
            require_promises(server, promised, choice)
        assert (server.run_dir / "lambent.log").read_text().count("server_ready") > ROUNDS
        server.stop()
    finally:
        server.kill()
    assert left.all() == {}


def write_until_killed(server, left, choice) -> dict[str, dict]:
    """Return what three writers were promised before the server was killed at a random moment."""
    writers = [Writer(server.endpoint, choice.random()) for _ in range(3)]
    for writer in writers:
        writer.start()
    time.sleep(choice.uniform(0.05, 1.0))  # the moment of the kill is what varies
    left.look(server)
    server.kill()
    for writer in writers:
        writer.join()
        assert writer.faults == []
    every = [(name, known, writer.unsure) for writer in writers for name, known in writer.promised.items()]
    return {name: known for name, known, unsure in every if name not in unsure}


def require_promises(server, promised, choice) -> None:
    """Everything promised is there as promised, and runs."""
    client = aws.client("lambda", server.endpoint)
    for name, known in promised.items():
        found = client.get_function_configuration(FunctionName=name)
        assert {key: found[key] for key in known} == known
    for name in choice.sample(sorted(promised), min(2, len(promised))):
        aws.wait(client, "function_active_v2", name)
        aws.wait(client, "function_updated_v2", name)
        assert aws.invoke(client, name, 0).payload == name
        client.delete_function(FunctionName=name)
        del promised[name]
