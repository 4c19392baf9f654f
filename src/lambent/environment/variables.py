"""The process environment of a function, as AWS shows it: which variables, from whom, and who wins."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from lambent.model.functions import FunctionVersion
from lambent.model.ids import EnvironmentId
from lambent.observe.log_names import stream_name

LOG_FD: Final = 62
BYTECODE_PATH: Final = "/var/lambent/pyc"

_XRAY_HOST: Final = "169.254.100.1"
_XRAY_PORT: Final = "2000"
_AWS_PATHS: Final = ("/var/task", "/var/runtime", "/var/lang", "/opt", "/tmp", BYTECODE_PATH)  # noqa: S108
_SHELL_STARTED: Final = ("python", "nodejs", "ruby", "dotnet")  # AWS starts these by a shell script, which leaves two
_JAVA_OLD_NAMES: Final = ("java8", "java11")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Temporary credentials of a function's role."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentFacts:
    """What the environment, rather than the function, decides about its variables."""

    environment_id: EnvironmentId
    created_at: datetime
    runtime_api: str
    endpoint: str  # host:port of the AWS endpoint inside
    credentials: Credentials
    runtime_environ: Mapping[str, str]  # of the prepared runtime: PYTHONPATH, NODE_PATH and the like
    has_bytecode: bool = False
    initialization_type: str = "on-demand"


def process_environment(
    version: FunctionVersion, facts: EnvironmentFacts, path: Callable[[str], str]
) -> dict[str, str]:
    """Return all variables of the runtime's process; ``path`` tells where AWS's paths are in the sandbox.

    Precedence, later wins: platform defaults, the runtime's own, the function's, credentials, reserved names.
    """
    # Developer guide, "Defined runtime environment variables": the unreserved ones can be set by the function; the
    # interface emulator would let the platform win over them.
    environ = _unreserved(version, facts)
    environ.update(facts.runtime_environ)
    environ.update(version.environment)
    environ.update(_credentials(version, facts))
    environ.update(_reserved(version, facts))
    return environ if path("/var/task") == "/var/task" else _relocated(environ, version, path)


def relocated_path(text: str, path: Callable[[str], str]) -> str:
    """Return where the sandbox has what AWS has at ``text``."""
    for place in _AWS_PATHS:
        if text == place or text.startswith(f"{place}/"):
            return path(place) + text[len(place) :]
    return text


def _unreserved(version: FunctionVersion, facts: EnvironmentFacts) -> dict[str, str]:
    # Recorded from AWS, January 2026: every managed runtime of the day, provided.al2023 among them.
    environ = {
        "TZ": ":UTC",
        "LANG": "en_US.UTF-8",
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib"
        ":/var/task:/var/task/lib:/opt/lib",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": f"{_XRAY_HOST}:{_XRAY_PORT}",
    }
    # SDKs and tools reference guide, "Service-specific endpoints": every service of every SDK is called there. It is
    # not reserved: a function that brings its own calls its own. AWS sets none, for what it stands for is AWS.
    environ["AWS_ENDPOINT_URL"] = f"http://{facts.endpoint}"
    if version.runtime.startswith(_SHELL_STARTED):
        environ |= {"PWD": "/var/task", "SHLVL": "0"}
    if facts.has_bytecode:
        environ["PYTHONPYCACHEPREFIX"] = BYTECODE_PATH
    return environ


def _credentials(version: FunctionVersion, facts: EnvironmentFacts) -> dict[str, str]:
    key, secret = facts.credentials.access_key, facts.credentials.secret_key
    environ = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_SESSION_TOKEN": facts.credentials.session_token,
    }
    if version.runtime.startswith(_JAVA_OLD_NAMES):
        environ |= {"AWS_ACCESS_KEY": key, "AWS_SECRET_KEY": secret}
    return environ


def _reserved(version: FunctionVersion, facts: EnvironmentFacts) -> dict[str, str]:
    is_custom = version.runtime.startswith("provided")
    environ = {
        "_HANDLER": version.handler,
        "_AWS_XRAY_DAEMON_ADDRESS": _XRAY_HOST,
        "_AWS_XRAY_DAEMON_PORT": _XRAY_PORT,
        "AWS_REGION": version.scope.region,
        "AWS_DEFAULT_REGION": version.scope.region,
        "AWS_LAMBDA_FUNCTION_NAME": version.name,
        "AWS_LAMBDA_FUNCTION_VERSION": version.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(version.memory_mib),
        "AWS_LAMBDA_INITIALIZATION_TYPE": facts.initialization_type,
        "AWS_LAMBDA_LOG_GROUP_NAME": version.log.group,
        "AWS_LAMBDA_LOG_STREAM_NAME": stream_name(version, facts.environment_id, facts.created_at),
        "AWS_LAMBDA_RUNTIME_API": facts.runtime_api,
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
    }
    if not is_custom:
        environ["AWS_EXECUTION_ENV"] = f"AWS_Lambda_{version.runtime}"
        environ["_LAMBDA_TELEMETRY_LOG_FD"] = str(LOG_FD)
    if version.log.is_json:
        # Developer guide, "Log-level filtering": both are set when the format is JSON.
        environ["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        environ["AWS_LAMBDA_LOG_LEVEL"] = version.log.application_level or "INFO"
    return environ


def _relocated(environ: Mapping[str, str], version: FunctionVersion, path: Callable[[str], str]) -> dict[str, str]:
    """Point AWS's places to where an unisolated sandbox has them, but never inside what the function itself set."""
    own = dict(version.environment)
    return {
        name: value
        if own.get(name) == value or name == "AWS_LAMBDA_RUNTIME_API"
        else ":".join(relocated_path(part, path) for part in value.split(":"))
        for name, value in environ.items()
    }
