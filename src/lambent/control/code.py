"""Where a function's code comes from: inline, or an object of S3."""

from typing import Final

from lambent.control.quotas import UNZIPPED_LIMIT_BYTES, AccountQuotas
from lambent.control.seams import ObjectSource, PackageStore, StoredPackage
from lambent.model.documents import CodeSpec, S3Origin
from lambent.model.errors import InvalidParameterValue, NeighbourRefusal
from lambent.model.ids import Scope
from lambent.model.requests import Members

# Seen from AWS by SDK users.
_NO_SOURCE: Final = "Please provide a source for function code."
_TWO_SOURCES: Final = "Please do not provide other FunctionCode parameters when providing a ZipFile."
_S3_MEMBERS: Final = ("S3Bucket", "S3Key", "S3ObjectVersion")


class CodeSource:
    """Takes a deployment package in, durable and checked, before any document speaks of it."""

    def __init__(self, packages: PackageStore, objects: ObjectSource, quotas: AccountQuotas) -> None:
        self._packages = packages
        self._objects = objects
        self._quotas = quotas

    async def take(self, code: Members, scope: Scope) -> CodeSpec:
        """Return the package that the members of FunctionCode name."""
        zip_file = code.get("ZipFile")
        if zip_file is not None:
            if any(code.get(member) for member in _S3_MEMBERS):
                raise InvalidParameterValue(_TWO_SOURCES)
            limit = self._quotas.code_size_zipped_bytes
            return _code_spec(await self._packages.ingest(zip_file, zipped_limit_bytes=limit), None)
        if not code.get("S3Bucket") or not code.get("S3Key"):
            raise InvalidParameterValue(_NO_SOURCE)
        return await self._take_object(
            S3Origin(bucket=code["S3Bucket"], key=code["S3Key"], version=code.get("S3ObjectVersion")), scope
        )

    async def _take_object(self, origin: S3Origin, scope: Scope) -> CodeSpec:
        chunks = self._objects.fetch_object(origin.bucket, origin.key, origin.version, scope)
        try:
            # Developer guide, "Lambda quotas": from S3 only the unzipped size is limited.
            package = await self._packages.ingest(chunks, zipped_limit_bytes=UNZIPPED_LIMIT_BYTES)
        except NeighbourRefusal as refusal:
            # Recorded from AWS (2025-11): bucket missing, key missing.
            raise InvalidParameterValue(
                f"Error occurred while GetObject. S3 Error Code: {refusal.code}. S3 Error Message: {refusal.message}"
            ) from refusal
        return _code_spec(package, origin)


def _code_spec(package: StoredPackage, origin: S3Origin | None) -> CodeSpec:
    return CodeSpec(
        digest=package.digest,
        sha256_base64=package.sha256_base64,
        zip_bytes=package.zip_bytes,
        unzipped_bytes=package.unzipped_bytes,
        s3=origin,
    )
