"""A code location gives right to one package, for ten minutes."""

from datetime import timedelta

import pytest

from lambent.access.signed_url import CodeGrant, CodeUrls
from lambent.model.ids import Digest, Scope
from lambent.testing.clock import FakeClock

GRANT = CodeGrant(Scope("123456789012", "us-east-1"), Digest("ab" * 32))
START = FakeClock().now()


def urls(*, after=timedelta(), key=b"key"):
    return CodeUrls(key, FakeClock(START + after))


@pytest.mark.parametrize(("after_s", "is_good"), [(0, True), (599, True), (600, False), (86_400, False)])
def test_a_code_location_is_good_for_ten_minutes(after_s, is_good):
    token, _, query = urls().sign(GRANT).partition("?")
    found = urls(after=timedelta(seconds=after_s)).find_grant(token, query)
    assert found == (GRANT if is_good else None)


def test_another_key_signs_nothing_for_us():
    token, _, query = urls(key=b"other").sign(GRANT).partition("?")
    assert urls().find_grant(token, query) is None


def test_no_changed_character_gives_right_to_anything():
    url = urls().sign(GRANT)
    for at in range(len(url)):
        for other in "0a.&=?1é":
            changed = url[:at] + other + url[at + 1 :]
            token, _, query = changed.partition("?")
            assert changed == url or urls().find_grant(token, query) is None


@pytest.mark.parametrize(("token", "query"), [("", ""), ("x", "y"), ("../../etc", "Expires=1&Signature=")])
def test_nonsense_gives_right_to_nothing(token, query):
    assert urls().find_grant(token, query) is None


def test_the_last_expiry_that_fits_is_no_crash():
    token, _, query = urls().sign(GRANT).partition("?")
    huge = query.replace(query.split("&")[0], "Expires=999999999999")
    assert urls().find_grant(token, huge) is None
