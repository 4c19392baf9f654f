"""Which bubblewrap of this host is used: the first that is new enough."""

import os
import re
import subprocess
from collections.abc import Sequence
from typing import Final

PLACES: Final = ("/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap")
# From 0.8 on it can forbid user namespaces inside.
LEAST: Final = (0, 8)
REMEDY: Final = (
    "apt-get install bubblewrap; it needs 0.8 or newer, as in Debian 12 and Ubuntu 23.04:"
    " on an older system build one and install it as /usr/local/bin/bwrap"
)
_LIMIT_S: Final = 10.0


class NoBubblewrap(OSError):
    """None is installed, or all are too old; says which."""


def find_bubblewrap(places: Sequence[str] = PLACES) -> tuple[str, str]:
    """Return the path of the first of ``places`` that is new enough, and what it calls itself. NoBubblewrap if none."""
    old: dict[str, str] = {}
    for path in places:
        if os.access(path, os.X_OK):
            words = _ask(path)
            version = re.search(r"(\d+)\.(\d+)", words)
            if version and (int(version[1]), int(version[2])) >= LEAST:
                return path, words
            old.setdefault(os.path.realpath(path), f"{words or 'what does not run'} ({path}) is too old")
    raise NoBubblewrap(", ".join(old.values()) or "bubblewrap is not installed")


def _ask(path: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  a fixed place of the system
            [path, "--version"], capture_output=True, text=True, timeout=_LIMIT_S, env={}, cwd="/", check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
