"""The driver that isolates nothing: what it leaves open is open, and said at the start, setting by setting."""

import json
import tempfile
from pathlib import Path

import pytest

from lambent.sandbox.process import NOT_GIVEN

from .conftest import KINDS


@pytest.fixture(scope="module")
def bare(servers):
    return servers(KINDS[0], driver="process")


def test_a_function_reads_a_file_of_the_host_and_is_not_stopped(bare):
    with tempfile.TemporaryDirectory(prefix="lambent-test-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        Path(folder, "secret").write_text("of the host")
        answer = bare.attack("result = attempt(lambda: read(event['secret']))", secret=f"{folder}/secret")
        assert answer.payload == "of the host"


def test_what_it_does_not_give_is_said_at_the_start(bare):
    lines = (bare.server.run_dir / "lambent.log").read_text().splitlines()
    said = [json.loads(line) for line in lines if line.startswith("{")]
    assert [line["driver"] for line in said if line["event"] == "driver_isolates_nothing"] == ["process"]
    told = {line["setting"]: line["reason"] for line in said if line["event"] == "setting_not_enforced"}
    assert told == dict(NOT_GIVEN)


def test_a_crash_of_a_function_is_its_own(bare):
    assert "exit" in str(bare.attack("os._exit(7)").payload)
    bare.assert_neighbour_is_fine()
