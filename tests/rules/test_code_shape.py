"""The handbook's limits, read from the syntax trees of everything that ships."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src/lambent").rglob("*.py"))
FUNCTION_LINES_LIMIT = 60
FILE_LINES_LIMIT = 600
# Processes of their own, without a loop or an injected clock: their edge is their argument list and environment.
OWN_PROCESSES = ("sandbox/launcher/", "sandbox/supervisor.py", "neighbours/companion_process.py")
FORBIDDEN_NAMES = re.compile(r"^(manager|helper|util|utils|misc|common|base|data|info|item)s?$")


def ids(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def is_own(path: Path) -> bool:
    return str(path.relative_to(ROOT / "src/lambent")).startswith(OWN_PROCESSES)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=ids(SOURCES))
def test_file_keeps_the_limits_of_length(path):
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES_LIMIT
    too_long = {
        node.name: body_lines(node) for node in functions(ast.parse(text)) if body_lines(node) > FUNCTION_LINES_LIMIT
    }
    assert not too_long


@pytest.mark.parametrize("path", SOURCES, ids=ids(SOURCES))
def test_every_module_and_public_name_says_what_it_guarantees(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not tree.body, "the module has no docstring"
    missing = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            if not ast.get_docstring(node):
                missing.append(node.name)
            if isinstance(node, ast.ClassDef):
                missing += [
                    f"{node.name}.{each.name}"
                    for each in node.body
                    if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                    and not each.name.startswith("_")
                    and not ast.get_docstring(each)
                    and not overrides(each)
                ]
    assert not missing


def overrides(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = [each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in node.decorator_list]
    return bool({"override", "setter"} & set(names))


@pytest.mark.parametrize("path", [p for p in SOURCES if p.name == "__init__.py"], ids=str)
def test_a_package_file_holds_a_docstring_only(path):
    assert len(ast.parse(path.read_text()).body) <= 1


@pytest.mark.parametrize("path", SOURCES, ids=ids(SOURCES))
def test_no_file_is_named_for_nothing(path):
    assert not FORBIDDEN_NAMES.match(path.stem)


@pytest.mark.parametrize("path", SOURCES, ids=ids(SOURCES))
def test_settings_and_environment_are_read_at_the_edge_only(path):
    if path.relative_to(ROOT / "src/lambent").parts[0] in ("cli", "config.py", "assembly", "testing") or is_own(path):
        return
    text = path.read_text()
    found = [
        line for line in text.splitlines() if re.search(r"os\.(environ|getenv)\b", line) and "# environ:" not in line
    ]
    assert not found, f"reads the process environment; say why with a comment `# environ: …`: {found}"


@pytest.mark.parametrize("path", SOURCES, ids=ids(SOURCES))
def test_no_clock_is_read_but_the_injected_one(path):
    if path.relative_to(ROOT / "src/lambent").parts[0] in ("cli", "assembly", "testing") or is_own(path):
        return
    tree = ast.parse(path.read_text())
    forbidden = {"time.time", "time.sleep", "datetime.now", "datetime.utcnow", "asyncio.sleep"}
    lines = path.read_text().splitlines()
    calls = [
        f"{node.lineno}: {ast.unparse(node.func)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in forbidden
        and ast.unparse(node) != "asyncio.sleep(0)"
        and "# clock:" not in lines[node.lineno - 1]
    ]
    assert not calls, f"say why with a comment `# clock: …`: {calls}"


@pytest.mark.parametrize("path", SOURCES, ids=ids(SOURCES))
def test_no_task_is_started_without_an_owner(path):
    tree = ast.parse(path.read_text())
    dropped = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func).endswith((".ensure_future", "asyncio.create_task"))
    ]
    assert not dropped
