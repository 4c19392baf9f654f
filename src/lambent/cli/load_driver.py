"""Drives a load: signed invocations over kept connections, one in flight on each; bounded in time and connections."""

import asyncio
import base64
import json
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httptools

from lambent.cli.client import Client, CommandFailed
from lambent.cli.load_figures import Called, Plan, StepFigures, Tally

DRAIN_S = 10.0  # what is in flight when a step ends may take this much longer
TICK_S = 0.5
# AWS refuses a signature after five minutes. Signing each call anew would make this process the bottleneck.
SIGNED_FOR_S = 60.0
COLD_START = re.compile(r"^REPORT RequestId: .*\tInit Duration: |\"initDurationMs\"", re.MULTILINE)


class Invocation:
    """One call as bytes, signed again when its signature gets old."""

    def __init__(self, client: Client, path: str, payload: bytes) -> None:
        self._client, self._path, self._payload = client, path, payload
        at = urllib.parse.urlsplit(client.endpoint)
        if at.scheme != "http":
            raise CommandFailed(f"load speaks http alone, not {client.endpoint}")
        self.address = (at.hostname or "127.0.0.1", at.port or 80)
        self._netloc = at.netloc
        self._bytes, self._signed_at = b"", -SIGNED_FOR_S

    def request(self) -> bytes:
        """Return the request. The log's tail is always asked for: a cold start shows nowhere else."""
        now = time.monotonic()
        if not self._bytes or now - self._signed_at >= SIGNED_FOR_S:
            asked = {"Host": self._netloc, "X-Amz-Log-Type": "Tail"}
            headers = self._client.signed("lambda", "POST", self._path, self._payload, asked)
            headers["Content-Length"] = str(len(self._payload))
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self._bytes = f"POST {self._path} HTTP/1.1\r\n{lines}\r\n".encode() + self._payload
            self._signed_at = now
        return self._bytes


class _Reply:
    """Collects one answer as httptools parses it."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.is_whole = self.is_kept = False
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        # Here alone does the parser know it: afterwards it is ready for the next answer.
        self.is_kept = self.parser.should_keep_alive()
        self.is_whole = True


class Line:
    """One kept connection; made anew where the server closed it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect unless connected."""
        if self._streams is None or self._streams[0].at_eof() or self._streams[1].is_closing():
            self.close()
            self._streams = await asyncio.open_connection(*self._address)
        return self._streams

    async def call(self, request: bytes) -> Called:
        """Send one invocation and say what came of it; its latency is the caller's to take."""
        try:
            reader, writer = await self.open()
            writer.write(request)
            reply = _Reply()
            while not reply.is_whole:
                data = await reader.read(65536)
                if not data:
                    raise ConnectionError
                reply.parser.feed_data(data)
        except (OSError, httptools.HttpParserError) as error:
            self.close()
            return Called(0.0, error=f"connection: {type(error).__name__}")
        if not reply.is_kept:
            self.close()
        return decide_outcome(reply.parser.get_status_code(), reply.headers, bytes(reply.body))

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


def decide_outcome(status: int, headers: Mapping[str, str], body: bytes) -> Called:
    """Say what an answer of Invoke means."""
    if status == 429:
        return Called(0.0, throttle=str(_members(body).get("Reason") or "no reason given"))
    if status >= 300:
        return Called(0.0, error=headers.get("x-amzn-errortype", "").split(":")[0] or f"HTTP {status}")
    log = base64.b64decode(headers.get("x-amz-log-result", "")).decode(errors="replace")
    failed = headers.get("x-amz-function-error")
    return Called(0.0, is_cold=bool(COLD_START.search(log)), error=f"function error: {failed}" if failed else "")


def _members(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def due_times(plan: Plan, began: float) -> Iterator[float | None]:
    """Yield when each call of a step is due; None is at once, without end."""
    if plan.rate is None:
        while True:
            yield None
    for number in range(max(1, round(plan.rate * plan.seconds))):
        yield began + number / plan.rate


@dataclass(slots=True)
class Load:
    """A load under way: what its finished steps found, and the step that goes on. Good after an interrupt, too."""

    plan: Plan
    invocation: Invocation
    finished: list[StepFigures] = field(default_factory=list)
    _tally: Tally | None = None
    _began: float = 0.0

    def current(self) -> tuple[int, int, float] | None:
        """Return clients, served calls and seconds of the step that goes on."""
        if self._tally is None:
            return None
        return self._tally.clients, self._tally.served, time.perf_counter() - self._began

    async def run(self, tell: Callable[[], None]) -> None:
        """Run all steps; ``tell`` is called twice a second and after each step. Cancelled: what was found stays."""
        for clients in self.plan.ramp:
            async with self._lines(clients) as lines:
                await self._step(lines, tell)
            tell()

    @asynccontextmanager
    async def _lines(self, clients: int) -> Any:
        lines = [Line(self.invocation.address) for _ in range(clients)]
        try:
            await asyncio.gather(*(line.open() for line in lines))
            yield lines
        except OSError as error:
            raise CommandFailed(f"no answer from the server ({error})") from error
        finally:
            for line in lines:
                line.close()

    async def _step(self, lines: list[Line], tell: Callable[[], None]) -> None:
        tally = self._tally = Tally(len(lines))
        began = self._began = time.perf_counter()
        due = due_times(self.plan, began)
        callers = [asyncio.create_task(self._calls(line, due, began + self.plan.seconds, tally)) for line in lines]
        try:
            waiting = set(callers)
            while waiting and time.perf_counter() < began + self.plan.seconds + DRAIN_S:
                _, waiting = await asyncio.wait(waiting, timeout=TICK_S)
                tell()
        finally:
            now = time.perf_counter()
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
            if self.plan.rate is not None:
                for when in due:  # was due, and no client was free for it
                    if when is not None and when <= now:
                        tally.add_unfinished(now - when)
            self.finished.append(tally.figures(now - began))
            self._tally = None
        for caller in callers:
            if not caller.cancelled():
                caller.result()

    async def _calls(self, line: Line, due: Iterator[float | None], ends: float, tally: Tally) -> None:
        """Make one client's calls until the step ends; a call's latency counts from when it was due."""
        while time.perf_counter() < ends:
            when = next(due, ends)
            if when == ends:
                return
            if when is not None and (early_s := when - time.perf_counter()) > 0:
                await asyncio.sleep(early_s)
            since = time.perf_counter() if when is None else when
            try:
                call = await line.call(self.invocation.request())
            except asyncio.CancelledError:
                tally.add_unfinished(time.perf_counter() - since)
                raise
            tally.add(Called(time.perf_counter() - since, call.is_cold, call.throttle, call.error))
