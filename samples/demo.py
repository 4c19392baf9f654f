"""The main job, start to finish: start Lambent, deploy three functions, invoke each cold and warm with two AWS clients.

Run by ``./dev demo``. The server stays up afterwards unless --stop is given. Exit 0 only if every answer was right.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import boto3
from botocore.config import Config

HERE = Path(__file__).parent
CLIENTS = ("boto3", "aws")


def lambent(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the lambent command; its messages go to this terminal."""
    return subprocess.run(["lambent", *arguments], stdout=subprocess.PIPE, text=True, check=False)


def photo() -> tuple[bytes, str]:
    """Return a real photograph: the public-domain portrait that the matplotlib wheel carries, cached."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lambent/demo/grace_hopper.jpg"
    if not cache.exists():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*command, "--only-binary", ":all:", "-d", folder, "matplotlib==3.10.0"], check=True)
            wheel = next(Path(folder).glob("*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                content = archive.read("matplotlib/mpl-data/sample_data/grace_hopper.jpg")
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_bytes(content)
    return cache.read_bytes(), str(cache)


def invoke_with_boto3(endpoint: str, name: str, event: bytes) -> tuple[dict, str]:
    """Return the answer's payload and its log tail."""
    client = boto3.client("lambda", endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 1}))
    answer = client.invoke(FunctionName=name, Payload=event, LogType="Tail")
    if "FunctionError" in answer:
        raise SystemExit(f"{name} failed: {answer['Payload'].read().decode()}")
    return json.load(answer["Payload"]), base64.b64decode(answer["LogResult"]).decode()


def invoke_with_aws(endpoint: str, name: str, event: bytes) -> tuple[dict, str]:
    """The same with the aws command."""
    with tempfile.TemporaryDirectory() as folder:
        request, response = Path(folder) / "event.json", Path(folder) / "answer.json"
        request.write_bytes(event)
        command = ["aws", "--endpoint-url", endpoint, "lambda", "invoke", "--function-name", name, "--log-type", "Tail"]
        command += ["--payload", f"fileb://{request}", "--output", "json", str(response)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        answer = json.loads(done.stdout)
        if "FunctionError" in answer:
            raise SystemExit(f"{name} failed: {response.read_text()}")
        return json.loads(response.read_text()), base64.b64decode(answer["LogResult"]).decode()


def show(name: str, client: str, kind: str, answer: dict, tail: str, seconds: float) -> None:
    """Print one invocation: who asked, how long, what came, the log tail with its REPORT line."""
    short = json.dumps(
        {key: value if len(str(value)) < 60 else f"{len(str(value))} characters" for key, value in answer.items()}
    )
    print(f"\n{name} · {client} · {kind} · {seconds * 1000:.0f} ms as seen by the client\n  answer  {short}")
    for line in tail.rstrip("\n").split("\n"):
        print(f"  log     {line.rstrip()}")


def check(name: str, answer: dict, event: dict) -> None:
    """Refuse a wrong answer: this demo proves something or fails."""
    if name == "thumbnails":
        jpeg = base64.b64decode(answer["thumbnail"])
        right = jpeg[:3] == b"\xff\xd8\xff" and max(answer["width"], answer["height"]) == event["size"]
    elif name == "words":
        right = answer["words"] == 4 and answer["counts"]["the"] == 2
    else:
        right = answer["bytes"] == len(json.dumps(event))
    if not right:
        raise SystemExit(f"{name} answered wrongly: {answer}")


def events() -> dict[str, dict]:
    """Return the event of each sample."""
    picture, where = photo()
    print(f"photo   {where}, {len(picture) / 1000:.0f} kB")
    return {
        "thumbnails": {"photo": base64.b64encode(picture).decode(), "size": 128},
        "words": {"text": "The quick and the"},
        "shell": {"hello": "world"},
    }


def runtime_flags(name: str) -> list[str]:
    """Deploy the Python sample for the Python that this machine has."""
    return ["--runtime", f"python3.{sys.version_info[1]}"] if name == "thumbnails" else []


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="4566")
    parser.add_argument("--stop", action="store_true", help="stop the server at the end")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # in order with what the commands say, in a pipe too
    os.environ.update(
        AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="us-east-1", AWS_PAGER=""
    )
    if json.loads(lambent("status", "--json").stdout)["running"]:
        print("Lambent runs already", flush=True)
    elif (done := lambent("start", "--port", options.port)).returncode:
        return done.returncode
    status = json.loads(lambent("status", "--json").stdout)
    endpoint = status["endpoint"]
    for name, event in events().items():
        boto3.client("lambda", endpoint_url=endpoint)  # imported and warm before anything is timed
        subprocess.run(["lambent", "delete", name], capture_output=True, check=False)
        deployed = lambent("deploy", str(HERE / name), *runtime_flags(name))
        if deployed.returncode:
            return deployed.returncode
        print(f"\n{deployed.stdout.rstrip()}", flush=True)
        body = json.dumps(event).encode()
        for client in CLIENTS:
            call = invoke_with_boto3 if client == "boto3" else invoke_with_aws
            for kind in ("cold", "warm"):
                if kind == "cold" and client == "aws":  # a new configuration: its next invocation is a cold start
                    lambent("deploy", str(HERE / name), *runtime_flags(name), "--env", "CLIENT=aws")
                before = time.perf_counter()
                answer, tail = call(endpoint, name, body)
                taken = time.perf_counter() - before
                check(name, answer, event)
                if ("Init Duration" in tail) != (kind == "cold"):
                    raise SystemExit(f"{name} was not {kind}: {tail}")
                show(name, client, kind, answer, tail, taken)
    print(f"\nendpoint  {endpoint}\nstate     {status['state_dir']}")
    print(f"try       aws --endpoint-url {endpoint} lambda list-functions")
    print("          ./dev run logs thumbnails\n          ./dev run stop")
    if options.stop:
        return lambent("stop").returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
