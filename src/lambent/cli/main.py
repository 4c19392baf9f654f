"""The ``lambent`` command. Heavy imports happen inside commands: help and completion must be quick."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from typing_extensions import override

from lambent.cli.client import Client, CommandFailed
from lambent.config import Settings, SettingsError, load_settings


class Failing(click.Group):
    """A group whose commands fail in one line."""

    @override
    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a failure becomes one line on standard error and its exit code."""
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            click.secho(f"lambent: {error}", err=True, fg="red")
            sys.exit(78)
        except CommandFailed as error:
            click.secho(f"lambent: {error}", err=True, fg="red")
            sys.exit(error.code)


def state_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which server is meant."""
    function = click.option("--state-dir", type=click.Path(file_okay=False), help="Where this server keeps its state.")(
        function
    )
    return click.option("--config", type=click.Path(dir_okay=False, exists=True), help="The settings file.")(function)


def api_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of commands that talk to a server."""
    function = click.option("--endpoint", envvar="LAMBENT_ENDPOINT", help="URL of the server.")(function)
    function = click.option("--region", help="AWS region; else AWS_REGION, else us-east-1.")(function)
    return state_options(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def _settings(config: str | None, **flags: Any) -> Settings:
    return load_settings(flags, file=Path(config) if config else None)


def _client(endpoint: str | None, region: str | None, config: str | None, state_dir: str | None) -> Client:
    if endpoint is None:
        from lambent.cli.server_commands import endpoint_of

        settings = _settings(config, state_dir=state_dir)
        endpoint = endpoint_of(Path(settings.run_dir)) or f"http://{settings.host}:{settings.port}"
    return Client(endpoint, region=region)


@click.group(cls=Failing, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="lambent")
def main() -> None:
    """AWS Lambda on machines that you own."""


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the endpoint (4566).")
@click.option("--host", help="Address to listen on (127.0.0.1).")
@click.option(
    "--driver", type=click.Choice(["bubblewrap", "process"]), help="How sandboxes are made; `process` isolates nothing."
)
@click.option("--signatures", type=click.Choice(["off", "verify"]), help="Whether request signatures are verified.")
@click.option("--egress", type=click.Choice(["auto", "internet", "none"]), help="What functions reach (auto).")
@click.option("--foreground", is_flag=True, help="Stay in the foreground, as a service manager wants it.")
@state_options
def start(foreground: bool, config: str | None, **flags: Any) -> None:
    """Start Lambent on this machine."""
    from lambent.cli.server_commands import start as run

    run(_settings(config, **flags), foreground=foreground)


@main.command()
@state_options
def stop(config: str | None, state_dir: str | None) -> None:
    """Stop it; invocations in flight may finish."""
    from lambent.cli.server_commands import stop as run

    run(_settings(config, state_dir=state_dir))


@main.command()
@state_options
@json_option
def status(config: str | None, state_dir: str | None, as_json: bool) -> None:
    """Say whether it runs and where."""
    from lambent.cli.server_commands import status as run

    sys.exit(run(_settings(config, state_dir=state_dir), as_json=as_json))


@main.command()
@state_options
@json_option
def doctor(config: str | None, state_dir: str | None, as_json: bool) -> None:
    """Probe this host, now: what it can enforce, what it cannot, and how to get what is missing."""
    from lambent.cli.doctor import doctor as run

    sys.exit(run(_settings(config, state_dir=state_dir), as_json=as_json))


@main.command()
@click.option("--user", "users", multiple=True, metavar="NAME", help="Who wants a server of his own; may be repeated.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Print exactly what would be done, and do nothing.")
@click.option("--undo", "is_undo", is_flag=True, help="Take away what setup made, and nothing else.")
@click.option(
    "--root", default="/", type=click.Path(file_okay=False, exists=True), help="Another host's root directory."
)
@state_options
def setup(config: str | None, state_dir: str | None, **options: Any) -> None:
    """Install what the host needs: units, the server's user, delegation, AppArmor's profile, ranges of ids."""
    from lambent.cli.setup import setup as run

    run(server_user=_settings(config, state_dir=state_dir).server_user, **options)


@main.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False))
@click.option("--name", help="The function's name.")
@click.option("--runtime", help="Runtime identifier, e.g. python3.13.")
@click.option("--handler", help="Handler, e.g. app.handler.")
@click.option("--memory", "memory_mib", type=int, help="Memory in MB.")
@click.option("--timeout", "timeout_s", type=int, help="Timeout in seconds.")
@click.option("--role", help="ARN of the execution role.")
@click.option(
    "--env", "variables", multiple=True, metavar="NAME=VALUE", help="An environment variable; may be repeated."
)
@api_options
@json_option
def deploy(directory: str, variables: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Zip DIRECTORY, create or update its function, and wait until it is Active."""
    from lambent.cli.function_commands import deploy as run

    client = _client(*(options.pop(name) for name in ("endpoint", "region", "config", "state_dir")))
    options["environment"] = dict(_pair(each) for each in variables)
    run(client, Path(directory), options, as_json=as_json)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CommandFailed(f"--env wants NAME=VALUE, not {text!r}")
    return name, value


@main.command()
@click.argument("name")
@click.option("--payload", "-p", default="{}", help="JSON text, @FILE, or - for standard input.")
@click.option("--log", "with_log", is_flag=True, help="Show the end of the invocation's log.")
@api_options
@json_option
def invoke(name: str, payload: str, with_log: bool, as_json: bool, **where: Any) -> None:
    """Invoke a function and print its answer."""
    from lambent.cli.function_commands import invoke as run

    sys.exit(run(_client(**where), name, _payload(payload), with_log=with_log, as_json=as_json))


def _payload(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            return Path(text[1:]).read_bytes()
        except OSError as error:
            raise CommandFailed(f"{text[1:]}: {error.strerror}") from error
    return text.encode()


@main.command()
@click.argument("name")
@click.option("--qualifier", help="A version or alias.")
@click.option("--payload", "-p", default="{}", help="JSON text, @FILE, or - for standard input.")
@click.option("--ramp", help="Clients of each step (1,2,4,8).")
@click.option("--from", "first", type=click.IntRange(1), help="Clients of the first step.")
@click.option("--to", "last", type=click.IntRange(1), help="Clients of the last step.")
@click.option("--steps", type=click.IntRange(1), help="How many steps lead from the first to the last (4).")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=5.0, help="Seconds of each step (5).")
@click.option(
    "--rate", type=click.FloatRange(0.1, 20_000), help="Calls due each second: latency counts from when each was due."
)
@click.option("--html", type=click.Path(dir_okay=False), help="Write the result as one HTML page, too.")
@api_options
@json_option
def load(name: str, payload: str, html: str | None, as_json: bool, **options: Any) -> None:
    """Ramp concurrency on a function; draw throughput, latency, cold starts, throttles and errors."""
    from lambent.cli.load_command import load as run
    from lambent.cli.load_figures import Plan, decide_ramp

    client = _client(*(options.pop(each) for each in ("endpoint", "region", "config", "state_dir")))
    ramp = decide_ramp(*(options[each] for each in ("ramp", "first", "last", "steps")))
    plan = Plan(ramp, options["seconds"], options["rate"])
    code = run(client, name, plan, _payload(payload), qualifier=options["qualifier"], html=html, as_json=as_json)
    sys.exit(code)


@main.command()
@click.argument("name")
@click.option("--follow", "-f", is_flag=True, help="Go on with new events until interrupted.")
@click.option("--since", "since_s", type=float, default=600.0, help="Begin this many seconds ago (600).")
@click.option("--filter", "pattern", default="", help="A CloudWatch Logs filter pattern.")
@api_options
@json_option
def logs(name: str, follow: bool, since_s: float, pattern: str, as_json: bool, **where: Any) -> None:
    """Print a function's log."""
    from lambent.cli.function_commands import logs as run

    try:
        run(_client(**where), name, follow=follow, since_s=since_s, pattern=pattern, as_json=as_json)
    except KeyboardInterrupt:
        sys.exit(130)


@main.command("list")
@api_options
@json_option
def list_(as_json: bool, **where: Any) -> None:
    """List the functions."""
    from lambent.cli.function_commands import list_functions as run

    run(_client(**where), as_json=as_json)


@main.command()
@click.argument("name")
@api_options
@json_option
def describe(name: str, as_json: bool, **where: Any) -> None:
    """Show a function's configuration and state."""
    from lambent.cli.function_commands import describe as run

    run(_client(**where), name, as_json=as_json)


@main.command()
@click.argument("name")
@api_options
def delete(name: str, **where: Any) -> None:
    """Delete a function."""
    from lambent.cli.function_commands import delete as run

    run(_client(**where), name)


@main.group(invoke_without_command=True)
@api_options
@json_option
@click.pass_context
def queue(ctx: click.Context, /, as_json: bool, **where: Any) -> None:
    """Show what is queued: asynchronous events, and what is owed to destinations."""
    ctx.obj = where
    if ctx.invoked_subcommand is None:
        from lambent.cli.queue_commands import list_queues as run

        run(_client(**where), as_json=as_json)


@queue.command()
@click.argument("function")
@click.option("--deliveries", "is_owed", is_flag=True, help="What is owed to destinations, instead of events.")
@click.pass_obj
def purge(where: dict[str, Any], function: str, is_owed: bool) -> None:
    """Drop all that is queued for FUNCTION."""
    from lambent.cli.queue_commands import act as run

    run(_client(**where), "purge", function, is_owed=is_owed)


@queue.command()
@click.argument("function")
@click.option("--deliveries", "is_owed", is_flag=True, help="What is owed to destinations, instead of events.")
@click.pass_obj
def redrive(where: dict[str, Any], function: str, is_owed: bool) -> None:
    """Try now what waits for its next try."""
    from lambent.cli.queue_commands import act as run

    run(_client(**where), "redrive", function, is_owed=is_owed)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL; e.g. `eval "$(lambent completion bash)"`."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        raise CommandFailed(f"no completion for {shell}")
    click.echo(found(main, {}, "lambent", "_LAMBENT_COMPLETE").source())


if __name__ == "__main__":
    main()
