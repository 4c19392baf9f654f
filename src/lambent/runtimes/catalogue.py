"""The runtimes of AWS Lambda as data: identifiers, dates, versions, what acts before ``main``."""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any, Self

from lambent.model.errors import InvalidParameterValue

_BUILD = 1  # grows when what we install for a runtime changes so that functions may notice


class Family(StrEnum):
    """What language a runtime speaks; the first part of its version string."""

    PYTHON = "python"
    NODEJS = "nodejs"
    JAVA = "java"
    DOTNET = "dotnet"
    RUBY = "ruby"
    GO = "go"
    PROVIDED = "provided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One identifier of the catalogue."""

    identifier: str
    family: Family
    version: str  # of the language: "3.12", "22", "21"; of the system for provided.*: "al2023"
    system: str  # al2023, al2, al1
    deprecated_on: date | None = None
    create_blocked_on: date | None = None
    update_blocked_on: date | None = None
    acts_before_main: tuple[str, ...] = ()  # shell patterns of variable names

    @property
    def version_text(self) -> str:
        """The runtime version as INIT_START prints it, ``python:3.12.v1``."""
        return f"{self.family}:{self.version}.v{_BUILD}"

    @property
    def bootstrap_candidates(self) -> tuple[str, ...]:
        """Where the program to start may be, first found wins; empty if the runtime brings its own."""
        # Developer guide, "Building a custom runtime": the root of the package, then a layer.
        return ("/var/task/bootstrap", "/opt/bootstrap") if self.family in (Family.PROVIDED, Family.GO) else ()

    def version_arn(self, region: str) -> str:
        """Return the ARN of the version that runs here: stable for one version of Lambent's runtimes."""
        # Recorded from AWS: arn:aws:lambda:<region>::runtime:<64 hex>.
        partition = "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
        digest = hashlib.sha256(f"{self.identifier} {self.version_text}".encode()).hexdigest()
        return f"arn:{partition}:lambda:{region}::runtime:{digest}"

    def find_early_variables(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return which of ``names`` act before ``main``, so that no process started ahead of time can take them."""
        return tuple(name for name in names if any(fnmatchcase(name, each) for each in self.acts_before_main))


class RuntimeCatalogue:
    """Answers by identifier. Immutable."""

    def __init__(self, runtimes: Sequence[Runtime], accepted_order: Sequence[str]) -> None:
        self._runtimes: Mapping[str, Runtime] = {runtime.identifier: runtime for runtime in runtimes}
        self._accepted_order = tuple(accepted_order)

    @classmethod
    def load(cls) -> Self:
        """Read the catalogue that comes with the package."""
        text = files("lambent.runtimes").joinpath("catalogue.toml").read_text()
        tables: dict[str, Any] = tomllib.loads(text)
        early = tables["acts_before_main"]
        runtimes = [
            Runtime(
                **{name: value for name, value in row.items() if name != "family"},
                family=Family(row["family"]),
                acts_before_main=(*early["every"], *early[row["family"]]),
            )
            for row in tables["runtime"]
        ]
        return cls(runtimes, tables["accepted_order"])

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Every identifier, blocked ones too."""
        return tuple(self._runtimes)

    def find(self, identifier: str) -> Runtime | None:
        """Return the runtime, also one that is blocked by now."""
        return self._runtimes.get(identifier)

    def require_creatable(self, identifier: str, now: datetime) -> None:
        """Raise InvalidParameterValue with AWS's text unless a function may be created with ``identifier``."""
        runtime = self._require_known(identifier, now)
        _require_open(runtime, runtime.create_blocked_on, now)

    def require_updatable(self, identifier: str, now: datetime) -> None:
        """Raise InvalidParameterValue with AWS's text unless a function may be updated to or with ``identifier``."""
        runtime = self._require_known(identifier, now)
        _require_open(runtime, runtime.update_blocked_on, now)

    def version_arn(self, identifier: str, region: str) -> str:
        """Return the ARN of the runtime version that functions run on here; empty for an unknown identifier."""
        runtime = self.find(identifier)
        return runtime.version_arn(region) if runtime is not None else ""

    def _require_known(self, identifier: str, now: datetime) -> Runtime:
        if (runtime := self.find(identifier)) is not None:
            return runtime
        accepted = [
            each
            for each in self._accepted_order
            if (blocked := self._runtimes[each].create_blocked_on) is None or now.date() < blocked
        ]
        # Recorded from AWS: test_create_lambda_exceptions (no quotes, no "1 validation error detected").
        raise InvalidParameterValue(
            f"Value {identifier} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
            f"[{', '.join(accepted)}] or be a valid ARN"
        )


def _require_open(runtime: Runtime, blocked_on: date | None, now: datetime) -> None:
    if blocked_on is not None and now.date() >= blocked_on:
        # Recorded from AWS: TestRuntimeValidation.
        raise InvalidParameterValue(
            f"The runtime parameter of {runtime.identifier} is no longer supported for creating or updating AWS Lambda "
            "functions. We recommend you use a supported runtime while creating or updating functions."
        )
