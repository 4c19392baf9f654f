"""Who holds an access key."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An access key with its secret. Temporary ones have a session token and an end."""

    access_key: str
    secret: str = field(repr=False)
    account_id: str
    arn: str
    session_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


class Credentials(Protocol):
    """Where credentials are looked up: settings, roles handed out to environments, …"""

    def find_credential(self, access_key: str) -> Credential | None:
        """Return the credential of ``access_key``, or None. Reads memory only."""
        ...
