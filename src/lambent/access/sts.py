"""The commands of STS: who am I. Source: API reference, STS; IAM user guide, "IAM identifiers"."""

import base64
import hashlib
from typing import Final

from lambent.model.requests import Commands, Members, RequestContext

# IAM user guide, "Unique identifiers": what the ids of users and roles begin with; 21 characters in all.
_PREFIXES: Final = {"user": "AIDA", "role": "AROA", "assumed-role": "AROA"}
_ID_CHARACTERS: Final = 17


class StsApi:
    """Answers the operations. ``commands`` is what the frontend routes to."""

    @property
    def commands(self) -> Commands:
        """The commands by operation name."""
        return {"GetCallerIdentity": self.get_caller_identity}

    async def get_caller_identity(self, context: RequestContext, members: Members) -> Members:
        """Tell who signed the request; everybody may ask."""
        caller = context.caller
        return {"UserId": user_id(caller.arn), "Account": caller.account_id, "Arn": caller.arn}


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
