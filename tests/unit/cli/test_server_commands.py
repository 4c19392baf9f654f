"""What start refuses before it starts anything."""

import os
import socket
import subprocess
import sys

import pytest

from lambent.cli.client import CommandFailed
from lambent.cli.server_commands import require_free_port, running_pid, write_pid


def test_a_taken_port_is_named_with_its_holder():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CommandFailed, match=f"127.0.0.1:{port}.*process {os.getpid()}"):
            require_free_port("127.0.0.1", port)


def test_a_reused_process_id_is_not_taken_for_ours(tmp_path):
    write_pid(tmp_path, os.getpid())
    assert running_pid(tmp_path) == os.getpid()
    (tmp_path / "lambent.pid").write_text(f"{os.getpid()} 1\n")
    assert running_pid(tmp_path) is None


@pytest.mark.parametrize("text", ["", "12\n", "x y\n", "1 2 3\n"])
def test_a_damaged_pid_file_means_not_running(tmp_path, text):
    (tmp_path / "lambent.pid").write_text(text)
    assert running_pid(tmp_path) is None


def test_a_failure_is_one_line_and_its_exit_code(tmp_path):
    command = [sys.executable, "-m", "lambent.cli.main", "stop", "--state-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [f"lambent: not running (state {tmp_path})"]


def test_help_imports_nothing_heavy():
    heavy = ("botocore", "uvloop", "rich", "cryptography")
    code = f"import sys, lambent.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
