"""No sequence of calls makes an engine differ from a plain model: documents and queue, with time and restarts."""

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from lambent.store.contract import ABSENT, ANY, Conflict, Delete, Enqueue, NotOwner, OpId, Put, QueueMessage
from lambent.store.memory import MemoryStore
from lambent.store.sqlite.engine import open_sqlite_store
from lambent.testing.clock import FakeClock

KEYS = st.sampled_from(["a", "a/b", "a/c", "ab", "é"])
VALUES = st.one_of(st.integers(-9, 9), st.text(max_size=3), st.lists(st.booleans(), max_size=2))
GROUPS = st.sampled_from([None, None, "g", "h"])
IDS = st.sampled_from([None, None, "x", "y"])
DELAYS_S = st.sampled_from([0, 0, 1, 10])
SIZES = st.sampled_from([0, 10, 5000])
NEW = object()  # a revision that the store will draw
NO_REVISION = 10**9
DAY_S = 86_400


class Item:
    """An item as the model knows it."""

    def __init__(self, name, group, at_s, visible_s, body):
        self.name, self.group, self.at_s, self.visible_s, self.body = name, group, at_s, visible_s, body
        self.attempt, self.delivery, self.live = 0, None, False


class StoreMachine(RuleBasedStateMachine):
    """Runs each call against the engine and against dictionaries."""

    engine = "memory"

    def __init__(self):
        super().__init__()
        self.runner, self.clock, self.stack = asyncio.Runner(), FakeClock(), AsyncExitStack()
        self.path = Path(tempfile.mkdtemp(prefix="lambent-property-"))
        self.store = MemoryStore(self.clock)
        self.open()
        self.docs, self.last_rev, self.items, self.named, self.dead, self.ops = {}, {}, [], {}, [], {}
        self.serial = 0

    def open(self):
        if self.engine == "sqlite":
            opening = open_sqlite_store(self.path, clock=self.clock, stream_limit_bytes=1 << 20)
            self.store = self.run(self.stack.enter_async_context(opening))

    def run(self, coroutine):
        async def limited():
            async with asyncio.timeout(10):
                return await coroutine

        return self.runner.run(limited())

    def teardown(self):
        self.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.path)

    # documents

    def draw_operation(self, data):
        kind, key = data.draw(st.sampled_from(["put", "put", "delete", "enqueue"])), data.draw(KEYS)
        if kind == "enqueue":
            return Enqueue("q", self.message(data.draw(SIZES), data.draw(DELAYS_S), data.draw(IDS), data.draw(GROUPS)))
        current = self.docs[key][1] if key in self.docs else ABSENT
        expect = data.draw(st.sampled_from([ANY, ABSENT, current, NO_REVISION]))
        return Put(key, data.draw(VALUES), expect) if kind == "put" else Delete(key, expect)

    def expected(self, ops):
        """Return what the operations make of the documents, or the key that is in conflict."""
        docs = dict(self.docs)
        for op in ops:
            if isinstance(op, Enqueue):
                continue
            current = docs[op.key][1] if op.key in docs else ABSENT
            if op.expect is not ANY and op.expect != current:
                return None, op.key
            if isinstance(op, Put):
                docs[op.key] = (op.value, NEW)
            else:
                docs.pop(op.key, None)
        return docs, None

    @rule(data=st.data(), count=st.integers(1, 3), op=st.sampled_from([None, None, "one", "two"]))
    def transact(self, data, count, op):
        ops = [self.draw_operation(data) for _ in range(count)]
        call = self.store.documents.transact(*ops, op=None if op is None else OpId(op))
        known = self.ops.get(op)
        if known is not None and self.clock.mono_s() - known[0] < DAY_S:
            assert self.run(call) == known[1]
            return
        docs, conflict = self.expected(ops)
        if conflict is not None:
            with pytest.raises(Conflict) as error:
                self.run(call)
            assert error.value.key == conflict
            return
        result = self.run(call)
        for each, rev in zip(ops, result, strict=True):
            if isinstance(each, Enqueue):
                assert rev == 0
                self.remember(each.message)
            elif rev:
                assert rev > self.last_rev.get(each.key, 0)
                self.last_rev[each.key] = rev
            else:
                assert isinstance(each, Delete)
        self.docs = {key: (value, self.last_rev[key] if rev is NEW else rev) for key, (value, rev) in docs.items()}
        if op is not None:
            self.ops[op] = (self.clock.mono_s(), result)

    @invariant()
    def documents_are_the_models(self):
        docs = []
        page = self.run(self.store.documents.list("", limit=2))
        while True:
            docs += page.docs
            if page.next is None:
                break
            page = self.run(self.store.documents.list("", after=page.next, limit=2))
        assert {doc.key: (doc.value, doc.rev) for doc in docs} == self.docs
        assert [doc.key for doc in docs] == sorted(self.docs)

    @rule(key=KEYS)
    def find(self, key):
        doc = self.run(self.store.documents.find(key))
        assert self.docs.get(key) == (None if doc is None else (doc.value, doc.rev))

    # queue

    def remember(self, message):
        now_s = self.clock.mono_s()
        if message.id is not None:
            is_there = any(item.name == message.id for item in self.items)
            if is_there or now_s - self.named.get(message.id, -DAY_S) < DAY_S:
                return
            self.named[message.id] = now_s
        self.items.append(Item(message.id, message.group, now_s, now_s + message.delay_s, message.body))

    def message(self, size, delay_s, name, group):
        """Return a message whose body nobody else has."""
        self.serial += 1
        return QueueMessage(b"%d:" % self.serial + b"x" * size, delay_s, name, group)

    @rule(size=SIZES, delay_s=DELAYS_S, name=IDS, group=GROUPS)
    def enqueue(self, size, delay_s, name, group):
        message = self.message(size, delay_s, name, group)
        (returned,) = self.run(self.store.queue.enqueue("q", message))
        assert name is None or returned == name
        self.remember(message)

    def available(self):
        firsts = {}
        for item in self.items:
            firsts.setdefault(item.group or item, item)
        now_s = self.clock.mono_s()
        return [item for item in self.items if firsts[item.group or item] is item and item.visible_s <= now_s]

    @rule(limit=st.integers(1, 4), visible_after_s=st.sampled_from([1, 10]))
    def receive(self, limit, visible_after_s):
        got = self.run(self.store.queue.receive("q", limit=limit, visible_after_s=visible_after_s, wait_s=0))
        available = self.available()
        assert len(got) == min(limit, len(available))
        for delivery in got:
            item = next(each for each in available if each.body == delivery.body)
            assert delivery.attempt == item.attempt + 1
            assert delivery.id == (item.name or delivery.id)
            available.remove(item)
            if item.delivery is not None:
                assert item.delivery.id == delivery.id
                self.dead.append(item.delivery)
            item.delivery, item.attempt = delivery, delivery.attempt
            item.visible_s = self.clock.mono_s() + visible_after_s
            item.live = True

    def held(self):
        return [item for item in self.items if item.delivery is not None and item.live]

    @rule(data=st.data())
    def ack(self, data):
        held = self.held()
        chosen = data.draw(st.lists(st.integers(0, max(len(held) - 1, 0)), unique=True)) if held else []
        stale = self.dead[-1:]
        deliveries = [held[n].delivery for n in chosen] + stale
        if stale:
            with pytest.raises(NotOwner) as error:
                self.run(self.store.queue.ack(*deliveries))
            assert list(error.value.deliveries) == stale
        else:
            self.run(self.store.queue.ack(*deliveries))
        for item in [held[n] for n in chosen]:
            self.items.remove(item)
            self.dead.append(item.delivery)

    @rule(data=st.data(), delay_s=DELAYS_S, size=st.one_of(st.none(), SIZES))
    def nak(self, data, delay_s, size):
        body = None if size is None else self.message(size, 0, None, None).body
        if held := self.held():
            item = data.draw(st.sampled_from(held))
            self.run(self.store.queue.nak(item.delivery, delay_s=delay_s, body=body))
            item.visible_s, item.live = self.clock.mono_s() + delay_s, False
            item.body = item.body if body is None else body
            self.dead.append(item.delivery)

    @rule(data=st.data(), visible_after_s=st.sampled_from([0, 1, 10]))
    def extend(self, data, visible_after_s):
        if held := self.held():
            item = data.draw(st.sampled_from(held))
            self.run(self.store.queue.extend(item.delivery, visible_after_s=visible_after_s))
            item.visible_s = self.clock.mono_s() + visible_after_s

    @rule()
    def a_dead_receipt_has_no_effect(self):
        for delivery in self.dead[-2:]:
            for attempt in (
                self.store.queue.nak(delivery, delay_s=0, body=b"wrong"),
                self.store.queue.extend(delivery, visible_after_s=0),
            ):
                with pytest.raises(NotOwner):
                    self.run(attempt)

    @invariant()
    def depth_is_the_models(self):
        depth = self.run(self.store.queue.depth("q"))
        now_s = self.clock.mono_s()
        assert depth.visible + depth.in_flight + depth.delayed == len(self.items)
        assert depth.in_flight == sum(
            item.delivery is not None and item.live and item.visible_s > now_s for item in self.items
        )
        oldest_s = min((item.at_s for item in self.items), default=now_s)
        assert depth.oldest_age_s == pytest.approx(now_s - oldest_s)

    # time and restarts

    @rule(seconds=st.sampled_from([1, 9, 10, DAY_S]))
    def advance(self, seconds):
        self.run(self.clock.advance_s(seconds))

    @rule()
    def restart(self):
        self.run(self.stack.aclose())
        self.open()


class SqliteStoreMachine(StoreMachine):
    """The same against SQLite."""

    engine = "sqlite"


@pytest.mark.parametrize(("machine", "examples"), [(StoreMachine, 100), (SqliteStoreMachine, 25)])
def test_no_sequence_of_calls_makes_an_engine_differ_from_the_model(machine, examples):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
