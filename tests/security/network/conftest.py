"""One world for all tests; root alone can make it."""

import os
import stat

import pytest

from .world import open_world

TUN = "/dev/net/tun"


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces without user namespaces of their own")
    with open_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(scope="session")
def tun():
    """The device as udev makes it, which every user may open; machines without udev give it to root alone."""
    mode = stat.S_IMODE(os.stat(TUN).st_mode)
    os.chmod(TUN, 0o666)
    yield
    os.chmod(TUN, mode)


@pytest.fixture(params=["root", "user"])
def kind(request):
    """Whom the launcher runs as."""
    if request.param == "user":
        request.getfixturevalue("tun")
    return request.param
