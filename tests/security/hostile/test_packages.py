"""Packages and variables that want to run outside of the sandbox, or write beside it."""

import io
import os
import stat
import zipfile

import botocore.exceptions
import pytest

from .conftest import KINDS, SERVER_DEFENCES_OFF
from .live import create, invoke, packed

FINE = "def handler(event, context):\n    return 'fine'\n"
NAMES = (
    "os",
    "json",
    "sitecustomize",
    "usercustomize",
    "encodings",
    "socket",
    "signal",
    "lambent",
    "ctypes",
    "bootstrap",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_module_runs_in_the_sandbox_or_not_at_all(name, each_live):
    marker = f"/tmp/lambent-test-planted-{name}-{os.getpid()}"
    planted = f"open({marker!r}, 'w').close()\n"
    function = create(each_live.functions, packed({"app.py": FINE, f"{name}.py": planted}))
    invoke(each_live.functions, function)
    assert not os.path.exists(marker)


VARIABLES = {
    "LD_PRELOAD": "/tmp/planted.so",
    "LD_LIBRARY_PATH": "/tmp",
    "PYTHONSTARTUP": "/var/task/planted.py",
    "PYTHONPATH": "/var/task",
    "PYTHONHOME": "/nowhere",
    "BASH_ENV": "/var/task/planted.sh",
    "GCONV_PATH": "/var/task",
    "PATH": "/var/task",
    "MALLOC_CHECK_": "3",
}


@pytest.mark.parametrize("name", VARIABLES)
def test_a_hostile_variable_reaches_only_the_function(name, each_live):
    marker = f"/tmp/lambent-test-variable-{name}-{os.getpid()}"
    files = {"app.py": FINE, "planted.py": f"open({marker!r}, 'w')\n", "planted.sh": f": > {marker}\n"}
    function = create(each_live.functions, packed(files), Environment={"Variables": {name: VARIABLES[name]}})
    invoke(each_live.functions, function)
    assert not os.path.exists(marker)


LINK, DEVICE = stat.S_IFLNK | 0o777, stat.S_IFBLK | 0o666


def linked(target):
    return packed({"app.py": FINE, "way": target, "way/planted": "x"}, modes={"way": LINK})


def bomb():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app.py", FINE)
        with archive.open("zeros", "w") as file:
            for _ in range(300):
                file.write(bytes(1 << 20))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "package",
    [
        packed({"app.py": FINE, "../../../planted": "x"}),
        packed({"app.py": FINE, "/etc/planted": "x"}),
        packed({"app.py": FINE, "a/../../../planted": "x"}),
        packed({"app.py": FINE, "disk": ""}, modes={"disk": DEVICE}),
        linked("/var/tmp"),
        linked("../../.."),
        packed({"app.py": FINE})[:-10],
        b"PK\x05\x06" + b"\xff" * 18,
        bomb(),
    ],
    ids=["up", "absolute", "down_and_up", "device", "through_a_link", "through_a_link_up", "cut", "lying_end", "bomb"],
)
def test_a_package_is_refused_or_stays_inside(package, each_live, tmp_path):
    before = set(os.listdir("/etc")), set(os.listdir("/var/tmp")), set(os.listdir(each_live.server.state_dir))
    try:
        function = create(each_live.functions, package)
    except botocore.exceptions.ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400  # noqa: PT017
    except botocore.exceptions.WaiterError:
        pass
    else:
        assert invoke(each_live.functions, function).payload == "fine"
    for seen, place in zip(before, ("/etc", "/var/tmp", each_live.server.state_dir), strict=True):
        assert "planted" not in set(os.listdir(place)) - seen


def test_a_link_in_a_package_shows_nothing_of_the_host(each_live):
    code = "def handler(event, context):\n    return open('/var/task/way').read()\n"
    package = packed(
        {"app.py": code, "way": str(each_live.server.state_dir / "run/settings.json")}, modes={"way": LINK}
    )
    try:
        function = create(each_live.functions, package)
    except botocore.exceptions.ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400  # noqa: PT017
    else:
        assert invoke(each_live.functions, function).error


def test_a_set_user_id_file_of_a_package_is_none_in_the_sandbox(each_live):
    code = "import os\ndef handler(event, context):\n    return os.stat('/var/task/tool').st_mode & 0o6000\n"
    function = create(each_live.functions, packed({"app.py": code, "tool": "x"}, modes={"tool": stat.S_IFREG | 0o6755}))
    assert invoke(each_live.functions, function).payload == 0


def test_without_the_check_of_names_a_package_writes_beside_its_tree(servers):
    unchecked = servers(KINDS[0], *SERVER_DEFENCES_OFF)
    create(unchecked.functions, packed({"app.py": FINE, "../planted": "x"}))
    assert (unchecked.server.state_dir / "code/planted").read_text() == "x"
