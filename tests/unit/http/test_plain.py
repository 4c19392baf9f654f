"""What is read without the parser means what the parser would say; all else is left to it."""

import httptools
import pytest

from lambent.http.plain import BLOCKS_KEPT, HEAD_LIMIT_BYTES, HeaderNames, PlainReader

KNOWN = (b"Host", b"Content-Length", b"Accept", b"Connection", b"X-A", b"Transfer-Encoding", b"Expect", b"Upgrade")
GET = b"GET /a/b%20?c=d&e HTTP/1.1\r\nHost: x:1\r\nAccept: */*\r\n\r\n"


def reader(header_limit=128):
    names = HeaderNames()
    for name in KNOWN:
        names.lower(name)
    return PlainReader(names, header_limit)


def request(*lines, start=b"POST /f HTTP/1.1"):
    return b"\r\n".join([start, *lines, b"", b""])


def test_a_plain_request_is_read_whole():
    head, framing, body_at, end = reader().find(GET, "1.2.3.4:5")
    assert (head.method, head.target, head.path, head.query) == ("GET", "/a/b%20?c=d&e", "/a/b%20", "c=d&e")
    assert head.headers == (("host", "x:1"), ("accept", "*/*"))
    assert (head.header("accept"), head.header("x-none"), head.peer) == ("*/*", None, "1.2.3.4:5")
    assert (framing.content_length, body_at, end) == (None, len(GET), len(GET))


def test_a_body_begins_behind_the_head_and_may_be_missing_yet():
    data = request(b"Host: x", b"Content-Length: 12")
    for body in (b"", b"ab", b"abcdefghijklGET / HTTP/1.1\r\n"):
        _, framing, body_at, end = reader().find(data + body, "")
        assert (framing.content_length, body_at, end) == (12, len(data), len(data) + 12)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n",  # no end yet
        b"GET / HTTP/1.1\r\nHost: x\r",
        b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        request(b"Host: x", start=b"GET / HTTP/1.0"),
        request(b"Host: x", start=b"GET  / HTTP/1.1"),
        request(b"Host: x", start=b"GET / HTTP/1.1 "),
        request(b"Host: x", start=b"GET /a b HTTP/1.1"),
        request(b"Host: x", start=b"GET /a\tb HTTP/1.1"),
        request(b"Host: x", start=b"GET /\xe4 HTTP/1.1"),
        request(b"Host: x", start=b"GET /a#b HTTP/1.1"),
        request(b"Host: x", start=b"GET http://x/ HTTP/1.1"),
        request(b"Host: x", start=b"OPTIONS * HTTP/1.1"),
        request(b"Host: x", start=b"BREW / HTTP/1.1"),
        request(b"Host: x", b"Host: x"),
        request(b"Host: x", b"Content-Length: 1", b"Content-Length: 1"),
        request(b"Host: x", b"Content-Length: +1"),
        request(b"Host: x", b"Content-Length: 1_0"),
        request(b"Host: x", b"Content-Length: 1234567890"),
        request(b"Host: x", b"Transfer-Encoding: chunked"),
        request(b"Host: x", b"Expect: 100-continue"),
        request(b"Host: x", b"Upgrade: h2c"),
        request(b"Host: x", b"Connection: close"),
        request(b"Host: x", b"Connection: Keep-Alive"),
        request(b"Host: x", b"X-B: name never seen"),
        request(b"Host: x", b"x-a: written otherwise"),
        request(b"Host:x"),
        request(b"Host:  x"),
        request(b"Host: x "),
        request(b"Host: x", b"X-A: "),
        request(b"Host: x", b"X-A : 1"),
        request(b"Host: x", b" folded"),
        request(b"Host: x", b"X-A: 1\n"),
        request(b"Host: x", b"X-A: 1\r"),
        request(b"Host: x", b"X-A: 1\rX-A: 2\n"),
        request(b"Host: x", b"X-A: a\tb"),
        request(b"Host: x", b"X-A: \x00"),
        request(b"Host: x", b"X-A: \x7f"),
        request(b"Host: x", b"X-A: \xe4"),
        request(b"Host: x", b"X-A: " + b"a" * HEAD_LIMIT_BYTES),
    ],
)
def test_what_is_unusual_is_left_to_the_parser(data):
    assert reader().find(data, "") is None


def test_more_headers_than_allowed_are_left_to_the_parser():
    assert reader(header_limit=2).find(request(b"Host: x", b"Accept: a"), "") is not None
    assert reader(header_limit=2).find(request(b"Host: x", b"Accept: a", b"X-A: b"), "") is None


@pytest.mark.parametrize("value", [bytes([code]) for code in range(0x21, 0x7F)])
def test_every_character_that_is_taken_means_the_same_to_the_parser(value):
    class Seen:
        def __init__(self):
            self.headers, self.target = [], b""

        def on_url(self, url):
            self.target += url

        def on_header(self, name, value):
            self.headers.append((name.decode().lower(), value.decode()))

    data = request(b"Host: x", b"X-A: a" + value + b" b", start=b"GET /a" + value + b" HTTP/1.1")
    found = reader().find(data, "")
    seen = Seen()
    if found is None:
        assert value == b"#"
        return
    httptools.HttpRequestParser(seen).feed_data(data)
    assert (found.head.target, list(found.head.headers)) == (seen.target.decode(), seen.headers)


def test_headers_that_come_again_are_not_read_again_and_not_kept_without_bound():
    poller = reader()
    first, again = poller.find(GET, ""), poller.find(GET, "")
    assert first.head is not again.head
    assert first.head.headers is again.head.headers
    for number in range(10 * BLOCKS_KEPT):
        poller.find(request(b"Host: x", b"X-A: %d" % number), "")
    assert len(poller._blocks) <= BLOCKS_KEPT
