"""Credentials of execution roles: fresh for each program, known while its environment lives, and to it alone."""

from dataclasses import replace

import pytest

from lambent.access.role_credentials import DERIVED_LIMIT, RoleCredentials
from lambent.model.functions import FunctionVersion, LogSettings
from lambent.model.ids import Digest, Scope
from lambent.testing.clock import FakeClock

LIFETIME_S = 600.0
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


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def roles(clock):
    return RoleCredentials(clock, LIFETIME_S)


def test_an_issued_key_is_a_session_of_the_role_named_for_the_function(roles):
    with roles.open_session(VERSION) as session:
        key, secret, token = session.issue()
        found = roles.find_credential(key)
        assert (found.secret, found.session_token) == (secret, token)
        assert (found.arn, found.account_id) == ("arn:aws:sts::000000000000:assumed-role/worker/f", "000000000000")
        assert key.startswith("ASIA")
        assert len(key) == 20


def test_a_role_of_another_account_gives_no_right_in_it(roles):
    with roles.open_session(replace(VERSION, role="arn:aws:iam::999999999999:role/worker")) as session:
        found = roles.find_credential(session.issue()[0])
        assert (found.arn, found.account_id) == ("arn:aws:sts::000000000000:assumed-role/worker/f", "000000000000")


def test_an_environment_knows_its_own_key_alone(roles):
    with roles.open_session(VERSION) as one, roles.open_session(VERSION) as other:
        keys = one.issue()[0], other.issue()[0]
        assert [one.find_credential(key) is not None for key in keys] == [True, False]
        assert [other.find_credential(key) is not None for key in keys] == [False, True]


def test_two_programs_never_share_a_key_and_that_of_the_first_is_void(roles):
    with roles.open_session(VERSION) as session:
        keys = [session.issue()[0] for _ in range(100)]
        assert len(set(keys)) == 100
        assert [key for key in keys if session.find_credential(key)] == keys[-1:]
        assert [key for key in keys if roles.find_credential(key)] == keys[-1:]


def test_a_key_ends_with_its_environment(roles):
    with roles.open_session(VERSION) as session:
        key = session.issue()[0]
    assert (session.find_credential(key), roles.find_credential(key)) == (None, None)


@pytest.mark.anyio
async def test_a_key_is_unknown_after_its_lifetime(clock, roles):
    with roles.open_session(VERSION) as session:
        key = session.issue()[0]
        await clock.advance_s(LIFETIME_S - 1)
        assert session.find_credential(key) is not None
        await clock.advance_s(1)
        assert (session.find_credential(key), roles.find_credential(key)) == (None, None)


def test_a_key_of_nobody_is_unknown(roles):
    assert roles.find_credential("ASIAXXXXXXXXXXXXXXXX") is None


@pytest.mark.anyio
@pytest.mark.parametrize("jump_s", [10 * LIFETIME_S, -10 * LIFETIME_S])
async def test_a_jump_of_the_wall_clock_neither_ends_nor_prolongs_a_session(roles, clock, jump_s):
    with roles.open_session(VERSION) as session:
        key = session.issue()[0]
        clock.jump_s(jump_s)
        assert session.find_credential(key) is not None
        await clock.advance_s(LIFETIME_S)
        assert session.find_credential(key) is None


@pytest.mark.anyio
async def test_what_is_derived_from_an_environments_key_is_known_there_alone_and_ends_with_it(roles, clock):
    with roles.open_session(VERSION) as session, roles.open_session(VERSION) as other:
        derived = roles.derive(session.issue()[0], "000000000000", "arn:derived", 900).access_key
        again = roles.derive(derived, "000000000000", "arn:derived", 900).access_key
        for key in (derived, again):
            assert (session.find_credential(key).arn, other.find_credential(key)) == ("arn:derived", None)
            assert roles.find_credential(key) is not None
        session.issue()
        assert [session.find_credential(key) for key in (derived, again)] == [None, None]


def test_of_many_derived_keys_the_oldest_go_and_the_programs_own_stays(roles):
    with roles.open_session(VERSION) as session:
        own = session.issue()[0]
        derived = [roles.derive(own, "000000000000", "arn:derived", 900).access_key for _ in range(DERIVED_LIMIT + 5)]
        assert session.find_credential(own) is not None
        assert [session.find_credential(key) is not None for key in derived] == [False] * 5 + [True] * DERIVED_LIMIT


def test_what_is_derived_outside_is_of_no_environment_and_outlives_them(roles):
    with roles.open_session(VERSION) as session:
        key = roles.derive("AKIDOUTSIDE", "000000000000", "arn:derived", 900).access_key
        assert session.find_credential(key) is None
    assert roles.find_credential(key).expires_at is not None
