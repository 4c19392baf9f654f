"""A service model as botocore ships it (data), with the few questions that the codecs ask of it."""

from collections.abc import Mapping
from typing import Any, Self

from botocore.loaders import Loader

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
        return cls(service, Loader().load_service_model(service, "service-2"))

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
