"""Credentials of execution roles: fresh for each program, known while valid, bounded in number."""

from dataclasses import replace

import pytest

from lambent.access import role_credentials
from lambent.access.role_credentials import LIFETIME_S, RoleCredentials
from lambent.model.functions import FunctionVersion, LogSettings
from lambent.model.ids import Digest, Scope
from lambent.testing.clock import FakeClock

VERSION = FunctionVersion(
    scope=Scope("000000000000", "us-east-1"),
    name="f",
    version="$LATEST",
    generation=1,
    runtime="python3.13",
    handler="a.b",
    role="arn:aws:iam::000000000000:role/service-role/worker",
    memory_mib=128,
    timeout_s=3,
    tmp_mib=512,
    code=Digest("0" * 64),
    code_bytes=1,
    log=LogSettings(group="/aws/lambda/f"),
)


def test_an_issued_key_is_a_session_of_the_role_named_for_the_function():
    roles = RoleCredentials(FakeClock())
    key, secret, token = roles.issue(VERSION)
    found = roles.find_credential(key)
    assert found is not None
    assert (found.secret, found.session_token) == (secret, token)
    assert found.arn == "arn:aws:sts::000000000000:assumed-role/worker/f"
    assert key.startswith("ASIA")
    assert len(key) == 20


def test_two_programs_never_share_a_key():
    roles = RoleCredentials(FakeClock())
    assert len({roles.issue(VERSION)[0] for _ in range(100)}) == 100


@pytest.mark.anyio
async def test_a_key_is_unknown_after_its_lifetime():
    clock = FakeClock()
    roles = RoleCredentials(clock)
    key, _, _ = roles.issue(VERSION)
    await clock.advance_s(LIFETIME_S - 1)
    assert roles.find_credential(key) is not None
    await clock.advance_s(1)
    assert roles.find_credential(key) is None


def test_the_oldest_key_is_forgotten_at_the_bound(monkeypatch):
    monkeypatch.setattr(role_credentials, "REMEMBERED_LIMIT", 3)
    roles = RoleCredentials(FakeClock())
    keys = [roles.issue(replace(VERSION, name=f"f{number}"))[0] for number in range(4)]
    assert [roles.find_credential(key) is not None for key in keys] == [False, True, True, True]


def test_a_key_of_nobody_is_unknown():
    assert RoleCredentials(FakeClock()).find_credential("ASIAXXXXXXXXXXXXXXXX") is None
