"""Small adapters between what the front door asks for and who can answer it."""

from collections.abc import Callable, Mapping

from lambent.access.credentials import Credential, Credentials
from lambent.access.role_credentials import RoleCredentials
from lambent.access.signed_url import CodeGrant, CodeUrls
from lambent.artifacts.code import Artifacts
from lambent.config import Credential as ConfiguredCredential
from lambent.frontend.seams import CodeDownload
from lambent.http.application import Application
from lambent.model.documents import FUNCTION_SPECS, VERSION_SPECS, CodeSpec, parse_function_spec
from lambent.model.ids import Digest, Scope
from lambent.model.layers import LAYER_VERSION_SPECS, parse_layer_version
from lambent.store.contract import Documents


class EndpointInside:
    """The AWS endpoint in sandboxes: environments ask for it, and it leads to the road that is built around them."""

    def __init__(self) -> None:
        self._build: Callable[[Credentials], Application] | None = None

    def connect(self, build: Callable[[Credentials], Application]) -> None:
        """From now on, have ``build`` make what is behind an environment's endpoint."""
        self._build = build

    def open(self, credentials: Credentials) -> Application:
        """Return what is behind the endpoint of the environment whose credentials these are."""
        if self._build is None:
            raise RuntimeError("no environment may live before the road is built")
        return self._build(credentials)


class KnownCredentials:
    """Access keys of the settings, and those issued to execution roles."""

    def __init__(self, configured: Mapping[str, ConfiguredCredential], roles: RoleCredentials) -> None:
        self._roles = roles
        self._configured = {
            key: Credential(
                access_key=key,
                secret=each.secret,
                account_id=each.account,
                arn=each.arn or f"arn:aws:iam::{each.account}:root",
            )
            for key, each in configured.items()
        }

    def find_credential(self, access_key: str) -> Credential | None:
        """Return the credential of ``access_key``, or None."""
        return self._configured.get(access_key) or self._roles.find_credential(access_key)


class CodeLocations:
    """``Code.Location``: URLs of ours that give the ZIP of a function or layer for ten minutes."""

    def __init__(self, urls: CodeUrls, documents: Documents, artifacts: Artifacts) -> None:
        self._urls, self._documents, self._artifacts = urls, documents, artifacts

    def sign(self, scope: Scope, name: str, digest: Digest, endpoint: str) -> str:
        """Return the URL of the package ``digest`` beneath ``endpoint``."""
        return f"{endpoint}/_lambent/code/{self._urls.sign(CodeGrant(scope, digest))}"

    async def open(self, token: str, query: str) -> CodeDownload | None:
        """Return the package that token and query give right to, or None; a package that nothing names is none."""
        grant = self._urls.find_grant(token, query)
        if grant is None:
            return None
        for kind in (FUNCTION_SPECS, VERSION_SPECS, LAYER_VERSION_SPECS):
            prefix = f"{kind}{grant.scope.account_id}/{grant.scope.region}/"
            if (code := await self._find_code(prefix, grant.digest)) is not None:
                return CodeDownload(code.zip_bytes, self._artifacts.read(code.digest))
        return None

    async def _find_code(self, prefix: str, digest: Digest) -> CodeSpec | None:
        parse = parse_layer_version if prefix.startswith(LAYER_VERSION_SPECS) else parse_function_spec
        after = ""
        while True:
            page = await self._documents.list(prefix, after=after)
            for doc in page.docs:
                if (code := parse(doc.value).code).digest == digest:
                    return code
            if page.next is None:
                return None
            after = page.next
