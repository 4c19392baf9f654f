"""Gets packages through the package managers' own clients: pip or uv for Python, npm for Node.js. Blocking.

Everything they write goes into the tree under construction or our cache; what they install is pinned by hash.
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lambent.runtimes.commands import CommandFailed, Stop, run_command
from lambent.runtimes.interpreters import InterpreterSearch

_INSTALL_LIMIT_S: Final = 300.0
_SYSTEM_AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_PASSED_ON: Final = ("PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_PASSED_ON_PREFIXES: Final = (
    "PIP_",
    "UV_",
    "NPM_CONFIG_",
    "npm_config_",
    "HTTP",
    "http",
    "ALL_PROXY",
    "NO_PROXY",
    "no_proxy",
)


class Installers:
    """The host's package managers, with our own caches and home, and the host's settings for networks and mirrors."""

    def __init__(self, cache_dir: Path, host_environ: Mapping[str, str], search: InterpreterSearch) -> None:
        self._cache = cache_dir
        self._search = search
        self._environ = _installer_environ(cache_dir, host_environ)

    def install_python(
        self,
        requirements: Path,
        target: Path,
        version: str,
        machine: str,
        stop: Stop,
        *,
        limit_s: float = _INSTALL_LIMIT_S,
    ) -> None:
        """Install the locked ``requirements`` for CPython ``version`` into ``target``. Raises CommandFailed."""
        platforms = [f"--platform={each}_{machine}" for each in ("manylinux2014", "manylinux_2_17", "manylinux_2_28")]
        pip = self._find_pip(stop)
        self._run(
            [
                *pip, "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile", "--no-deps",
                "--require-hashes", "--only-binary=:all:", "--implementation=cp", f"--python-version={version}",
                *platforms, "--retries=2", f"--target={target}", "-r", str(requirements),
            ],
            stop,
            limit_s=limit_s,
        )  # fmt: skip

    def find_npm(self, stop: Stop) -> Path | None:
        """Return the host's npm, or None if there is none that works."""
        npm = self._search.find_program("npm")
        if npm is not None:
            with contextlib.suppress(CommandFailed):
                self._run([str(npm), "--version"], stop)
                return npm
        return None

    def install_node(
        self, npm: Sequence[str], manifest: Mapping[str, Any], lock: Mapping[str, Any], target: Path, stop: Stop
    ) -> None:
        """Install the locked packages into ``target/node_modules``. No script of theirs runs. Raises CommandFailed."""
        (target / "package.json").write_text(json.dumps(manifest))
        (target / "package-lock.json").write_text(json.dumps(lock))
        self._run(
            [
                *npm, "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error",
                "--fetch-retries=2", "--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=3000",
                "--fetch-timeout=30000", f"--prefix={target}",
            ],
            stop,
            cwd=target,
        )  # fmt: skip
        for name in ("package.json", "package-lock.json"):
            (target / name).unlink()

    def install_interpreter(self, version: str, stop: Stop) -> Path:
        """Let uv fetch CPython ``version``; return the folder that holds it. Raises CommandFailed."""
        uv = self._search.find_program("uv")
        if uv is None:
            raise CommandFailed("uv is not installed")
        folder = self._cache / "uv-python"
        self._run([str(uv), "python", "install", "--no-bin", f"--install-dir={folder}", version], stop)
        return folder

    def _find_pip(self, stop: Stop) -> list[str]:
        own = [sys.executable, "-m", "pip"]
        try:
            self._run([*own, "--version"], stop)
        except CommandFailed as error:
            other = self._search.find_program("pip3", "pip")
            if other is None:
                raise CommandFailed("pip is not installed") from error
            return [str(other)]
        return own

    def _run(self, argv: list[str], stop: Stop, *, cwd: Path | None = None, limit_s: float = _INSTALL_LIMIT_S) -> None:
        home = Path(self._environ["HOME"])
        home.mkdir(parents=True, exist_ok=True)
        run_command(argv, self._environ, cwd=cwd or home, limit_s=limit_s, stop=stop)


def _installer_environ(cache_dir: Path, host: Mapping[str, str]) -> dict[str, str]:
    environ = {
        name: value for name, value in host.items() if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    environ |= {
        "HOME": str(cache_dir / "home"),
        "XDG_CACHE_HOME": str(cache_dir),
        "PIP_CACHE_DIR": str(cache_dir / "pip"),
        "npm_config_cache": str(cache_dir / "npm"),
        "npm_config_update_notifier": "false",
        "UV_CACHE_DIR": str(cache_dir / "uv"),
    }
    environ.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    # Node.js trusts its own list alone; who runs a mirror has added its authority to the system's.
    if _SYSTEM_AUTHORITIES.is_file():
        environ.setdefault("NODE_EXTRA_CA_CERTS", str(_SYSTEM_AUTHORITIES))
    # HOME is ours, mirrors and certificates are the host's.
    home = Path(host.get("HOME") or "/nonexistent")
    for name, places in {
        "npm_config_userconfig": [".npmrc"],
        "PIP_CONFIG_FILE": [".config/pip/pip.conf", ".pip/pip.conf"],
    }.items():
        found = next((home / place for place in places if os.access(home / place, os.R_OK)), None)
        if found is not None:
            environ.setdefault(name, str(found))
    return environ
