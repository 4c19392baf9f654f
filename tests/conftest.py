"""Fixtures every suite shares."""

import hypothesis
import pytest

from lambent.sandbox.supervisor import raise_descriptor_limit
from lambent.testing.process import LambentProcess

# How long one example takes says something of the host's load, and nothing of the code.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


def pytest_configure() -> None:
    """Let tests open as many files as the server may, and no function of theirs reach what is not this machine's."""
    raise_descriptor_limit()
    LambentProcess.defaults = {"egress": "none"}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run asynchronous tests on asyncio with uvloop, as the server does."""
    return ("asyncio", {"use_uvloop": True})
