"""The service models' regular expressions (Java's dialect) as Python's."""

import re
import sys
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

# java.util.regex.Pattern, "POSIX character classes (US-ASCII only)".
_POSIX: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ASCII": r"\x00-\x7f",
        "Alnum": "a-zA-Z0-9",
        "Alpha": "a-zA-Z",
        "Upper": "A-Z",
        "Digit": "0-9",
        "XDigit": "0-9a-fA-F",
        "Blank": r" \t",
        "Cntrl": r"\x00-\x1f\x7f",
        "Graph": r"\x21-\x7e",
        "Print": r"\x20-\x7e",
        "Punct": r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
        "all": r"\x00-\U0010ffff",
    }
)
# Java's classes that are no single Unicode category, by the categories they come closest to.
_NEAREST: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"IsAlphabetic": ("L", "Nl", "Mc"), "IsWhitespace": ("Z",), "LD": ("L", "Nd")}
)
_TOKEN: Final = re.compile(r"\\[pP]\{(?P<name>\w+)\}|\\.|\[|\]|.", re.DOTALL)
# Java reads "[\w-_]" as three members; Python refuses it as a range.
_RANGE_AFTER_CLASS: Final = re.compile(r"(\\[wWdDsS])-(?=[^\]])")
# Java writes a character beyond U+FFFF as a surrogate pair.
_SURROGATES: Final = re.compile(r"\\u(D[89AB][0-9A-F]{2})\\u(D[C-F][0-9A-F]{2})", re.IGNORECASE)


@lru_cache(maxsize=2048)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return ``pattern`` for use with ``fullmatch``, as the services match whole values."""
    if "\\p{" not in pattern and "\\P{" not in pattern:
        # Java's \w and \d are ASCII where nothing says otherwise.
        return re.compile(_without_java(pattern), re.ASCII)
    # Python's \w is exactly letters, digits and "_": far shorter than the ranges of both.
    has_word = "\\p{L}" in pattern and "\\p{N}" in pattern and "_" in pattern
    parts, is_inside = [], False
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        is_inside = text == "[" or (is_inside and text != "]")
        if (name := token["name"]) is None:
            parts.append(text)
        elif has_word and name in "LN" and text[1] == "p":
            parts.append(r"\w")
        else:
            members = _ranges(name, text[1] == "P")
            parts.append(members if is_inside else f"[{members}]")
    return re.compile(_without_java("".join(parts)))


def _without_java(pattern: str) -> str:
    pattern = _RANGE_AFTER_CLASS.sub(r"\1\\-", pattern.replace(r"\z", r"\Z"))
    return _SURROGATES.sub(lambda pair: f"\\U{_code_point(pair[1], pair[2]):08x}", pattern)


def _code_point(high: str, low: str) -> int:
    return 0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00


@lru_cache(maxsize=64)
def _ranges(name: str, is_negated: bool) -> str:
    """Return the members of a Java class as ranges for a Python class. Looks at every code point, once per name."""
    if (posix := _POSIX.get(name)) is not None and not is_negated:
        return posix
    wanted = _NEAREST.get(name, (name,))
    found: list[list[int]] = []
    for point in range(sys.maxunicode + 1):
        if unicodedata.category(chr(point)).startswith(wanted) is not is_negated:
            if found and found[-1][1] == point - 1:
                found[-1][1] = point
            else:
                found.append([point, point])
    return "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in found)
