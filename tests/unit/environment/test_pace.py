"""What one environment may ask in a second, and that nothing is lost of what waits."""

import asyncio

import pytest

from lambent.environment.pace import BURST, COUNTED_BYTES, REQUESTS_PER_S, Paced
from lambent.http.application import BodyPlan, Request, RequestHead
from lambent.testing.clock import FakeClock

pytestmark = pytest.mark.anyio
HEAD = RequestHead("GET", "/", "/", "", ())


class Application:
    """Keeps what it gets."""

    def __init__(self):
        self.handled = []

    def plan_body(self, head):
        return BodyPlan(7)

    def handle(self, request, reply):
        self.handled.append(request)


class Reply:
    is_gone = False


class Flood:
    """Sends requests and owns what waits of them, as a server does."""

    def __init__(self):
        self.clock, self.application = FakeClock(), Application()
        self.paced = Paced(self.application, self.clock)
        self.waiting = []

    def send(self, count=1, *, body=b"", reply=None):
        for _ in range(count):
            waits = self.paced.handle(Request(HEAD, body), reply or Reply())
            if waits is not None:
                self.waiting.append(asyncio.ensure_future(waits))

    async def pass_s(self, seconds):
        await asyncio.sleep(0)
        await self.clock.advance_s(seconds)
        await asyncio.sleep(0)

    @property
    def count(self):
        return len(self.application.handled)


async def test_a_burst_is_answered_at_once_and_what_is_more_at_the_rate():
    flood = Flood()
    await flood.pass_s(60)
    flood.send(int(BURST) + 300)
    assert flood.count == pytest.approx(BURST, abs=1)
    await flood.pass_s(100 / REQUESTS_PER_S)
    assert flood.count == pytest.approx(BURST + 100, abs=1)
    await flood.pass_s(1)
    assert flood.count == BURST + 300
    assert all(each.done() for each in flood.waiting)


async def test_who_stays_below_the_rate_never_waits():
    flood = Flood()
    for _ in range(50):
        flood.send(int(REQUESTS_PER_S / 10))
        await flood.pass_s(0.1)
    assert not flood.waiting


async def test_a_large_body_counts_as_many_requests():
    flood = Flood()
    await flood.pass_s(60)
    flood.send(3, body=bytes(int(COUNTED_BYTES * BURST / 2)))
    assert flood.count == 1


async def test_who_hung_up_while_he_waited_gets_nothing_done():
    flood = Flood()
    await flood.pass_s(60)
    gone = Reply()
    flood.send(int(BURST))
    flood.send(reply=gone)
    gone.is_gone = True
    await flood.pass_s(5)
    assert flood.count == pytest.approx(BURST, abs=1)
    assert flood.paced.plan_body(HEAD) == BodyPlan(7)
