"""Settings: file, environment and flags become one frozen value, read once. Imported by ``cli`` and ``assembly`` only.

Order, later wins: defaults, ``lambent.toml`` (``[lambent]``), ``LAMBENT_*`` variables, flags.
"""

import ipaddress
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

DEFAULT_PORT = 4566
Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**9)]  # neither NaN nor infinite


class Credential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An access key that signed requests may use. ``account`` is whose resources it sees."""

    secret: str
    account: str
    arn: str = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set. Units are in the names; a wrong name or type is refused, not ignored."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = DEFAULT_PORT  # 0: the system chooses
    state_dir: str = ""  # "" means: see default_state_dir
    run_dir: str = ""
    signatures: Literal["off", "verify"] = "off"
    credentials: dict[str, Credential] = {}
    allowed_hosts: tuple[str, ...] = ()
    driver: Literal["bubblewrap", "process"] = "bubblewrap"
    # What functions reach; auto: the internet where this host can give it.
    egress: Literal["auto", "internet", "none"] = "auto"
    egress_allow: tuple[str, ...] = ()  # private networks that functions may reach nevertheless, as 10.1.0.0/16
    # Of each environment, each way; 0: no bound.
    egress_mbit_per_s: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1000
    interpreters: dict[str, str] = {}  # e.g. "python3.12" = "/opt/python3.12"
    endpoints: dict[str, str] = {}  # neighbour service = URL, "aws", "companion" or "off"
    companion_python: str = ""  # an interpreter with the companion's libraries; "": the one that runs Lambent
    concurrency_limit: Count = 1000
    max_environments: Count = 256
    max_cells: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 16  # prepared sandboxes, all runtimes together; 0: none
    memory_budget_mib: Annotated[int, msgspec.Meta(ge=0)] = 0  # of all functions; 0: three quarters of the host's
    idle_s: Seconds = 600.0
    max_age_s: Seconds = 7200.0
    freeze_grace_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 10  # idle for so long is frozen; 0: never
    log_limit_mib: Count = 1024  # the bytes that all log streams together may take
    log_format: Literal["auto", "json", "text"] = "auto"
    drain_s: Seconds = 10.0
    hang_s: Seconds = 30.0  # a server that is silent for so long is started again; 0: never
    server_user: str = "lambent"  # only as root: whom the server runs as


class SettingsError(Exception):
    """A setting is wrong; the message says which, where it stands, and what it may be."""


def default_state_dir() -> Path:
    """Return where state lives: /var/lib/lambent as root, else below XDG_STATE_HOME."""
    if os.geteuid() == 0:
        return Path("/var/lib/lambent")
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(base) / "lambent"


def default_run_dir(state_dir: Path) -> Path:
    """Return where run files live: beside a state directory of its own choice, so that two servers never share one."""
    if os.geteuid() == 0 and state_dir == Path("/var/lib/lambent"):
        return Path("/run/lambent")
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() and runtime_dir and state_dir == default_state_dir() and os.access(runtime_dir, os.W_OK):
        return Path(runtime_dir) / "lambent"
    return state_dir / "run"


def load_settings(flags: Mapping[str, Any], *, file: Path | None = None) -> Settings:
    """Return the settings from file, environment and ``flags`` (None: not given). Raises SettingsError."""
    values: dict[str, Any] = {}
    path = file or _find_file()
    if path is not None:
        values.update(_read_file(path))
    for name in Settings.__struct_fields__:
        if (text := os.environ.get(f"LAMBENT_{name.upper()}")) is not None:
            values[name] = _parse_variable(name, text)
    values.update({name: value for name, value in flags.items() if value is not None})
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{path or 'settings'}: {error}") from error
    _require_networks(settings.egress_allow)
    state_dir = Path(settings.state_dir) if settings.state_dir else default_state_dir()
    run_dir = Path(settings.run_dir) if settings.run_dir else default_run_dir(state_dir)
    return msgspec.structs.replace(settings, state_dir=str(state_dir.absolute()), run_dir=str(run_dir.absolute()))


def _require_networks(texts: Iterable[str]) -> None:
    for text in texts:
        try:
            ipaddress.IPv4Network(text)
        except ValueError as error:
            raise SettingsError(f"egress_allow: {error}") from error


def _parse_variable(name: str, text: str) -> Any:
    if text[:1] not in ("{", "["):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise SettingsError(f"LAMBENT_{name.upper()}: {error}") from error


def _find_file() -> Path | None:
    if named := os.environ.get("LAMBENT_CONFIG"):
        return Path(named)
    if os.geteuid() == 0:
        usual = Path("/etc/lambent/lambent.toml")
    else:
        usual = Path(os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")) / "lambent/lambent.toml"
    return usual if os.path.exists(usual) else None  # which is no error where HOME is somebody else's


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: {error}") from error
    table = content.get("lambent", {})
    if not isinstance(table, dict):
        raise SettingsError(f"{path}: [lambent] must be a table")
    return table


def render_settings(settings: Settings) -> str:
    """Return the settings as JSON text for the server process; ``parse_settings`` reads it back."""
    return msgspec.json.encode(settings).decode()


def parse_settings(text: str) -> Settings:
    """Return the settings that ``render_settings`` wrote."""
    return msgspec.json.decode(text, type=Settings)
