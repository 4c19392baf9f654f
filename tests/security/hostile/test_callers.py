"""Callers who are no honest client: web pages, other accounts, garbage. Over plain sockets, as they would come."""

import contextlib
import socket
import urllib.error
import urllib.request

import botocore.exceptions
import pytest

from lambent.testing.process import LambentProcess

from .conftest import KINDS, SERVER_DEFENCES_OFF
from .live import client

LIST = "GET /2015-03-31/functions HTTP/1.1\r\n"
INVOKE = "POST /2015-03-31/functions/{name}/invocations HTTP/1.1\r\n"


def request(first, *headers, body=""):
    lines = [first.strip(), *headers, f"content-length: {len(body)}", "connection: close", "", body]
    return "\r\n".join(lines).encode("latin-1")


@pytest.mark.parametrize(
    "headers",
    [
        ["host: evil.example"],
        ["host: evil.example:{port}"],
        ["host: localhost.evil.example"],
        ["host: 169.254.169.254"],
        ["host: localhost", "host: evil.example"],
        [],
        ["host: localhost", "origin: http://evil.example"],
        ["host: localhost", "origin: null"],
        ["host: localhost", "origin: http://localhost.evil.example"],
        ["host: localhost", "sec-fetch-site: cross-site"],
        ["host: localhost", "origin: http://evil.example", "content-type: text/plain"],
        ["host: localhost", "x-forwarded-host: localhost", "origin: https://evil.example"],
    ],
)
def test_a_web_page_reaches_nothing(headers, each_live):
    headers = [each.format(port=each_live.port) for each in headers]
    for first in (LIST, INVOKE.format(name=each_live.attacker), "OPTIONS /2015-03-31/functions HTTP/1.1"):
        status = each_live.status(request(first, *headers, body='{"code": "result = 1"}'))
        assert status in (400, 403)


@pytest.mark.parametrize(
    "target",
    [
        "/_lambent/code/../../settings.json",
        "/_lambent/code/%2e%2e%2f%2e%2e%2fsettings.json",
        "/_lambent/code//etc/passwd",
        "/_lambent/code/%00",
        "/_lambent/%2e%2e/settings.json",
        "/2015-03-31/functions/..%2f..%2fsettings.json/code",
        "/2015-03-31/functions/%00/invocations",
        "//etc/passwd",
        "/..",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/2015-03-31/functions/" + "a" * 9000,
        "/\\..\\settings.json",
    ],
)
def test_a_path_leads_nowhere(target, each_live):
    got = each_live.raw(request(f"GET {target} HTTP/1.1", "host: localhost"))
    assert got.split()[1] in (b"400", b"403", b"404", b"405", b"414")
    assert b"root:" not in got
    assert b"state_dir" not in got


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 1000 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nbad header: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\na: " + b"x" * 2_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * 2000 + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500,
    ],
    ids=["zeros", "version", "two_lengths", "smuggling", "unknown_coding", "negative", "space", "long", "many", "http2",
         "tls"],
)  # fmt: skip
def test_garbage_is_refused_and_the_connection_closed(garbage, each_live):
    assert each_live.status(garbage) in (0, 400, 403, 431, 501, 505)


def test_pipelined_garbage_after_a_request_costs_only_its_own_connection(each_live):
    got = each_live.raw(b"GET /_lambent/health HTTP/1.1\r\nhost: localhost\r\n\r\n" + b"\xff" * 100_000)
    assert got.startswith(b"HTTP/1.1 200")


def test_many_slow_callers_keep_nobody_waiting(each_live):
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", each_live.port), 5))
            peer.sendall(b"POST /2015-03-31/functions HTTP/1.1\r\nhost: localhost\r\na: ")
        each_live.assert_neighbour_is_fine()


def test_a_request_without_a_page_is_answered(each_live):
    assert each_live.status(request("GET /_lambent/health HTTP/1.1", f"host: localhost:{each_live.port}")) == 200


def test_another_account_sees_and_runs_no_function_of_ours(each_live):
    other = client("lambda", each_live.endpoint, key="111111111111")
    assert other.list_functions()["Functions"] == []
    with pytest.raises(botocore.exceptions.ClientError, match=r"ResourceNotFound|not found"):
        other.invoke(FunctionName=each_live.neighbour)
    arn = each_live.functions.get_function_configuration(FunctionName=each_live.neighbour)["FunctionArn"]
    with pytest.raises(botocore.exceptions.ClientError):
        other.delete_function(FunctionName=arn)


def download(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as got:
            return got.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_location_of_code_opens_only_what_it_was_made_for(each_live):
    url = each_live.functions.get_function(FunctionName=each_live.neighbour)["Code"]["Location"]
    other = each_live.functions.get_function(FunctionName=each_live.attacker)["Code"]["Location"]
    assert download(url) == 200
    path, _, query = url.partition("?")
    other_path, _, other_query = other.partition("?")
    assert path != other_path or query != other_query
    assert download(f"{path}x?{query}" if query else f"{path}x") in (403, 404)
    flipped = query[:-1] + ("0" if query[-1:] != "0" else "1") if query else path[:-1]
    assert download(f"{path}?{flipped}" if query else flipped) == 403
    if query:
        assert download(f"{path}?{other_query}") == 403
        assert download(path) == 403


def test_without_its_check_a_web_page_drives_the_endpoint(servers):
    page = servers(KINDS[0], *SERVER_DEFENCES_OFF)
    headers = ("host: evil.example", "origin: http://evil.example", "content-type: text/plain")
    assert page.status(request(LIST, *headers)) == 200


def test_without_its_place_in_every_key_an_account_sees_the_functions_of_another(servers):
    open_to_all = servers(KINDS[0], *SERVER_DEFENCES_OFF)
    other = client("lambda", open_to_all.endpoint, key="111111111111")
    assert open_to_all.neighbour in [each["FunctionName"] for each in other.list_functions()["Functions"]]


def test_without_strict_framing_a_request_may_name_two_hosts(servers):
    lax = servers(KINDS[0], *SERVER_DEFENCES_OFF)
    assert lax.status(request(LIST, "host: localhost", "host: evil.example")) == 200


def list_with_a_wrong_secret(*weaken):
    settings = {"signatures": "verify", "credentials": {"known": {"secret": "right", "account": "000000000000"}}}
    with LambentProcess(settings=settings, weaken=weaken) as server:
        return client("lambda", server.endpoint, key="known", secret="wrong").list_functions()["Functions"]


def test_a_known_key_with_a_wrong_secret_lists_nothing():
    with pytest.raises(botocore.exceptions.ClientError, match="InvalidSignature"):
        list_with_a_wrong_secret()


def test_without_a_comparison_of_signatures_a_known_key_is_enough():
    assert list_with_a_wrong_secret("signatures") == []
