"""What every test here needs of AWS's SDK: clients, packages, functions, the parts of a log tail."""

import base64
import io
import itertools
import json
import os
import re
import sys
import zipfile
from dataclasses import dataclass

import boto3
from botocore.config import Config

REGION = "us-east-1"
ROLE = "arn:aws:iam::000000000000:role/e2e"
PYTHON = f"python3.{sys.version_info[1]}"  # whatever runs the tests runs the functions
NODE = "nodejs20.x"
REPORT = re.compile(
    r"REPORT RequestId: (?P<id>\S+)\tDuration: (?P<duration>[\d.]+) ms\tBilled Duration: (?P<billed>\d+) ms\t"
    r"Memory Size: (?P<size>\d+) MB\tMax Memory Used: (?P<used>\d+) MB\t(?:Init Duration: (?P<init>[\d.]+) ms\t)?"
)
_numbers = itertools.count()


def client(service, endpoint, *, key="test", secret="test", **options):
    settings = {"retries": {"total_max_attempts": 1}, "read_timeout": 60, "s3": {"addressing_style": "path"}}
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(**{**settings, **options}),
    )


def environ(endpoint="", **more) -> dict[str, str]:
    """Return the environment for the ``aws`` and ``lambent`` commands of this virtual environment."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LAMBENT_"))}
    own["PATH"] = f"{os.path.dirname(sys.executable)}:{own['PATH']}"
    own |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
    own |= {"AWS_PAGER": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    return own | ({"AWS_ENDPOINT_URL": endpoint, "LAMBENT_ENDPOINT": endpoint} if endpoint else {}) | more


def packed(files) -> bytes:
    """Return a ZIP of ``files`` (path → text or bytes); a file named bootstrap is executable."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0))
            entry.external_attr = (0o100755 if path == "bootstrap" else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return buffer.getvalue()


def packed_tree(folder, files) -> bytes:
    """Return a ZIP of everything below ``folder`` with ``files`` added."""
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    return packed(found | files)


def new_name(stem="fn") -> str:
    return f"{stem}-{os.getpid()}-{next(_numbers)}"


def wait(client, waiter, name) -> None:
    client.get_waiter(waiter).wait(FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 2400})


def create(client, code, *, handler="app.handler", runtime=PYTHON, name=None, **members) -> str:
    """Create a function of ``code`` (a ZIP, or the text of app.py) and return its name once it is Active."""
    name = name or new_name()
    package = code if isinstance(code, bytes) else packed({"app.py": code})
    client.create_function(
        FunctionName=name, Runtime=runtime, Handler=handler, Role=ROLE, Code={"ZipFile": package}, **members
    )
    wait(client, "function_active_v2", name)
    return name


@dataclass(frozen=True, slots=True)
class Answer:
    """One invocation as its caller saw it."""

    payload: object
    error: str | None
    tail: str
    request_id: str

    @property
    def report(self):
        """The parts of the REPORT line."""
        found = REPORT.search(self.tail)
        assert found, self.tail
        return found.groupdict()


def invoke(client, name, event=None, **members) -> Answer:
    got = client.invoke(FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail", **members)
    text = got["Payload"].read()
    return Answer(
        json.loads(text) if text else None,
        got.get("FunctionError"),
        base64.b64decode(got.get("LogResult", "")).decode(),
        got["ResponseMetadata"]["RequestId"],
    )
