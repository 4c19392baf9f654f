"""Temporary credentials of execution roles: what a function finds in its environment and signs its own calls with."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from lambent.access.credentials import Credential
from lambent.model.clock import Clock
from lambent.model.functions import FunctionVersion

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class RoleCredentials:
    """Issues credentials to environments and knows whose they are while they live. In memory: they die with us."""

    def __init__(self, clock: Clock, lifetime_s: float) -> None:
        self._clock, self._lifetime_s = clock, lifetime_s
        self._issued: dict[str, tuple[Credential, float]] = {}  # and until when; a wall clock may jump

    @contextmanager
    def open_session(self, version: FunctionVersion) -> Iterator["RoleSession"]:
        """Yield what issues credentials of the role of ``version`` to one environment; they end with the block."""
        session = RoleSession(self, version)
        try:
            yield session
        finally:
            session.revoke()

    def find_credential(self, access_key: str) -> Credential | None:
        """Return the credential of ``access_key`` if it was issued here and is valid still."""
        credential, ends_mono_s = self._issued.get(access_key, (None, 0.0))
        return credential if self._clock.mono_s() < ends_mono_s else None

    def issue(self, version: FunctionVersion) -> Credential:
        """Return a fresh credential of the role of ``version``, for sessions."""
        # IAM user guide, "Unique identifiers": temporary access keys begin with ASIA, 20 characters in all.
        key = "ASIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16))
        # Always the function's own account: on AWS a role of another one cannot be passed to a function.
        account_id, role = version.scope.account_id, version.role.rsplit("/", 1)[-1]
        credential = Credential(
            access_key=key,
            secret=secrets.token_urlsafe(30),
            account_id=account_id,
            # STS API reference, AssumeRole: the session is named; Lambda names it for the function.
            arn=f"arn:{version.scope.partition}:sts::{account_id}:assumed-role/{role}/{version.name}",
            session_token=secrets.token_urlsafe(96),
        )
        self._issued[key] = (credential, self._clock.mono_s() + self._lifetime_s)
        return credential

    def revoke(self, credential: Credential) -> None:
        """Know ``credential`` no more, for sessions."""
        self._issued.pop(credential.access_key, None)


class RoleSession:
    """The credentials of one environment: at most one at a time, that of the program that runs in it."""

    def __init__(self, roles: RoleCredentials, version: FunctionVersion) -> None:
        self._roles, self._version = roles, version
        self._current: Credential | None = None

    def issue(self) -> tuple[str, str, str]:
        """Return key, secret and session token for a program that starts; those of the one before are void."""
        self.revoke()
        self._current = current = self._roles.issue(self._version)
        return current.access_key, current.secret, current.session_token or ""

    def find_credential(self, access_key: str) -> Credential | None:
        """Return the credential of ``access_key`` if it is this environment's own and is valid still."""
        if self._current is None or self._current.access_key != access_key:
            return None
        return self._roles.find_credential(access_key)

    def revoke(self) -> None:
        """Make void what was issued."""
        if self._current is not None:
            self._roles.revoke(self._current)
            self._current = None
