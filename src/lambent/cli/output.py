"""What people see: tables and colours on a terminal only, JSON when asked, one line for an error."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON."""
    click.echo(json.dumps(value, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their columns, as wide as needed."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max([len(name), *(len(row[at]) for row in texts)]) for at, name in enumerate(columns)]
    click.secho("  ".join(name.ljust(width) for name, width in zip(columns, widths, strict=True)).rstrip(), bold=True)
    for row in texts:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def note(text: str) -> None:
    """Say something beside the result: on standard error, so that pipes get the result alone."""
    click.secho(text, err=True, dim=True)


@contextmanager
def progress(text: str) -> Iterator[Callable[[str], None]]:
    """Show that long work goes on; a spinner on a terminal, one line otherwise. Yields what changes the words."""
    if not sys.stderr.isatty():
        note(text)
        yield note
        return
    from rich.console import Console

    with Console(stderr=True).status(text) as status:
        yield status.update
