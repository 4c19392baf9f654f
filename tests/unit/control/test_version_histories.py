"""Random histories of versions, aliases and concurrency, across restarts, against a small model of AWS's rules."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from lambent.model.errors import CallerError

from .conftest import PausingDocuments, World

NUMBERS = st.integers(1, 3)
ALIASES = st.sampled_from(["a", "b"])
STEPS = st.one_of(
    st.sampled_from([("configure",), ("publish",), ("recreate",), ("restart",)]),
    st.tuples(st.just("delete_version"), NUMBERS),
    st.tuples(st.just("put_alias"), ALIASES, NUMBERS, st.none() | NUMBERS),
    st.tuples(st.just("delete_alias"), ALIASES),
    st.tuples(st.just("reserve"), st.sampled_from([None, 0, 3, 901])),
    st.tuples(st.just("provision"), st.one_of(ALIASES, NUMBERS.map(str)), st.sampled_from([None, 1, 1, 3, 901])),
)
INVALID, MISSING, TAKEN = "InvalidParameterValueException", "ResourceNotFoundException", "ResourceConflictException"


class Refused(Exception):
    """What AWS's rules refuse; its text is the error's code."""


class Model:
    """What must be true of the one function, after each step of AWS's rules."""

    def __init__(self):
        self.description, self.last = "", 0
        self.published: dict[int, str] = {}
        self.aliases: dict[str, tuple[int, int | None]] = {}
        self.reserved, self.provisioned = None, {}

    def configure(self):
        self.description += "x"

    def publish(self):
        if self.published.get(self.last) != self.description:
            self.last += 1
            self.published[self.last] = self.description

    def delete_version(self, number):
        if number not in self.published:
            return
        if any(number in names for names in self.aliases.values()):
            raise Refused(TAKEN)
        del self.published[number]
        self.provisioned.pop(str(number), None)

    def put_alias(self, name, number, extra):
        if number not in self.published:
            raise Refused(MISSING)
        if extra == number:
            raise Refused(INVALID)
        if extra is not None and extra not in self.published:
            raise Refused(MISSING)
        self.aliases[name] = (number, extra)

    def delete_alias(self, name):
        self.aliases.pop(name, None)
        self.provisioned.pop(name, None)

    def reserve(self, amount):
        if amount is not None and amount < sum(self.provisioned.values()):
            raise Refused(INVALID)
        if amount == 901:
            raise Refused(INVALID)
        self.reserved = amount

    def provision(self, qualifier, amount):
        if qualifier not in self.aliases and not (qualifier.isdecimal() and int(qualifier) in self.published):
            raise Refused(MISSING)
        if amount is None:
            self.provisioned.pop(qualifier, None)
            return
        others = {name: each for name, each in self.provisioned.items() if name != qualifier}
        through = {str(number) for name in others for number in self.aliases.get(name, ())}
        mine = {str(number) for number in self.aliases.get(qualifier, ()) if number} or {qualifier}
        if mine & (through | set(others)):
            raise Refused(TAKEN)
        room = 900 if self.reserved is None else self.reserved
        if sum(others.values()) + amount > room:
            raise Refused(INVALID)
        self.provisioned[qualifier] = amount

    def recreate(self):
        self.__init__()

    def restart(self):
        """Nothing is lost."""


class Calls:
    """The same steps as calls of the API."""

    def __init__(self):
        self.world = World(PausingDocuments())

    async def call(self, operation, **members):
        return await self.world.call(operation, FunctionName="f", **members)

    async def configure(self):
        description = (await self.call("GetFunctionConfiguration"))["Description"]
        await self.call("UpdateFunctionConfiguration", Description=f"{description}x")
        await self.world.settle("f")

    async def publish(self):
        await self.call("PublishVersion")

    async def delete_version(self, number):
        await self.call("DeleteFunction", Qualifier=str(number))

    async def put_alias(self, name, number, extra):
        weights = {} if extra is None else {str(extra): 0.5}
        members = {"FunctionVersion": str(number), "RoutingConfig": {"AdditionalVersionWeights": weights}}
        there = [alias["Name"] for alias in (await self.call("ListAliases"))["Aliases"]]
        await self.call("UpdateAlias" if name in there else "CreateAlias", Name=name, **members)

    async def delete_alias(self, name):
        await self.call("DeleteAlias", Name=name)

    async def reserve(self, amount):
        if amount is None:
            await self.call("DeleteFunctionConcurrency")
        else:
            await self.call("PutFunctionConcurrency", ReservedConcurrentExecutions=amount)

    async def provision(self, qualifier, amount):
        if amount is None:
            await self.call("DeleteProvisionedConcurrencyConfig", Qualifier=qualifier)
        else:
            await self.call(
                "PutProvisionedConcurrencyConfig", Qualifier=qualifier, ProvisionedConcurrentExecutions=amount
            )

    async def recreate(self):
        await self.call("DeleteFunction")
        await self.world.create_active()

    async def restart(self):
        documents, packages = self.world.documents, self.world.packages
        self.world = World(documents)
        self.world.packages.kept |= packages.kept

    async def compare(self, model):
        versions = (await self.call("ListVersionsByFunction"))["Versions"]
        assert {int(each["Version"]): each["Description"] for each in versions[1:]} == model.published
        aliases = (await self.call("ListAliases"))["Aliases"]
        shown = {each["Name"]: (each["FunctionVersion"], *each.get("RoutingConfig", {}).values()) for each in aliases}
        assert shown == {
            name: (str(number), *([{str(extra): 0.5}] if extra else []))
            for name, (number, extra) in model.aliases.items()
        }
        reserved = (await self.call("GetFunctionConcurrency")).get("ReservedConcurrentExecutions")
        configs = (await self.call("ListProvisionedConcurrencyConfigs"))["ProvisionedConcurrencyConfigs"]
        assert reserved == model.reserved
        assert {
            each["FunctionArn"].rpartition(":")[2]: each["RequestedProvisionedConcurrentExecutions"] for each in configs
        } == model.provisioned
        limits = (await self.world.call("GetAccountSettings"))["AccountLimit"]
        claimed = sum(model.provisioned.values()) if reserved is None else reserved
        assert limits["UnreservedConcurrentExecutions"] == 1000 - claimed


async def play(steps):
    model, calls = Model(), Calls()
    await calls.world.create_active()
    for name in ("publish", "configure", "publish"):
        getattr(model, name)()
        await getattr(calls, name)()
    for name, *members in steps:
        expected, refused = None, None
        try:
            getattr(model, name)(*members)
        except Refused as refusal:
            expected = str(refusal)
        try:
            await getattr(calls, name)(*members)
        except CallerError as error:
            refused = error.code
        assert refused == expected, (name, members)
        await calls.compare(model)


# Long ones: what goes wrong needs a version, an alias of it, something for the alias, and its end.
@settings(deadline=None, max_examples=60)
@given(st.lists(STEPS, min_size=25, max_size=40))
def test_every_history_of_versions_and_aliases_is_the_one_of_the_model(steps):
    asyncio.run(play(steps))
