"""A service model as botocore ships it (data), with the few questions that the codecs ask of it."""

import gzip
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import msgspec

Shape = Mapping[str, Any]
MemberRef = Mapping[str, Any]


class ServiceModel:
    """Shapes and operations of one service. Reads the raw model in place; nothing is copied or built ahead."""

    def __init__(self, service: str, raw: Mapping[str, Any]) -> None:
        self.service, self.raw = service, raw
        self.metadata: Mapping[str, Any] = raw["metadata"]
        self.operations: Mapping[str, Mapping[str, Any]] = raw["operations"]
        self._shapes: Mapping[str, Shape] = raw["shapes"]

    @classmethod
    def load(cls, service: str) -> Self:
        """Return the newest model of ``service`` (botocore's folder name, e.g. "lambda", "logs")."""
        return cls(service, read_model(service))

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols the service speaks, the preferred one first."""
        preferred: str = self.metadata["protocol"]
        return (preferred, *(name for name in self.metadata.get("protocols", ()) if name != preferred))

    @property
    def signing_name(self) -> str:
        """The service's name in a credential scope."""
        name: str = self.metadata.get("signingName") or self.metadata["endpointPrefix"]
        return name

    def shape(self, name: str) -> Shape:
        """Return the shape called ``name``."""
        return self._shapes[name]

    def find_shape(self, name: str) -> Shape | None:
        """Return the shape called ``name``, or None."""
        return self._shapes.get(name)

    def input_shape(self, operation: str) -> tuple[str, Shape] | None:
        """Return name and shape of the operation's input, or None where it has none."""
        return self._side(operation, "input")

    def output_shape(self, operation: str) -> tuple[str, Shape] | None:
        """Return name and shape of the operation's output, or None where it has none."""
        return self._side(operation, "output")

    def _side(self, operation: str, side: str) -> tuple[str, Shape] | None:
        reference = self.operations[operation].get(side)
        if reference is None:
            return None
        return reference["shape"], self._shapes[reference["shape"]]


def read_model(service: str) -> Mapping[str, Any]:
    """Return what botocore's own loader would, without importing botocore: that is a quarter of a server's start.

    Only the installed models count: what lies in a user's ``~/.aws/models`` says nothing about this server.
    """
    package = find_spec("botocore")
    if package is None or not package.submodule_search_locations:
        raise LookupError("botocore is not installed")
    versions = Path(package.submodule_search_locations[0], "data", service)
    newest = max((folder for folder in versions.iterdir() if any(folder.glob("service-2.json*"))), default=None)
    if newest is None or (newest / "service-2.sdk-extras.json").exists():  # corrections that only botocore applies
        from botocore.loaders import Loader

        return dict(Loader().load_service_model(service, "service-2"))
    packed = newest / "service-2.json.gz"
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else (newest / "service-2.json").read_bytes()
    model: Mapping[str, Any] = msgspec.json.decode(data)
    return model
