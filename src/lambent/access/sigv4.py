"""Verification of AWS Signature Version 4, in the header or in the query. Mode ``off`` believes what is claimed."""

import hashlib
import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from lambent.access.canonical import HeaderValues, canonical_headers, canonical_path, canonical_query
from lambent.access.credentials import Credential, Credentials
from lambent.access.errors import (
    ExpiredToken,
    InvalidSignature,
    MissingAuthenticationToken,
    UnrecognizedClient,
)
from lambent.access.head import Head
from lambent.access.known_claims import SIGNATURE_DIGITS, KnownClaims
from lambent.access.signed_request import (
    ALGORITHM,
    STAMP,
    CredentialScope,
    SignatureClaim,
    find_claim,
    find_scope,
    group_headers,
    is_region,
)
from lambent.model.clock import Clock
from lambent.model.ids import Scope
from lambent.model.requests import Caller

Mode = Literal["off", "verify"]

DEFAULT_REGION: Final = "us-east-1"
DEFAULT_ACCOUNT: Final = "000000000000"
UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
_TERMINATOR: Final = "aws4_request"
_EMPTY_DIGEST: Final = hashlib.sha256()
_KEY_CACHE_LIMIT: Final = 1024
# S3 user guide, "Authenticating requests": the path is encoded once, and a body may be unsigned or signed in chunks.
_S3: Final = frozenset({"s3", "s3express", "s3-object-lambda", "s3-outposts"})
_DECLARED_BODIES: Final = frozenset(
    {
        UNSIGNED_PAYLOAD,
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    }
)
# Seen from AWS: "- 5 min." from most services, "- 15 min." from these.
_SKEW_MINUTES: Final = {"s3": 15, "iam": 15, "sts": 15, "ec2": 15}
_KNOWN_SKEW: Final = timedelta(minutes=min(5, *_SKEW_MINUTES.values()))
_MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


class Identity(NamedTuple):
    """Who calls, and where he believes he is.

    ``payload`` is the body's SHA-256 that was verified; or, for S3 alone, what the request declares instead: then
    the body itself is unproven, and whoever reads it has to check its chunks.
    """

    caller: Caller
    region: str
    service: str  # empty where a request says none
    payload: str = UNSIGNED_PAYLOAD

    @property
    def scope(self) -> Scope:
        """Whose resources the caller means."""
        return Scope(self.caller.account_id, self.region)


class SignatureVerifier:
    """Tells who signed a request, in mode ``verify``; in mode ``off``, who claims to. Holds a bounded cache of keys."""

    def __init__(self, mode: Mode, credentials: Credentials, clock: Clock) -> None:
        self._mode, self._credentials, self._clock = mode, credentials, clock
        self._keys: dict[tuple[str, str, str, str], SigningKey] = {}
        self._known = KnownClaims()

    def verify(self, head: Head, body: bytes | Callable[[], str], *, service: str | None = None) -> Identity:
        """Return who sent the request, or raise AWS's error. Safe to call in threads.

        ``body`` is whole, or a function that returns its SHA-256 in lower-case hex (called at most once). ``service``
        is the one that the request was routed to; None takes the claimed one.
        """
        if self._mode == "off":
            return self._believe(head)
        if service is not None and isinstance(body, bytes) and (known := self._verify_known(head, body, service)):
            return known
        values = group_headers(head)
        claim = find_claim(head, values)
        if claim is None:
            raise MissingAuthenticationToken()
        _require_scope(claim, service)
        _require_signed(claim, values)
        self._require_current(claim)
        credential = self._credential(claim)
        payload = _payload(claim, values, body)
        self._require_match(head, values, claim, credential=credential, payload=payload)
        if claim.expires_s is None:
            self._known.remember(values["authorization"][0], claim)
        caller = Caller(credential.account_id, credential.arn, credential.access_key)
        return Identity(caller, claim.scope.region, claim.scope.service, payload)

    def _verify_known(self, head: Head, body: bytes, service: str) -> Identity | None:
        """Return who sent a request like one that was verified before; None sends it the long way, whatever it is."""
        headers = dict(head.headers)
        known, stamp = self._known.find(headers.get("authorization", "")), headers.get("x-amz-date", "")
        if known is None or len(headers) != len(head.headers) or "X-Amz-" in head.query:
            return None
        scope = known.scope
        if scope.service != service or service in _S3 or scope.date != stamp[:8]:
            return None
        credential = self._find_current(scope.access_key, stamp, headers.get("x-amz-security-token", ""))
        if credential is None or (lines := _signed_lines(headers, known.signed_headers)) is None:
            return None
        payload = _sha256(body)
        canonical = (
            f"{head.method}\n{canonical_path(head.path, is_encoded_once=False)}\n{canonical_query(head.query)}\n"
            f"{lines}\n{known.signed_text}\n{payload}"
        )
        to_sign = f"{ALGORITHM}\n{stamp}\n{known.scope_text}\n{_sha256(canonical.encode())}"
        expected = self._signing_key(credential, scope).sign(to_sign.encode())
        if not hmac.compare_digest(expected.encode(), headers["authorization"][-SIGNATURE_DIGITS:].encode()):
            return None
        return Identity(
            Caller(credential.account_id, credential.arn, credential.access_key), scope.region, service, payload
        )

    def _find_current(self, access_key: str, stamp: str, token: str) -> Credential | None:
        """Return the credential of a request of ``stamp`` with the session ``token``, if both hold now."""
        at, now, found = self._known.instant(stamp), self._clock.now(), self._credentials.find_credential(access_key)
        if at is None or found is None or abs(now - at) > _KNOWN_SKEW:
            return None
        if not hmac.compare_digest((found.session_token or "").encode(), token.encode()):
            return None
        return found if found.expires_at is None or now < found.expires_at else None

    def _believe(self, head: Head) -> Identity:
        scope = find_scope(head)
        if scope is None:
            return Identity(_root(DEFAULT_ACCOUNT, DEFAULT_REGION, ""), DEFAULT_REGION, "")
        if not is_region(scope.region):
            raise InvalidSignature(_wrong_region(scope))
        key = scope.access_key
        if len(key) == 12 and key.isascii() and key.isdigit():
            return Identity(_root(key, scope.region, key), scope.region, scope.service)
        found = self._credentials.find_credential(key)
        if found is None:
            return Identity(_root(DEFAULT_ACCOUNT, scope.region, key), scope.region, scope.service)
        return Identity(Caller(found.account_id, found.arn, key), scope.region, scope.service)

    def _require_current(self, claim: SignatureClaim) -> None:
        now, minutes = self._clock.now(), _SKEW_MINUTES.get(claim.scope.service, 5)
        skew = timedelta(minutes=minutes)
        allowed = skew if claim.expires_s is None else timedelta(seconds=claim.expires_s)
        if claim.signed_at < now - allowed:
            shown = f"{minutes} min." if claim.expires_s is None else f"{claim.expires_s} sec."
            words = f"is now earlier than {_stamp(now - allowed)} ({_stamp(now)} - {shown})"
            raise InvalidSignature(f"Signature expired: {claim.stamp} {words}")
        if claim.signed_at > now + skew:
            words = f"is still later than {_stamp(now + skew)} ({_stamp(now)} + {minutes} min.)"
            raise InvalidSignature(f"Signature not yet current: {claim.stamp} {words}")

    def _credential(self, claim: SignatureClaim) -> Credential:
        found = self._credentials.find_credential(claim.scope.access_key)
        if found is None:
            raise UnrecognizedClient()
        held, sent = found.session_token or "", claim.token or ""
        if not hmac.compare_digest(held.encode(), sent.encode()):
            raise UnrecognizedClient()
        if found.expires_at is not None and self._clock.now() >= found.expires_at:
            raise ExpiredToken()
        return found

    def _require_match(
        self, head: Head, values: HeaderValues, claim: SignatureClaim, *, credential: Credential, payload: str
    ) -> None:
        is_s3 = claim.scope.service in _S3
        leave_out = "" if claim.expires_s is None else "X-Amz-Signature"
        canonical = (
            f"{head.method}\n{canonical_path(head.path, is_encoded_once=is_s3)}\n"
            f"{canonical_query(head.query, leave_out=leave_out)}\n"
            f"{canonical_headers(values, claim.signed_headers)}\n{';'.join(claim.signed_headers)}\n{payload}"
        )
        digest = _sha256(_as_sent(canonical))
        to_sign = f"{ALGORITHM}\n{claim.stamp}\n{claim.scope.text}\n{digest}"
        expected = self._signing_key(credential, claim.scope).sign(to_sign.encode())
        if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
            # Seen from AWS (Lambda): what was signed is told, so that a client can be mended. It holds no secret.
            told = f"The Canonical String for this request should have been\n'{canonical}'"
            raise InvalidSignature(f"{_MISMATCH}\n\n{told}\n\nThe String-to-Sign should have been\n'{to_sign}'\n")

    def _signing_key(self, credential: Credential, scope: CredentialScope) -> "SigningKey":
        name = (credential.secret, scope.date, scope.region, scope.service)
        if (key := self._keys.get(name)) is None:
            secret = f"AWS4{credential.secret}".encode()
            for part in (scope.date, scope.region, scope.service, _TERMINATOR):
                secret = hmac.digest(secret, part.encode(), "sha256")
            if len(self._keys) >= _KEY_CACHE_LIMIT:
                self._keys.clear()
            self._keys[name] = key = SigningKey(secret)
        return key


class SigningKey:
    """HMAC-SHA256 under one key of 32 bytes, both padded blocks hashed already: a tenth of the library's time."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        # RFC 2104: H(K xor opad, H(K xor ipad, text)), the key filled up with zeros to a block of 64 bytes.
        block = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def sign(self, text: bytes) -> str:
        """Return the signature of ``text`` in lower-case hex."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(text)
        outer.update(inner.digest())
        return outer.hexdigest()


def _require_scope(claim: SignatureClaim, service: str | None) -> None:
    scope, errors = claim.scope, ""
    if not is_region(scope.region):
        errors += _wrong_region(scope)
    if service is not None and scope.service != service:
        errors += f"Credential should be scoped to correct service: '{service}'. "
    if scope.terminator != _TERMINATOR:
        errors += f"Credential should be scoped with a valid terminator: '{_TERMINATOR}', not '{scope.terminator}'. "
    if not errors and scope.date != claim.stamp[:8]:
        errors = (
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{scope.date}' != '{claim.stamp[:8]}', from '{claim.stamp}'."
        )
    if errors:
        raise InvalidSignature(errors)


def _signed_lines(headers: dict[str, str], signed: tuple[str, ...]) -> str | None:
    """Return the header part of the canonical form; None for headers that take the long way."""
    for name in headers:
        if name.startswith("x-amz-") and (name not in signed or name == "x-amz-content-sha256"):
            return None
    lines = ""
    for name in signed:
        value = headers.get(name, "")
        if " " in value or not (value.isascii() and value.isprintable()):
            return None
        lines += f"{name}:{value}\n"
    return lines


def _require_signed(claim: SignatureClaim, values: HeaderValues) -> None:
    signed = set(claim.signed_headers)
    if "host" not in signed:
        raise InvalidSignature("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    for name in values:
        # IAM user guide: "you must include the host header … and any x-amz-* headers".
        if name.startswith("x-amz-") and name not in signed:
            raise InvalidSignature(f"'{name}' must be a 'SignedHeader' in the AWS Authorization.")


def _payload(claim: SignatureClaim, values: HeaderValues, body: bytes | Callable[[], str]) -> str:
    """Return the last line of the canonical request; a digest in it is the real body's."""
    is_s3 = claim.scope.service in _S3
    declared = values.get("x-amz-content-sha256")
    if declared is None:
        # S3 user guide: a presigned URL never covers the body.
        return UNSIGNED_PAYLOAD if is_s3 and claim.expires_s is not None else _digest(body)
    if declared[0] in _DECLARED_BODIES and len(declared) == 1 and is_s3:
        return declared[0]
    real = _digest(body)
    if declared != [real]:
        raise InvalidSignature(_MISMATCH)
    return real


def _digest(body: bytes | Callable[[], str]) -> str:
    return _sha256(body) if isinstance(body, bytes) else body()


def _sha256(data: bytes) -> str:
    digest = _EMPTY_DIGEST.copy()  # a third of the time of a new one, which OpenSSL looks up by its name
    digest.update(data)
    return digest.hexdigest()


def _wrong_region(scope: CredentialScope) -> str:
    return f"Credential should be scoped to a valid region, not '{scope.region}'. "


def _root(account_id: str, region: str, access_key: str) -> Caller:
    return Caller(account_id, f"arn:{Scope(account_id, region).partition}:iam::{account_id}:root", access_key)


def _stamp(moment: datetime) -> str:
    return moment.strftime(STAMP)


def _as_sent(text: str) -> bytes:
    # Headers reach us byte for character; a character beyond that came from elsewhere.
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode()
