"""One virtual machine for the whole suite: Linux 6.1 with cgroup v2 and every controller, and swap."""

from pathlib import Path

import pytest

from lambent.testing.virtual_machine import NotReady, VirtualMachine, install_tools

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def machine():
    try:
        install_tools()
        started = VirtualMachine(CHECKOUT)
        with started:
            yield started
    except NotReady as reason:
        pytest.skip(f"no virtual machine, so nothing was proven on cgroup v2: {reason}")
