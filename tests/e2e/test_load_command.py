"""``lambent load`` against a whole server: throttles and cold starts are counted, an interrupt shows what there is."""

import json
import signal
import subprocess

from . import aws

SLOW = "import time\ndef handler(event, context):\n    time.sleep(0.2)\n    return event\n"


def test_a_ramp_beyond_the_reserved_concurrency_counts_throttles_and_cold_starts(server, functions, deploy, tmp_path):
    name = deploy(SLOW)
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    shown = tmp_path / "load.html"
    command = ["lambent", "load", name, "--ramp", "1,4", "--seconds", "2", "--json", "--html", str(shown)]
    done = subprocess.run(
        command, env=aws.environ(server.endpoint), capture_output=True, text=True, timeout=120, check=True
    )
    alone, crowd = json.loads(done.stdout)["steps"]
    assert alone["served"] > 0
    assert alone["throttles"] == {}
    assert alone["latency_ms"]["p50"] >= 200
    assert list(crowd["throttles"]) == ["ReservedFunctionConcurrentInvocationLimitExceeded"]
    assert crowd["served"] > 0
    assert alone["errors"] == crowd["errors"] == {}
    assert alone["cold_starts"] == 1
    assert 1 <= alone["cold_starts"] + crowd["cold_starts"] <= 2
    assert name in shown.read_text()
    assert "\x1b" not in done.stderr


def test_an_interrupt_prints_what_was_measured(server, deploy):
    name = deploy(SLOW)
    command = ["lambent", "load", name, "--ramp", "1,2,2,2", "--seconds", "2", "--json"]
    with subprocess.Popen(
        command,
        env=aws.environ(server.endpoint),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    ) as running:
        assert running.stderr is not None
        assert "closed loop" in running.stderr.readline()
        assert "1 clients" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    steps = json.loads(out)["steps"]
    assert steps[0]["served"] > 0
    assert len(steps) < 4


def test_a_function_that_is_not_there_is_one_line(server):
    done = subprocess.run(
        ["lambent", "load", "nobody"],
        env=aws.environ(server.endpoint),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("lambent: ResourceNotFoundException")
