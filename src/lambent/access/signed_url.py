"""The right to download one deployment package for ten minutes, written into a URL of ours (``Code.Location``)."""

import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from lambent.model.clock import Clock
from lambent.model.ids import Digest, Scope

# API reference, FunctionCodeLocation: "a presigned URL … valid for 10 minutes".
VALID_FOR: Final = timedelta(minutes=10)
_PURPOSE: Final = b"lambent code location 1"
_TOKEN: Final = re.compile(r"(?P<account>\d{12})\.(?P<region>[a-z][a-z0-9-]{0,31})\.(?P<digest>[0-9a-f]{64})", re.ASCII)
_QUERY: Final = re.compile(r"Expires=(?P<expires>\d{1,12})&Signature=(?P<signature>[0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class CodeGrant:
    """The package that a URL gives right to."""

    scope: Scope
    digest: Digest


class CodeUrls:
    """Signs and checks the tokens of code locations, with a key of their own derived from ``key``."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key, self._clock = hmac.digest(key, _PURPOSE, "sha256"), clock

    def sign(self, grant: CodeGrant) -> str:
        """Return the last path segment and the query of a URL that gives right to ``grant`` for ten minutes."""
        token = f"{grant.scope.account_id}.{grant.scope.region}.{grant.digest}"
        expires = int((self._clock.now() + VALID_FOR).timestamp())
        return f"{token}?Expires={expires}&Signature={self._signature(token, expires)}"

    def find_grant(self, token: str, query: str) -> CodeGrant | None:
        """Return what ``token`` and ``query`` (both as sent) give right to now; None if forged, changed or too old."""
        named, signed = _TOKEN.fullmatch(token), _QUERY.fullmatch(query)
        if named is None or signed is None:
            return None
        expires = int(signed["expires"])
        if not hmac.compare_digest(self._signature(token, expires), signed["signature"]):
            return None
        if self._clock.now() >= datetime.fromtimestamp(expires, UTC):
            return None
        return CodeGrant(Scope(named["account"], named["region"]), Digest(named["digest"]))

    def _signature(self, token: str, expires: int) -> str:
        return hmac.digest(self._key, f"{token}\n{expires}".encode(), "sha256").hex()
