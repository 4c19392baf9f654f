"""The service models' regular expressions (Java's dialect) as Python's."""

import re
from functools import lru_cache
from typing import Final

# Unicode's separator category: the characters of Java's \p{Z}.
_SEPARATORS: Final = " \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# Python's \w is letters, digits and "_"; every model class that has \p{L} has \p{N} and "_" beside it.
_CATEGORIES: Final = {r"\p{L}": r"\w", r"\p{N}": r"\w", r"\p{Z}": _SEPARATORS}
# Java reads "[\w-_]" as three members; Python refuses it as a range.
_RANGE_AFTER_CLASS: Final = re.compile(r"(\\[wWdDsS])-(?=[^\]])")


@lru_cache(maxsize=2048)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return ``pattern`` for use with ``fullmatch``, as the services match whole values."""
    text = pattern
    for category, members in _CATEGORIES.items():
        text = text.replace(category, members)
    is_unicode = text != pattern
    text = _RANGE_AFTER_CLASS.sub(r"\1\\-", text)
    # Java's \w and \d are ASCII unless a Unicode category says otherwise.
    return re.compile(text, 0 if is_unicode else re.ASCII)
