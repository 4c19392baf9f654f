"""Temporary credentials of execution roles: what a function finds in its environment and signs its own calls with."""

import secrets
from collections import OrderedDict
from datetime import timedelta
from typing import Final

from lambent.access.credentials import Credential
from lambent.model.clock import Clock
from lambent.model.functions import FunctionVersion

LIFETIME_S: Final = 12 * 3600.0  # assumed: longer than any environment lives
REMEMBERED_LIMIT: Final = 100_000  # beyond it the oldest are forgotten first
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class RoleCredentials:
    """Issues credentials and knows whose they are while they are valid. In memory: environments die with us."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._issued: OrderedDict[str, Credential] = OrderedDict()

    def issue(self, version: FunctionVersion) -> tuple[str, str, str]:
        """Return a fresh key, secret and session token for the execution role of ``version``."""
        self._forget_expired()
        # IAM user guide, "Unique identifiers": temporary access keys begin with ASIA, 20 characters in all.
        key = "ASIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16))
        account_id, role = version.role.split(":")[4], version.role.rsplit("/", 1)[-1]
        credential = Credential(
            access_key=key,
            secret=secrets.token_urlsafe(30),
            account_id=account_id,
            # STS API reference, AssumeRole: the session is named; Lambda names it for the function.
            arn=f"arn:{version.scope.partition}:sts::{account_id}:assumed-role/{role}/{version.name}",
            session_token=secrets.token_urlsafe(96),
            expires_at=self._clock.now() + timedelta(seconds=LIFETIME_S),
        )
        self._issued[key] = credential
        return key, credential.secret, credential.session_token or ""

    def find_credential(self, access_key: str) -> Credential | None:
        """Return the credential of ``access_key`` if it was issued here and is valid still."""
        found = self._issued.get(access_key)
        if found is None or found.expires_at is None or found.expires_at <= self._clock.now():
            return None
        return found

    def _forget_expired(self) -> None:
        now = self._clock.now()
        while self._issued:
            first = next(iter(self._issued.values()))
            is_expired = first.expires_at is not None and first.expires_at <= now
            if not is_expired and len(self._issued) < REMEMBERED_LIMIT:
                return
            self._issued.popitem(last=False)
