"""What becomes of a call whose cell is gone when its function comes."""

import pytest

from lambent.environment.api_server import ApiServers
from lambent.environment.runtime_api import RuntimeApi
from lambent.environment.stem_cells import CellLost
from lambent.sandbox.driver import Limits, SandboxSpec

pytestmark = pytest.mark.anyio


class LostCell:
    """A cell with a sandbox and a Runtime API, whose program died just now."""

    def __init__(self, sandbox, api):
        self.sandbox, self.api, self.has_ended, self.is_closed = sandbox, api, False, False

    def hand_over(self, observer):
        self.api.hand_over(observer)
        return self.api

    async def become(self, assignment, limits, log, notify):
        raise CellLost("gone")

    async def end_program(self):
        self.has_ended = True

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        self.is_closed = True


async def test_a_cell_that_is_lost_is_replaced_by_a_spawn_in_its_sandbox(kit):
    world = kit.make_world()
    spec = SandboxSpec(sandbox_id="cell-1", limits=Limits(memory_mib=128, tmp_mib=512))
    api = RuntimeApi(None)
    async with world.driver.open_sandbox(spec) as sandbox:
        async with ApiServers(world.clock).open_server(api, sandbox.listener):
            cell = LostCell(sandbox, api)

            class Source:
                async def take(self, version):
                    return cell

            world.tools = kit.replace(world.tools, cells=Source())
            async with kit.one_environment(world) as environment:
                result = await environment.run(kit.make_call(b"7"))
            assert (result.payload, result.function_error) == (b"7", None)
            assert (cell.has_ended, cell.is_closed) == (True, True)
            assert len(world.driver.sandboxes) == 1
            assert limits_of(world)[0][1].memory_mib == kit.VERSION.memory_mib


def limits_of(world):
    return [call for call in world.driver.calls if call[0] == "set_limits"]
