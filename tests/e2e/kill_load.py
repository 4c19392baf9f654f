"""Load for the kill rounds: writers that create, change, tag, log, invoke and delete, and know their promises."""

import collections
import contextlib
import random
import threading
import time

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from . import aws

SOURCE = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return context.function_name\n"
GONE = {"gone": True}
FUNCTION_LIMIT = 6  # of each writer: an environment for each has to fit


class Broken(Exception):
    """The answer never came, or said that this host failed: whether it was done is not known."""


class Writer(threading.Thread):
    """Uses functions of its own until told to stop. A request that was cut off is looked up once the server is back:
    it was done, or it was not; whatever else is found is a fault, and so is a promise that is not there.
    """

    def __init__(self, endpoint: str, seed: int, **keys: str) -> None:
        super().__init__(daemon=True)
        self._client = aws.client("lambda", endpoint, read_timeout=20, **keys)
        self._logs = aws.client("logs", endpoint, read_timeout=20, **keys)
        self._choice = random.Random(seed)
        self._group = f"/kills/{seed}"
        self._has_stream = False
        self._stop_wanted = threading.Event()
        self.promised: dict[str, dict] = {}
        self.said: list[str] = []  # messages of acknowledged log batches
        self.begun = self.ended = self.acknowledged = self.cut = 0
        self.faults: list[str] = []
        self._history: collections.deque[str] = collections.deque(maxlen=12)

    def finish(self) -> None:
        """Let the request in hand end, and the thread with it."""
        self._stop_wanted.set()
        self.join()

    def run(self) -> None:
        """Use functions until told to stop, or until a promise was broken."""
        try:
            while not self._stop_wanted.is_set() and not self.faults:
                self._step()
        except Exception as error:  # noqa: BLE001  a thread's failure is the test's
            self.faults.append(repr(error))

    def check_all(self) -> None:
        """Compare everything promised with what is there."""
        for name in sorted(self.promised):
            self._require(name, self._found(name), [self.promised[name]])
        group = {"logGroupName": self._group, "logStreamName": "stream"}
        found, token = set(), {}
        while self.said:
            page = self._logs.get_log_events(**group, startFromHead=True, **token)
            found |= {event["message"] for event in page["events"]}
            if token == {"nextToken": page["nextForwardToken"]}:
                break
            token = {"nextToken": page["nextForwardToken"]}
        if lost := set(self.said) - found:
            self.faults.append(f"{len(lost)} log events are lost: {sorted(lost)[:3]}")

    def _step(self) -> None:
        names = sorted(self.promised)
        if not names or (len(names) < FUNCTION_LIMIT and self._choice.random() < 0.3):
            self._change(aws.new_name("kill"), self._create)
            return
        name = self._choice.choice(names)
        steps = [
            self._resize,
            self._recode,
            self._tag,
            self._take_away,
            self._invoke,
            self._invoke,
            self._look,
            self._log,
        ]
        step = self._choice.choice(steps)
        if step in (self._invoke, self._look, self._log):
            with contextlib.suppress(Broken):
                self._attempt(step, name)
        else:
            self._change(name, step)

    def _attempt(self, step, *arguments):
        """Call ``step``, which AWS's rules may refuse just now. Broken where its outcome is not known."""
        self.begun += 1
        self._history.append(f"{step.__name__} {arguments}")
        try:
            step(*arguments)
        except (BotoCoreError, HTTPClientError) as error:
            self.cut += 1
            self._history.append(f"cut off: {error!r}")
        except ClientError as error:
            self._history.append(f"answered: {error!r}")
            if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                if error.response["Error"]["Code"] != "ResourceConflictException":  # it is still being made
                    self.faults.append(f"{step.__name__} {arguments}: {error}; before it: {list(self._history)}")
                return
            self.cut += 1
        else:
            self.acknowledged += 1
            return
        finally:
            self.ended += 1
        raise Broken

    def _change(self, name: str, step) -> None:
        """Ask for a change; afterwards its promise, or what is found of it, is known."""
        before = self.promised.get(name, GONE)
        after = dict(before)
        try:
            count = self.acknowledged
            self._attempt(step, name, after)
            found = after if self.acknowledged > count else before
        except Broken:
            found = self._found(name)
            self._require(name, found, [before, GONE if after.get("gone") else after])
        if found.get("gone"):
            self.promised.pop(name, None)
        else:
            self.promised[name] = found

    def _require(self, name: str, found: dict, allowed: list[dict]) -> None:
        # A new package gets its digest from the server: of a cut request only the old one can be compared.
        if found not in allowed and {**found, "CodeSha256": None} not in allowed:
            self.faults.append(f"{name} is {found}, promised was one of {allowed}")

    def _found(self, name: str) -> dict:
        """Return what the server has of ``name``, asking until it is there to answer."""
        give_up_at = time.monotonic() + 60
        while True:
            try:
                got = self._client.get_function(FunctionName=name)
            except ClientError as error:
                if error.response["Error"]["Code"] == "ResourceNotFoundException":
                    return dict(GONE)
            except (BotoCoreError, HTTPClientError):
                pass
            else:
                known = {key: got["Configuration"][key] for key in ("CodeSha256", "MemorySize")}
                return {**known, "Tags": got.get("Tags", {})}
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"nobody answers for {name}")
            self._stop_wanted.wait(0.02)

    # The steps. Each writes into ``after`` what holds once it is acknowledged, before it asks.

    def _create(self, name: str, after: dict) -> None:
        after.clear()
        after.update({"CodeSha256": None, "MemorySize": 128, "Tags": {}})
        package = aws.packed({"app.py": SOURCE + f"# {name}\n"})
        made = self._client.create_function(
            FunctionName=name, Runtime=aws.PYTHON, Handler="app.handler", Role=aws.ROLE, Code={"ZipFile": package}
        )
        after["CodeSha256"] = made["CodeSha256"]

    def _resize(self, name: str, after: dict) -> None:
        after["MemorySize"] = self._choice.randrange(128, 512)
        self._client.update_function_configuration(FunctionName=name, MemorySize=after["MemorySize"])

    def _recode(self, name: str, after: dict) -> None:
        after["CodeSha256"] = None
        package = aws.packed({"app.py": SOURCE + f"# {self._choice.random()}\n"})
        after["CodeSha256"] = self._client.update_function_code(FunctionName=name, ZipFile=package)["CodeSha256"]

    def _tag(self, name: str, after: dict) -> None:
        added = {f"key{self._choice.randrange(4)}": str(self._choice.random())}
        after["Tags"] = {**after["Tags"], **added}
        arn = f"arn:aws:lambda:{aws.REGION}:000000000000:function:{name}"
        self._client.tag_resource(Resource=arn, Tags=added)

    def _take_away(self, name: str, after: dict) -> None:
        after["gone"] = True
        self._client.delete_function(FunctionName=name)

    def _invoke(self, name: str) -> None:
        self._client.invoke(FunctionName=name, Payload=b"0.05")

    def _look(self, name: str) -> None:
        self._require(name, self._found(name), [self.promised[name]])

    def _log(self, _: str) -> None:
        if not self._has_stream:
            with contextlib.suppress(self._logs.exceptions.ResourceAlreadyExistsException):
                self._logs.create_log_group(logGroupName=self._group)
            with contextlib.suppress(self._logs.exceptions.ResourceAlreadyExistsException):
                self._logs.create_log_stream(logGroupName=self._group, logStreamName="stream")
            self._has_stream = True
        now_ms = int(time.time() * 1000)
        messages = [f"{self._group} {self._choice.random()}" for _ in range(3)]
        events = [{"timestamp": now_ms, "message": message} for message in messages]
        self._logs.put_log_events(logGroupName=self._group, logStreamName="stream", logEvents=events)
        self.said += messages
