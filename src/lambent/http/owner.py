"""What a connection needs of whoever made it."""

from typing import TYPE_CHECKING, Protocol

from lambent.http.application import Application
from lambent.http.exchange import Exchange
from lambent.http.limits import HttpLimits
from lambent.http.plain import HeaderNames
from lambent.http.sweep import Sweep

if TYPE_CHECKING:
    from lambent.http.connection import Connection


class Owner(Protocol):
    """What a connection needs of its server."""

    application: Application
    limits: HttpLimits
    sweep: Sweep
    header_names: HeaderNames
    held_bytes: int
    is_draining: bool

    def connection_opened(self, connection: "Connection") -> bool:
        """Count ``connection`` in; False if there are too many."""
        ...

    def connection_closed(self, connection: "Connection") -> None:
        """Count ``connection`` out."""
        ...

    def run(self, exchange: Exchange) -> None:
        """Hand the request to the application."""
        ...
