"""What start refuses before it starts anything."""

import os
import socket
import subprocess
import sys

import pytest

from lambent.cli.client import CommandFailed
from lambent.cli.server_commands import require_free_port, require_readable_program, running_pid, write_pid


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


def test_a_dead_process_that_nobody_takes_in_is_not_running(tmp_path):
    with subprocess.Popen(["/bin/sh", "-c", "read word"], stdin=subprocess.PIPE) as process:
        write_pid(tmp_path, process.pid)
        assert running_pid(tmp_path) == process.pid
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts a server as another user")
def test_root_is_told_when_the_servers_user_cannot_read_the_program(tmp_path, monkeypatch):
    nobody = (65534, 65534)
    program = tmp_path / "closed" / "python3"
    program.parent.mkdir(mode=0o700)
    program.symlink_to("/usr/bin/python3")
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(CommandFailed, match=f"runs as the user nobody, who cannot read {program}.*below /opt"):
        require_readable_program("nobody", nobody)
    require_readable_program("nobody", None)  # an ordinary user runs the server himself
