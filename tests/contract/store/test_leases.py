"""Guarantees L1 to L5 of leases."""

import asyncio

import pytest

from lambent.store.contract import Fenced, NotOwner, Put, TooLarge
from lambent.store.limits import right_ends_mono_s

pytestmark = pytest.mark.anyio


# L1


async def test_the_sum_of_holdings_never_passes_the_limit_whoever_asks_at_once(place):
    granted = await asyncio.gather(
        *(
            client.leases.acquire("l", f"holder-{n}", ttl_s=60, amount=2, limit=7)
            for n, client in enumerate([place.first, place.second] * 10)
        )
    )
    assert sum(each is not None for each in granted) == 3
    assert sum(each.amount for each in await place.second.leases.holders("l")) == 6


async def test_partial_takes_as_many_as_fit_and_none_where_none_does(leases):
    assert (await leases.acquire("l", "a", ttl_s=60, amount=5, limit=8)).amount == 5
    assert await leases.acquire("l", "b", ttl_s=60, amount=5, limit=8) is None
    assert (await leases.acquire("l", "b", ttl_s=60, amount=5, limit=8, partial=True)).amount == 3
    assert await leases.acquire("l", "c", ttl_s=60, amount=5, limit=8, partial=True) is None


async def test_amounts_of_one_holder_add_up_in_one_holding(place):
    first = await place.first.leases.acquire("l", "a", ttl_s=60, amount=2, limit=5)
    second = await place.second.leases.acquire("l", "a", ttl_s=60, amount=3, limit=5)
    assert (second.amount, second.token) == (5, first.token)
    assert await place.first.leases.holders("l") == [second]
    assert await place.first.leases.acquire("l", "a", ttl_s=60, limit=5) is None


async def test_an_expired_holding_counts_while_it_lingers_and_gives_no_right(leases, documents, clock):
    holding = await leases.acquire("l", "a", ttl_s=10, linger_s=5)
    await clock.advance_s(10)
    with pytest.raises(Fenced):
        await documents.put("k", 1, fence=holding)
    assert await leases.holders("l") == []
    assert await leases.renew(holding, ttl_s=10) == [False]
    assert await leases.acquire("l", "b", ttl_s=10) is None
    assert await leases.acquire("l", "a", ttl_s=10) is None
    await clock.advance_s(4.999)
    assert await leases.acquire("l", "b", ttl_s=10) is None
    await clock.advance_s(0.001)
    assert await leases.acquire("l", "b", ttl_s=10)


async def test_what_lingers_counts_beside_the_same_holders_new_holding(leases, clock):
    await leases.acquire("l", "a", ttl_s=10, amount=2, limit=5, linger_s=20)
    await clock.advance_s(10)
    new = await leases.acquire("l", "a", ttl_s=60, amount=2, limit=5)
    assert new.amount == 2
    assert await leases.acquire("l", "b", ttl_s=60, amount=2, limit=5) is None
    await clock.advance_s(20)
    assert await leases.acquire("l", "b", ttl_s=60, amount=3, limit=5)


async def test_what_was_released_does_not_linger(leases):
    holding = await leases.acquire("l", "a", ttl_s=10, linger_s=500)
    await leases.release(holding)
    assert await leases.acquire("l", "b", ttl_s=10)


async def test_a_lower_limit_takes_nothing_away_and_only_stops_grants(leases):
    holding = await leases.acquire("l", "a", ttl_s=60, amount=8, limit=10)
    assert await leases.acquire("l", "b", ttl_s=60, limit=4, partial=True) is None
    assert await leases.renew(holding, ttl_s=60) == [True]
    assert [each.amount for each in await leases.holders("l")] == [8]
    await leases.release(holding, 5)
    assert (await leases.acquire("l", "b", ttl_s=60, amount=9, limit=4, partial=True)).amount == 1


# L2


async def test_tokens_grow_per_name_over_release_expiry_and_restart(place, clock):
    tokens = []
    for end in ("release", "expire", "restart", "release", "restart"):
        holding = await place.first.leases.acquire("l", "a", ttl_s=10)
        tokens.append(holding.token)
        if end == "release":
            await place.first.leases.release(holding)
        else:
            await clock.advance_s(10)
        if end == "restart":
            await place.restart()
    assert tokens == sorted(set(tokens))


# L3


async def test_a_holding_is_live_until_exactly_its_ttl_after_its_last_renewal(place, clock):
    leases = place.first.leases
    holding = await leases.acquire("l", "a", ttl_s=10)
    await clock.advance_s(9.999)
    assert await leases.renew(holding, ttl_s=10) == [True]
    await clock.advance_s(9.999)
    assert await place.second.leases.acquire("l", "b", ttl_s=10) is None
    await clock.advance_s(0.001)
    assert await leases.renew(holding, ttl_s=10) == [False]
    with pytest.raises(NotOwner):
        await leases.release(holding)
    assert await place.second.leases.acquire("l", "b", ttl_s=10)


async def test_one_renewal_answers_for_each_of_many_holdings(leases, clock):
    lasting = await leases.acquire("a", "me", ttl_s=20)
    expired = await leases.acquire("b", "me", ttl_s=5)
    released = await leases.acquire("c", "me", ttl_s=20)
    await leases.release(released)
    await clock.advance_s(5)
    assert await leases.renew(lasting, expired, released, ttl_s=30) == [True, False, False]
    assert (await leases.holders("a"))[0].expires_at == clock.now() + (lasting.expires_at - clock.now()) * 2


async def test_a_release_of_more_than_is_held_is_refused(leases):
    holding = await leases.acquire("l", "a", ttl_s=10, amount=3, limit=3)
    for amount in (4, 0, -1):
        with pytest.raises(ValueError, match="cannot give back"):
            await leases.release(holding, amount)
    await leases.release(holding, 1)
    assert [each.amount for each in await leases.holders("l")] == [2]


async def test_a_superseded_holding_cannot_be_renewed_or_released(leases, clock):
    old = await leases.acquire("l", "a", ttl_s=10)
    await clock.advance_s(10)
    new = await leases.acquire("l", "a", ttl_s=10)
    assert await leases.renew(old, new, ttl_s=10) == [False, True]
    with pytest.raises(NotOwner):
        await leases.release(old)
    assert await leases.holders("l") == [new]


# L4


@pytest.mark.parametrize("drift", [0.99, 1.0, 1.01])
async def test_a_holders_right_ends_before_the_stores_even_on_a_clock_that_runs_one_percent_off(leases, clock, drift):
    sent_mono_s = clock.mono_s()
    await clock.advance_s(0.4)  # the way to the store
    holding = await leases.acquire("l", "a", ttl_s=60)
    right_ends_s = right_ends_mono_s(sent_mono_s, 60)
    assert right_ends_s == pytest.approx(sent_mono_s + 58.4)
    # The holder's clock shows `right_ends_s` when the store's shows that much later or earlier.
    await clock.advance_s((right_ends_s - sent_mono_s) / drift - 0.4)
    assert await leases.renew(holding, ttl_s=60) == [True]


# L5


async def test_a_higher_epoch_ends_the_holders_older_holdings_of_every_name_at_once(place):
    leases = place.first.leases
    old = [await leases.acquire(name, "host", ttl_s=60, linger_s=600, epoch=1) for name in ("a", "b")]
    other = await leases.acquire("c", "other", ttl_s=60, epoch=1)
    new = await place.second.leases.acquire("a", "host", ttl_s=60, epoch=2)
    assert new is not None
    assert await leases.renew(*old, other, new, ttl_s=60) == [False, False, True, True]
    assert await leases.acquire("b", "other", ttl_s=60, epoch=1)
    with pytest.raises(Fenced):
        await place.first.documents.transact(Put("k", 1), fence=old[0])
    await place.first.documents.transact(Put("k", 1), fence=new)


async def test_an_older_epoch_is_fenced_for_ever(place):
    holding = await place.first.leases.acquire("a", "host", ttl_s=60, epoch=5)
    await place.first.leases.release(holding)
    await place.restart()
    with pytest.raises(Fenced):
        await place.second.leases.acquire("b", "host", ttl_s=60, epoch=4)
    assert await place.second.leases.acquire("b", "host", ttl_s=60, epoch=5)


async def test_live_holdings_outlast_a_restart_of_the_store(place):
    holding = await place.first.leases.acquire("l", "a", ttl_s=60)
    await place.restart()
    assert await place.second.leases.acquire("l", "b", ttl_s=60) is None
    assert await place.second.leases.renew(holding, ttl_s=60) == [True]


async def test_names_and_amounts_beyond_the_limits_are_refused(leases):
    with pytest.raises(TooLarge):
        await leases.acquire("x" * 513, "a", ttl_s=1)
    with pytest.raises(TooLarge):
        await leases.acquire("l", "", ttl_s=1)
    with pytest.raises(ValueError, match="at least 1"):
        await leases.acquire("l", "a", ttl_s=1, amount=0)
