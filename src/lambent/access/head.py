"""What is read of a request before anything else: the consumer's side of an HTTP request head."""

from typing import Protocol


class Head(Protocol):
    """A request line and its headers, as sent. Header names are lower case, values as bytes in Latin-1."""

    @property
    def method(self) -> str:
        """The method."""
        ...

    @property
    def path(self) -> str:
        """The path, still percent-encoded, without the query."""
        ...

    @property
    def query(self) -> str:
        """The query, still percent-encoded, without "?"."""
        ...

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Names and values in order; repeated ones are kept."""
        ...
