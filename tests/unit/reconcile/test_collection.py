"""Unused packages go, used ones never."""

import asyncio

import pytest

from lambent.model.documents import function_spec_key
from lambent.reconcile.collection import PackageCollector
from lambent.store.contract import Unavailable

from .conftest import FIRST_CODE, SCOPE, SECOND_CODE, spec

pytestmark = pytest.mark.anyio


async def test_what_a_spec_wants_and_what_a_status_serves_is_kept(plant):
    await plant.reconciler.reconcile_once(await plant.write(spec()))
    await plant.write(spec(generation=11, digest=SECOND_CODE))
    await PackageCollector(plant.documents, plant.trees, plant.clock).collect_once()
    assert plant.trees.collected == [{FIRST_CODE, SECOND_CODE}]


async def test_what_a_deleted_function_had_is_not_kept(plant):
    key = await plant.write(spec())
    await plant.reconciler.reconcile_once(key)
    await plant.delete()
    await plant.reconciler.reconcile_once(key)
    await PackageCollector(plant.documents, plant.trees, plant.clock).collect_once()
    assert plant.trees.collected == [set()]


async def test_a_document_of_a_later_release_still_keeps_its_package(plant):
    layers = {"schema": 99, "layers": [{"code": {"digest": "c" * 64}}]}
    await plant.documents.put(function_spec_key(SCOPE, "later"), layers)
    await PackageCollector(plant.documents, plant.trees, plant.clock).collect_once()
    assert plant.trees.collected == [{"c" * 64}]


async def test_many_functions_are_all_read(plant):
    digests = [f"{number:064x}" for number in range(2_500)]
    for number, digest in enumerate(digests):
        await plant.documents.put(function_spec_key(SCOPE, f"f{number}"), {"code": {"digest": digest}})
    await PackageCollector(plant.documents, plant.trees, plant.clock).collect_once()
    assert plant.trees.collected == [set(digests)]


async def test_a_list_that_fails_deletes_nothing_and_the_next_turn_comes(plant):
    await plant.write(spec())
    plant.documents.list = working = plant.documents.list  # so that it compares by identity

    async def failing(prefix, **rest):
        plant.documents.list = working
        raise Unavailable("no")

    plant.documents.list = failing
    collector = PackageCollector(plant.documents, plant.trees, plant.clock, first_after_s=5.0, interval_s=10.0)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(collector.run())
        await plant.until(lambda status: plant.clock.sleeping)
        assert plant.documents.list is failing
        await plant.clock.advance_s(5)
        await plant.until(lambda status: plant.documents.list is working and plant.clock.sleeping)
        assert plant.trees.collected == []
        await plant.clock.advance_s(10)
        await plant.until(lambda status: plant.trees.collected)
        task.cancel()
    assert plant.trees.collected == [{FIRST_CODE}]
