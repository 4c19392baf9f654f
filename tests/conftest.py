"""Fixtures every suite shares."""

import pytest


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Run asynchronous tests on asyncio with uvloop, as the server does."""
    return ("asyncio", {"use_uvloop": True})
