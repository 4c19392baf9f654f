"""Rules of framing: which heads are sound, and what the bytes of an answer are."""

import pytest

from lambent.http.application import RequestHead
from lambent.http.framing import Malformed, decide_framing, head_bytes, parse_target, render_head, render_trailers

HOST = (("host", "a"),)


def framing(method="POST", version="1.1", headers=HOST):
    return decide_framing(method, version, tuple(headers), dict(headers))


@pytest.mark.parametrize(
    ("headers", "length", "is_chunked", "expects"),
    [
        pytest.param((), None, False, False, id="no-body"),
        pytest.param((("content-length", "0"),), 0, False, False, id="empty"),
        pytest.param((("content-length", "12"),), 12, False, False, id="length"),
        pytest.param((("transfer-encoding", "Chunked"),), None, True, False, id="chunked-in-any-case"),
        pytest.param((("content-length", "1"), ("expect", "100-Continue")), 1, False, True, id="expect"),
        pytest.param((("x", "1"), ("x", "2")), None, False, False, id="other-headers-may-repeat"),
    ],
)
def test_sound_head_says_how_its_body_is_delimited(headers, length, is_chunked, expects):
    found = framing(headers=HOST + headers)
    assert (found.content_length, found.is_chunked, found.expects_continue) == (length, is_chunked, expects)


@pytest.mark.parametrize(
    ("method", "version", "headers", "status"),
    [
        pytest.param("GET", "1.1", (), 400, id="no-host"),
        pytest.param("GET", "2.0", HOST, 505, id="http-2"),
        pytest.param("GET", "0.9", (), 505, id="http-0.9"),
        pytest.param("TRACE", "1.1", HOST, 501, id="method"),
        pytest.param("CONNECT", "1.1", HOST, 501, id="connect"),
        pytest.param("GET", "1.1", HOST + HOST, 400, id="two-hosts"),
        pytest.param("POST", "1.1", (*HOST, *(("content-length", "3"),) * 2), 400, id="two-lengths-that-agree"),
        pytest.param("POST", "1.1", (*HOST, ("content-length", "3, 3")), 400, id="list-of-lengths"),
        pytest.param("POST", "1.1", (*HOST, ("content-length", "+3")), 400, id="signed-length"),
        pytest.param("POST", "1.1", (*HOST, ("content-length", "٣")), 400, id="foreign-digit"),
        pytest.param("POST", "1.1", (*HOST, ("content-length", "")), 400, id="empty-length"),
        pytest.param(
            "POST", "1.1", (*HOST, ("content-length", "3"), ("transfer-encoding", "chunked")), 400, id="both-lengths"
        ),
        pytest.param("POST", "1.1", (*HOST, ("transfer-encoding", "gzip, chunked")), 501, id="gzip"),
        pytest.param("POST", "1.1", (*HOST, ("transfer-encoding", "chunked, chunked")), 501, id="chunked-twice"),
        pytest.param("POST", "1.1", (*HOST, ("transfer-encoding", "identity")), 501, id="identity"),
        pytest.param("POST", "1.0", (("transfer-encoding", "chunked"),), 400, id="chunks-before-1.1"),
        pytest.param("POST", "1.1", (*HOST, ("expect", "202-yes")), 417, id="expectation"),
    ],
)
def test_ambiguous_or_foreign_head_is_refused(method, version, headers, status):
    with pytest.raises(Malformed) as refused:
        framing(method, version, headers)
    assert refused.value.status == status


def test_peer_of_http_1_0_is_never_told_to_continue():
    assert not framing(version="1.0", headers=(("content-length", "1"), ("expect", "100-continue"))).expects_continue


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/a/b?c=d?e", ("/a/b", "c=d?e")),
        ("/%2F%00?", ("/%2F%00", "")),
        ("*", ("*", "")),
        ("http://A:80/x?y", ("/x", "y")),
        ("HTTPS://a:80", ("/", "")),
        ("http://a:80?q", ("/", "q")),
    ],
)
def test_target_gives_path_and_query_as_sent(target, expected):
    assert parse_target(target, {"host": "a:80"}) == expected


@pytest.mark.parametrize("target", ["a:80", "http://b/", "ftp://a:80/", "/a#b", "x"])
def test_target_that_no_origin_server_takes_is_refused(target):
    with pytest.raises(Malformed):
        parse_target(target, {"host": "a:80"})


def test_size_of_a_head_is_that_of_its_bytes():
    head = RequestHead("GET", "/a?b", "/a", "b", (("host", "x"), ("y", "")))
    assert head_bytes(head) == len(b"GET /a?b HTTP/1.1\r\nhost: x\r\ny: \r\n\r\n")


def test_head_of_an_answer_ends_with_what_becomes_of_the_connection():
    assert render_head(200, (("A", "b"),), "content-length: 2\r\n", is_kept_alive=True) == (
        b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n"
    )
    assert render_head(299, (), "", is_kept_alive=False) == b"HTTP/1.1 299 \r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize("text", ["a\r\nSet-Cookie: x", "a\nb", "a\rb"])
@pytest.mark.parametrize("place", ["name", "value"])
def test_header_that_would_break_out_of_its_line_is_never_sent(text, place):
    header = ((text, "v") if place == "name" else ("n", text),)
    with pytest.raises(ValueError, match="line break"):
        render_head(200, header, "", is_kept_alive=True)
    with pytest.raises(ValueError, match="line break"):
        render_trailers(header)


def test_trailers_end_the_chunks():
    assert render_trailers(()) == b"0\r\n\r\n"
    assert render_trailers((("a", "b"),)) == b"0\r\na: b\r\n\r\n"
