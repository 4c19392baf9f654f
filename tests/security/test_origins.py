"""No web page drives the endpoint, in any mode, and nothing beyond this machine does unverified."""

import pytest

from lambent.access.origins import decide_origin, is_loopback, require_safe_bind
from lambent.http.application import RequestHead
from lambent.model.errors import Refused


def head(*headers):
    return RequestHead("GET", "/", "/", "", headers)


def reason(host, *more, bind="127.0.0.1", allowed=()):
    return decide_origin(head(("host", host), *more), bind, allowed)


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:4566", "LOCALHOST:4566", "localhost.", "127.0.0.1", "127.0.0.1:4566", "[::1]:4566",
     "[::1]", "abc.lambda-url.us-east-1.localhost:4566", "bucket.s3.localhost"],
)  # fmt: skip
def test_loopback_names_are_ours(host):
    assert reason(host) is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:4566", "localhost.evil.example", "evillocalhost", "127.0.0.1.evil.example",
     "10.0.0.1", "169.254.169.254", "lambda.us-east-1.amazonaws.com", "", ":4566", "localhost:x", "a@localhost",
     "localhost/x", "[::1", "localhost#", "localhost?x", "local host"],
)  # fmt: skip
def test_a_name_that_another_may_point_at_us_is_refused(host):
    assert reason(host) is not None


def test_a_request_without_or_with_two_hosts_is_refused():
    assert decide_origin(head(), "127.0.0.1", ()) is not None
    assert decide_origin(head(("host", "localhost"), ("host", "localhost")), "127.0.0.1", ()) is not None


@pytest.mark.parametrize(
    ("host", "allowed", "is_ours"),
    [
        ("lambent.lan", ["lambent.lan"], True),
        ("LAMBENT.lan:80", ["Lambent.LAN"], True),
        ("x.lambent.lan", ["lambent.lan"], False),
        ("x.lambent.lan", ["*.lambent.lan"], True),
        ("x.y.lambent.lan", ["*.lambent.lan"], True),
        ("lambent.lan", ["*.lambent.lan"], False),
        ("evillambent.lan", ["*.lambent.lan"], False),
        ("lambda.us-east-1.amazonaws.com", ["*.amazonaws.com"], True),
    ],
)
def test_allowed_hosts_are_names_or_suffixes(host, allowed, is_ours):
    assert (reason(host, allowed=allowed) is None) == is_ours


@pytest.mark.parametrize(("bind", "host"), [("0.0.0.0", "192.168.1.5:4566"), ("::", "[fd00::1]:4566"),
                                            ("192.168.1.5", "192.168.1.5"), ("box.lan", "box.lan:4566")])  # fmt: skip
def test_an_open_bind_is_reached_by_its_addresses_and_its_own_name(bind, host):
    assert reason(host, bind=bind) is None
    assert reason("evil.example", bind=bind) is not None


@pytest.mark.parametrize(
    ("origin", "is_ours"),
    [
        ("http://localhost:4566", True),
        ("https://localhost:4566", True),
        ("http://LOCALHOST:4566", True),
        ("http://localhost:3000", False),
        ("http://localhost", False),
        ("http://evil.example", False),
        ("null", False),
        ("", False),
        ("chrome-extension://localhost:4566", False),
        ("http://localhost:4566.evil.example", False),
    ],
)
def test_only_a_page_of_our_own_may_call(origin, is_ours):
    assert (reason("localhost:4566", ("origin", origin)) is None) == is_ours


def test_one_foreign_origin_among_two_is_refused():
    assert reason("localhost", ("origin", "http://localhost"), ("origin", "http://evil.example")) is not None


@pytest.mark.parametrize(
    ("value", "is_ours"), [("none", True), ("same-origin", True), ("same-site", False), ("cross-site", False)]
)
def test_an_image_or_a_form_of_a_foreign_page_may_not_call_either(value, is_ours):
    assert (reason("localhost", ("sec-fetch-site", value)) is None) == is_ours


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("[::1]", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("", False), ("192.168.1.5", False), ("box.lan", False), ("localhost.evil.example", False)],
)  # fmt: skip
def test_an_unverified_endpoint_listens_on_loopback_only(host, is_local):
    assert is_loopback(host) == is_local
    require_safe_bind(host, "verify")
    if is_local:
        require_safe_bind(host, "off")
    else:
        with pytest.raises(Refused, match="switch signature verification on"):
            require_safe_bind(host, "off")
