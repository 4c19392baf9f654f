"""Requests passed on to a peer that answers what a test says, byte for byte."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from lambent.model.errors import NeighbourRefusal
from lambent.neighbours.catalogue import build_catalogue
from lambent.neighbours.passage import Passage, Passed

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def peer(answer):
    """Yield (passage, what the peer was sent)."""
    seen = bytearray()

    async def serve(reader, writer):
        while not seen.endswith((b"END", b"0\r\n\r\n")) and (piece := await reader.read(65536)):
            seen.extend(piece)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Passage(build_catalogue({"s3": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"})), seen


async def body(*pieces):
    for piece in pieces:
        yield piece


def request(*pieces, method="PUT", headers=(("content-length", "6"),)):
    return Passed(
        service="s3", account_id="111111111111", method=method, target="/b/k%20?x=1",
        headers=(("host", "b.s3.localhost"), ("connection", "keep-alive"), ("x-moto-account-id", "9"), *headers),
        body=body(*(pieces or (b"abc", b"END"))),
    )  # fmt: skip


async def ask(passage, passed):
    async with passage.open(passed) as answer:
        return answer.status, dict(answer.headers), b"".join([chunk async for chunk in answer.chunks])


async def test_a_request_goes_through_as_it_is_but_for_its_connection_and_account():
    async with peer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\nok") as (passage, seen):
        assert await ask(passage, request()) == (200, {"content-length": "2", "x": "y"}, b"ok")
    head, _, sent = bytes(seen).partition(b"\r\n\r\n")
    assert sent == b"abcEND"
    assert head.splitlines()[0] == b"PUT /b/k%20?x=1 HTTP/1.1"
    assert set(head.splitlines()[1:]) == {
        b"host: b.s3.localhost", b"content-length: 6", b"connection: close", b"x-moto-account-id: 111111111111",
    }  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["chunks", "until the end", "after a 100"],
)
async def test_answers_of_every_framing_come_back_whole(answer):
    async with peer(answer) as (passage, _):
        status, _, content = await ask(passage, request())
    assert (status, content) == (200, b"ok")


async def test_an_answer_to_head_has_a_length_and_no_body():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    async with peer(answer) as (passage, _):
        status, headers, content = await ask(passage, request(b"END", method="HEAD", headers=()))
    assert (status, headers["content-length"], content) == (200, "500", b"")


async def test_an_answer_that_breaks_off_is_refused_and_never_cut_short():
    async with peer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok") as (passage, _):
        with pytest.raises(NeighbourRefusal, match="does not answer"):
            await ask(passage, request())


async def test_a_body_of_unknown_length_goes_in_chunks():
    async with peer(b"HTTP/1.1 204 No Content\r\n\r\n") as (passage, seen):
        assert (await ask(passage, request(b"abc", headers=())))[0] == 204
    assert b"3\r\nabc\r\n0\r\n\r\n" in seen


async def test_a_peer_that_is_not_there_is_said_so():
    passage = Passage(build_catalogue({"s3": "http://127.0.0.1:1", "sqs": "aws"}))
    assert (passage.leads_to("s3"), passage.leads_to("sqs"), passage.leads_to("sns")) == (True, False, False)
    with pytest.raises(NeighbourRefusal, match="does not answer"):
        await ask(passage, request())
