"""Stops and kills: what was acknowledged is there, and nothing is left behind."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from lambent.testing.process import LambentProcess

from . import aws
from .leftovers import Leftovers

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
