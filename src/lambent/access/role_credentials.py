"""Temporary credentials of roles: what a function finds in its environment, and what STS derives from others."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

from lambent.access.credentials import Credential
from lambent.model.clock import Clock
from lambent.model.functions import FunctionVersion

# Assumed: whoever assumes so many roles needs the first no more. They bound what a caller in a loop makes us remember.
DERIVED_LIMIT: Final = 100  # in one environment
DERIVED_LIMIT_OUTSIDE: Final = 10_000
TOLD_S: Final = 3600.0  # so long after its end the holder of a derived one hears that it expired
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class RoleCredentials:
    """Issues credentials and knows whose they are while they are valid. In memory: they die with us."""

    def __init__(self, clock: Clock, lifetime_s: float) -> None:
        self._clock, self._lifetime_s = clock, lifetime_s
        self._rings: dict[str, KeyRing] = {}  # by access key
        self._outside = KeyRing(self._rings, clock, DERIVED_LIMIT_OUTSIDE)

    @contextmanager
    def open_session(self, version: FunctionVersion) -> Iterator["RoleSession"]:
        """Yield what issues credentials of the role of ``version`` to one environment; they end with the block."""
        ring = KeyRing(self._rings, self._clock, DERIVED_LIMIT)
        try:
            yield RoleSession(ring, version, self._lifetime_s)
        finally:
            ring.clear()

    def find_credential(self, access_key: str) -> Credential | None:
        """Return the credential of ``access_key`` if it was issued here and is valid still."""
        ring = self._rings.get(access_key)
        return None if ring is None else ring.find_credential(access_key)

    def derive(self, access_key: str, account_id: str, arn: str, duration_s: int) -> Credential:
        """Return a fresh credential for ``arn``, derived by the holder of ``access_key``.

        It lasts for ``duration_s``; derived from an environment's key, it is good where that one is, and no longer.
        """
        expires_at = self._clock.now() + timedelta(seconds=duration_s)
        credential = fresh_credential(account_id, arn, expires_at)
        self._rings.get(access_key, self._outside).hold(credential, duration_s + TOLD_S)
        return credential


class KeyRing:
    """Credentials that end together. ``rings`` is told of each; of more than ``limit`` derived ones the oldest go."""

    def __init__(self, rings: "dict[str, KeyRing]", clock: Clock, limit: int) -> None:
        self._rings, self._clock, self._limit = rings, clock, limit
        self._held: dict[str, tuple[Credential, float]] = {}  # and until when; a wall clock may jump

    def hold(self, credential: Credential, lifetime_s: float) -> None:
        """Know ``credential`` for ``lifetime_s``."""
        if len(self._held) > self._limit:
            self._drop(next(key for key, (held, _) in self._held.items() if held.expires_at is not None))
        self._held[credential.access_key] = (credential, self._clock.mono_s() + lifetime_s)
        self._rings[credential.access_key] = self

    def find_credential(self, access_key: str) -> Credential | None:
        """Return the credential of ``access_key`` if it is one of these and is valid still."""
        credential, ends_mono_s = self._held.get(access_key, (None, 0.0))
        return credential if self._clock.mono_s() < ends_mono_s else None

    def clear(self) -> None:
        """Make all of them void."""
        for key in tuple(self._held):
            self._drop(key)

    def _drop(self, access_key: str) -> None:
        del self._held[access_key], self._rings[access_key]


class RoleSession:
    """The credentials of one environment: that of the program that runs in it, and what it derived from it."""

    def __init__(self, ring: KeyRing, version: FunctionVersion, lifetime_s: float) -> None:
        self._ring, self._lifetime_s = ring, lifetime_s
        # Always the function's own account: on AWS a role of another one cannot be passed to a function.
        self._account_id, role = version.scope.account_id, version.role.rsplit("/", 1)[-1]
        # STS API reference, AssumeRole: the session is named; Lambda names it for the function.
        self._arn = session_arn(version.scope.partition, self._account_id, role, version.name)

    def issue(self) -> tuple[str, str, str]:
        """Return key, secret and session token for a program that starts; those of the one before are void."""
        self._ring.clear()
        credential = fresh_credential(self._account_id, self._arn)
        self._ring.hold(credential, self._lifetime_s)
        return credential.access_key, credential.secret, credential.session_token or ""

    def find_credential(self, access_key: str) -> Credential | None:
        """Return the credential of ``access_key`` if it is this environment's own and is valid still."""
        return self._ring.find_credential(access_key)


def session_arn(partition: str, account_id: str, role: str, session: str) -> str:
    """Return the ARN of a session of the role whose name, without a path, is ``role``."""
    return f"arn:{partition}:sts::{account_id}:assumed-role/{role}/{session}"


def fresh_credential(account_id: str, arn: str, expires_at: datetime | None = None) -> Credential:
    """Return a credential that nobody can guess."""
    return Credential(
        # IAM user guide, "Unique identifiers": temporary access keys begin with ASIA, 20 characters in all.
        access_key="ASIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16)),
        secret=secrets.token_urlsafe(30),
        account_id=account_id,
        arn=arn,
        session_token=secrets.token_urlsafe(96),
        expires_at=expires_at,
    )
