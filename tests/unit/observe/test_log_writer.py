"""The buffer between functions and the store: bounded, ordered, in nobody's way, and lost by no kill."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
import structlog

from lambent.observe import log_writer
from lambent.store.contract import Unavailable

pytestmark = pytest.mark.anyio


async def messages_of(logs, group="g"):
    seen, token = [], {}
    while True:
        answer = await logs.do("FilterLogEvents", logGroupName=group, **token)
        seen += [event["message"] for event in answer["events"]]
        if "nextToken" not in answer:
            return seen
        token = {"nextToken": answer["nextToken"]}


async def test_what_is_added_stands_in_the_stream_in_order(logs):
    buffer = logs.writer.open_stream(logs.scope, "g", "s", is_json=False)
    for n in range(2_000):
        logs.writer.add(buffer, logs.now_ms, b"%d" % n)
    await logs.writer.flush()
    assert await messages_of(logs) == [str(n) for n in range(2_000)]
    assert logs.writer.buffered_bytes == 0


async def test_a_full_buffer_drops_the_newest_counts_them_and_says_so(tmp_path, open_logs):
    with structlog.testing.capture_logs() as said:
        async with open_logs(tmp_path, buffer_limit_bytes=40_000) as logs:
            buffer = logs.writer.open_stream(logs.scope, "g", "s", is_json=True)
            for n in range(100):
                logs.writer.add(buffer, logs.now_ms, b"%03d" % n + b"x" * 97)
            assert logs.writer.buffered_bytes <= 40_000 // 4  # a stream's share
            await logs.writer.flush()
            kept = await messages_of(logs)
    assert [message[:3] for message in kept[:-1]] == [f"{n:03d}" for n in range(33)]
    assert '"droppedRecords":67,"droppedBytes":6700' in kept[-1]
    assert logs.writer.dropped_events == 67
    dropped = [each for each in said if each["event"] == "log_events_dropped"]
    assert [(each["events"], each["bytes"]) for each in dropped] == [(67, 6700)]


async def test_a_noisy_stream_leaves_room_to_others_and_all_streams_together_are_bounded(tmp_path, open_logs):
    async with open_logs(tmp_path, buffer_limit_bytes=40_000) as logs:
        buffers = [logs.writer.open_stream(logs.scope, "g", f"s{n}", is_json=False) for n in range(6)]
        for buffer in buffers:
            for _ in range(100):
                logs.writer.add(buffer, logs.now_ms, b"x" * 100)
        assert 39_000 < logs.writer.buffered_bytes <= 40_000
        await logs.writer.flush()
        counts = [
            len((await logs.do("GetLogEvents", logGroupName="g", logStreamName=f"s{n}"))["events"])
            for n in (0, 1, 2, 3)
        ]
        assert counts == [33, 33, 33, 33]


async def test_nothing_is_lost_while_the_store_is_in_trouble_and_the_caller_never_notices(logs, monkeypatch):
    append, troubles, tried = logs.events.append, iter(range(3)), asyncio.Event()

    async def failing(name, events):
        tried.set()
        if next(troubles, None) is not None:
            raise Unavailable("disk full")
        await append(name, events)

    monkeypatch.setattr(logs.events, "append", failing)
    buffer = logs.writer.open_stream(logs.scope, "g", "s", is_json=False)
    with structlog.testing.capture_logs() as said, anyio.fail_after(10):
        for n in range(4):
            logs.writer.add(buffer, logs.now_ms, b"%d" % n)
            await tried.wait()
            tried.clear()
            await logs.clock.advance_s(1)
        await logs.writer.flush()
    assert await messages_of(logs) == ["0", "1", "2", "3"]
    assert [each["event"] for each in said].count("log_write_failed") == 3


async def test_a_flush_ends_even_if_the_store_never_answers(logs, monkeypatch):
    monkeypatch.setattr(log_writer, "FLUSH_TIMEOUT_S", 0.05)

    async def never(name, events):
        await asyncio.Event().wait()

    monkeypatch.setattr(logs.events, "append", never)
    logs.writer.add(logs.writer.open_stream(logs.scope, "g", "s", is_json=False), 0, b"x")
    with anyio.fail_after(5):
        await logs.writer.flush()
    assert logs.writer.buffered_bytes > 0


async def test_ten_thousand_lines_do_not_hold_the_loop(logs):
    buffer = logs.writer.open_stream(logs.scope, "g", "s", is_json=False)
    turns = 0

    async def count_turns():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count_turns)
        for n in range(10_000):
            logs.writer.add(buffer, logs.now_ms, b"%d" % n)
        before = turns
        await logs.writer.flush()
        # One turn of the loop for each batch at the very least: the batches are not written in one go.
        assert turns - before > 10_000 // log_writer._BATCH_EVENTS
        tasks.cancel_scope.cancel()


async def test_a_stopped_writer_writes_what_it_has_and_nothing_twice(tmp_path, open_logs, monkeypatch):
    async with open_logs(tmp_path) as logs:
        append, entered, released = logs.events.append, asyncio.Event(), asyncio.Event()

        async def slow(name, events):
            entered.set()
            await released.wait()
            await append(name, events)

        monkeypatch.setattr(logs.events, "append", slow)
        writer = log_writer.LogWriter(logs.groups, logs.events, logs.clock)
        running = asyncio.create_task(writer.run())
        buffer = writer.open_stream(logs.scope, "g", "s", is_json=False)
        for n in range(1_200):
            writer.add(buffer, logs.now_ms, b"%d" % n)
        await entered.wait()  # in the middle of the first batch
        running.cancel()
        await asyncio.sleep(0)
        released.set()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await messages_of(logs) == [str(n) for n in range(1_200)]


CHILD = """
import asyncio, importlib.util, sys
from pathlib import Path

spec = importlib.util.spec_from_file_location("logs_conftest", sys.argv[2])
conftest = importlib.util.module_from_spec(spec)
sys.modules["logs_conftest"] = conftest
spec.loader.exec_module(conftest)

async def main():
    async with conftest.open_logs(Path(sys.argv[1])) as logs:
        buffer = logs.writer.open_stream(logs.scope, "g", "s", is_json=False)
        n = 0
        while True:
            for _ in range(20):
                logs.writer.add(buffer, logs.now_ms, b"%d" % n)
                n += 1
            await logs.writer.flush()
            print(n, flush=True)

asyncio.run(main())
"""


async def test_a_line_that_was_written_survives_a_kill(tmp_path, open_logs):
    store = tmp_path / "store"
    conftest = Path(__file__).with_name("conftest.py")

    def kill_after_some_lines():
        with subprocess.Popen([sys.executable, "-c", CHILD, store, conftest], stdout=subprocess.PIPE) as process:
            deadline, written = time.monotonic() + 30, 0
            while written < 400 and time.monotonic() < deadline:
                written = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            process.wait()
            rest = process.stdout.read().split()
            return int(rest[-1]) if rest else written

    written = await asyncio.to_thread(kill_after_some_lines)
    assert written >= 400
    async with open_logs(store) as logs:
        kept = await messages_of(logs)
    assert kept[:written] == [str(n) for n in range(written)]
    assert kept == [str(n) for n in range(len(kept))]
