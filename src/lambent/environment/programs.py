"""A started program with its output, and the one task that waits for its end."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from lambent.environment.assignment import Assignment
from lambent.environment.output import ProgramOutput
from lambent.model.errors import HostError
from lambent.model.functions import FunctionVersion
from lambent.model.ids import EnvironmentId
from lambent.observe.environment_log import EnvironmentLog
from lambent.sandbox.driver import Exit, RunningProgram, Sandbox

LogOpener = Callable[[FunctionVersion, EnvironmentId, datetime], EnvironmentLog]


class StartedProgram:
    """One program in a sandbox. ``ended`` is set, and ``notify`` called, when it ends by itself or is ended."""

    def __init__(self, running: RunningProgram, output: ProgramOutput, notify: Callable[[], None]) -> None:
        self.output = output
        self.ended: Exit | None = None
        self.notify = notify
        self._running = running
        self._waiter = asyncio.get_running_loop().create_task(running.wait(), name="program exit")
        self._waiter.add_done_callback(self._has_ended)

    @classmethod
    async def start(
        cls, sandbox: Sandbox, assignment: Assignment, output: ProgramOutput, notify: Callable[[], None]
    ) -> "StartedProgram":
        """Start the program of ``assignment``. HostError if that fails; ``output`` is then closed."""
        try:
            running = await sandbox.start(assignment.program(sandbox, output))
        except BaseException:
            output.close()
            raise
        output.started()
        return cls(running, output, notify)

    async def end(self) -> None:
        """Kill the tree if it lives; when this returns it is dead, and its output is in the log."""
        try:
            if self.ended is None:
                await self._running.kill()
                await asyncio.wait((self._waiter,))
        finally:
            self._waiter.cancel()
            self.output.close()

    def _has_ended(self, waiter: asyncio.Task[Exit]) -> None:
        if waiter.cancelled():
            return
        if isinstance(error := waiter.exception(), HostError) or error is not None:
            # Whoever should know does not answer: nothing that runs there can be relied upon.
            self.ended = Exit(None, 9)
        else:
            self.ended = waiter.result()
        self.notify()
