"""The commands of STS: who am I, and let me be another role. Sources: API reference, STS; IAM user guide."""

import base64
import hashlib
import re
from typing import Final

from lambent.access.role_credentials import RoleCredentials, session_arn
from lambent.model.errors import AccessDenied, InvalidParameterValue, ValidationError
from lambent.model.requests import Commands, Members, RequestContext

DURATION_S: Final = 3600
# IAM user guide, "Methods to assume a role": a session that assumes another role gets an hour at most.
CHAINED_LIMIT_S: Final = 3600
# What narrows a session, or proves more of its caller, needs policies or devices that there are none of.
UNSUPPORTED: Final = (
    "Policy",
    "PolicyArns",
    "Tags",
    "TransitiveTagKeys",
    "SerialNumber",
    "TokenCode",
    "SourceIdentity",
    "ProvidedContexts",
    "MinimumSessionTokenSize",
)
# IAM user guide, "Unique identifiers": what the ids of users and roles begin with; 21 characters in all.
_PREFIXES: Final = {"user": "AIDA", "role": "AROA", "assumed-role": "AROA"}
_ID_CHARACTERS: Final = 17
# IAM user guide, "IAM identifiers": a path of printable characters, a name of at most 64.
_ROLE: Final = re.compile(r"arn:(aws[a-z-]*):iam::(\d{12}):role/(?:[!-~]{1,510}/)?([\w+=,.@-]{1,64})", re.ASCII)


class StsApi:
    """Answers the operations. ``commands`` is what the frontend routes to."""

    def __init__(self, roles: RoleCredentials) -> None:
        self._roles = roles

    @property
    def commands(self) -> Commands:
        """The commands by operation name."""
        return {"GetCallerIdentity": self.get_caller_identity, "AssumeRole": self.assume_role}

    async def get_caller_identity(self, context: RequestContext, members: Members) -> Members:
        """Tell who signed the request; everybody may ask."""
        caller = context.caller
        return {"UserId": user_id(caller.arn), "Account": caller.account_id, "Arn": caller.arn}

    async def assume_role(self, context: RequestContext, members: Members) -> Members:
        """Give credentials of a role of the caller's own account."""
        caller, role_arn, name = context.caller, members["RoleArn"], members["RoleSessionName"]
        if unsupported := next((each for each in UNSUPPORTED if members.get(each)), None):
            raise InvalidParameterValue(f"{unsupported} is not supported yet")
        if (role := _ROLE.fullmatch(role_arn)) is None:
            raise ValidationError(f"{role_arn} is invalid")  # recorded from AWS
        partition, account_id, role_name = role.groups()
        if account_id != caller.account_id:
            # Seen from AWS.
            words = f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"
            raise AccessDenied(words, kind=None)
        duration_s: int = members.get("DurationSeconds", DURATION_S)
        if ":assumed-role/" in caller.arn and duration_s > CHAINED_LIMIT_S:
            # Seen from AWS.
            words = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
            raise ValidationError(words)
        arn = session_arn(partition, account_id, role_name, name)
        credential = self._roles.derive(caller.access_key, account_id, arn, duration_s)
        return {
            "Credentials": {
                "AccessKeyId": credential.access_key,
                "SecretAccessKey": credential.secret,
                "SessionToken": credential.session_token,
                "Expiration": credential.expires_at,
            },
            "AssumedRoleUser": {"AssumedRoleId": user_id(arn), "Arn": arn},
        }


def user_id(arn: str) -> str:
    """Return the unique id of who has ``arn``: always the same one, as there is no IAM that would have made one."""
    # API reference, GetCallerIdentity; user guide, "Principal": the account's id for its root, id:session for a role.
    *_, account_id, resource = arn.split(":", 5)
    kind, _, name = resource.partition("/")
    if kind not in _PREFIXES:
        return account_id
    session = ""
    if kind == "assumed-role":
        name, _, session = name.partition("/")
    return unique_id(_PREFIXES[kind], account_id, name.rpartition("/")[2]) + (f":{session}" if session else "")


def unique_id(prefix: str, account_id: str, name: str) -> str:
    """Return an id of IAM's form for the user or role called ``name``."""
    digest = hashlib.sha256(f"{prefix}/{account_id}/{name}".encode()).digest()
    return prefix + base64.b32encode(digest).decode()[:_ID_CHARACTERS]
