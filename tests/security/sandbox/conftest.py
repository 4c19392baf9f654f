"""A launcher for attacks: as root, and again as an ordinary user."""

import os

import pytest

from lambent.testing.sandboxes import find_or_make_test_user, open_roots


@pytest.fixture(params=["root", "user"] if os.geteuid() == 0 else ["user"])
def user(request):
    """(uid, gid) that the launcher runs as; None: as we are."""
    if request.param == "root" or os.geteuid() != 0:
        return None
    return find_or_make_test_user()


@pytest.fixture
def roots(user):
    with open_roots(user) as made:
        made.write("code/function/app.py", "CODE = 1\n")
        made.write("code/other/app.py", "CODE = 2\n")
        yield made
