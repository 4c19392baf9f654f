"""One HTTP request and one HTTP response as plain values: what the codecs read and write. No socket, no streaming."""

from dataclasses import dataclass

HeaderPairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A whole request. ``path`` and ``query`` are as sent, percent-encoded; header names are lower case."""

    method: str
    path: str
    query: str = ""
    headers: HeaderPairs = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """Return the first header called ``name`` (lower case), or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


@dataclass(frozen=True, slots=True)
class WireResponse:
    """A whole response."""

    status: int
    headers: HeaderPairs
    body: bytes
