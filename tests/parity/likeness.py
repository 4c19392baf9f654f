"""Is an answer like the one AWS gave? Placeholders of the records: see the head of ``Likeness``."""

import datetime
import json
import re
from collections.abc import Iterator

# AWS added these after the oldest records were made: an answer may have them where its record has not.
ADDED_LATER = {"ConfigSha256", "EphemeralStorage", "LoggingConfig", "RuntimeVersionConfig", "SnapStart"}
# A variable of functions that AWS has no need of: there, SDKs find AWS without it.
OURS = {"AWS_ENDPOINT_URL"}
PLACEHOLDER = re.compile(r"<a:len\((?P<length>\d+)\)>|<(?P<name>[A-Za-z][\w.-]*)(?::(?P<number>\d+))?>|111111111111")
ACCOUNT = "111111111111"
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
INSTANT = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(?:Z|[+-]\d\d:?\d\d)?"
VALIDATION = re.compile(r"(\d+) validation errors? detected: (.*)", re.DOTALL)


class Likeness:
    """What the placeholders of one record have stood for so far.

    ``<name:N>`` is one value all through the record, and two numbers of ``<uuid:N>`` are two values. ``<name>`` is
    any value, whatever its type. ``date`` and ``datetime`` are instants. A text that is its own key in kebab
    case is any value.
    """

    def __init__(self, known: dict[str, str]) -> None:
        self.known = dict(known)

    def differences(self, recorded, answered, *, ignoring=(), path="") -> Iterator[str]:
        """Yield a line for each place where ``answered`` is not like ``recorded``."""
        if isinstance(recorded, dict | list) and isinstance(answered, str) and answered[:1] in ("{", "["):
            answered = json.loads(answered)
        if isinstance(recorded, dict) and isinstance(answered, dict):
            yield from self._members(recorded, answered, ignoring, path)
        elif isinstance(recorded, list) and isinstance(answered, list):
            if len(recorded) != len(answered):
                yield f"{path}: {len(answered)} elements {answered}, AWS has {len(recorded)}: {recorded}"
            for at, (one, other) in enumerate(zip(recorded, answered, strict=False)):
                yield from self.differences(one, other, ignoring=ignoring, path=f"{path}[{at}]")
        elif isinstance(recorded, str) and answered is not None:
            if not self._is_like(recorded, answered, path.rpartition(".")[2]):
                yield f"{path}: {answered!r}, AWS {recorded!r} with {self.known}"
        elif recorded != answered or isinstance(recorded, bool) != isinstance(answered, bool):
            yield f"{path}: {answered!r}, AWS {recorded!r}"

    def _members(self, recorded, answered, ignoring, path) -> Iterator[str]:
        if path.endswith(".ResponseMetadata"):
            recorded, answered = ({"HTTPStatusCode": each.get("HTTPStatusCode")} for each in (recorded, answered))
        for key in sorted(recorded.keys() | answered.keys()):
            if key in ignoring:
                continue
            if key not in answered:
                yield f"{path}.{key}: absent, AWS {recorded[key]!r}"
            elif key in recorded:
                yield from self.differences(recorded[key], answered[key], ignoring=ignoring, path=f"{path}.{key}")
            elif key not in ADDED_LATER | OURS:
                yield f"{path}.{key}: {answered[key]!r}, which AWS does not have"

    def _is_like(self, recorded, answered, key) -> bool:
        kebab = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", key).lower()
        whole = PLACEHOLDER.fullmatch(recorded)
        if recorded == kebab or (whole and whole["name"] and not whole["number"] and recorded not in self.known):
            return answered != ""
        if isinstance(answered, datetime.datetime):
            return recorded in ("date", "datetime")
        return self._text_is_like(_comparable(recorded), _comparable(str(answered)))

    def _text_is_like(self, recorded, answered) -> bool:
        pattern, groups, at = "", {}, 0
        for found in PLACEHOLDER.finditer(recorded):
            pattern += _literal(recorded[at : found.start()], is_start=at == 0)
            pattern += self._placeholder(found, groups)
            at = found.end()
        pattern += _literal(recorded[at:], is_start=at == 0)
        match = re.fullmatch(pattern, answered, re.DOTALL)
        if match is None:
            return False
        learned = {token: match[group] for token, group in groups.items()}
        taken = {value for token, value in self.known.items() if token.startswith("<uuid:")}
        if any(token.startswith("<uuid:") and value in taken for token, value in learned.items()):
            return False
        self.known |= learned
        return True

    def _placeholder(self, found, groups) -> str:
        token = found[0]
        if found["length"]:
            return "a" * int(found["length"])
        if token in self.known:
            return re.escape(self.known[token])
        if found["name"] and not found["number"]:
            return ".+?"
        if token in groups:
            return f"(?P={groups[token]})"
        groups[token] = f"g{len(groups)}"
        return f"(?P<{groups[token]}>{UUID if found['name'] == 'uuid' else '.+?'})"


def validation_errors(error: dict) -> dict:
    """Return an error the way the records of validation have it: AWS lists several faults in no order."""
    several = VALIDATION.fullmatch(error["Message"])
    if several is None:
        return {"Code": error["Code"], "Message": error["Message"]}
    faults = sorted(re.split(r"; (?=Value ')", several[2]))
    return {"Code": error["Code"], "Count": int(several[1]), "Errors": faults}


def _comparable(text: str) -> str:
    # AWS's list of runtimes grows: those of one day are not compared.
    text = re.sub(r"enum value set: \[[^\]]*\]", "enum value set: [...]", text)
    several = VALIDATION.fullmatch(text)
    if several is None:
        return text
    return f"{several[1]}: " + "; ".join(sorted(re.split(r"; (?=Value ')", several[2])))


def _literal(text: str, *, is_start: bool) -> str:
    if is_start and (found := re.match(r"date(?=$|[\t ])", text)):
        return INSTANT + re.escape(text[found.end() :])
    return re.escape(text)
