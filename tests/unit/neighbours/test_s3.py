"""Objects read from a server that speaks as much of S3 as a GET needs."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from lambent.model.errors import NeighbourRefusal
from lambent.model.ids import Scope
from lambent.neighbours.catalogue import build_catalogue
from lambent.neighbours.clients import NeighbourClients
from lambent.neighbours.s3 import PIECE_BYTES, ObjectFetcher

pytestmark = pytest.mark.anyio
SCOPE = Scope("111111111111", "eu-central-1")
CONTENT = bytes(range(256)) * 4096  # 1 MiB


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        self.server.seen.append((url.path, parse_qs(url.query), self.headers))
        match url.path:
            case "/bucket/key/with%20space.zip":
                self.answer(200, CONTENT)
            case "/bucket/versioned":
                self.answer(200, parse_qs(url.query)["versionId"][0].encode())
            case "/bucket/empty":
                self.answer(200, b"")
            case "/bucket/cut":
                self.answer(200, CONTENT[:1000], length=2000)
                self.close_connection = True
            case "/bucket/endless":
                self.send_response(200)
                self.end_headers()
                self.close_connection = True
                while self.server.sends_on.is_set():
                    try:
                        self.wfile.write(b"x" * 65_536)
                    except OSError:
                        return
            case "/nobucket/key":
                self.error(404, "NoSuchBucket", "The specified bucket does not exist")
            case "/bucket/secret":
                self.error(403, "AccessDenied", "Access Denied")
            case _:
                self.error(404, "NoSuchKey", "The specified key does not exist.")

    def answer(self, status, body, length=None, kind="application/octet-stream"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def error(self, status, code, message):
        self.answer(status, f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode(), kind="text/xml")

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        serving.seen, serving.sends_on, serving.daemon_threads = [], threading.Event(), True
        serving.sends_on.set()
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield serving
        serving.sends_on.clear()
        serving.shutdown()
        thread.join()


@pytest.fixture
def open_fetcher():
    opened = []

    def open_fetcher(url, **bounds):
        opened.append(NeighbourClients(build_catalogue({"s3": url})))
        return ObjectFetcher(opened[-1], **bounds)

    yield open_fetcher
    for each in opened:
        each.close()


@pytest.fixture
def fetcher(server, open_fetcher):
    return open_fetcher(f"http://127.0.0.1:{server.server_port}")


async def read(fetcher, bucket="bucket", key="key/with space.zip", version=None):
    return [piece async for piece in fetcher.fetch_object(bucket, key, version, SCOPE)]


async def refusal(fetcher, *args):
    with pytest.raises(NeighbourRefusal) as refused:
        await read(fetcher, *args)
    return refused.value.code, refused.value.message


async def test_an_object_comes_whole_in_small_pieces_signed_for_the_account(server, fetcher):
    pieces = await read(fetcher)
    assert b"".join(pieces) == CONTENT
    assert max(map(len, pieces)) <= PIECE_BYTES < len(CONTENT)
    authorization = server.seen[0][2]["Authorization"]
    assert authorization.startswith("AWS4-HMAC-SHA256 Credential=111111111111/")
    assert "/eu-central-1/s3/aws4_request" in authorization


async def test_a_version_is_asked_for_by_its_id(server, fetcher):
    assert await read(fetcher, "bucket", "versioned", "v-7") == [b"v-7"]
    assert server.seen[0][1]["versionId"] == ["v-7"]


async def test_an_empty_object_has_no_pieces(fetcher):
    assert await read(fetcher, "bucket", "empty") == []


async def test_s3s_refusals_keep_their_code_and_message(fetcher):
    assert await refusal(fetcher, "nobucket", "key") == ("NoSuchBucket", "The specified bucket does not exist")
    assert await refusal(fetcher, "bucket", "none") == ("NoSuchKey", "The specified key does not exist.")
    assert await refusal(fetcher, "bucket", "secret") == ("AccessDenied", "Access Denied")


async def test_an_object_that_is_cut_short_is_refused(fetcher):
    code, message = await refusal(fetcher, "bucket", "cut")
    assert (code, "S3 does not answer" in message) == ("ServiceUnavailable", True)


async def test_an_object_over_the_limit_is_refused_announced_or_not(server, open_fetcher):
    fetcher = open_fetcher(f"http://127.0.0.1:{server.server_port}", object_limit_bytes=500_000)
    expected = ("EntityTooLarge", "The object is larger than 500000 bytes")
    assert await refusal(fetcher) == expected
    assert await refusal(fetcher, "bucket", "endless") == expected


async def test_a_reader_who_stops_ends_the_transfer(server, fetcher):
    with anyio.fail_after(20):
        async for piece in (pieces := fetcher.fetch_object("bucket", "endless", None, SCOPE)):
            assert piece
            break
        await pieces.aclose()
        assert await read(fetcher, "bucket", "empty") == []


async def test_a_bucket_name_that_is_none_is_refused_before_any_request(server, fetcher):
    code, _ = await refusal(fetcher, "not a bucket", "key")
    assert (code, server.seen) == ("ServiceUnavailable", [])


async def test_s3_that_is_off_or_away_is_a_refusal_with_a_reason(open_fetcher):
    code, message = await refusal(open_fetcher("off"))
    assert (code, "off" in message) == ("ServiceUnavailable", True)
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        code, message = await refusal(open_fetcher(f"http://127.0.0.1:{taken.getsockname()[1]}"))
    assert (code, "S3 does not answer" in message) == ("ServiceUnavailable", True)


async def test_what_the_user_keeps_for_his_own_account_is_not_used(server, fetcher, monkeypatch, tmp_path):
    (tmp_path / "config").write_text("[default]\nregion = us-west-1\nendpoint_url = http://127.0.0.1:9\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "private")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert b"".join(await read(fetcher)) == CONTENT
    assert "X-Amz-Security-Token" not in server.seen[0][2]
