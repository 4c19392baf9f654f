"""Commands on functions: deploy, invoke, logs, list, describe, delete. They speak the public API only."""

import base64
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from lambent.cli.client import ApiError, Client, CommandFailed, quote
from lambent.cli.output import note, print_json, print_table, progress
from lambent.cli.packages import build_package, read_function_file

FUNCTIONS = "/2015-03-31/functions"
READY_WAIT_S = 900.0  # a first interpreter is 60 MB to fetch
SLOW_S = 3.0


def deploy(client: Client, directory: Path, flags: dict[str, Any], *, as_json: bool) -> None:
    """Zip ``directory``, create or update its function, and wait until it is Active."""
    function = read_function_file(directory, flags)
    with progress(f"packing {directory}"):
        package = build_package(directory, function)
    with progress(f"deploying {function.name} ({len(package) / 1e6:.1f} MB)") as tell:
        code = {"ZipFile": base64.b64encode(package).decode()}
        try:
            client.lambda_request("GET", f"{FUNCTIONS}/{quote(function.name)}/configuration")
        except ApiError as error:
            if error.status != 404:
                raise
            members = {**function.members(), "FunctionName": function.name, "Code": code}
            client.lambda_request("POST", FUNCTIONS, json.dumps(members).encode())
        else:
            _put(client, function.name, "configuration", function.members())
            _wait_until_settled(client, function.name, tell)  # what fails now, the new code may mend
            _put(client, function.name, "code", code)
        configuration = _wait_until_ready(client, function.name, tell)
    if as_json:
        print_json(configuration)
    else:
        click.echo(f"{configuration['FunctionArn']} is {configuration['State']}")


def _put(client: Client, name: str, what: str, members: dict[str, Any]) -> None:
    client.lambda_request("PUT", f"{FUNCTIONS}/{quote(name)}/{what}", json.dumps(members).encode())


def _wait_until_ready(client: Client, name: str, tell: Callable[[str], None]) -> dict[str, Any]:
    got = _wait_until_settled(client, name, tell)
    if got["State"] == "Failed" or got.get("LastUpdateStatus") == "Failed":
        reason = got.get("StateReason") or got.get("LastUpdateStatusReason")
        raise CommandFailed(f"{name} could not be made ready: {reason}")
    return got


def _wait_until_settled(client: Client, name: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return the configuration once nothing is under way. A function that failed may be on its way to be mended."""
    began = time.monotonic()
    is_told = False
    while True:
        got: dict[str, Any] = client.lambda_request("GET", f"{FUNCTIONS}/{quote(name)}/configuration").json()
        if got["State"] != "Pending" and got.get("LastUpdateStatus") != "InProgress":
            return got
        if not is_told and time.monotonic() > began + SLOW_S:
            tell(f"{name}: preparing {got.get('Runtime')}; what this host lacks of it is fetched once, up to 80 MB")
            is_told = True
        if time.monotonic() > began + READY_WAIT_S:
            raise CommandFailed(
                f"{name} is still {got['State']} after {READY_WAIT_S:.0f} s; see `lambent describe {name}`"
            )
        time.sleep(0.05)


def invoke(client: Client, name: str, payload: bytes, *, with_log: bool, as_json: bool) -> int:
    """Invoke a function and print its answer; exit code 2 when the function itself failed."""
    headers = {"X-Amz-Log-Type": "Tail"} if with_log or as_json else {}
    answer = client.lambda_request("POST", f"{FUNCTIONS}/{quote(name)}/invocations", payload, headers)
    function_error = answer.headers.get("x-amz-function-error")
    log = base64.b64decode(answer.headers.get("x-amz-log-result", "")).decode(errors="replace")
    if as_json:
        print_json(
            {
                "StatusCode": answer.status,
                "FunctionError": function_error,
                "ExecutedVersion": answer.headers.get("x-amz-executed-version"),
                "RequestId": answer.headers.get("x-amzn-requestid"),
                "Payload": _parsed(answer.body),
                "Log": log,
            }
        )
    else:
        if log:
            note(log.rstrip())
        click.echo(answer.body.decode(errors="replace"))
        if function_error:
            click.secho(f"the function failed: {function_error}", err=True, fg="red")
    return 2 if function_error else 0


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def logs(client: Client, name: str, *, follow: bool, since_s: float, pattern: str, as_json: bool) -> None:
    """Print the log events of a function, oldest first; with ``follow`` until interrupted."""
    configuration = client.lambda_request("GET", f"{FUNCTIONS}/{quote(name)}/configuration").json()
    group = configuration["LoggingConfig"]["LogGroup"]
    start_ms = int((time.time() - since_s) * 1000)
    seen: set[str] = set()
    while True:
        newest_ms = start_ms
        for event in _events(client, group, start_ms, pattern):
            if event["eventId"] in seen:
                continue
            seen.add(event["eventId"])
            newest_ms = max(newest_ms, event["timestamp"])
            _print_event(event, as_json=as_json)
        if not follow:
            return
        start_ms = max(start_ms, newest_ms - 10_000)  # late events of other streams still come
        time.sleep(0.5)


def _events(client: Client, group: str, start_ms: int, pattern: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    members: dict[str, Any] = {"logGroupName": group, "startTime": start_ms}
    if pattern:
        members["filterPattern"] = pattern
    while True:
        try:
            page = client.logs_request("FilterLogEvents", members)
        except ApiError as error:
            if error.aws_code == "ResourceNotFoundException":  # nothing was written yet
                return events
            raise
        events += page.get("events", [])
        if not page.get("nextToken"):
            return events
        members["nextToken"] = page["nextToken"]


def _print_event(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(event))
        return
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(event["timestamp"] / 1000))
    click.echo(f"{click.style(when, dim=True)} {event['message'].rstrip()}")
    sys.stdout.flush()


def list_functions(client: Client, *, as_json: bool) -> None:
    """Print all functions of the region."""
    functions: list[dict[str, Any]] = []
    marker = ""
    while True:
        page = client.lambda_request("GET", FUNCTIONS + (f"?Marker={quote(marker)}" if marker else "")).json()
        functions += page["Functions"]
        marker = page.get("NextMarker") or ""
        if not marker:
            break
    if as_json:
        print_json(functions)
        return
    rows = [
        (each["FunctionName"], each.get("Runtime", "-"), each["MemorySize"], each["Timeout"], each["LastModified"][:19])
        for each in functions
    ]
    print_table(("NAME", "RUNTIME", "MEMORY", "TIMEOUT", "MODIFIED"), rows)


def describe(client: Client, name: str, *, as_json: bool) -> None:
    """Print a function's configuration and state."""
    found = client.lambda_request("GET", f"{FUNCTIONS}/{quote(name)}").json()
    if as_json:
        print_json(found)
        return
    configuration = dict(found["Configuration"])
    environment = (configuration.pop("Environment", None) or {}).get("Variables", {})
    for key in sorted(configuration):
        value = configuration[key]
        click.echo(f"{key:<24} {value if isinstance(value, str | int) else json.dumps(value)}")
    click.echo(f"{'Environment':<24} {', '.join(sorted(environment)) or '-'}")
    click.echo(f"{'Cold start':<24} {describe_cold_start(found['Configuration'])}")
    for key, value in sorted(found.get("Tags", {}).items()):
        click.echo(f"{'Tag ' + key:<24} {value}")


def describe_cold_start(configuration: Mapping[str, Any]) -> str:
    """Return whether new environments are born from prepared sandboxes, where the server keeps them, or why not."""
    from lambent.environment.cell_key import decide_spawned
    from lambent.runtimes.catalogue import RuntimeCatalogue

    runtime = RuntimeCatalogue.load().find(configuration.get("Runtime", ""))
    variables = (configuration.get("Environment") or {}).get("Variables", {})
    tmp_mib = (configuration.get("EphemeralStorage") or {}).get("Size", 512)
    spawned = decide_spawned(runtime, variables, tmp_mib) if runtime is not None else None
    return f"spawned: {spawned.reason}" if spawned is not None else "prepared"


def delete(client: Client, name: str) -> None:
    """Delete a function."""
    client.lambda_request("DELETE", f"{FUNCTIONS}/{quote(name)}")
    note(f"{name} is deleted")
