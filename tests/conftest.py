"""Fixtures every suite shares."""

import hypothesis
import pytest

from lambent.sandbox.supervisor import raise_descriptor_limit

# How long one example takes says something of the host's load, and nothing of the code.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


def pytest_configure() -> None:
    """Let tests open as many files as the server may."""
    raise_descriptor_limit()


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run asynchronous tests on asyncio with uvloop, as the server does."""
    return ("asyncio", {"use_uvloop": True})
