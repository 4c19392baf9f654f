"""What makes a sandbox a function's: runtime, code, variables. The one shape for spawned and for prepared sandboxes.

A spawned sandbox gets its trees when the program starts; a prepared one will get them by ``RunningProgram.assign``.
"""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Protocol

from lambent.access.credentials import Credential
from lambent.environment.output import ProgramOutput
from lambent.environment.variables import Credentials, EnvironmentFacts, process_environment, relocated_path
from lambent.model.functions import FunctionVersion
from lambent.model.ids import Digest, EnvironmentId, TreeName
from lambent.model.interpreters import PythonTarget
from lambent.sandbox.driver import Program, Sandbox, Trees


class PreparedRuntime(Protocol):
    """A runtime that this host can start."""

    @property
    def identifier(self) -> str:
        """As in the catalogue, e.g. python3.13."""
        ...

    @property
    def argv(self) -> Sequence[str]:
        """The command, by AWS's paths; empty when the function brings its program."""
        ...

    @property
    def bootstrap_candidates(self) -> Sequence[str]:
        """Where that program may be, by AWS's paths, first found wins."""
        ...

    @property
    def runtime_tree(self) -> TreeName | None:
        """What is at /var/runtime."""
        ...

    @property
    def interpreter_tree(self) -> TreeName | None:
        """What is at /var/lang; None: the host's interpreter serves."""
        ...

    @property
    def environ(self) -> Sequence[tuple[str, str]]:
        """Variables of this runtime alone."""
        ...

    @property
    def version(self) -> str | None:
        """As INIT_START prints it, e.g. python:3.13.v64."""
        ...

    @property
    def python(self) -> PythonTarget | None:
        """The interpreter that bytecode is compiled for; None for other languages."""
        ...

    def version_arn(self, region: str) -> str | None:
        """Return the ARN of the runtime version."""
        ...


class Runtimes(Protocol):
    """Where runtimes come from."""

    async def prepare(self, identifier: str, architecture: str) -> PreparedRuntime:
        """Return the runtime, ready to start. HostError if this host cannot have it."""
        ...


class Artifacts(Protocol):
    """Where code comes from."""

    async def ensure_tree(self, digest: Digest) -> TreeName:
        """Return the unpacked code."""
        ...

    async def ensure_bytecode(self, digest: Digest, python: PythonTarget) -> TreeName | None:
        """Return the code's bytecode, if there is any."""
        ...

    def in_use(self, digest: Digest) -> AbstractContextManager[object]:
        """Keep the code from being collected."""
        ...


class CredentialSession(Protocol):
    """The credentials of one environment."""

    def issue(self) -> tuple[str, str, str]:
        """Return key, secret and session token for a program that starts; those of the one before are void."""
        ...

    def find_credential(self, access_key: str) -> Credential | None:
        """Return the credential of ``access_key`` if it is this environment's own and is valid still."""
        ...


class CredentialIssuer(Protocol):
    """Issues what a function signs its own calls with."""

    def open_session(self, version: FunctionVersion) -> AbstractContextManager[CredentialSession]:
        """Yield what issues credentials of the role of ``version`` to one environment; they end with the block."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A version with all that a sandbox needs to run it. Programs may be started from it again and again."""

    version: FunctionVersion
    environment_id: EnvironmentId
    created_at: datetime
    runtime: PreparedRuntime
    trees: Trees
    argv: Sequence[str]
    entry_fault: str | None = None  # why there is no program to start, in AWS's words
    session: CredentialSession = field(repr=False)

    def program(self, sandbox: Sandbox, output: ProgramOutput) -> Program:
        """Return the program to start in ``sandbox``, with credentials of its own."""
        facts = EnvironmentFacts(
            environment_id=self.environment_id,
            created_at=self.created_at,
            runtime_api=sandbox.runtime_api,
            endpoint=sandbox.endpoint,
            credentials=Credentials(*self.session.issue()),
            runtime_environ=dict(self.runtime.environ),
            has_bytecode=self.trees.bytecode is not None,
            initialization_type=self.version.initialization_type,
        )
        return Program(
            argv=[relocated_path(part, sandbox.path) for part in self.argv],
            environ=process_environment(self.version, facts, sandbox.path),
            trees=self.trees,
            output_fd=output.output_fd,
            log_fd=output.log_fd,
        )


@dataclass(frozen=True, slots=True)
class Assigner:
    """Gathers what a version needs. ``code_root`` is where the artifacts' trees are on this host."""

    runtimes: Runtimes
    artifacts: Artifacts
    issuer: CredentialIssuer
    code_root: Path

    @asynccontextmanager
    async def open_assignment(
        self, version: FunctionVersion, environment_id: EnvironmentId, created_at: datetime
    ) -> AsyncIterator[Assignment]:
        """Yield what runs ``version``; its code is kept until the end. HostError if something cannot be had."""
        with self.artifacts.in_use(version.code), self.issuer.open_session(version) as session:
            runtime = await self.runtimes.prepare(version.runtime, version.architecture)
            code = await self.artifacts.ensure_tree(version.code)
            bytecode = None
            if runtime.python is not None:
                bytecode = await self.artifacts.ensure_bytecode(version.code, runtime.python)
            argv, fault = runtime.argv, None
            if not argv:
                argv, fault = await asyncio.to_thread(
                    find_bootstrap, self.code_root / code, runtime.bootstrap_candidates
                )
            yield Assignment(
                version=version,
                environment_id=environment_id,
                created_at=created_at,
                runtime=runtime,
                trees=Trees(
                    code=code,
                    runtime=runtime.runtime_tree,
                    interpreter=runtime.interpreter_tree,
                    bytecode=bytecode,
                ),
                argv=argv,
                entry_fault=fault,
                session=session,
            )


def find_bootstrap(tree: Path, candidates: Sequence[str]) -> tuple[Sequence[str], str | None]:
    """Return the command of a function that brings its own program, or AWS's words for why there is none."""
    for candidate in candidates:
        path = PurePosixPath(candidate)
        if not path.is_relative_to("/var/task"):  # /opt is empty until there are layers
            continue
        try:
            mode = os.stat(tree / path.relative_to("/var/task")).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode):
            # The interface emulator prints what the kernel said to its exec.
            return (candidate,), None if mode & 0o111 else f"fork/exec {candidate}: permission denied"
    # Developer guide, "Troubleshooting invocation", Runtime.InvalidEntrypoint.
    return (), f"Couldn't find valid bootstrap(s): [{' '.join(candidates)}]"
