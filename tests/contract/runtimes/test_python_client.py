"""AWS's runtime client for Python in the trees that we build, on every version this host has."""

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lambent.artifacts.bytecode import compile_tree
from lambent.artifacts.unpack import Stop

from .conftest import CACHE

EVERY = pytest.mark.parametrize("runtime", [f"python3.{minor}" for minor in range(8, 16)])
SOME = pytest.mark.parametrize("runtime", ["python3.8", "python3.11", "python3.13"])


@EVERY
def test_an_event_comes_back(runtime, start):
    function = start(runtime, {"app.py": "def handler(event, context):\n    return event\n"}, "app.handler")
    for event in ({"a": "ä"}, [1], None, 7):
        answer = function.invoke(event)
        assert (answer.kind, answer.json) == ("response", event)
    assert function.api.answers.empty()


@EVERY
def test_only_the_exact_version_serves(runtime, start):
    code = "import sys\ndef handler(event, context):\n    return '%d.%d' % sys.version_info[:2]\n"
    assert start(runtime, {"app.py": code}, "app.handler").invoke().json == runtime.removeprefix("python")


WORLD = """
import os, sys, importlib.util
def handler(event, context):
    found = {name: bool(importlib.util.find_spec(name)) for name in ("boto3", "awslambdaric", "yaml", "pip", "click")}
    return {"path": sys.path, "found": found, "prefix": sys.prefix, "variables": dict(os.environ), "argv": sys.argv,
            "stray": [each for each in os.listdir(os.environ["LAMBDA_RUNTIME_DIR"]) if each.endswith(".pth")]}
"""


@SOME
def test_modules_are_searched_in_the_order_of_aws(runtime, start, prepare):
    function = start(runtime, {"app.py": WORLD}, "app.handler")
    world = function.invoke().json
    prepared = prepare(runtime)
    runtime_dir = str(CACHE / "runtimes" / prepared.runtime_tree)
    layers = [f"/opt/python/lib/{runtime}/site-packages", "/opt/python"]
    assert world["path"][1:4] == [*layers, runtime_dir]
    assert world["path"][0].endswith("/task")
    assert world["path"].count(runtime_dir) == 1
    assert world["prefix"] == str(CACHE / "interpreters" / prepared.interpreter_tree)
    assert world["variables"]["PYTHONPATH"] == runtime_dir
    # Recorded from AWS: on Amazon Linux 2023, from Python 3.12 on.
    assert world["variables"].get("LC_CTYPE") == ("C.UTF-8" if runtime == "python3.13" else None)
    assert world["stray"] == []


@SOME
def test_nothing_that_the_host_installed_is_there(runtime, start):
    found = start(runtime, {"app.py": WORLD}, "app.handler").invoke().json["found"]
    assert found == {"boto3": True, "awslambdaric": True, "yaml": False, "pip": False, "click": False}


def test_a_package_of_the_function_wins_over_the_runtimes_own(start):
    files = {
        "boto3/__init__.py": "mine = True",
        "awslambdaric/__init__.py": "raise RuntimeError",
        "app.py": "import boto3\ndef handler(event, context):\n    return boto3.mine\n",
    }
    assert start("python3.11", files, "app.handler").invoke().json is True


@SOME
def test_boto3_makes_a_client(runtime, start):
    code = "import boto3\ndef handler(event, context):\n    return boto3.client('s3', 'us-east-1').meta.region_name\n"
    assert start(runtime, {"app.py": code}, "app.handler").invoke().json == "us-east-1"


@SOME
def test_an_exception_has_the_shape_of_aws(runtime, start):
    function = start(runtime, {"app.py": "def handler(event, context):\n    raise ValueError('no')\n"}, "app.handler")
    answer = function.invoke()
    assert (answer.kind, answer.json["errorType"], answer.json["errorMessage"]) == ("error", "ValueError", "no")
    (frame,) = answer.json["stackTrace"]
    assert re.fullmatch(r'  File ".*/task/app.py", line 2, in handler\n    raise ValueError\(\'no\'\)\n', frame)


@SOME
@pytest.mark.parametrize(
    ("files", "handler", "error_type"),
    [
        ({"app.py": "import absent"}, "app.handler", "Runtime.ImportModuleError"),
        ({"app.py": ""}, "app.handler", "Runtime.HandlerNotFound"),
        ({"app.py": "def"}, "app.handler", "Runtime.UserCodeSyntaxError"),
        ({"app.py": ""}, "handler", "Runtime.MalformedHandlerName"),
        ({"app.py": "raise KeyError('k')"}, "app.handler", "KeyError"),
    ],
)
def test_a_function_that_does_not_load_is_an_init_error(runtime, files, handler, error_type, start):
    function = start(runtime, files, handler)
    assert function.wait() == 1
    answer = function.api.answers.get_nowait()
    assert (answer.kind, answer.json["errorType"]) == ("init-error", error_type)


def test_log_records_are_framed(start):
    code = "import logging\ndef handler(event, context):\n    logging.warning('two\\nlines')\n"
    function = start("python3.13", {"app.py": code}, "app.handler", framed=True)
    request_id = function.invoke().request_id
    function.finish()
    ((kind, text),) = function.messages
    assert kind & 0xFFFFFF00 == 0xA55A0000
    assert re.fullmatch(rf"\[WARNING\]\t[0-9T:.Z-]+\t{request_id}\ttwo\nlines\n", text)


@EVERY
def test_prepared_bytecode_is_used_and_leaves_no_trace(runtime, start, prepare, tmp_path):
    code = """
import os, sys, json.tool
from pkg import part
def handler(event, context):
    return {"prefix": sys.pycache_prefix, "variable": os.environ.get("PYTHONPYCACHEPREFIX"), "part": part.WHO,
            "json": json.__cached__, "cached": part.__spec__.cached, "file": part.__file__}
"""
    files = {"app.py": code, "pkg/__init__.py": "", "pkg/part.py": "WHO = 'as compiled'\n"}
    task, out = tmp_path / "task", tmp_path / "pyc"
    for name, text in files.items():
        (task / name).parent.mkdir(parents=True, exist_ok=True)
        (task / name).write_text(text)
    assert compile_tree(task, out, prepare(runtime).python, Stop()) == 3
    # A source that changed behind the bytecode's back: only an import that trusts the bytecode says the old text.
    files["pkg/part.py"] = "WHO = 'from source'\n"
    told = start(runtime, files, "app.handler", {"PYTHONPYCACHEPREFIX": str(out)}).invoke().json
    assert told["part"] == "as compiled"
    assert (told["prefix"], told["variable"]) == (None, None)
    assert Path(told["json"]).parent.name == "__pycache__"
    assert told["file"] == str(task / "pkg/part.py")
    assert sorted(str(path.relative_to(task)) for path in task.rglob("*.*")) == sorted(files)


def test_a_prefix_that_the_function_sets_is_left_alone(start, tmp_path):
    code = "import sys\ndef handler(event, context):\n    return sys.pycache_prefix\n"
    function = start("python3.11", {"app.py": code}, "app.handler", {"PYTHONPYCACHEPREFIX": str(tmp_path)})
    assert function.invoke().json == str(tmp_path)


@EVERY
def test_every_module_of_the_runtime_is_compiled(runtime, prepare):
    prepared = prepare(runtime)
    tree = CACHE / "runtimes" / prepared.runtime_tree
    for name in ("bootstrap", "awslambdaric/bootstrap", "botocore/session"):
        source = tree / f"{name}.py"
        assert (source.parent / "__pycache__" / f"{source.stem}.{prepared.python.cache_tag}.pyc").exists()


@EVERY
def test_trees_are_readable_by_all_and_writable_by_nobody_else(runtime, prepare):
    prepared = prepare(runtime)
    trees = [CACHE / "runtimes" / prepared.runtime_tree, CACHE / "interpreters" / prepared.interpreter_tree]
    for tree in trees:
        for folder, _, names in os.walk(tree):
            modes = [os.lstat(os.path.join(folder, name)).st_mode for name in [".", *names]]
            assert all(mode & 0o022 == 0 and mode & 0o004 for mode in modes if not stat.S_ISLNK(mode))


def test_an_interpreter_of_the_system_is_linked_and_another_copied(prepare):
    for runtime in ("python3.11", "python3.12"):
        prepared = prepare(runtime)
        program = CACHE / "interpreters" / prepared.interpreter_tree / "bin" / runtime
        assert str(program.resolve()).startswith("/usr/") == program.is_symlink()


def test_the_interpreter_of_a_tree_runs_without_the_place_it_came_from(prepare):
    prepared = prepare("python3.12")
    tree = CACHE / "interpreters" / prepared.interpreter_tree
    script = "import sys, json; print(json.dumps([sys.path, sys.prefix]))"
    done = subprocess.run(
        [tree / "bin" / "python3.12", "-I", "-c", script],
        env={"LD_LIBRARY_PATH": str(tree / "lib")}, capture_output=True, check=True, text=True,
    )  # fmt: skip
    path, prefix = json.loads(done.stdout)
    assert prefix == str(tree)
    assert all(each.startswith((str(tree), "/usr/lib")) for each in path)
    assert f"{tree}/lib/python3.12/site-packages" in path
    assert os.listdir(tree / "lib/python3.12/site-packages") == []


def test_concurrent_callers_get_one_runtime(provider):
    async def prepare_twice():
        return await asyncio.gather(provider.prepare("python3.11"), provider.prepare("python3.11"))

    first, second = asyncio.run(prepare_twice())
    assert first is second


def test_this_interpreter_is_found(provider):
    found = asyncio.run(provider.find_interpreters())
    assert f"python{sys.version_info[0]}.{sys.version_info[1]}" in {each.name for each in found}
