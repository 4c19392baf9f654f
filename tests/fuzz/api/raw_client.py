"""A plain HTTP client on one kept connection: sends any bytes, reads one answer, minds the time."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]  # lower case names
    body: bytes


class Hung(AssertionError):
    """No whole answer within the bound."""


class RawClient:
    """``async with RawClient(host, port, bound_s)``; opens its connection anew whenever the server closed it."""

    def __init__(self, host: str, port: int, bound_s: float) -> None:
        self._host, self._port, self._bound_s = host, port, bound_s
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None

    async def send(self, request: bytes, *, is_head: bool = False, may_close: bool = False) -> Answer | None:
        """Return the answer; None if the server closed without one, which only ``may_close`` allows. Raises Hung."""
        try:
            async with asyncio.timeout(self._bound_s):
                for is_last_try in (False, True):
                    was_fresh = self._writer is None
                    try:
                        return await self._exchange(request, is_head)
                    except (OSError, asyncio.IncompleteReadError):
                        await self.close()
                        if may_close and (was_fresh or is_last_try):
                            return None
                        if was_fresh or is_last_try:
                            raise
        except TimeoutError:
            await self.close()
            raise Hung(request[:300]) from None
        raise AssertionError("not reached")

    async def _exchange(self, request: bytes, is_head: bool) -> Answer:
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=2**22)
        assert self._reader is not None
        with contextlib.suppress(ConnectionError):  # refused before all was sent: the answer is there to be read
            self._writer.write(request)
            await self._writer.drain()
        answer = await self._read(self._reader, is_head)
        if answer.headers.get("connection") == "close":
            await self.close()
        return answer

    async def _read(self, reader: asyncio.StreamReader, is_head: bool) -> Answer:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split(" ")[1])
            if status >= 200:
                break
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
        if is_head or status in (204, 304):
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while length := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(length + 2))[:-2]
            await reader.readuntil(b"\r\n")
            return Answer(status, headers, body)
        return Answer(status, headers, await reader.readexactly(int(headers["content-length"])))
