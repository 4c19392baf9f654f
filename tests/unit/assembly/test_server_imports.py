"""What the server's process does not load."""

import subprocess
import sys


def test_a_server_does_not_import_rich(tmp_path):
    program = [sys.executable, "-I", "-X", "importtime", "-m", "lambent.assembly.server", str(tmp_path / "missing")]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "structlog.dev" in imported
    assert not {name for name in imported if name.startswith("rich.")}  # (the refused try is listed as "rich")
