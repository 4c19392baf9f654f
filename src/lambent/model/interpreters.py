"""Which interpreter compiles and runs a function's code, as a value that packages may hand to each other."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PythonTarget:
    """A CPython of one exact minor version on this host."""

    version: str  # "3.12"
    executable: Path  # on the host; runs there without any package of its own being imported

    @property
    def cache_tag(self) -> str:
        """The tag in the names of its bytecode files, ``cpython-312``."""
        return f"cpython-{self.version.replace('.', '')}"
