"""``lambent load``: ramps concurrency on a function and draws what it finds."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import uvloop

from lambent.cli.client import Client, CommandFailed, quote
from lambent.cli.load_driver import Invocation, Load
from lambent.cli.load_figures import Plan, StepFigures
from lambent.cli.load_page import COLUMNS, cells, page, reasons
from lambent.cli.output import note, print_json, print_table

BAR = 24
INTERRUPTED = 130


def load(
    client: Client, name: str, plan: Plan, payload: bytes, *, qualifier: str | None, html: str | None, as_json: bool
) -> int:
    """Run ``plan`` on a function and print its figures; after an interrupt what was measured, and exit code 130."""
    suffix = f"?Qualifier={quote(qualifier)}" if qualifier else ""
    function = f"/2015-03-31/functions/{quote(name)}"
    client.lambda_request("GET", f"{function}/configuration{suffix}")  # whoever is not there is told of once
    under_way = Load(plan, Invocation(client, f"{function}/invocations{suffix}", payload))
    note(f"{plan.method}; {plan.seconds:g} s a step")
    code = 0
    try:
        with _drawing(under_way) as tell:
            uvloop.run(under_way.run(tell))
    except KeyboardInterrupt:
        code = INTERRUPTED
    title = f"Load on {name}" + (f":{qualifier}" if qualifier else "")
    _report(title, plan, under_way.finished, html=html, as_json=as_json)
    return code


def _report(title: str, plan: Plan, steps: list[StepFigures], *, html: str | None, as_json: bool) -> None:
    if as_json:
        print_json({"method": plan.method, "rate_per_s": plan.rate, "steps": [step.as_json() for step in steps]})
    else:
        print_table(tuple(name.upper() for name in COLUMNS), [cells(step) for step in steps])
        for why in reasons(steps):
            click.echo(why)
    if html is not None:
        try:
            Path(html).write_text(page(title, plan, steps), encoding="utf-8")
        except OSError as error:
            raise CommandFailed(f"{html}: {error.strerror}") from error
        note(f"{html} is written")


@contextmanager
def _drawing(under_way: Load) -> Iterator[Callable[[], None]]:
    """Yield what draws the load's state: bars on a terminal, else a line for each finished step; on standard error."""
    if not sys.stderr.isatty():
        told: list[StepFigures] = []

        def tell() -> None:
            for step in under_way.finished[len(told) :]:
                told.append(step)
                note(_line(step.clients, step.throughput))

        yield tell
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield lambda: live.update(Text("\n".join(_bars(under_way))), refresh=True)


def _bars(under_way: Load) -> list[str]:
    rows = [(step.clients, step.throughput) for step in under_way.finished]
    # No percentiles of the step that goes on: sorting would disturb what is measured.
    latencies = [_latencies(step) for step in under_way.finished]
    if (current := under_way.current()) is not None:
        clients, served, elapsed_s = current
        rows.append((clients, served / elapsed_s if elapsed_s else 0.0))
        latencies.append("…")
    top = max((throughput for _, throughput in rows), default=0.0) or 1.0
    return [
        f"{_line(clients, throughput)}  {'█' * round(BAR * throughput / top):<{BAR}}  {beside}"
        for (clients, throughput), beside in zip(rows, latencies, strict=True)
    ]


def _line(clients: int, throughput: float) -> str:
    return f"{clients:>4} clients {throughput:>9.1f} calls/s"


def _latencies(step: StepFigures) -> str:
    names = zip(COLUMNS[2:], cells(step)[2:], strict=True)
    return "  ".join(f"{name} {value}" for name, value in names)
