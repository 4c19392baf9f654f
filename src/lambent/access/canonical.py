"""The canonical form of a request, over which a Signature V4 is made.

Source: IAM user guide, "Create a signed AWS API request", steps 1 and 2.
"""

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

_UNRESERVED: Final = "-_.~"
_PLAIN_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)+/?")
_PLAIN_TEXT: Final = re.compile(r"[A-Za-z0-9_.~-]*")

HeaderValues = dict[str, list[str]]


def canonical_path(path: str, *, is_encoded_once: bool) -> str:
    """Return the path part of ``path``, which is as sent.

    S3 encodes a path once and keeps it; the others take out dots and empty segments and encode what is sent again.
    """
    if _PLAIN_PATH.fullmatch(path):
        return path
    if is_encoded_once:
        return quote(unquote_to_bytes(path), safe="/" + _UNRESERVED) or "/"
    return quote(_without_dots(path), safe="/" + _UNRESERVED)


def canonical_query(query: str, *, leave_out: str = "") -> str:
    """Return the query part, names and values encoded alike and sorted, without the parameter ``leave_out``."""
    if not query:
        return ""
    pairs = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if pair and name != leave_out:
            pairs.append((_encode(name), _encode(value)))
    pairs.sort()
    return "&".join(f"{name}={value}" for name, value in pairs)


def canonical_headers(values: HeaderValues, signed: list[str]) -> str:
    """Return the header part, each line ended; a header that was not sent has an empty value."""
    lines = []
    for name in signed:
        sent = values.get(name, ())
        value = sent[0] if len(sent) == 1 else ",".join([" ".join(each.split()) for each in sent])
        lines.append(f"{name}:{' '.join(value.split()) if ' ' in value or not value.isprintable() else value}\n")
    return "".join(lines)


def _encode(text: str) -> str:
    if _PLAIN_TEXT.fullmatch(text):
        return text
    return quote(unquote_to_bytes(text.replace("+", " ")), safe=_UNRESERVED)


def _without_dots(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if kept and path.endswith("/") else ""
    return "/" + "/".join(kept) + end
