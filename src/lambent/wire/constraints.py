"""The service models' constraints on a request, and AWS's words for each that is broken.

The form: ``1 validation error detected: Value 'v' at 'some.path' failed to satisfy constraint: Member must …``.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from lambent.wire.overrides import Overrides
from lambent.wire.patterns import compile_pattern
from lambent.wire.service_model import MemberRef, ServiceModel, Shape

# Appends one sentence per broken constraint of ``value`` at ``path``.
Check = Callable[[Any, str, list[str]], None]
# Whether a single value keeps all constraints of its shape, and those constraints in AWS's words.
Judged = tuple[Callable[[Any], list[str]], list[str]]

_NOT_NULL = "Member must not be null"


def join_errors(errors: list[str]) -> str:
    """Return the message of a ValidationException for ``errors``."""
    plural = "s" if len(errors) > 1 else ""
    return f"{len(errors)} validation error{plural} detected: {'; '.join(errors)}"


class Constraints:
    """Checks by shape name, compiled when first asked for. A shape that cannot be broken has none."""

    def __init__(self, model: ServiceModel, overrides: Overrides) -> None:
        self._model, self._overrides = model, overrides
        self._checks: dict[str, Check | None] = {}

    def input_check(self, operation: str) -> Check | None:
        """Return the check of the operation's whole input."""
        side = self._model.input_shape(operation)
        if side is None:
            return None
        skipped = {name for name in side[1]["members"] if f"{operation}.{name}" in self._overrides.unchecked}
        return self._structure(side[1], skipped)

    def _check(self, ref: MemberRef) -> Check | None:
        name = ref["shape"]
        if name in self._checks:
            return self._checks[name]

        def forward(value: Any, path: str, errors: list[str]) -> None:
            if (check := self._checks[name]) is not None:
                check(value, path, errors)

        self._checks[name] = forward  # found by a shape that contains itself
        self._checks[name] = compiled = self._compile(name, self._model.shape(name))
        return compiled

    def _compile(self, name: str, shape: Shape) -> Check | None:
        kind = shape["type"]
        if kind == "structure":
            return self._structure(shape, set())
        if kind in ("list", "map"):
            return self._collection(name, shape)
        judge, words = self._judge(name, shape)
        if not words:
            return None

        def check(value: Any, path: str, errors: list[str]) -> None:
            for broken in judge(value):
                errors.append(_sentence(self._show(value, name), path, broken))

        return check

    def _structure(self, shape: Shape, skipped: set[str]) -> Check | None:
        required = tuple((name, _lower_camel(name)) for name in shape.get("required", ()))
        checks = []
        for name, ref in shape["members"].items():
            if name not in skipped and (member_check := self._check(ref)) is not None:
                checks.append((name, _lower_camel(name), member_check))
        if not required and not checks:
            return None

        def check(value: Any, path: str, errors: list[str]) -> None:
            prefix = f"{path}." if path else ""
            for name, shown in required:
                if value.get(name) is None:
                    errors.append(_sentence(" null", prefix + shown, _NOT_NULL))
            for name, shown, member_check in checks:
                if (member := value.get(name)) is not None:
                    member_check(member, prefix + shown, errors)

        return check

    def _collection(self, name: str, shape: Shape) -> Check | None:
        judge, words = self._judge(name, shape)
        parts = self._parts(name, shape)
        element_ref = shape["member"] if shape["type"] == "list" else shape["value"]
        nested = self._check(element_ref) if self._is_composite(element_ref) else None
        if not words and not parts and nested is None:
            return None

        def check(value: Any, path: str, errors: list[str]) -> None:
            broken = judge(value)
            broken += [sentence for is_broken, sentence in parts if is_broken(value)]
            errors.extend(_sentence(self._show(value, name), path, each) for each in broken)
            if nested is not None:
                for key, each in _numbered(value):
                    if each is not None:
                        nested(each, f"{path}.{key}.member", errors)

        return check

    def _parts(self, name: str, shape: Shape) -> list[tuple[Callable[[Any], bool], str]]:
        """Return what must hold for the elements (or keys and values) taken together."""
        if shape["type"] == "list":
            return self._part("Member", name, shape["member"], lambda value: value)
        keys = self._part("Map keys", "", shape["key"], lambda value: value)
        return keys + self._part("Map value", name, shape["value"], lambda value: value.values())

    def _part(
        self, subject: str, collection: str, ref: MemberRef, elements: Callable[[Any], Any]
    ) -> list[tuple[Callable[[Any], bool], str]]:
        words: list[str] = []
        judge: Callable[[Any], list[str]] = _keeps_all
        if not self._is_composite(ref):
            judge, words = self._judge(ref["shape"], self._model.shape(ref["shape"]))
        # Recorded from AWS: lists and map values say it, map keys do not.
        may_be_null = not collection or collection in self._overrides.nullable_lists
        said = words if may_be_null else [*words, _NOT_NULL]

        def is_broken(value: Any) -> bool:
            return any(each is None or judge(each) for each in elements(value))

        return [(is_broken, f"{subject} must satisfy constraint: [{', '.join(said)}]")] if said else []

    def _is_composite(self, ref: MemberRef) -> bool:
        return self._model.shape(ref["shape"])["type"] in ("structure", "list", "map")

    def _judge(self, name: str, shape: Shape) -> Judged:
        """Return a function giving the broken constraints of a value itself, and all constraints in words."""
        rules: list[tuple[Callable[[Any], bool], str]] = []
        if shape["type"] in ("integer", "long", "double", "float"):
            rules += _number_rules(shape)
        elif shape["type"] in ("string", "list", "map", "blob"):
            rules += _length_rules(shape)
        if (pattern := shape.get("pattern")) is not None:
            quoted = self._overrides.quoted_patterns.get(name, pattern)
            matches = compile_pattern(pattern).fullmatch
            rules.append((lambda value: matches(value) is not None, f"satisfy regular expression pattern: {quoted}"))
        if (members := shape.get("enum")) is not None:
            shown = self._overrides.enum_orders.get(name, members)
            allowed = frozenset(members)
            rules.append((lambda value: value in allowed, f"satisfy enum value set: [{', '.join(shown)}]"))
        said = [(keeps, f"Member must {words}") for keeps, words in rules]
        return lambda value: [words for keeps, words in said if not keeps(value)], [words for _, words in said]

    def _show(self, value: Any, name: str) -> str:
        # Seen from AWS: "Value at 'environment.variables' failed …": what is sensitive is not repeated.
        if self._model.shape(name).get("sensitive"):
            return ""
        return f" '{_java_text(value)}'"


def _sentence(shown_value: str, path: str, constraint: str) -> str:
    return f"Value{shown_value} at '{path}' failed to satisfy constraint: {constraint}"


def _keeps_all(_value: Any) -> list[str]:
    return []


def _length_rules(shape: Shape) -> list[tuple[Callable[[Any], bool], str]]:
    least, most = shape.get("min"), shape.get("max")
    rules: list[tuple[Callable[[Any], bool], str]] = []
    if most is not None:
        rules.append((lambda value: len(value) <= most, f"have length less than or equal to {most}"))
    if least is not None:
        rules.append((lambda value: len(value) >= least, f"have length greater than or equal to {least}"))
    return rules


def _number_rules(shape: Shape) -> list[tuple[Callable[[Any], bool], str]]:
    least, most = shape.get("min"), shape.get("max")
    show = float if shape["type"] in ("double", "float") else int  # recorded from AWS: "… less than or equal to 1.0"
    rules: list[tuple[Callable[[Any], bool], str]] = []
    if most is not None:
        rules.append((lambda value: value <= most, f"have value less than or equal to {show(most)}"))
    if least is not None:
        rules.append((lambda value: value >= least, f"have value greater than or equal to {show(least)}"))
    return rules


def _numbered(value: Any) -> Any:
    # Recorded from AWS (EventBridge): 'targets.1.member.id'.
    return value.items() if isinstance(value, Mapping) else enumerate(value, start=1)


def _lower_camel(name: str) -> str:
    return name[:1].lower() + name[1:]


def _java_text(value: Any) -> str:
    """Return ``value`` as Java's ``toString`` shows it in AWS's messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_java_text, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}={_java_text(each)}" for key, each in value.items()) + "}"
    if isinstance(value, bytes):
        return f"java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]"
    return value.isoformat() if isinstance(value, datetime) else str(value)
