"""What a request says of its own signature, read from the Authorization header or the query. Nothing is verified."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple
from urllib.parse import unquote

from lambent.access.canonical import HeaderValues
from lambent.access.errors import AuthenticationError, IncompleteSignature, InvalidSignature
from lambent.access.head import Head

ALGORITHM: Final = "AWS4-HMAC-SHA256"
STAMP: Final = "%Y%m%dT%H%M%SZ"
_REGION: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_STAMP_FORM: Final = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_PLAIN_AUTHORIZATION: Final = re.compile(
    rf"{ALGORITHM} Credential=([^/,= ]+)/([^/,= ]+)/([^/,= ]+)/([^/,= ]+)/([^/,= ]+), ?SignedHeaders=([^,= ]+), ?"
    r"Signature=([^,= ]+)"
)
_HEADER_PARTS: Final = ("Credential", "Signature", "SignedHeaders")
_QUERY_PARTS: Final = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date")


class CredentialScope(NamedTuple):
    """The parts of ``key/date/region/service/aws4_request``."""

    access_key: str
    date: str
    region: str
    service: str
    terminator: str

    @property
    def text(self) -> str:
        """The scope as it is signed: without the key."""
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


class SignatureClaim(NamedTuple):
    """All that a signed request claims. ``expires_s`` is None for a header-signed one."""

    scope: CredentialScope
    signed_headers: list[str]
    signature: str
    stamp: str  # as it is signed, YYYYMMDDTHHMMSSZ
    signed_at: datetime
    token: str | None
    expires_s: int | None


def group_headers(head: Head) -> HeaderValues:
    """Return the values of each header, in order."""
    values: HeaderValues = {name: [value] for name, value in head.headers}
    if len(values) != len(head.headers):
        values.clear()
        for name, value in head.headers:
            values.setdefault(name, []).append(value)
    return values


def find_claim(head: Head, values: HeaderValues) -> SignatureClaim | None:
    """Return the claim of a request, or None for an unsigned one. Raises AWS's error for one that cannot be read."""
    authorization = values.get("authorization")
    is_query_signed = "X-Amz-" in head.query and any(f"{name}=" in head.query for name in _QUERY_PARTS[:3])
    if authorization and is_query_signed:
        words = "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header."
        raise InvalidSignature(words)
    if authorization:
        return _header_claim(authorization[0], values)
    return _query_claim(head.query) if is_query_signed else None


def find_scope(head: Head) -> CredentialScope | None:
    """Return the credential scope a request claims, if it can be read; of a broken signature, None."""
    values = group_headers(head)
    try:
        if authorization := values.get("authorization"):
            return _parse_scope(_authorization_parts(authorization[0], authorization[0])["Credential"])
        return _parse_scope(_query_values(head.query)["X-Amz-Credential"])
    except (AuthenticationError, KeyError):
        return None


def is_region(text: str) -> bool:
    """Whether ``text`` can be a region's name: it becomes part of keys and ARNs."""
    return _REGION.fullmatch(text) is not None


def _header_claim(authorization: str, values: HeaderValues) -> SignatureClaim:
    plain = _PLAIN_AUTHORIZATION.fullmatch(authorization)
    dates = values.get("x-amz-date")
    if plain is None or dates is None or _STAMP_FORM.fullmatch(stamp := dates[0]) is None:
        # Whatever differs from what SDKs write takes the long way, which finds the words for what is wrong.
        return _long_header_claim(authorization, values)
    tokens = values.get("x-amz-security-token")
    return SignatureClaim(
        scope=CredentialScope(*plain.group(1, 2, 3, 4, 5)),
        signed_headers=plain[6].split(";"),
        signature=plain[7],
        stamp=stamp,
        signed_at=_parse_instant(stamp),
        token=tokens[0] if tokens else None,
        expires_s=None,
    )


def _long_header_claim(authorization: str, values: HeaderValues) -> SignatureClaim:
    algorithm, _, rest = authorization.strip().partition(" ")
    parts = _authorization_parts(rest, authorization) if algorithm.startswith("AWS4-") else {}
    dates = values.get("x-amz-date") or values.get("date")
    # Seen from AWS: all that is missing in one message, then the header itself.
    missing = [f"Authorization header requires '{name}' parameter. " for name in _HEADER_PARTS if not parts.get(name)]
    if dates is None:
        missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
    if missing or dates is None:
        raise IncompleteSignature(f"{''.join(missing)}Authorization={authorization}")
    _require_algorithm(algorithm)
    signed_at = _parse_instant(dates[0])
    tokens = values.get("x-amz-security-token")
    return SignatureClaim(
        scope=_parse_scope(parts["Credential"]),
        signed_headers=parts["SignedHeaders"].split(";"),
        signature=parts["Signature"],
        stamp=_stamp_of(dates[0], signed_at),
        signed_at=signed_at,
        token=tokens[0] if tokens else None,
        expires_s=None,
    )


def _query_claim(query: str) -> SignatureClaim:
    sent = _query_values(query)
    missing = [f"AWS query-string parameters must include '{name}'. " for name in _QUERY_PARTS if not sent.get(name)]
    if missing:
        raise IncompleteSignature(f"{''.join(missing)}Re-examine the query-string parameters.")
    _require_algorithm(sent["X-Amz-Algorithm"])
    signed_at = _parse_instant(sent["X-Amz-Date"])
    return SignatureClaim(
        scope=_parse_scope(sent["X-Amz-Credential"]),
        signed_headers=sent["X-Amz-SignedHeaders"].split(";"),
        signature=sent["X-Amz-Signature"],
        stamp=_stamp_of(sent["X-Amz-Date"], signed_at),
        signed_at=signed_at,
        token=sent.get("X-Amz-Security-Token"),
        expires_s=_parse_expiry(sent.get("X-Amz-Expires")),
    )


def _query_values(query: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name.startswith("X-Amz-"):
            if name in values:
                raise InvalidSignature(f"The query-string parameter '{name}' is given more than once.")
            values[name] = unquote(value)
    return values


def _authorization_parts(rest: str, authorization: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in rest.removeprefix(f"{ALGORITHM} ").split(","):
        name, equals, value = part.strip().partition("=")
        if not equals:
            # Seen from AWS, word for word.
            words = "not a valid key=value pair (missing equal-sign) in Authorization header"
            raise IncompleteSignature(f"'{part.strip()}' {words}: '{authorization}'.")
        parts[name] = value
    return parts


def _parse_scope(credential: str) -> CredentialScope:
    parts = credential.split("/")
    if len(parts) != 5:
        words = "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term"
        raise IncompleteSignature(f"{words}, got '{credential}'")
    return CredentialScope(*parts)


def _require_algorithm(algorithm: str) -> None:
    if algorithm != ALGORITHM:
        raise IncompleteSignature(f"Unsupported AWS 'algorithm': '{algorithm}' (only {ALGORITHM} for now). ")


def parse_stamp(text: str) -> datetime | None:
    """Return the instant of ``YYYYMMDDTHHMMSSZ``; None for another form, and for what is no date."""
    if not _STAMP_FORM.fullmatch(text):
        return None
    try:  # by hand: strptime takes ten times as long
        day, clock = (int(text[:4]), int(text[4:6]), int(text[6:8])), text[9:15]
        return datetime(*day, int(clock[:2]), int(clock[2:4]), int(clock[4:6]), tzinfo=UTC)
    except ValueError:
        return None


def _parse_instant(text: str) -> datetime:
    try:
        return parse_stamp(text) or parsedate_to_datetime(text).astimezone(UTC)
    except (ValueError, OverflowError):
        words = "Date must be in ISO-8601 'basic format'. Got"
        raise IncompleteSignature(f"{words} '{text}'. See http://en.wikipedia.org/wiki/ISO_8601") from None


def _stamp_of(text: str, moment: datetime) -> str:
    return text if _STAMP_FORM.fullmatch(text) else moment.strftime(STAMP)


def _parse_expiry(text: str | None) -> int:
    # API reference, "Authenticating requests: using query parameters": 1 s to seven days.
    if text is None:
        raise IncompleteSignature("AWS query-string parameters must include 'X-Amz-Expires'. ")
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        raise IncompleteSignature("X-Amz-Expires should be a number")
    seconds = int(text)
    if not 1 <= seconds <= 604_800:
        words = "X-Amz-Expires must be less than a week (in seconds)"
        raise IncompleteSignature(f"{words}; that is, the given X-Amz-Expires must be less than 604800 seconds")
    return seconds
