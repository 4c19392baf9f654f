"""The pool of cells over made-up cells, in fake time."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from lambent.environment.cell_pool import CellLimits, CellPool
from lambent.environment.deadlines import Deadlines
from lambent.model.errors import HostError
from lambent.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


class Cell:
    def __init__(self, key):
        self.key, self.is_alive, self.is_closed, self.notify = key, True, False, None

    def when_dead(self, notify):
        self.notify = notify

    def die(self):
        self.is_alive = False
        self.notify()

    async def close(self):
        self.is_closed = True


class Key(str):
    @property
    def runtime(self):
        return str(self)


class Maker:
    """Makes cells when told to."""

    def __init__(self):
        self.made, self.waiting, self.failures, self.is_open = [], [], 0, True

    async def make(self, key):
        if not self.is_open:
            gate = asyncio.get_running_loop().create_future()
            self.waiting.append(gate)
            await gate
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise HostError("no")
        self.made.append(Cell(key))
        return self.made[-1]


@asynccontextmanager
async def open_pool(is_busy=lambda: False, **limits):
    clock, maker = FakeClock(), Maker()
    deadlines = Deadlines(clock)
    sleeper = asyncio.get_running_loop().create_task(deadlines.run())
    limits = CellLimits(**{"makers": 1, **limits})
    pool = CellPool(lambda version: version and Key(version), maker.make, limits, clock, deadlines, is_busy)
    async with pool:
        pool.maker, pool.clock = maker, clock
        yield pool
    sleeper.cancel()
    assert all(cell.is_closed for cell in maker.made if not getattr(cell, "is_taken", False))


async def rest():
    for _ in range(50):
        await asyncio.sleep(0)


async def take(pool, key):
    cell = await pool.take(key)
    if cell is not None:
        cell.is_taken = True
    return cell


async def test_the_first_of_a_key_is_spawned_and_the_next_is_born_from_a_cell():
    async with open_pool() as pool:
        assert await take(pool, "a") is None
        await rest()
        assert pool.ready["a"] >= 1
        cell = await take(pool, "a")
        assert cell.key == "a"
        await rest()
        assert pool.ready["a"] >= 1


async def test_a_function_that_becomes_active_finds_a_cell():
    async with open_pool() as pool:
        pool.expect("a")
        await rest()
        assert (await take(pool, "a")).key == "a"


async def test_cells_are_never_taken_by_another_key():
    async with open_pool() as pool:
        pool.expect("account-1")
        await rest()
        before = pool.ready["account-1"]
        assert await take(pool, "account-2") is None
        assert pool.ready["account-1"] == before


async def test_who_comes_while_one_is_being_made_waits_for_it_and_others_spawn():
    async with open_pool() as pool:
        pool.maker.is_open = False
        pool.expect("a")
        await rest()
        first = asyncio.ensure_future(take(pool, "a"))
        await rest()
        assert await take(pool, "a") is None
        pool.maker.waiting[0].set_result(None)
        assert (await first) is pool.maker.made[0]
        assert pool.taken == 1


async def test_who_waits_for_a_cell_that_fails_spawns():
    async with open_pool() as pool:
        pool.maker.is_open, pool.maker.failures = False, 1
        pool.expect("a")
        await rest()
        waiting = asyncio.ensure_future(take(pool, "a"))
        await rest()
        pool.maker.waiting[0].set_result(None)
        assert await waiting is None


async def test_a_cell_for_somebody_who_left_is_ended():
    async with open_pool() as pool:
        pool.maker.is_open = False
        pool.expect("a")
        await rest()
        waiting = asyncio.ensure_future(pool.take("a"))
        await rest()
        pool.maker.waiting[0].set_result(None)
        pool.maker.is_open = True
        await asyncio.sleep(0)
        waiting.cancel()
        await rest()
        assert pool.ready["a"] >= 1 or pool.maker.made[0].is_closed


async def test_a_dead_cell_is_replaced_later_and_later():
    async with open_pool(max_cells=1) as pool:
        pool.expect("a")
        await rest()
        pool.maker.made[0].die()
        await rest()
        assert pool.ready == {"a": 0}
        assert pool.maker.made[0].is_closed
        pool.maker.failures = 1
        for ready in (0, 0, 1):  # a second after the death, two seconds after the failure
            await pool.clock.advance_s(1.01)
            await rest()
            assert pool.ready == {"a": ready}


async def test_cells_that_die_together_are_replaced_after_one_pause():
    async with open_pool(max_cells=4) as pool:
        for _ in range(20):
            pool.expect("a")
        await rest()
        assert pool.ready == {"a": 4}
        for cell in pool.maker.made[:4]:
            cell.die()
        await rest()
        assert pool.ready == {"a": 0}
        await pool.clock.advance_s(1.01)
        await rest()
        assert pool.ready["a"] >= 1


async def test_a_dead_cell_is_given_to_nobody():
    async with open_pool(max_cells=1) as pool:
        pool.expect("a")
        await rest()
        pool.maker.made[0].is_alive = False
        assert await take(pool, "a") is None


async def test_all_keys_together_have_so_many_and_the_least_wanted_makes_room():
    async with open_pool(max_cells=2) as pool:
        for key in "abc":
            await pool.clock.advance_s(100)
            pool.expect(key)
            await rest()
        assert sum(pool.ready.values()) == 2
        assert pool.ready["a"] == 0
        assert pool.ready["c"] >= 1


async def test_keys_that_nobody_wants_any_more_lose_their_cells():
    async with open_pool(keep_s=60) as pool:
        pool.expect("a")
        await rest()
        await pool.clock.advance_s(95)
        await rest()
        assert pool.ready == {}
        assert pool.maker.made[0].is_closed


async def test_none_is_made_while_others_need_the_processors_but_not_for_ever():
    async with open_pool(is_busy=lambda: True) as pool:
        pool.expect("a")
        await pool.clock.advance_s(0.4)
        assert pool.maker.made == []
        await pool.clock.advance_s(0.2)
        await rest()
        assert len(pool.maker.made) == 1


async def test_a_pool_of_none_makes_none_and_gives_none():
    async with open_pool(max_cells=0) as pool:
        pool.expect("a")
        await rest()
        assert await take(pool, "a") is None
        assert pool.maker.made == []


async def test_versions_without_a_key_are_spawned():
    async with open_pool() as pool:
        pool.expect(None)
        assert await take(pool, None) is None
        await rest()
        assert pool.maker.made == []


async def test_a_defect_of_one_key_leaves_cells_to_the_others():
    async with open_pool() as pool:
        make = pool.maker.make

        async def broken(key):
            if key == "a":
                raise KeyError(key)
            return await make(key)

        pool._make = broken
        pool.expect("a")
        pool.expect("b")
        await rest()
        assert pool.ready["a"] == 0
        assert pool.ready["b"] >= 1
