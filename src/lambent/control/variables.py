"""Environment variables of a function: AWS's rules on them, and their sealing at rest."""

import base64
import json
from collections.abc import Mapping

from lambent.control.quotas import ENVIRONMENT_LIMIT_BYTES, RESERVED_VARIABLES
from lambent.control.seams import Sealer
from lambent.model.documents import FunctionSpec
from lambent.model.errors import InvalidParameterValue
from lambent.model.ids import Scope
from lambent.model.requests import Members

_REFUSED = (
    "Lambda was unable to configure your environment variables because the environment variables you have provided "
)


def parse_variables(environment: Members) -> dict[str, str]:
    """Return the map in the member Environment, in the caller's order; empty where Variables is left out."""
    variables: dict[str, str] = dict(environment.get("Variables") or {})
    if reserved := [key for key in variables if key in RESERVED_VARIABLES]:
        # Developer guide, "Troubleshoot deployment issues"; the keys stand in the caller's order.
        raise InvalidParameterValue(
            f"{_REFUSED}contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(reserved)}"
        )
    if unfit := [key for key, value in variables.items() if "\0" in value]:
        # No process can have such a variable. The sentence's end is ours (fidelity).
        raise InvalidParameterValue(f"{_REFUSED}contains null characters. Keys with them: {', '.join(unfit)}")
    # Recorded from AWS (2025-11): what is measured is the compact JSON of the map, 4,096 bytes still pass.
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > ENVIRONMENT_LIMIT_BYTES:
        raise InvalidParameterValue(f"{_REFUSED}exceeded the 4KB limit. String measured: {measured}")
    return variables


class VariableVault:
    """Seals variables before they are stored. The function's ARN is the context: no seal opens under another name."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def seal(self, variables: Mapping[str, str], scope: Scope, name: str) -> str:
        """Return what the spec keeps."""
        clear = json.dumps(variables, ensure_ascii=False).encode()
        return base64.b64encode(self._sealer.seal(clear, _context(scope, name))).decode()

    def open(self, spec: FunctionSpec) -> dict[str, str] | None:
        """Return the variables in clear text; None if the function never had the member Environment."""
        if spec.sealed_environment is None:
            return None
        sealed = base64.b64decode(spec.sealed_environment)
        variables: dict[str, str] = json.loads(self._sealer.open(sealed, _context(spec.scope, spec.name)))
        return variables


def _context(scope: Scope, name: str) -> str:
    return scope.arn("lambda", f"function:{name}")
