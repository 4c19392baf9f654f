"""``lambent load``: its plan, its percentiles, what a stalled server does to latency, and its page."""

import asyncio
import base64
import contextlib
import itertools
import json

import pytest

from lambent.cli.client import Client, CommandFailed
from lambent.cli.load_driver import Invocation, Load, decide_outcome, due_times
from lambent.cli.load_figures import Called, Plan, Tally, decide_ramp, percentile
from lambent.cli.load_page import page

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("asked", "ramp"),
    [
        ((None, None, None, None), (1, 2, 4, 8)),
        (("3,1", None, None, None), (3, 1)),
        ((None, 10, 40, 4), (10, 20, 30, 40)),
        ((None, None, 7, 1), (7,)),
        ((None, 20, None, None), (20, 20, 20, 20)),
    ],
)
def test_a_ramp_is_as_listed_or_evenly_from_first_to_last(asked, ramp):
    assert decide_ramp(*asked) == ramp


@pytest.mark.parametrize(
    "asked", [("1,x", None, None, None), ("0", None, None, None), ("1001", None, None, None), ("1", 1, None, None)]
)
def test_a_ramp_that_is_none_or_has_no_bounds_is_refused(asked):
    with pytest.raises(CommandFailed):
        decide_ramp(*asked)


def test_percentiles_are_values_that_were_measured():
    assert [percentile(range(1, 101), share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert percentile([7.0], 0.5) == 7.0
    assert percentile([], 0.5) == 0.0


def test_calls_are_due_at_the_rate_or_at_once():
    assert list(due_times(Plan((1,), 2.0, rate=2.0), 10.0)) == [10.0, 10.5, 11.0, 11.5]
    assert list(itertools.islice(due_times(Plan((1,), 2.0), 10.0), 3)) == [None, None, None]


def test_refusals_are_counted_by_reason_and_have_no_part_in_latency():
    tally = Tally(2)
    for call in (Called(0.1, is_cold=True), Called(9.0, throttle="Reserved"), Called(9.0, error="Bad")):
        tally.add(call)
    found = tally.figures(2.0)
    assert (found.served, found.cold, found.throughput) == (1, 1, 0.5)
    assert (found.throttles, found.errors) == ({"Reserved": 1}, {"Bad": 1})
    assert found.latency_ms == {"p50": 100.0, "p90": 100.0, "p99": 100.0, "max": 100.0}
    assert Tally(1).figures(1.0).latency_ms is None


REPORT = "REPORT RequestId: 1\tDuration: 1 ms\tInit Duration: 2 ms\t\n"


@pytest.mark.parametrize(
    ("status", "headers", "body", "outcome"),
    [
        (200, {}, b"1", Called(0.0)),
        (200, {"x-amz-log-result": base64.b64encode(REPORT.encode()).decode()}, b"1", Called(0.0, is_cold=True)),
        (200, {"x-amz-function-error": "Unhandled"}, b"{}", Called(0.0, error="function error: Unhandled")),
        (429, {}, b'{"Reason": "CallerRateLimitExceeded"}', Called(0.0, throttle="CallerRateLimitExceeded")),
        (429, {}, b"<html>", Called(0.0, throttle="no reason given")),
        (500, {"x-amzn-errortype": "ServiceException:x"}, b"", Called(0.0, error="ServiceException")),
        (503, {}, b"", Called(0.0, error="HTTP 503")),
    ],
)
def test_an_answer_is_served_throttled_or_failed(status, headers, body, outcome):
    assert decide_outcome(status, headers, body) == outcome


async def ran(plan: Plan, stall_s: float, answer: bytes = ANSWER):
    """Return the figures of a load on a server whose first call stalls; and how many connections it saw."""
    calls = itertools.count()
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n{}")
                await asyncio.sleep(stall_s if next(calls) == 0 else 0)
                writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        load = Load(plan, Invocation(Client(f"http://{host}:{port}"), "/x", b"{}"))
        await asyncio.wait_for(load.run(lambda: None), 30)
    return load.finished, connections


@pytest.mark.anyio
async def test_calls_that_were_due_while_the_server_stalled_count_as_slow():
    (found,), connections = await ran(Plan((1,), 1.0, rate=100.0), stall_s=0.8)
    assert found.served + found.unfinished == 100
    assert found.latency_ms is not None
    # 80 of 100 calls were due during the stall, and waited 400 ms of it in the mean.
    assert found.latency_ms["p50"] > 150
    assert found.latency_ms["max"] >= 800
    assert connections == 1


@pytest.mark.anyio
async def test_a_closed_loop_measures_the_calls_it_made_and_says_so():
    plan = Plan((1,), 1.0)
    (found,), _ = await ran(plan, stall_s=0.5)
    assert found.latency_ms is not None
    assert found.latency_ms["p50"] < 150 < found.latency_ms["max"]
    assert "closed loop" in plan.method


@pytest.mark.anyio
async def test_calls_for_which_no_client_was_free_are_not_left_out():
    (found,), _ = await ran(Plan((1,), 0.2, rate=50.0), stall_s=0.6)
    assert (found.served, found.unfinished) == (1, 9)
    assert found.latency_ms is not None
    assert found.latency_ms["p50"] >= 400


@pytest.mark.anyio
async def test_every_step_has_as_many_connections_as_clients_and_keeps_them():
    found, connections = await ran(Plan((1, 3), 0.2), stall_s=0.0)
    assert [step.clients for step in found] == [1, 3]
    assert connections == 4


@pytest.mark.anyio
async def test_a_server_that_hangs_up_is_an_error_by_name():
    (found,), _ = await ran(Plan((1,), 0.1), stall_s=0.0, answer=b"no HTTP at all\r\n\r\n")
    assert found.served == 0
    assert all(name.startswith("connection: ") for name in found.errors)
    assert found.errors


def test_the_page_shows_names_and_never_runs_them_and_needs_nothing_else():
    tally = Tally(1)
    tally.add(Called(0.1, error="<b>why</b>"))
    text = page("Load on <script>x</script>", Plan((1,), 1.0), [tally.figures(1.0)])
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;x&lt;/script&gt;" in text
    assert "&lt;b&gt;why&lt;/b&gt;" in text
    assert "<svg" in text
    assert "http" not in text
    json.dumps(tally.figures(1.0).as_json())
