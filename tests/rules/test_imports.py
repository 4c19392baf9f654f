"""The import contracts are no decoration: an import that each of them forbids breaks it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = Path(sys.executable).parent / "lint-imports"
PLANTED = {
    "the house as drawn": ("model", "lambent.http.limits"),
    "control and deploy never import": ("control", "lambent.environment.placement"),
    "the data plane never imports": ("invoke", "lambent.wire.message"),
    "only cli and assembly read": ("frontend", "lambent.config"),
    "no package imports testing": ("observe", "lambent.testing.clock"),
}


def lint(folder):
    environ = {**os.environ, "PYTHONPATH": str(folder / "src"), "COLUMNS": "200"}
    command = [str(LINTER), "--no-cache", "--config", str(folder / "pyproject.toml")]
    return subprocess.run(command, cwd=folder / "src", env=environ, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not LINTER.exists(), reason="import-linter is not beside this interpreter")
def test_a_planted_import_breaks_each_contract(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.mjs", "*.json"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package, imported in PLANTED.values():
        (tmp_path / f"src/lambent/{package}/planted.py").write_text(f"import {imported}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    for contract, (package, imported) in PLANTED.items():
        assert re.search(rf"{contract}[^\n]* BROKEN", done.stdout), (contract, done.stdout)
        assert f"lambent.{package}.planted -> {imported}" in done.stdout
