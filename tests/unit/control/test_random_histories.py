"""Random histories of functions against a plain model, and random races of writers."""

import asyncio
import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from lambent.model.errors import CallerError
from lambent.store.contract import Conflict

from .conftest import PausingDocuments, World

NAMES = st.sampled_from(["a", "b"])
STEPS = st.one_of(
    st.tuples(st.just("create"), NAMES),
    st.tuples(st.just("configure"), NAMES),
    st.tuples(st.just("deploy"), NAMES),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("settle"), NAMES),
    st.tuples(st.just("tag"), NAMES),
)


class Model:
    """What must be true of one function."""

    def __init__(self, revision):
        self.description, self.code_bytes, self.tags = "", len(b"PK-one"), 0
        self.is_pending, self.is_updating = True, False
        self.revision = revision

    def expected(self):
        state = "Pending" if self.is_pending else "Active"
        update = None if self.is_pending else "InProgress" if self.is_updating else "Successful"
        return (state, update, self.description, self.code_bytes)


class History:
    """Applies each step to the commands and to the model, and compares."""

    def __init__(self):
        self.world, self.models, self.revisions = World(PausingDocuments()), {}, set()

    async def apply(self, number, step, name):
        expected = self.refusal(step, self.models.get(name))
        answer, refused = None, None
        try:
            answer = await getattr(self, step)(number, name)
        except CallerError as error:
            refused = error.code
        assert refused == expected, step
        if refused is None:
            getattr(self, f"after_{step}")(number, name, answer)

    def refusal(self, step, model):
        if step == "create":
            return "ResourceConflictException" if model else None
        if step != "settle" and model is None:
            return "ResourceNotFoundException"
        is_busy = model is not None and (model.is_pending or model.is_updating)
        return "ResourceConflictException" if step in ("configure", "deploy") and is_busy else None

    async def create(self, number, name):
        return await self.world.create(name)

    def after_create(self, number, name, answer):
        self.models[name] = Model(self.fresh(answer))

    async def configure(self, number, name):
        return await self.world.call("UpdateFunctionConfiguration", FunctionName=name, Description=f"d{number}")

    def after_configure(self, number, name, answer):
        model = self.models[name]
        model.description, model.is_updating, model.revision = f"d{number}", True, self.fresh(answer)

    async def deploy(self, number, name):
        return await self.world.call("UpdateFunctionCode", FunctionName=name, ZipFile=b"PK" + bytes(number))

    def after_deploy(self, number, name, answer):
        model = self.models[name]
        model.code_bytes, model.is_updating, model.revision = 2 + number, True, self.fresh(answer)

    async def delete(self, number, name):
        return await self.world.call("DeleteFunction", FunctionName=name)

    def after_delete(self, number, name, answer):
        del self.models[name]

    async def settle(self, number, name):
        await self.world.settle(name)
        return

    def after_settle(self, number, name, answer):
        model = self.models.get(name)
        if model and (model.is_pending or model.is_updating):
            model.is_pending = model.is_updating = False
            model.revision = None

    async def tag(self, number, name):
        arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
        return await self.world.call("TagResource", Resource=arn, Tags={str(number): "x"})

    def after_tag(self, number, name, answer):
        self.models[name].tags += 1

    def fresh(self, answer):
        assert answer["RevisionId"] not in self.revisions
        self.revisions.add(answer["RevisionId"])
        return answer["RevisionId"]

    async def compare(self):
        listed = (await self.world.call("ListFunctions"))["Functions"]
        assert [entry["FunctionName"] for entry in listed] == sorted(self.models)
        for name, model in self.models.items():
            answer = await self.world.call("GetFunction", FunctionName=name)
            now = answer["Configuration"]
            shown = (now["State"], now.get("LastUpdateStatus"), now["Description"], now["CodeSize"])
            assert shown == model.expected()
            assert len(answer.get("Tags", {})) == model.tags
            if model.revision is None:
                model.revision = self.fresh(now)
            assert now["RevisionId"] == model.revision


@settings(deadline=None, max_examples=60)
@given(st.lists(STEPS, max_size=40))
def test_every_history_of_functions_is_the_one_of_the_model(steps):
    async def run():
        history = History()
        for number, (step, name) in enumerate(steps):
            await history.apply(number, step, name)
            await history.compare()

    asyncio.run(run())


WRITES = st.lists(st.sampled_from(["configure", "deploy", "delete", "create"]), min_size=2, max_size=6)


async def write(history, steps, base, acknowledged):
    """Try ``steps`` one after the other; note the revision of each that was acknowledged."""
    for number, step in enumerate(steps):
        with contextlib.suppress(CallerError):
            answer = await getattr(history, step)(base + number, "a")
            if step != "delete":
                acknowledged.append(answer["RevisionId"])


async def settle(history):
    """Settle now and then; a conflict is what the reconciler's own loop tries again."""
    for _ in range(8):
        with contextlib.suppress(Conflict):
            await history.world.settle("a")
        await asyncio.sleep(0)


@settings(deadline=None, max_examples=60)
@given(st.lists(WRITES, min_size=2, max_size=4), st.integers(0, 3))
def test_writers_at_once_never_lose_or_mix_an_acknowledged_change(writers, settlers):
    """One line of history: every acknowledged write is in it once, and an update only follows what was settled."""

    async def run():
        history, acknowledged = History(), []
        writes = (write(history, steps, 10 * index, acknowledged) for index, steps in enumerate(writers))
        await asyncio.gather(*writes, *(settle(history) for _ in range(settlers)))
        return history.world.documents.history, acknowledged

    history, acknowledged = asyncio.run(run())
    specs = [value for key, value in history if key.startswith("spec/") and value is not None]
    assert sorted(acknowledged) == sorted(value["revision_id"] for value in specs)
    previous, settled = None, None
    for key, value in history:
        if key.startswith("status/"):
            settled = value and value["last_update_status"] == "Successful" and value["generation"]
            continue
        if value is not None and previous is not None:
            assert settled == previous["generation"]
            assert value["generation"] == previous["generation"] + 1
            assert value["first_generation"] == previous["first_generation"]
        previous = value
