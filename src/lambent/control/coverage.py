"""The table of what is built, as a document: ``python -m lambent.control.coverage`` prints docs/coverage.md."""

import sys
from collections.abc import Iterable
from typing import Final

import botocore.session

from lambent.control.built import covered_operations, find_coverage

_BUILT_ELSEWHERE: Final = ("Invoke", "InvokeAsync")  # their members are the business of those who run them
_HEAD: Final = """# What the Lambda API takes

Written by `python -m lambent.control.coverage`; a test compares. A member *at AWS's default only* is accepted as AWS
assumes it when left out; any other value gets `<member> is not supported yet`.
"""


def render_coverage() -> str:
    """Return docs/coverage.md for the service model that is installed."""
    model = botocore.session.get_session().get_service_model("lambda")
    parts = [_HEAD, *(_render_operation(operation) for operation in covered_operations())]
    return "\n".join([*parts, _render_missing(model.operation_names)])


def _render_operation(operation: str) -> str:
    coverage = find_coverage(operation)
    lines = [f"## {operation}", ""]
    if not coverage.built:
        return "\n".join([*lines, "It has no members.", ""])
    lines += ["| member | |", "| --- | --- |"]
    for name in coverage.built:
        note = coverage.notes.get(name)
        lines.append(f"| {name} | built{f': {note}' if note else ''} |")
    for name, default in coverage.at_default.items():
        lines.append(f"| {name} | at AWS's default only: {_render_default(default)} |")
    return "\n".join([*lines, ""])


def _render_missing(operations: Iterable[str]) -> str:
    missing = sorted({*operations} - {*covered_operations(), *_BUILT_ELSEWHERE})
    head = f"## Operations that are not built: {len(missing)}\n\nThey answer 501 with their name.\n"
    return "\n".join([head, *(f"- {name}" for name in missing), ""])


def _render_default(default: object) -> str:
    if default is None:
        return "absent, empty or false"
    if isinstance(default, dict):
        return ", ".join(f"{name} `{value}`" for name, value in default.items())
    return f"`{default}`"


if __name__ == "__main__":
    sys.stdout.write(render_coverage())
