"""Measure the invoke path beside its baselines, and print which goals hold.

python -m benchmarks [--only warm,freezing,defences,inside,queued,cold,scale,peers] [--rounds N] [--short]
                     [--json FILE]
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Row, host_facts, print_rows, write_rows
from benchmarks.cold import measure_cold
from benchmarks.defences import measure_defences
from benchmarks.freezing import measure_freezing
from benchmarks.goals import measure_peers, measure_scale, measure_warm
from benchmarks.inside import measure_inside
from benchmarks.peers import PeersMissing
from benchmarks.plan import Plan
from benchmarks.queued import measure_queued

PARTS = {
    "warm": measure_warm,
    "freezing": measure_freezing,
    "defences": measure_defences,
    "inside": measure_inside,
    "queued": measure_queued,
    "cold": measure_cold,
    "scale": measure_scale,
    "peers": measure_peers,
}
SHORT = Plan(rounds=3, calls=1000, calls_each=500, spawns=2, cold=5, functions=500, idle_s=5, peer_calls=5)


def main() -> int:
    """Measure; exit 1 if a goal is missed."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="parts to measure, with commas")
    parser.add_argument("--rounds", type=int, help="at least 3, so that a median means something")
    parser.add_argument("--short", action="store_true", help="a few minutes instead of ten; says less")
    parser.add_argument("--no-peers", action="store_true", help="leave out what has to be downloaded")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    plan = SHORT if options.short else Plan()
    plan = replace(plan, rounds=options.rounds or plan.rounds)
    rows: list[Row] = []
    print(host_facts(), flush=True)
    for name in options.only.split(","):
        if name == "peers" and options.no_peers:
            continue
        try:
            rows += (measured := PARTS[name](plan))
        except PeersMissing as error:
            print(f"SKIPPED: goal 11, the peers cannot be installed or started: {error}", file=sys.stderr, flush=True)
            continue
        print_rows(measured)
    print(host_facts(), flush=True)
    if options.json:
        write_rows(rows, options.json)
    return 0 if all(row.holds for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
