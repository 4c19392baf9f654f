"""Files of the kernel are written by os.open and one os.write: a buffered file swallows their refusals."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src/lambent").rglob("*.py"))
KERNEL = re.compile(r"^/(sys/fs/cgroup|proc/(self|sys|\{|\d)|sys/)")
ORDINARY = {"disks.py"}  # writes images of disks, and nothing of the kernel's
BUFFERED = {"write_text", "write_bytes", "fdopen"}


def buffered_writes(tree):
    """Yield the lines that write a file through Python's buffers."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in BUFFERED:
            yield node.lineno
        elif name == "open" and ast.unparse(node.func) != "os.open":
            modes = [
                each.value for each in (*node.args, *(k.value for k in node.keywords)) if isinstance(each, ast.Constant)
            ]
            if any(isinstance(mode, str) and re.fullmatch(r"[rbt]*[wax+][wax+bt]*", mode) for mode in modes):
                yield node.lineno


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if "sandbox" in p.parts and p.name not in ORDINARY], ids=lambda p: p.name
)
def test_the_sandbox_package_writes_no_file_through_buffers(path):
    assert not list(buffered_writes(ast.parse(path.read_text())))


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if "sandbox" not in p.parts], ids=lambda p: str(p.relative_to(ROOT))
)
def test_no_other_package_writes_files_of_the_kernel(path):
    tree = ast.parse(path.read_text())
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [ast.unparse(n) for n in ast.walk(function) if isinstance(n, ast.Constant | ast.JoinedStr)]
            if any(KERNEL.match(name.strip("f'\"")) for name in names):
                calls = {ast.unparse(n.func) for n in ast.walk(function) if isinstance(n, ast.Call)}
                assert not calls & {"os.write", "os.open"}, f"line {function.lineno}"
                assert not list(buffered_writes(function)), f"line {function.lineno}"


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ("Path('/sys/fs/cgroup/a').write_text('1')", True),
        ("open('/proc/self/uid_map', 'w')", True),
        ("path.open(mode='r+')", True),
        ("open(path)", False),
        ("os.open(path, os.O_WRONLY)", False),
        ("self.open('code', name)", False),
    ],
)
def test_the_rule_finds_what_it_forbids(source, is_found):
    assert bool(list(buffered_writes(ast.parse(source)))) is is_found
