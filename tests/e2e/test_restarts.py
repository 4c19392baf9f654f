"""Stops and kills: what was acknowledged is there, and nothing is left behind."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
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


def test_at_sigterm_what_runs_ends_well_and_what_comes_is_refused_in_words(state_dir):
    with LambentProcess(state_dir, settings={"drain_s": 20}) as server, ThreadPoolExecutor(1) as threads:
        client, logs = aws.client("lambda", server.endpoint), aws.client("logs", server.endpoint)
        source = "import time\ndef handler(e, c):\n    print('begun')\n    time.sleep(2)\n    return 'ended well'\n"
        name = aws.create(client, source, Timeout=20)
        running = threads.submit(aws.invoke, client, name)
        while not _said(logs, name):
            assert not running.done()
        os.kill(server.pid, signal.SIGTERM)
        with pytest.raises(ClientError, match="This server is stopping and takes no new requests"):
            _call_while(lambda: not running.done(), client.list_functions)
        assert running.result().payload == "ended well"


def _call_while(condition, call):
    while condition():
        call()


def _said(logs, name):
    try:
        return logs.filter_log_events(logGroupName=f"/aws/lambda/{name}", filterPattern="begun")["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []


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
