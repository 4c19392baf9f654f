"""Output of a function, cut into events: order, bounds, and frames that lie."""

import asyncio
import os
import random
import struct
from datetime import timedelta

import pytest

from lambent.environment.frames import FrameReader
from lambent.environment.output import EVENT_LIMIT_BYTES, ProgramOutput
from lambent.testing.clock import FakeClock
from lambent.testing.recording_driver import RecordingLog

pytestmark = pytest.mark.anyio


class Pipes:
    def __init__(self):
        self.clock, self.log = FakeClock(), RecordingLog()
        self.output = ProgramOutput(self.log, self.clock)
        self.stdout, self.framed = os.dup(self.output.output_fd), os.dup(self.output.log_fd)
        self.output.started()

    def close(self):
        self.output.close()
        for descriptor in (self.stdout, self.framed):
            os.close(descriptor)


@pytest.fixture
async def pipes():
    each = Pipes()
    yield each
    each.close()


def frame(message, kind=0xA55A0003, at_us=0, length=None):
    return struct.pack(">IIQ", kind, len(message) if length is None else length, at_us) + message


@pytest.mark.parametrize(
    ("written", "events"),
    [
        pytest.param(b"a\nb\n", [b"a\n", b"b\n"], id="every-newline-ends-an-event"),
        pytest.param(b"another\rline\n", [b"another\rline\n"], id="a-lone-return-does-not"),
        pytest.param(b"\n\n", [b"\n", b"\n"], id="empty-lines-stay"),
        pytest.param(b"half", [b"half"], id="an-unfinished-line-is-given-at-the-end"),
        pytest.param(b"\xff\x00\n", [b"\xff\x00\n"], id="any-bytes"),
    ],
)
async def test_lines_become_events(pipes, written, events):
    os.write(pipes.stdout, written)
    pipes.output.drain()
    assert pipes.log.messages == events


async def test_a_line_may_come_in_pieces(pipes, kit):
    os.write(pipes.stdout, b"one ")
    await kit.eventually(lambda: bytes(pipes.output._line) == b"one ")
    os.write(pipes.stdout, b"line\nrest")
    await kit.eventually(lambda: pipes.log.messages == [b"one line\n"])
    pipes.output.drain()
    assert pipes.log.messages == [b"one line\n", b"rest"]


async def test_endless_line_is_cut_at_the_limit_of_an_event_and_memory_is_bounded(pipes):
    total = 3 * EVENT_LIMIT_BYTES + 10
    sent = 0
    while sent < total:
        sent += os.write(pipes.stdout, b"x" * min(60_000, total - sent))
        pipes.output._pipe.drain()
        assert len(pipes.output._line) <= EVENT_LIMIT_BYTES
    pipes.output.drain()
    assert [len(message) for message in pipes.log.messages] == [EVENT_LIMIT_BYTES] * 3 + [10]


async def test_drain_ends_although_the_writer_does_not(pipes):
    reads = []
    read = pipes.output._pipe._read

    def read_and_refill():
        chunk = read()
        reads.append(len(chunk or b""))
        os.write(pipes.stdout, b"more\n" * 100)
        return chunk

    pipes.output._pipe._read = read_and_refill
    os.write(pipes.stdout, b"more\n" * 100)
    pipes.output.drain()
    assert sum(reads) <= 65_536 + 600


async def test_descriptors_are_blocking_for_the_function_and_all_are_closed_at_the_end():
    before = set(os.listdir("/proc/self/fd"))
    each = Pipes()
    assert os.get_blocking(each.stdout)
    each.close()
    assert set(os.listdir("/proc/self/fd")) == before


async def test_function_that_closes_its_output_costs_no_turns_of_the_loop(kit):
    each, reads = Pipes(), []
    read = each.output._pipe._read
    each.output._pipe._read = lambda: reads.append(1) or read()
    os.close(each.stdout)
    each.stdout = os.open(os.devnull, os.O_RDONLY)
    await kit.eventually(lambda: reads)
    seen = len(reads)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(reads) == seen == 1
    each.close()


@pytest.mark.parametrize(
    ("kind", "level"),
    [(0xA55A0003, None), (0xA55A0003 | 0x0C, "INFO"), (0xA55A0002 | 0x14, "ERROR"), (0xA55A0003 | 0x18, "FATAL")],
)
async def test_a_frame_is_one_event_with_its_level(kind, level):
    reader = FrameReader(1000)
    (only,) = reader.feed(frame(b"multi\nline\n", kind, 1_000_000))
    assert (only.message, only.level, only.at_us) == (b"multi\nline\n", level, 1_000_000)


async def test_time_of_a_frame_is_believed_only_if_it_is_near(pipes, monkeypatch):
    seen = []
    monkeypatch.setattr(pipes.log, "output", lambda message, at, level=None: seen.append(at))
    now = pipes.clock.now()
    for at in (now - timedelta(seconds=5), now + timedelta(seconds=5), now - timedelta(days=1)):
        os.write(pipes.framed, frame(b"m", at_us=int(at.timestamp() * 1_000_000)))
    os.write(pipes.framed, frame(b"m", at_us=2**64 - 1))
    pipes.output.drain()
    assert seen == [now - timedelta(seconds=5), now, now, now]


async def test_frames_are_the_same_however_they_are_cut():
    stream = b"".join(frame(bytes([65 + n]) * n, at_us=n) for n in range(1, 40))
    whole = [each.message for each in FrameReader(1000).feed(stream)]
    rng = random.Random(7)
    for _ in range(50):
        reader, pieces, at = FrameReader(1000), [], 0
        while at < len(stream):
            size = rng.randrange(1, 30)
            pieces += [each.message for each in reader.feed(stream[at : at + size])]
            at += size
        assert pieces == whole


async def test_frame_that_announces_four_gigabytes_costs_no_memory():
    reader = FrameReader(1000)
    list(reader.feed(frame(b"", length=2**32 - 1)))
    for _ in range(100):
        for each in reader.feed(b"x" * 900):
            assert len(each.message) == 1000
        assert len(reader._buffer) < 1900


async def test_log_descriptor_without_frames_gives_lines(pipes):
    os.write(pipes.framed, b"plain text, no frame\nsecond\nthird")
    pipes.output.drain()
    assert pipes.log.messages == [b"plain text, no frame\n", b"second\n", b"third"]
