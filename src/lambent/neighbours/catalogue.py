"""Where each other AWS service is: at a URL, at AWS, with the companion, or nowhere. The one place of endpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from lambent.model.errors import HostError
from lambent.model.ids import Scope

# The secret that goes with an account id as access key: services of a companion take any.
HOW_TO_INSTALL: Final = "install the companion: pip install 'lambent[companion]'"
COMPANION_SECRET: Final = "lambent"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Credentials:
    """What requests to a neighbour are signed with."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class At:
    """The service is at ``url``. Without credentials the caller's account id is the access key, as companions read."""

    url: str
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class RealAws:
    """The service is AWS's. Without credentials the usual chain finds them: environment, files, instance."""

    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class InCompanion:
    """The service is the companion's."""


@dataclass(frozen=True, slots=True)
class Off:
    """There is no such service."""


Neighbour: TypeAlias = At | RealAws | InCompanion | Off


class RunningCompanion(Protocol):
    """The companion: there once it was ``started``."""

    @property
    def url(self) -> str:
        """Where it is."""
        ...

    async def started(self) -> None:
        """Return once it answers. Raises ``model.errors.NeighbourRefusal``."""
        ...


class NeighbourOff(HostError):
    """The service is not configured."""

    def __init__(self, service: str) -> None:
        super().__init__(f"the neighbour {service!r} is off: set its endpoint to a URL, or to aws, or {HOW_TO_INSTALL}")
        self.service = service


class Catalogue:
    """Finds a service's place. Values come by the constructor; nothing is read here."""

    def __init__(
        self,
        services: Mapping[str, Neighbour],
        default: Neighbour | None = None,
        companion: RunningCompanion | None = None,
    ) -> None:
        self._services = dict(services)
        self._default = default or InCompanion()
        self._companion = companion

    def get_neighbour(self, service: str) -> At | RealAws:
        """Return where ``service`` (botocore's name of it) is; NeighbourOff if it is nowhere.

        A service of the companion is there once it was ``prepared``.
        """
        neighbour = self._services.get(service, self._default)
        if isinstance(neighbour, InCompanion) and self._companion is not None:
            return At(self._companion.url)
        if isinstance(neighbour, Off | InCompanion):
            raise NeighbourOff(service)
        return neighbour

    async def prepared(self, service: str) -> None:
        """Return once ``service`` can be asked: starts the companion where it is the companion's."""
        if self._companion is not None and isinstance(self._services.get(service, self._default), InCompanion):
            await self._companion.started()

    def find_obstacle(self, service: str) -> str | None:
        """Return why ``service`` cannot be reached from here, in words, or None."""
        try:
            self.get_neighbour(service)
        except NeighbourOff as off:
            return str(off)
        return None

    def find_credentials(self, service: str, scope: Scope) -> Credentials | None:
        """Return what requests for ``scope`` are signed with; None leaves it to the usual chain."""
        neighbour = self.get_neighbour(service)
        if neighbour.credentials is not None or isinstance(neighbour, RealAws):
            return neighbour.credentials
        return Credentials(scope.account_id, COMPANION_SECRET)


def build_catalogue(endpoints: Mapping[str, str], companion: RunningCompanion | None = None) -> Catalogue:
    """Return the catalogue that ``service → URL | "aws" | "companion" | "off"`` describes; ``*`` stands for all others.

    What is not named is the companion's, and off without one. Raises ValueError for any other value.
    """
    services = {service: parse_neighbour(service, text) for service, text in endpoints.items()}
    return Catalogue(services, services.pop("*", None), companion)


def parse_neighbour(service: str, text: str) -> Neighbour:
    """Return the place that a setting names."""
    if text == "off":
        return Off()
    if text == "aws":
        return RealAws()
    if text == "companion":
        return InCompanion()
    if text.startswith(("http://", "https://")):
        return At(text.rstrip("/"))
    raise ValueError(f"endpoint of {service!r}: {text!r} is neither a URL nor aws nor companion nor off")
