"""Where everything lies below the state directory; see docs/state-directory.md."""

from dataclasses import dataclass
from pathlib import Path

from lambent.config import Settings


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of one state directory."""

    state_dir: Path
    run_dir: Path

    @classmethod
    def of(cls, settings: Settings) -> "Places":
        """Return the places that ``settings`` name."""
        return cls(Path(settings.state_dir), Path(settings.run_dir))

    @property
    def code_root(self) -> Path:
        """Unpacked packages and their bytecode."""
        return self.state_dir / "code"

    @property
    def runtime_root(self) -> Path:
        """What functions find at /var/runtime."""
        return self.state_dir / "runtimes"

    @property
    def interpreter_root(self) -> Path:
        """What functions find at /var/lang."""
        return self.state_dir / "interpreters"

    @property
    def cache_dir(self) -> Path:
        """Downloads of package installers."""
        return self.state_dir / "cache"

    @property
    def companion_dir(self) -> Path:
        """The companion's recording, seed and log."""
        return self.state_dir / "companion"

    @property
    def sandbox_dir(self) -> Path:
        """The launcher's own: /tmp of sandboxes."""
        return self.run_dir / "sandboxes"

    @property
    def key_file(self) -> Path:
        """The key that seals environment variables."""
        return self.state_dir / "key"

    @property
    def lock_file(self) -> Path:
        """Held while a server uses the directory."""
        return self.state_dir / "lock"

    @property
    def endpoint_file(self) -> Path:
        """Written by the server when it is ready."""
        return self.run_dir / "endpoint.json"
