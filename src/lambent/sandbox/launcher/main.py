#!/usr/bin/python3 -I
"""Lambent's launcher. Started by its file path with its settings as arguments and its channel's descriptor as the last.

Once it serves it imports nothing more: after ``setns`` into a sandbox an import would run the tenant's code.
"""

import argparse
import os
import signal
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # with -I not even the script's own folder is on it

from lambent.sandbox.launcher import kernel
from lambent.sandbox.launcher.host import DEFENCES, LIFTED, Host, Settings
from lambent.sandbox.launcher.packet_filter import parse_allowed
from lambent.sandbox.launcher.router import EgressSettings
from lambent.sandbox.launcher.service import Service


def main() -> int:
    """Serve until SIGTERM; 1 with one line on stderr when this host does not let us."""
    parent = os.getppid()
    arguments = _parse(sys.argv[1:])
    channel = socket.socket(fileno=arguments.channel)
    channel.set_inheritable(False)
    os.set_inheritable(arguments.channel, False)
    try:
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        host = Host(_settings(arguments))
        # The kernel clears it when a process changes its user or its user namespace. SIGTERM, as only in order can what
        # is frozen be ended: on cgroup v1 a frozen process dies of nothing.
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            return 1
        sys.path.clear()
        sys.meta_path.clear()
        sys.path_hooks.clear()
        Service(channel, host).run()
    except OSError as error:
        os.write(2, f"lambent launcher: {error}\n".encode())
        return 1
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lambent-launcher", allow_abbrev=False)
    for root in ("code", "runtime", "interpreter"):
        parser.add_argument(f"--{root}-root", required=True)
    parser.add_argument("--run-dir", required=True)
    parser.add_argument("--disk-dir")
    parser.add_argument("--memory-limit-mib", type=int, help="what all sandboxes together may use")
    parser.add_argument("--interpreter", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--egress", choices=("none", "internet"), default="none")
    parser.add_argument("--egress-allow", action="append", default=[], type=parse_allowed, metavar="CIDR")
    parser.add_argument("--egress-mbit-per-s", type=int, default=0)
    parser.add_argument(
        "--weaken", action="append", default=[], choices=sorted({*DEFENCES, *LIFTED}), help=argparse.SUPPRESS
    )
    parser.add_argument("channel", type=int)
    arguments = parser.parse_args(argv)
    if arguments.weaken and os.environ.get("LAMBENT_TEST_WEAKEN") != "1":
        parser.error("--weaken is for tests of the defences")
    return arguments


def _settings(arguments: argparse.Namespace) -> Settings:
    interpreters = {}
    for argument in arguments.interpreter:
        name, separator, path = argument.partition("=")
        if not name or not separator or not path.startswith("/"):
            raise OSError(f"--interpreter {argument}: not NAME=PATH")
        interpreters[name] = path
    roots = {name: getattr(arguments, f"{name}_root") for name in ("code", "runtime", "interpreter")}
    return Settings(
        roots=roots,
        interpreters=interpreters,
        run_dir=arguments.run_dir,
        disk_dir=arguments.disk_dir or arguments.run_dir,
        weakened=frozenset(arguments.weaken),
        memory_limit_mib=arguments.memory_limit_mib,
        egress=EgressSettings(
            wanted=arguments.egress == "internet",
            allowed=tuple(arguments.egress_allow),
            mbit_per_s=arguments.egress_mbit_per_s,
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
