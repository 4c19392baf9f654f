"""Guarantees Q1 to Q9 of queues; crashes are in test_kill.py and test_power_cut.py."""

import asyncio

import pytest

from lambent.store.contract import Delivery, NotOwner, QueueMessage, TooLarge

pytestmark = pytest.mark.anyio

DAY_S = 86_400


async def take(queue, name="q", limit=10, visible_after_s=30, wait_s=0):
    return await queue.receive(name, limit=limit, visible_after_s=visible_after_s, wait_s=wait_s)


def bodies(deliveries):
    return [each.body for each in deliveries]


# Q1, Q2


async def test_an_acknowledged_item_is_there_after_a_restart_with_its_id_and_body(place):
    ids = await place.first.queue.enqueue("q", QueueMessage(b"1"), QueueMessage(b"x" * 100_000), QueueMessage(b""))
    await place.restart()
    found = await take(place.second.queue)
    assert [(each.id, each.body) for each in found] == list(zip(ids, [b"1", b"x" * 100_000, b""], strict=True))
    assert len(set(ids)) == 3


async def test_an_item_whose_receiver_died_comes_again(place, clock):
    await place.first.queue.enqueue("q", QueueMessage(b"1"))
    await take(place.first.queue, visible_after_s=30)
    await place.restart()
    await clock.advance_s(30)
    assert bodies(await take(place.second.queue)) == [b"1"]


async def test_a_cancelled_receive_takes_nothing(place, begun):
    queue = place.first.queue
    for n in range(30):
        waiting = await begun(take(queue, wait_s=60))
        enqueuing = asyncio.ensure_future(queue.enqueue("q", QueueMessage(b"%d" % n)))
        await asyncio.sleep(0.0001 * (n % 10))
        waiting.cancel()
        await enqueuing
        try:
            found = await waiting
        except asyncio.CancelledError:
            async with asyncio.timeout(5):
                found = []
                while not found:  # what was on its way to the cancelled one comes back
                    found = await take(place.second.queue)
        assert [(each.body, each.attempt) for each in found] == [(b"%d" % n, 1)]
        await queue.ack(*found)


# Q3


async def test_an_item_is_invisible_before_its_delay_and_visible_after_it(place, clock):
    await place.first.queue.enqueue("q", QueueMessage(b"1", delay_s=5))
    await clock.advance_s(4.999)
    assert await take(place.second.queue) == []
    await clock.advance_s(0.001)
    assert bodies(await take(place.second.queue)) == [b"1"]


@pytest.mark.parametrize("enqueuer", ["first", "second"])
async def test_a_waiting_receiver_gets_a_delayed_item_when_it_becomes_visible(place, begun, advanced, clock, enqueuer):
    waiting = await begun(take(place.first.queue, wait_s=60))
    await getattr(place, enqueuer).queue.enqueue("q", QueueMessage(b"1", delay_s=5))
    before_s = clock.mono_s()
    assert bodies(await advanced(waiting, 20, step_s=0.05)) == [b"1"]
    assert clock.mono_s() - before_s >= 5


async def test_the_receiver_wakes_for_the_earliest_of_several_delays(queue, begun, advanced, clock):
    waiting = await begun(take(queue, wait_s=60))
    await queue.enqueue("q", QueueMessage(b"late", delay_s=30))
    await queue.enqueue("q", QueueMessage(b"early", delay_s=2))
    assert bodies(await advanced(waiting, 10, step_s=0.05)) == [b"early"]


# Q4


async def test_a_live_delivery_is_exclusive_and_then_goes_to_anybody_with_one_attempt_more(place, clock):
    await place.first.queue.enqueue("q", QueueMessage(b"1"))
    first = await take(place.first.queue, visible_after_s=30)
    assert first[0].attempt == 1
    await clock.advance_s(29.999)
    assert await take(place.second.queue) == []
    await clock.advance_s(0.001)
    await place.restart()
    second = await take(place.second.queue)
    assert [(each.id, each.attempt) for each in second] == [(first[0].id, 2)]


async def test_a_waiting_receiver_gets_what_another_let_expire(place, begun, advanced):
    await place.first.queue.enqueue("q", QueueMessage(b"1"))
    await take(place.first.queue, visible_after_s=3)
    waiting = await begun(take(place.second.queue, wait_s=60))
    assert [each.attempt for each in await advanced(waiting, 20, step_s=0.05)] == [2]


async def test_extend_keeps_an_item_from_now_on(place, clock):
    await place.first.queue.enqueue("q", QueueMessage(b"1"))
    (mine,) = await take(place.first.queue, visible_after_s=10)
    await clock.advance_s(9)
    await place.first.queue.extend(mine, visible_after_s=10)
    await clock.advance_s(9.999)
    assert await take(place.second.queue) == []
    await clock.advance_s(0.001)
    assert bodies(await take(place.second.queue)) == [b"1"]


async def test_nak_gives_an_item_back_after_its_delay_with_its_new_body(place, clock):
    for body in (b"small", b"x" * 10_000, b"small again", b"y" * 20_000):
        await place.first.queue.enqueue("q", QueueMessage(b"z" * 9_000))
        (mine,) = await take(place.first.queue)
        await place.first.queue.nak(mine, delay_s=5, body=body)
        await clock.advance_s(4.999)
        assert await take(place.second.queue) == []
        await clock.advance_s(0.001)
        (again,) = await take(place.second.queue)
        assert (again.id, again.body, again.attempt) == (mine.id, body, 2)
        await place.second.queue.ack(again)


async def test_nak_without_body_keeps_the_body(queue):
    await queue.enqueue("q", QueueMessage(b"1"))
    (mine,) = await take(queue)
    await queue.nak(mine, delay_s=0)
    assert [(each.body, each.attempt) for each in await take(queue)] == [(b"1", 2)]


# Q5


@pytest.mark.parametrize("death", ["delivered-anew", "given-back", "acknowledged", "invented"])
async def test_a_dead_receipt_has_no_effect(place, clock, death):
    first, second = place.first.queue, place.second.queue
    await first.enqueue("q", QueueMessage(b"1"))
    (mine,) = await take(first, visible_after_s=5)
    owner = []
    match death:
        case "delivered-anew":
            await clock.advance_s(5)
            owner = await take(second)
        case "given-back":
            await first.nak(mine, delay_s=0)
            owner = await take(second)
        case "acknowledged":
            await first.ack(mine)
            await first.enqueue("q", QueueMessage(b"2"))
            owner = await take(second)
        case "invented":
            owner, mine = [mine], Delivery(mine.id, mine.body, 1, "no receipt")
    for attempt in (
        first.ack(mine),
        first.nak(mine, delay_s=0, body=b"wrong"),
        first.extend(mine, visible_after_s=0),
    ):
        with pytest.raises(NotOwner) as error:
            await attempt
        assert error.value.deliveries == (mine,)
    assert await take(first) == []
    await second.ack(*owner)
    await clock.advance_s(60)
    assert await take(first) == []


async def test_a_receipt_given_back_is_dead_before_anybody_takes_the_item(queue):
    await queue.enqueue("q", QueueMessage(b"1"))
    (mine,) = await take(queue)
    await queue.nak(mine, delay_s=0)
    with pytest.raises(NotOwner):
        await queue.ack(mine)
    assert len(await take(queue)) == 1


# Q6


async def test_an_acknowledged_item_never_comes_again(place, clock):
    await place.first.queue.enqueue("q", QueueMessage(b"1"), QueueMessage(b"2", id="b"))
    await place.first.queue.ack(*await take(place.first.queue))
    await clock.advance_s(7 * DAY_S)
    await place.restart()
    assert await take(place.second.queue) == []


async def test_an_ack_of_many_is_each_for_itself_and_lists_the_dead(queue, clock):
    await queue.enqueue("q", *(QueueMessage(b"%d" % n) for n in range(6)))
    mine = await take(queue, visible_after_s=5)
    await queue.ack(mine[1])
    await queue.nak(mine[4], delay_s=0)
    with pytest.raises(NotOwner) as error:
        await queue.ack(*mine)
    assert error.value.deliveries == (mine[1], mine[4])
    await clock.advance_s(5)
    assert bodies(await take(queue)) == [b"4"]


# Q7


async def test_one_id_in_one_queue_within_a_day_is_one_item_also_after_its_ack(place, clock):
    queue = place.first.queue
    assert await queue.enqueue("q", QueueMessage(b"1", id="a"), QueueMessage(b"2", id="a")) == ["a", "a"]
    assert await place.second.queue.enqueue("q", QueueMessage(b"3", id="a")) == ["a"]
    assert await queue.enqueue("other", QueueMessage(b"4", id="a")) == ["a"]
    mine = await take(queue)
    assert bodies(mine) == [b"1"]
    await queue.ack(*mine)
    await place.restart()
    await clock.advance_s(DAY_S - 1)
    assert await place.first.queue.enqueue("q", QueueMessage(b"5", id="a")) == ["a"]
    assert await take(place.first.queue) == []
    assert bodies(await take(place.first.queue, "other")) == [b"4"]
    await clock.advance_s(1)
    assert await place.first.queue.enqueue("q", QueueMessage(b"6", id="a")) == ["a"]
    assert bodies(await take(place.first.queue)) == [b"6"]


async def test_the_same_id_at_the_same_time_from_both_clients_is_one_item(place):
    await asyncio.gather(
        *(client.queue.enqueue("q", QueueMessage(b"1", id="a")) for client in [place.first, place.second] * 10)
    )
    assert len(await take(place.first.queue)) == 1


async def test_an_item_older_than_a_day_still_is_the_one_of_its_id(queue, clock):
    await queue.enqueue("q", QueueMessage(b"1", id="a"))
    await clock.advance_s(2 * DAY_S)
    await queue.enqueue("q", QueueMessage(b"2", id="a"))
    assert bodies(await take(queue)) == [b"1"]


# Q8


async def test_a_group_is_delivered_in_order_one_at_a_time_while_others_pass(place, clock):
    queue = place.first.queue
    await queue.enqueue(
        "q",
        QueueMessage(b"a1", group="a"),
        QueueMessage(b"a2", group="a"),
        QueueMessage(b"b1", group="b"),
        QueueMessage(b"free"),
        QueueMessage(b"b2", group="b"),
        QueueMessage(b"a3", group="a"),
    )
    first = await take(queue, visible_after_s=10)
    assert sorted(bodies(first)) == [b"a1", b"b1", b"free"]
    assert await take(place.second.queue) == []
    by_body = {each.body: each for each in first}
    await queue.ack(by_body[b"a1"])
    (a2,) = await take(place.second.queue)
    assert a2.body == b"a2"
    await place.second.queue.nak(a2, delay_s=3)  # a delay of the first holds the others back
    assert await take(queue) == []
    await clock.advance_s(3)
    (a2,) = await take(queue, visible_after_s=5)
    assert (a2.body, a2.attempt) == (b"a2", 2)
    await clock.advance_s(5)  # it dies in its receiver's hand
    await place.restart()
    (a2,) = await take(place.first.queue)
    assert (a2.body, a2.attempt) == (b"a2", 3)
    await place.first.queue.ack(a2)
    assert bodies(await take(place.first.queue)) == [b"a3"]


async def test_the_first_of_a_group_holds_the_others_back_even_while_it_is_delayed(queue, clock):
    await queue.enqueue("q", QueueMessage(b"1", group="a", delay_s=5), QueueMessage(b"2", group="a"))
    assert await take(queue) == []
    await clock.advance_s(5)
    (one,) = await take(queue)
    assert one.body == b"1"
    await queue.ack(one)
    assert bodies(await take(queue)) == [b"2"]


async def test_a_later_delay_in_a_group_counts_from_its_enqueue(queue, clock):
    await queue.enqueue("q", QueueMessage(b"1", group="a"), QueueMessage(b"2", group="a", delay_s=10))
    (one,) = await take(queue)
    await clock.advance_s(4)
    await queue.ack(one)
    await clock.advance_s(5.9)
    assert await take(queue) == []
    await clock.advance_s(0.1)
    assert bodies(await take(queue)) == [b"2"]


async def test_a_waiting_receiver_gets_the_next_of_a_group_when_the_first_is_acknowledged(place, begun, advanced):
    await place.first.queue.enqueue("q", QueueMessage(b"1", group="a"), QueueMessage(b"2", group="a"))
    (one,) = await take(place.first.queue)
    waiting = await begun(take(place.first.queue, wait_s=60))
    await place.first.queue.ack(one)
    assert bodies(await advanced(waiting, 10)) == [b"2"]


# Q9


async def test_many_receivers_get_each_item_once(place):
    sent = [b"%d" % n for n in range(300)]
    await place.first.queue.enqueue("q", *(QueueMessage(body) for body in sent))
    got = []

    async def work(client):
        while mine := await take(client.queue, limit=7):
            got.extend(bodies(mine))
            await client.queue.ack(*mine)

    await asyncio.gather(*(work(client) for client in [place.first, place.second] * 4))
    assert sorted(got) == sorted(sent)


@pytest.mark.parametrize("enqueuer", ["first", "second"])
async def test_a_waiting_receiver_wakes_long_before_its_wait_is_over(place, begun, clock, enqueuer):
    waiting = await begun(take(place.first.queue, wait_s=600))
    await getattr(place, enqueuer).queue.enqueue("q", QueueMessage(b"1"))
    async with asyncio.timeout(10):
        assert bodies(await waiting) == [b"1"]
    assert clock.mono_s() == 0


async def test_waiting_receivers_share_what_comes(place, begun):
    waiting = [await begun(take(client.queue, limit=1, wait_s=600)) for client in [place.first, place.second] * 5]
    await place.first.queue.enqueue("q", *(QueueMessage(b"%d" % n) for n in range(10)))
    async with asyncio.timeout(10):
        got = [each for mine in await asyncio.gather(*waiting) for each in bodies(mine)]
    assert sorted(got) == sorted(b"%d" % n for n in range(10))


async def test_a_receive_with_nothing_to_come_ends_empty_after_its_wait(queue, begun, advanced, clock):
    waiting = await begun(take(queue, wait_s=20))
    assert await advanced(waiting, 30, step_s=0.5) == []
    assert 20 <= clock.mono_s() <= 22


async def test_a_receive_takes_no_more_than_its_limit(queue):
    await queue.enqueue("q", *(QueueMessage(b"%d" % n) for n in range(5)))
    assert len(await take(queue, limit=3)) == 3
    assert len(await take(queue, limit=3)) == 2


# depth and limits


async def test_depth_counts_visible_in_flight_and_delayed_and_the_oldest_age(place, clock):
    queue = place.first.queue
    empty = await queue.depth("q")
    assert (empty.visible, empty.in_flight, empty.delayed, empty.oldest_age_s) == (0, 0, 0, 0.0)
    await queue.enqueue("q", QueueMessage(b"1"), QueueMessage(b"2"), QueueMessage(b"3", delay_s=60))
    await queue.enqueue("q", QueueMessage(b"4", group="a"), QueueMessage(b"5", group="a"))
    await queue.enqueue("other", QueueMessage(b"6"))
    (one,) = await take(queue, limit=1)
    await clock.advance_s(7)
    depth = await place.second.queue.depth("q")
    assert (depth.visible, depth.in_flight, depth.delayed, depth.oldest_age_s) == (3, 1, 1, 7.0)
    await queue.nak(one, delay_s=9)
    depth = await place.second.queue.depth("q")
    assert (depth.visible, depth.in_flight, depth.delayed) == (3, 0, 2)


async def test_a_body_of_two_mebibytes_is_kept_and_one_byte_more_refused(queue):
    await queue.enqueue("q", QueueMessage(b"x" * (2 * 1024 * 1024)))
    (mine,) = await take(queue)
    assert len(mine.body) == 2 * 1024 * 1024
    too_much = b"x" * (2 * 1024 * 1024 + 1)
    with pytest.raises(TooLarge):
        await queue.enqueue("q", QueueMessage(b"good"), QueueMessage(too_much))
    with pytest.raises(TooLarge):
        await queue.nak(mine, delay_s=0, body=too_much)
    assert await take(queue) == []


async def test_delays_and_batches_beyond_the_limits_are_refused_with_nothing_changed(queue):
    week_s = 7 * DAY_S
    with pytest.raises(TooLarge):
        await queue.enqueue("q", QueueMessage(b"good"), QueueMessage(b"1", delay_s=week_s + 1))
    with pytest.raises(TooLarge):
        await queue.enqueue("q", *(QueueMessage(b"") for _ in range(1001)))
    with pytest.raises(TooLarge):
        await queue.enqueue("q", *(QueueMessage(b"x" * 1_900_000) for _ in range(5)))
    with pytest.raises(TooLarge):
        await queue.enqueue("q" * 513, QueueMessage(b""))
    with pytest.raises(ValueError, match="negative"):
        await queue.enqueue("q", QueueMessage(b"1", delay_s=-1))
    assert (await queue.depth("q")).visible == 0
    await queue.enqueue("q", QueueMessage(b"1", delay_s=week_s))
    assert (await queue.depth("q")).delayed == 1


# names, hasten, purge


async def test_the_names_of_queues_that_hold_something_are_found_by_prefix_in_order(place):
    for name in ("a/2", "a/1", "ab", "b", "a/3"):
        await place.first.queue.enqueue(name, QueueMessage(b"1"), QueueMessage(b"2", delay_s=60))
    await place.first.queue.ack(*await take(place.first.queue, "a/3"))
    assert await place.second.queue.names("a/") == ["a/1", "a/2", "a/3"]
    assert await place.second.queue.purge("a/3") == 1
    assert await place.second.queue.names("a/") == ["a/1", "a/2"]
    assert await place.first.queue.names("") == ["a/1", "a/2", "ab", "b"]
    assert await place.first.queue.names("c") == []


async def test_hastened_items_are_visible_at_once_and_those_in_hand_stay_there(place, begun):
    queue = place.first.queue
    await queue.enqueue("q", QueueMessage(b"1"))
    held = await take(queue)
    await queue.enqueue("q", QueueMessage(b"2", delay_s=60), QueueMessage(b"3", delay_s=600))
    waiting = await begun(take(queue, wait_s=60))
    assert await queue.hasten("q") == 2
    assert sorted(bodies(await waiting)) == [b"2", b"3"]
    await queue.ack(*held)
    assert await queue.hasten("other") == 0


async def test_a_purged_queue_is_empty_and_receipts_of_it_are_dead(place):
    queue = place.first.queue
    await queue.enqueue("q", QueueMessage(b"1"), QueueMessage(b"x" * 100_000), QueueMessage(b"2", delay_s=60))
    held = await take(queue, limit=1)
    assert await queue.purge("q") == 3
    with pytest.raises(NotOwner):
        await queue.ack(*held)
    assert (await queue.depth("q")).oldest_age_s == 0
    await queue.enqueue("q", QueueMessage(b"3"))
    assert bodies(await take(queue)) == [b"3"]
