"""Run the suites of ``suites.toml``, each within its budget, and print one closing line with the counts of all."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
NO_TESTS = 5  # pytest's exit code when it collected none


@dataclass(frozen=True, slots=True)
class Outcome:
    """Counts of one suite. A suite that broke its budget or did not start counts as one failure more."""

    passed: int
    failed: int
    skipped: int


def run_pytest(paths: list[str], budget_s: float, workers: int, extra: list[str]) -> Outcome:
    """Run pytest over ``paths``; its own output goes straight through."""
    with tempfile.TemporaryDirectory(prefix="lambent-suite-") as folder:
        report = Path(folder) / "report.xml"
        parallel = ["-n", str(workers)] if workers > 1 else ["-p", "no:xdist"]
        command = [sys.executable, "-m", "pytest", "-q", *parallel, f"--junitxml={report}", *paths, *extra]
        try:
            code = subprocess.run(command, cwd=HERE.parent, timeout=budget_s, check=False).returncode
        except subprocess.TimeoutExpired:
            print(f"over its budget of {budget_s:.0f} s: {' '.join(paths)}", flush=True)
            return Outcome(0, 1, 0)
        return read_report(report, code)


def read_report(report: Path, code: int) -> Outcome:
    """Return the counts of a JUnit report; an exit code that the counts do not explain is a failure."""
    if not report.exists():
        return Outcome(0, 1, 0)
    total = failed = skipped = 0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    if code not in (0, NO_TESTS) and not failed:
        failed = 1
    return Outcome(max(0, total - failed - skipped), failed, skipped)


def main() -> int:
    """Run all suites, or only what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soak", action="store_true", help="run only the long tests, whole")
    options, extra = parser.parse_known_args()
    suites = tomllib.loads((HERE / "suites.toml").read_text())
    for name in sorted(path.name for path in HERE.iterdir() if path.is_dir() and not path.name.startswith("_")):
        if name not in suites and list((HERE / name).rglob("test_*.py")):
            print(f"tests/{name} has no budget in suites.toml", flush=True)
            return 1
    if options.soak:
        os.environ["LAMBENT_ROUNDS"] = "full"
        suites = {name: {**suite, "budget_s": suite["soak_s"]} for name, suite in suites.items() if "soak_s" in suite}
        extra.append("-mrounds")
    outcomes: list[Outcome] = []
    if any(not each.startswith("-") for each in extra):
        outcomes.append(run_pytest([], 3600, 1, extra))
    else:
        for name, suite in suites.items():
            if not list((HERE / name).rglob("test_*.py")):
                continue
            print(f"== {name} (budget {suite['budget_s']} s)", flush=True)
            before = time.monotonic()
            outcomes.append(run_pytest([f"tests/{name}"], suite["budget_s"], suite["workers"], extra))
            print(f"== {name}: {outcomes[-1]} in {time.monotonic() - before:.0f} s", flush=True)
    passed, failed, skipped = (sum(getattr(each, key) for each in outcomes) for key in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    raise SystemExit(main())
