"""What a client's Authorization header said before: it says the same for a day, but for the signature at its end.

Only what was verified once is known. Whoever finds nothing here, or finds anything unusual, goes the long way, which
has the words for what is wrong: the short one accepts nothing that the long one would refuse.
"""

from datetime import datetime
from typing import Final, NamedTuple

from lambent.access.signed_request import CredentialScope, SignatureClaim, parse_stamp

CLAIMS_KEPT: Final = 1024
SIGNATURE_DIGITS: Final = 64


class KnownClaim(NamedTuple):
    """The constant part of a client's claim."""

    scope: CredentialScope
    scope_text: str
    signed_headers: tuple[str, ...]
    signed_text: str


class KnownClaims:
    """Claims by the text before their signature, and the instant of the last timestamp. Safe to use in threads."""

    def __init__(self) -> None:
        self._claims: dict[str, KnownClaim] = {}
        self._instant: tuple[str, datetime] | None = None

    def find(self, authorization: str) -> KnownClaim | None:
        """Return the claim that ``authorization`` makes, if one like it was verified."""
        return self._claims.get(authorization[:-SIGNATURE_DIGITS])

    def remember(self, authorization: str, claim: SignatureClaim) -> None:
        """Know ``claim``, which was verified, the next time."""
        if len(claim.signature) != SIGNATURE_DIGITS or not authorization.endswith(f"Signature={claim.signature}"):
            return
        if len(self._claims) >= CLAIMS_KEPT:
            self._claims.clear()
        signed = tuple(claim.signed_headers)
        known = KnownClaim(claim.scope, claim.scope.text, signed, ";".join(signed))
        self._claims[authorization[:-SIGNATURE_DIGITS]] = known

    def instant(self, stamp: str) -> datetime | None:
        """Return the instant of an ``X-Amz-Date``, which many requests share; None if it has not the usual form."""
        last = self._instant
        if last is not None and last[0] == stamp:
            return last[1]
        if (at := parse_stamp(stamp)) is not None:
            self._instant = (stamp, at)
        return at
