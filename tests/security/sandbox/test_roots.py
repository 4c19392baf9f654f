"""Trees reach a sandbox from folders that its kernel user id may not pass; only those of the launcher's roots do."""

import asyncio
import os

import pytest

from lambent.model.errors import HostError
from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.sandbox.driver import Limits, Program, SandboxSpec, Trees
from lambent.testing.sandboxes import open_test_launcher

pytestmark = pytest.mark.anyio


async def output_of(driver, argv, trees, name="one"):
    reader, writer = os.pipe()
    try:
        async with driver.open_sandbox(SandboxSpec(sandbox_id=name, limits=Limits(memory_mib=128, tmp_mib=512))) as box:
            program = await box.start(Program(argv=argv, environ={}, trees=trees, output_fd=writer))
            await program.wait()
            os.set_blocking(reader, False)
            return os.read(reader, 65536).decode()
    finally:
        os.close(reader)
        os.close(writer)


async def test_trees_below_a_private_folder_are_mounted_all_the_same(roots, user):
    roots.write("private/python/bin/interpreter", "an interpreter elsewhere")
    roots.write("interpreter/own/bin/interpreter", "an interpreter of the root")
    for folder in (roots.place, roots.place / "private", roots.code):
        folder.chmod(0o700)
        if user is not None:
            os.chown(folder, *user)
    elsewhere = {"python3.99": roots.place / "private/python"}
    async with open_test_launcher(roots, user=user, interpreters=elsewhere) as client:
        driver = BubblewrapDriver(client)
        argv = ["/bin/cat", "/var/task/app.py", "/var/lang/bin/interpreter"]
        trees = Trees(code="function", interpreter="python3.99")
        assert await output_of(driver, argv, trees) == "CODE = 1\nan interpreter elsewhere"
        trees = Trees(code="other", interpreter="own")
        assert await output_of(driver, argv, trees) == "CODE = 2\nan interpreter of the root"


async def test_a_link_or_a_file_in_a_root_is_no_tree(roots, user):
    (roots.code / "link").symlink_to("/etc")
    (roots.code / "relative").symlink_to("function")
    roots.write("code/file", "no directory")
    async with open_test_launcher(roots, user=user) as client:
        driver = BubblewrapDriver(client)
        for name in ("link", "relative", "file"):
            with pytest.raises(HostError):
                await output_of(driver, ["/bin/ls", "/var/task"], Trees(code=name))
        assert await output_of(driver, ["/bin/ls", "/var/task"], Trees(code="function")) == "app.py\n"


async def test_a_tree_exchanged_for_a_link_while_in_use_stays_what_it_was(roots, user):
    async with open_test_launcher(roots, user=user) as client:
        driver = BubblewrapDriver(client)
        spec = SandboxSpec(sandbox_id="holder", limits=Limits(memory_mib=128, tmp_mib=512))
        async with driver.open_sandbox(spec) as holder:
            argv = ["/bin/sleep", "600"]
            program = await holder.start(Program(argv=argv, environ={}, trees=Trees(code="function"), output_fd=2))
            await asyncio.to_thread((roots.code / "function").rename, roots.code / "moved")
            await asyncio.to_thread((roots.code / "function").symlink_to, "/etc")
            assert await output_of(driver, ["/bin/ls", "/var/task"], Trees(code="function")) == "app.py\n"
            await program.kill()
        with pytest.raises(HostError):
            await output_of(driver, ["/bin/ls", "/var/task"], Trees(code="function"))
