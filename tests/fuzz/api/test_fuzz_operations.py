"""Whatever arrives at the endpoint is answered as AWS does, in time, and nothing is kept of what was refused."""

import asyncio
import base64
import json
import random
import sqlite3
import time
from collections import Counter
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from lambent.control.built import covered_operations
from lambent.observe.logs_api import LogsApi

pytestmark = [pytest.mark.rounds, pytest.mark.anyio, pytest.mark.timeout(1500)]

SEED = 20261123
ANSWER_BOUND_S = 20.0
WORKERS = 6
WINDOW = 15  # requests between two looks at what is stored
READING = ("Get", "List", "Describe", "Filter", "Invoke", "Test", "Start", "Stop")
UNKNOWN_PATH = b"<UnknownOperationException/>\n"


def find_fault(wire, answer):
    """Return what is wrong with ``answer``, or None. Broken HTTP is answered in HTTP's words, or not at all."""
    if answer is None:
        return None if wire.is_broken else "no answer"
    kind = answer.headers.get("x-amzn-errortype", "").partition(":")[0]
    if answer.status == 501 and answer.body in (b"method is not known\n", b"transfer coding is not known\n"):
        return None  # RFC 9110 §15.6.2, RFC 9112 §6.1
    if answer.status >= 500 and (answer.status, kind) != (501, "NotImplementedException"):
        return f"status {answer.status}"
    if answer.status < 400:
        return None if 200 <= answer.status < 300 else f"status {answer.status}"
    if answer.headers.get("content-type") == "text/plain" and wire.kind.startswith("wire:"):
        return None if answer.headers.get("connection") == "close" else "refused by HTTP, but the connection stays"
    if answer.status == 404 and answer.body in (UNKNOWN_PATH, b""):
        return None  # a path of no operation, or one with an empty label
    if not kind:
        return "no x-amzn-ErrorType"
    if wire.method != "HEAD" and not isinstance(json.loads(answer.body or b"null"), dict):
        return "the error's body is no JSON object"
    return None


class Worker:
    """One client in an account of its own, which holds a function, a log group, a log stream; and what it was told."""

    def __init__(self, number, client, host, *, generate, model, code):
        self.account, self.number = f"1000000000{number:02d}", number
        self.client, self.host, self.code = client, host, code
        self.random = random.Random(SEED + number)
        self.serial = 0
        self.layer_version = 1
        self.answers = Counter()
        self.faults = []
        self.accepted = set()  # accounts in which a change was accepted
        self.packages = set()  # digests of accepted packages
        self.requests = {
            name: generate.ModelRequests(name, model(name), self.random, presets)
            for name, presets in (("lambda", self.lambda_presets()), ("logs", self.logs_presets()))
        }
        self.wire = generate.Wire

    def lambda_presets(self):
        arn = "arn:aws:lambda:us-east-1:{}:function:fuzz"
        return {
            "FunctionName": "fuzz",
            "CreateFunction.FunctionName": self.fresh,
            "Invoke.FunctionName": "steady",
            "Resource": lambda: arn.format(self.account),
            "Runtime": "provided.al2023",
            "Handler": "bootstrap",
            "Role": "arn:aws:iam::000000000000:role/fuzz",
            "CreateFunction.Code": self.code_members,
            "CreateFunction.Runtime": "provided.al2023",
            "CreateFunction.Handler": "bootstrap",
            "UpdateFunctionCode.ZipFile": self.package,
            "Timeout": 5,
            "MemorySize": 128,
            "Qualifier": lambda: self.random.choice(("1", "live")),
            **{f"{name}.Name": "live" for name in ("GetAlias", "UpdateAlias", "DeleteAlias")},
            "CreateAlias.Name": self.fresh,
            "CreateAlias.FunctionVersion": "1",
            "ProvisionedConcurrentExecutions": 1,
            "ReservedConcurrentExecutions": 5,
            "InvokeArgs": b"{}",
            "AddPermission.StatementId": self.fresh,
            "AddPermission.Action": "lambda:InvokeFunction",
            "AddPermission.Principal": "123456789012",
            "RemovePermission.StatementId": "kept",
            "LayerName": "fuzz",
            "PublishLayerVersion.Content": lambda: {"ZipFile": self.package()},
            "VersionNumber": lambda: self.layer_version,
            "GetLayerVersionByArn.Arn": (
                lambda: f"arn:aws:lambda:us-east-1:{self.account}:layer:fuzz:{self.layer_version}"
            ),
        }

    def logs_presets(self):
        return {
            "logGroupName": "fuzz",
            "logStreamName": "fuzz",
            **{f"{name}.logGroupName": "fuzz" for name in ("FilterLogEvents", "GetLogEvents", "DescribeLogStreams")},
            "CreateLogGroup.logGroupName": self.fresh,
            "CreateLogStream.logStreamName": self.fresh,
            "PutLogEvents.logEvents": lambda: [
                {"timestamp": int(time.time() * 1000), "message": f"event {self.serial}"}
            ],
            "retentionInDays": 7,
        }

    def fresh(self):
        self.serial += 1
        return f"fresh-{self.serial}"

    def code_members(self):
        if self.random.random() < 0.2:
            return {"S3Bucket": "bucket", "S3Key": "key"}
        return {"ZipFile": self.package()}

    def package(self):
        return self.code(f"{self.account} {self.random.random()}")

    # -- sending

    async def send(self, wire):
        """Send ``wire``, judge the answer, remember what was accepted. Returns whether something may have changed."""
        may_close = wire.is_broken
        answer = await self.client.send(wire.render(self.host), is_head=wire.method == "HEAD", may_close=may_close)
        if (fault := find_fault(wire, answer)) is not None:
            self.faults.append((fault, wire.operation, wire.kind, wire.render(self.host)[:1500], answer))
        if answer is None:
            return False
        self.answers[wire.service, wire.operation, wire.kind == "sound", answer.status] += 1
        if answer.status >= 300 or (wire.is_sound and wire.operation.startswith(READING)):
            return False
        if answer.body[:1] == b"{":
            self.remember_package(json.loads(answer.body))
        is_own = not any(name == "Authorization" for name, _ in wire.headers)
        self.accepted.add(wire.account if is_own else "000000000000")
        return True

    async def ask(self, operation, service="lambda", **members):
        """Send a sound request and return the members of its answer, or None if it was refused."""
        wire = replace(self.requests[service].render(operation, members, "sound"), account=self.account)
        answer = await self.client.send(wire.render(self.host))
        if answer.status >= 300:
            return None
        value = json.loads(answer.body or b"{}")
        self.remember_package(value)
        return value

    def remember_package(self, value):
        """Know the package that an answer of a function's or of a layer's names."""
        for each in (value, value.get("Content")):
            if isinstance(each, dict) and isinstance(digest := each.get("CodeSha256"), str):
                self.packages.add(base64.b64decode(digest).hex())

    # -- the world

    async def create(self, name):
        await self.ask("CreateFunction", **{
            **self.requests["lambda"].sound_members("CreateFunction", only_required=True), "FunctionName": name,
        })  # fmt: skip
        self.accepted.add(self.account)

    async def settle(self):
        """Make what is missing, remove what is too much, and wait until nothing is under way."""
        for each in (await self.ask("ListFunctions"))["Functions"]:
            if each["FunctionName"] not in ("fuzz", "steady"):
                await self.ask("DeleteFunction", FunctionName=each["FunctionName"])
        for name in ("fuzz", "steady"):
            for _ in range(600):
                found = await self.ask("GetFunctionConfiguration", FunctionName=name)
                if found is None:
                    await self.create(name)
                elif found["State"] == "Failed":
                    await self.ask("DeleteFunction", FunctionName=name)
                elif found["State"] == "Active" and found["LastUpdateStatus"] != "InProgress":
                    break
                await asyncio.sleep(0.02)
            else:
                raise AssertionError(f"{name} does not settle: {found}")
        await self.ask("CreateLogGroup", "logs", logGroupName="fuzz")
        await self.ask("CreateLogStream", "logs", logGroupName="fuzz", logStreamName="fuzz")

    async def furnish(self):
        """Give the function a version, an alias, and for each of them what operations read and take away."""
        await self.ask("PublishVersion", FunctionName="fuzz")
        await self.ask("CreateAlias", FunctionName="fuzz", Name="live", FunctionVersion="1")
        await self.ask(
            "PutProvisionedConcurrencyConfig", FunctionName="fuzz", Qualifier="live", ProvisionedConcurrentExecutions=1
        )
        permission = {"StatementId": "kept", "Action": "lambda:InvokeFunction", "Principal": "123456789012"}
        for where in ({}, {"Qualifier": "1"}, {"Qualifier": "live"}):
            await self.ask("AddPermission", FunctionName="fuzz", **permission, **where)
            await self.ask("PutFunctionEventInvokeConfig", FunctionName="fuzz", MaximumRetryAttempts=1, **where)
        layer = await self.ask("PublishLayerVersion", LayerName="fuzz", Content={"ZipFile": self.package()})
        self.layer_version = layer["Version"]

    async def look(self):
        """Return all that the account holds, but the logs of its functions."""
        functions = await self.ask("ListFunctions")
        tags = await self.ask("ListTags", Resource=f"arn:aws:lambda:us-east-1:{self.account}:function:fuzz")
        groups = (await self.ask("DescribeLogGroups", "logs"))["logGroups"]
        streams = await self.ask("DescribeLogStreams", "logs", logGroupName="fuzz")
        return (
            functions,
            tags,
            [each for each in groups if not each["logGroupName"].startswith("/aws/lambda/")],
            streams,
        )

    async def window(self, count):
        """Send ``count`` hostile requests, half of them each into an empty account of its own, and look again."""
        await self.settle()
        before, is_changed, sent = await self.look(), False, []
        for _ in range(count):
            requests = self.requests[self.random.choice(("lambda", "lambda", "lambda", "logs", "logs"))]
            operations = requests.operations if self.random.random() < 0.4 else BUILT[requests.service]
            wire = requests.hostile(self.random.choice(operations))
            self.serial += 1
            account = self.account if self.random.random() < 0.5 else f"2{self.number:02d}{self.serial:09d}"
            wire = replace(wire, account=account)
            sent.append((wire.operation, wire.kind))
            is_changed |= await self.send(wire) and account == self.account
        if not is_changed and before != (after := await self.look()):
            self.faults.append(("what was refused changed something", "", "", sent, (before, after)))


BUILT = {
    "lambda": sorted({*covered_operations(), "Invoke", "InvokeAsync"}),
    "logs": sorted(LogsApi(None, None, None, None).commands),
}


@pytest.mark.parametrize(
    ("kind", "status", "headers", "body", "is_fault"),
    [
        pytest.param("sound", 200, {}, b"{}", False, id="success"),
        pytest.param("text", 400, {"x-amzn-errortype": "ValidationException"}, b"{}", False, id="refusal"),
        pytest.param("text", 400, {}, b"{}", True, id="refusal-without-a-type"),
        pytest.param("text", 400, {"x-amzn-errortype": "ValidationException"}, b"[]", True, id="body-is-no-object"),
        pytest.param("text", 500, {"x-amzn-errortype": "ServiceException"}, b"{}", True, id="server-error"),
        pytest.param("text", 501, {"x-amzn-errortype": "NotImplementedException"}, b"{}", False, id="not-built"),
        pytest.param("text", 503, {"content-type": "text/plain"}, b"busy\n", True, id="unavailable"),
        pytest.param("wire:body", 302, {}, b"", True, id="redirect"),
        pytest.param("wire:path", 404, {}, UNKNOWN_PATH, False, id="unknown-path"),
        pytest.param("wire:path", 400, {"content-type": "text/plain"}, b"no\n", True, id="refused-but-kept-open"),
    ],
)
def test_the_judge_finds_what_it_looks_for(generate, raw_client_module, kind, status, headers, body, is_fault):
    wire = generate.Wire("lambda", "Invoke", kind, "POST", "/")
    assert bool(find_fault(wire, raw_client_module.Answer(status, headers, body))) is is_fault


def stored_accounts(state_dir):
    """Return key → account of every stored document that belongs to one."""
    with sqlite3.connect(f"file:{state_dir}/lambent.db?mode=ro", uri=True) as db:
        keys = [key for (key,) in db.execute("SELECT key FROM doc")]
    found = {}
    for key in keys:
        for part in key.replace(":", "/").split("/"):
            if len(part) == 12 and part.isdigit():
                found[key] = part
    return found


def stored_blobs(state_dir):
    """Return the digests of all stored packages."""
    return {path.name for path in (state_dir / "blobs").rglob("*") if path.is_file() and len(path.name) == 64}


async def run_workers(server, raw_client, rounds, make_worker):
    host = urlsplit(server.endpoint).netloc
    name, _, port = host.rpartition(":")
    workers = []

    async def work(number):
        async with raw_client(name, int(port), ANSWER_BOUND_S) as client:
            worker = make_worker(number, client, host)
            workers.append(worker)
            for _ in range(rounds):
                await worker.window(WINDOW)

    async with asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            group.create_task(work(number))
    return workers


@pytest.fixture
def make_worker(generate, service_model, zip_bootstrap, echo_bootstrap):
    """Return the function that makes a worker."""

    def make(number, client, host):
        code = lambda note: zip_bootstrap(echo_bootstrap, note)  # noqa: E731
        return Worker(number, client, host, generate=generate, model=service_model, code=code)

    return make


async def test_hostile_requests_get_an_error_of_aws_and_leave_nothing(server, raw_client, make_worker, is_full):
    rounds = (100_000 if is_full else 10_500) // (WORKERS * WINDOW)
    old_documents, old_blobs = stored_accounts(server.state_dir), stored_blobs(server.state_dir)
    workers = await run_workers(server, raw_client, rounds, make_worker)
    faults = [fault for worker in workers for fault in worker.faults]
    kinds = Counter(fault[0] for fault in faults)
    assert not faults, f"{kinds}; the first of each: {[next(f for f in faults if f[0] == kind) for kind in kinds]}"
    answers = sum((worker.answers for worker in workers), Counter())
    assert answers.total() >= rounds * WORKERS * WINDOW * 0.9
    refused = sum(count for (_, _, _, status), count in answers.items() if status >= 400)
    assert refused > answers.total() / 2, "the requests were not hostile"
    accepted = set().union(*(worker.accepted for worker in workers))
    documents = stored_accounts(server.state_dir)
    assert {*documents.values()} & {account for account in accepted if account[0] == "2"}, "the keys are other ones"
    kept = {key for key, account in documents.items() if account not in accepted and key not in old_documents}
    assert not kept, "documents of accounts in which nothing was accepted"
    blobs = stored_blobs(server.state_dir) - old_blobs
    assert blobs, "no blob was found: the layout is another one"
    assert blobs <= set().union(*(worker.packages for worker in workers)), "packages that were refused are kept"


@pytest.mark.parametrize("service", ["lambda", "logs"])
async def test_every_built_operation_succeeds_and_every_other_says_that_it_is_not_built(
    server, raw_client, make_worker, service
):
    host = urlsplit(server.endpoint).netloc
    name, _, port = host.rpartition(":")
    async with raw_client(name, int(port), ANSWER_BOUND_S) as client:
        worker = make_worker(90, client, host)
        requests = worker.requests[service]
        for operation in requests.operations:
            tries = 25 if operation in BUILT[service] else 2
            for turn in range(tries):
                if operation in BUILT[service]:
                    await worker.settle()
                    await worker.furnish()
                wire = replace(requests.sound(operation, only_required=turn < 2), account=worker.account)
                await worker.send(wire)
                statuses = {status for _, each, _, status in worker.answers if each == operation}
                if any(status < 300 for status in statuses) and turn:
                    break
            else:
                assert statuses == {501}, f"{operation} never succeeded: {statuses}"
                assert operation not in BUILT[service]
                continue
            assert operation in BUILT[service]
    assert not worker.faults, worker.faults[0]
