"""Live servers for hostile functions: as root, as an ordinary user, and with a defence turned off."""

import contextlib
import os
import subprocess
import sys

import pytest

from lambent.testing.process import LambentProcess
from lambent.testing.sandboxes import find_or_make_test_user

from .live import Live


@pytest.fixture(scope="session", autouse=True)
def no_credentials_of_the_machine():
    """No client of a test may find the real credentials of whoever runs it."""
    patch = pytest.MonkeyPatch()
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        patch.delenv(name)
    patch.setenv("AWS_CONFIG_FILE", "/dev/null")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield
    patch.undo()


def user_id(kind):
    """The id that a server of this kind runs as; None: ours."""
    if kind == "root" or os.geteuid() != 0:
        return None
    uid = find_or_make_test_user()[0]
    found = subprocess.run([sys.executable, "-c", "import lambent.cli.main"], user=uid, group=uid, check=False, cwd="/")
    if found.returncode != 0:
        pytest.skip("an ordinary user cannot read this interpreter or checkout")
    return uid


# Those of the server's own, all off on one server: none of them is a wall of another's attack.
SERVER_DEFENCES_OFF = ("archive-names", "origins", "runtime-states", "accounts", "framing", "log-tail")
KINDS = ["root", "user"] if os.geteuid() == 0 else ["user"]


@pytest.fixture(scope="session")
def servers():
    """Return the live server of a kind and without some defences; each is started once."""
    with contextlib.ExitStack() as stack:
        started = {}

        def start(kind, *weaken, **settings):
            key = (kind, weaken, *settings.items())
            if key not in started:
                # As it is by default: functions reach the internet where the host can give it. None of these tries to.
                settings = {"egress": "auto", **settings}
                server = stack.enter_context(LambentProcess(user=user_id(kind), weaken=weaken, settings=settings))
                is_isolated = settings.get("driver") != "process"
                has_cells = is_isolated and settings.get("max_cells") != 0
                started[key] = Live(server, is_isolated=is_isolated, has_cells=has_cells)
            return started[key]

        yield start


@pytest.fixture(scope="session", params=KINDS)
def each_live(request, servers):
    """A live server as root, and again as an ordinary user."""
    return servers(request.param)


@pytest.fixture(scope="session")
def live(servers):
    """A live server as root where we are root."""
    return servers(KINDS[0])


@pytest.fixture(autouse=True)
def the_next_invocation_of_another_function_is_fine(request):
    """After each attack on a live server, whether it was stopped or not."""
    yield
    for name in ("live", "each_live"):
        if name in request.fixturenames:
            request.getfixturevalue(name).assert_neighbour_is_fine()
