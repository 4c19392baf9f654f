"""What `lambent doctor` says of prepared sandboxes."""

import pytest

from lambent.cli.doctor import cell_findings
from lambent.config import Settings


@pytest.mark.parametrize(
    ("settings", "ok", "words"),
    [
        pytest.param({"memory_budget_mib": 65_536}, True, "up to 16", id="as-many-as-are-set"),
        pytest.param({"memory_budget_mib": 4096}, True, "up to 4", id="an-eighth-of-the-budget"),
        pytest.param({"memory_budget_mib": 512}, False, "every environment is spawned", id="too-small-a-host"),
        pytest.param({"max_cells": 0, "memory_budget_mib": 4096}, False, "every environment", id="turned-off"),
        pytest.param({"driver": "process", "memory_budget_mib": 4096}, False, "every environment", id="no-isolation"),
    ],
)
def test_doctor_says_how_many_sandboxes_may_be_prepared(settings, ok, words):
    (found,) = cell_findings(Settings(**settings))
    assert found.ok is ok
    assert words in found.detail
    assert not found.is_required
