"""Commands on what is queued: how much and how old, what it waits for; drop it, or have it tried now."""

from urllib.parse import urlencode

import click

from lambent.cli.client import Client
from lambent.cli.output import print_json, print_table


def list_queues(client: Client, *, as_json: bool) -> None:
    """Print a row for each queue that holds anything."""
    rows = client.own_request("GET", "/_lambent/queues")["queues"]
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("nothing is queued")
        return
    print_table(
        ("function", "what", "waiting", "in hand", "later", "oldest", "waits for"),
        [
            (
                row["function"], row["kind"], str(row["visible"]), str(row["in_flight"]), str(row["delayed"]),
                f"{row['oldest_age_s']:.0f} s", row["waits_for"] or "",
            )
            for row in rows
        ],
    )  # fmt: skip


def act(client: Client, action: str, function: str, *, is_owed: bool) -> None:
    """Purge or redrive a function's events, or what is owed to its destinations."""
    query = urlencode({"function": function, "kind": "deliveries" if is_owed else "events"})
    answer = client.own_request("POST", f"/_lambent/queues/{action}?{query}")
    count = next(iter(answer.values()))
    click.echo(f"{count} {'dropped' if action == 'purge' else 'to be tried now'}")
