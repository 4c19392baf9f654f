"""What control and reconcile ask of the runtime catalogue."""

from datetime import datetime

from lambent.runtimes.catalogue import RuntimeCatalogue


class CatalogueRules:
    """The catalogue as rules on identifiers."""

    def __init__(self, catalogue: RuntimeCatalogue) -> None:
        self._catalogue = catalogue

    def require_creatable(self, identifier: str, now: datetime) -> None:
        """Raise InvalidParameterValue with AWS's text for an unknown or blocked identifier."""
        self._catalogue.require_creatable(identifier, now)

    def require_updatable(self, identifier: str, now: datetime) -> None:
        """The same for a function that exists already."""
        self._catalogue.require_updatable(identifier, now)

    def version_arn(self, identifier: str, region: str) -> str:
        """Return the ARN of the runtime version that functions run on here; empty for an unknown identifier."""
        runtime = self._catalogue.find(identifier)
        return runtime.version_arn(region) if runtime is not None else ""
