"""What every part of the filter pattern language raises for a pattern it refuses."""

from lambent.model.errors import CallerError


class InvalidFilterPattern(CallerError):
    """The filter pattern is not one that CloudWatch Logs reads."""

    code = "InvalidParameterException"

    def __init__(self, reason: str = "") -> None:
        # Seen from AWS in public reports: "Invalid filter pattern", and since 2025 with a reason behind a colon.
        super().__init__(f"Invalid filter pattern: {reason}" if reason else "Invalid filter pattern", kind=None)


def invalid_term(term: str) -> InvalidFilterPattern:
    """Return the refusal of one term, as AWS words it."""
    return InvalidFilterPattern(f"Invalid character(s) in term '{term}'")
