"""What functions reach: what the operator asked for, as far as the host can give it."""

import pytest
import structlog

from lambent.assembly.processes import egress_arguments
from lambent.assembly.server import choose_egress
from lambent.config import Settings, SettingsError, load_settings
from lambent.model.errors import Refused
from lambent.sandbox.driver import Refusal

NO_NFT = Refusal("egress", "nftables is not installed", "apt-get install nftables")


class Driver:
    """Refuses what it was made with."""

    def __init__(self, *refusals):
        self.refusals = refusals

    def unsupported(self, spec):
        assert spec.egress == "internet"
        return self.refusals


def test_what_functions_reach_is_what_was_asked_for_or_a_refusal_or_a_warning():
    memory = Refusal("memory_mib", "no cgroup", "")
    assert choose_egress(Settings(egress="auto"), Driver(memory)) == "internet"
    assert choose_egress(Settings(egress="internet"), Driver()) == "internet"
    assert choose_egress(Settings(egress="none"), Driver()) == "none"
    with pytest.raises(Refused, match=r"nftables is not installed.*apt-get install nftables"):
        choose_egress(Settings(egress="internet"), Driver(NO_NFT))
    with structlog.testing.capture_logs() as logs:
        assert choose_egress(Settings(egress="auto"), Driver(NO_NFT)) == "none"
    assert [(each["log_level"], each["reason"], each["remedy"]) for each in logs] == [
        ("warning", NO_NFT.reason, NO_NFT.remedy)
    ]


def test_a_driver_without_classes_gets_none_and_its_own_warning():
    assert choose_egress(Settings(driver="process"), Driver()) == "none"
    assert egress_arguments(Settings(driver="process")) == []


def test_the_launcher_is_told_what_sandboxes_may_reach():
    assert egress_arguments(Settings(egress="none")) == []
    assert egress_arguments(Settings(egress_allow=("10.1.0.0/16",), egress_mbit_per_s=50)) == [
        *("--egress", "internet", "--egress-mbit-per-s", "50", "--egress-allow", "10.1.0.0/16")
    ]


def test_an_exception_that_is_no_network_is_refused_by_name():
    with pytest.raises(SettingsError, match=r"egress_allow: .*10\.1\.0\.1/16"):
        load_settings({"egress_allow": ("10.1.0.1/16",)})
    with pytest.raises(SettingsError, match="egress"):
        load_settings({"egress": "everything"})
