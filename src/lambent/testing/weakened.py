"""``python -m lambent.testing.weakened DEFENCES ARGUMENTS``: ``lambent`` whose launcher leaves out some defences.

A test that proves a defence to act starts a server this way. The launcher obeys only with ``LAMBENT_TEST_WEAKEN=1``.
"""

import sys
from typing import Any

from lambent.assembly import processes
from lambent.cli.main import main


def weaken(defences: list[str]) -> None:
    """Let every server that this process starts have a launcher without ``defences``."""
    build = processes.process_commands

    def build_weakened(settings: Any, owner: tuple[int, int] | None) -> dict[str, Any]:
        commands = build(settings, owner)
        return {**commands, "launcher": [*commands["launcher"], *(f"--weaken={each}" for each in defences)]}

    processes.process_commands = build_weakened


if __name__ == "__main__":
    names = sys.argv.pop(1)
    weaken(names.split(","))
    main()
