"""What every sandbox driver promises. Bubblewrap as root, as an ordinary user, and the unsafe process driver."""

import asyncio
import contextlib
import json
import os
import signal
import socket

import pytest

from lambent.model.errors import HostError
from lambent.sandbox.bubblewrap import BubblewrapDriver
from lambent.sandbox.driver import Exit, Limits, Program, SandboxSpec, Trees
from lambent.sandbox.process import ProcessDriver
from lambent.testing.sandboxes import find_or_make_test_user, open_roots, open_test_launcher

pytestmark = pytest.mark.anyio

PYTHON = "/usr/bin/python3"
LIMITS = Limits(memory_mib=256, tmp_mib=512)
KINDS = ["bubblewrap", "bubblewrap as a user", "process"] if os.geteuid() == 0 else ["bubblewrap", "process"]


@pytest.fixture(params=KINDS)
async def driver(request):
    user = find_or_make_test_user() if request.param == "bubblewrap as a user" else None
    with open_roots(user) as roots:
        roots.write("code/function/app.py", "CODE = 1\n")
        roots.write("code/other/app.py", "CODE = 2\n")
        roots.write("code/layer/python/layer.py", "LAYER = 1\n")
        roots.write("code/bytecode/app.pyc", "bytecode")
        roots.write("runtime/client/bootstrap.py", "CLIENT = 1\n")
        roots.write("interpreter/lang/bin/interpreter", "LANG = 1\n")
        if request.param == "process":
            yield ProcessDriver(
                code_root=roots.code,
                runtime_root=roots.runtime,
                interpreter_root=roots.interpreter,
                run_dir=roots.run,
            )
            assert not list(roots.run.iterdir())
        else:
            async with open_test_launcher(roots, user=user) as client:
                yield BubblewrapDriver(client)
            assert [path.name for path in roots.run.iterdir()] == ["launcher.lock"]


@contextlib.asynccontextmanager
async def open_sandbox(driver, name="one", **limits):
    async with asyncio.timeout(30):
        spec = SandboxSpec(sandbox_id=name, limits=Limits(**{"memory_mib": 256, "tmp_mib": 512, **limits}))
        async with driver.open_sandbox(spec) as sandbox:
            yield sandbox


class Run:
    """A program and the reading end of its output."""

    def __init__(self, running, reader):
        self.running, self.reader = running, reader

    async def result(self):
        """(exit, everything that it wrote)."""
        output = await asyncio.to_thread(read_all, self.reader)
        return await self.running.wait(), output

    async def line(self):
        return await asyncio.to_thread(read_line, self.reader)


def read_all(reader):
    parts = []
    while part := os.read(reader, 65536):
        parts.append(part)
    os.close(reader)
    return b"".join(parts).decode()


def read_line(reader):
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(reader, 1)
        assert part, f"end of output after {line!r}"
        line += part
    return line.decode().rstrip("\n")


async def start(sandbox, *argv, trees=None, environ=None, **descriptors):
    reader, writer = os.pipe()
    try:
        program = Program(
            argv=argv, environ=environ or {}, trees=trees or Trees(code="function"), output_fd=writer, **descriptors
        )
        return Run(await sandbox.start(program), reader)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)


async def run(sandbox, *argv, **options):
    return await (await start(sandbox, *argv, **options)).result()


async def shell(sandbox, script, **options):
    return await run(sandbox, "/bin/sh", "-c", script, **options)


async def test_output_and_exit_code_of_a_program_are_told(driver):
    async with open_sandbox(driver) as sandbox:
        assert await shell(sandbox, "echo out; echo err >&2; exit 7") == (Exit(7, None), "out\nerr\n")


async def test_a_program_that_ends_at_once_is_told_as_any_other(driver):
    async with open_sandbox(driver) as sandbox:
        for _ in range(5):
            assert await run(sandbox, "/bin/true") == (Exit(0, None), "")


async def test_a_program_ended_by_a_signal_is_told_with_the_signal(driver):
    async with open_sandbox(driver) as sandbox:
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV):
            assert (await shell(sandbox, f"kill -{int(number)} $$"))[0] == Exit(None, number)


@pytest.mark.skipif(
    tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2]) < (6, 15),
    reason="before Linux 6.15 bubblewrap's 128 + n cannot be told from a signal",
)
async def test_an_exit_code_above_128_is_no_signal(driver):
    async with open_sandbox(driver) as sandbox:
        assert (await shell(sandbox, "sleep 0.05; exit 137"))[0] == Exit(137, None)


async def test_tmp_survives_a_program_and_ends_with_the_sandbox(driver):
    async with open_sandbox(driver) as sandbox:
        tmp = sandbox.path("/tmp")
        assert await shell(sandbox, f"ls -A {tmp}; echo kept > {tmp}/file") == (Exit(0, None), "")
        assert await shell(sandbox, f"cat {tmp}/file") == (Exit(0, None), "kept\n")
    async with open_sandbox(driver) as sandbox:
        assert await shell(sandbox, f"ls -A {sandbox.path('/tmp')}") == (Exit(0, None), "")


async def test_a_second_program_is_refused_while_one_runs(driver):
    async with open_sandbox(driver) as sandbox:
        first = await start(sandbox, "/bin/sleep", "60")
        with pytest.raises(HostError):
            await start(sandbox, "/bin/true")
        await first.running.kill()
        assert (await first.result())[0] == Exit(None, signal.SIGKILL)
        assert await run(sandbox, "/bin/true") == (Exit(0, None), "")


async def test_a_program_that_does_not_exist_could_not_be_started(driver):
    async with open_sandbox(driver) as sandbox:
        for _ in range(2):
            with pytest.raises(HostError):
                await start(sandbox, "/bin/there-is-no-such-program")
        assert await run(sandbox, "/bin/true") == (Exit(0, None), "")


async def test_trees_stand_at_their_places_and_the_code_is_the_working_directory(driver):
    trees = Trees(code="function", layers="layer", runtime="client", interpreter="lang", bytecode="bytecode")
    async with open_sandbox(driver) as sandbox:
        places = {
            "/var/task/app.py": "CODE = 1\n",
            "/opt/python/layer.py": "LAYER = 1\n",
            "/var/runtime/bootstrap.py": "CLIENT = 1\n",
            "/var/lang/bin/interpreter": "LANG = 1\n",
            "/var/lambent/pyc/app.pyc": "bytecode",
        }
        for place, text in places.items():
            assert await run(sandbox, "/bin/cat", sandbox.path(place), trees=trees) == (Exit(0, None), text)
        assert await run(sandbox, "/bin/cat", "app.py", trees=trees) == (Exit(0, None), "CODE = 1\n")


async def test_the_next_program_may_have_other_trees(driver):
    async with open_sandbox(driver) as sandbox:
        for tree, text in (("function", "CODE = 1\n"), ("other", "CODE = 2\n")):
            assert (await run(sandbox, "/bin/cat", "app.py", trees=Trees(code=tree)))[1] == text


@pytest.mark.parametrize("name", ["nowhere", "../code/function", "/etc", "function/.", "..", ""])
async def test_what_is_no_tree_of_the_root_is_refused(driver, name):
    async with open_sandbox(driver) as sandbox:
        with pytest.raises(HostError):
            await start(sandbox, "/bin/true", trees=Trees(code=name))
        assert await run(sandbox, "/bin/true") == (Exit(0, None), "")


async def test_code_and_layers_are_assigned_to_a_running_program(driver):
    async with open_sandbox(driver) as sandbox:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                script = f"read go; cat {sandbox.path('/var/task')}/app.py {sandbox.path('/opt')}/python/layer.py"
                cell = await start(sandbox, "/bin/sh", "-c", script, trees=Trees(), control_fd=theirs.fileno())
            with pytest.raises(HostError):
                await cell.running.assign(Trees(code="nowhere"), LIMITS)
            await cell.running.assign(Trees(code="function", layers="layer"), LIMITS)
            ours.send(b"go\n")
            assert await cell.result() == (Exit(0, None), "CODE = 1\nLAYER = 1\n")
            with pytest.raises(HostError):
                await cell.running.assign(Trees(code="function"), LIMITS)


async def test_the_control_channel_is_descriptor_0_and_the_log_descriptor_62(driver):
    async with open_sandbox(driver) as sandbox:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        reader, writer = os.pipe()
        with ours, theirs:
            script = "import os, socket; os.write(62, socket.socket(fileno=os.dup(0)).recv(99))"
            ours.send(b"from the control channel")
            program = await start(sandbox, PYTHON, "-I", "-c", script, control_fd=theirs.fileno(), log_fd=writer)
            os.close(writer)
        assert await program.result() == (Exit(0, None), "")
        assert read_all(reader) == "from the control channel"


async def test_no_other_descriptor_reaches_the_program(driver):
    async with open_sandbox(driver) as sandbox:
        script = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1], os.readlink('/proc/self/fd/0'))"
        assert await run(sandbox, PYTHON, "-I", "-c", script) == (Exit(0, None), "[0, 1, 2] /dev/null\n")


async def test_the_environment_is_what_was_given(driver):
    environ = {"EMPTY": "", "LD_PRELOAD": "/nowhere.so", "LIST": "a=b\nc", "UMLAUT": "ä", "--setenv": "no option"}
    async with open_sandbox(driver) as sandbox:
        script = "import json, os; print(json.dumps(dict(os.environ)))"
        ended, output = await run(sandbox, PYTHON, "-I", "-c", script, environ=environ)
        seen = json.loads(output.splitlines()[-1])
        assert ended == Exit(0, None)
        assert {name: value for name, value in seen.items() if name not in ("PWD", "LC_CTYPE")} == environ


async def test_a_signal_goes_to_the_program_proper(driver):
    async with open_sandbox(driver) as sandbox:
        program = await start(
            sandbox, "/bin/sh", "-c", "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.01; done"
        )
        assert await program.line() == "ready"
        await program.running.signal(signal.SIGTERM)
        assert await program.result() == (Exit(3, None), "caught\n")
        with pytest.raises(HostError):
            await program.running.signal(signal.SIGTERM)


async def test_kill_ends_every_process_of_the_tree(driver):
    async with open_sandbox(driver) as sandbox:
        # The output ends only when nobody holds it any more: not the child, not the grandchild in its own session.
        program = await start(sandbox, "/bin/sh", "-c", "setsid sleep 60 & sleep 60 & echo ready; wait")
        assert await program.line() == "ready"
        await asyncio.gather(program.running.kill(), program.running.kill())
        assert await program.result() == (Exit(None, signal.SIGKILL), "")
        await program.running.kill()


async def test_what_outlives_the_first_process_is_killed_with_it(driver):
    async with open_sandbox(driver) as sandbox:
        program = await start(sandbox, "/bin/sh", "-c", "sleep 60 & exit 4")
        assert await asyncio.gather(program.running.wait(), program.running.wait()) == [Exit(4, None)] * 2
        assert await program.result() == (Exit(4, None), "")


async def test_leaving_the_sandbox_ends_its_program(driver):
    async with open_sandbox(driver) as sandbox:
        program = await start(sandbox, "/bin/sleep", "60")
    assert await program.result() == (Exit(None, signal.SIGKILL), "")


@pytest.mark.parametrize(("address", "listener"), [("runtime_api", "listener"), ("endpoint", "endpoint_listener")])
async def test_a_listener_is_reached_from_inside(driver, address, listener):
    async with open_sandbox(driver) as sandbox:
        host, port = getattr(sandbox, address).split(":")
        script = f"import socket; print(socket.create_connection(({host!r}, {port})).recv(99).decode())"
        for text in ("first", "second"):
            program = await start(sandbox, PYTHON, "-I", "-c", script)
            connection, _ = await asyncio.get_running_loop().sock_accept(getattr(sandbox, listener))
            with connection:
                connection.send(text.encode())
            assert await program.result() == (Exit(0, None), f"{text}\n")


async def test_an_outbound_socket_reaches_into_the_sandbox(driver):
    script = """import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
server.accept()[0].send(b"inside")"""
    async with open_sandbox(driver) as sandbox:
        program = await start(sandbox, PYTHON, "-I", "-c", script)
        port = int(await program.line())
        with await sandbox.open_outbound() as outbound:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(outbound, ("127.0.0.1", port))
            assert await loop.sock_recv(outbound, 99) == b"inside"
        assert (await program.result())[0] == Exit(0, None)


async def test_limits_change_while_a_program_runs(driver):
    async with open_sandbox(driver) as sandbox:
        program = await start(sandbox, "/bin/sleep", "60")
        for share in (0.5, 2.0, None):
            await sandbox.set_limits(Limits(memory_mib=512, tmp_mib=512, cpu_share=share))
        await program.running.kill()
        await program.result()


async def test_freezing_stops_every_process_or_is_refused_as_said(driver):
    async with open_sandbox(driver) as sandbox:
        program = await start(sandbox, "/bin/sh", "-c", "while read line; do :; done < /dev/zero")
        refused = {refusal.setting for refusal in driver.unsupported(SandboxSpec(sandbox_id="one", limits=LIMITS))}
        if "freeze" in refused:
            with pytest.raises(HostError):
                sandbox.freeze()
            sandbox.thaw()
        else:
            sandbox.freeze()
            before = await standing_ticks(program.running.pid)
            await asyncio.sleep(0.05)  # time must pass for it to use CPU, had it not been stopped
            assert cpu_ticks(program.running.pid) == before
            assert sandbox.held_memory_bytes() > 0
            sandbox.thaw()
            while cpu_ticks(program.running.pid) == before:  # noqa: ASYNC110  another process moves on, not our loop
                await asyncio.sleep(0.005)
            sandbox.freeze()
        await program.running.kill()
        assert (await program.result())[0] == Exit(None, signal.SIGKILL)


async def standing_ticks(pid):
    """Ordered to stand, a process may take a millisecond."""
    ticks = -1
    while ticks != (ticks := cpu_ticks(pid)):  # noqa: ASYNC110  another process comes to rest, not our loop
        await asyncio.sleep(0.03)
    return ticks


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        return sum(int(field) for field in file.read().rpartition(")")[2].split()[11:13])


async def test_used_memory_shows_a_peak_that_is_over(driver):
    script = "x = bytearray(b'x') * (60 << 20); del x; print('ready', flush=True); input()"
    async with open_sandbox(driver) as sandbox:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                program = await start(sandbox, PYTHON, "-I", "-c", script, control_fd=theirs.fileno())
            assert await program.line() == "ready"
            assert 60 <= (await sandbox.usage()).peak_memory_mib < 120
            ours.send(b"\n")
            assert (await program.result())[0] == Exit(0, None)
        assert (await sandbox.usage()).peak_memory_mib >= 60


async def test_an_id_is_taken_while_its_sandbox_lives_and_free_afterwards(driver):
    async with open_sandbox(driver):
        with pytest.raises(HostError):
            async with open_sandbox(driver):
                pass
    async with open_sandbox(driver) as sandbox:
        assert sandbox.sandbox_id == "one"


async def test_many_sandboxes_live_at_once(driver):
    async with contextlib.AsyncExitStack() as stack:
        sandboxes = [await stack.enter_async_context(open_sandbox(driver, f"sandbox-{n}")) for n in range(12)]
        results = await asyncio.gather(*(shell(sandbox, f"echo {n}") for n, sandbox in enumerate(sandboxes)))
        assert results == [(Exit(0, None), f"{n}\n") for n in range(12)]


async def test_an_egress_class_that_this_driver_or_launcher_does_not_have_is_refused_in_words(driver):
    spec = SandboxSpec(sandbox_id="one", limits=LIMITS, egress="internet")
    with pytest.raises(HostError, match="egress"):
        async with driver.open_sandbox(spec):
            pass
    assert "egress" in {refusal.setting for refusal in driver.unsupported(spec)}
