"""``python -m lambent.testing.weakened DEFENCES ARGUMENTS``: ``lambent`` without some defences of launcher or server.

A test that proves a defence to act starts a server this way. Both obey only with ``LAMBENT_TEST_WEAKEN=1``.
"""

import sys
from typing import Any

from lambent.assembly import processes
from lambent.cli.main import main
from lambent.testing.weakened_server import SERVER_DEFENCES


def weaken(defences: list[str]) -> None:
    """Let every server that this process starts be without ``defences``."""
    build = processes.process_commands
    of_server = [each for each in defences if each in SERVER_DEFENCES]
    of_launcher = [f"--weaken={each}" for each in defences if each not in SERVER_DEFENCES]

    def build_weakened(settings: Any, owner: tuple[int, int] | None) -> dict[str, Any]:
        commands = build(settings, owner)
        commands["launcher"] += of_launcher
        if of_server:
            *program, _, settings_file = commands["server"]
            commands["server"] = [*program, f"{__package__}.weakened_server", ",".join(of_server), settings_file]
        return commands

    processes.process_commands = build_weakened


if __name__ == "__main__":
    names = sys.argv.pop(1)
    weaken(names.split(","))
    main()
